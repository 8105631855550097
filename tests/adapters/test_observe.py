"""What operators see of traffic with top and trace, and what nobody else does."""

import json
import threading
import time

import httpx
import pytest

from adapters.cli import observing
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
    end = time.monotonic() + 20
    while True:  # a channel has a rate once it was looked at twice with an event between
        done = site.cli("top", "--once", "--output", "json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        if document["channels"] or time.monotonic() > end:
            break
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
