"""Search at a running site: SPARQL 1.1 Protocol, JSONPath and XPath, for who may see what."""

import contextlib
import json
import time
from urllib.parse import quote

import pytest

from tests.conformance.sparql.asking import TITLES, column, sparql
from tests.conformance.wot.things import DirectoryClient
from tests.running import Gateway

CONTEXT = ["https://www.w3.org/2022/wot/td/v1.1", {"hilum": "https://w3id.org/hilum#"}]


@pytest.fixture
def asked(running_site: Gateway) -> DirectoryClient:
    return DirectoryClient(running_site)


@pytest.fixture
def lamp(asked):
    return asked.made(title="Search lamp", properties={}, events={})


def reader(site, who, resources):
    """Somebody who may search, and describe some names only."""
    site.allow(f"search-{who}", {"principal": f"user:{who}"}, "call", "$site/registry/*")
    site.allow(f"search-{who}-sees", {"principal": f"user:{who}"}, "describe", resources)
    return DirectoryClient(site, site.token_for(f"user:{who}", "user"))


def test_too_many_rows_and_too_long_are_refused_with_a_way_out(asked, lamp):
    wild = "SELECT * { ?a ?b ?c . ?d ?e ?f }"
    reply = sparql(asked, wild)
    assert (reply.status, "LIMIT" in reply.json()["detail"]) == (422, True)


# What a query sees (2.1.4: the dataset)


def test_who_may_not_describe_an_object_finds_nothing_of_it(running_site, asked):
    def named(name):
        return asked.made(title=f"T {name}", **{"@context": CONTEXT, "hilum:name": name})

    named("search-open/one")
    hidden = named("search-closed/two")
    bob = reader(running_site, "sparql-bob", "search-open/**")
    graph = "urn:hilum:localhost/search-closed/two"
    assert "T search-closed/two" in column(sparql(asked, TITLES))
    assert column(sparql(bob, TITLES)) == ["T search-open/one"]
    for query, more in {
        f"SELECT * {{ GRAPH <{graph}> {{ ?s ?p ?title }} }}": {},
        f"SELECT * FROM <{graph}> {{ ?s ?p ?title }}": {},
        f"SELECT * FROM NAMED <{graph}> {{ GRAPH ?g {{ ?s ?p ?title }} }}": {},
        "SELECT * { ?s td:title ?title }": {"default-graph-uri": graph},
        "SELECT * { GRAPH ?g { ?s td:title ?title } }": {"named-graph-uri": [graph]},
        f"SELECT ?title {{ <{hidden}> (!<urn:x>)* ?title FILTER(isLiteral(?title)) }}": {},
        "SELECT ?title { GRAPH ?title {} FILTER(CONTAINS(STR(?title), 'closed')) }": {},
    }.items():
        assert column(sparql(bob, query, **more)) == [], query
    own = {"default-graph-uri": "urn:hilum:localhost/search-open/one"}
    assert column(sparql(bob, TITLES, **own)) == ["T search-open/one"]
    for path in ("jsonpath?query=$..title", "xpath?query=?*?title"):
        assert bob.ask("GET", f"/search/{path}").json() == ["T search-open/one"], path
    assert bob.ask("GET", "/search/jsonpath?query=$.*.title").json() == ["T search-open/one"]
    # Rights that come and go count at once.
    sees = {"principal": "user:sparql-bob"}
    running_site.allow("search-sparql-bob-more", sees, "describe", "search-closed/**")
    assert len(column(sparql(bob, TITLES))) == 2
    assert len(bob.ask("GET", "/search/jsonpath?query=$.*.title").json()) == 2


def test_members_that_may_not_be_described_are_in_no_answer(running_site, asked):
    asked.made(title="Half", **{"@context": CONTEXT, "hilum:name": "search-half/lamp"})
    site = running_site
    ann = reader(site, "sparql-ann", "search-half/lamp search-half/lamp/toggle")
    names = "SELECT ?title { ?s hilum:name ?title FILTER(CONTAINS(?title, 'search-half/lamp/')) }"
    assert len(column(sparql(asked, names))) == 3
    assert column(sparql(ann, names)) == ["localhost/search-half/lamp/toggle"]
    terms = "SELECT (STR(?o) AS ?title) { ?s ?p ?o FILTER(CONTAINS(STR(?o), 'overheating')) }"
    assert column(sparql(ann, terms)) == []
    for path in ("$[?@.events.overheating].title", "$..overheating", "$[?@.properties.status].id"):
        found = asked.ask("GET", f"/search/jsonpath?query={quote(path)}").json()
        assert found, path
        assert ann.ask("GET", f"/search/jsonpath?query={quote(path)}").json() == [], path
    half = quote("$[?@.title == 'Half'].actions.toggle.title")
    assert ann.ask("GET", f"/search/jsonpath?query={half}").status == 200


def test_inferred_facts_are_found_and_the_newest_change_too(asked):
    id_ = asked.made(title="Newest")
    assert column(sparql(asked, f"SELECT ?title {{ <{id_}> td:title ?title }}")) == ["Newest"]
    assert sparql(asked, f"ASK {{ <{id_}> a td:Thing }}").json()["boolean"]
    reply = sparql(asked, "ASK {}")
    assert int(reply.fields["hilum-index-generation"]) > 0
    assert reply.fields["hilum-index-behind"] == "0"
    assert asked.ask("DELETE", f"/things/{id_}").status == 204
    assert column(sparql(asked, f"SELECT ?title {{ <{id_}> td:title ?title }}")) == []


