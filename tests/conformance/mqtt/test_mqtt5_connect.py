"""MQTT 5.0 section 3.1: CONNECT."""

import time

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

GONE = raw.properties() + raw.string("free/gone") + raw.string("gone")


def will(topic: str, payload: bytes = b"gone", props: bytes = b"") -> bytes:
    return raw.properties(props) + raw.string(topic) + raw.string(payload)


@clause("MQTT-3.1.0-1")
@pytest.mark.parametrize(
    "packet",
    [
        raw.PINGREQ,
        raw.publish("free/a"),
        raw.subscribe(("free/a", 0)),
        raw.DISCONNECT,
        b"GET /\r\n",
    ],
)
def test_the_first_packet_is_connect(opened, packet):
    client = opened()
    client.send(packet)
    assert client.closed() is None


@clause("MQTT-3.1.0-2", "MQTT-3.2.0-2")
def test_a_second_connect_ends_the_connection(connected, client_id):
    client = connected(client_id)
    client.send(client.connect_bytes(client_id))
    assert client.closed() == 0x82
    assert [got.kind for got in client.received] == [reading.CONNACK, reading.DISCONNECT]


@clause("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["mqtt", "MQTX", "MQIsdp", ""])
def test_the_protocol_name_is_mqtt(opened, name):
    client = opened()
    client.send(raw.connect("c", name=name))
    assert client.closed() in {None, 0x84, 1}


@clause("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [6, 255])
def test_versions_to_come_are_refused(opened, level):
    client = opened()
    client.send(raw.connect("c", level))
    assert client.closed() in {None, 0x84}


@clause("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [0, 2])
def test_versions_that_never_were_are_refused(opened, level):
    client = opened(version=4)
    client.send(raw.connect("c", level))
    assert client.closed() in {None, 1}


WRONG = {
    "reserved flag": raw.connect(flags=3),
    "will without its fields": raw.connect(flags=6),
    "will without a payload": raw.connect(flags=6, payload=b"\0" + raw.string("free/a")),
    "will QoS without a will": raw.connect(flags=0x0A),
    "will QoS 3": raw.connect(flags=0x1E, payload=GONE),
    "will retain without a will": raw.connect(flags=0x22),
    "user name that is not announced": raw.connect(payload=raw.string("me")),
    "user name that is missing": raw.connect(flags=0x82),
    "password that is not announced": raw.connect(
        flags=0x82, payload=raw.string("me") + raw.string("secret")
    ),
    "password that is missing": raw.connect(flags=0xC2, payload=raw.string("me")),
    "user name that is not UTF-8": raw.connect(flags=0x82, payload=raw.string(b"\xff")),
    "will topic that is not UTF-8": raw.connect(
        flags=6, payload=b"\0" + raw.string(b"free/\xff") + raw.string("")
    ),
    "no client identifier": raw.packet(0x10, raw.string("MQTT"), b"\5\2\0\x3c\0"),
    "cut off": raw.packet(0x10, raw.string("MQTT"), b"\5\2"),
    "junk behind it": raw.connect(payload=b"junk"),
    "property of another packet": raw.connect(props=b"\x23\0\1"),
    "property twice": raw.connect(props=b"\x11\0\0\0\1" * 2),
    "receive maximum 0": raw.connect(props=b"\x21\0\0"),
    "maximum packet size 0": raw.connect(props=b"\x27\0\0\0\0"),
    "flags of the fixed header": raw.connect(first=0x11),
}


@clause(
    *("MQTT-3.1.2-3", "MQTT-3.1.2-9", "MQTT-3.1.2-11", "MQTT-3.1.2-12", "MQTT-3.1.2-13"),
    *("MQTT-3.1.2-16", "MQTT-3.1.2-17", "MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.3-3"),
    *("MQTT-3.1.3-11", "MQTT-3.1.3-12", "MQTT-3.1.4-1", "MQTT-3.2.2-7"),
)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_connects_end_the_connection(opened, case):
    client = opened()
    client.send(WRONG[case])
    assert client.closed() in {None, 0x81, 0x82}


@clause("MQTT-3.1.2-12", "MQTT-3.1.3-1", "MQTT-3.1.4-5")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_connect_with_everything(opened, topic, client_id, qos):
    props = b"\x11\0\0\0\1\x21\0\5\x27\0\1\0\0\x22\0\5\x19\1\x17\1" + raw.user("k", "v")
    said = b"\x18\0\0\0\0\1\1\2\0\0\0\x3c\3" + raw.string("text/plain") + raw.user("k", "v")
    client = opened()
    got = client.connect(
        client_id, props=props, will=will(topic, b"gone", said), will_flags=qos << 3 | 0x20
    )
    assert got.code == 0


@clause("MQTT-3.1.2-4", "MQTT-3.1.4-4", "MQTT-3.2.2-2")
def test_clean_start_discards_the_session(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    first.disconnect()
    connected().publish(topic, b"missed", 1)
    second = opened()
    assert not second.connect(client_id, clean=True, expiry=60).present
    second.publish(topic, b"not subscribed", 1)
    assert second.payloads() == []
    second.disconnect()
    third = opened()
    assert third.connect(client_id, clean=False).present, "the new session is one too"


@clause("MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-3.2.2-3", "MQTT-4.1.0-1", "MQTT-4.5.0-1")
def test_a_session_is_resumed(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    first.cut()
    connected().publish(topic, b"while away", 1)
    second = opened()
    assert second.connect(client_id, clean=False).present
    assert second.message().payload == b"while away"
    second.publish(topic, b"still subscribed", 1)
    assert second.message().payload == b"still subscribed"


@clause("MQTT-3.1.2-6", "MQTT-3.2.2-3")
def test_without_a_session_a_new_one_begins(opened, client_id, topic):
    client = opened()
    got = client.connect(client_id, clean=False)
    assert (got.code, got.present) == (0, False)
    assert client.subscribe((topic, 0)) == [0]


@clause("MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-14")
def test_a_will_is_published_when_the_connection_breaks(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0x0A))
    connected(will=will(topic), will_flags=0x08).cut()
    got = watcher.message()
    assert (got.payload, got.qos, got.retain) == (b"gone", 1, False)
    late = connected()
    late.subscribe((topic, 1))
    assert late.messages() == []


@clause("MQTT-3.1.2-15")
def test_a_will_with_retain_is_published_as_a_retained_message(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0x08))
    connected(will=will(topic), will_flags=0x20).cut()
    assert watcher.message().retain
    late = connected()
    late.subscribe((topic, 1))
    got = late.message()
    assert (got.payload, got.retain) == (b"gone", True)


@clause("MQTT-3.1.2-8")
@pytest.mark.parametrize("packet", [raw.publish(""), b"\xe0\1\4"])
def test_a_will_is_published_after_an_error_and_when_the_client_asks_for_it(
    connected, topic, packet
):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = connected(will=will(topic))
    client.send(packet)
    client.closed()
    assert watcher.message().payload == b"gone"


@clause("MQTT-3.1.2-8", "MQTT-3.1.2-10", "MQTT-3.14.4-3")
def test_a_normal_disconnect_removes_the_will(connected, opened, client_id, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = connected(client_id, will=will(topic), expiry=60)
    client.disconnect()
    again = opened()
    again.connect(client_id, clean=False)
    again.cut()
    watcher.nothing()


@clause("MQTT-3.1.2-10")
def test_a_will_is_published_once(connected, opened, client_id, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    connected(client_id, will=will(topic), expiry=60).cut()
    assert watcher.message().payload == b"gone"
    again = opened()
    assert again.connect(client_id, clean=False).present
    again.cut()
    watcher.nothing()


@clause("MQTT-3.1.2-8", "MQTT-3.1.3-9")
def test_a_will_waits_for_its_delay_and_not_when_the_client_comes_back(
    connected, opened, client_id, topic
):
    watcher = connected()
    watcher.subscribe((f"{topic}/#", 0))
    delay = b"\x18\0\0\0\1"
    connected(client_id, will=will(f"{topic}/back", props=delay), expiry=60).cut()
    connected(will=will(f"{topic}/away", props=delay), expiry=60).cut()
    began = time.monotonic()
    back = opened()
    back.connect(client_id, clean=False, expiry=60)
    back.cut()
    assert watcher.message().topic == f"{topic}/away"
    assert 0.8 < time.monotonic() - began < 6
    watcher.nothing(0.3)


@clause("MQTT-3.1.2-8")
def test_a_will_does_not_outlive_the_session(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    began = time.monotonic()
    connected(will=will(topic, props=b"\x18\0\0\0\x3c")).cut()
    assert watcher.message().payload == b"gone"
    assert time.monotonic() - began < 30


@clause("MQTT-3.1.3-10")
def test_a_will_keeps_its_properties_and_their_order(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    said = [("b", "1"), ("a", "2"), ("b", "1"), ("", "")]
    props = b"\3" + raw.string("text/plain") + b"\x08" + raw.string("r/t") + b"\x09"
    props += raw.string(b"\0\xff") + b"\1\1" + b"".join(raw.user(*pair) for pair in said)
    connected(will=will(topic, props=props)).cut()
    got = watcher.message()
    assert [pair for pair in got.props[reading.USER] if pair in said] == said
    assert got.prop(reading.CONTENT_TYPE) == "text/plain"
    assert got.prop(reading.RESPONSE_TOPIC) == "r/t"
    assert got.prop(reading.CORRELATION) == b"\0\xff"
    assert got.prop(reading.FORMAT) == 1


@clause("MQTT-3.1.2-22", "MQTT-3.2.2-22")
def test_a_silent_client_is_disconnected_after_one_and_a_half_keep_alives(connected, topic):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = connected(keep=1, will=will(topic))
    began = time.monotonic()
    assert client.closed() in {None, 0x8D}
    assert 1.4 < time.monotonic() - began < 6
    assert watcher.message().payload == b"gone", "as if the network had failed"


@clause("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_what_is_too_large_for_a_client_is_not_sent_to_it(connected, topic):
    size = 200
    client = connected(props=b"\x27" + size.to_bytes(4, "big") + b"\x21\0\1")
    client.subscribe((topic, 2))
    publisher = connected()
    for qos in (0, 1, 2):
        publisher.publish(topic, b"x" * size, qos)
        publisher.publish(topic, b"small", qos)
    for qos in (0, 1, 2):
        got = client.message()
        assert (got.payload, got.qos) == (b"small", qos)
    assert all(got.size <= size for got in client.received)


@clause("MQTT-3.1.2-27")
def test_no_aliases_for_a_client_that_wants_none(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    for _ in range(3):
        client.publish(topic)
        got = client.message()
        assert (got.topic, got.prop(reading.ALIAS)) == (topic, None)


@clause("MQTT-3.1.2-26", "MQTT-3.3.2-11")
def test_aliases_up_to_the_maximum_of_the_client(connected, topic):
    client = connected(props=b"\x22\0\2")
    client.subscribe((f"{topic}/+", 0))
    topics: dict[int, str] = {}
    for at in (0, 1, 2, 3, 0, 1, 2, 3, 0):
        client.publish(f"{topic}/{at}")
        got = client.message()
        alias = got.prop(reading.ALIAS)
        assert alias is None or 1 <= alias <= 2
        if got.topic and alias:
            topics[alias] = got.topic
        assert (got.topic or topics[alias]) == f"{topic}/{at}"


@clause("MQTT-3.1.2-28")
def test_response_information_only_when_asked_for(opened):
    assert opened().connect().prop(reading.RESPONSE_INFO) is None
    assert opened().connect(props=b"\x19\0").prop(reading.RESPONSE_INFO) is None


@clause("MQTT-3.1.2-29")
def test_no_reasons_for_a_client_that_wants_none(connected):
    client = connected(props=b"\x17\0")
    client.subscribe(("closed/a", 0), ("closed/#", 0))
    client.publish("closed/a", qos=1)
    client.publish("closed/a", qos=2)
    client.unsubscribe("closed/a")
    answers = [got for got in client.received if got.kind != reading.CONNACK]
    assert len(answers) >= 4
    assert not any(reading.WHY in got.props or reading.USER in got.props for got in answers)


@clause("MQTT-3.1.3-2")
def test_the_client_identifier_tells_sessions_apart(connected, opened, client_id, topic):
    for at in (1, 2):
        client = connected(f"{client_id}{at}", expiry=60)
        client.subscribe((f"{topic}/{at}", 1))
        client.disconnect()
    publisher = connected()
    for at in (1, 2):
        publisher.publish(f"{topic}/{at}", b"%d" % at, 1)
    for at in (2, 1):
        client = opened()
        client.connect(f"{client_id}{at}", clean=False)
        assert client.payloads() == [b"%d" % at]


@clause("MQTT-3.1.3-5")
@pytest.mark.parametrize(
    "client_id",
    ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"],
)
def test_plain_client_identifiers_are_allowed(opened, client_id):
    assert opened().connect(client_id).code == 0


@clause("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
def test_a_client_without_an_identifier_gets_one(opened):
    clients = [opened() for _ in range(3)]
    assigned = [client.connect("", expiry=60).prop(reading.ASSIGNED) for client in clients]
    assert len(set(assigned)) == 3
    assert all(assigned)
    clients[0].cut()
    again = opened()
    assert again.connect(assigned[0], clean=False).present, "the session is under that name"


@clause("MQTT-3.1.3-8")
def test_a_client_identifier_that_is_refused(opened):
    client = opened()
    client.send(client.connect_bytes("c" * 60_000))
    assert client.closed() == 0x85


@clause("MQTT-3.1.4-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8", "MQTT-4.13.2-1")
def test_a_wrong_password(connected, opened, client_id):
    connected(client_id, expiry=60).cut()
    client = opened()
    client.send(client.connect_bytes(client_id, token="wrong", clean=False))
    assert client.closed() in {0x86, 0x87}
    assert not client.received[0].present


@clause("MQTT-3.1.4-6")
def test_what_follows_a_refused_connect_is_not_looked_at(connected, opened, topic):
    client = opened()
    client.send(
        client.connect_bytes(token="wrong"),
        raw.publish(topic, b"no", first=0x31),
        raw.subscribe((topic, 0)),
    )
    assert client.closed() in {0x86, 0x87}
    assert [got.kind for got in client.received] == [reading.CONNACK]
    watcher = connected()
    watcher.subscribe((topic, 0))
    assert watcher.messages() == []


@clause("MQTT-3.1.4-3")
def test_a_session_is_taken_over(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    second = opened()
    assert second.connect(client_id, clean=False).present
    assert first.closed() == 0x8E
    second.publish(topic, b"to the second", 1)
    assert second.message().payload == b"to the second"


@clause("MQTT-3.1.4-4", "MQTT-3.1.2-4")
def test_clean_start_discards_the_session_that_is_taken_over(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    second = opened()
    assert not second.connect(client_id, clean=True).present
    assert first.closed() == 0x8E
    second.publish(topic, b"x", 1)
    assert second.messages() == []


@clause("MQTT-3.1.2-8", "MQTT-3.1.4-3")
def test_the_will_of_a_client_whose_session_is_taken_over(connected, client_id, topic):
    """Without a delay the old connection's end publishes it (section 3.1.2.5)."""
    watcher = connected()
    watcher.subscribe((topic, 0))
    connected(client_id, will=will(topic))
    connected(client_id)
    assert watcher.message().payload == b"gone"


@clause("MQTT-3.1.3-2", "MQTT-3.1.4-3")
def test_another_principal_with_the_same_identifier_is_another_client(
    connected, opened, target, client_id, topic
):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 1))
    other = opened()
    got = other.connect(client_id, clean=False, token=target.other)
    assert (got.code, got.present) == (0, False)
    other.publish(topic, b"for the first", 1)
    assert first.message().payload == b"for the first"
    assert other.messages() == []


@clause("MQTT-3.1.2-24")
@pytest.mark.parametrize("size", [1, 5, 8])
def test_a_client_that_takes_less_than_a_connack(connected, opened, topic, size):
    watcher = connected()
    watcher.subscribe((topic, 0))
    client = opened()
    limit = b"\x27" + size.to_bytes(4, "big")
    client.send(client.connect_bytes("own", props=limit, will=will(topic)))
    assert client.closed() == (None if size < 5 else 0x95)
    assert all(got.size <= size for got in client.received)
    watcher.nothing()
