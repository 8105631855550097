"""What is looked at in a SPARQL query, what a replica shows, and how answers are written."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.search.problems import InvalidQuery, TooMuch
from registry.search.rdf import Replica
from registry.search.results import CSV, JSON, NAMESPACE, TSV, XML
from registry.search.sparql import read_query
from registry.terms import PREFIXES

A, B = "urn:hilum:s/a", "urn:hilum:s/b"
QUADS = f"""
<{A}> <urn:p> "same" <{A}> .
<{B}> <urn:p> "b" <{B}> .
<{A}> <urn:p> "same" <{B}> .
<{B}> <urn:knows> <{A}/m> <{B}> .
<{A}/m> <urn:p> "m" <{A}> .
""".encode()


def replica():
    made = Replica()
    made.apply((), QUADS)
    return made


def rows(replica, query):
    return list(csv.reader(io.StringIO(replica.ask(query, CSV, 100, 10_000).decode())))[1:]


@pytest.mark.parametrize(
    ("query", "form", "default", "named"),
    [
        ("select * {}", "SELECT", None, None),
        ("PREFIX x: <urn:x#> SELECT * FROM x:y FROM <urn:z> {}", "SELECT", ("urn:x#y", "urn:z"),
         ()),
        ("ASK FROM NAMED <urn:z> {}", "ASK", (), ("urn:z",)),
        ("DESCRIBE <urn:from> FROM hilum:g", "DESCRIBE", ("",), ()),
        ("# FROM <urn:no>\nCONSTRUCT {?from ?p 'FROM <urn:no>'} WHERE {?from ?p ?o}", "CONSTRUCT",
         None, None),
        ('SELECT ("""SERVICE \\""" INSERT""" AS ?x) {}', "SELECT", None, None),
        ("BASE <urn:b/> SELECT * { ?s ex:service ?service . FILTER(1 < 2 && 3 > 2) }", "SELECT",
         None, None),
    ],
)  # fmt: skip
def test_a_query_says_its_form_and_dataset(query, form, default, named):
    asked = read_query(query)
    assert asked.form == form
    assert asked.named_graphs == named
    expected = default if default != ("",) else (PREFIXES["hilum"] + "g",)
    assert asked.default_graphs == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("INSERT DATA { <urn:a> <urn:b> 1 }", "INSERT changes data"),
        ("PREFIX a: <urn:a>\nLOAD <http://127.0.0.1/>", "line 2, column 1: LOAD changes data"),
        ("drop ALL", "DROP changes data"),
        ("SELECT * { SERVICE <http://127.0.0.1/> {} }", "SERVICE <http://127.0.0.1/> is not"),
        ("SELECT * { SERVICE SILENT ?where {} }", "SERVICE ?where is not allowed"),
        ("SELECT * { service ex:x {} }", "SERVICE ex:x is not allowed"),
        ("SELECT * { '''' SERVICE <http://127.0.0.1/> {} }", "SERVICE"),
        ("", "there is no query"),
        ("WHERE {}", "a query begins with"),
        ("SELECT * FROM no:where {}", "prefix no: is not declared"),
        ("SELECT * FROM 7 {}", "FROM wants"),
        ("SELECT * { " + "{" * 200, "brackets within each other"),
        ("SELECT * {} #" + "x" * 300_000, "at most"),
    ],
)
def test_what_is_no_query_here_is_refused(query, says):
    with pytest.raises(InvalidQuery) as refused:
        read_query(query)
    assert says in str(refused.value)


def test_listed_services_may_be_named():
    listed = {"http://neighbour.example/sparql"}
    assert read_query("ASK { SERVICE <http://neighbour.example/sparql> {} }", listed)
    with pytest.raises(InvalidQuery):
        read_query("ASK { SERVICE <http://neighbour.example/other> {} }", listed)


@given(st.text(max_size=60) | st.text("SELECT FROM{}<>'\"\\#?x: \nAS*", max_size=60))
def test_any_text_is_a_query_or_refused(text):
    with suppress(InvalidQuery):
        read_query(text)
    with suppress(InvalidQuery, TooMuch):
        replica().ask(text, CSV, 10, 1000)


def test_the_default_graph_is_a_set():
    made = replica()
    assert rows(made, "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }") == [["4"]]
    made.apply((A,), b"")
    assert rows(made, f"SELECT ?o {{ <{A}> <urn:p> ?o }}") == [["same"]], "B states it too"
    made.apply((B,), b"")
    assert len(made) == 0


ATTACKS = [
    "SELECT ?o { ?s <urn:p> ?o }",
    "SELECT ?o { GRAPH ?g { ?s <urn:p> ?o } }",
    f"SELECT ?o {{ GRAPH <{A}> {{ ?s ?p ?o }} }}",
    f"SELECT ?o {{ <{B}> (<urn:knows>|!<urn:x>)/<urn:p> ?o }}",
    f"SELECT ?o {{ <{B}> (<urn:p>|!<urn:p>)* ?o }}",
    "SELECT ?o { { SELECT ?o { GRAPH ?g { ?s ?p ?o } } } }",
    "SELECT ?o { ?x ?y ?z OPTIONAL { GRAPH ?g { ?s ?p ?o } } }",
    "SELECT (IF(EXISTS { GRAPH ?g { ?s ?p 'm' } }, 'm', '') AS ?o) {}",
    "SELECT (GROUP_CONCAT(?x) AS ?o) { ?s <urn:p> ?x }",
    "SELECT ?o { ?o (^!<urn:x>|!<urn:x>)* ?s }",
    "SELECT ?o { GRAPH ?o {} }",
]


