"""MQTT 5.0 section 3.3: PUBLISH."""

import time

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

NO_LOCAL, AS_PUBLISHED, IF_NEW, NEVER = 0x04, 0x08, 0x10, 0x20


def alias(number: int) -> bytes:
    return b"\x23" + number.to_bytes(2, "big")


def identifier(number: int) -> bytes:
    return b"\x0b" + raw.variable(number)


@clause("MQTT-3.3.1-1", "MQTT-4.4.0-1", "MQTT-4.3.2-3")
def test_dup_is_set_when_a_message_is_sent_again(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    connected().publish(topic, qos=1)
    sent = first.unread()
    assert not sent.dup
    first.cut()
    second = opened()
    second.connect(client_id, clean=False)
    again = second.message()
    assert again.dup
    assert (again.pid, again.payload) == (sent.pid, sent.payload)


@clause("MQTT-3.3.1-2")
def test_dup_at_qos_0_ends_the_connection(connected, topic):
    client = connected()
    client.send(raw.publish(topic, first=0x38))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.3.1-2", "MQTT-3.3.1-3", "MQTT-4.3.1-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_dup_of_the_publisher_is_not_passed_on(connected, topic, qos):
    client = connected()
    client.subscribe((topic, qos))
    client.send(raw.publish(topic, first=0x3A, pid=99))
    got = client.unread()
    assert (got.qos, got.dup) == (min(qos, 1), False)


@clause("MQTT-3.3.1-4")
def test_qos_3_ends_the_connection(connected, topic):
    client = connected()
    client.send(raw.publish(topic, first=0x36, pid=1))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.3.1-5", "MQTT-3.3.1-9")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_replaces_the_one_before(connected, topic, qos):
    client = connected()
    client.publish(topic, b"one", qos, retain=True)
    client.publish(topic, b"two", qos, retain=True)
    client.subscribe((topic, 2))
    got = client.message()
    assert (got.payload, got.retain, got.qos) == (b"two", True, qos)
    assert client.messages() == []


@clause("MQTT-3.3.1-6", "MQTT-3.3.1-7")
def test_an_empty_retained_message_removes_it(connected, topic):
    client, live = connected(), connected()
    client.publish(topic, b"one", 1, retain=True)
    live.subscribe((topic, NEVER | AS_PUBLISHED))
    client.publish(topic, b"", 1, retain=True)
    got = live.message()
    assert (got.payload, got.retain) == (b"", True), "it is a message like any other"
    client.subscribe((topic, 1))
    assert client.messages() == []
    client.publish(f"{topic}/b", b"", 1, retain=True)
    client.subscribe((f"{topic}/b", 1))
    assert client.messages() == []


@clause("MQTT-3.3.1-8")
@pytest.mark.parametrize("payload", [b"not kept", b""])
def test_a_message_that_is_not_retained_leaves_the_retained_one(connected, topic, payload):
    client = connected()
    client.publish(f"{topic}/a", payload, 1)
    client.publish(f"{topic}/b", b"kept", 1, retain=True)
    client.publish(f"{topic}/b", payload, 1)
    client.subscribe((f"{topic}/a", 1), (f"{topic}/b", 1))
    assert client.payloads() == [b"kept"]


@clause("MQTT-3.3.1-9", "MQTT-3.8.4-4")
def test_retain_handling_0_sends_them_with_every_subscribe(connected, topic):
    client = connected()
    client.publish(topic, b"kept", 1, retain=True)
    for wanted in (topic, topic, f"{topic}/#", f"{topic}/#"):
        client.subscribe((wanted, 1))
        assert client.payloads() == [b"kept"]


@clause("MQTT-3.3.1-10")
def test_retain_handling_1_sends_them_with_a_new_subscription(connected, topic):
    client = connected()
    client.publish(topic, b"kept", 1, retain=True)
    client.subscribe((topic, IF_NEW))
    assert client.payloads() == [b"kept"]
    client.subscribe((topic, IF_NEW | 1))
    assert client.payloads() == []
    client.unsubscribe(topic)
    client.subscribe((topic, IF_NEW))
    assert client.payloads() == [b"kept"]


@clause("MQTT-3.3.1-10")
def test_retain_handling_1_knows_subscriptions_of_a_resumed_session(
    connected, opened, client_id, topic
):
    first = connected(client_id, expiry=60)
    first.publish(topic, b"kept", 1, retain=True)
    first.subscribe((topic, NEVER))
    first.disconnect()
    second = opened()
    second.connect(client_id, clean=False)
    second.subscribe((topic, IF_NEW))
    assert second.messages() == []


@clause("MQTT-3.3.1-11")
def test_retain_handling_2_sends_none(connected, topic):
    client = connected()
    client.publish(topic, b"kept", 1, retain=True)
    client.subscribe((topic, NEVER), (f"{topic}/#", NEVER))
    assert client.messages() == []


@clause("MQTT-3.3.1-12", "MQTT-3.3.1-13")
@pytest.mark.parametrize("retain", [False, True])
def test_retain_as_published(connected, topic, retain):
    cleared, kept, publisher = connected(), connected(), connected()
    cleared.subscribe((topic, 1))
    kept.subscribe((topic, 1 | AS_PUBLISHED))
    publisher.publish(topic, qos=1, retain=retain)
    assert not cleared.message().retain
    assert kept.message().retain is retain


@clause("MQTT-3.3.2-2", "MQTT-4.7.0-1")
@pytest.mark.parametrize("wild", ["#", "free/+", "free/#", "free/a+", "free/a#b"])
def test_no_wildcards_in_topic_names(connected, wild):
    client = connected()
    client.send(raw.publish(wild))
    assert client.closed() in {0x81, 0x82, 0x90}


@clause("MQTT-3.3.2-3", "MQTT-4.7.3-4")
@pytest.mark.parametrize("wild", ["", "/#", "/+", "/+/b", "/a/#", "/a/+"])
def test_the_topic_of_a_message_matches_the_filter(connected, topic, wild):
    client = connected()
    topics = [topic, f"{topic}/a", f"{topic}/a/b", f"{topic}/A", f"{topic}/aB"]
    matching = {
        "": topics[:1], "/#": topics, "/+": [topics[1], *topics[3:]], "/+/b": topics[2:3],
        "/a/#": topics[1:3], "/a/+": topics[2:3],
    }  # fmt: skip
    client.subscribe((f"{topic}{wild}", 0))
    for one in topics:
        client.publish(one)
    assert [got.topic for got in client.messages()] == matching[wild]


@clause(
    *("MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18"),
    *("MQTT-3.3.2-20",),
)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retained", [False, True])
def test_properties_are_passed_on_as_they_are(connected, topic, qos, retained):
    client, publisher = connected(), connected()
    said = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("é", "\ufeff")]
    props = b"\1\1\3" + raw.string("text/plain; x=y") + b"\x08" + raw.string("no/name of//ours")
    props += b"\x09" + raw.string(b"\0\xff") + b"".join(raw.user(*pair) for pair in said)
    if not retained:
        client.subscribe((topic, 2))
    publisher.publish(topic, b"text", qos, props=props, retain=retained)
    if retained:
        client.subscribe((topic, 2))
    got = client.message()
    assert got.prop(reading.FORMAT) == 1
    assert got.prop(reading.CONTENT_TYPE) == "text/plain; x=y"
    assert got.prop(reading.RESPONSE_TOPIC) == "no/name of//ours"
    assert got.prop(reading.CORRELATION) == b"\0\xff"
    assert got.props[reading.USER][: len(said)] == said


