"""A call that no rule decides: it waits for a decision, with its body, or is refused."""

import pytest

from gateway.first_use.holding import held, is_first_use, refuse_standing
from gateway.message import Refusal, Status
from policy.decision import Decision, Reason
from policy.model import Action, Principal
from registry.model import EventChannel
from tests.gateway.play import ANN, Stage, answer

EVE = Principal("user:eve", "user", credential="t3")
YES = Decision(True, (Reason("FirstUsePolicy/first", "allow", "why not"),))
NO = Decision(False, (Reason("FirstUsePolicy/first", "deny", "no"),))


class Asked:
    """Whom a plane asks; it answers when a test says so."""

    def __init__(self):
        self.waiting = []
        self.full = self.nobody = False
        self.standing = True

    def hold(self, principal, action, name, owner, then):
        if self.full:
            raise Refusal(Status.THROTTLED, "too many")
        if not self.nobody:
            self.waiting.append(then)
        return not self.nobody

    def stands(self, principal, action, name, owner):
        return self.standing


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def stage(asked):
    stage = Stage()
    stage.register("a", channels={"weight": EventChannel()})
    stage.plane.first_use = asked
    return stage


def test_it_waits_with_its_body_and_goes_on(stage, asked):
    exchange, _ = stage.begin(principal=EVE, body=b"one", end=False)
    assert stage.played() == ["caller pause"]
    exchange.body(b"two", end=True)
    assert exchange in stage.plane.live
    asked.waiting[0](YES)
    assert stage.played() == ["caller resume", "a send onetwo."]
    stage.http.answers[0].reply(answer(), b"", end=True)
    assert exchange.received == 6
    asked.waiting[0](YES)
    assert stage.played() == ["caller reply 200 ."]


def test_it_is_refused_when_that_is_the_decision(stage, asked):
    exchange, _ = stage.begin(principal=EVE)
    asked.waiting[0](NO)
    assert stage.played() == ["caller refuse denied"]
    assert exchange.done


def test_who_is_gone_hears_nothing(stage, asked):
    exchange, _ = stage.begin(principal=EVE)
    exchange.cancel()
    asked.waiting[0](YES)
    assert stage.played() == []


def test_a_deadline_passes_while_it_waits(stage, asked):
    stage.begin(principal=EVE, timeout=5)
    stage.plane.sweep(105.0)
    asked.waiting[0](YES)
    assert stage.played() == ["caller refuse timeout"]


def test_too_many_are_throttled_and_without_anybody_to_ask_it_is_denied(stage, asked):
    asked.full = True
    stage.begin(principal=EVE)
    asked.full, asked.nobody = False, True
    stage.begin(principal=EVE)
    stage.plane.first_use = None
    stage.begin(principal=EVE)
    assert stage.played() == ["caller refuse throttled", *2 * ["caller refuse denied"]]


def test_rules_decide_without_asking(stage, asked):
    stage.deny("no", EVE.id, Action.CALL)
    stage.begin(principal=EVE)
    stage.begin(principal=ANN)
    assert stage.played() == ["caller refuse denied", "a send ."]
    assert not asked.waiting


def test_what_is_taken_back_ends_what_is_under_way(stage, asked):
    exchange, _ = stage.begin(principal=EVE)
    asked.waiting[0](YES)
    stage.begin(principal=ANN)
    stage.played()
    stage.plane.redecide(EVE.id, lambda name: name.endswith("/other"))
    assert not exchange.done
    stage.plane.redecide(ANN.id, lambda _: True)
    stage.plane.redecide(EVE.id, lambda _: True)
    assert stage.played() == ["a cancel", "caller refuse denied"]


def test_uses_outside_of_exchanges_are_held_too(stage, asked):
    name = stage.route("weight").name
    assert held(stage.plane, EVE, Action.PUBLISH, name, lambda _: None)
    assert not held(stage.plane, ANN, Action.CALL, stage.route().name, lambda _: None)
    assert not held(stage.plane, EVE, Action.PUBLISH, name + "/no", lambda _: None)
    assert is_first_use(YES)
    stage.plane.first_use = None
    assert not held(stage.plane, EVE, Action.PUBLISH, name, lambda _: None)


def test_an_open_subscription_stands_while_it_is_asked_about(stage, asked):
    name = stage.route("weight").name
    assert refuse_standing(stage.plane, EVE, name) is None
    assert refuse_standing(stage.plane, EVE, name, "group").status is Status.DENIED
    asked.standing = False
    assert refuse_standing(stage.plane, EVE, name).status is Status.DENIED
    asked.standing = True
    stage.deny("no", EVE.id, Action.SUBSCRIBE)
    assert refuse_standing(stage.plane, EVE, name).status is Status.DENIED
