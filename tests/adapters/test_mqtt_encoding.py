"""Events as PUBLISH packets, read back by another implementation; what was said is remembered."""

import mqtt5
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.wire import encoding
from adapters.mqtt.wire.codec import Decoder
from adapters.mqtt.wire.encoding import Encoder
from gateway.message import Event, EventId, Extras
from registry.names import Name
from tests.adapters.mqtt_bytes import connect

NOW = 1_000_000
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
EXTRAS = st.builds(
    Extras,
    st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    st.sampled_from([0, NOW + 1, NOW + 1000, NOW + 59_001]),
    st.booleans(),
    TEXT,
    st.none() | st.binary(max_size=200),
)
EVENTS = st.builds(
    lambda content_type, payload, qos, extras: Event(
        Name("localhost/a/b"),
        EventId("i", 7),
        NOW,
        "user:ann",
        content_type,
        payload,
        qos,
        True,
        extras,
    ),
    st.sampled_from(["", "text/plain"]),
    st.binary(max_size=300),
    st.integers(0, 2),
    st.none() | EXTRAS,
)
IDS = st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple)
TOPICS = st.sampled_from(["a/b", "a/é", "x" * 200])


def whole(parts: tuple[bytes, bytes], first: int) -> bytes:
    return parts[0] + (b"\1\2" if first & 6 else b"") + parts[1]


def check_5(data: bytes, event: Event, topic: str, first: int, ids: tuple[int, ...]) -> None:
    got, length = mqtt5.read(memoryview(data))
    extras = event.extras or Extras()
    assert length == len(data)
    assert (got.topic, got.payload) == (topic, event.payload)
    assert (int(got.qos), got.retain, got.duplicate) == (first >> 1 & 3, bool(first & 1), False)
    assert got.packet_id == (258 if first & 6 else None)
    assert (got.content_type or "") == event.content_type
    assert (got.response_topic or "") == extras.response_topic
    assert got.correlation_data == extras.correlation
    assert got.payload_format_indicator == extras.text
    assert tuple(got.subscription_ids) == ids
    left = -(-(extras.expires - NOW) // 1000) if extras.expires else None
    assert got.message_expiry_interval == left
    said = tuple(got.user_properties)
    assert said[: len(extras.attributes)] == extras.attributes
    added = {name for name, _ in said[len(extras.attributes) :]}
    own = any(name == "specversion" for name, _ in extras.attributes)
    assert added == (set() if own else {"specversion", "id", "source", "type", "time"})


@given(
    st.lists(
        st.tuples(EVENTS, TOPICS, st.sampled_from([4, 5]), st.integers(0, 5), IDS),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 3), max_size=12),
)
def test_whatever_was_encoded_before_a_delivery_is_encoded_right(deliveries, order):
    """The encoder remembers what it made last, and all that it made of the last event."""
    encoder = Encoder(lambda: NOW, with_cloudevents=True)
    events = [delivery[0] for delivery in deliveries]
    for at in order:
        event = events[at % len(events)]
        _, topic, version, flags, ids = deliveries[(at * 7 + 1) % len(deliveries)]
        first = 0x30 | flags
        data = whole(encoder.parts(event, topic, version, first, ids), first)
        if version == 5:
            check_5(data, event, topic, first, ids)
        else:
            _, got = Decoder(1 << 20).feed(connect(version=4) + data)
            assert (got.topic, got.payload) == (topic, event.payload)
            assert (got.qos, got.retain) == (first >> 1 & 3, bool(first & 1))


@given(EVENTS, st.integers(1, 65_535), st.integers(0, 5))
def test_an_alias_stands_for_the_topic(event, alias, flags):
    encoder = Encoder(lambda: NOW, with_cloudevents=True)
    first = 0x30 | flags
    data = whole(encoder.render(event, b"\0\0", 5, first, (), alias), first)
    got, _ = mqtt5.read(memoryview(data))
    assert (got.topic, got.topic_alias, got.payload) == ("", alias, event.payload)


def test_long_response_topics_are_not_remembered():
    """Each may be 64 kB, and a publisher chooses them."""
    encoder = Encoder(lambda: NOW, with_cloudevents=False)
    before = encoding.text.cache_info().currsize
    for at in range(50):
        extras = Extras(response_topic=f"{at}" * 1000)
        event = Event(Name("localhost/a"), EventId("i", at), NOW, "", "", b"", extras=extras)
        encoder.parts(event, "a", 5, 0x30, ())
    assert encoding.text.cache_info().currsize <= before + 1
