"""Bytes that nobody should send: the decoder answers every one with packets or with an error."""

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.mqtt.codec import Decoder
from adapters.mqtt.packets import Malformed, Publish, Subscribe
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
