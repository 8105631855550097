"""Payloads that have to fit a schema are whole and checked before anything is sent."""

import pytest

from gateway.message import Status
from gateway.validity import CHECKED
from policy.model import Action
from registry.changes import Expired
from registry.model import EventChannel, Method, RegistrationId
from tests.gateway.play import Stage

GOAL = {"type": "object", "properties": {"kg": {"type": "number"}}, "required": ["kg"]}


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(
        "a",
        methods={"make": Method(input=GOAL, safe=True)},
        channels={"weight": EventChannel(schema=GOAL)},
    )
    return stage


def test_a_payload_that_fits_is_sent_as_it_came(stage):
    stage.begin(body=b'{"kg": 2 }')
    assert stage.played() == ['a send {"kg": 2 }.']


def test_a_payload_in_pieces_is_sent_when_it_is_whole(stage):
    exchange, _ = stage.begin(body=b'{"kg"', end=False)
    exchange.body(b": 2", end=False)
    assert stage.played() == []
    exchange.body(b"}", end=True)
    assert stage.played() == ['a send {"kg": 2}.']
    assert exchange.call.length == 9


@pytest.mark.parametrize(
    ("payload", "status", "says"),
    [
        (b'{"kg": "two"}', Status.INVALID, "kg"),
        (b"{}", Status.INVALID, "kg"),
        (b"{", Status.BAD_REQUEST, "JSON"),
        (b"", Status.BAD_REQUEST, "JSON"),
        (b"x" * (CHECKED + 1), Status.TOO_LARGE, str(CHECKED)),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_and_not_sent(stage, payload, status, says):
    exchange, caller = stage.begin(body=payload)
    assert caller.refusal.status is status
    assert says in caller.refusal.detail
    assert not stage.http.permits
    assert exchange.done
    assert not stage.plane.live


def test_a_payload_that_grows_too_large_is_refused_once(stage):
    exchange, caller = stage.begin(body=b" " * CHECKED, end=False)
    exchange.body(b" ", end=False)
    assert caller.refusal.status is Status.TOO_LARGE
    exchange.body(b" ", end=True)
    assert len(stage.played()) == 1


def test_a_caller_that_vanishes_before_its_payload_is_whole_sends_nothing(stage):
    exchange, _ = stage.begin(body=b"{", end=False)
    exchange.cancel()
    assert exchange.done
    assert not stage.http.permits


def test_without_a_live_endpoint_a_fitting_payload_is_unavailable(stage):
    stage.apply(Expired(RegistrationId("Recommender", "1", "a"), 1))
    _, caller = stage.begin(body=b'{"kg": 2}')
    assert caller.refusal.status is Status.UNAVAILABLE


def test_the_arguments_of_a_get_are_in_its_query_and_are_not_checked(stage):
    exchange, _ = stage.exchange("make")
    exchange.call.verb = b"GET"
    exchange.begin(b"", end=True)
    assert stage.played() == ["a send ."]


def test_a_payload_without_a_schema_is_sent_as_it_comes():
    stage = Stage()
    stage.register("a")
    exchange, _ = stage.exchange("make")
    exchange.body(b"too early", end=False)
    exchange.begin(b"{", end=True)
    assert stage.played() == ["a send {."]


def test_events_are_checked_and_reading_the_last_value_is_not(stage):
    _, caller = stage.begin("weight", action=Action.PUBLISH, body=b"3")
    assert caller.refusal.status is Status.INVALID
    _, caller = stage.begin("weight", action=Action.SUBSCRIBE)
    assert caller.refusal is None
