"""Vocabularies of others as RDF: nothing is fetched, and a thing speaks of itself alone."""

import socket
from contextlib import suppress
from typing import Any

import pytest
from pyoxigraph import RdfFormat, parse

from registry.things.contexts import DISCOVERY, TD_1_0, TD_1_1
from registry.things.document import read
from registry.things.expansion import MAX_BYTES, NotExpandable, expand
from registry.things.mapping import object_of
from tests.registry.things.examples import HOST, ID, encoded, thing

ME = f"<{ID}>"
MEMBER = "<urn:hilum:localhost/device/0804d572-cce8-422a-bb7c-4412fcd56f06/{}>"
MY = {"my": "https://my.test/"}
RDF_TYPE = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def expanded(**members: Any) -> set[tuple[str, ...]]:
    context = members.pop("@context", [TD_1_1, MY])
    one = read(encoded(thing(**{"@context": context}, **members)), unknown_contexts=True)
    made = object_of(one, "localhost", id_=ID)
    triples = expand(one.text, made.object, ID)
    text = "".join(f"{' '.join(triple)} .\n" for triple in triples)
    assert len(list(parse(input=text, format=RdfFormat.N_TRIPLES))) == len(triples)
    return {tuple(each) for each in triples}


def test_a_thing_in_words_of_others():
    found = expanded(
        **{
            "@type": ["Thing", "my:Lamp", "saref:LightSwitch", "foo:Bar"],
            "my:serial": 7,
            "my:maker": {"@id": "urn:makers:acme"},
            "my:note": {"@value": "hell\n", "@language": "de"},
            "foo:bar": 1,
        }
    )
    integer = "<http://www.w3.org/2001/XMLSchema#integer>"
    assert found == {
        (ME, RDF_TYPE, "<https://my.test/Lamp>"),
        (ME, RDF_TYPE, "<https://saref.etsi.org/core/LightSwitch>"),
        (ME, "<https://my.test/serial>", f'"7"^^{integer}'),
        (ME, "<https://my.test/maker>", "<urn:makers:acme>"),
        (ME, "<https://my.test/note>", '"hell\\n"@de'),
    }


def test_members_are_named_as_the_site_names_them():
    forms = {"forms": [{"href": "x", "my:secret": 1}]}
    found = expanded(
        properties={"t": {"unit": "unit:DEG_C", "my:about": "air", **forms}},
        actions={"a b": {"@type": "my:Cooling", **forms}},
        events={"t": {"my:level": True, **forms}},
    )
    about, unit = "<https://my.test/about>", "<https://schema.org/unitCode>"
    degrees = "<http://qudt.org/vocab/unit/DEG_C>"
    truth = '"true"^^<http://www.w3.org/2001/XMLSchema#boolean>'
    assert found == {
        (MEMBER.format("t"), about, '"air"'),
        (MEMBER.format("t"), unit, degrees),
        (MEMBER.format("t;write"), about, '"air"'),
        (MEMBER.format("t;write"), unit, degrees),
        (MEMBER.format("a%20b"), RDF_TYPE, "<https://my.test/Cooling>"),
        (MEMBER.format("t;event"), "<https://my.test/level>", truth),
    }


def test_parts_without_a_name_belong_to_the_thing():
    found = expanded(**{"my:at": {"my:x": 1, "my:in": {"my:y": 2}}, "my:other": {"my:x": 3}})
    assert len(found) == 6
    assert {subject for subject, _, _ in found} - {ME} != set()


@pytest.mark.parametrize(
    "members",
    [
        {"my:x": {"@id": "urn:neighbour", "@type": "my:Stolen", "my:owner": "me"}},
        {"rdfs:subClassOf": {"@id": "my:Sensor"}},
        {"owl:sameAs": {"@id": "urn:neighbour"}},
        {"rdf:value": 1},
        {"hilum:within": {"@id": "urn:vault"}},
        {"hilum:ofMicroservice": {"@id": "urn:other"}},
        {"td:hasActionAffordance": {"@id": "urn:hilum:localhost/other/act"}},
        {"@type": ["hilum:Microservice", "td:Thing", "rdfs:Class", "owl:Class"]},
        {"@id": "urn:neighbour"},
        {"@graph": [{"@id": "urn:neighbour", "my:x": 1}]},
        {"@included": [{"@id": "urn:neighbour", "my:x": 1}]},
        {"@reverse": {"my:owns": {"@id": "urn:neighbour"}}},
        {"my:x": f"http://{HOST}/panel"},
    ],
)
def test_a_thing_speaks_of_itself_alone_and_not_in_words_of_ours(members: dict[str, Any]):
    allowed = (ME, "<https://my.test/x>", "<urn:neighbour>")
    assert expanded(**members) <= {allowed}


def test_labels_are_allowed():
    assert (ME, "<http://www.w3.org/2000/01/rdf-schema#label>", '"L"') in expanded(
        **{"rdfs:label": "L"}
    )


def test_links_that_lead_away():
    model = {"rel": "type", "type": "application/tm+json", "href": "https://models.test/lamp"}
    links = [
        model,
        {"rel": "my:shop", "href": "https://shop.test/"},
        {"rel": "foo:bar", "href": "https://shop.test/"},
        {"rel": "two words", "href": "https://shop.test/"},
        {"href": "https://shop.test/"},
        {"rel": "alternate", "href": f"http://{HOST}/panel"},
    ]
    assert expanded(links=links) == {
        (ME, "<http://www.iana.org/assignments/relation/type>", "<https://models.test/lamp>"),
        (ME, "<https://my.test/shop>", "<https://shop.test/>"),
    }


@pytest.mark.parametrize(
    "context",
    [
        [TD_1_1, "http://169.254.169.254/latest"],
        [TD_1_0, TD_1_1, DISCOVERY, MY],
        [TD_1_1, MY, {"x": {"@id": "my:x", "@context": "http://127.0.0.1:8081/"}}],
        [TD_1_1, MY, {"x": {"@id": "my:x", "@context": TD_1_1}}],
    ],
)
def test_nothing_is_fetched(context: list[object]):
    expanded(**{"@context": context, "x": {"y": 1}, "my:x": {"@context": "http://a.test/", "b": 1}})


@pytest.mark.parametrize(
    "context",
    [
        {"my": "my:my"},
        {"@version": 2},
        {"a": "b:c", "b": "a:d"},
        {"@base": 3},
        {"@vocab": 3},
        {"x": {"@container": "@nonsense", "@id": "urn:x"}},
        {"@import": "http://127.0.0.1/"},
        {"@id": "urn:x"},
    ],
)
def test_contexts_that_make_no_sense(context: dict[str, Any]):
    with suppress(NotExpandable):
        expanded(**{"@context": [TD_1_1, context]}, x=1)


def test_what_is_too_long_stays_as_it_is():
    with pytest.raises(NotExpandable, match=str(MAX_BYTES)):
        expanded(**{"my:x": "x" * MAX_BYTES})


@pytest.mark.parametrize(
    "members",
    [
        {"my:a b": 1},
        {"my:x": {"@id": "urn:a|b"}},
        {"my:x": {"@value": "x", "@language": "not a language"}},
        {"my:x": {"@value": "x", "@type": "urn:a|b"}},
        {"my:x": {"@value": "x", "@type": "http://%"}},
        {"my:x%": 1},
    ],
)
def test_what_no_store_of_triples_reads_is_left_out(members: dict[str, Any]):
    assert expanded(**members) == set()
