"""MQTT 5.0 sections 3.12 to 3.15, 4.1, 4.12 and 4.13: PINGREQ, DISCONNECT, AUTH, errors."""

import time

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading


@clause("MQTT-3.12.4-1")
def test_every_pingreq_is_answered(connected):
    client = connected()
    client.send(raw.PINGREQ * 5)
    for _ in range(5):
        client.expect(reading.PINGRESP)
    client.nothing(0.05)


@clause("MQTT-3.14.0-1", "MQTT-3.14.2-1")
@pytest.mark.parametrize("packet", [raw.PINGREQ, raw.connect(flags=3), raw.connect("c", 9)])
def test_no_disconnect_before_connack(opened, packet):
    client = opened()
    client.send(packet)
    client.closed()
    assert reading.DISCONNECT not in {got.kind for got in client.received}


@clause("MQTT-3.14.1-1")
def test_reserved_flags_of_disconnect(connected):
    client = connected()
    client.send(b"\xe1\0")
    assert client.closed() == 0x81


@clause("MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_what_the_server_says_when_it_closes(connected, client_id):
    """The reader refuses codes and properties that are none of DISCONNECT's from a server."""
    first = connected(client_id, expiry=60)
    connected(client_id, expiry=60)
    assert first.closed() == 0x8E
    assert first.received[-1].kind == reading.DISCONNECT


@clause("MQTT-3.14.2-3", "MQTT-3.14.2-4")
@pytest.mark.parametrize("size", [16, 20, 30])
def test_disconnect_fits_the_client(connected, size):
    client = connected(props=b"\x27" + size.to_bytes(4, "big"))
    client.send(raw.publish("a/+"))
    assert client.closed() in {0x81, 0x82, 0x90}
    assert all(got.size <= size for got in client.received)


@clause("MQTT-3.14.4-3")
def test_disconnect_discards_the_will(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = connected(will=raw.properties() + raw.string(topic) + raw.string("gone"))
    client.disconnect()
    watcher.nothing()


@clause("MQTT-3.14.4-1")
def test_what_follows_a_disconnect_is_not_looked_at(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = connected()
    client.send(raw.DISCONNECT, raw.publish(topic), raw.PINGREQ)
    assert client.closed() is None
    assert client.received[-1].kind == reading.CONNACK
    watcher.nothing()


@clause("MQTT-3.14.2-2")
def test_a_session_that_had_no_expiry_gets_none_at_the_end(connected):
    """Section 3.14.2.2.2: that is a protocol error."""
    client = connected()
    client.send(raw.packet(0xE0, b"\0", raw.properties(b"\x11\0\0\0\1")))
    assert client.closed() == 0x82


@clause("MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_a_session_ends_when_its_expiry_has_passed(connected, opened, client_id, topic):
    client = connected(client_id, expiry=30)
    client.subscribe((topic, 1))
    client.disconnect()
    again = opened()
    assert again.connect(client_id, clean=False, expiry=1).present
    again.disconnect()
    time.sleep(2.1)
    assert not opened().connect(client_id, clean=False).present


@clause("MQTT-4.1.0-2")
def test_a_session_without_expiry_ends_with_its_connection(connected, opened, client_id):
    connected(client_id).disconnect()
    assert not opened().connect(client_id, clean=False).present


@clause("MQTT-4.1.0-2")
def test_disconnect_can_change_the_expiry(connected, opened, client_id):
    connected(client_id, expiry=60).disconnect(0, b"\x11\0\0\0\0")
    assert not opened().connect(client_id, clean=False).present


# AUTH


@clause("MQTT-4.12.0-1", "MQTT-4.12.0-4", "MQTT-4.13.2-1")
def test_an_authentication_method_that_is_not_supported(opened):
    client = opened()
    client.send(client.connect_bytes(props=b"\x15" + raw.string("SCRAM-SHA-1")))
    assert client.closed() in {None, 0x87, 0x8C}


@clause("MQTT-4.12.0-6")
def test_no_authentication_method_in_connack_without_one_in_connect(opened):
    client = opened()
    assert reading.METHOD not in client.connect().props
    client.ping()
    assert reading.AUTH not in {got.kind for got in client.received}


def bearer(token, method="bearer", user=()):
    """The properties that authenticate by a token."""
    return b"".join(
        [b"\x15" + raw.string(method), b"\x16" + raw.string(token), *(raw.user(*u) for u in user)]
    )


def again(token, method="bearer", code=0x19, first=0xF0):
    return raw.packet(first, bytes([code]), raw.properties(bearer(token, method)))


@pytest.fixture
def authenticated(opened, target):
    """A client that authenticated by AUTH's method."""
    client = opened()
    client.send(client.connect_bytes(token="", props=bearer(target.token)))
    assert client.expect(reading.CONNACK).prop(reading.METHOD) == "bearer"
    return client


@clause("MQTT-4.12.0-5", "MQTT-4.12.1-1", "MQTT-3.15.2-2", "MQTT-3.15.2-3")
def test_a_client_authenticates_again(authenticated, target):
    for _ in range(2):
        authenticated.send(again(target.token))
        got = authenticated.expect(reading.AUTH)
        assert (got.code, set(got.props), got.prop(reading.METHOD)) == (
            0,
            {reading.METHOD},
            "bearer",
        )
    assert authenticated.publish("free/auth", qos=1) < 0x80


@clause("MQTT-4.12.1-2")
@pytest.mark.parametrize("token", ["nonsense", "", "other"])
def test_who_cannot_authenticate_again_is_disconnected(authenticated, target, token):
    authenticated.send(again(target.other if token == "other" else token))
    assert authenticated.closed() == 0x87


@clause("MQTT-4.12.0-5", "MQTT-3.15.1-1", "MQTT-3.15.2-1")
@pytest.mark.parametrize(
    ("method", "code", "first"),
    [("other", 0x19, 0xF0), ("bearer", 0x18, 0xF0), ("bearer", 0x19, 0xF1), ("bearer", 1, 0xF0)],
)
def test_auth_that_breaks_the_protocol(authenticated, target, method, code, first):
    authenticated.send(again(target.token, method, code, first))
    assert authenticated.closed() in {0x81, 0x82, 0x8C}


@clause("MQTT-4.12.0-1", "MQTT-4.12.0-4")
def test_authentication_data_that_is_refused(opened):
    client = opened()
    client.send(client.connect_bytes(token="", props=bearer("nonsense")))
    assert client.expect(reading.CONNACK).code in {0x86, 0x87, 0x9F}
    client.closed()


@clause("MQTT-4.12.0-7", "MQTT-3.15.1-1", "MQTT-3.15.2-1")
@pytest.mark.parametrize("first", [0xF0, 0xF1])
@pytest.mark.parametrize("code", [0x00, 0x18, 0x19, 0x01])
def test_auth_without_an_authentication_method(connected, first, code):
    client = connected()
    client.send(raw.packet(first, bytes([code]), raw.properties(b"\x15" + raw.string("m"))))
    assert client.closed() in {0x81, 0x82, 0x87, 0x8C}


# Errors

ERRORS = {
    "type 0": b"\0\0",
    "CONNACK": b"\x20\3\0\0\0",
    "SUBACK": b"\x90\4\0\1\0\0",
    "UNSUBACK": b"\xb0\4\0\1\0\0",
    "PINGRESP": b"\xd0\0",
    "endless length": b"\x30\xff\xff\xff\xff\x01",
    "PINGREQ with a body": b"\xc0\1\0",
    "PUBACK without an identifier": b"\x40\0",
    "PUBACK with junk": raw.ack(0x40, 1, b"\0\0junk"),
    "PUBACK with another's reason": raw.ack(0x40, 1, b"\x01"),
    "PUBLISH cut off": raw.packet(0x30, b"\0\x09free"),
    "SUBSCRIBE cut off": raw.packet(0x82, b"\0\1\0", raw.string("free/a")),
    "unknown property": raw.publish("free/a", props=b"\x7f\0"),
    "property twice": raw.publish("free/a", props=b"\1\1\1\1"),
    "property of another packet": raw.publish("free/a", props=b"\x11\0\0\0\1"),
    "property cut off": raw.publish("free/a", props=b"\2\0"),
    "payload format 2": raw.publish("free/a", props=b"\1\2"),
    "subscription identifier 0": raw.subscribe(("free/a", 0), props=b"\x0b\0"),
    "subscription identifier twice": raw.subscribe(("free/a", 0), props=b"\x0b\1\x0b\1"),
    "DISCONNECT with a server's reason": raw.packet(0xE0, b"\x8b"),
    "DISCONNECT with junk": raw.packet(0xE0, b"\0\0junk"),
}


@clause("MQTT-4.13.1-1", "MQTT-4.13.2-1", "MQTT-3.14.4-2", "MQTT-3.14.2-1", "MQTT-2.2.2-1")
@pytest.mark.parametrize("case", ERRORS)
def test_errors_end_the_connection_and_nothing_else(connected, topic, case):
    client, other = connected(), connected()
    client.send(ERRORS[case], raw.PINGREQ)
    assert client.closed() in {0x81, 0x82}
    assert client.received[-1].kind == reading.DISCONNECT
    other.ping()


@clause("MQTT-4.13.1-1")
def test_a_payload_that_is_no_text_though_it_says_so(connected, topic):
    client = connected()
    client.send(raw.publish(topic, b"\xff", props=b"\1\1", first=0x32, pid=3))
    got = client.next()
    assert (got.kind, got.code) in {(reading.PUBACK, 0x99), (reading.DISCONNECT, 0x99)}
