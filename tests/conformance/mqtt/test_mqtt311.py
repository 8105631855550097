"""MQTT 3.1.1: where it differs from MQTT 5.0, and the main ways of both."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

V = 4


@pytest.fixture
def version():
    return V


@pytest.fixture
def connected(connected):
    return lambda *a, **given: connected(*a, version=V, **given)


@clause("MQTT311-3.1.2-1", "MQTT311-3.1.2-2")
@pytest.mark.parametrize(("level", "name"), [(3, "MQIsdp"), (3, "MQTT"), (9, "MQTT"), (4, "MQTX")])
def test_protocol_name_and_level(opened, level, name):
    client = opened()
    client.version = 4 if level < 5 else 5
    client.send(raw.packet(0x10, raw.string(name), bytes([level, 2, 0, 60]), raw.string("c")))
    assert client.closed() in {None, 1, 0x84}


WRONG = {
    "reserved flag": raw.connect(version=V, flags=3),
    "will without its fields": raw.connect(version=V, flags=6),
    "will QoS without a will": raw.connect(version=V, flags=0x0A),
    "will QoS 3": raw.connect(version=V, flags=0x1E, payload=raw.string("free/a") * 2),
    "will retain without a will": raw.connect(version=V, flags=0x22),
    "password without a user name": raw.connect(version=V, flags=0x42, payload=raw.string("x")),
    "user name that is missing": raw.connect(version=V, flags=0x82),
    "user name that is not announced": raw.connect(version=V, payload=raw.string("x")),
    "not UTF-8": raw.connect(b"\xff", version=V),
    "NUL": raw.connect(b"a\0", version=V),
    "surrogate": raw.connect(b"\xed\xa0\x80", version=V),
}


@clause(
    *("MQTT311-1.5.3-1", "MQTT311-1.5.3-2", "MQTT311-3.1.2-3", "MQTT311-3.1.2-9"),
    *("MQTT311-3.1.2-11", "MQTT311-3.1.2-13", "MQTT311-3.1.2-14", "MQTT311-3.1.2-15"),
    *("MQTT311-3.1.2-18", "MQTT311-3.1.2-19", "MQTT311-3.1.2-22", "MQTT311-3.1.4-1"),
)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_connects(opened, case):
    client = opened()
    client.send(WRONG[case])
    assert client.closed() is None


@clause("MQTT311-3.1.3-6", "MQTT311-3.1.3-7")
def test_a_client_without_an_identifier(opened):
    clients = [opened() for _ in range(2)]
    for client in clients:
        got = client.connect("")
        assert (got.code, got.present) == (0, False)
    for client in clients:
        client.ping()


@clause("MQTT311-3.1.3-8", "MQTT311-3.1.3-9", "MQTT311-3.2.2-5")
def test_a_session_without_an_identifier(opened):
    client = opened()
    client.send(client.connect_bytes("", clean=False))
    assert client.closed() == 2


@clause("MQTT311-3.1.2-4", "MQTT311-3.1.2-5", "MQTT311-3.1.2-6", "MQTT311-3.2.2-1")
def test_clean_session(connected, opened, client_id, topic):
    first = connected(client_id, clean=False)
    first.subscribe((topic, 1))
    first.cut()
    connected().publish(topic, b"away", 1)
    second = opened()
    assert second.connect(client_id, clean=False).present
    assert second.message().payload == b"away"
    second.disconnect()
    third = opened()
    assert not third.connect(client_id, clean=True).present
    third.publish(topic, qos=1)
    assert third.messages() == []
    third.disconnect()
    assert not opened().connect(client_id, clean=False).present, "a clean session is not kept"


@clause("MQTT311-3.2.2-2", "MQTT311-3.2.2-3")
def test_session_present(connected, opened, client_id):
    assert not opened().connect(client_id, clean=False).present
    assert opened().connect(client_id, clean=False).present


@clause("MQTT311-3.1.4-5", "MQTT311-3.2.2-4", "MQTT311-3.2.2-5")
def test_a_refused_client(connected, opened, client_id):
    connected(client_id, clean=False).cut()
    client = opened()
    client.send(client.connect_bytes(client_id, clean=False, token="wrong"), raw.PINGREQ)
    assert client.closed() in {4, 5}
    assert [(got.kind, got.present) for got in client.received] == [(reading.CONNACK, False)]


@clause("MQTT311-3.1.0-2", "MQTT311-3.1.4-2", "MQTT311-4.8.0-1")
def test_the_connection_just_closes(connected, client_id):
    """There is no DISCONNECT from a server; the reader refuses one."""
    first = connected(client_id)
    second = connected(client_id)
    assert first.closed() is None
    second.send(second.connect_bytes(client_id))
    assert second.closed() is None


ERRORS = {
    "QoS 3": raw.publish("free/a", version=V, first=0x36, pid=1),
    "DUP at QoS 0": raw.publish("free/a", version=V, first=0x38),
    "wildcard": raw.publish("free/#", version=V),
    "empty topic": raw.publish("", version=V),
    "identifier 0": raw.publish("free/a", version=V, first=0x32, pid=0),
    "topic that is not UTF-8": raw.publish(b"\xff", version=V),
    "topic with NUL": raw.publish(b"a\0", version=V),
    "PUBREL flags": raw.ack(0x60),
    "PUBACK with a reason": raw.ack(0x40, 1, b"\0"),
    "SUBSCRIBE flags": raw.subscribe(("free/a", 0), version=V, first=0x80),
    "SUBSCRIBE of nothing": raw.subscribe(version=V),
    "SUBSCRIBE with QoS 3": raw.subscribe(("free/a", 3), version=V),
    "SUBSCRIBE with options": raw.subscribe(("free/a", 4), version=V),
    "SUBSCRIBE with a wrong filter": raw.subscribe(("free/a#", 0), version=V),
    "SUBSCRIBE with an empty filter": raw.subscribe(("", 0), version=V),
    "UNSUBSCRIBE flags": raw.unsubscribe("free/a", version=V, first=0xA0),
    "UNSUBSCRIBE of nothing": raw.unsubscribe(version=V),
    "DISCONNECT flags": b"\xe1\0",
    "DISCONNECT with a body": b"\xe0\1\0",
    "AUTH": b"\xf0\0",
    "endless length": b"\x30\xff\xff\xff\xff\x01",
}


@clause(
    *("MQTT311-2.2.2-1", "MQTT311-2.2.2-2", "MQTT311-2.3.1-1", "MQTT311-3.3.1-2"),
    *("MQTT311-3.3.1-4", "MQTT311-3.3.2-1", "MQTT311-3.3.2-2", "MQTT311-3.6.1-1"),
    *("MQTT311-3.8.1-1", "MQTT311-3.8.3-1", "MQTT311-3.8.3-3", "MQTT311-3-8.3-4"),
    *("MQTT311-3.10.1-1", "MQTT311-3.10.3-2", "MQTT311-3.14.1-1", "MQTT311-4.7.1-2"),
    *("MQTT311-4.7.1-3", "MQTT311-4.7.3-1", "MQTT311-4.7.3-2", "MQTT311-4.8.0-1"),
)
@pytest.mark.parametrize("case", ERRORS)
def test_errors_close_the_connection(connected, case):
    client = connected()
    client.send(ERRORS[case], raw.PINGREQ)
    assert client.closed() is None


@clause("MQTT311-3.3.5-2", "MQTT311-3.3.4-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_may_not_be_published(connected, qos):
    """A positive acknowledgement or the end of the connection: nothing was taken, so the end."""
    client = connected()
    client.send(raw.publish("closed/a", version=V, first=0x30 | qos << 1, pid=1))
    assert client.closed() is None


@clause(
    "MQTT311-3.8.4-1",
    "MQTT311-3.8.4-4",
    "MQTT311-3.8.4-5",
    "MQTT311-3.9.3-1",
    "MQTT311-3.3.5-1",
    "MQTT311-3.9.3-2",
)
def test_subscribe(connected, topic):
    client = connected()
    assert client.subscribe((topic, 2), ("closed/a", 1), (f"{topic}/#", 1)) == [2, 0x80, 1]
    client.publish(topic, b"one copy or two, at the highest QoS", 2)
    assert max(got.qos for got in client.messages()) == 2


@clause("MQTT311-3.8.4-3")
def test_retained_messages_come_with_every_subscribe(connected, topic):
    client = connected()
    client.publish(topic, b"kept", 1, retain=True)
    for qos in (0, 1, 2):
        client.subscribe((topic, qos))
        (got,) = client.messages()
        assert (got.payload, got.qos, got.retain) == (b"kept", min(qos, 1), True)


@clause("MQTT311-3.3.1-8", "MQTT311-3.3.1-9")
def test_retain_is_set_for_what_was_retained_only(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    client.publish(topic, b"kept", 1, retain=True)
    assert not client.message().retain
    client.subscribe((topic, 0))
    assert client.message().retain


@clause(
    "MQTT311-3.3.1-5", "MQTT311-3.3.1-7", "MQTT311-3.3.1-10", "MQTT311-3.3.1-11", "MQTT311-3.3.1-12"
)
def test_retained_messages(connected, topic):
    client, late = connected(), connected()
    client.publish(topic, b"one", 1, retain=True)
    client.publish(topic, b"two", 0, retain=True)
    client.publish(topic, b"three", 1)
    late.subscribe((topic, 1))
    assert late.payloads() == [b"two"]
    client.publish(topic, b"", 1, retain=True)
    assert late.payloads() == [b""]
    late.subscribe((topic, 1))
    assert late.messages() == []


@clause("MQTT311-3.10.4-1", "MQTT311-3.10.4-2", "MQTT311-3.10.4-4", "MQTT311-3.10.4-5")
def test_unsubscribe(connected, topic):
    client = connected()
    client.subscribe((topic, 1), (f"{topic}/#", 1))
    assert client.unsubscribe(topic, "nowhere") == []
    client.publish(topic)
    assert len(client.messages()) == 1
    assert client.unsubscribe(f"{topic}/#", f"{topic}/#") == []
    client.publish(topic)
    assert client.messages() == []


@clause(
    "MQTT311-3.1.2-8",
    "MQTT311-3.1.2-10",
    "MQTT311-3.1.2-16",
    "MQTT311-3.1.2-17",
    "MQTT311-3.14.4-3",
)
@pytest.mark.parametrize("retain", [False, True])
def test_wills(connected, topic, retain):
    watcher = connected()
    watcher.subscribe((topic, 1))
    will = {"will": raw.string(topic) + raw.string("gone"), "will_flags": 0x28 if retain else 8}
    connected(**will).disconnect()
    connected(**will).cut()
    got = watcher.message()
    assert (got.payload, got.qos) == (b"gone", 1)
    assert watcher.messages() == []
    watcher.subscribe((topic, 1))
    assert len(watcher.messages()) == retain


@clause(
    "MQTT311-4.3.2-1", "MQTT311-4.3.3-1", "MQTT311-4.4.0-1", "MQTT311-4.6.0-6", "MQTT311-3.3.1-1"
)
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_are_sent_again_in_their_order(connected, opened, client_id, topic, qos):
    first, publisher = connected(client_id, clean=False), connected()
    first.subscribe((topic, qos))
    for at in range(5):
        publisher.publish(topic, b"%d" % at, qos)
    sent = [first.unread() for _ in range(5)]
    first.cut()
    second = opened()
    second.connect(client_id, clean=False)
    got = [second.message() for _ in range(5)]
    assert [one.payload for one in got] == [b"%d" % at for at in range(5)]
    assert [one.pid for one in got] == [one.pid for one in sent]
    assert all(one.dup for one in got)


@clause("MQTT311-4.3.3-2")
def test_a_message_of_qos_2_is_taken_once(connected, topic):
    client = connected()
    client.subscribe((topic, 2))
    for first in (0x34, 0x3C):
        client.send(raw.publish(topic, b"once", V, first=first, pid=9))
        client.answer(reading.PUBREC, 9)
    for _ in range(2):
        client.send(raw.ack(0x62, 9))
        client.answer(reading.PUBCOMP, 9)
    assert client.payloads() == [b"once"]


@clause("MQTT311-3.1.4-4", "MQTT311-3.2.0-1", "MQTT311-3.12.4-1")
def test_a_client_need_not_wait_for_connack(opened, topic):
    client = opened()
    client.send(client.connect_bytes(), raw.subscribe((topic, 0), version=V, pid=1), raw.PINGREQ)
    kinds = [client.next().kind for _ in range(3)]
    assert kinds == [reading.CONNACK, reading.SUBACK, reading.PINGRESP]


def test_both_versions_meet(connected, opened, topic):
    new = opened(version=5)
    new.connect()
    old = connected()
    for client in (new, old):
        client.subscribe((topic, 1))
    for client in (new, old):
        client.publish(topic, b"to both", 1)
    assert new.payloads() == old.payloads() == [b"to both"] * 2
