"""Python time per relayed call without sockets: ``python -m bench.relay_micro [--profile]``.

A real site, listener and provider; only the two transports are in memory. What the kernel and the
event loop add is not in these figures, so they show what our own code costs (budget: 7 µs).
"""

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import httptools
import msgspec
import uvloop

from adapters.http.serving.listener import Listener
from adapters.http.serving.server import ServerConnection
from adapters.http.upstream.pool import Origin
from adapters.http.upstream.provider import HttpProvider
from adapters.http.upstream.upstream import UpstreamConnection
from adapters.main.seeing import SPANS_A_SECOND
from adapters.store import open_store
from bench import workload
from bench.guarded import policies
from bench.hilum import COMPILED, ROOT
from bench.options import Options
from bench.process import GATEWAY_CORE, pinned
from bench.results import Section, Target
from gateway.egress import Egress
from gateway.identity.issuers import IssuerKeys
from gateway.objects.local import LocalProvider
from gateway.ports import Store
from gateway.settings import Limits, Upstream
from gateway.site import Clocks, Identity, Site
from gateway.tracing import Tracer
from policy.identity.claims import Expected, Verified
from policy.identity.tokens import new_token
from policy.model import AccessPolicy, Action, Principal, Subject
from registry.changes import Change, PolicyApplied, Registered, TokenIssued
from registry.model import (
    Endpoint,
    Method,
    PolicyRecord,
    Registration,
    RegistrationId,
    VirtualObject,
)

BUDGET = 7.0
"""Microseconds of Python per request (evidence, rule 1)."""
PARSE, RELAY, FRESH = "both parsers alone", "heads repeat", "heads never repeat"
GUARDED, GUARDED_FRESH = "guarded, heads repeat", "guarded, heads never repeat"
"""The same with everything on, as in ``bench.guarded``."""
SAMPLED = 99
"""Calls between two that are traced."""
ORIGIN = Origin("http", "127.0.0.1", 9, "127.0.0.1")


class Wire:
    """A transport that keeps what was last written."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent = data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 50_000) if name == "peername" else None

    def pause_reading(self) -> None:
        raise RuntimeError("nothing here is ever slow")

    resume_reading = close = abort = pause_reading


class Silent:
    """A parser's protocol that does nothing: what parsing alone costs."""

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_headers_complete(self) -> None:
        pass

    def on_message_complete(self) -> None:
        pass


class NoStreams:
    """No request here asks for events or a WebSocket."""

    def stream(self, *_: object) -> None:
        raise NotImplementedError

    socket = drain = stream


def changes(now: float) -> tuple[list[Change], list[str]]:
    """Return what the site's log says, and the callers' tokens."""
    name = f"localhost/{workload.OBJECT}"
    methods = {
        workload.method(number): Method(endpoints=(Endpoint(f"http://127.0.0.1:9/echo/{number}"),))
        for number in range(workload.METHODS)
    }
    registration = Registration(
        id=RegistrationId("Bench", "1.0.0", "a"),
        owner="site:bench",
        peer="127.0.0.1",
        lease=3600,
        generation=1,
        objects=(VirtualObject(name, methods=methods),),
    )
    policy = AccessPolicy(
        "allow", (Subject(kind=workload.CALLER_KIND),), (Action.CALL,), ("localhost/**",)
    )
    record = PolicyRecord(
        "AccessPolicy", "callers", 1, "site:admin", msgspec.json.encode(policy).decode()
    )
    tokens, issued = [], []
    for number in range(workload.CALLERS):
        secret, token = new_token(
            secrets.token_bytes,
            principal=workload.caller(number),
            kind=workload.CALLER_KIND,
            now=now,
            lifetime=3600,
        )
        tokens.append(secret)
        issued.append(TokenIssued(token))
    return [Registered(registration), PolicyApplied(record), *issued], tokens


def guarded_changes() -> list[Change]:
    """Return the policies of ``bench.guarded``."""
    found = []
    for manifest in policies():
        metadata, spec = manifest["metadata"], manifest["spec"]
        assert isinstance(metadata, dict)
        kind, text = str(manifest["kind"]), msgspec.json.encode(spec).decode()
        record = PolicyRecord(kind, metadata["name"], 1, "site:admin", text)
        found.append(PolicyApplied(record))
    return found


