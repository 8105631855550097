"""RDF in memory: texts, queries, and that no query leaves the process."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.index.rdf import (
    RESULTS,
    TEXTS,
    Iri,
    Literal,
    Quad,
    Rdf,
    Refused,
    answered,
    parsed,
    rendered,
)

G = Iri("urn:g")
H = Iri("urn:h")
ONE = Quad(Iri("urn:a"), Iri("urn:p"), Literal("one"), G)
TWO = Quad(Iri("urn:a"), Iri("urn:p"), Literal("two"), H)


def store() -> Rdf:
    rdf = Rdf()
    rdf.fill([ONE, TWO])
    return rdf


def values(answer) -> set[str]:
    return {solution["v"].value for solution in answer}


def test_a_query_sees_the_graphs_that_it_is_given():
    rdf, text = store(), "SELECT ?v { ?s ?p ?v }"
    assert values(rdf.query(text)) == {"one", "two"}
    assert values(rdf.query(text, [G])) == {"one"}
    assert values(rdf.query(text, [])) == set()
    named = "SELECT ?v { GRAPH ?g { ?s ?p ?v } }"
    assert values(rdf.query(named, [G])) == {"one"}
    assert values(rdf.query(named, [G], named=False)) == set()
    assert values(rdf.query(named)) == {"one", "two"}


def test_a_graph_is_replaced():
    rdf = store()
    rdf.replace([G], [])
    assert list(rdf.quads()) == [TWO]
    assert len(rdf) == 1


@pytest.mark.parametrize("media_type", TEXTS)
def test_what_is_written_is_read_again(media_type):
    quads = list(parsed(rendered([ONE], media_type), media_type))
    assert [quad.triple for quad in quads] == [ONE.triple]


@pytest.mark.parametrize("media_type", RESULTS)
def test_solutions_are_written_in_every_format(media_type):
    assert b"one" in answered(store().query("SELECT ?v { ?s ?p ?v }"), media_type)


def test_a_graph_that_was_constructed_is_written():
    answer = store().query("CONSTRUCT { ?s ?p ?v } { ?s ?p ?v }")
    assert b'"one"' in answered(answer, "text/turtle")


def test_bad_text_is_a_value_error_with_the_place():
    with pytest.raises(ValueError, match="line 1"):
        list(parsed(b"<a> <b>", "text/turtle", "urn:base"))
    with pytest.raises(ValueError):
        Rdf().load(b"<a> <b>", "application/n-quads")
    with pytest.raises(ValueError):
        store().query("SELECT")


@pytest.mark.parametrize(
    "text",
    [
        "ASK { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }",
        "ASK { service silent ?where { ?s ?p ?o } }",
        "ASK { ?s ?p '#' . SERVICE <http://a/> { ?s ?p ?o } }",
        'ASK { ?s ?p "a\\"" . SERVICE <http://a/> { ?s ?p ?o } }',
        "ASK { { ?s ?p ?o }SERVICE<http://a/>{ ?s ?p ?o } }",
        "ASK { ?s ?p ?a, ?b FILTER(?a < 1) SERVICE <http://a/> { ?s ?p ?o } FILTER(?b > 1) }",
        "ASK { # ' \n SERVICE <http://a/> { ?s ?p ?o } # '\n }",
    ],
)
def test_no_query_asks_another_machine(text):
    with pytest.raises(Refused, match="SERVICE"):
        store().query(text)


@pytest.mark.parametrize(
    "text",
    [
        "ASK { ?s <urn:SERVICE> 'SERVICE' } # SERVICE",
        "ASK { ?service <urn:q> ?o }",
        "PREFIX service: <urn:s:> ASK { ?s service:x ?o }",
        "PREFIX x: <urn:s:> ASK { ?s x:service ?o }",
    ],
)
def test_the_word_alone_is_no_harm(text):
    assert bool(store().query(text)) is False


@given(st.binary(max_size=200), st.sampled_from(sorted(TEXTS)))
def test_any_bytes_are_read_or_refused(data, media_type):
    with contextlib.suppress(ValueError):
        list(parsed(data, media_type))
