"""Checks what was registered against the shapes of good descriptions, after it was acknowledged.

Findings only warn. They are derived: nothing of them is in the change log, so after a restart an
object is checked when somebody asks for its warnings.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from gateway.directory.checker import Checker
from gateway.directory.indexing import Indexing
from gateway.ledger import Entered
from gateway.site import Site
from registry import vocabulary
from registry.index.index import Index, IndexDelta
from registry.index.rdf import Iri, Quad, rendered
from registry.index.triples import graph_of
from registry.model import Kind
from registry.names import Name, urn
from registry.ontology.findings import SEVERITIES, Finding
from registry.terms import PREFIXES, compact

log = logging.getLogger("hilum.shapes")

QUEUE: Final = 10_000
"""Objects that wait to be checked; what comes beyond is checked when it is asked for."""
SETTLE: Final = 0.5
"""Seconds after a change until checks begin: what comes in one go is not slowed by them."""
SHARE: Final = 4
"""Checks take at most this part of one CPU's time."""
IDLE: Final = 30.0
"""Seconds after which a process that has nothing to do ends."""
N_TRIPLES: Final = "application/n-triples"
_TYPE: Final = PREFIXES["rdf"] + "type"
_CLASS: Final = Iri(PREFIXES["rdfs"] + "Class")
_PLACE: Final = Iri(vocabulary.PLACE_CLASS)
_CLASSES: Final = frozenset(
    {_TYPE, vocabulary.CATEGORY, vocabulary.INPUT_CLASS, vocabulary.OUTPUT_CLASS}
)


class Checked(NamedTuple):
    """What is known of an object; ``pending`` while a check is still to come."""

    findings: tuple[Finding, ...] = ()
    pending: bool = False


class ShapeChecks:
    """Queues what changes, checks it in a process of its own, and remembers what was found."""

    def __init__(self, site: Site, indexing: Indexing, checker: Checker | None = None) -> None:
        self._site = site
        self._indexing = indexing
        self._checker = checker or Checker()
        self._due: dict[Name, None] = {}
        self._found: dict[Name, tuple[Finding, ...]] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.done = self.skipped = self.failed = 0
        """Objects checked, left for later because too many waited, and not checkable."""
        site.watchers.entered.append(self._entered)
        indexing.changed.append(self._indexed)

    @property
    def waiting(self) -> int:
        """How many objects wait to be checked."""
        return len(self._due)

    def findings(self) -> dict[str, float]:
        """Return how many findings there are of each severity."""
        counted = Counter(f.severity for found in self._found.values() for f in found)
        return {severity: counted[severity] for severity in SEVERITIES}

    def start(self) -> None:
        """Begin, once the index is being built."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, whatever is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._checker.stop()

    def of(self, name: Name) -> Checked:
        """Return what is known of an object; one that was not checked yet is put in line."""
        found = self._found.get(name)
        if found is None:
            self._queue([name])
        return Checked(found or (), pending=found is None or name in self._due)

    def shown(self, name: Name, seen: Callable[[Name], bool]) -> list[dict[str, Any]]:
        """Return what is said of an object and of those of its members that ``seen`` lets pass."""
        return [_shown(f) for f in self._visible(name, seen)]

    # Inside

    def _visible(self, name: Name, seen: Callable[[Name], bool]) -> Iterator[Finding]:
        prefix = urn(name) + "/"
        for finding in self.of(name).findings:
            node = finding.node
            if not node.startswith(prefix) or seen(Name(f"{name}/{node[len(prefix) :]}")):
                yield finding

    def _entered(self, entered: Sequence[Entered]) -> None:
        objects = self._site.catalog.names
        for _, touched, gone in entered:
            for name in gone:
                self._found.pop(name, None)
                self._due.pop(name, None)
            self._queue(n for n in touched.names if n in objects and _is_object(objects[n].kind))

    def _indexed(self, delta: IndexDelta) -> None:
        if delta.whole:  # what is known of classes and places may have changed
            self._due.update(dict.fromkeys(list(self._found)[: QUEUE - len(self._due)]))
            self._found.clear()
            self._woken.set()

    def _queue(self, names: Iterable[Name]) -> None:
        for name in names:
            if len(self._due) >= QUEUE and name not in self._due:
                self._found.pop(name, None)
                self.skipped += 1
            else:
                self._due[name] = None
                self._woken.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    await self._woken.wait()
            except TimeoutError:
                await self._checker.stop()
                await self._woken.wait()
            await asyncio.sleep(SETTLE)
            self._woken.clear()
            await self._indexing.wait()
            while self._due and self._indexing.ready:
                await self._check(next(iter(self._due)))

    async def _check(self, name: Name) -> None:
        began = time.monotonic()
        del self._due[name]
        try:
            data = _graph(self._indexing.index, name)
        except Exception:  # whatever is wrong with one record
            log.exception("%s cannot be checked", name)
            data = b""
        if data:
            answered = await self._checker.check(data.decode())
            if answered.error:
                self.failed += 1
                log.warning("%s was not checked against the shapes: %s", name, answered.error)
            else:
                self.done += 1
        if name not in self._due and name in self._site.catalog.names:
            self._found[name] = answered.findings if data else ()
        await asyncio.sleep((time.monotonic() - began) * (SHARE - 1))


def _is_object(kind: Kind) -> bool:
    return kind is Kind.OBJECT


def _graph(index: Index, name: Name) -> bytes:
    """Return what is said of an object, and what ontologies know of the terms in it."""
    graph = graph_of(name)
    quads = list(index.store.quads(graph=graph))
    known: set[Quad] = set()
    for quad in quads:
        term, property_ = quad.object, quad.predicate.value
        if isinstance(term, Iri) and index.closure.speaks_of(term.value):
            if property_ in _CLASSES:
                known.add(Quad(term, Iri(_TYPE), _CLASS, graph))
            elif property_ == vocabulary.PLACE:
                known.add(Quad(term, Iri(_TYPE), _PLACE, graph))
    return rendered([*quads, *known], N_TRIPLES) if quads else b""


def _shown(finding: Finding) -> dict[str, Any]:
    found = {
        "severity": finding.severity,
        "message": finding.message,
        "about": finding.node,
        "property": compact(finding.path) if finding.path else "",
        "value": compact(finding.value) if ":" in finding.value else finding.value,
    }
    return {key: value for key, value in found.items() if value}
