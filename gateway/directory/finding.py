"""Keeps what discovery looks at current with the index, before a change is acknowledged.

When another index takes the place of the one before, all is read anew in short steps, while what
was read before goes on answering.
"""

import asyncio
import logging
from collections.abc import Container, Iterable, Iterator
from itertools import chain
from time import perf_counter

from gateway.directory.indexing import Indexing
from gateway.directory.latencies import Latencies
from gateway.directory.views import object_of
from gateway.site import Site
from registry.discovery.matching import Taxonomy
from registry.discovery.postings import Postings
from registry.discovery.profiles import Profiles
from registry.discovery.reading import Reader, name_in
from registry.discovery.vocabulary import Vocabulary
from registry.index.index import Index, IndexDelta
from registry.index.rdf import Iri, Quad
from registry.index.triples import graph_of, inferred_of
from registry.model import Kind, Profile
from registry.names import Name

log = logging.getLogger("hilum.discovery")

STEP = 0.001
"""Seconds of reading before others may run."""


class Facts:
    """What is known of everything that one index has; ``silent`` are sites that do not answer."""

    def __init__(self, site: Site, index: Index, silent: Container[str] = ()) -> None:
        self.index = index
        self.silent = silent
        self.closure = index.closure
        self.classes = Taxonomy(self.closure.superclasses)
        self.places = Taxonomy(self.closure.above)
        self.postings = Postings()
        self.profiles = Profiles()
        self.vocabulary = Vocabulary()
        self._reader = Reader(self.closure)
        self._catalog = site.catalog

    def read(self) -> Iterator[None]:
        """Read the whole index; each step is short."""
        yield from self.vocabulary.read(self.index.store)
        for name in list(self.index.names()):
            self.look_again(name)
            yield
        yield from self.postings.settle()

    def located(self, place: str) -> str | None:
        """Return the nearest place with coordinates that a place is in."""
        return self.vocabulary.located(place, self.closure.above)

    def look_again(self, name: Name) -> None:
        """Read an object from the index."""
        store = self.index.store
        graphs = (graph_of(name), inferred_of(name))
        quads = chain.from_iterable(store.quads(graph=graph) for graph in graphs)
        self.look(name, self.index.subject_of(name), quads)

    def look(self, name: Name, subject: str | None, quads: Iterable[Quad]) -> None:
        """Read an object from its quads; without a subject it is gone."""
        if subject is None:
            self.postings.remove(name)
            self.profiles.put(name, {})
        else:
            self.postings.put(self._reader.read(name, subject, quads))
            self.profiles.put(name, self._profiles(name))

    def _profiles(self, name: Name) -> dict[Name, Profile]:
        record = self._catalog.names.get(name)
        if record is None or record.kind is not Kind.OBJECT:
            return {}
        members = object_of(record).members()
        return {n: d.profile for n, d in members if d.profile is not None}


class Finding:
    """Holds ``facts``, None until the first index is read."""

    def __init__(self, site: Site, indexing: Indexing) -> None:
        self.facts: Facts | None = None
        self.latencies = Latencies()
        self.silent: set[str] = set()
        self._site = site
        self._indexing = indexing
        self._dirty: dict[Name, None] = {}
        self._reading: asyncio.Task[None] | None = None
        indexing.changed.append(self._changed)
        site.plane.observe(self.latencies.ended)

    async def wait(self) -> None:
        """Return when nothing is being read."""
        while self._reading is not None:
            await asyncio.wait([self._reading])
            await asyncio.sleep(0)  # until it is known that it is over

    async def stop(self) -> None:
        """End what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _changed(self, delta: IndexDelta) -> None:
        if delta.whole:
            if self._reading is not None:
                self._reading.cancel()
            self._dirty = {}
            self._reading = asyncio.get_running_loop().create_task(self._read())
            self._reading.add_done_callback(self._over)
            return
        for name in filter(None, map(_name_of, delta.cleared)):
            if self._reading is not None:
                self._dirty[name] = None
            if self.facts is not None:
                self._look(self.facts, name, delta)

    def _look(self, facts: Facts, name: Name, delta: IndexDelta) -> None:
        """Let facts follow a change, be they of this index or of the one before."""
        subject = self._indexing.index.subject_of(name)
        old = facts.postings.objects.get(name)
        if subject is None and old is not None:
            for member in old.members:
                self.latencies.forget(member.name)
        facts.look(name, subject, delta.quads)

    async def _read(self) -> None:
        """Read the index in steps; what changes meanwhile is looked at again."""
        facts = Facts(self._site, self._indexing.index, self.silent)
        begin = perf_counter()
        for _ in facts.read():
            if perf_counter() - begin > STEP:
                await asyncio.sleep(0)
                begin = perf_counter()
        for name in self._dirty:
            facts.look_again(name)
        self.facts = facts

    def _over(self, task: "asyncio.Task[None]") -> None:
        if task is self._reading:
            self._reading = None
        if not task.cancelled() and task.exception() is not None:
            log.error("discovery could not read the index", exc_info=task.exception())


def _name_of(graph: Iri) -> Name | None:
    return name_in(graph.value)
