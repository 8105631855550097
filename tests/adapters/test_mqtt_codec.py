"""The MQTT decoder: packets out of bytes of unknown origin, whatever the reads are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.wire.codec import CONNECT_LIMIT, OTHER_LIMIT, PINGRESP_BYTES, Decoder, encode
from adapters.mqtt.wire.decode5 import USER_PROPERTIES
from adapters.mqtt.wire.packets import (
    FOR_EVER,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Auth,
    Connect,
    Disconnect,
    Filter,
    Malformed,
    Pingreq,
    Pingresp,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Will,
)
from adapters.mqtt.wire.topics import FILTERS
from tests.adapters.mqtt_bytes import (
    DISCONNECT,
    PINGREQ,
    ack,
    connect,
    packet,
    properties,
    publish,
    string,
    subscribe,
    unsubscribe,
    user,
    variable,
)

LIMIT = 1 << 20
BOTH = pytest.mark.parametrize("version", [4, 5])


def connected(version: int, limit: int = LIMIT) -> Decoder:
    decoder = Decoder(limit)
    assert len(decoder.feed(connect(version=version))) == 1
    return decoder


def only(version: int, data: bytes):
    """Return the one packet that the bytes are."""
    decoder = connected(version)
    packets = decoder.feed(data)
    assert decoder.error is None, decoder.error.why
    assert len(packets) == 1
    return packets[0]


def refused(version: int, data: bytes) -> Reason:
    decoder = connected(version)
    assert decoder.feed(data) == []
    assert isinstance(decoder.error, Malformed), "it was taken"
    assert decoder.error.why
    assert decoder.feed(PINGREQ) == [], "nothing is taken after an error"
    return decoder.error.reason


def refused_connect(data: bytes) -> Reason:
    decoder = Decoder(LIMIT)
    assert decoder.feed(data) == []
    assert decoder.error is not None, "it was taken"
    return decoder.error.reason


# CONNECT


def test_connect_of_mqtt_5_in_full():
    props = (
        b"\x11\x00\x00\x0e\x10\x21\x00\x0a\x27\x00\x01\x00\x00\x22\x00\x05\x19\x01\x17\x00"
        + user("a", "1")
        + user("a", "2")
        + b"\x15"
        + string("SCRAM")
        + b"\x16"
        + string(b"\xff")
    )
    will = (
        b"\x18\x00\x00\x00\x07\x01\x01\x02\x00\x00\x00\x3c\x03"
        + string("text/plain")
        + b"\x08"
        + string("r/t")
        + b"\x09"
        + string(b"\0\1")
        + user("k", "v")
    )
    payload = properties(will) + string("w/t") + string("gone") + string("me") + string(b"\xfe")
    decoder = Decoder(LIMIT)
    got = decoder.feed(connect("me", flags=0b1111_0110, keep=10, props=props, payload=payload))
    said = Properties("text/plain", "r/t", b"\0\1", 60, True, (("k", "v"),))
    assert got == [
        Connect(
            "me",
            5,
            True,
            10,
            "me",
            b"\xfe",
            Will("w/t", b"gone", 2, True, 7, said),
            3600,
            10,
            65536,
            5,
            False,
            True,
            (("a", "1"), ("a", "2")),
            "SCRAM",
            b"\xff",
        )
    ]
    assert decoder.version == 5
    assert "xfe" not in repr(got[0])


def test_connect_of_mqtt_311_in_full():
    payload = string("w/t") + string("gone") + string("me") + string(b"\xfe")
    got = Decoder(LIMIT).feed(connect("me", 4, flags=0b1110_1100, keep=10, payload=payload))
    will = Will("w/t", b"gone", 1, True)
    assert got == [Connect("me", 4, False, 10, "me", b"\xfe", will, FOR_EVER)]


@pytest.mark.parametrize(("level", "name"), [(3, "MQIsdp"), (3, "MQTT"), (6, "MQTT"), (4, "mqtt")])
def test_other_protocols_are_told_so(level, name):
    decoder = Decoder(LIMIT)
    assert decoder.feed(connect(version=level, name=name)) == []
    assert decoder.error is not None
    assert decoder.error.reason == Reason.UNSUPPORTED_PROTOCOL_VERSION
    assert (decoder.level, decoder.version) == (level, 0)


WRONG_CONNECTS = {
    "reserved flag": (connect(flags=3), 0x81),
    "reserved flag 3.1.1": (connect(version=4, flags=3), 0x81),
    "will QoS 3": (connect(flags=0x1E, payload=b"\0" + string("t") + string("p")), 0x81),
    "will QoS without a will": (connect(flags=0x0A), 0x81),
    "will retain without a will": (connect(version=4, flags=0x22), 0x81),
    "password without a user, 3.1.1": (connect(version=4, flags=0x42, payload=string("p")), 0x81),
    "no identifier for a session, 3.1.1": (connect("", version=4, flags=0), 0x85),
    "first byte": (connect(first=0x11), 0x82),
    "junk behind it": (connect(payload=b"x"), 0x81),
    "junk behind it 3.1.1": (connect(version=4, payload=b"x"), 0x81),
    "too short": (packet(0x10, string("MQTT"), b"\5\2\0\x3c"), 0x81),
    "empty": (packet(0x10), 0x81),
    "NUL": (connect("a\0"), 0x81),
    "surrogate": (connect(b"\xed\xa0\x80"), 0x81),
    "not UTF-8": (connect(b"\xc3"), 0x81),
    "overlong UTF-8": (connect(b"\xc0\xaf"), 0x81),
    "will on a wildcard": (connect(flags=6, payload=b"\0" + string("t/#") + string("")), 0x90),
    "will without a topic": (connect(flags=6, payload=b"\0" + string("") + string("")), 0x90),
    "will that is no text": (
        connect(flags=6, payload=b"\2\1\1" + string("t") + string(b"\xff")),
        0x99,
    ),
    "expiry twice": (connect(props=b"\x11\0\0\0\1\x11\0\0\0\1"), 0x82),
    "receive maximum 0": (connect(props=b"\x21\0\0"), 0x82),
    "maximum packet size 0": (connect(props=b"\x27\0\0\0\0"), 0x82),
    "a flag that is 2": (connect(props=b"\x17\2"), 0x82),
    "authentication data alone": (connect(props=b"\x16" + string("x")), 0x82),
    "property of another packet": (connect(props=b"\x23\0\1"), 0x81),
    "unknown property": (connect(props=b"\x7f\0"), 0x81),
    "property cut off": (connect(props=b"\x11\0\0"), 0x81),
    "properties beyond the end": (
        packet(0x10, string("MQTT"), b"\5\2\0\x3c\x20", string("c")),
        0x81,
    ),
    "properties' length too long": (
        packet(0x10, string("MQTT"), b"\5\2\0\x3c\x80\0", string("c")),
        0x81,
    ),
    "will delay in CONNECT": (connect(props=b"\x18\0\0\0\1"), 0x81),
    "expiry in the will": (
        connect(flags=6, payload=b"\5\x11\0\0\0\1" + string("t") + string("")),
        0x81,
    ),
}


@pytest.mark.parametrize("case", WRONG_CONNECTS)
def test_wrong_connects(case):
    data, reason = WRONG_CONNECTS[case]
    assert refused_connect(data) == reason


@pytest.mark.parametrize("data", [PINGREQ, publish(), b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02"])
def test_the_first_packet_is_connect(data):
    assert refused_connect(data) == Reason.PROTOCOL_ERROR


@BOTH
def test_a_second_connect(version):
    assert refused(version, connect(version=version)) == Reason.PROTOCOL_ERROR


# PUBLISH


@BOTH
def test_publish(version):
    assert only(version, publish(version=version)) == Publish("a/b", b"x")
    assert only(version, publish(version=version, first=0x31)) == Publish("a/b", b"x", 0, True)
    assert only(version, publish(payload=b"", version=version)) == Publish("a/b", b"")
    assert only(version, publish("\ufeffé/😀", version=version)).topic == "\ufeffé/😀"
    acknowledged = publish(version=version, first=0x3D, pid=0x1234)
    assert only(version, acknowledged) == Publish("a/b", b"x", 2, True, 0x1234, True)


def test_publish_with_properties():
    props = (
        b"\1\1\2\0\0\0\x09\3"
        + string("a/json")
        + b"\x08"
        + string("r/t")
        + user("a", "1")
        + user("a", "1")
        + b"\x23\0\7"
    )
    said = Properties("a/json", "r/t", None, 9, True, (("a", "1"), ("a", "1")), (), 7)
    for data in (props, props):  # the second time they are known
        assert only(5, publish(props=data)) == Publish("a/b", b"x", properties=said)
    got = only(5, publish("", props=b"\x09" + string(b"\0") + b"\x23\0\1", first=0x32, pid=1))
    assert got == Publish("", b"x", 1, False, 1, False, Properties(correlation=b"\0", alias=1))


@BOTH
def test_wrong_publishes_of_both_versions(version):
    def wrong(**given) -> Reason:
        return refused(version, publish(version=version, **given))

    assert wrong(first=0x36, pid=1) == Reason.MALFORMED_PACKET
    assert wrong(first=0x38) == Reason.MALFORMED_PACKET
    assert wrong(first=0x32, pid=0) == Reason.PROTOCOL_ERROR
    for topic in ("a/+", "#", "a#b"):
        assert wrong(topic=topic) == Reason.TOPIC_NAME_INVALID
    for topic in ("a\0", b"\xed\xa0\x80", b"\xff", b"\xc0\x80"):
        assert wrong(topic=topic) == Reason.MALFORMED_PACKET
    assert refused(version, packet(0x30, b"\0\x09ab")) == Reason.MALFORMED_PACKET
    assert refused(version, packet(0x30, b"\0")) == Reason.MALFORMED_PACKET
    assert refused(version, packet(0x30)) == Reason.MALFORMED_PACKET
    assert refused(version, packet(0x32, string("ab"), b"\0")) == Reason.MALFORMED_PACKET


def test_an_empty_topic():
    assert refused(4, publish("", version=4)) == Reason.TOPIC_NAME_INVALID
    assert refused(5, publish("")) == Reason.PROTOCOL_ERROR
    assert refused(5, publish("", props=b"\1\1")) == Reason.PROTOCOL_ERROR


WRONG_PROPERTIES = {
    "alias 0": (b"\x23\0\0", 0x94),
    "subscription identifier": (b"\x0b\5", 0x82),
    "another packet's": (b"\x11\0\0\0\1", 0x81),
    "unknown": (b"\x00", 0x81),
    "an identifier in two bytes": (b"\xa6\0" + string("a") + string("b"), 0x81),
    "format 2": (b"\1\2", 0x82),
    "format twice": (b"\1\0\1\0", 0x82),
    "content type twice": ((b"\3" + string("a")) * 2, 0x82),
    "response topic on a wildcard": (b"\x08" + string("a/+"), 0x90),
    "response topic empty": (b"\x08" + string(""), 0x90),
    "NUL in a user property": (user("a\0", "b"), 0x81),
    "user property not UTF-8": (user("a", b"\xff"), 0x81),
    "user property cut off": (b"\x26" + string("a"), 0x81),
    "string cut off": (b"\3\0", 0x81),
}


@pytest.mark.parametrize("case", WRONG_PROPERTIES)
def test_wrong_properties(case):
    props, reason = WRONG_PROPERTIES[case]
    assert refused(5, publish(props=props)) == reason


def test_a_payload_that_is_no_text():
    assert refused(5, publish(payload=b"\xff", props=b"\1\1")) == Reason.PAYLOAD_FORMAT_INVALID


# The other packets


@BOTH
def test_plain_acknowledgements(version):
    for first, kind in ((0x40, PUBACK), (0x50, PUBREC), (0x62, PUBREL), (0x70, PUBCOMP)):
        assert only(version, ack(first, 0x102)) == Ack(kind, 0x102)
        assert refused(version, ack(first, 0)) == Reason.PROTOCOL_ERROR
        assert refused(version, packet(first, b"\1")) == Reason.MALFORMED_PACKET
        assert refused(version, ack(first ^ 1)) == Reason.MALFORMED_PACKET


def test_acknowledgements_with_reasons():
    assert only(5, ack(0x40, 1, b"\x10")) == Ack(PUBACK, 1, 0x10)
    said = properties(b"\x1f" + string("why"), user("a", "b"))
    assert only(5, ack(0x50, 1, b"\x87" + said)) == Ack(PUBREC, 1, 0x87, "why", (("a", "b"),))
    assert only(5, ack(0x62, 1, b"\x92\0")) == Ack(PUBREL, 1, 0x92)
    assert refused(5, ack(0x40, 1, b"\x01")) == Reason.PROTOCOL_ERROR
    assert refused(5, ack(0x62, 1, b"\x80")) == Reason.PROTOCOL_ERROR
    assert refused(5, ack(0x40, 1, b"\0\0junk")) == Reason.MALFORMED_PACKET
    assert refused(5, ack(0x40, 1, b"\0" + properties(b"\x11\0\0\0\1"))) == Reason.MALFORMED_PACKET
    assert refused(4, ack(0x40, 1, b"\0")) == Reason.MALFORMED_PACKET


def test_subscribe():
    assert only(4, subscribe(("a", 1), ("b/#", 2), version=4)) == Subscribe(
        1, [Filter("a", 1), Filter("b/#", 2)]
    )
    got = only(5, subscribe(("a", 0x2D), ("$share/g/#", 0), props=b"\x0b\x80\1" + user("a", "b")))
    wanted = [Filter("a", 1, True, True, 2), Filter("$share/g/#")]
    assert got == Subscribe(1, wanted, 128, (("a", "b"),))


@BOTH
def test_wrong_subscribes_of_both_versions(version):
    def wrong(*filters, **given) -> Reason:
        return refused(version, subscribe(*filters, version=version, **given))

    assert wrong(("a", 0), first=0x80) == Reason.MALFORMED_PACKET
    assert wrong(("a", 0), pid=0) == Reason.PROTOCOL_ERROR
    assert wrong() == Reason.PROTOCOL_ERROR
    for text in ("", "a#", "#/a", "a/b+", "$share", "$share/g", "$share//a", "$share/+/a"):
        assert wrong((text, 0)) == Reason.TOPIC_FILTER_INVALID
    assert wrong(("a\0", 0)) == Reason.MALFORMED_PACKET
    assert wrong(("a", 0x40)) == Reason.MALFORMED_PACKET
    assert wrong((b"\xff", 0)) == Reason.MALFORMED_PACKET


def test_wrong_subscription_options():
    assert refused(4, subscribe(("a", 3), version=4)) == Reason.MALFORMED_PACKET
    assert refused(4, subscribe(("a", 4), version=4)) == Reason.MALFORMED_PACKET
    assert refused(5, subscribe(("a", 3))) == Reason.PROTOCOL_ERROR
    assert refused(5, subscribe(("a", 0x30))) == Reason.PROTOCOL_ERROR
    assert refused(5, subscribe(("$share/g/a", 4))) == Reason.PROTOCOL_ERROR
    assert refused(5, subscribe(("a", 0), props=b"\x0b\0")) == Reason.PROTOCOL_ERROR
    assert refused(5, subscribe(("a", 0), props=b"\x0b\1\x0b\1")) == Reason.PROTOCOL_ERROR
    assert refused(5, packet(0x82, b"\0\1\0", string("a"))) == Reason.MALFORMED_PACKET


@BOTH
def test_unsubscribe(version):
    assert only(version, unsubscribe("a", "b/+", version=version)) == Unsubscribe(1, ["a", "b/+"])
    assert refused(version, unsubscribe(version=version)) == Reason.PROTOCOL_ERROR
    assert refused(version, unsubscribe("a", pid=0, version=version)) == Reason.PROTOCOL_ERROR
    assert refused(version, unsubscribe("a", first=0xA0, version=version)) == 0x81
    assert refused(version, unsubscribe("", version=version)) == Reason.TOPIC_FILTER_INVALID
    assert refused(version, unsubscribe(b"\xff", version=version)) == Reason.MALFORMED_PACKET


def test_unsubscribe_has_no_property_but_the_users():
    assert only(5, unsubscribe("a", props=user("a", "b"))).attributes == (("a", "b"),)
    assert refused(5, unsubscribe("a", props=b"\x0b\1")) == Reason.MALFORMED_PACKET


@BOTH
def test_ping_and_disconnect(version):
    assert only(version, PINGREQ) == Pingreq()
    assert only(version, DISCONNECT) == Disconnect()
    for wrong in (b"\xc1\0", b"\xc0\1\0", b"\xe1\0"):
        assert refused(version, wrong) == Reason.MALFORMED_PACKET
    for kind in (0x00, 0x20, 0x90, 0xB0, 0xD0):
        assert refused(version, bytes([kind, 2, 0, 1])) == Reason.PROTOCOL_ERROR
    assert encode(Pingresp(), version) == PINGRESP_BYTES


def test_disconnect_and_auth():
    said = properties(b"\x11\0\0\0\1\x1f" + string("bye"))
    assert only(5, packet(0xE0, b"\4" + said)) == Disconnect(4, "bye", (), 1)
    assert refused(5, packet(0xE0, b"\x8b")) == Reason.PROTOCOL_ERROR
    assert refused(5, packet(0xE0, b"\0\0junk")) == Reason.MALFORMED_PACKET
    assert refused(4, packet(0xE0, b"\0")) == Reason.MALFORMED_PACKET
    method = properties(b"\x15" + string("m") + b"\x16" + string("d"))
    assert only(5, packet(0xF0, b"\x18" + method)) == Auth(0x18, "m", b"d")
    assert refused(5, b"\xf0\0") == Reason.PROTOCOL_ERROR
    assert refused(5, packet(0xF0, b"\0" + method)) == Reason.PROTOCOL_ERROR
    assert refused(4, packet(0xF0, b"\x18" + method)) == Reason.PROTOCOL_ERROR


# Lengths and reads


@BOTH
def test_lengths(version):
    decoder = connected(version, limit=1000)
    too_large = publish(payload=b"x" * 1000, version=version)
    assert decoder.feed(too_large[:3]) == []
    assert decoder.error is not None
    assert decoder.error.reason == Reason.PACKET_TOO_LARGE
    exactly = publish(payload=b"", version=version)
    fitting = publish(payload=b"x" * (1000 - len(exactly) - 1), version=version)
    assert len(fitting) == 1000
    assert len(connected(version, limit=1000).feed(fitting)) == 1
    for endless in (b"\x30\xff\xff\xff\xff", b"\x30\xff\xff\xff\xff\x7f", b"\x30\x80\x80\x80\x80"):
        assert refused(version, endless) == Reason.MALFORMED_PACKET
    assert refused(version, b"\x30\xff\xff\xff\x7f") == Reason.PACKET_TOO_LARGE
    assert refused(version, b"\xc0\x80\x00") == Reason.MALFORMED_PACKET
    assert refused(version, b"\xc0\x80\x80\x00") == Reason.MALFORMED_PACKET


def test_an_unknown_client_may_send_little():
    decoder = Decoder(1 << 28)
    assert decoder.feed(b"\x10" + variable(CONNECT_LIMIT)) == []
    assert decoder.error is not None
    assert decoder.error.reason == Reason.PACKET_TOO_LARGE


@BOTH
def test_a_packet_holds_no_more_than_can_be_read_at_once(version):
    """A packet of 2 MiB could hold half a million filters: all others would wait for a second."""
    there = [("a", 0)] * FILTERS
    for make, wanted in ((subscribe, there), (unsubscribe, ["a"] * FILTERS)):
        assert len(connected(version).feed(make(*wanted, version=version))) == 1
        assert refused(version, make(*wanted, wanted[0], version=version)) == Reason.QUOTA_EXCEEDED


@BOTH
def test_only_messages_are_large(version):
    """What is read at once, filter by filter, may not be as large as a message."""
    half = ["/".join("+" * 128)] * 240
    assert len(connected(version).feed(unsubscribe(*half, version=version))) == 1
    assert refused(version, unsubscribe(*half, *half, version=version)) == Reason.QUOTA_EXCEEDED
    start = packet(0x62, bytes(OTHER_LIMIT))[:4]
    assert refused(version, start) == Reason.QUOTA_EXCEEDED


def test_a_packet_has_no_more_user_properties_than_can_be_read_at_once():
    pair = user("", "")
    assert len(connected(5).feed(publish(props=pair * USER_PROPERTIES))) == 1
    assert refused(5, publish(props=pair * (USER_PROPERTIES + 1))) == Reason.QUOTA_EXCEEDED


@BOTH
def test_packets_before_an_error_are_returned(version):
    decoder = Decoder(LIMIT)
    data = connect(version=version) + publish(version=version) + b"\x30\1\0" + PINGREQ
    assert [packet.kind for packet in decoder.feed(data)] == [1, 3]
    assert decoder.error is not None


def test_a_large_packet_in_tiny_reads_takes_linear_time():
    data = publish(payload=b"x" * 400_000)
    decoder = connected(5)
    began = time.perf_counter()
    for at in range(0, len(data), 4):
        packets = decoder.feed(data[at : at + 4])
    assert packets == [Publish("a/b", b"x" * 400_000)]
    assert time.perf_counter() - began < 1.0


STREAM = {
    version: b"".join(
        (
            connect(version=version),
            publish(version=version),
            publish("t" * 300, b"p" * 200, version, first=0x32, pid=7),
            subscribe(("a/#", 1), version=version),
            PINGREQ,
            ack(0x40),
            publish(payload=b"", version=version),
            unsubscribe("a/#", version=version),
            DISCONNECT,
        )
    )
    for version in (4, 5)
}


@given(st.sampled_from([4, 5]), st.lists(st.integers(1, 60), max_size=200))
def test_the_reads_do_not_matter(version, sizes):
    data = STREAM[version]
    whole = Decoder(LIMIT).feed(data)
    decoder, at, packets = Decoder(LIMIT), 0, []
    for size in sizes:
        packets += decoder.feed(data[at : at + size])
        at += size
    packets += decoder.feed(data[at:])
    assert packets == whole
    assert len(whole) == 9
    assert decoder.error is None


@pytest.mark.parametrize("size", [1, 2, 3])
@BOTH
def test_tiny_reads(version, size):
    data, decoder = STREAM[version], Decoder(LIMIT)
    packets = [
        got for at in range(0, len(data), size) for got in decoder.feed(data[at : at + size])
    ]
    assert packets == Decoder(LIMIT).feed(data)


def test_topics_and_properties_that_never_repeat_are_not_kept_for_ever():
    decoder = connected(5)
    for at in range(10_000):
        decoder.feed(publish(f"t/{at}", props=user("n", str(at))))
    assert decoder.error is None
    assert decoder.feed(publish("t/1", props=user("n", "1")))[0].topic == "t/1"
