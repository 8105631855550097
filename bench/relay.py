"""The relay beside nginx and Envoy: ``make bench ARGS=relay``.

A 200-byte JSON POST on kept-alive connections, 64 different requests by 16 callers in turn. Hilum
authenticates each, decides, resolves and counts; nginx is measured plain and with a token map and
a request limit, Envoy with RBAC and a local rate limit. All of it twice: with heads that repeat,
and with heads that never do (a traceparent each, and a request id in each reply). One core for the
gateway, the other for load and upstream. Rounds alternate between the gateways; figures are
medians.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import NamedTuple

from bench import workload
from bench.hilum import Hilum, bench_service
from bench.load import Load, Run
from bench.options import Options
from bench.peers import Peer, start_envoy, start_guarded_nginx, start_nginx, start_upstream
from bench.process import MissingProgram
from bench.results import Section, Target

CONNECTIONS = (1, 16, 64)
KINDS = {workload.OBJECT: "heads repeat", workload.FRESH: "heads never repeat"}
PLAIN, GUARDED, ENVOY = "nginx, plain proxy", "nginx, token map + limit_req", "Envoy, RBAC + limit"
PURE, COMPILED = "Hilum", "Hilum, compiled"
TOKENS = tuple(f"hlm_{number:016x}_{'a' * 43}" for number in range(workload.CALLERS))
"""What the peers accept; the same length as Hilum's."""


class Gateway(NamedTuple):
    """One of those that are compared, with the tokens that it accepts."""

    name: str
    server: Peer | Hilum
    tokens: Sequence[str]

    def load(self, folder: Path, name: str, heads: Sequence[bytes], body: bytes) -> Load:
        """Return load for this gateway."""
        return Load.of(folder / f"{name}-{self.server.port}.lua", heads, body)

    def small(self, folder: Path, name: str) -> Load:
        """Return the workload's requests of one of its objects, with this gateway's tokens."""
        body, tokens = workload.BODY, self.tokens
        heads = [
            workload.request("localhost", n, tokens[n % len(tokens)], body, name)[: -len(body)]
            for n in range(workload.METHODS)
        ]
        make = Load.fresh if name == workload.FRESH else Load.of
        return make(folder / f"{name}-{self.server.port}.lua", heads, body)

    def large(self, way: str, size: int) -> list[bytes]:
        """Return the heads of requests that bring or fetch a payload of some size."""
        path = f"/files/{size}" if way == "down" else "/sink/bench"
        if isinstance(self.server, Hilum):
            path = f"/{workload.OBJECT}/{f'down{size}' if way == 'down' else 'sink'}"
        line = f"GET {path}" if way == "down" else f"POST {path}"
        length = "" if way == "down" else f"Content-Length: {size}\r\n"
        return [
            f"{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"{length}\r\n".encode()
            for token in self.tokens
        ]


def start_hilum(folder: Path, upstream: int, name: str, stack: ExitStack) -> Gateway:
    """Start Hilum with the workload registered."""
    site = Hilum(folder / name.replace(", ", "-"), name, compiled=name == COMPILED)
    stack.callback(site.stop)
    site.register(bench_service(upstream))
    return Gateway(name, site, site.callers())


def start_all(
    folder: Path, upstream: int, options: Options, section: Section, stack: ExitStack
) -> list[Gateway]:
    """Start Hilum and the peers that are installed."""
    wanted: dict[str, Callable[[], Peer]] = {
        PLAIN: lambda: start_nginx(folder, upstream),
        GUARDED: lambda: start_guarded_nginx(folder, upstream, TOKENS),
        ENVOY: lambda: start_envoy(folder, upstream, TOKENS),
    }
    found = [start_hilum(folder, upstream, PURE, stack)]
    if options.compiled:
        found.append(start_hilum(folder, upstream, COMPILED, stack))
    for name, start in wanted.items():
        try:
            peer = start()
        except MissingProgram as missing:
            section.notes.append(f"{name} is left out: {missing}.")
            continue
        stack.callback(peer.stop)
        found.append(Gateway(name, peer, TOKENS))
    return found


def alternate(
    gateways: Sequence[Gateway], loads: Sequence[Load], connections: int, options: Options
) -> dict[str, list[Run]]:
    """Load the gateways in turn, the other way round every second round."""
    runs: dict[str, list[Run]] = {gateway.name: [] for gateway in gateways}
    pairs = list(zip(gateways, loads, strict=True))
    for number in range(options.rounds):
        for gateway, load in pairs if number % 2 else reversed(pairs):
            server = gateway.server
            run = load.run(server.process, server.port, connections, options.seconds)
            if run.failed:
                raise RuntimeError(f"{gateway.name}: {run.failed} requests failed")
            runs[gateway.name].append(run)
    return runs


