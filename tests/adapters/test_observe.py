"""Rates by name and live tails: what operators see, and what nobody else does."""

import asyncio
import json
import threading
import time

import httpx
import pytest

from adapters.cli import observing
from gateway import watching
from gateway.message import Refusal, Status
from gateway.watching import BUCKETS, OTHERS, Filter, Tally, Watching, busiest
from policy.decision import Decision, Reason
from policy.model import Action
from registry.names import Name, Pattern
from tests.gateway.play import ANN, Stage
from tests.running import Gateway

POLICY = """
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: spectators}
spec:
  effect: allow
  subjects: [{principal: "service:spectator"}]
  actions: [call]
  names: ["$site/observe/**"]
"""


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
        from gateway.message import Call

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


def test_others_that_observe_the_plane_go_on_as_before(made):
    plane, watched, clock = made
    told = []
    plane.observe(lambda *what: told.append("first"))
    plane.observe(lambda *what: told.append("second"))
    watched.top()
    end(plane, clock, "s/a")
    clock.now += watching.LINGER
    watched.sweep()
    end(plane, clock, "s/a")
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("observe")) as gateway:
        gateway.register({"microservice": "W", "objects": [{"name": "w", "channels": {"c": {}}}]})
        gateway.apply(POLICY)
        yield gateway


def busy(site, stop):
    headers = {"Authorization": f"Bearer {site.token}"}
    with httpx.Client(headers=headers) as client:
        while not stop.is_set():
            client.post(f"{site.url}/w/c", json={"n": 1})
            client.post(f"{site.url}/$site/registry/list", json={})
            time.sleep(0.01)


@pytest.fixture
def traffic(site):
    stop = threading.Event()
    thread = threading.Thread(target=busy, args=(site, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


def test_top_shows_names_and_channels(site, traffic):
    done = site.cli("top", "--once", "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    names = {row["name"]: row for row in document["names"]}
    row = names["localhost/$site/registry/list"]
    assert row["rate"] > 1
    assert row["p99"] > 0
    assert [one["name"] for one in document["channels"]] == ["localhost/w/c"]
    table = site.cli("top", "--once")
    assert "localhost/w/c" in table.stdout
    assert "RATE/S" in table.stdout


def test_trace_shows_calls_and_denials_as_they_happen(site, traffic):
    done = site.cli("trace", "w/**", "--count", "3", "--output", "json")
    assert done.returncode == 0, done.stderr
    items = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(items) == 3
    assert {item["name"] for item in items} == {"localhost/w/c"}
    assert items[0]["status"] == "ok"
    assert items[0]["principal"] == "site:admin"


def test_a_denial_is_shown_with_its_reasons(site):
    token = site.token_for("service:stranger")
    stop = threading.Event()

    def knock():
        while not stop.is_set():
            site.http("POST", "/w/c", b"{}", token=token)
            time.sleep(0.05)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        done = site.cli("trace", "--decision", "denied", "--count", "1")
    finally:
        stop.set()
        thread.join()
    assert "denied" in done.stdout
    assert "service:stranger" in done.stdout
    assert "no policy allows it" in done.stdout


def test_who_may_call_it_but_describe_nothing_sees_nothing(site, traffic):
    token = site.token_for("service:spectator")
    time.sleep(0.2)
    answer = site.http("POST", "/$site/observe/top", b"{}", token=token)
    assert answer.status == 200
    assert json.loads(answer.body)["names"] == []
    assert json.loads(answer.body)["channels"] == []
    assert site.http("POST", "/$site/observe/trace", b"{}", token=token).status == 403
    stranger = site.token_for("service:nobody")
    assert site.http("POST", "/$site/observe/top", b"{}", token=stranger).status == 403


def test_a_wrong_pattern_is_said(site):
    done = site.cli("trace", "a//b", "--count", "1")
    assert done.returncode == 2
    assert "a//b" in done.stderr or "empty" in done.stderr


def test_a_row_says_what_breakers_and_limits_do():
    row = {
        "name": "s/a",
        "rate": 1.5,
        "faults": 0.5,
        "refused": 0.0,
        "p50": None,
        "p99": 250.0,
        "open": 3,
        "endpoints": 2,
        "well": 1,
        "breakers": ["open"],
        "limited": True,
    }
    cells = observing.cells(row)
    assert cells[-1] == "1/2 well, breaker open, limited"
    assert "-" in cells
