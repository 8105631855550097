"""SPARQL 1.1 Protocol (W3C Recommendation of 21 March 2013), section by section."""

import csv
import io
import json
import threading
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pytest

from tests.conformance.clauses import clause
from tests.conformance.sparql.asking import RESULTS, TITLES, column, sparql
from tests.conformance.wot.things import DirectoryClient
from tests.running import Gateway

FORM = "application/x-www-form-urlencoded"
QUERY = "application/sparql-query"
CONTEXT = ["https://www.w3.org/2022/wot/td/v1.1", {"hilum": "https://w3id.org/hilum#"}]
CONSTRUCT = "CONSTRUCT WHERE { ?s td:title ?o }"


@pytest.fixture
def asked(running_site: Gateway) -> DirectoryClient:
    return DirectoryClient(running_site)


@pytest.fixture
def lamp(asked):
    return asked.made(title="Search lamp", properties={}, events={})


def title_of(id_):
    return f"SELECT ?title {{ <{id_}> td:title ?title }}"


@clause(
    "SPARQL11-2.1.1",
    "WOT-tdd-search-large-tdds",
    "WOT-tdd-search-sparql",
    "WOT-tdd-search-sparql-version",
    "WOT-tdd-search-sparql-method-get",
)
def test_a_query_comes_by_get(asked, lamp):
    assert column(sparql(asked, title_of(lamp))) == ["Search lamp"]
    assert column(sparql(asked, "SELECT ('é+%\U0001f4a1' AS ?title) {}")) == ["é+%\U0001f4a1"]


@clause("SPARQL11-2.1.2")
def test_a_query_comes_as_a_form(asked, lamp):
    body = urlencode({"query": title_of(lamp)})
    for kind in (FORM, f"{FORM}; charset=UTF-8", FORM.upper()):
        assert column(asked.ask("POST", "/search/sparql", body, kind)) == ["Search lamp"]


@clause("SPARQL11-2.1.3", "WOT-tdd-search-sparql-method-post")
def test_a_query_comes_as_it_is(asked, lamp):
    for kind in (QUERY, f"{QUERY}; charset=utf-8"):
        reply = asked.ask("POST", "/search/sparql", title_of(lamp), kind)
        assert column(reply) == ["Search lamp"]
    graph = urlencode({"default-graph-uri": "urn:none"})
    assert column(asked.ask("POST", f"/search/sparql?{graph}", title_of(lamp), QUERY)) == []


@clause("SPARQL11-2.1.4")
def test_the_datasets_of_the_protocol_and_of_the_query(asked):
    names = {name: f"urn:hilum:localhost/sparql-set/{name}" for name in ("a", "b")}
    for name in names:
        named = {"@context": CONTEXT, "hilum:name": f"sparql-set/{name}"}
        asked.made(title=f"Set {name}", **named)
    a, b = names.values()
    # Without any, all that may be seen is the default graph, and each object a named one.
    assert {"Set a", "Set b"} <= set(column(sparql(asked, TITLES)))
    in_graph = "SELECT ?title { GRAPH ?g { ?s td:title ?title } } ORDER BY ?title"
    assert {"Set a", "Set b"} <= set(column(sparql(asked, in_graph)))
    one = {"default-graph-uri": a}
    both = {"default-graph-uri": [a, b]}
    assert column(sparql(asked, TITLES, **one)) == ["Set a"]
    assert column(sparql(asked, TITLES, **both)) == ["Set a", "Set b"]
    assert column(sparql(asked, in_graph, **one)) == [], "no named graph was named"
    assert column(sparql(asked, in_graph, **{"named-graph-uri": b})) == ["Set b"]
    assert column(sparql(asked, TITLES, **{"named-graph-uri": b})) == []
    # FROM and FROM NAMED say the same; what the protocol says counts instead of them.
    from_a = f"SELECT ?title FROM <{a}> {{ ?s td:title ?title }}"
    assert column(sparql(asked, from_a)) == ["Set a"]
    assert column(sparql(asked, from_a, **{"default-graph-uri": b})) == ["Set b"]
    from_named = f"SELECT ?title FROM NAMED <{b}> {{ GRAPH ?g {{ ?s td:title ?title }} }}"
    assert column(sparql(asked, from_named)) == ["Set b"]
    prefixed = "PREFIX s: <urn:hilum:localhost/sparql-set/> SELECT ?title FROM s:a {?s ?p ?title}"
    assert "Set a" in column(sparql(asked, prefixed))
    assert column(sparql(asked, TITLES, **{"default-graph-uri": "urn:nowhere"})) == []
    assert sparql(asked, TITLES, **{"default-graph-uri": "no iri"}).status == 400


