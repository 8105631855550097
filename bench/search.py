"""Search: JSONPath over many descriptions, and the relay while a query goes wild.

``make bench ARGS=search``. The six fixed forms of docs/search.md, from columns, beside the library
that evaluates the whole language (it reads every description). Then calls through the gateway,
with and without SPARQL queries that run until their deadline, in turn.
"""

import http.client
import json
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bench import workload
from bench.hilum import Hilum, bench_service
from bench.load import Load, Run
from bench.options import Options
from bench.peers import start_upstream
from bench.results import Section, Target
from registry.search.columns import Columns
from registry.search.jsonpath import compile_query
from registry.search.page import page_of, paged

SIZES = {10_000: 25.0, 100_000: 150.0}
"""Descriptions -> milliseconds that each form may take (best published peer: 20.5 and 120)."""
FORMS = {
    "equality": "$[?@.title == 'Sensor 5 in room 5']",
    "existence": "$[?@.properties.*.observable]",
    "prefix": "$[?match(@.title, 'Sensor 5 .*')]",
    "within": "$[?@.properties[?@.unit == 'Cel']]",
    "conjunction": "$[?@.title == 'Sensor 5 in room 5' && @.events]",
    "projection": "$.*.title",
}
SLOW = {"descent": "$..unit", "expression": "$[?search(@.title, 'room [0-9]7$')].id"}
PAGE, BYTES = 1000, 8 << 20
CONNECTIONS = 16
WILD = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l }"
DEADLINE = 2.0


def description(number: int) -> bytes:
    """Return a description of about 2 kB."""
    base = f"http://10.0.0.1/things/{number}"
    properties = {
        f"p{k}": {
            "type": "number",
            "unit": ("Cel", "lx", "ppm")[(number + k) % 3],
            "observable": bool(k % 2),
            "readOnly": True,
            "description": f"What sensor {k} of device {number} measures",
            "forms": [{"href": f"{base}/p{k}", "contentType": "application/json"}],
        }
        for k in range(9)
    }
    made = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1",
        "id": f"urn:example:{number:06d}",
        "title": f"Sensor {number % 97} in room {number % 1000}",
        "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
        "security": "nosec_sc",
        "properties": properties,
    }
    if number % 10 == 0:
        made["events"] = {"hot": {"forms": [{"href": f"{base}/hot"}]}}
    return msgspec.json.encode(made)


def filled(count: int) -> Columns:
    columns = Columns()
    for number in range(count):
        columns.put(f"urn:example:{number:06d}", description(number))
    return columns


def timed(columns: Columns, text: str, rounds: int) -> tuple[float, float]:
    """Return milliseconds of a query's first time, and the median of later ones."""
    begin = time.perf_counter()
    form = compile_query(text).form()
    if form is None:
        raise RuntimeError(f"{text} has no fast form")
    for path in columns.missing(paged(form)):
        for _ in columns.build(path):
            pass
    first = (time.perf_counter() - begin) * 1e3
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = compile_query(text).form()
        if found is not None:
            page_of(columns, paged(found), (), {}, 0, PAGE, BYTES)
        taken.append((time.perf_counter() - begin) * 1e3)
    return first, statistics.median(taken)


def library(columns: Columns, text: str) -> float:
    """Return milliseconds that the library takes, reading included."""
    begin = time.perf_counter()
    documents = [columns.decode(text) for text in columns.texts.values()]
    for _ in compile_query(text).find(documents):
        pass
    return (time.perf_counter() - begin) * 1e3


