"""Objects as graphs: what is said of them, and what follows."""

import io

import pytest

from registry.index.index import Index, IndexDelta
from registry.index.rdf import Iri, Literal, Quad, parsed
from registry.index.triples import Offered, Service, graph_of, inferred_of
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Profile,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name
from registry.terms import HILUM

ROOM = Name("s/Room")
BUILDING = """
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix hilum: <https://w3id.org/hilum#> .
@prefix x: <urn:x:> .
x:Thermometer rdfs:subClassOf x:Sensor .
x:Sensor rdfs:subClassOf [ a owl:Restriction ] ; rdfs:label "a sensor" .
x:Reading rdfs:subClassOf x:Quantity .
x:near rdfs:subPropertyOf x:beside .
x:room hilum:partOf x:floor .
x:floor hilum:partOf x:house .
"""


def offered(**more) -> Offered:
    method = Method(
        description="now",
        endpoints=(Endpoint("https://10.0.0.1:99/read"), Endpoint("http://10.0.0.2/read")),
        types=("urn:x:Reading", "no iri"),
        profile=Profile(
            category="urn:x:Measuring",
            inputs={"unit": "urn:x:Unit"},
            outputs={"": "urn:x:Temperature"},
            preconditions=("urn:x:On",),
            effects=("urn:x:Known",),
            level=ServiceLevel(latency=50, rate=2),
        ),
    )
    obj = VirtualObject(
        "s/Room",
        description="a room",
        methods={"read": method},
        channels={"news": EventChannel(sources=("mqtt://b/t", "coap://c/x"))},
        types=("urn:x:Thermometer",),
        place="urn:x:room",
    )
    service = Service(RegistrationId("Rooms", "1.0", "a"), "edge")
    return Offered(ROOM, obj, (service,))._replace(**more)


def index() -> Index:
    return Index({"building": BUILDING})


def ask(index: Index, text: str) -> bool:
    return bool(index.store.query(f"PREFIX x: <urn:x:> ASK {{ {text} }}"))


def test_an_object_and_its_members_are_in_its_graph():
    built = index()
    assert built.put(offered()) is not None
    member = "<urn:hilum:s/Room/read>"
    for text in (
        "<urn:hilum:s/Room> a td:Thing, hilum:VirtualObject, x:Thermometer; hilum:place x:room",
        '<urn:hilum:s/Room> hilum:name "s/Room"; td:description "a room"',
        f"<urn:hilum:s/Room> td:hasActionAffordance {member}",
        f'{member} a td:ActionAffordance, hilum:Method, x:Reading; td:name "read"',
        f"{member} hilum:category x:Measuring; hilum:inputClass x:Unit",
        f"{member} hilum:outputClass x:Temperature; hilum:precondition x:On; hilum:effect x:Known",
        f'{member} hilum:latency 5.0e1; hilum:rate 2.0e0; hilum:protocol "http"',
        "<urn:hilum:s/Room> td:hasEventAffordance <urn:hilum:s/Room/news>",
        '<urn:hilum:s/Room/news> a hilum:EventChannel; hilum:protocol "mqtt", "coap"',
        "?m a hilum:Microservice; hilum:deployment hilum:Edge; hilum:offers <urn:hilum:s/Room>",
        "<urn:hilum:s/Room> hilum:ofMicroservice <urn:hilum:s/$site/microservice/Rooms/1.0/a>",
    ):
        assert ask(built, f"GRAPH <urn:hilum:s/Room> {{ {text} }}"), text
    everything = b"".join(str(quad).encode() for quad in built.store.quads())
    assert b"10.0.0" not in everything


def test_what_follows_is_kept_apart():
    built = index()
    built.put(offered())
    follows = "GRAPH <urn:hilum:s/Room#inferred>"
    assert ask(built, f"{follows} {{ <urn:hilum:s/Room> a x:Sensor }}")
    assert ask(built, f"{follows} {{ <urn:hilum:s/Room/read> a x:Quantity }}")
    assert ask(built, f"{follows} {{ <urn:hilum:s/Room> hilum:within x:room, x:floor, x:house }}")
    assert not ask(built, "GRAPH <urn:hilum:s/Room> { ?s a x:Sensor }")
    closure = "GRAPH <https://w3id.org/hilum/ontology/#closure>"
    assert ask(built, f"{closure} {{ x:room hilum:partOf x:house }}")


