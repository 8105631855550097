"""All that the registry answers a reader, in every language and format, heads included."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from tests.conformance.wot.things import DirectoryClient, path_of
from tests.running import HttpReply

FORMATS = ("json", "text", "html", "td", "turtle", "rdfxml", "openapi", "asyncapi")


def everything_said(
    client: DirectoryClient, name: str, id_: str, microservice: str, last: str
) -> Iterator[tuple[str, str]]:
    """Yield what is asked of an object and of everything, and the answer.

    ``last`` is the id of a description that came last: there the stream of changes is left.
    """
    for page in pages(name, id_):
        yield page, said(client.ask("GET", page))
    for method, document in calls(name, id_):
        yield f"{method} {document}", said(called(client, method, document))
    for each in FORMATS:
        for control, page in ((False, f"/{name}"), (True, f"/services/{microservice}")):
            path = f"{page}?format={each}"
            yield path, said(client.site.http("GET", path, token=client.token, control=control))
        document = {"name": microservice, "format": each}
        yield f"introspect {document}", said(called(client, "introspect", document))
    with client.events("/events?diff=true", after="0") as events:
        while last not in (event := events.next()).data:
            yield "/events", event.data


def called(client: DirectoryClient, method: str, document: object) -> HttpReply:
    """Call a method of the registry as a client."""
    path, kind = f"/$site/registry/{method}", "application/json"
    body = json.dumps(document)
    return client.site.http("POST", path, body, token=client.token, content_type=kind)


def said(reply: HttpReply) -> str:
    return f"{reply.status} {reply.fields}{reply.body.decode()}"


def pages(name: str, id_: str) -> list[str]:
    """Return what is asked with GET at the control listener."""
    whole = ("$..*", "$.*.title", "$[?@.title].id", "$[?match(@.title, 'c4n.*')].title")
    return [
        *("/things", "/things?format=collection", "/things?sort_by=title&limit=1000"),
        *("/things?sort_by=modified&sort_order=desc&offset=1", "/.well-known/wot", "/discover"),
        *("/discover?type=td:Thing&limit=1000", "/discover?near=urn:x:room", "/"),
        *("/search/jsonpath?limit=10000&query=" + quote(each) for each in whole),
        *("/search/xpath?query=" + quote(each) for each in ("?*?title", "?*?actions", "?*?id")),
        *("/search/sparql?" + urlencode({"query": each}) for each in queries(name, id_)),
        *(path_of(each) for each in (id_, f"urn:hilum:localhost/{name}")),
        path_of(id_) + "?view=submitted",
    ]


def calls(name: str, id_: str) -> list[tuple[str, dict[str, object]]]:
    """Return methods of the registry, and what they are asked."""
    return [
        *(("list", {}), ("registrations", {}), ("things", {"limit": 1000}), ("secrets", {})),
        *(("changes", {"after": "0", "diff": True, "limit": 1000}), ("share", {}), ("remotes", {})),
        *(("share", {"after": "1"}), ("remote-things", {"site": "localhost"}), ("warnings", {})),
        *(("rd-endpoints", {}), ("rd-resources", {}), ("rd-endpoints", {"view": "submitted"})),
        *(("rd-resources", {"rt": "hidden"}), ("rd-resources", {"view": "submitted"})),
        ("match", {"outputs": {"x": "urn:x:Thing"}, "least": "sibling", "limit": 1000}),
        *(("introspect", {"name": each}) for each in (name, f"{name}/toggle")),
        *(("thing", {"id": id_}), ("thing", {"id": id_, "view": "submitted"})),
        ("patch-thing", {"id": id_, "title": "Mine"}),
        *(("delete-thing", {"id": id_}), ("secret-delete", {"name": name, "security": "sc"})),
    ]


def queries(name: str, id_: str) -> list[str]:
    """Return SPARQL queries for what a graph holds, and around it."""
    graph = f"urn:hilum:localhost/{name}"
    return [
        "SELECT * { ?s ?p ?o }",
        "SELECT * { GRAPH ?g { ?s ?p ?o } }",
        f"SELECT * FROM <{graph}> {{ ?s ?p ?o }}",
        f"SELECT * FROM NAMED <{graph}#inferred> {{ GRAPH ?g {{ ?s ?p ?o }} }}",
        f"SELECT * {{ {{ GRAPH <{graph}> {{ ?s ?p ?o }} }} UNION {{ ?o ^td:title ?s }} }}",
        f"SELECT ?x {{ <{id_}> (!<urn:x>|^!<urn:x>)* ?x }}",
        "SELECT * { ?a hilum:offers ?b OPTIONAL { ?b ?p ?o } }",
        f"DESCRIBE <{id_}>",
        "CONSTRUCT { ?s ?p ?o } WHERE { GRAPH ?g { ?s ?p ?o } }",
    ]