def test_the_call_behind_it(running_site, lamp):
    query = {"query": f"SELECT ?title {{ <{lamp}> td:title ?title }}"}
    found = running_site.ask("registry/query", query)
    assert found["results"]["bindings"][0]["title"]["value"] == "Search lamp"
    path = {"query": f"$[?@.id == '{lamp}'].title"}
    reply = running_site.http("POST", "/$site/registry/jsonpath", json.dumps(path))
    assert reply.json() == ["Search lamp"]


def test_an_unknown_prefix_is_named_as_such(asked):
    reply = sparql(asked, "SELECT ?title { ?title a nowhere:Lamp }")
    assert reply.status == 400
    assert "line 1, column" in reply.json()["detail"]
    assert reply.json()["detail"].endswith("this prefix is not known: declare it with PREFIX")


def test_graphs_declare_the_prefixes_that_they_use(asked, lamp):
    query = f"CONSTRUCT {{ <{lamp}> hilum:rate 7.5 ; a td:Thing }} WHERE {{}}"
    text = sparql(asked, query, "text/turtle").body.decode()
    found = [line.split()[1] for line in text.splitlines() if line.startswith("@prefix")]
    assert sorted(found) == ["hilum:", "rdf:", "td:", "xsd:"]


# JSONPath and XPath


@pytest.mark.parametrize(
    ("language", "query", "count"),
    [
        ("jsonpath", "$[?@.id == '{id}']", 1),
        ("jsonpath", "$[?@.id == '{id}'].title", 1),
        ("jsonpath", "$[?@.id == '{id}' && @.actions].title", 1),
        ("jsonpath", "$[?@.id == '{id}' || @.nothing].title", 1),
        ("jsonpath", "$[?search(@.id, '{id}')].title", 1),
        ("jsonpath", "$[?@.id == '{id}']..title", 1),
        ("xpath", "?*[?id = '{id}']?title", 1),
        ("xpath", "?*[matches(?id, '{id}')]?title", 1),
    ],
)
def test_descriptions_are_searched(asked, lamp, language, query, count):
    reply = asked.ask("GET", f"/search/{language}?query={quote(query.format(id=lamp))}")
    assert reply.status == 200, reply.body
    assert reply.fields["content-type"] == "application/json"
    found = reply.json()
    assert len(found) >= count
    first = found[0]
    assert (first["id"] == lamp) if isinstance(first, dict) else (first == "Search lamp")


def test_results_come_in_pages(asked, lamp):
    asked.made(title="Second")
    for language, query in (("jsonpath", "$.*.id"), ("jsonpath", "$..id"), ("xpath", "?*?id")):
        path, found = f"/search/{language}?limit=1&query={quote(query)}", []
        while path and len(found) < 100:
            reply = asked.ask("GET", path)
            found += reply.json()
            path = (reply.fields["link"] or "").partition(">")[0].lstrip("<")
        assert lamp in found
        assert len(found) == len(set(found)) >= 2


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("jsonpath?query=$[", "line 1"),
        ("jsonpath?query=$..[?foo(@)]", "not defined"),
        ("jsonpath", "missing"),
        ("jsonpath?query=$&limit=0", "limit"),
        ("jsonpath?query=$&limit=x", "limit"),
        ("jsonpath?query=$&other=1", "other"),
        ("xpath?query=?*[", "XPST0003"),
        ("xpath?query=unparsed-text('/etc/passwd')", "FOUT1170"),
    ],
)
def test_bad_searches_are_refused(asked, path, says):
    reply = asked.ask("GET", f"/search/{path}")
    assert reply.status == 400, reply.body
    assert says in reply.json()["detail"]


# Real clients, and queries that go wild


def test_sparqlstore_of_rdflib_queries_us(running_site, lamp):
    from rdflib import Graph, URIRef
    from rdflib.plugins.stores.sparqlstore import SPARQLStore

    store = SPARQLStore(
        f"{running_site.control}/search/sparql",
        headers={"Authorization": f"Bearer {running_site.token}"},
    )
    graph = Graph(store)
    title = URIRef("https://www.w3.org/2019/wot/td#title")
    assert str(graph.value(URIRef(lamp), title)) == "Search lamp"
    with contextlib.closing(store):
        for method, kind in (("GET", "csv"), ("POST", "json"), ("POST_FORM", "xml")):
            store.method, store.returnFormat = method, kind
            (row,) = graph.query(f"SELECT ?o {{ <{lamp}> <{title}> ?o }}")
            assert str(row.o) == "Search lamp", (method, kind)
        found = graph.query(f"CONSTRUCT {{ ?s ?p ?o }} WHERE {{ ?s <{title}> ?o . ?s ?p ?o }}")
        assert len(found.graph) >= 1


def test_three_runaway_queries_harm_nobody(tmp_path):
    with Gateway(tmp_path, config="[search]\nseconds = 1.0\n") as site:
        client = DirectoryClient(site)
        client.made(title="Sane")
        wild = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l }"
        for _ in range(3):
            reply = sparql(client, wild)
            assert reply.status == 504, reply.body
            assert "longer than 1 s" in reply.json()["detail"]
        taken = []
        for _ in range(3):  # the machine may have much else to do
            begin = time.monotonic()
            assert column(sparql(client, TITLES)) == ["Sane"]
            taken.append(time.monotonic() - begin)
        assert min(taken) < 1.0