def median(runs: Sequence[Run], what: str) -> float:
    """Return the median of one figure over runs."""
    return statistics.median(getattr(run, what) for run in runs)


def measure_small(
    gateways: Sequence[Gateway],
    loads: Sequence[Load],
    what: str,
    options: Options,
    section: Section,
) -> None:
    """Measure the 200-byte POST in one of its two kinds."""
    runs = {c: alternate(gateways, loads, c, options) for c in CONNECTIONS}
    cpu = {c: {name: median(r, "cpu") for name, r in runs[c].items()} for c in CONNECTIONS}
    rows = []
    for gateway in gateways:
        name = gateway.name
        rates = " / ".join(f"{median(runs[c][name], 'rate') / 1e3:.1f}" for c in CONNECTIONS)
        times = " / ".join(f"{cpu[c][name]:.1f}" for c in CONNECTIONS)
        p50 = " / ".join(f"{median(runs[c][name], 'p50'):,.0f}" for c in CONNECTIONS)
        p99 = " / ".join(f"{median(runs[c][name], 'p99'):,.0f}" for c in CONNECTIONS)
        ratio = " / ".join(f"{cpu[c][name] / cpu[c][PLAIN]:.2f}" for c in CONNECTIONS[1:])
        rows.append([name, rates, times, ratio, p50, p99])
    header = [f"{what}, c = 1 / 16 / 64", "thousand requests/s", "CPU µs per request"]
    section.table([*header, "CPU, of nginx (16 / 64)", "p50 µs", "p99 µs"], rows)
    p50 = {name: median(r, "p50") for name, r in runs[1].items()}
    section.targets += small_targets(cpu, p50, what)


def small_targets(
    cpu: dict[int, dict[str, float]], p50: dict[str, float], what: str
) -> list[Target]:
    """Return what is asked of the relay."""
    targets = []
    for name, limit in ((PURE, 1.5), (COMPILED, 1.25)):
        for c in CONNECTIONS[1:]:
            if name in cpu[c]:
                ratio = cpu[c][name] / cpu[c][PLAIN]
                targets.append(Target(f"{name}, {what}: CPU of nginx, c = {c}", ratio, limit, " x"))
            if name in cpu[c] and ENVOY in cpu[c]:
                ratio = cpu[c][name] / cpu[c][ENVOY]
                targets.append(Target(f"{name}, {what}: CPU of Envoy, c = {c}", ratio, 0.6, " x"))
        if name in p50:
            ratio = p50[name] / p50[PLAIN]
            targets.append(Target(f"{name}, {what}: p50 of nginx, c = 1", ratio, 1.1, " x"))
    return targets


def measure_large(
    gateways: Sequence[Gateway], folder: Path, options: Options, section: Section
) -> None:
    """Measure large payloads, up and down, with 16 connections."""
    rows = []
    for size, way in product(workload.SIZES, ("up", "down")):
        body = b"x" * size if way == "up" else b""
        name = f"{way}{size}"
        loads = [g.load(folder, name, g.large(way, size), body) for g in gateways]
        runs = alternate(gateways, loads, 16, options)
        cpu = {name: median(found, "cpu") for name, found in runs.items()}
        label = f"{size // 1024} kB {way}"
        rows.append([label, *(f"{cpu[gateway.name]:.0f}" for gateway in gateways)])
        section.targets += [
            Target(f"{name}: {label}, CPU of nginx", cpu[name] / cpu[PLAIN], 1.2, " x")
            for name in (PURE, COMPILED)
            if name in cpu
        ]
    section.table(["CPU µs per request, c = 16", *(g.name for g in gateways)], rows)


def measure(options: Options) -> Section:
    """Measure the relay."""
    section = Section("relay", "Relay: a 200-byte JSON POST, and large payloads")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        gateways = start_all(folder, upstream.port, options, section, stack)
        for name, what in KINDS.items():
            loads = [gateway.small(folder, name) for gateway in gateways]
            measure_small(gateways, loads, what, options, section)
        streaming = [g for g in gateways if g.name in (PURE, COMPILED, PLAIN)]
        measure_large(streaming, folder, options.brief(), section)
    return section