def measure_forms(options: Options, section: Section) -> None:
    """Measure JSONPath."""
    for count, limit in SIZES.items():
        columns = filled(count)
        size = len(description(1)) / 1000
        rows, worst = [], 0.0
        for name, text in FORMS.items():
            first, later = timed(columns, text, 5 if options.quick else 15)
            beside = f"{library(columns, text):,.0f}" if count == min(SIZES) else "-"
            rows.append([name, f"`{text}`", f"{first:,.0f}", f"{later:.2f}", beside])
            worst = max(worst, later)
        for name, text in SLOW.items():
            beside = f"{library(columns, text):,.0f}" if count == min(SIZES) else "-"
            rows.append([f"{name}, in a process", f"`{text}`", "-", "-", beside])
        what = f"{count:,} descriptions of {size:.1f} kB"
        section.table([what, "query", "first, ms", "then, ms", "the library, ms"], rows)
        section.targets.append(Target(f"the slowest form over {count:,}", worst, limit, " ms"))


class Wild:
    """Keeps a query running that has no end but its deadline; counts how queries end."""

    def __init__(self, site: Hilum) -> None:
        self._netloc = urlsplit(site.control).netloc
        self._token = site.token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.taken: list[float] = []
        self.codes: list[int] = []

    def __enter__(self) -> "Wild":
        self._thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def ask(self, query: str) -> tuple[int, float]:
        """Ask a query; return the status and seconds."""
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        begin = time.monotonic()
        fields = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/sparql-query",
        }
        connection.request("POST", "/search/sparql", query.encode(), fields)
        reply = connection.getresponse()
        reply.read()
        connection.close()
        return reply.status, time.monotonic() - begin

    def _run(self) -> None:
        while not self._stop.is_set():
            code, seconds = self.ask(WILD)
            self.codes.append(code)
            self.taken.append(seconds)


def measure_relay(options: Options, section: Section) -> None:
    """Measure calls beside wild queries."""
    runs: dict[str, list[Run]] = {"no query": [], "a wild query": []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        site = Hilum(folder / "site", more=f"\n[search]\nseconds = {DEADLINE}\n")
        stack.callback(site.stop)
        site.register(bench_service(upstream.port))
        tokens, body = site.callers(), workload.BODY
        heads = [
            workload.request("localhost", n, tokens[n % len(tokens)], body)[: -len(body)]
            for n in range(workload.METHODS)
        ]
        load = Load.of(folder / "calls.lua", heads, body)
        wild = Wild(site)
        code, seconds = wild.ask("ASK {}")
        for number in range(options.rounds):
            ways = list(runs) if number % 2 else list(reversed(runs))
            for way in ways:
                with ExitStack() as during:
                    if way != "no query":
                        wild = during.enter_context(Wild(site))
                    run = load.run(site.process, site.port, CONNECTIONS, options.seconds)
                if run.failed:
                    raise RuntimeError(f"{run.failed} requests failed")
                runs[way].append(run)
        code, seconds = wild.ask("ASK {}")
    if set(wild.codes) != {504} or code != 200:
        raise RuntimeError(f"wild queries ended with {wild.codes}, a sane one with {code}")
    rows = [
        [way, *(f"{median(found, what):,.0f}" for what in ("rate", "p50", "p99"))]
        for way, found in runs.items()
    ]
    section.table(["calls beside", "requests/s", "p50 µs", "p99 µs"], rows)
    ratio = median(runs["a wild query"], "p99") / median(runs["no query"], "p99")
    late = max(wild.taken) - DEADLINE
    section.targets += [
        Target("p99 beside a wild query, of p99 without", ratio, 2.0),
        Target("a wild query's end after its deadline", late, 0.5, " s"),
        Target("a sane query after them", seconds, 1.0, " s"),
    ]


def median(runs: list[Run], what: str) -> float:
    return statistics.median(getattr(run, what) for run in runs)


def measure(options: Options) -> Section:
    """Measure search."""
    section = Section("search", "Search: JSONPath from columns, and wild SPARQL beside the relay")
    measure_forms(options, section)
    measure_relay(options, section)
    note = {"page": PAGE, "connections": CONNECTIONS, "deadline": DEADLINE}
    section.notes.append(f"Pages and load: {json.dumps(note)}.")
    return section
