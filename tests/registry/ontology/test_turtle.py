"""Ontologies that are handed over: read within limits, nothing fetched, errors with a line."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.index.index import Index
from registry.ontology import load_core
from registry.ontology.difference import ROUNDS, difference
from registry.ontology.turtle import (
    MAX_IRI,
    MAX_LITERAL,
    MAX_TOLD,
    Limits,
    core,
    statements,
    summary,
)
from registry.problems import InvalidDocument
from tests.support import shared_data

HEAD = """@prefix a: <http://a.test/> .
@prefix brick: <https://brickschema.org/schema/Brick#> .
@prefix hilum: <https://w3id.org/hilum#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
"""


USUAL = Limits()


def problem(text: str | bytes, limits: Limits = USUAL):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidDocument) as caught:
        summary(data, limits)
    (found,) = caught.value.problems
    return found


def problems(data: bytes):
    try:
        summary(data)
    except InvalidDocument as error:
        return error.problems
    return ()


def test_what_is_in_an_ontology_is_counted():
    told = summary(
        f"""{HEAD}
        a:model a owl:Ontology ; owl:imports <http://far.test/brick.ttl> .
        a:Room rdfs:subClassOf brick:Room . a:Hall a owl:Class ; rdfs:subClassOf a:Room,
            [ a owl:Restriction ; owl:onProperty a:p ; owl:someValuesFrom a:Room ] .
        a:in rdfs:subPropertyOf hilum:partOf .
        a:r1 a a:Room ; brick:isPartOf a:f1 . a:f1 brick:hasPart a:r2 .
        """.encode()
    )
    assert (told.classes, told.properties, told.individuals) == (2, 1, 1)
    assert told.places == 2
    assert told.imports == ("http://far.test/brick.ttl",)
    assert "not fetched" in told.notes[0]
    assert "owl:Restriction (1)" in told.notes[1]


def test_nothing_is_fetched(monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    text = f"{HEAD} a:o owl:imports <http://169.254.169.254/> ; rdfs:seeAlso <file:///etc/passwd> ."
    assert summary(text.encode()).imports == ("http://169.254.169.254/",)


def test_what_changes_our_own_terms_is_told():
    told = summary(f"{HEAD} hilum:Method rdfs:subClassOf a:Nonsense .".encode())
    assert "hilum:Method" in told.notes[0]
    assert "nothing in it" in summary(b"# empty").notes[0]


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("\n\n  b:x b:y b:z .", 3, 3, "the prefix b: has not been declared"),
        (HEAD + "a:x a:y <http://a b> .", 6, 9, "invalid IRI"),
        (HEAD + "a:x a:y <http://a.test/%zz> .", 6, 9, "percent encoding"),
        (HEAD + "a:x a:y a:z ; ; ;; .. ", 6, 21, "not a valid"),
        (HEAD + 'a:x a:y "unfinished', 6, 9, ""),
        (HEAD + "a:x a:y [ a:y [ a:y a:z ] .", 6, 27, "end with a ']'"),
        ("<x> <y> <z> .", 1, 1, "no scheme"),
        (b"\xff\xfe", 1, 1, "not UTF-8"),
        ("<?xml version='1.0'?><rdf:RDF/>", 1, 1, "not Turtle"),
        ('{"@id": "x"}', 1, 1, "not Turtle"),
        (HEAD + "a:x a:y <<( a:x a:y a:z )>> .", 6, 9, "RDF 1.2"),
    ],
)
def test_errors_say_where_and_what(text, line, column, said):
    found = problem(text)
    assert found.line == line
    assert found.column == column
    assert said in found.message


def test_other_formats_are_told_how_to_be_converted():
    assert "rdfpipe -i xml" in problem("<rdf:RDF/>").hint
    assert "@prefix" in problem("b:x b:y b:z .").hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"@prefix a: <http://a.test/{'y' * 5000}> .\n" + "a:b a:c a:d .\n" * 10, "an IRI has"),
        (
            "@base <http://a.test/> .\n" + "@base <aaaaaaaaaa/> .\n" * 500 + "<b> <c> <d>.",
            "IRI has",
        ),
        (f'{HEAD} a:b a:c "{"x" * (MAX_LITERAL + 1)}" .', "a text has"),
        (f"{HEAD} a:b a:c " + "(" * 20_000 + ")" * 20_000 + " .", "more than 10000 triples"),
        (f"{HEAD} a:b a:c " + "[ a:c " * 20_000 + "a:d" + "]" * 20_000 + " .", "10000 triples"),
        (f"{HEAD} a:b a:c " + ",".join(f"a:d{n}" for n in range(10_001)) + " .", "10000 triples"),
        ("x" * 200_000, ""),
    ],
)
def test_hostile_texts_end_early(text, said):
    assert said in problem(text, Limits(triples=10_000)).message


def test_a_short_text_cannot_stand_for_very_much(monkeypatch):
    monkeypatch.setattr("registry.ontology.turtle.MAX_EXPANDED", 100_000)
    text = f"@prefix a: <http://a.test/{'y' * (MAX_IRI - 40)}> .\n" + "a:b a:c a:d .\n" * 100
    assert "written out" in problem(text).message


def test_size_is_limited_before_anything_is_read():
    found = problem(b"#" * 2000, Limits(bytes=1999))
    assert "2000 bytes, more than the 1999 allowed" in found.message


def test_imports_that_are_told_are_not_endless():
    text = HEAD + "a:o owl:imports " + ",".join(f"a:{n}" for n in range(50)) + " ."
    assert len(summary(text.encode()).imports) == MAX_TOLD


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told_why_not(data):
    for found in problems(data):
        assert found.line >= 1
        assert found.column >= 1
        assert found.message


@given(st.text("ab:<>.;,[]()\"'@^# \n_\\u0", max_size=120))
def test_almost_turtle_is_read_or_told_why_not(text):
    assert all(found.line >= 1 for found in problems((HEAD + text).encode()))


def test_our_own_ontology_counts_as_one():
    for text in load_core().values():
        assert summary(text.encode()).triples > 50
    assert core().above("x") == {"x"}


# Differences


def test_the_same_in_other_words_is_no_difference():
    old = f"{HEAD} a:x a:y a:z . a:x a:p [ a:q 1 ; a:r [ a:s 'deep' ] ] ."
    new = (
        "@prefix b: <http://a.test/> .\n_:n b:s 'deep' . _:m b:r _:n ; b:q 1 . "
        "b:x b:p _:m ; b:y b:z ."
    )
    found = difference(old, new)
    assert (found.removed, found.added) == (0, 0)


def test_what_goes_and_comes_is_told():
    old = f"{HEAD} a:x brick:isPartOf a:y ; a:p [ a:q 1 ] ."
    new = f"{HEAD} a:x brick:isPartOf a:z ; a:p [ a:q 2 ] ."
    found = difference(old, new)
    assert (found.removed, found.added) == (3, 3)
    assert found.went[0] == "<http://a.test/x> <http://a.test/p> []"
    assert "<http://a.test/x> brick:isPartOf <http://a.test/z>" in found.came
    assert difference("", old).added == 3


def test_lists_of_any_length_are_compared():
    numbers = " ".join(map(str, range(3 * ROUNDS)))
    old = f"{HEAD} a:x a:p ( {numbers} ) ."
    assert difference(old, old).added == 0
    assert difference(old, old.replace(" 7 ", " 70 ")).added > 0


@given(st.lists(st.tuples(*[st.sampled_from(["a:x", "a:y", "_:b", "_:c"])] * 2), max_size=8))
def test_nothing_differs_from_itself(pairs):
    text = HEAD + "".join(f"{s} a:p {o} .\n" for s, o in pairs)
    turned = HEAD + "".join(f"{s} a:p {o} .\n" for s, o in reversed(pairs))
    renamed = re.sub(r"_:([bc])", r"_:other\1", turned)
    assert difference(text, renamed).added == 0


# Models that nobody here wrote


@pytest.mark.parametrize(
    ("file", "places"),
    [("rice_brick.ttl", 250), ("apartment-134-sosa.ttl", 0), ("iot-lite.ttl", 0)],
)
def test_models_of_others_are_read(file, places):
    data = (shared_data() / "ontology" / file).read_bytes()
    told = summary(data)
    assert told.triples == sum(1 for _ in statements(data.decode()))
    assert told.places >= places
    index = Index(load_core() | {"model": data.decode()})
    assert not index.unread
    assert len(index) >= told.triples


def test_a_room_of_a_real_building_is_in_the_building():
    text = (shared_data() / "ontology" / "rice_brick.ttl").read_text()
    index = Index(load_core() | {"rice": text})
    rice = "http://virginia.edu/building/ontology/rice#"
    above = index.closure.above(rice + "VAV1")
    assert rice + "RICE" in index.closure.above(rice + "AHU_1")
    assert above >= {rice + "VAV1"}