def guard(site: Site) -> list[str]:
    """Turn on accounts and traces, and let callers come with tokens of an issuer."""
    names = frozenset[str]()
    expected = Expected(workload.ISSUER, "bench", names, names)
    site.identity.trust([IssuerKeys(expected, site.time)])
    site.plane.observe(site.accounts.ended)
    site.plane.access.told = lambda *_: None
    site.plane.tracer = Tracer(
        SPANS_A_SECOND, secrets.token_bytes, lambda: SAMPLED, time.time_ns, lambda _: None
    )
    tokens = []
    for number in range(workload.CALLERS):
        token = "ey" + secrets.token_hex(170) + "." + secrets.token_hex(60) + "." + "x" * 342
        principal = Principal(
            workload.caller(number),
            workload.CALLER_KIND,
            method="jwt",
            credential=f"jwt:{number}",
            expires=time.time() + 3600,
            attributes={"level": 5.0},
        )
        site.identity.jwts.put(sha256(token.encode()).hexdigest(), Verified(principal, 1.0))
        tokens.append(token)
    return tokens


class Rig:
    """A site with one client connection and one endpoint connection, both in memory."""

    def __init__(self, site: Site, tokens: list[str]) -> None:
        clock = asyncio.get_running_loop().time
        egress = Egress(())
        provider = HttpProvider(site.plane, egress, secrets.token_bytes(32), time.time, Upstream())
        site.plane.providers["http"] = provider
        self.listener = Listener(site, Limits(requests=1 << 40), NoStreams(), clock)
        self.client = ServerConnection(self.listener)
        self.client_wire = Wire()
        self.client.connection_made(self.client_wire)
        pool = provider._pool(ORIGIN)  # noqa: SLF001
        self.endpoint = UpstreamConnection(pool)
        self.endpoint_wire = Wire()
        self.endpoint.connection_made(self.endpoint_wire)
        pool.free(self.endpoint)
        self.requests = [
            workload.request("localhost", number, tokens[number % len(tokens)], workload.BODY)
            for number in range(workload.METHODS)
        ]
        self.count = 0
        self.reply = workload.REPLY % len(workload.BODY) + workload.BODY

    def check(self) -> None:
        """Look at one relayed call, so that the figures are about calls that were answered."""
        self.client.data_received(self.requests[3])
        asked = self.endpoint_wire.sent
        self.endpoint.data_received(self.reply)
        answered = self.client_wire.sent
        if b"POST /echo/3 HTTP/1.1\r\n" not in asked or workload.BODY not in asked:
            raise RuntimeError(f"the endpoint got {asked!r}, the client {answered!r}")
        if b"Authorization" in asked or not answered.startswith(b"HTTP/1.1 200 OK\r\n"):
            raise RuntimeError(f"the endpoint got {asked!r}, the client {answered!r}")

    def relay(self, rounds: int) -> None:
        """Relay ``rounds`` times each of the requests."""
        client, endpoint, reply = self.client.data_received, self.endpoint.data_received, self.reply
        for _ in range(rounds):
            for request in self.requests:
                client(request)
                endpoint(reply)

    def relay_fresh(self, calls: Sequence[tuple[bytes, bytes]]) -> float:
        """Relay calls whose heads nobody has seen; return CPU microseconds per call."""
        client, endpoint = self.client.data_received, self.endpoint.data_received
        begin = time.process_time()
        for request, reply in calls:
            client(request)
            endpoint(reply)
        return (time.process_time() - begin) / len(calls) * 1e6

    def fresh(self, rounds: int) -> list[tuple[bytes, bytes]]:
        """Return requests and replies that never came before."""
        calls = []
        for number in range(rounds * workload.METHODS):
            self.count += 1
            request = workload.traced(self.requests[number % workload.METHODS], self.count)
            calls.append((request, workload.marked(self.reply, self.count)))
        return calls

    def parse(self, rounds: int) -> None:
        """Only parse the same bytes: what no gateway on this parser can save."""
        requests = httptools.HttpRequestParser(Silent())
        replies = httptools.HttpResponseParser(Silent())
        for _ in range(rounds):
            for request in self.requests:
                requests.feed_data(request)
                replies.feed_data(self.reply)