@pytest.mark.parametrize("query", ATTACKS)
@pytest.mark.parametrize("way", ["hide", "keep", "member"])
def test_no_query_finds_what_is_hidden(query, way):
    made = replica()
    if way == "hide":
        made.hide([A], [f"{A}/m"])
    elif way == "keep":
        made.keep([B], "urn:ontology:")
        made.hide((), [f"{A}/m"])
    else:
        made.hide((), [f"{A}/m"])
    found = {value for row in rows(made, query) for value in " ".join(row).split()}
    assert not found & {"m", f"{A}/m"}, query
    if way != "member":
        assert A not in rows(made, "SELECT ?g { GRAPH ?g {} }"), query


def test_what_all_may_see_is_kept():
    made = replica()
    made.apply((), b'<urn:x> <urn:p> "all" <urn:ontology:x> .')
    made.keep([], "urn:ontology:")
    assert rows(made, "SELECT ?o { ?s ?p ?o }") == [["all"]]
    assert rows(made, "SELECT ?g { GRAPH ?g {} }") == [["urn:ontology:x"]]


def test_a_dataset_only_narrows():
    made = replica()
    made.hide([A], [f"{A}/m"])
    made.narrow([A, B, "urn:none"], [A])
    assert rows(made, f"SELECT ?o FROM <{A}> {{ ?s <urn:p> ?o }} ORDER BY ?o") == [["b"], ["same"]]
    assert rows(made, "SELECT * { GRAPH ?g { ?s ?p ?o } }") == []
    with pytest.raises(InvalidQuery):
        made.narrow(["no iri"], [])


TERMS = """SELECT * { VALUES (?a ?b) {
 (<urn:x> UNDEF) ('a"b,\\t\\n<&' 1) ('hé'@fr true) ('2'^^<urn:t> 1.5) } }"""


def test_results_are_read_by_others():
    made = Replica()
    body = json.loads(made.ask(TERMS, JSON, 10, 10_000))
    assert body["head"] == {"vars": ["a", "b"]}
    one, two, three, four = body["results"]["bindings"]
    assert one == {"a": {"type": "uri", "value": "urn:x"}}
    assert two["a"] == {"type": "literal", "value": 'a"b,\t\n<&'}
    assert two["b"]["datatype"] == "http://www.w3.org/2001/XMLSchema#integer"
    assert three["a"] == {"type": "literal", "value": "hé", "xml:lang": "fr"}
    assert four["a"] == {"type": "literal", "value": "2", "datatype": "urn:t"}
    root = ET.fromstring(made.ask(TERMS, XML, 10, 10_000))
    space = {"r": NAMESPACE}
    assert [v.get("name") for v in root.findall("r:head/r:variable", space)] == ["a", "b"]
    assert root.findall(".//r:literal", space)[0].text == 'a"b,\t\n<&'
    table = list(csv.reader(io.StringIO(made.ask(TERMS, CSV, 10, 10_000).decode(), newline="")))
    assert table[:3] == [["a", "b"], ["urn:x", ""], ['a"b,\t\n<&', "1"]]
    lines = made.ask(TERMS, TSV, 10, 10_000).decode().splitlines()
    assert lines[0] == "?a\t?b"
    assert lines[1:3] == [
        "<urn:x>\t",
        '"a\\"b,\\t\\n<&"\t"1"^^<http://www.w3.org/2001/XMLSchema#integer>',
    ]


def test_ask_and_graphs_are_written():
    made = replica()
    assert json.loads(made.ask("ASK { ?s ?p ?o }", JSON, 1, 100)) == {"head": {}, "boolean": True}
    assert b"<boolean>false</boolean>" in made.ask("ASK { ?s ?p 1 }", XML, 1, 1000)
    assert made.ask("ASK {}", CSV, 1, 100) == b"true\r\n"
    query = f"DESCRIBE <{B}>"
    assert b'"b"' in made.ask(query, "text/turtle", 10, 10_000)
    assert ET.fromstring(made.ask(query, "application/rdf+xml", 10, 10_000)).tag.endswith("RDF")
    assert made.ask(query, "application/n-triples", 10, 10_000).count(b"\n") == 2


@pytest.mark.parametrize("query", ["SELECT * { ?s ?p ?o }", "CONSTRUCT WHERE { ?s ?p ?o }"])
def test_answers_are_bounded(query):
    kind = JSON if query.startswith("S") else "text/turtle"
    with pytest.raises(TooMuch, match="3 rows"):
        replica().ask(query, kind, 3, 10_000)
    with pytest.raises(TooMuch, match="60 bytes"):
        replica().ask(query, kind, 10, 60)


def test_a_syntax_error_says_where():
    with pytest.raises(InvalidQuery) as refused:
        replica().ask("SELECT * {\n ?s ?p }", CSV, 1, 100)
    assert (refused.value.line, refused.value.column) == (2, 9)
