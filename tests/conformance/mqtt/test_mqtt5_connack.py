"""MQTT 5.0 section 3.2: CONNACK."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading


@clause("MQTT-3.2.0-1", "MQTT-3.1.4-5", "MQTT-3.2.2-1")
def test_connack_comes_before_everything_else(opened, topic):
    client = opened()
    client.send(
        client.connect_bytes(),
        raw.subscribe((topic, 1), pid=1),
        raw.publish(topic, first=0x32, pid=2),
        raw.PINGREQ,
    )
    kinds = [client.next().kind for _ in range(5)]
    assert kinds[0] == reading.CONNACK
    assert set(kinds[1:]) == {reading.SUBACK, reading.PUBLISH, reading.PUBACK, reading.PINGRESP}


@clause("MQTT-3.2.0-1")
def test_connack_comes_before_what_waits_for_the_client(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    first.cut()
    connected().publish(topic, qos=1)
    second = opened()
    assert second.connect(client_id, clean=False).code == 0
    assert second.message().qos == 1


@clause("MQTT-3.2.2-2", "MQTT-3.2.2-3")
def test_session_present(connected, opened, client_id):
    for clean, present in ((True, False), (False, True), (True, False)):
        client = opened()
        assert client.connect(client_id, clean=clean, expiry=60).present is present
        client.disconnect()


@clause(
    *("MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-12", "MQTT-3.2.2-13"),
)
def test_everything_is_available(opened):
    """So what a server has to do that lacks something does not arise."""
    got = opened().connect()
    for number in (
        reading.MAXIMUM_QOS,
        reading.RETAIN_AVAILABLE,
        reading.WILDCARDS,
        reading.IDENTIFIERS,
        reading.SHARED,
    ):
        assert got.prop(number) in {None, 1}
    assert got.prop(reading.MAXIMUM_QOS) is None


@clause("MQTT-3.2.2-15")
def test_a_packet_that_is_larger_than_announced(opened, topic):
    client = opened()
    maximum = client.connect().prop(reading.MAXIMUM_PACKET)
    assert maximum
    whole = raw.publish(topic, b"x" * maximum)
    client.send(whole[:100])
    assert client.closed() == 0x95


@clause("MQTT-3.2.2-15")
def test_a_packet_as_large_as_announced(opened, topic):
    client = opened()
    maximum = client.connect().prop(reading.MAXIMUM_PACKET)
    client.subscribe((topic, 0))
    rest = len(raw.publish(topic, b"x" * (maximum // 2))) - maximum // 2 + 1
    largest = raw.publish(topic, b"x" * (maximum - rest), first=0x32, pid=9)
    while len(largest) > maximum:
        rest += 1
        largest = raw.publish(topic, b"x" * (maximum - rest), first=0x32, pid=9)
    client.send(largest)
    got = client.answer(reading.PUBACK, 9)
    assert got.code in {0, 0x97}, "a channel may take less than the connection"


@clause("MQTT-3.2.2-17", "MQTT-3.2.2-18", "MQTT-3.3.2-9")
def test_an_alias_above_the_maximum(opened, topic):
    client = opened()
    maximum = client.connect().prop(reading.ALIAS_MAXIMUM) or 0
    client.send(raw.publish(topic, props=b"\x23" + (maximum + 1).to_bytes(2, "big")))
    assert client.closed() == 0x94


@clause("MQTT-3.2.2-19", "MQTT-3.2.2-20")
@pytest.mark.parametrize("size", [5, 6, 10])
def test_a_refusal_fits_the_client(opened, size):
    client = opened()
    limit = b"\x27" + size.to_bytes(4, "big")
    client.send(client.connect_bytes("own", token="wrong", props=limit))
    assert client.closed() in {None, 0x86, 0x87}
    assert all(got.size <= size for got in client.received)


@clause("MQTT-3.2.2-22")
@pytest.mark.parametrize("keep", [0, 1, 65_535])
def test_the_keep_alive_is_the_clients_unless_the_server_says_otherwise(opened, keep):
    said = opened().connect(keep=keep).prop(reading.KEEP_ALIVE)
    assert said is None or 0 < said != keep


@clause("MQTT-3.1.2-23")
def test_an_expiry_that_the_server_shortens_is_said(connected, opened, client_id):
    client = opened()
    got = client.connect(client_id, expiry=0xFFFF_FFFF)
    assert got.prop(reading.SESSION_EXPIRY) != 0
    client.cut()
    assert opened().connect(client_id, clean=False).present


@clause("MQTT-3.2.0-1", "MQTT-3.1.4-5")
def test_a_large_packet_right_behind_connect(opened, topic):
    client = opened()
    large = raw.publish(topic, b"x" * 200_000, first=0x32, pid=7)
    client.send(client.connect_bytes(), large)
    client.expect(reading.CONNACK)
    assert client.expect(reading.PUBACK).code == 0