def cost(work: Callable[[int], None], rounds: int) -> float:
    """Return CPU microseconds per request."""
    begin = time.process_time()
    work(rounds)
    return (time.process_time() - begin) / (rounds * workload.METHODS) * 1e6


async def start_rig(store: Store, *, guarded: bool = False) -> tuple[Site, Rig]:
    """Start a site whose log holds the workload."""
    loop = asyncio.get_running_loop()
    site = Site(Identity("localhost"), store, LocalProvider(), Clocks(loop.time, time.time))
    await site.start()
    asked, tokens = changes(time.time())
    if guarded:
        asked = [one for one in asked if isinstance(one, Registered)] + guarded_changes()
        tokens = guard(site)
    await site.ledger.change("bench", lambda _: asked)
    rig = Rig(site, tokens)
    rig.check()
    rig.relay(20)
    return site, rig


async def run(rounds: int, repeats: int, profile: bool) -> dict[str, list[float]]:
    """Return the figures of each part; with ``profile`` print where the time goes."""
    with tempfile.TemporaryDirectory() as folder:
        stores = [await open_store(Path(folder) / f"{name}.db") for name in ("plain", "guarded")]
        try:
            site, rig = await start_rig(stores[0])
            strict, guarded = await start_rig(stores[1], guarded=True)
            parts = (PARSE, RELAY, FRESH, GUARDED, GUARDED_FRESH)
            found: dict[str, list[float]] = {part: [] for part in parts}
            # In turn, so that a busy machine slows all of them.
            for _ in range(repeats):
                found[PARSE].append(cost(rig.parse, rounds))
                found[RELAY].append(cost(rig.relay, rounds))
                found[GUARDED].append(cost(guarded.relay, rounds))
                found[FRESH].append(rig.relay_fresh(rig.fresh(rounds)))
                found[GUARDED_FRESH].append(guarded.relay_fresh(guarded.fresh(rounds)))
            if profile:
                profiler = cProfile.Profile()
                profiler.runcall(guarded.relay, rounds)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
            await site.stop()
            await strict.stop()
        finally:
            for store in stores:
                await store.close()
        return found


def measure(options: Options) -> Section:
    """Measure for RESULTS.md, in a process of its own for each form."""
    section = Section("relay_micro", "Relayed call without sockets: our own Python")
    rows = []
    for name, tree in (("Hilum", ROOT), ("Hilum, compiled", COMPILED)):
        if tree is COMPILED and not options.compiled:
            continue
        figures = _elsewhere(tree, 3 if options.quick else 9)
        best = {kind: min(values) for kind, values in figures.items()}
        middle = {kind: statistics.median(values) for kind, values in figures.items()}
        for kind in (RELAY, FRESH, GUARDED, GUARDED_FRESH):
            shown = (middle[kind], best[kind], best[PARSE])
            rows.append([f"{name}, {kind}", *(f"{figure:.2f}" for figure in shown)])
            if tree is ROOT and kind in (RELAY, FRESH):
                section.targets.append(Target(f"own Python, {kind}", best[kind], BUDGET, " µs"))
    header = ["CPU µs per call", "median", "best", "both parsers alone"]
    section.table(header, rows)
    return section


def _elsewhere(tree: Path, repeats: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "bench.relay_micro", "--json", "--repeats", str(repeats)]
    variables = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        pinned(GATEWAY_CORE, command), cwd=tree, env=variables, check=True, capture_output=True
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--rounds", type=int, default=200, help="of 64 requests")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    figures = uvloop.run(run(args.rounds, args.repeats, args.profile))
    if args.json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        print(f"{name:28}  median {statistics.median(values):5.2f} µs  best {min(values):5.2f} µs")
    print(f"budget for a relayed call: {BUDGET} µs")


if __name__ == "__main__":
    main()
