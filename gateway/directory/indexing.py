"""The index follows what is registered (design 8): current before a change is acknowledged.

It is built in a thread, from immutable records, while calls are served from the View and an
older index goes on answering; what changes meanwhile is applied to both.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from gateway.directory import kept
from gateway.directory.offers import NOTHING, Extension, offered_of
from gateway.ledger import Entered
from gateway.site import Site
from registry.catalog import Catalog
from registry.changes import PrincipalRevoked
from registry.index.index import Index, IndexDelta, digest_of
from registry.index.rdf import Quad
from registry.index.triples import Offered
from registry.model import Kind, Registration, RegistrationId, ThingRecord
from registry.names import Name

log = logging.getLogger("hilum.index")

SLICE = 16
"""Objects that are indexed before others may run, when a build catches up."""


class Indexing:
    """Keeps ``index`` current with a site's catalog; ``ready`` once there is a whole one.

    ``changed`` is told of each change; ``generation`` grows with each. ``failures`` says which
    objects could not be indexed, and why: they are left out, others are not disturbed.
    ``ontologies`` gives those that come with the program or from settings, Turtle by name; an
    operator's of the same name wins. The index is kept in ``file``, to be there sooner next time.
    """

    def __init__(
        self,
        site: Site,
        file: Path | None = None,
        ontologies: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.index = Index()
        self.ready = False
        self.generation = 0
        self.changed: list[Callable[[IndexDelta], None]] = []
        self.failures: dict[Name, str] = {}
        self.builds = 0
        """How many indexes were built since the start."""
        self._site = site
        self._catalog = site.catalog
        self._file = file
        self._given = ontologies
        self._extra: dict[Name, Extension] = {}
        self._foreign: dict[Name, Offered] = {}
        self._described: dict[str, Name] = {}
        self._dirty: dict[Name, None] | None = None
        self._building: asyncio.Task[None] | None = None
        self._again = False
        self._moved_owners = False
        self._saved = -1
        site.watchers.entered.append(self._entered)

    def start(self) -> None:
        """Begin to build, once the change log is replayed and before anything is served.

        Ontologies are read at once: conditions speak of what follows from them.
        """
        self.index = Index(self._ontologies())
        self._site.facts.learn(self.index.closure)
        self._unlearn()
        self._described = {id_: thing.name for id_, thing in self._catalog.things.items()}
        self._build()

    @property
    def building(self) -> bool:
        """Whether an index is being built."""
        return self._building is not None

    def begin(self) -> None:
        """Begin to build the index anew beside this one, which goes on."""
        self._build()

    async def rebuild(self) -> None:
        """Build the index anew beside this one, which goes on; return when it is in its place."""
        self._build()
        await self.wait()

    async def wait(self) -> None:
        """Return when no build is under way."""
        if self._building is not None:
            await asyncio.wait([self._building])

    async def stop(self) -> None:
        """End a build, and keep the index for the next start."""
        building = self._building
        if building is not None:
            building.cancel()
            await asyncio.wait([building])
        if self.ready:
            await self.save()

    async def save(self) -> None:
        """Keep the index on disk, if it has changed; failing costs time at the next start only."""
        if self._file is None or self._saved == self.generation:
            return
        generation = self.generation
        try:
            await asyncio.to_thread(kept.write, self._file, self.index, self._extensions())
        except OSError as error:
            log.warning("the index cannot be kept in %s: %s", self._file, error)
            return
        self._saved = generation

    def enrich(self, name: Name, text: str, quads: Sequence[Quad]) -> None:
        """Give an object what its description says in other vocabularies, while it says so."""
        self._extra[name] = Extension(text, tuple(quads))
        self._look((name,))

    def is_enriched(self, name: Name, text: str) -> bool:
        """Whether it is known what this description of an object says in other vocabularies."""
        return name in self._extra and self._extra[name].text == text

    def put_foreign(self, name: Name, offered: Offered | None) -> None:
        """Index an object of another site, or no more; it is in no catalog here."""
        if offered is None:
            self._foreign.pop(name, None)
        else:
            self._foreign[name] = offered
        self._look((name,))

    def sweep(self) -> None:
        """Once a second: who an owner is may have changed with his credentials."""
        if self._moved_owners:
            self._moved_owners = False
            if self._site.facts.have_changed():
                self._unlearn()

    def _unlearn(self) -> None:
        """Have everything decided anew: what is known of names may be another."""
        self._site.policies.access.circumstances.forget()
        self._site.policies.access.forget()
        self._site.redecide()

    def _extensions(self) -> dict[Name, tuple[Quad, ...]]:
        return {name: extension.quads for name, extension in self._extra.items()}

    # Following

    def _entered(self, entered: Sequence[Entered]) -> None:
        try:
            self._follow(entered)
        except Exception:  # a site without an index relays all the same
            log.exception("the index could not follow a change: it is built anew")
            self._build()

    def _follow(self, entered: Sequence[Entered]) -> None:
        names: dict[Name, None] = {}
        for change, touched, _ in entered:
            names.update(dict.fromkeys(touched.names))
            for id_ in touched.things:
                names.update(dict.fromkeys(self._moved(id_)))
            if touched.ontologies:
                self._build()
            if touched.tokens or touched.credentials or isinstance(change, PrincipalRevoked):
                self._moved_owners = True
        objects = [name for name in names if self._is_object(name)]
        if objects:
            self._look(objects)

    def _moved(self, id_: str) -> Iterator[Name]:
        """Yield the objects that a description stood for and stands for."""
        before = self._described.pop(id_, None)
        if before is not None:
            yield before
        thing = self._catalog.things.get(id_)
        if thing is not None:
            self._described[id_] = thing.name
            yield thing.name

    def _is_object(self, name: Name) -> bool:
        record = self._catalog.names.get(name)
        return name in self.index or (record is not None and record.kind is Kind.OBJECT)

    def _look(self, names: Iterable[Name]) -> None:
        if self._dirty is not None:
            self._dirty.update(dict.fromkeys(names))
        if self.ready:
            for name in names:
                delta = self._put(self.index, name)
                if delta is not None:
                    self._tell(delta)

    def _put(self, index: Index, name: Name) -> IndexDelta | None:
        """Let an index follow one object; one that cannot be indexed is not in it."""
        record = self._catalog.names.get(name)
        self.failures.pop(name, None)
        if name in self._foreign or (record is not None and record.kind is Kind.OBJECT):
            try:
                done = index.put(self._offered(name))
            except Exception as error:  # whatever is wrong with one record
                self._failed(name, error)
            else:
                return None if done is None else IndexDelta(0, *done)
        else:
            self._extra.pop(name, None)
        cleared = index.remove(name)
        return None if cleared is None else IndexDelta(0, cleared)

    def _tell(self, delta: IndexDelta) -> None:
        self.generation += 1
        delta = delta._replace(generation=self.generation)
        for tell in self.changed:
            tell(delta)

    def _failed(self, name: Name, error: Exception) -> None:
        self.failures[name] = str(error)
        log.error("%s is left out of the index: %s", name, error)

    # Building

    def _build(self) -> None:
        """Build an index, or once more after the one that is being built."""
        self._again = True
        if self._building is None:
            self._building = asyncio.get_running_loop().create_task(self._builds())

    async def _builds(self) -> None:
        try:
            while self._again:
                self._again = False
                self._dirty = {}
                try:
                    await self._built()
                except Exception:
                    log.exception("the index could not be built: the one before stays")
        finally:
            self._building = self._dirty = None

    async def _built(self) -> None:
        ontologies = self._ontologies()
        catalog = _Frozen(self._catalog, self._extra, self._foreign.values())
        file = None if self.ready else self._file
        index, failures = await asyncio.to_thread(catalog.index, ontologies, file, self.index)
        if not self.ready:
            self._extra = {**catalog.extra, **self._extra}
        for name, why in index.unread.items():
            log.error("the ontology %s is left out: %s", name, why)
        for name, error in failures.items():
            self._failed(name, error)
        dirty = self._dirty or {}
        while dirty:
            for name in list(islice(dirty, SLICE)):
                del dirty[name]
                self._put(index, name)
            await asyncio.sleep(0)
        self.index, self.ready = index, True
        self.builds += 1
        self._tell(IndexDelta(0, whole=True))
        self._site.facts.learn(index.closure)
        self._unlearn()
        log.info("the index is ready: %d triples of %d objects", len(index), len(index.prints()))

    def _ontologies(self) -> dict[str, str]:
        records = self._catalog.ontologies
        return {**self._given(), **{name: record.text for name, record in records.items()}}

    def _offered(self, name: Name) -> Offered:
        if name in self._foreign:
            return self._foreign[name]
        catalog = self._catalog
        id_ = catalog.thing_of.get(name)
        thing = None if id_ is None else catalog.things.get(id_)
        extension = self._extra.get(name, NOTHING)
        return offered_of(catalog.names[name], catalog.registrations, thing, extension)


class _Frozen:
    """The catalog as it is now, for a thread to read: records never change."""

    def __init__(
        self, catalog: Catalog, extra: Mapping[Name, Extension], foreign: Iterable[Offered]
    ) -> None:
        self._foreign = list(foreign)
        self._objects = [r for r in catalog.names.values() if r.kind is Kind.OBJECT]
        self._registrations: dict[RegistrationId, Registration] = dict(catalog.registrations)
        self._things: dict[Name, ThingRecord] = {t.name: t for t in catalog.things.values()}
        self.extra = dict(extra)
        self._failures: dict[Name, Exception] = {}

    def index(
        self, ontologies: Mapping[str, str], file: Path | None, before: Index
    ) -> tuple[Index, dict[Name, Exception]]:
        """Return an index of it, and what could not be indexed."""
        same = before.digest == digest_of(ontologies)
        found = kept.read(file, before) if same and file is not None else None
        if found is None:
            index = Index(ontologies)
            for offered in self._all():
                self._fill(index, offered)
            return index, self._failures
        index, extra = found
        gone = set(index.names())
        for offered in self._all():
            gone.discard(offered.name)
            extended = offered._replace(extra=extra.get(offered.name, ()))
            if offered.name in extra and index.has(extended):
                self.extra[offered.name] = Extension(offered.text, extended.extra)
            else:
                self._put(index, offered)
        for name in gone:
            index.remove(name)
        return index, self._failures

    def _all(self) -> Iterator[Offered]:
        yield from self._foreign
        for record in self._objects:
            try:
                yield offered_of(
                    record,
                    self._registrations,
                    self._things.get(record.name),
                    self.extra.get(record.name, NOTHING),
                )
            except Exception as error:  # whatever is wrong with one record
                self._failures[record.name] = error

    def _fill(self, index: Index, offered: Offered) -> None:
        try:
            index.fill(offered)
        except Exception as error:
            self._failures[offered.name] = error

    def _put(self, index: Index, offered: Offered) -> None:
        try:
            index.put(offered)
        except Exception as error:
            index.remove(offered.name)
            self._failures[offered.name] = error
