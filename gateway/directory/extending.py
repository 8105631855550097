"""What descriptions say in vocabularies that we do not map ourselves comes into the index later.

Expanding JSON-LD takes some 15 ms, too long for the path of a registration: one thread does it,
never for more than half of the time.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from time import perf_counter

from gateway.directory.indexing import Indexing
from gateway.directory.offers import offered_of
from gateway.ledger import Entered
from gateway.site import Site
from registry.index.rdf import Quad, parsed
from registry.index.triples import extended
from registry.model import ThingRecord, VirtualObject
from registry.names import Name
from registry.things.expansion import NotExpandable, expand

log = logging.getLogger("hilum.index")

WAITING = 100_000
"""Descriptions that wait at most; what comes then is not extended before it changes."""
_EXTENDS = re.compile(
    r'"links"\s*:|"[A-Za-z][\w.-]*:[^"\s]*"\s*:|"@context"\s*:\s*(?:\[[^\]{]*)?\{'
)
"""A text that may say more than TD 1.1 has words for: links, prefixes, terms of its own."""


class Extending:
    """Reads descriptions in a thread and gives the index what they say beside."""

    def __init__(self, site: Site, indexing: Indexing) -> None:
        self.missed = 0
        """Descriptions that came while too many waited."""
        self._catalog = site.catalog
        self._indexing = indexing
        self._waiting: dict[Name, None] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        site.watchers.entered.append(self._entered)

    @property
    def waiting(self) -> int:
        """How many descriptions wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin with what is there, once the index is."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; what waits is read at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _entered(self, entered: Sequence[Entered]) -> None:
        for _, touched, _ in entered:
            for id_ in touched.things:
                thing = self._catalog.things.get(id_)
                if thing is not None:
                    self._enqueue(thing)

    def _enqueue(self, thing: ThingRecord) -> None:
        if self._indexing.is_enriched(thing.name, thing.text) or not _EXTENDS.search(thing.text):
            return
        if len(self._waiting) >= WAITING:
            self.missed += 1
            return
        self._waiting[thing.name] = None
        self._woken.set()

    async def _run(self) -> None:
        await self._indexing.wait()
        for number, thing in enumerate(list(self._catalog.things.values())):
            self._enqueue(thing)
            if number % 100 == 0:
                await asyncio.sleep(0)
        while True:
            await self._woken.wait()
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                begin = perf_counter()
                await self._extend(name)
                await asyncio.sleep(perf_counter() - begin)
            self._woken.clear()

    async def _extend(self, name: Name) -> None:
        catalog, index = self._catalog, self._indexing.index
        record, subject = catalog.names.get(name), index.subject_of(name)
        thing = catalog.things.get(catalog.thing_of.get(name, ""))
        if record is None or subject is None or thing is None:
            return
        obj = offered_of(record, catalog.registrations, thing).obj
        try:
            quads = await asyncio.to_thread(_expanded, name, thing.text, obj, subject)
        except NotExpandable as error:
            log.warning("the description of %s is indexed without its extensions: %s", name, error)
            quads = []
        except Exception:  # whatever is wrong with one description
            log.exception("the description of %s is indexed without its extensions", name)
            quads = []
        if catalog.things.get(thing.id) is thing:
            self._indexing.enrich(name, thing.text, quads)


def _expanded(name: Name, text: str, obj: VirtualObject, subject: str) -> list[Quad]:
    lines = (" ".join(triple) for triple in expand(text, obj, subject))
    said = "".join(f"{line} .\n" for line in lines)
    return extended(name, parsed(said.encode(), "application/n-triples"))
