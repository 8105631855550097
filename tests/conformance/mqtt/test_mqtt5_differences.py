"""Where Hilum differs from MQTT, as ``docs/conformance-mqtt.md`` says."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.mqtt import reading


def test_the_last_value_of_a_registered_channel_is_every_event(connected):
    client, late = connected(), connected()
    client.publish("Registered/c1", b"retained", 1, retain=True)
    client.publish("Registered/c1", b"not retained", 1)
    late.subscribe(("Registered/c1", 1))
    (got,) = late.messages()
    assert (got.payload, got.retain) == (b"not retained", True)


def test_an_empty_payload_is_a_value_of_a_registered_channel(connected):
    client, late = connected(), connected()
    client.publish("Registered/c2", b"some", 1, retain=True)
    client.publish("Registered/c2", b"", 1, retain=True)
    late.subscribe(("Registered/c2", 1))
    assert late.payloads() == [b""]


@pytest.mark.parametrize(
    ("one", "other"), [("é", "%C3%A9"), (" ", "%20"), ("a", "%61"), ("*", "%2a")]
)
def test_percent_encoded_or_not_is_one_name(connected, topic, one, other):
    client = connected()
    for wanted, published in ((one, other), (other, one)):
        client.subscribe((f"{topic}/{wanted}", 0))
        client.publish(f"{topic}/{published}")
        assert [got.topic for got in client.messages()] == [f"{topic}/{wanted}"]
        client.unsubscribe(f"{topic}/{wanted}")


@pytest.mark.parametrize("before", ["/", "localhost/", "/localhost/"])
def test_a_leading_slash_and_the_authority_are_of_the_spelling_only(connected, topic, before):
    client = connected()
    for wanted, published in ((topic, f"{before}{topic}"), (f"{before}{topic}", topic)):
        client.subscribe((wanted, 0))
        client.publish(published)
        assert [got.topic for got in client.messages()] == [wanted]
        client.unsubscribe(wanted)


@pytest.mark.parametrize("content_type", ["text/plain; x=é", "\x01", "x" * 513])
def test_content_types_are_short_and_ascii(connected, topic, content_type):
    client = connected()
    client.subscribe((topic, 0))
    assert client.publish(topic, qos=1, props=b"\3" + raw.string(content_type)) == 0x83
    assert client.messages() == []


def test_events_carry_cloudevents_attributes_behind_the_publishers(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    client.publish(topic, props=raw.user("own", "1"))
    said = client.message().props[reading.USER]
    assert said[0] == ("own", "1")
    assert {"specversion", "id", "source", "type", "time"} == {name for name, _ in said[1:]}
    own = raw.user("specversion", "1.0") + raw.user("id", "7")
    client.publish(topic, props=own)
    assert client.message().props[reading.USER] == [("specversion", "1.0"), ("id", "7")]


@pytest.mark.parametrize("empty", ["free//a", "free/a/", "/", "//"])
def test_levels_are_not_empty(connected, empty):
    client = connected()
    assert client.publish(empty, qos=1) == 0x90
    assert client.subscribe((empty, 0), (f"{empty}/+", 0)) == [0x8F, 0x8F]
