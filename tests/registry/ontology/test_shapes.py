"""The shapes: silent about good descriptions, and clear about what is missing in others."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.index.closure import Closure
from registry.index.rdf import Iri, Literal, Quad, parsed, rendered
from registry.index.triples import Offered, Service, asserted, graph_of
from registry.model import (
    EventChannel,
    Method,
    Profile,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name, urn
from registry.ontology import checking, load_core
from registry.ontology.findings import Answered, Asked
from registry.ontology.shapes import MAX_FINDINGS, Shapes
from registry.terms import expand
from registry.vocabulary import HAS_ACTION, LATENCY, NAME, PLACE_CLASS

ROOM = Name("site.test/rooms/101")
A = expand("rdf:type")
SENSOR = expand("brick:Zone_Air_Temperature_Sensor")
PLACE = "http://building.test/#101"
KNOWN = {term: expand("rdfs:Class") for term in (SENSOR, expand("sosa:Sensor"))} | {
    PLACE: PLACE_CLASS
}

shapes = Shapes()


def description(**how):
    level = ServiceLevel(latency=50, availability=0.99, rate=2)
    profile = Profile(category=SENSOR, outputs={"value": SENSOR}, level=level)
    channel = EventChannel(types=(SENSOR,), profile=profile)
    fields = {
        "description": "The air of room 101.",
        "types": (SENSOR,),
        "place": PLACE,
        "channels": {"temperature": channel},
        "methods": {"calibrate": Method()},
    }
    return VirtualObject(ROOM, **(fields | how))


def quads_of(obj, deployment="edge"):
    service = Service(RegistrationId("Air", "1", "a"), deployment)
    return asserted(Offered(ROOM, obj, (service,)), urn(ROOM))


def findings(obj, known=KNOWN, extra=()):
    graph = graph_of(ROOM)
    kinds = {expand(f"td:{k}") for k in ("Thing", "ActionAffordance", "EventAffordance")}
    kinds |= {expand(f"hilum:{k}") for k in ("VirtualObject", "Method", "EventChannel")}
    kinds |= {expand("hilum:Microservice")}
    said = {Iri(i): k for i, k in (known | dict.fromkeys(kinds, expand("rdfs:Class"))).items()}
    quads = [*quads_of(obj), *(Quad(i, Iri(A), Iri(k), graph) for i, k in said.items()), *extra]
    return shapes.check(rendered(quads, "application/n-triples").decode())


def test_a_good_description_is_good():
    assert findings(description()) == []


@pytest.mark.parametrize(
    ("how", "severity", "said"),
    [
        ({"types": ()}, "info", "nobody can find it by its class"),
        ({"description": ""}, "info", "what this is for"),
        ({"channels": {}, "methods": {}}, "info", "neither called nor subscribed to"),
        ({"place": "http://elsewhere.test/#1"}, "warning", "no model of this site knows"),
        ({"types": (expand("brick:Temprature_Sensor"),)}, "warning", "exactly this name"),
    ],
)
def test_what_an_object_lacks(how, severity, said):
    (found,) = findings(description(**how))
    assert (found.severity, found.node) == (severity, urn(ROOM))
    assert said in found.message


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (Profile(category=expand("schema:Nonsense")), "this category"),
        (Profile(inputs={"x": expand("schema:Nonsense")}), "this input"),
        (Profile(outputs={"x": expand("schema:Nonsense")}), "this output"),
        (Profile(level=ServiceLevel(latency=400_000)), "ends at its deadline"),
        (Profile(level=ServiceLevel(availability=0.1)), "no promise"),
    ],
)
def test_what_a_profile_lacks(profile, said):
    (found,) = findings(description(methods={"read": Method(profile=profile)}))
    assert (found.severity, found.node) == ("warning", urn(Name(f"{ROOM}/read")))
    assert said in found.message


@pytest.mark.parametrize(
    ("subject", "name", "value", "said"),
    [
        (urn(ROOM), NAME, Literal("another"), "one name"),
        (urn(ROOM), HAS_ACTION, Literal("text"), "method or an event channel"),
        (urn(ROOM), expand("hilum:place"), Iri(SENSOR), "in one place"),
        (f"{urn(ROOM)}/calibrate", LATENCY, Literal("soon"), "milliseconds"),
        (f"{urn(ROOM)}/calibrate", expand("hilum:effect"), Literal("open"), "IRI of a situation"),
    ],
)
def test_what_an_extension_can_spoil(subject, name, value, said):
    found = findings(description(), extra=[Quad(Iri(subject), Iri(name), value, graph_of(ROOM))])
    assert any(said in each.message for each in found)


def test_the_worst_comes_first_and_not_everything_comes():
    types = tuple(f"http://unknown.test/#{n}" for n in range(32))
    channels = {f"c{n}": EventChannel(types=types) for n in range(10)}
    found = findings(description(channels=channels, place="http://elsewhere.test/"))
    assert len(found) == MAX_FINDINGS
    assert all(each.severity == "warning" for each in found)


def test_every_class_that_we_name_is_known_to_our_ontology():
    """Else a site that loads nothing would be warned of the very classes that it may use."""
    triples = [
        (q.subject.value, q.predicate.value, q.object.value)
        for text in load_core().values()
        for q in parsed(text.encode(), "text/turtle")
        if isinstance(q.subject, Iri) and isinstance(q.object, Iri)
    ]
    known = Closure(triples)
    classes = {o for _, p, o in triples if p == expand("rdfs:subClassOf")}
    outside = ("https://www.w3.org/2019/wot/hypermedia#", expand("iot-lite:Service"))
    assert not {c for c in classes if not known.speaks_of(c) and not c.startswith(outside)}


def asked(*lines):
    answers = io.BytesIO()
    checking.run(io.BytesIO(b"".join(lines)), answers)
    return [msgspec.json.decode(line, type=Answered) for line in answers.getvalue().splitlines()]


def test_the_process_answers_line_by_line_whatever_it_is_asked():
    data = rendered(quads_of(description()), "application/n-triples").decode()
    good = msgspec.json.encode(Asked(data)) + b"\n"
    first, second, third = asked(good, b'{"data": "<not a triple"}\n', good)
    assert first.findings == third.findings
    assert not first.error
    assert second.error
    assert asked(b"no json\n", b"{}\n")[0].error


@given(st.binary(max_size=300).filter(lambda b: b"\n" not in b))
def test_no_line_ends_the_process(line):
    assert len(asked(line + b"\n")) == 1