@clause("SPARQL11-2.1.5")
@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("", TITLES, RESULTS),
        ("*/*", TITLES, RESULTS),
        ("application/json", "ASK {}", RESULTS),
        ("application/sparql-results+xml", TITLES, "application/sparql-results+xml"),
        ("text/csv", TITLES, "text/csv"),
        ("text/tab-separated-values", TITLES, "text/tab-separated-values"),
        ("text/csv;q=0.1, application/xml", TITLES, "application/sparql-results+xml"),
        ("text/turtle, */*;q=0.1", CONSTRUCT, "text/turtle"),
        ("application/n-triples", "DESCRIBE hilum:Microservice", "application/n-triples"),
        ("application/rdf+xml", "DESCRIBE hilum:Microservice", "application/rdf+xml"),
        ("text/html, text/*;q=0.5", CONSTRUCT, "text/turtle"),
        ("", CONSTRUCT, "application/ld+json"),
    ],
)
def test_the_form_of_an_answer_is_negotiated(asked, lamp, accept, query, kind):
    reply = sparql(asked, query, accept)
    assert reply.status == 200, reply.body
    assert reply.fields["content-type"].partition(";")[0] == kind
    assert reply.fields["vary"] == "Accept"


@clause("SPARQL11-2.1.5")
@pytest.mark.parametrize(
    ("accept", "query"),
    [
        ("image/png", TITLES),
        ("text/turtle", TITLES),
        ("text/csv;q=0", "ASK {}"),
        ("text/csv", CONSTRUCT),
    ],
)
def test_what_cannot_be_written_so_is_not_acceptable(asked, accept, query):
    assert sparql(asked, query, accept).status == 406


@clause("SPARQL11-2.1.6", "WOT-tdd-search-sparql-resp-select-ask")
def test_select_and_ask_are_answered_with_results(asked, lamp):
    query = title_of(lamp)
    assert sparql(asked, query).json()["head"] == {"vars": ["title"]}
    assert sparql(asked, f"ASK {{ <{lamp}> a td:Thing }}").json() == {"head": {}, "boolean": True}
    root = ET.fromstring(sparql(asked, query, "application/sparql-results+xml").body)
    assert root.findtext(".//{*}literal") == "Search lamp"
    rows = list(csv.reader(io.StringIO(sparql(asked, query, "text/csv").body.decode())))
    assert rows == [["title"], ["Search lamp"]]
    text = sparql(asked, query, "text/tab-separated-values").body.decode()
    assert text == '?title\n"Search lamp"\n'


@clause("SPARQL11-2.1.6", "WOT-tdd-search-sparql-resp-describe-construct")
def test_construct_and_describe_are_answered_with_graphs(asked, lamp):
    for query in (f"DESCRIBE <{lamp}>", f"CONSTRUCT WHERE {{ <{lamp}> ?p ?o }}"):
        reply = sparql(asked, query, "")
        assert reply.fields["content-type"] == "application/ld+json"
        assert {node["@id"] for node in json.loads(reply.body)} == {lamp}
        assert b"td:Thing" in sparql(asked, query, "text/turtle").body
        assert ET.fromstring(sparql(asked, query, "application/rdf+xml").body) is not None


