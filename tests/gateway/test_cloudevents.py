"""CloudEvents attributes: Hilum's own, a publisher's, and both as header fields."""

import pytest

from gateway.cloudevents import MAX_BYTES, attributes, extras_of, http_fields
from gateway.message import Event, EventId, Extras
from registry.names import Name


def event(*said):
    extras = Extras(attributes=said) if said else None
    at = EventId("5f3a", 7)
    return Event(
        Name("s/w/news"), at, 1_700_000_000_123, "user:ann", "text/plain", b"x", 1, True, extras
    )


def fields(*pairs):
    return [part for name, value in pairs for part in (name, b": ", value, b"\r\n")]


def test_hilum_gives_an_event_its_attributes():
    assert attributes(event()) == {
        "specversion": "1.0",
        "type": "hilum.event",
        "id": "5f3a-7",
        "source": "urn:hilum:s/w/news",
        "time": "2023-11-14T22:13:20.123Z",
    }


def test_a_publishers_own_cloudevent_stays_as_it_is():
    said = (("specversion", "1.0"), ("id", "a"), ("source", "/band"), ("type", "beat"))
    assert attributes(event(*said)) == dict(said)


def test_extensions_are_added_and_what_is_no_attribute_is_left_out():
    found = attributes(event(("traceparent", "00-1"), ("Not An Attribute", "x")))
    assert found["traceparent"] == "00-1"
    assert found["id"] == "5f3a-7"
    assert "Not An Attribute" not in found


def test_attributes_survive_header_fields():
    said = {"subject": 'caf\u00e9 100% "sure"', "id": "x y"}
    flat = http_fields(said)
    assert all(32 < byte < 127 for value in flat[2::4] for byte in value)
    extras = extras_of(flat)
    assert extras is not None
    assert dict(extras.attributes) == said


def test_other_fields_say_nothing():
    assert extras_of(fields((b"Content-Type", b"text/plain"), (b"X-Id", b"1"))) is None


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([(b"ce-Not_a_name", b"1")], "letters and digits"),
        ([(b"ce-" + b"a" * 21, b"1")], "at most 20"),
        ([(b"ce-%c" % (97 + n % 26) + b"%d" % n, b"1") for n in range(33)], "at most 32"),
        ([(b"ce-big", b"x" * MAX_BYTES)], "bytes in all"),
        ([(b"ce-id", b"a%00b")], "control characters"),
        ([(b"ce-id", b"a%0D%0Ab")], "control characters"),
        ([(b"ce-id", b"a\x85b")], "control characters"),
    ],
)
def test_too_much_and_what_no_attribute_can_hold_is_refused(pairs, said):
    with pytest.raises(ValueError, match=said):
        extras_of(fields(*pairs))
