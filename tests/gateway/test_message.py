"""The closed table of outcomes, and what a foreign status code means."""

import pytest

from gateway.message import WIRE, Event, EventId, Origin, Refusal, Reply, Status, status_of_http


def test_every_status_has_its_row_and_its_slug():
    assert len(WIRE) == len(Status)
    assert [status.slug for status in Status] == [
        "ok",
        "bad-request",
        "unauthenticated",
        "denied",
        "not-found",
        "conflict",
        "too-large",
        "unsupported-type",
        "invalid",
        "throttled",
        "unavailable",
        "timeout",
        "cancelled",
        "provider-error",
        "internal",
        "not-acceptable",
    ]
    assert Status.NOT_FOUND.wire.http == 404


@pytest.mark.parametrize("column", ["http", "exit"])
def test_http_codes_and_exit_codes_tell_statuses_apart(column):
    values = [getattr(wire, column) for wire in WIRE]
    assert len(set(values)) == len(values)


def test_each_protocols_code_is_of_the_right_class():
    for status in Status:
        wire = status.wire
        ok = status is Status.OK
        assert (wire.http < 400) == ok
        assert wire.coap.startswith("2.") == ok
        assert (wire.mqtt < 0x80) == ok
        assert (wire.exit == 0) == ok
        if not ok and wire.http != 499:
            assert wire.coap[0] == str(wire.http)[0]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[(wire.http, Status(number)) for number, wire in enumerate(WIRE)],
        (204, Status.OK),
        (302, Status.OK),
        (418, Status.BAD_REQUEST),
        (507, Status.PROVIDER_ERROR),
        (999, Status.OK),
    ],
)
def test_every_http_code_means_a_status(code, status):
    assert status_of_http(code) is status


def test_a_refusal_carries_what_the_caller_is_told():
    refusal = Refusal(Status.THROTTLED, "later", retry_after=3, extra={"limit": 5})
    assert str(refusal) == refusal.detail == "later"
    assert (refusal.status, refusal.retry_after) == (Status.THROTTLED, 3)
    assert refusal.extra == {"limit": 5}
    assert Refusal(Status.INVALID, "no").extra == {}


def test_replies_do_not_share_their_fields():
    one, other = Reply(Status.OK), Reply(Status.OK)
    one.fields.append(b"X")
    assert other.fields == []
    assert Reply(Status.OK, fields=[b"Y"]).fields == [b"Y"]
    assert one.origin is Origin.GATEWAY


def test_an_event_id_is_written_as_incarnation_and_sequence():
    assert str(EventId("3f2a", 17)) == "3f2a-17"


def test_an_event_says_when_where_and_by_whom():
    event = Event("s/w/c", EventId("3f2a", 1), 1_700_000_000_000, "user:ann", "text/plain", b"x")
    assert (event.channel, event.id.sequence, event.source) == ("s/w/c", 1, "user:ann")
    assert (event.time, event.content_type, event.payload) == (
        1_700_000_000_000,
        "text/plain",
        b"x",
    )
