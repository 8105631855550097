"""A large site: ``make bench ARGS=catalog``.

100,000 bindings, once as 10,000 microservices with ten methods and once as 100,000 with one:
seconds until the site serves, memory per binding, a change that is durable and in force under
load, and what relaying costs beside a site of ten bindings when names are random.
"""

import asyncio
import itertools
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from adapters.store import open_store
from bench import workload
from bench.hilum import Hilum
from bench.load import Load, lua
from bench.options import Options
from bench.peers import start_upstream
from bench.relay import Gateway, alternate, median
from bench.results import Section, Target
from bench.steady import Steady
from registry.changes import Batch, Registered, encode
from registry.model import Endpoint, Method, Registration, RegistrationId, VirtualObject

BINDINGS = 100_000
FEW = 10
RATE = 5_000
"""Calls a second while changes are measured."""
_AT_ONCE = 1_000
_SCRIPT = """
local heads = {%s}
local body = %s
math.randomseed(7)
function request()
  local n = math.random(0, %d)
  local caller = heads[n %% #heads + 1]
  return "POST /S" .. math.floor(n / %d) .. "/m" .. n %% %d .. caller .. body
end
"""


class Shape(NamedTuple):
    """How many bindings, and how many of them in one microservice."""

    bindings: int
    methods: int

    def path(self, number: int) -> str:
        """Return the path that calls the method of a binding."""
        return f"/S{number // self.methods}/m{number % self.methods}"


