"""Models that others wrote, with the core ontology beside them."""

from registry.index.index import Index
from registry.index.triples import Offered
from registry.model import VirtualObject
from registry.names import Name
from registry.ontology import load_core
from tests.support import shared_data

RICE = "http://virginia.edu/building/ontology/rice#"


def model(*files: str) -> Index:
    folder = shared_data() / "ontology"
    return Index({**load_core(), **{name: (folder / f"{name}.ttl").read_text() for name in files}})


def test_a_device_in_a_room_of_a_brick_building_is_on_its_floor():
    index = model("rice_brick")
    assert not index.unread
    room = RICE + "Room32"
    assert {room, RICE + "Floor_0", RICE + "RICE"} <= index.closure.above(room)
    index.put(Offered(Name("s/Thermometer"), VirtualObject("s/Thermometer", place=room)))
    text = f"ASK {{ <urn:hilum:s/Thermometer> hilum:within <{RICE}Floor_0>, <{RICE}RICE> }}"
    assert index.store.query(text)


def test_sensors_of_sosa_and_iot_lite_meet():
    index = model("apartment-134-sosa", "iot-lite")
    assert not index.unread
    sensor = "http://purl.oclc.org/NET/ssnx/ssn#SensingDevice"
    assert "http://www.w3.org/ns/sosa/Sensor" in index.closure.superclasses(sensor)
