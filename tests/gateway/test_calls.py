"""Calls made from inside: the whole reply, or a Refusal."""

import asyncio

import pytest

from gateway.calls import ask
from gateway.message import Call, Refusal, Reply, Status
from gateway.view import Route
from policy.model import Action
from registry.model import EventChannel, Kind, Method
from registry.names import Name
from tests.gateway.play import ANN, BOB, PLAN, Stage, answer

MAKE = Name(f"{PLAN}/make")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register("a", "b", methods={"make": Method(safe=True)}, channels={"n": EventChannel()})
    return stage


def asking(stage, name=MAKE, *, principal=ANN, action=Action.CALL, limit=1000, timeout=30.0):
    call = Call(action, name, principal, stage.plane.now + timeout)
    return asyncio.create_task(ask(stage.plane, call, b"weight", limit))


async def begun(stage, provider=None):
    """Return the answer side of the call when it has been sent."""
    await asyncio.sleep(0)
    return (provider or stage.http).answers[-1]


async def test_a_whole_reply_is_collected(stage):
    task = asking(stage)
    answering = await begun(stage)
    assert stage.http.permits[0].call.length == len(b"weight")
    answering.reply(answer(201), b"pl", end=False)
    answering.pause_body()
    answering.resume_body()
    answering.reply_body(b"an", end=False)
    answering.reply_body(b"1", end=True)
    head, body = await task
    assert (head.code, body) == (201, b"plan1")
    assert not stage.plane.live


async def test_an_error_of_the_provider_is_a_reply(stage):
    task = asking(stage)
    (await begun(stage)).reply(answer(404, Status.NOT_FOUND), b"no", end=True)
    head, body = await task
    assert (head.status, body) == (Status.NOT_FOUND, b"no")


async def test_a_name_that_is_not_there_is_refused(stage):
    with pytest.raises(Refusal) as refused:
        await asking(stage, Name(f"{PLAN}/mkae"))
    assert refused.value.status is Status.NOT_FOUND


async def test_a_call_that_policy_denies_is_refused(stage):
    with pytest.raises(Refusal) as refused:
        await asking(stage, principal=BOB)
    assert refused.value.status is Status.DENIED


async def test_a_call_that_fails_is_refused(stage):
    task = asking(stage)
    for _ in "ab":
        (await begun(stage)).failed(Status.UNAVAILABLE, "connection refused", written=False)
    with pytest.raises(Refusal, match="connection refused"):
        await task


async def test_a_reply_that_breaks_off_is_refused(stage):
    task = asking(stage)
    answering = await begun(stage)
    answering.reply(answer(), b"half", end=False)
    answering.failed(Status.PROVIDER_ERROR, "closed", written=True)
    with pytest.raises(Refusal, match="broke off"):
        await task


@pytest.mark.parametrize("end", [True, False])
async def test_a_reply_that_is_too_large_is_given_up(stage, end):
    task = asking(stage, limit=10)
    answering = await begun(stage)
    answering.reply(answer(), b"123456", end=False)
    answering.reply_body(b"78901", end=False)
    answering.reply_body(b"more", end=end)
    with pytest.raises(Refusal) as refused:
        await task
    assert refused.value.status is Status.TOO_LARGE
    assert not stage.plane.live
    assert [line.split()[1] for line in stage.played()] == ["send", *([] if end else ["cancel"])]


async def test_a_deadline_ends_the_call(stage):
    task = asking(stage, timeout=5)
    await begun(stage)
    stage.plane.sweep(stage.plane.now + 5)
    with pytest.raises(Refusal) as refused:
        await task
    assert refused.value.status is Status.TIMEOUT


async def test_cancelling_the_task_cancels_the_call(stage):
    task = asking(stage)
    answering = await begun(stage)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.played()[-1].endswith("cancel")
    answering.reply(answer(), b"late", end=True)
    assert not stage.plane.live


async def test_a_name_may_ask_for_another_action_than_call(stage):
    """An introspection is a description, whatever verb brings it."""
    route = Route(Name("snac.asu.edu/R/introspect"), Kind.METHOD, "", stage.view.meter_of("R"))
    route.action = Action.DESCRIBE
    stage.view.implicit = {route.name: route}.get
    stage.allow("describe", BOB.id, Action.DESCRIBE)
    task = asking(stage, route.name, principal=BOB)
    (await begun(stage, stage.local)).reply(Reply(Status.OK), b"{}", end=True)
    assert (await task).body == b"{}"
    assert stage.local.permits[0].call.action is Action.DESCRIBE


async def test_other_actions_stay_what_they_are(stage):
    task = asking(stage, Name(f"{PLAN}/n"), action=Action.PUBLISH)
    (await begun(stage, stage.local)).reply(Reply(Status.OK), b"1", end=True)
    await task
    assert stage.local.permits[0].call.action is Action.PUBLISH
