"""MQTT 5.0 chapters 1 and 2: strings, integers, fixed headers, packet identifiers."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

BAD_STRINGS = [b"\xed\xa0\x80", b"\xff", b"\xc3", b"\xc0\xaf", b"a\0b"]


@clause("MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.1.3-4", "MQTT-3.1.4-1")
@pytest.mark.parametrize("bad", BAD_STRINGS)
def test_a_client_identifier_is_utf_8(opened, bad):
    client = opened()
    client.send(client.connect_bytes(bad))
    assert client.closed() in {None, 0x81, 0x85}


@clause("MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1", "MQTT-4.7.3-2")
@pytest.mark.parametrize("bad", BAD_STRINGS)
def test_a_topic_name_is_utf_8(connected, bad):
    client = connected()
    client.send(raw.publish(b"free/" + bad))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.8.3-1", "MQTT-4.7.3-2")
@pytest.mark.parametrize("bad", BAD_STRINGS)
def test_a_topic_filter_is_utf_8(connected, bad):
    client = connected()
    client.send(raw.subscribe((b"free/" + bad, 0)))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.10.3-1")
@pytest.mark.parametrize("bad", BAD_STRINGS)
def test_a_topic_filter_of_unsubscribe_is_utf_8(connected, bad):
    client = connected()
    client.send(raw.unsubscribe(b"free/" + bad))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-1.5.7-1")
@pytest.mark.parametrize("bad", BAD_STRINGS)
@pytest.mark.parametrize("place", ["key", "value"])
def test_both_strings_of_a_user_property_are_utf_8(connected, topic, bad, place):
    client = connected()
    pair = (bad, b"v") if place == "key" else (b"k", bad)
    client.send(raw.publish(topic, props=raw.user(*pair)))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-1.5.4-3")
def test_a_byte_order_mark_is_a_character_like_any_other(connected, topic):
    client = connected()
    marked = f"{topic}/\ufeffa"
    client.subscribe((marked, 0))
    client.subscribe((f"{topic}/a", 1))
    client.publish(marked, props=raw.user("\ufeffk", "\ufeffv"))
    got = client.message()
    assert got.topic == marked
    assert ("\ufeffk", "\ufeffv") in got.props[reading.USER]


@clause("MQTT-1.5.5-1", "MQTT-2.2.2-1")
@pytest.mark.parametrize("size", [0, 100, 110, 120, 130, 16_300, 16_390])
def test_lengths_are_written_as_short_as_can_be(connected, topic, size):
    """The reader of these tests refuses others, and packets without a property length."""
    client = connected()
    client.subscribe((topic, 0))
    client.publish(topic, b"x" * size)
    assert client.message().payload == b"x" * size


@clause("MQTT-2.1.3-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.14.1-1")
@pytest.mark.parametrize(
    "packet",
    [
        raw.ack(0x41),
        raw.ack(0x51),
        raw.ack(0x60),
        raw.ack(0x66),
        raw.ack(0x71),
        raw.subscribe(("free/a", 0), first=0x80),
        raw.subscribe(("free/a", 0), first=0x83),
        raw.unsubscribe("free/a", first=0xA0),
        raw.unsubscribe("free/a", first=0xA6),
        b"\xc1\0",
        b"\xe1\0",
    ],
)
def test_reserved_flags_of_a_fixed_header(connected, packet):
    client = connected()
    client.send(packet)
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-2.2.1-2")
def test_a_message_of_qos_0_has_no_packet_identifier(connected, topic):
    client = connected()
    client.subscribe((topic, 2))
    client.publish(topic, b"\0\1")
    got = client.message()
    assert (got.qos, got.pid, got.payload) == (0, 0, b"\0\1")


@clause("MQTT-2.2.1-3")
@pytest.mark.parametrize(
    "packet",
    [
        raw.publish("free/a", first=0x32, pid=0),
        raw.publish("free/a", first=0x34, pid=0),
        raw.subscribe(("free/a", 0), pid=0),
        raw.unsubscribe("free/a", pid=0),
    ],
)
def test_packet_identifier_0(connected, packet):
    client = connected()
    client.send(packet)
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2")
def test_messages_get_packet_identifiers_that_are_not_in_use(connected, topic):
    client, publisher = connected(), connected()
    client.subscribe((topic, 2))
    for at in range(20):
        publisher.publish(topic, b"%d" % at, 1 + at % 2)
    got = [client.unread() for _ in range(20)]
    assert len({one.pid for one in got}) == 20
    assert 0 not in {one.pid for one in got}
    assert {one.qos for one in got} == {1, 2}
    assert not any(one.dup for one in got)


@clause("MQTT-2.2.1-5", "MQTT-4.3.2-4", "MQTT-4.3.3-8", "MQTT-4.3.3-11", "MQTT-3.3.4-1")
@pytest.mark.parametrize("pid", [1, 255, 256, 0x7FFF, 0xFFFF])
def test_acknowledgements_carry_the_identifier_of_what_they_acknowledge(connected, topic, pid):
    client = connected()
    client.send(raw.publish(topic, first=0x32, pid=pid))
    assert client.expect(reading.PUBACK).pid == pid
    client.send(raw.publish(topic, first=0x34, pid=pid))
    assert client.expect(reading.PUBREC).pid == pid
    client.send(raw.ack(0x62, pid))
    assert client.expect(reading.PUBCOMP).pid == pid


@clause("MQTT-2.2.1-6", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5")
def test_suback_and_unsuback_carry_the_identifier_of_the_request(connected, topic):
    client = connected()
    for pid in (1, 0xFFFF):
        client.send(raw.subscribe((topic, 0), pid=pid))
        assert client.expect(reading.SUBACK).pid == pid
        client.send(raw.unsubscribe(topic, pid=pid))
        assert client.expect(reading.UNSUBACK).pid == pid
        client.send(raw.unsubscribe(topic, pid=pid))
        assert client.expect(reading.UNSUBACK).pid == pid


@clause("MQTT-4.2-1")
def test_how_bytes_arrive_does_not_matter(opened, topic):
    client = opened()
    stream = b"".join(
        (
            client.connect_bytes(),
            raw.subscribe((topic, 2), pid=1),
            raw.publish(topic, b"x" * 150, first=0x34, pid=2, props=raw.user("k", "v")),
            raw.PINGREQ,
        )
    )
    for byte in stream:
        client.send(bytes([byte]))
    kinds = {client.next().kind for _ in range(5)}
    assert kinds == {
        reading.CONNACK,
        reading.SUBACK,
        reading.PUBREC,
        reading.PUBLISH,
        reading.PINGRESP,
    }


@clause("MQTT-4.2-1", "MQTT-4.6.0-5")
def test_a_thousand_packets_at_once(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    client.send(*(raw.publish(topic, b"%d" % at) for at in range(1000)))
    assert [client.message().payload for _ in range(1000)] == [b"%d" % at for at in range(1000)]
