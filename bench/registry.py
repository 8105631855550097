"""The index of what is registered, beside rdflib's engine and pyoxigraph on disk: ``make bench``.

A building of floors, rooms and devices is indexed as a site does it, with 100,000 and 1,000,000
triples. The same triples go into the other stores, and the same question is asked of all in turn:
which channels of a class are on a floor, by types and places that are inferred already. Then what
registrations, deletions, a rebuild and a restart cost.
"""

import asyncio
import io
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pyoxigraph
import rdflib

from adapters.store import open_store
from bench.hilum import Hilum
from bench.options import Options
from bench.results import Section, Target
from registry.changes import Batch, OntologyLoaded, Registered, encode
from registry.index.index import Index
from registry.index.triples import Offered, Service, graph_of, inferred_of
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    OntologyRecord,
    Profile,
    Registration,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name
from registry.ontology import load_core

SIZES = (100_000, 1_000_000)
FLOORS, ROOMS = 50, 40
"""Floors, and rooms of each."""
_X = "https://bench.example/"
_KINDS = ("Temperature", "Humidity", "Occupancy", "Light", "Power")
_PREFIXES = (
    "PREFIX hilum: <https://w3id.org/hilum#> PREFIX td: <https://www.w3.org/2019/wot/td#> "
    f"PREFIX x: <{_X}> "
)
_AT_ONCE = 1_000


class Work(NamedTuple):
    """An index as large as asked, and what is in it."""

    index: Index
    objects: int
    built: float


def ontology() -> str:
    """Return classes of sensors and the places of a building, as Turtle."""
    lines = [
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .",
        f"@prefix x: <{_X}> .",
        "@prefix hilum: <https://w3id.org/hilum#> .",
        "x:Reading rdfs:subClassOf x:Observation . x:Device rdfs:subClassOf x:Thing .",
    ]
    for kind in _KINDS:
        lines.append(f"x:{kind} rdfs:subClassOf x:Reading .")
        lines.append(f"x:{kind}Device rdfs:subClassOf x:Device .")
    for floor, room in itertools.product(range(FLOORS), range(ROOMS)):
        lines.append(f"x:room-{floor}-{room} hilum:partOf x:floor-{floor} .")
    lines += (f"x:floor-{floor} hilum:partOf x:house ." for floor in range(FLOORS))
    return "\n".join(lines)


def device(number: int) -> VirtualObject:
    """Return one of the devices: two channels and a method."""
    kind = _KINDS[number % len(_KINDS)]
    floor, room = number % FLOORS, number // FLOORS % ROOMS
    level = ServiceLevel(latency=20 + number % 50)
    profile = Profile(category=_X + "Sensing", outputs={"": _X + kind}, level=level)
    return VirtualObject(
        f"localhost/D{number}",
        description=f"the {kind} device number {number}",
        methods={"set": Method(endpoints=(Endpoint(f"http://127.0.0.1:9/{number}"),))},
        channels={
            "now": EventChannel(types=(_X + kind,), profile=profile),
            "alarm": EventChannel(types=(_X + "Alarm",)),
        },
        types=(f"{_X}{kind}Device",),
        place=f"{_X}room-{floor}-{room}",
    )


def offered(number: int) -> Offered:
    obj = device(number)
    service = Service(RegistrationId(f"d{number}", "1.0.0", "default"), "device")
    return Offered(Name(obj.name), obj, (service,))


def build(triples: int) -> Work:
    """Build an index as a site does, object by object."""
    begin = time.perf_counter()
    index = Index({**load_core(), "building": ontology()})
    count = 0
    while len(index) < triples:
        index.fill(offered(count))
        count += 1
    return Work(index, count, time.perf_counter() - begin)


def question(kind: str, floor: int) -> str:
    """Ask for the channels of a class on a floor, with their names."""
    return (
        f"{_PREFIXES} SELECT ?channel ?name WHERE {{ ?device hilum:within x:floor-{floor} ; "
        f"td:hasEventAffordance ?channel . ?channel a x:{kind} ; hilum:name ?name }} LIMIT 100"
    )


def timed(ask: Callable[[str], int], questions: list[str]) -> list[float]:
    """Return milliseconds of each question; all have answers."""
    took = []
    for text in questions:
        begin = time.perf_counter()
        count = ask(text)
        took.append((time.perf_counter() - begin) * 1000)
        if not count:
            raise RuntimeError(f"no answer to {text}")
    return took


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def questions(count: int, seed: int) -> list[str]:
    """Return questions about kinds on floors; a floor has devices of one kind in this building."""
    draw = random.Random(seed)
    floors = (draw.randrange(FLOORS) for _ in range(count))
    return [question(_KINDS[floor % len(_KINDS)], floor) for floor in floors]


