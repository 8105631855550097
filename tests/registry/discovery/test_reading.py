"""What discovery reads from the graphs of the index."""

from registry.discovery.reading import Reader, name_in
from registry.index.index import Index
from registry.index.rdf import Iri, Literal, Quad
from registry.index.triples import Offered, graph_of
from registry.model import Endpoint, EventChannel, Method, Profile, ServiceLevel, VirtualObject
from registry.names import Name
from registry.terms import HILUM, expand

MODEL = """
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix hilum: <https://w3id.org/hilum#> .
@prefix : <urn:x:> .
:AirSensor rdfs:subClassOf :Sensor . :Reading rdfs:subClassOf :Asking .
:room hilum:partOf :floor .
"""
VAV = Name("s/vav")
OBJECT = VirtualObject(
    VAV,
    "Box",
    {
        "read": Method(
            endpoints=(Endpoint("https://h.test/"), Endpoint("coaps://h.test/")),
            types=("urn:x:AirSensor",),
            profile=Profile(category="urn:x:Reading", level=ServiceLevel(latency=40)),
        )
    },
    {"news": EventChannel()},
    types=("urn:x:Box",),
    place="urn:x:room",
)


def test_an_object_is_read_with_all_that_follows() -> None:
    index = Index({"model": MODEL})
    done = index.put(Offered(VAV, OBJECT, id="urn:dev:1", text='{"title": "The box"}'))
    assert done is not None
    reader = Reader(index.closure)
    obj = reader.read(VAV, index.subject_of(VAV) or "", done[1])
    assert (obj.name, obj.id, obj.title, obj.place) == (VAV, "urn:dev:1", "The box", "urn:x:room")
    assert obj.within == {"urn:x:room", "urn:x:floor"}
    assert "urn:x:Box" in obj.types & obj.classes
    news, read = obj.members
    assert (news.name, news.is_method, news.protocols) == ("s/vav/news", False, frozenset())
    assert expand("td:EventAffordance") in news.capabilities
    assert (read.name, read.is_method, read.latency) == ("s/vav/read", True, 40)
    assert read.protocols == {"http", "coap"}
    assert "urn:x:AirSensor" in read.types
    assert "urn:x:Sensor" in read.classes - read.types
    assert {"urn:x:Reading", "urn:x:Asking"} <= read.capabilities - read.classes
    assert [name_in(g.value) for g in done[0]] == [VAV, None]
    again = reader.read(VAV, "urn:dev:1", done[1])
    assert again.members[1].classes is read.classes  # equal sets are kept once


def test_what_extensions_get_wrong_costs_nothing_else() -> None:
    graph = graph_of(VAV)
    quads = [
        Quad(Iri("urn:hilum:s/vav"), Iri(HILUM + "latency"), Literal("soon"), graph),
        Quad(Iri("urn:other"), Iri(HILUM + "name"), Literal("s/other"), graph),
        Quad(Iri("urn:hilum:s/vav/m"), Iri(HILUM + "latency"), Literal("-3"), graph),
    ]
    obj = Reader(Index().closure).read(VAV, "urn:hilum:s/vav", quads)
    assert obj.members == ()
    assert Reader(Index().closure).read(VAV, "urn:nobody", []).title == ""