@clause("MQTT-3.3.2-4")
def test_a_payload_format_that_is_not_said_is_not_made_up(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    client.publish(topic, b"\xff")
    got = client.message()
    assert got.prop(reading.FORMAT) in {None, 0}
    assert got.payload == b"\xff"


@clause("MQTT-3.3.2-5", "MQTT-3.3.2-6", "MQTT-4.3.3-7", "MQTT-4.3.3-13")
def test_a_message_expires_while_it_waits(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 2))
    publisher = connected()
    publisher.publish(topic, b"in flight", 2, props=b"\2\0\0\0\1")
    first.unread()
    first.disconnect()
    publisher.publish(topic, b"short", 1, props=b"\2\0\0\0\1")
    publisher.publish(topic, b"long", 1, props=b"\2\0\0\0\x64")
    publisher.publish(topic, b"kept", 1, retain=True, props=b"\2\0\0\0\1")
    time.sleep(1.1)
    second = opened()
    second.connect(client_id, clean=False)
    got = second.messages()
    assert [one.payload for one in got] == [b"in flight", b"long"]
    assert 80 <= got[1].prop(reading.EXPIRY) <= 99
    publisher.subscribe((topic, 1))
    assert publisher.messages() == [], "a retained message expires too"


@clause("MQTT-3.3.2-6")
def test_the_expiry_of_a_message_that_did_not_wait(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    client.publish(topic, props=b"\2\0\0\0\x64")
    assert client.message().prop(reading.EXPIRY) in range(90, 101)


@clause("MQTT-3.3.2-7")
def test_an_alias_dies_with_its_connection(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.publish(topic, props=alias(1))
    first.disconnect()
    second = opened()
    second.connect(client_id, clean=False)
    second.send(raw.publish("", props=alias(1)))
    assert second.closed() in {0x82, 0x94}


@clause("MQTT-3.3.2-8")
def test_alias_0_ends_the_connection(connected, topic):
    client = connected()
    client.send(raw.publish(topic, props=alias(0)))
    assert client.closed() in {0x82, 0x94}


@clause("MQTT-3.3.2-12")
def test_every_alias_up_to_the_maximum_is_taken(opened, topic):
    client = opened()
    maximum = client.connect().prop(reading.ALIAS_MAXIMUM)
    assert maximum
    client.subscribe((f"{topic}/+", 0))
    for number in range(1, maximum + 1):
        client.publish(f"{topic}/{number}", props=alias(number))
    client.publish(f"{topic}/other", props=alias(1))
    for number in range(1, maximum + 1):
        client.publish("", props=alias(number))
    wanted = [f"{topic}/{number}" for number in range(1, maximum + 1)]
    got = [one.topic for one in client.messages()]
    assert got == [*wanted, f"{topic}/other", f"{topic}/other", *wanted[1:]]


@clause("MQTT-4.7.3-1")
def test_an_empty_topic_without_an_alias(connected):
    client = connected()
    client.send(raw.publish(""))
    assert client.closed() in {0x81, 0x82, 0x90}


@clause("MQTT-3.3.2-13", "MQTT-3.3.2-14", "MQTT-3.3.2-19")
@pytest.mark.parametrize(
    "props",
    [
        b"\x08" + raw.string(b"\xff"),
        b"\x08" + raw.string("a/+"),
        b"\x08" + raw.string("#"),
        b"\3" + raw.string(b"\xff"),
        b"\3" + raw.string("a\0"),
    ],
)
def test_response_topics_and_content_types_that_are_none(connected, topic, props):
    client = connected()
    client.send(raw.publish(topic, props=props))
    assert client.closed() in {0x81, 0x82, 0x90}


@clause("MQTT-3.3.4-1")
def test_the_answer_depends_on_the_qos(connected, topic):
    client = connected()
    client.send(raw.publish(topic), raw.PINGREQ)
    client.expect(reading.PINGRESP)
    client.send(raw.publish(topic, first=0x32, pid=5))
    client.expect(reading.PUBACK)
    client.send(raw.publish(topic, first=0x34, pid=5))
    client.expect(reading.PUBREC)


@clause("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5")
def test_overlapping_subscriptions(connected, topic):
    """One copy with all identifiers or a copy for each: both are allowed."""
    client, publisher = connected(), connected()
    for number, (wanted, qos) in enumerate(
        [(f"{topic}/#", 0), (f"{topic}/+", 2), (f"{topic}/a", 1)]
    ):
        client.subscribe((wanted, qos), props=identifier(number + 1))
    publisher.publish(f"{topic}/a", b"x", 2)
    got = client.messages()
    assert max(one.qos for one in got) == 2
    numbers = [number for one in got for number in one.props[reading.IDENTIFIER]]
    assert sorted(numbers) == [1, 2, 3]
    assert len(got) in {1, 3}


@clause("MQTT-3.3.4-3")
def test_identifiers_follow_the_subscription(connected, topic):
    client = connected()
    client.subscribe((topic, 0), props=identifier(268_435_455))
    client.publish(topic)
    assert client.message().props[reading.IDENTIFIER] == [268_435_455]
    client.subscribe((topic, 0), props=identifier(2))
    client.publish(topic)
    assert client.message().props[reading.IDENTIFIER] == [2]
    client.subscribe((topic, 0))
    client.publish(topic)
    assert reading.IDENTIFIER not in client.message().props


@clause("MQTT-3.3.4-3")
def test_identifiers_are_part_of_the_session_and_of_retained_messages(
    connected, opened, client_id, topic
):
    first = connected(client_id, expiry=60)
    first.publish(topic, b"kept", 1, retain=True)
    first.subscribe((topic, 1), props=identifier(7))
    assert first.message().props[reading.IDENTIFIER] == [7]
    first.cut()
    connected().publish(topic, b"away", 1)
    second = opened()
    second.connect(client_id, clean=False)
    assert second.message().props[reading.IDENTIFIER] == [7]


@clause("MQTT-3.3.4-6")
def test_a_client_sends_no_subscription_identifier(connected, topic):
    client = connected()
    client.send(raw.publish(topic, props=identifier(1)))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.3.4-7", "MQTT-4.9.0-1")
def test_a_client_that_exceeds_the_receive_maximum(opened, topic):
    client = opened()
    maximum = client.connect().prop(reading.RECEIVE_MAXIMUM)
    assert maximum
    for pid in range(1, maximum + 1):
        client.send(raw.publish(topic, first=0x34, pid=pid))
        assert client.expect(reading.PUBREC).code == 0
    client.send(raw.publish(topic, first=0x34, pid=maximum + 1))
    assert client.closed() == 0x93


@clause("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_the_receive_maximum_of_a_client(connected, topic, qos):
    client, publisher = connected(props=b"\x21\0\2"), connected()
    client.subscribe((topic, qos))
    for at in range(5):
        publisher.publish(topic, b"%d" % at, qos)
    got = [client.unread(), client.unread()]
    client.nothing(0.05)
    if qos == 2:
        client.send(raw.ack(0x50, got[0].pid))
        assert client.expect(reading.PUBREL).pid == got[0].pid
        client.nothing(0.05)
        client.send(raw.ack(0x70, got[0].pid))
    else:
        client.send(raw.ack(0x40, got[0].pid))
    got.append(client.unread())
    client.nothing(0.05)
    assert [one.payload for one in got] == [b"0", b"1", b"2"]


@clause("MQTT-3.3.4-9")
def test_a_refused_message_makes_room(connected, topic):
    client, publisher = connected(props=b"\x21\0\1"), connected()
    client.subscribe((topic, 2))
    for at in range(2):
        publisher.publish(topic, b"%d" % at, 2)
    client.send(raw.ack(0x50, client.unread().pid, b"\x83"))
    assert client.message().payload == b"1"


@clause("MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_a_full_window_holds_up_nothing_else(connected, topic):
    client, publisher = connected(props=b"\x21\0\1"), connected()
    client.subscribe((topic, 2))
    for _ in range(3):
        publisher.publish(topic, qos=1)
    client.unread()
    client.ping()
    client.subscribe((f"{topic}/b", 0))
    client.publish(f"{topic}/c", qos=1)
    client.publish(f"{topic}/c", qos=2)
    client.unsubscribe(f"{topic}/b")
