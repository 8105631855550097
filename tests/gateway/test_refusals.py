"""What a refusal says, and to whom: nobody can probe for names that he may not describe."""

import pytest

from adapters.http.wire.render import refusal_document
from gateway.message import Call, Refusal, Status
from gateway.refusals import denial, no_endpoint, unknown
from policy.decision import Question
from policy.model import ANONYMOUS, Action, Principal
from registry.model import EventChannel, Method
from registry.names import Name
from tests.gateway.play import ANN, AUTHORITY, BOB, PLAN, Stage

MISSING = Name(f"{PLAN}/mkae")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(
        "a",
        methods={"make": Method(), "made": Method(), "bake": Method()},
        channels={"news": EventChannel()},
    )
    return stage


def denied(stage: Stage, principal: Principal, name: Name, action: Action) -> Refusal:
    route = stage.view.find(name)
    assert route is not None
    decision = stage.access.decide(Question(principal, action, name, route.owner))
    assert not decision.allowed
    return denial(stage.access, Call(action, name, principal, 0.0), route, decision)


def missing(stage: Stage, principal: Principal, name: Name) -> Refusal:
    return unknown(stage.access, stage.view, Call(Action.CALL, name, principal, 0.0))


@pytest.mark.parametrize("principal", [BOB, ANONYMOUS])
@pytest.mark.parametrize(
    ("member", "action"),
    [
        ("make", Action.CALL),
        ("news", Action.PUBLISH),
        ("news", Action.SUBSCRIBE),
        ("", Action.DESCRIBE),
    ],
)
def test_without_describe_an_unknown_name_answers_like_a_denied_one(
    stage, principal, member, action
):
    """Status, headers and body are the same, whatever the name really is."""
    name = Name(f"{PLAN}/{member}" if member else PLAN)
    there = refusal_document(denied(stage, principal, name, action))
    stage = Stage()
    assert refusal_document(missing(stage, principal, name)) == there


def test_anonymous_callers_are_asked_to_authenticate(stage):
    refusal = missing(stage, ANONYMOUS, MISSING)
    assert refusal.status is Status.UNAUTHENTICATED
    assert "bearer token" in refusal.detail


def test_who_may_describe_a_name_is_told_which_policy_denies(stage):
    stage.allow("describe", BOB.id, Action.DESCRIBE)
    stage.deny("no-calls", BOB.id, Action.CALL)
    refusal = denied(stage, BOB, Name(f"{PLAN}/make"), Action.CALL)
    assert refusal.status is Status.DENIED
    assert f"user:bob may not call {PLAN}/make: deny by AccessPolicy/no-calls" in refusal.detail
    assert len(refusal.extra["reasons"]) == 1


def test_an_anonymous_caller_that_may_describe_learns_why_too(stage):
    stage.allow("describe", ANONYMOUS.id, Action.DESCRIBE)
    refusal = denied(stage, ANONYMOUS, Name(f"{PLAN}/make"), Action.CALL)
    assert refusal.status is Status.UNAUTHENTICATED
    assert "no policy allows anonymous:http to call" in refusal.detail


def test_an_unknown_name_suggests_near_ones(stage):
    refusal = missing(stage, ANN, MISSING)
    assert refusal.status is Status.NOT_FOUND
    assert refusal.extra["near"][0] == f"{PLAN}/make"
    assert f"did you mean {PLAN}/make" in refusal.detail


def test_only_names_that_the_caller_may_describe_are_suggested(stage):
    stage.allow("one", BOB.id, Action.DESCRIBE, names="Plan/mkae")
    stage.allow("two", BOB.id, Action.DESCRIBE, names="Plan/made")
    refusal = missing(stage, BOB, MISSING)
    assert refusal.status is Status.NOT_FOUND
    assert refusal.extra["near"] == [f"{PLAN}/made"]


def test_only_names_that_exist_are_suggested():
    stage = Stage()
    stage.register("a")
    # ``Plan`` exists; of ``deep`` only a name far below it does.
    assert f"{AUTHORITY}/Plan" in missing(stage, ANN, Name(f"{AUTHORITY}/Plam")).detail
    stage.view.children[Name(AUTHORITY)][Name(f"{AUTHORITY}/Plax")] = None
    assert "Plax" not in missing(stage, ANN, Name(f"{AUTHORITY}/Plam")).detail


def test_without_a_near_name_nothing_is_suggested(stage):
    refusal = missing(stage, ANN, Name(f"{AUTHORITY}/quite/another/thing"))
    assert refusal.detail == f"{AUTHORITY}/quite/another/thing is not registered here"
    assert refusal.extra["near"] == []


def test_a_name_among_a_hundred_thousand_is_looked_for_among_a_thousand(stage):
    children = stage.view.children[PLAN]
    for number in range(100_000):
        name = Name(f"{PLAN}/m{number}")
        children[name] = None
        stage.view.routes[name] = stage.route()
    assert missing(stage, ANN, Name(f"{PLAN}/m99999x")).status is Status.NOT_FOUND


def test_no_endpoint_says_whether_the_service_is_gone_or_unhealthy(stage):
    assert "fails its health checks" in no_endpoint(stage.route(), 0.0).detail
    assert "not registered now" in no_endpoint(stage.route("news"), 0.0).detail


def test_who_probes_for_names_is_told_of_as_one_that_is_denied(stage):
    told = []
    stage.access.told = lambda who, action, name, decision: told.append((who, action, name))
    missing(stage, BOB, MISSING)
    assert (BOB, Action.CALL, MISSING) in told


def test_a_call_that_no_rule_decides_is_told_of_when_it_is_refused(stage):
    """Not when it is decided: a controller may allow it yet."""
    told = []
    stage.access.told = lambda who, action, name, decision: told.append((action, name))
    stage.access.first_uses = lambda *_: None
    name = Name(f"{PLAN}/make")
    decision = stage.access.check(BOB, Action.CALL, name, "")
    assert told == []
    denial(stage.access, Call(Action.CALL, name, BOB, 0.0), stage.view.find(name), decision)
    assert told == [(Action.CALL, name)]