def test_the_same_again_changes_nothing_and_another_replaces():
    built = index()
    built.put(offered())
    size = len(built)
    assert built.put(offered()) is None
    moved = offered(obj=VirtualObject("s/Room", place="urn:x:floor"))
    cleared, came = built.put(moved)
    assert cleared == (graph_of(ROOM), inferred_of(ROOM))
    assert b"urn:x:floor" in IndexDelta(1, cleared, came).came()
    assert not ask(built, "?s hilum:within x:room")
    assert len(built) < size
    assert built.remove(ROOM) == (graph_of(ROOM), inferred_of(ROOM))
    assert built.remove(ROOM) is None
    assert ROOM not in built
    assert IndexDelta(1).came() == b""


def test_what_a_description_calls_a_property_is_one():
    """However it is called here: by a method that reads, one that writes, or a channel."""
    names = ("on", "on;write", "both", "both;read", "dim", "per%20cent")
    obj = VirtualObject("s/Room", methods=dict.fromkeys(names, Method()))
    text = '{"properties": {"on": {}, "both": {}, "per cent": {}}, "actions": {"both": {}}}'
    built = index()
    built.put(offered(obj=obj, id="urn:dev:1", text=text))
    for name in names:
        member = f"<urn:hilum:s/Room/{name}>"
        is_property = name not in ("both", "dim")
        assert ask(built, f"<urn:dev:1> td:hasPropertyAffordance {member}") == is_property, name
        assert ask(built, f"{member} a td:PropertyAffordance") == is_property, name
        assert ask(built, f"<urn:dev:1> td:hasActionAffordance {member}"), name
    assert ask(built, '<urn:dev:1> td:hasPropertyAffordance/td:name "on"')


def test_a_description_has_its_own_id_and_title():
    built = index()
    built.put(offered(id="urn:dev:1", text='{"title": "T", "x": [1]}'))
    assert built.subject_of(ROOM) == "urn:dev:1"
    assert built.name_of("urn:dev:1") == ROOM
    assert ask(built, '<urn:dev:1> td:title "T"; td:description "a room"')
    built.put(offered(id="urn:dev:1", text='{"title": 1'))
    assert not ask(built, "?s td:title ?t")


@pytest.mark.parametrize(
    "taken",
    [
        "urn:hilum:s/Neighbour",
        HILUM + "VirtualObject",
        "urn:x:Sensor",
        "https://w3id.org/hilum/ontology/core",
        "no iri",
    ],
)
def test_nobody_speaks_of_a_neighbour_or_a_class_by_taking_its_name(taken):
    built = index()
    built.put(offered(id=taken))
    assert built.subject_of(ROOM) == "urn:hilum:s/Room"


def test_extensions_imply_only_what_is_about_the_object_itself():
    built = index()
    subject, near = Iri("urn:hilum:s/Room"), Iri("urn:x:near")
    extra = (
        Quad(subject, near, Iri("urn:hilum:s/Other"), graph_of(ROOM)),
        Quad(subject, near, Literal("a wall"), graph_of(ROOM)),
    )
    built.put(offered(extra=extra))
    follows = "GRAPH <urn:hilum:s/Room#inferred>"
    assert ask(built, f"{follows} {{ <urn:hilum:s/Room> x:beside <urn:hilum:s/Other> }}")
    assert not ask(built, f"{follows} {{ <urn:hilum:s/Other> ?p ?o }}")


def test_an_ontology_that_cannot_be_read_is_left_out_and_told():
    built = Index({"bad": "x:y z", "building": BUILDING})
    assert list(built.unread) == ["bad"]
    assert built.closure.superclasses("urn:x:Thermometer") == {
        "urn:x:Thermometer",
        "urn:x:Sensor",
    }


def test_it_is_written_and_taken_over_again():
    built = index()
    built.fill(offered(id="urn:dev:1"))
    output = io.BytesIO()
    built.dump(output)
    again = Index()
    again.adopt(output.getvalue(), built.prints(), index(), len(built))
    assert again.digest == built.digest
    assert len(again) == len(built)
    assert again.name_of("urn:dev:1") == ROOM
    assert again.has(offered(id="urn:dev:1"))
    assert again.closure.above("urn:x:room") == {"urn:x:room", "urn:x:floor", "urn:x:house"}
    assert again.put(offered(id="urn:dev:1")) is None
    assert list(again.names()) == [ROOM]
    assert len(list(parsed(output.getvalue(), "application/n-quads"))) == len(built)