@clause("SPARQL11-2.1.7", "SPARQL11-2.2", "WOT-tdd-search-sparql-error")
@pytest.mark.parametrize(
    ("verb", "path", "body", "kind", "status"),
    [
        ("GET", "", None, "", 400),
        ("GET", "?query=ASK%20%7B%7D&query=ASK%20%7B%7D", None, "", 400),
        ("GET", "?query=ASK%20%7B%7D&using=x", None, "", 400),
        ("GET", "?update=CLEAR%20ALL", None, "", 400),
        ("POST", "", "update=CLEAR%20ALL", FORM, 400),
        ("POST", "", "CLEAR ALL", "application/sparql-update", 415),
        ("POST", "", "ASK {}", "text/plain", 415),
        ("POST", "", b"ASK { ?s ?p '\xff' }", QUERY, 400),
        ("POST", "", b"query=%ff", FORM, 400),
        ("POST", "", "INSERT DATA { <urn:a> <urn:b> 1 }", QUERY, 400),
        ("POST", "", "LOAD <http://127.0.0.1/>", QUERY, 400),
        ("PUT", "", "ASK {}", QUERY, 405),
    ],
)
def test_what_is_no_query_is_refused(asked, verb, path, body, kind, status):
    reply = asked.ask(verb, f"/search/sparql{path}", body, kind)
    assert reply.status == status, reply.body


@clause("SPARQL11-2.1.7", "WOT-tdd-search-sparql-error")
def test_a_malformed_query_says_where(asked):
    reply = sparql(asked, "SELECT * {\n ?s ?p }")
    assert reply.status == 400
    assert reply.fields["content-type"] == "application/problem+json"
    (problem,) = reply.json()["problems"]
    assert (problem["line"], problem["column"]) == (2, 9)


@clause("SPARQL11-4.1", "WOT-tdd-search-sparql-federation")
def test_no_query_makes_the_site_ask_others(asked):
    for service in ("<http://127.0.0.1/>", "SILENT <http://127.0.0.1/>", "?where"):
        reply = sparql(asked, f"SELECT * {{ SERVICE {service} {{ ?s ?p ?o }} }}")
        assert reply.status == 400, service
        assert "search.services" in reply.json()["detail"]
    assert column(sparql(asked, TITLES, **{"default-graph-uri": "http://127.0.0.1:1/x"})) == []


@clause("SPARQL11-4.1")
def test_answers_are_bounded(asked, lamp):
    reply = sparql(asked, "SELECT * { ?a ?b ?c . ?d ?e ?f }")
    assert (reply.status, "LIMIT" in reply.json()["detail"]) == (422, True)


@clause("SPARQL11-4.1")
def test_who_may_not_ask_is_told(running_site):
    stranger = DirectoryClient(running_site, running_site.token_for("user:no-sparql", "user"))
    assert sparql(stranger, "ASK {}").status == 403
    assert sparql(DirectoryClient(running_site, "wrong"), "ASK {}").status == 401


class Other(BaseHTTPRequestHandler):
    """Another endpoint, which always gives the same answer."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        found = {"title": {"type": "literal", "value": "elsewhere"}}
        results = {"head": {"vars": ["title"]}, "results": {"bindings": [found]}}
        body = json.dumps(results).encode()
        self.send_response(200)
        self.send_header("Content-Type", RESULTS)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@clause("WOT-tdd-search-sparql-federation-version", "SPARQL11-4.1")
def test_endpoints_that_the_settings_list_are_asked(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/sparql"
        with Gateway(tmp_path, config=f'[search]\nservices = ["{url}"]\n') as site:
            client = DirectoryClient(site)
            query = f"SELECT ?title {{ SERVICE <{url}> {{ ?s ?p ?title }} }}"
            assert column(sparql(client, query)) == ["elsewhere"]
            assert sparql(client, query.replace("/sparql", "/other")).status == 400
        server.shutdown()
