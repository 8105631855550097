"""Binding changes on names that carry traffic: ``make bench ARGS=storm``.

5,000 calls a second over 64 names, 50 changes a second to just these names: the other instance
registers, a policy shares the traffic, the first instance goes, and so does the policy. The two
instances are two upstreams, and no call may fail.
"""

import http.client
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import workload
from bench.hilum import Hilum
from bench.options import Options
from bench.peers import Peer, start_upstream
from bench.results import Section, Target
from bench.steady import Steady

CALLS = 5_000
CHANGES = 50
"""A second."""
SERVICES = workload.METHODS


class Storm:
    """Walks each service in turn through the changes that its bindings can go through."""

    def __init__(self, site: Hilum, upstreams: tuple[int, int]) -> None:
        self._site = site
        self._upstreams = upstreams
        self._serving = [0] * SERVICES

    def register(self, number: int, instance: int) -> None:
        """Register one of a service's two instances."""
        base = f"http://127.0.0.1:{self._upstreams[instance]}"
        method = {"endpoints": [{"url": f"{base}/echo/{number}"}]}
        self._site.register(
            {
                **self._id(number, instance),
                "objects": [{"name": self._object(number), "methods": {"run": method}}],
            }
        )

    def steps(self, number: int) -> list[Callable[[], Any]]:
        """Return a service's changes, each a call; at the end the other instance serves alone."""
        ask = self._site.client.ask
        old = self._serving[number]
        new = self._serving[number] = 1 - old
        return [
            lambda: self.register(number, new),
            lambda: self._weigh(number),
            lambda: ask("registry/deregister", self._id(number, old)),
            lambda: ask("policy/delete", {"kind": "ResolutionPolicy", "name": f"s{number}"}),
        ]

    def _weigh(self, number: int) -> None:
        choices = [
            {"instance": instance, "weight": weight} for instance, weight in (("a", 3), ("b", 1))
        ]
        self._site.apply(
            "ResolutionPolicy",
            f"s{number}",
            {"names": [f"{self._object(number)}/**"], "choices": choices},
        )

    @staticmethod
    def _object(number: int) -> str:
        return f"Service{number:02d}"

    @staticmethod
    def _id(number: int, instance: int) -> dict[str, str]:
        return {"microservice": f"s{number:02d}", "version": "1.0.0", "instance": "ab"[instance]}


def change_while(load: Steady, storm: Storm, seconds: float) -> list[float]:
    """Make changes at their rate; return how long each took, in seconds."""
    taken: list[float] = []
    begin = time.monotonic()
    steps: list[Callable[[], Any]] = []
    while load.running() and time.monotonic() - begin < seconds:
        if not steps:
            steps = storm.steps(len(taken) // 4 % SERVICES)
        time.sleep(max(0.0, begin + len(taken) / CHANGES - time.monotonic()))
        before = time.monotonic()
        steps.pop(0)()
        taken.append(time.monotonic() - before)
    for step in steps:
        step()
    return taken


def served(upstream: Peer) -> int:
    """Return how many requests an upstream has answered."""
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)
    connection.request("GET", "/status")
    said = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s", said)
    if found is None:
        raise RuntimeError(f"the upstream's status says {said!r}")
    return int(found[3])


def measure(options: Options) -> Section:
    """Measure calls that fail while their names are bound anew."""
    section = Section("storm", "Change storm: names are bound anew while they carry traffic")
    seconds = 6 if options.quick else 20
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstreams = []
        for which in ("a", "b"):
            (folder / which).mkdir()
            upstreams.append(start_upstream(folder / which))
            stack.callback(upstreams[-1].stop)
        site = Hilum(folder / "site")
        stack.callback(site.stop)
        storm = Storm(site, (upstreams[0].port, upstreams[1].port))
        token = site.callers()[0]
        stack.enter_context(site.client)
        for number in range(SERVICES):
            storm.register(number, 0)
        paths = [f"/Service{number:02d}/run" for number in range(SERVICES)]
        load = Steady(folder, site.port, token, paths, CALLS, seconds)
        stack.callback(load.stop)
        taken = change_while(load, storm, seconds - 1.0)
        calls, bad = load.finish()
        shares = [served(upstream) for upstream in upstreams]
    if min(shares) < calls / 100:
        raise RuntimeError(f"the upstreams answered {shares}: the changes moved no traffic")
    taken.sort()
    rate = len(taken) / (seconds - 1)
    section.table(
        ["", "figure"],
        [
            ["calls", f"{calls:,} in {seconds} s"],
            ["answered by the two instances", " / ".join(f"{share:,}" for share in shares)],
            ["changes", f"{len(taken):,}, {rate:.0f} a second"],
            ["a change over HTTP, median", f"{taken[len(taken) // 2] * 1e3:.2f} ms"],
            ["the slowest of 100", f"{taken[len(taken) * 99 // 100] * 1e3:.2f} ms"],
        ],
    )
    section.targets = [
        Target("failed calls", bad, 0),
        Target("missing changes a second", max(0.0, CHANGES - rate), 2),
    ]
    return section
