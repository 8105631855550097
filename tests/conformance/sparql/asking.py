"""How tests ask by SPARQL."""

from typing import Any
from urllib.parse import urlencode

from tests.conformance.wot.things import DirectoryClient
from tests.running import HttpReply

RESULTS = "application/sparql-results+json"
TITLES = "SELECT ?title { ?s td:title ?title } ORDER BY ?title"


def sparql(
    client: DirectoryClient, query: str, accept: str = RESULTS, **more: str | list[str]
) -> HttpReply:
    pairs = urlencode({"query": query, **more}, doseq=True)
    return client.ask("GET", f"/search/sparql?{pairs}", accept=accept)


def column(reply: HttpReply, name: str = "title") -> list[Any]:
    """Return the values of a variable, of the rows where it is bound."""
    assert reply.status == 200, reply.body
    return [row[name]["value"] for row in reply.json()["results"]["bindings"] if name in row]
