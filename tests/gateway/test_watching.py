"""Rates by name and tails: only while somebody watches, and bounded whoever calls what."""

import asyncio

import pytest

from gateway.message import Call, Refusal, Status
from gateway.quality.admission import Admission
from gateway.quality.places import Quality
from gateway.seeing import watching
from gateway.seeing.watching import BUCKETS, OTHERS, Filter, Tally, Watching, busiest
from policy.decision import Decision, Reason
from policy.model import Action, QualityPolicy
from policy.patterns import PatternIndex
from policy.quality_rules import Breaker, Outlier
from registry.names import Name, Pattern
from tests.gateway.play import ANN, BOB, Stage


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Ended:
    """What an exchange that ended shows."""

    target = None
    received = sent = 0

    def __init__(self, name, principal=ANN):
        self.call = Call(Action.CALL, Name(name), principal, 0.0)


@pytest.fixture
def made():
    stage, clock = Stage(), Clock()
    return stage.plane, Watching(stage.plane, clock, lambda: 5.0), clock


def end(plane, clock, name, status=Status.OK, seconds=0.001):
    plane.now = clock.now
    if plane.ended is not None:
        plane.ended(Ended(name), status, seconds)


def test_nothing_is_counted_while_nobody_watches(made):
    plane, watched, clock = made
    assert plane.ended is None
    watched.top()
    assert plane.ended is not None
    clock.now += watching.LINGER
    watched.sweep()
    assert plane.ended is None


def test_others_that_observe_the_plane_go_on_as_before():
    stage, clock, told = Stage(), Clock(), []
    stage.register("a")
    watched = Watching(stage.plane, clock, lambda: 5.0)
    stage.plane.observe(lambda *_: told.append("first"))
    stage.plane.observe(lambda *_: told.append("second"))
    watched.top()
    stage.begin(principal=BOB)
    clock.now += watching.LINGER
    watched.sweep()
    stage.begin(principal=BOB)
    assert told == ["first", "second"] * 2


def test_rates_are_those_of_the_last_seconds(made):
    plane, watched, clock = made
    watched.top()
    for _ in range(20):
        end(plane, clock, "s/a")
        clock.now += 0.1
    found, seconds = watched.top()
    assert (found["s/a"].calls, seconds) == (20, pytest.approx(2.0))
    clock.now += 30 - 0.1
    watched.top()
    end(plane, clock, "s/b", Status.TIMEOUT, 3.0)
    found, seconds = watched.top()
    assert list(found) == ["s/b"]
    assert found["s/b"].faults == 1
    assert seconds == pytest.approx(10, abs=1)


def test_names_are_bounded_and_hostile_ones_counted_together(made):
    plane, watched, clock = made
    watched.top()
    for number in range(3 * watching.NAMES):
        end(plane, clock, f"s/{number}")
    found, _ = watched.top()
    assert len(found) == watching.NAMES + 1
    assert found[OTHERS].calls == 2 * watching.NAMES


def test_quantiles_are_upper_bounds():
    tally = Tally()
    assert tally.quantile(0.5) == -1.0
    for _ in range(98):
        tally.add(Status.OK, 0.002)
    tally.add(Status.OK, 0.2)
    tally.add(Status.OK, 99.0)
    tally.add(Status.THROTTLED, 99.0)
    assert tally.quantile(0.5) == 0.0025
    assert tally.quantile(0.99) == 0.25
    assert tally.quantile(1.0) == BUCKETS[-1]
    assert (tally.calls, tally.refused) == (101, 1)


def test_the_busiest_come_first():
    one, two = Tally(), Tally()
    one.add(Status.OK, 5.0)
    two.add(Status.DENIED, 0.0)
    two.add(Status.OK, 0.001)
    found = {Name("s/one"): one, Name("s/two"): two}
    assert [name for name, _ in busiest(found, "calls", 5)] == ["s/two", "s/one"]
    assert [name for name, _ in busiest(found, "p99", 1)] == ["s/one"]


async def test_a_tail_shows_what_fits_and_counts_what_it_lost(made, monkeypatch):
    monkeypatch.setattr(watching, "KEPT", 3)
    plane, watched, clock = made
    pattern = Pattern.parse("a/**", authority="s")
    tail = watched.begin("1", Filter(pattern, decision="allowed"))
    for number in range(5):
        end(plane, clock, f"s/a/{number}")
    end(plane, clock, "s/b")
    end(plane, clock, "s/$site/observe/trace")
    deny = Decision(False, (Reason("AccessPolicy/x", "deny", "so"),))
    watched.denied(ANN, Action.CALL, Name("s/a/0"), deny)
    items = await tail.take(0.0)
    assert [item["name"] for item in items] == ["s/a/2", "s/a/3", "s/a/4"]
    assert tail.lost == 2
    assert await tail.take(0.01) == []
    denials = watched.begin("2", Filter(principal=ANN.id, decision="denied"))
    waiting = asyncio.create_task(denials.take(5.0))
    await asyncio.sleep(0)
    watched.denied(ANN, Action.CALL, Name("s/z"), deny)
    assert (await waiting)[0]["reasons"] == ["deny by AccessPolicy/x: so"]


def test_tails_are_bounded_and_end_when_nobody_asks(made):
    _, watched, clock = made
    for number in range(watching.TAILS):
        watched.begin(str(number), Filter())
    with pytest.raises(Refusal, match="watch already"):
        watched.begin("more", Filter())
    clock.now += watching.LINGER
    watched.sweep()
    assert watched.tails == {}


def test_the_breakers_that_are_in_use_can_be_looked_at():
    qualities: PatternIndex[Quality] = PatternIndex()
    rules = {"breaks": {"breaker": Breaker()}, "ejects": {"outlier": Outlier()}}
    for name, rule in rules.items():
        pattern = Pattern.parse(f"{name}/**", authority="s")
        qualities.put(pattern, name, Quality(name, 1, QualityPolicy(("**",), **rule)))
    admission = Admission(qualities, Clock(), lambda: 0.5)
    one = admission.guard_of(Name("s/breaks/x"), "e")
    other = admission.guard_of(Name("s/ejects/x"), "e")
    assert one is not None
    assert other is not None
    assert admission.breakers() == [one.breaker]