def entries(shape: Shape, upstream: int) -> Iterator[bytes]:
    """Yield what the change log holds after each microservice has registered."""
    for service in range(shape.bindings // shape.methods):
        methods = {
            f"m{number}": Method(
                endpoints=(Endpoint(f"http://127.0.0.1:{upstream}/echo/{service}/{number}"),)
            )
            for number in range(shape.methods)
        }
        registration = Registration(
            id=RegistrationId(f"s{service}", "1.0.0", "default"),
            owner="site:bench",
            peer="127.0.0.1",
            lease=86_400,
            generation=service + 1,
            objects=(VirtualObject(f"localhost/S{service}", methods=methods),),
        )
        yield encode(Batch(int(time.time() * 1000), "site:bench", (Registered(registration),)))


async def fill(state: Path, shape: Shape, upstream: int) -> None:
    """Append a site's registrations to its change log, as the site would have."""
    store = await open_store(state / "changes.db")
    head = await store.head()
    source = entries(shape, upstream)
    while batch := list(itertools.islice(source, _AT_ONCE)):
        head = await store.append(head, batch)
    await store.close()


class Prepared(NamedTuple):
    """A site's folder, ready to be started again, and its callers' tokens."""

    folder: Path
    shape: Shape
    tokens: list[str]


def prepare(folder: Path, shape: Shape, upstream: int) -> Prepared:
    """Let a site make its state, then fill its log."""
    site = Hilum(folder)
    try:
        tokens = site.callers()
    finally:
        site.stop()
    asyncio.run(fill(folder / "state", shape, upstream))
    return Prepared(folder, shape, tokens)


def started(prepared: Prepared) -> tuple[float, int]:
    """Start a site; return the seconds until it served, and its resident bytes then."""
    site = Hilum(prepared.folder)
    try:
        time.sleep(1.0)
        return site.started, site.process.rss()
    finally:
        site.stop()


def measure_start(
    empty: Prepared, full: list[Prepared], options: Options, section: Section
) -> None:
    """Measure start and memory: from the log at the first start, from a snapshot then."""
    base, base_rss = started(empty)
    rows = [["no bindings", f"{base:.2f}", "", f"{base_rss / 1e6:.0f}", ""]]
    section.targets.append(Target("memory of an empty site", base_rss / 1e6, 80, " MB"))
    for prepared in full:
        first, rss = started(prepared)
        again = [started(prepared)[0] for _ in range(1 if options.quick else 3)]
        shape = prepared.shape
        each = (rss - base_rss) / shape.bindings
        label = f"{shape.bindings // shape.methods:,} microservices of {shape.methods}"
        later = f"{statistics.median(again):.2f}"
        rows.append([label, f"{first:.2f}", later, f"{rss / 1e6:.0f}", f"{each:.0f}"])
        section.targets += [
            Target(f"{label}: start from the log", first, 5, " s"),
            Target(f"{label}: memory per binding", each / 1000, 2, " kB"),
        ]
    header = ["100,000 bindings", "first start, s", "later starts, s", "RSS, MB", "bytes a binding"]
    section.table(header, rows)


def bare_connection(path: Path) -> sqlite3.Connection:
    """Open a database as the change log does, with nothing around it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB, sum BLOB)")
    return connection


def rebind(site: Hilum, upstream: int, number: int) -> None:
    """Bind a method to another endpoint, through HTTP, as a service does."""
    method = {"endpoints": [{"url": f"http://127.0.0.1:{upstream}/changed/{number}"}]}
    objects = [{"name": "Changing", "methods": {"run": method}}]
    site.register({"microservice": "Changing", "instance": "a", "objects": objects})


def measure_changes(
    site: Hilum, prepared: Prepared, upstream: int, options: Options, section: Section
) -> None:
    """Measure changes beside bare commits on the same disk, in turn, under the same load."""
    seconds = 6 if options.quick else 15
    numbers = random.Random(7).sample(range(prepared.shape.bindings), 5_000)
    paths = [prepared.shape.path(number) for number in numbers]
    renewed = {"microservice": "Changing", "version": "1.0.0", "instance": "a"}
    bare = bare_connection(prepared.folder / "bare.db")
    body = next(entries(Shape(1, 1), upstream))
    with ExitStack() as stack:
        stack.enter_context(site.client)
        rebind(site, upstream, 0)
        load = Steady(prepared.folder, site.port, prepared.tokens[0], paths, RATE, seconds)
        stack.callback(load.stop)
        time.sleep(1.0)
        taken: dict[str, list[float]] = {"commit": [], "renewal": [], "change": []}
        works = {
            "commit": lambda n: bare.execute("INSERT INTO entries VALUES (?,?,?)", (n, body, b"")),
            "renewal": lambda _: site.client.ask("registry/renew", renewed),
            "change": lambda n: rebind(site, upstream, n),
        }
        end = time.monotonic() + seconds - 2.0
        for number in itertools.count():
            if time.monotonic() > end:
                break
            for name, work in works.items():
                begin = time.perf_counter()
                work(number)
                taken[name].append(time.perf_counter() - begin)
            time.sleep(0.01)
        calls, bad = load.finish()
    bare.close()
    figures = {name: statistics.median(values) * 1e6 for name, values in taken.items()}
    title = f"median µs over {len(taken['change']):,}, beside {calls // seconds:,} calls/s"
    section.table(
        [title, "figure", "of a bare commit"],
        [
            [label, f"{figures[name]:.0f}", f"{figures[name] / figures['commit']:.2f}"]
            for name, label in (
                ("commit", "a bare SQLite commit"),
                ("renewal", "a call of the site that changes nothing (a renewal)"),
                ("change", "a binding changed, durable and in force"),
            )
        ],
    )
    section.targets += [
        Target("a change, of a bare commit", figures["change"] / figures["commit"], 1.5, " x"),
        Target("failed calls beside changes", bad, 0),
    ]


def random_load(path: Path, prepared: Prepared) -> Load:
    """Return calls of random names among a site's bindings.

    Each name is always called by the same one of the callers, as most things in a house are.
    """
    heads = [
        f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(workload.BODY)}\r\n\r\n"
        for token in prepared.tokens
    ]
    bindings, methods = prepared.shape
    listed = ", ".join(lua(head.encode()) for head in heads)
    numbers = (bindings - 1, methods, methods)
    return Load(path, _SCRIPT % (listed, lua(workload.BODY), *numbers))


def measure_relay(
    sites: list[tuple[Hilum, Prepared]], folder: Path, options: Options, section: Section
) -> None:
    """Measure what a call costs among few and among many bindings."""
    gateways = [
        Gateway(f"{prepared.shape.bindings:,} bindings", site, prepared.tokens)
        for site, prepared in sites
    ]
    loads = [
        random_load(folder / f"random{at}.lua", prepared) for at, (_, prepared) in enumerate(sites)
    ]
    # The first calls of a name meet cold caches; a site in use does not.
    for gateway, load in zip(gateways, loads, strict=True):
        load.run(gateway.server.process, gateway.server.port, 64, options.rounds * 2)
    runs = alternate(gateways, loads, 64, options)
    rows = [
        [name, f"{median(found, 'rate') / 1e3:.1f}", f"{median(found, 'cpu'):.1f}"]
        for name, found in runs.items()
    ]
    section.table(["random names, c = 64", "thousand requests/s", "CPU µs per request"], rows)
    few, many = (median(found, "cpu") for found in runs.values())
    section.targets.append(Target("a call among 100,000, of one among 10", many / few, 1.1, " x"))


def measure(options: Options) -> Section:
    """Measure a large site."""
    section = Section("catalog", "A large site: 100,000 bindings")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        port = upstream.port
        empty = prepare(folder / "empty", Shape(0, 1), port)
        few = prepare(folder / "few", Shape(FEW, FEW), port)
        many = prepare(folder / "many", Shape(BINDINGS, 10), port)
        full = [many]
        if not options.quick:
            full.append(prepare(folder / "single", Shape(BINDINGS, 1), port))
        measure_start(empty, full, options, section)
        sites = []
        for prepared in (few, many):
            site = Hilum(prepared.folder)
            stack.callback(site.stop)
            sites.append((site, prepared))
        measure_relay(sites, folder, options, section)
        measure_changes(sites[1][0], many, port, options, section)
    return section
