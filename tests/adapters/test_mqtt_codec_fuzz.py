"""Bytes that nobody should send: the decoder answers every one with packets or with an error."""

import tracemalloc

import mqtt5
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.mqtt.wire.codec import Decoder
from adapters.mqtt.wire.packets import Ack, Malformed, Properties, Publish, Subscribe, Unsubscribe
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

LIMIT = 4096
SEEDS = [
    connect(flags=0xF6, props=b"\x11\0\0\0\1" + user("a", "b"), payload=b"\0" + string("t") * 4),
    publish(props=b"\1\1\3" + string("text/plain") + b"\x23\0\1" + user("a", "b")),
    publish(first=0x3D, pid=9, props=b"\x09" + string(b"\xff\xfe")),
    subscribe(("a/+/#", 1), ("$share/g/a", 0), props=b"\x0b\5"),
    unsubscribe("a/+/#", "b"),
    ack(0x40, 1, b"\x87" + properties(b"\x1f" + string("why"))),
    ack(0x62, 1),
    packet(0xE0, b"\4" + properties(b"\x11\0\0\0\1")),
    packet(0xF0, b"\x18" + properties(b"\x15" + string("m"))),
    PINGREQ,
    DISCONNECT,
]


def survive(data: bytes, version: int) -> list[object]:
    """Feed a connected client's bytes; whatever comes out is valid, or an error with a reason."""
    decoder = Decoder(LIMIT)
    decoder.feed(connect(version=version))
    packets = decoder.feed(data)
    for got in packets:
        if isinstance(got, Publish):
            assert not {"+", "#", "\0"} & set(got.topic)
            assert got.topic or got.properties.alias
            assert bool(got.packet_id) is bool(got.qos)
        if isinstance(got, Subscribe):
            assert got.packet_id
            assert got.filters
    if decoder.error is not None:
        assert isinstance(decoder.error, Malformed)
        assert decoder.error.why
        assert decoder.error.reason >= 0x80
        assert not decoder.feed(PINGREQ)
    return packets


@given(st.binary(max_size=200), st.sampled_from([4, 5]))
def test_random_bytes(data, version):
    survive(data, version)
    Decoder(LIMIT).feed(data)


@given(st.integers(0, 255), st.binary(max_size=100), st.sampled_from([4, 5]))
def test_random_bodies_of_every_type(first, body, version):
    survive(packet(first, body), version)
    Decoder(LIMIT).feed(packet(0x10, string("MQTT"), bytes([version]), body))


@given(
    st.lists(st.sampled_from(SEEDS), min_size=1, max_size=4).map(b"".join),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.sampled_from([4, 5]),
)
@example(SEEDS[1], [(1, 255)], 400, 5)
def test_damaged_packets(data, damage, keep, version):
    damaged = bytearray(data[:keep])
    for at, byte in damage:
        if at < len(damaged):
            damaged[at] = byte
    survive(bytes(damaged), version)
    Decoder(LIMIT).feed(bytes(damaged))


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=40))
def test_random_reads_of_random_bytes(data, sizes):
    whole, pieces = Decoder(LIMIT), Decoder(LIMIT)
    wanted = whole.feed(connect() + data)
    got = pieces.feed(connect())
    at = 0
    for size in sizes:
        got += pieces.feed(data[at : at + size])
        at += size
    got += pieces.feed(data[at:])
    assert got == wanted
    assert (pieces.error is None) is (whole.error is None)


def test_a_client_that_never_ends_a_packet_holds_little():
    tracemalloc.start()
    try:
        decoders = [Decoder(LIMIT) for _ in range(200)]
        before, _ = tracemalloc.get_traced_memory()
        for decoder in decoders:
            decoder.feed(connect())
            decoder.feed(b"\x30" + variable(4000))
            for _ in range(3999):
                decoder.feed(b"\0")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(decoders) < 6000


def damaged(seed: bytes, damage: list[tuple[int, int]]) -> bytes:
    """Return a packet with some bytes changed, and a remaining length that fits again."""
    out = bytearray(seed)
    for at, byte in damage:
        out[at % len(out)] = byte
    return bytes(out)


@given(
    st.sampled_from(SEEDS[1:]),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255) | st.integers(0, 40)), max_size=3),
)
def test_what_we_take_another_implementation_reads_alike(seed, damage):
    """It takes more than we do, so it is asked only about what we take."""
    data = damaged(seed, damage)
    packets = survive(data, 5)
    if not packets:
        return
    ours = packets[0]
    theirs, _ = mqtt5.read(memoryview(data))
    match ours:
        case Publish():
            said = ours.properties or Properties()
            assert (theirs.topic, theirs.payload) == (ours.topic, ours.payload)
            assert (int(theirs.qos), theirs.retain, theirs.duplicate) == (
                ours.qos,
                ours.retain,
                ours.dup,
            )
            assert (theirs.packet_id or 0) == ours.packet_id
            assert (theirs.content_type or "", theirs.response_topic or "") == (
                said.content_type,
                said.response_topic,
            )
            assert (theirs.correlation_data, theirs.message_expiry_interval) == (
                said.correlation,
                said.expiry,
            )
            assert (theirs.topic_alias or 0) == said.alias
            assert tuple(theirs.user_properties) == said.attributes
        case Subscribe():
            assert [(one.pattern, int(one.max_qos)) for one in theirs.topic_filters] == [
                (one.filter, one.qos) for one in ours.filters
            ]
            assert (theirs.subscription_id or 0) == ours.subscription_id
        case Unsubscribe():
            assert theirs.patterns == ours.filters
        case Ack():
            assert (theirs.packet_id, int(theirs.reason_code)) == (ours.packet_id, ours.reason)
            assert (theirs.reason_str or "") == ours.why
        case _:
            assert type(theirs).__name__ == f"{type(ours).__name__}Packet".replace(
                "Pingreq", "PingReq"
            )
