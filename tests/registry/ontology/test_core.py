"""Our own ontology: every term is defined and explained, and what it implies is what we mean."""

import re

import pyoxigraph
import pytest
import rdflib
from rdflib import OWL, RDF, RDFS, Literal, URIRef

from registry import vocabulary
from registry.index.closure import Closure
from registry.ontology import CORE, load_core, load_shapes
from registry.terms import HILUM, PREFIXES

BRICK, TD = PREFIXES["brick"], PREFIXES["td"]
BUILDING = "http://building.test/#"


@pytest.fixture(scope="module")
def graph():
    whole = rdflib.Graph()
    for text in load_core().values():
        whole.parse(data=text, format="turtle")
    return whole


def own(graph):
    return {t for triple in graph for t in triple if isinstance(t, URIRef) and t.startswith(HILUM)}


def closure(*texts):
    triples = [
        (quad.subject.value, quad.predicate.value, quad.object.value)
        for text in (*load_core().values(), *texts)
        for quad in pyoxigraph.parse(text.encode(), pyoxigraph.RdfFormat.TURTLE)
        if isinstance(quad.object, pyoxigraph.NamedNode)
    ]
    return Closure(triples)


@pytest.mark.parametrize("part", CORE)
def test_both_parsers_read_the_same(part):
    text = load_core()[part]
    ours = rdflib.Graph().parse(data=text, format="turtle")
    theirs = list(pyoxigraph.parse(text.encode(), pyoxigraph.RdfFormat.TURTLE))
    assert len(ours) == len(theirs) > 50
    assert (URIRef(vocabulary.ONTOLOGIES + part), RDF.type, OWL.Ontology) in ours


def test_every_term_of_ours_is_defined_named_and_explained(graph):
    kinds = {OWL.Class, OWL.ObjectProperty, OWL.DatatypeProperty, OWL.NamedIndividual}
    for term in own(graph):
        assert kinds & set(graph.objects(term, RDF.type)), term
        for said in (RDFS.label, RDFS.comment):
            texts = list(graph.objects(term, said))
            assert len(texts) == 1, (term, said)
            assert isinstance(texts[0], Literal)
            assert texts[0].language == "en"
        assert list(graph.objects(term, RDFS.isDefinedBy)), term


def test_labels_are_of_one_term_only(graph):
    classes = [str(graph.value(t, RDFS.label)) for t in own(graph) if (t, None, OWL.Class) in graph]
    assert len(classes) == len(set(classes))


def test_what_the_program_says_is_defined(graph):
    said = {v for v in vars(vocabulary).values() if isinstance(v, str) and v.startswith(HILUM)}
    said |= set(vocabulary.DEPLOYMENTS.values())
    assert said - {HILUM} <= set(map(str, own(graph)))
    in_shapes = set(re.findall(r"hilum:(\w+)", load_shapes()))
    assert {HILUM + name for name in in_shapes} <= set(map(str, own(graph)))


def test_our_terms_are_those_of_the_thing_description():
    known = closure()
    assert TD + "Thing" in known.superclasses(vocabulary.VIRTUAL_OBJECT)
    assert TD + "InteractionAffordance" in known.superclasses(vocabulary.METHOD)
    assert TD + "InteractionAffordance" in known.superclasses(vocabulary.EVENT_CHANNEL)
    assert PREFIXES["sosa"] + "Sensor" in known.superclasses(BRICK + "Zone_Air_Temperature_Sensor")


@pytest.mark.parametrize(
    "said",
    [
        "b:room brick:isPartOf b:floor . b:floor brick:isPartOf b:house .",
        "b:floor brick:hasPart b:room . b:house brick:hasPart b:floor .",
        "b:floor bot:hasSpace b:room . b:house bot:hasStorey b:floor .",
        "b:room schema:containedInPlace b:floor . b:house schema:containsPlace b:floor .",
        "b:room hilum:partOf b:floor . b:house hilum:hasPart b:floor .",
        "b:room brick:isPartOf b:floor . b:house bot:hasStorey b:floor .",
    ],
)
def test_places_in_any_words_lie_in_each_other(said):
    head = "".join(f"@prefix {p}: <{iri}> .\n" for p, iri in PREFIXES.items())
    head += f"@prefix b: <{BUILDING}> .\n@prefix bot: <https://w3id.org/bot#> .\n"
    assert closure(head + said).above(BUILDING + "room") == {
        BUILDING + name for name in ("room", "floor", "house")
    }


def test_things_in_any_words_are_somewhere():
    head = "".join(f"@prefix {p}: <{iri}> .\n" for p, iri in PREFIXES.items())
    head += f"@prefix b: <{BUILDING}> .\n"
    known = closure(
        head + "b:one brick:hasLocation b:room . b:room brick:isLocationOf b:two ."
        "b:three sosa:isHostedBy b:room . b:room sosa:hosts b:four . b:room brick:hasPoint b:five ."
    )
    for name in ("one", "two", "three", "four", "five"):
        assert known.places_of(BUILDING + name) == {BUILDING + "room"}, name
