"""Finding by meaning: ``make bench ARGS=discovery``.

A building of 100,000 and one of 1,000,000 triples: the same questions to our typed discovery,
to pyoxigraph on disk and to rdflib's own engine, in turns within one run; then descriptions of
2 kB that 16 clients register over the directory API, and a durable registration beside a bare
SQLite commit.
"""

import asyncio
import gc
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyoxigraph
import rdflib

from adapters.store import SqliteStore, open_store
from bench import registering
from bench.options import Options
from bench.results import Section, Target
from gateway.directory.finding import Finding
from gateway.directory.indexing import Indexing
from gateway.message import Call
from gateway.objects.discovery import DiscoveryObject
from gateway.objects.local import LocalProvider
from gateway.site import Clocks, Identity, Site
from gateway.view import Route
from policy.model import AccessPolicy, Action, Principal, Subject
from registry.changes import Batch, OntologyLoaded, PolicyApplied, Registered, encode
from registry.model import (
    Endpoint,
    EventChannel,
    Kind,
    Method,
    OntologyRecord,
    PolicyRecord,
    Profile,
    Registration,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name
from registry.ontology import load_core
from registry.terms import PREFIXES

SIZES = (100_000, 1_000_000)
ROOMS_OF_A_FLOOR = 40
BRICK = PREFIXES["brick"]
QUANTITIES = ("Temperature", "Humidity", "CO2", "Pressure", "Flow", "Occupancy")
MEDIA = ("Air", "Supply_Air", "Return_Air", "Water", "Zone_Air")
ASKS = 300
SLOW_ASKS = 3
"""Questions to rdflib: each takes seconds."""
PRINCIPAL = Principal("user:bench", "user", credential="bench")
PEERS = ("typed discovery", "pyoxigraph on disk", "rdflib")


class Shape(NamedTuple):
    """How many floors a building has, and how many objects are in a room."""

    floors: int
    objects: int = 5

    def rooms(self) -> Iterator[tuple[int, int]]:
        """Yield every room: its floor and its number there."""
        return itertools.product(range(self.floors), range(ROOMS_OF_A_FLOOR))


def model(shape: Shape) -> str:
    """Return the building and its classes as Turtle."""
    lines = [
        *(f"@prefix {prefix}: <{PREFIXES[prefix]}> ." for prefix in ("brick", "hilum", "rdfs")),
        "@prefix : <urn:bench:> .",
        "brick:Sensor rdfs:subClassOf brick:Point . brick:VAV rdfs:subClassOf brick:Equipment .",
    ]
    for quantity in QUANTITIES:
        lines.append(f"brick:{quantity}_Sensor rdfs:subClassOf brick:Sensor .")
        for medium in MEDIA:
            lines.append(f"brick:{medium}_{quantity}_Sensor rdfs:subClassOf ")
            lines.append(f"    brick:{quantity}_Sensor .")
    for floor, room in shape.rooms():
        if not room:
            lines.append(f":f{floor} hilum:partOf :wing{floor % 4} .")
            lines.append(f":wing{floor % 4} hilum:partOf :house .")
        lines.append(f":f{floor}r{room} hilum:partOf :f{floor} .")
    return "\n".join(lines)


def sensor(random_: random.Random) -> str:
    """Return a class of sensors."""
    return f"{BRICK}{random_.choice(MEDIA)}_{random_.choice(QUANTITIES)}_Sensor"


def entries(shape: Shape) -> Iterator[bytes]:
    """Yield the change log of a site with a building's objects."""
    random_ = random.Random(7)
    now = int(time.time() * 1000)
    every = AccessPolicy("allow", (Subject("*"),), (Action.DESCRIBE,), ("**",))
    spec = json.dumps(_plain(every))
    record = PolicyRecord("AccessPolicy", "all", 1, "site:bench", spec)
    ontology = OntologyRecord("house", "site:bench", model(shape), 1)
    yield encode(Batch(now, "site:bench", (PolicyApplied(record), OntologyLoaded(ontology))))
    protocols = ("http://h.test/", "coap://h.test/", "mqtt://h.test/q")
    for number, (floor, room) in enumerate(shape.rooms()):
        objects = []
        for each in range(shape.objects):
            profile = Profile(level=ServiceLevel(latency=random_.randrange(10, 200)))
            endpoint = Endpoint(protocols[(number + each) % 3])
            reads = {
                f"read{n}": Method(endpoints=(endpoint,), types=(sensor(random_),), profile=profile)
                for n in range(2)
            }
            channels = {f"value{n}": EventChannel(types=(sensor(random_),)) for n in range(2)}
            name = f"localhost/f{floor}/r{room}/o{each}"
            place = f"urn:bench:f{floor}r{room}"
            objects.append(VirtualObject(name, "", reads, channels, (BRICK + "VAV",), place))
        id_ = RegistrationId(f"rooms{number}", "1", "a")
        made = Registration(id_, "site:bench", "", 0, number + 1, tuple(objects))
        yield encode(Batch(now, "site:bench", (Registered(made),)))


def _plain(policy: AccessPolicy) -> dict[str, Any]:
    return {
        "effect": policy.effect,
        "subjects": [{"principal": "*"}],
        "actions": ["describe"],
        "names": list(policy.names),
    }


class Question(NamedTuple):
    """What is asked, as parameters and as SPARQL over what is materialised."""

    asked: dict[str, Any]
    sparql: str


def questions(shape: Shape, number: int, seed: int) -> list[Question]:
    """Return questions by type and place, by protocol, and by a broad type alone."""
    random_ = random.Random(seed)
    found = []
    for each in range(number):
        floor, room = random_.randrange(shape.floors), random_.randrange(ROOMS_OF_A_FLOOR)
        type_ = f"{BRICK}{random_.choice(QUANTITIES)}_Sensor"
        place = ("", f"urn:bench:f{floor}", f"urn:bench:f{floor}r{room}", "urn:bench:wing1")
        asked = {"type": type_, "place": place[each % 4], "limit": 20}
        if each % 8 == 1:
            asked["protocol"] = "coap"
        if each % 8 == 2:
            asked["maxLatencyMs"] = 100
        found.append(Question(asked, _sparql(asked)))
    return found


def _sparql(asked: dict[str, Any]) -> str:
    has = "td:hasActionAffordance|td:hasEventAffordance"
    lines = [f"?m a <{asked['type']}> . ?o {has} ?m ."]
    if asked["place"]:
        lines.append(f"?o hilum:within <{asked['place']}> .")
    if "protocol" in asked:
        lines.append(f'?m hilum:protocol "{asked["protocol"]}" .')
    if "maxLatencyMs" in asked:
        lines.append(f"?m hilum:latency ?l . FILTER(?l <= {asked['maxLatencyMs']})")
    prefixes = "".join(f"PREFIX {p}: <{PREFIXES[p]}> " for p in ("td", "hilum"))
    return f"{prefixes}SELECT DISTINCT ?o WHERE {{ {' '.join(lines)} }} LIMIT {asked['limit']}"


class House:
    """A site with a building, in this process, and the same triples with the peers."""

    def __init__(self, folder: Path, store: SqliteStore, shape: Shape) -> None:
        self.shape = shape
        self._folder = folder
        self._store = store
        clocks = Clocks(time.monotonic, time.time)
        self.site = Site(Identity("localhost"), store, LocalProvider(), clocks)
        self.indexing = Indexing(self.site, None, load_core)
        self.finding = Finding(self.site, self.indexing)
        self._discover = DiscoveryObject(self.site, self.finding).discover
        self._route = Route(Name("localhost/$site/registry/discover"), Kind.METHOD, "", None)  # type: ignore[arg-type]
        self.seconds = self.reading = 0.0

    async def start(self) -> None:
        """Replay the log and build the index."""
        await self.site.start()
        begin = time.perf_counter()
        self.indexing.start()
        await self.indexing.wait()
        middle = time.perf_counter()
        await self.finding.wait()
        self.seconds, self.reading = middle - begin, time.perf_counter() - middle

    async def stop(self) -> None:
        await self.finding.stop()
        await self.indexing.stop()
        await self.site.stop()
        await self._store.close()

    def peers(self) -> tuple[pyoxigraph.Store, rdflib.Graph]:
        """Give the peers the same triples."""
        dump = self._folder / "all.nq"
        with dump.open("wb") as output:
            self.indexing.index.dump(output)
        store = pyoxigraph.Store(str(self._folder / "peer"))
        graph = rdflib.Graph()
        with dump.open("rb") as text:
            quads = pyoxigraph.parse(text, pyoxigraph.RdfFormat.N_QUADS)
            plain = self._folder / "all.nt"
            with plain.open("wb") as output:
                triples = (quad.triple for quad in quads)
                pyoxigraph.serialize(triples, output, pyoxigraph.RdfFormat.N_TRIPLES)
        store.bulk_load(path=str(plain), format=pyoxigraph.RdfFormat.N_TRIPLES)
        store.optimize()
        graph.parse(plain, format="nt")
        return store, graph

    async def ask(self, question: Question) -> int:
        """Ask our typed discovery as a call does, JSON in and out; return how many were found."""
        name = Name("localhost/$site/registry/discover")
        call = Call(Action.CALL, name, PRINCIPAL, 1e12)
        result = await self._discover(call, self._route, json.dumps(question.asked).encode())
        return result.body.count(b'"id":')


async def compare(house: House, options: Options) -> list[list[str]]:
    """Ask all three in turns; return the rows of a table."""
    store, graph = house.peers()
    gc.freeze()
    found: dict[str, list[float]] = {peer: [] for peer in PEERS}
    asks = questions(house.shape, ASKS * max(1, options.rounds // 2), 11)
    for warm in asks[:8]:
        await house.ask(warm)
        _count(store, warm)
    for number, question in enumerate(asks):
        begin = time.perf_counter()
        ours = await house.ask(question)
        middle = time.perf_counter()
        theirs = _count(store, question)
        end = time.perf_counter()
        assert ours == theirs, (question, ours, theirs)
        found[PEERS[0]].append(middle - begin)
        found[PEERS[1]].append(end - middle)
        if number in (1, 2, 3)[:SLOW_ASKS]:
            begin = time.perf_counter()
            slow = len(list(graph.query(question.sparql)))
            found[PEERS[2]].append(time.perf_counter() - begin)
            assert slow == ours, (question, slow, ours)
    gc.unfreeze()
    triples = f"{len(house.indexing.index):,}"
    return [
        [peer, triples, str(len(took)), _ms(quantile(took, 0.5)), _ms(quantile(took, 0.99))]
        for peer, took in found.items()
    ]


def _count(store: pyoxigraph.Store, question: Question) -> int:
    found = store.query(question.sparql)
    assert isinstance(found, pyoxigraph.QuerySolutions)
    return sum(1 for _ in found)


def quantile(seconds: Sequence[float], share: float) -> float:
    """Return the value below which a share is."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}"


async def building(folder: Path, shape: Shape) -> House:
    """Return a running site with a building."""
    store = await open_store(folder / "changes.db")
    head = await store.head()
    source = entries(shape)
    while batch := list(itertools.islice(source, 500)):
        head = await store.append(head, batch)
    house = House(folder, store, shape)
    await house.start()
    return house


async def typed(section: Section, options: Options) -> None:
    """Measure typed discovery at each size."""
    rows: list[list[str]] = []
    sizes = SIZES[:1] if options.quick else SIZES
    for size in sizes:
        shape = Shape(max(1, round(size / (ROOMS_OF_A_FLOOR * 5 * PER_OBJECT))))
        with tempfile.TemporaryDirectory() as name:
            house = await building(Path(name), shape)
            try:
                found = await compare(house, options)
            finally:
                await house.stop()
        rows += found
        p50, p99 = (float(text.replace(",", "")) for text in found[0][3:5])
        section.targets += [
            Target(f"typed discovery at {size:,} triples, p50", p50, 1, " ms"),
            Target(f"typed discovery at {size:,} triples, p99", p99, 5, " ms"),
        ]
        section.notes.append(
            f"{len(house.indexing.index):,} triples: the index was built in {house.seconds:.1f} s "
            f"beside the loop, and read for discovery in {house.reading:.1f} s in short steps."
        )
    section.table(("", "triples", "questions", "p50 ms", "p99 ms"), rows)


PER_OBJECT = 72
"""Triples of an object with four members, what follows included."""


def measure(options: Options) -> Section:
    """Run the measurement."""
    section = Section("discovery", "Finding by meaning")
    asyncio.run(typed(section, options))
    registering.measure(section, options)
    return section