def compare(work: Work, folder: Path, options: Options) -> list[list[str]]:
    """Ask all engines in turn; rdflib once only, it takes seconds at least."""
    dump = io.BytesIO()
    work.index.dump(dump)
    begin = time.perf_counter()
    disk = pyoxigraph.Store(folder / "disk")
    disk.bulk_load(dump.getvalue(), pyoxigraph.RdfFormat.N_QUADS)
    disk.optimize()
    loaded = time.perf_counter() - begin
    engines: dict[str, Callable[[str], int]] = {
        "Hilum's index": lambda q: len(list(work.index.store.query(q))),
        "pyoxigraph on disk": lambda q: len(list(disk.query(q, use_default_graph_as_union=True))),
    }
    took: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(options.rounds):
        turn = list(engines) if number % 2 else list(reversed(engines))
        for name in turn:
            took[name] += timed(engines[name], questions(50 if options.quick else 200, number))
    rows = [
        [name, f"{statistics.median(ms):.2f}", f"{percentile(ms, 0.99):.2f}", str(len(ms))]
        for name, ms in took.items()
    ]
    rows[0].append(f"{work.built:.1f}")
    rows[1].append(f"{loaded:.1f}")
    if len(work.index) < 2 * SIZES[0]:
        rows.append(rdflib_row(dump.getvalue()))
    return rows


def rdflib_row(quads: bytes) -> list[str]:
    """Load the same into rdflib and ask one question."""
    begin = time.perf_counter()
    graph = rdflib.Dataset(default_union=True)
    graph.parse(data=quads, format="nquads")
    loaded = time.perf_counter() - begin
    (ms,) = timed(lambda q: len(list(graph.query(q))), questions(1, 0))
    return ["rdflib", f"{ms:.0f}", "", "1", f"{loaded:.1f}"]


def changes(work: Work, count: int) -> list[list[str]]:
    """Register and delete objects, ours and plain quads on disk in the same turns."""
    ours: list[float] = []
    gone: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        disk = pyoxigraph.Store(folder)
        theirs: list[float] = []
        for number in range(work.objects, work.objects + count):
            each = offered(number)
            begin = time.perf_counter()
            done = work.index.put(each)
            ours.append((time.perf_counter() - begin) * 1000)
            assert done is not None
            begin = time.perf_counter()
            disk.remove_graph(graph_of(each.name))
            disk.remove_graph(inferred_of(each.name))
            disk.extend(done[1])
            theirs.append((time.perf_counter() - begin) * 1000)
        for number in range(work.objects, work.objects + count):
            begin = time.perf_counter()
            work.index.remove(offered(number).name)
            gone.append((time.perf_counter() - begin) * 1000)
        del disk
    return [
        [what, f"{statistics.median(ms):.3f}", f"{percentile(ms, 0.99):.3f}"]
        for what, ms in (
            ("register one object", ours),
            ("the same quads, pyoxigraph on disk", theirs),
            ("delete one object", gone),
        )
    ]


# A whole site


def entries(objects: int) -> Iterator[bytes]:
    """Yield what the change log holds when all of it has registered."""
    now = int(time.time() * 1000)
    loaded = OntologyLoaded(OntologyRecord("building", "site:bench", ontology(), 1))
    yield encode(Batch(now, "site:bench", (loaded,)))
    for number in range(objects):
        id_ = RegistrationId(f"d{number}", "1.0.0", "default")
        registration = Registration(
            id_, "site:bench", "127.0.0.1", 0, number + 1, (device(number),), deployment="device"
        )
        yield encode(Batch(now, "site:bench", (Registered(registration),)))


async def fill(state: Path, objects: int) -> None:
    store = await open_store(state / "changes.db")
    head = await store.head()
    source = entries(objects)
    while batch := list(itertools.islice(source, _AT_ONCE)):
        head = await store.append(head, batch)
    await store.close()


def restarts(folder: Path, work: Work) -> list[list[str]]:
    """Start a site: from its log, then with the index that it kept."""
    Hilum(folder).stop()
    asyncio.run(fill(folder / "state", work.objects))
    rows = []
    for what in ("first start, from the log", "restart, with the index kept"):
        begin = time.monotonic()
        site = Hilum(folder)
        try:
            serving = time.monotonic() - begin
            while indexed(site) < len(work.index) // 2:
                time.sleep(0.1)
            rows.append([what, f"{serving:.1f}", f"{time.monotonic() - begin:.1f}"])
        finally:
            site.stop()
    return rows


def indexed(site: Hilum) -> int:
    """Return how many triples the site's index has."""
    with urlopen(f"{site.control}/metrics", timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("hilum_index_triples "):
                return int(float(line.split()[-1]))
    return 0


def measure(options: Options) -> Section:
    section = Section("registry", "The index of what is registered")
    for size in SIZES[:1] if options.quick else SIZES:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as text:
            folder = Path(text)
            work = build(size)
            label = f"{size:,} triples"
            header = [f"{label}: typed join", "p50, ms", "p99, ms", "questions", "load, s"]
            rows = compare(work, folder, options)
            section.table(header, rows)
            section.targets += [
                Target(f"{label}: typed join p50", float(rows[0][1]), 1, " ms"),
                Target(f"{label}: typed join p99", float(rows[0][2]), 5, " ms"),
            ]
            changed = changes(work, 200 if options.quick else 2_000)
            section.table([f"{label}: changes", "p50, ms", "p99, ms"], changed)
            section.targets.append(
                Target(f"{label}: register one object p50", float(changed[0][1]), 0.4, " ms")
            )
            started = restarts(folder, work)
            section.table([f"{label}: site", "serves after, s", "index ready after, s"], started)
            section.targets.append(
                Target(f"{label}: restart to ready", float(started[1][2]), 20, " s")
            )
    section.notes.append(
        "Load of our index is a whole build with inference, which a change of an ontology costs "
        "too; the others load triples that are inferred already. Discovery has its own section."
    )
    return section
