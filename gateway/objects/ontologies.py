"""``$site/registry/ontology-*``: operators load what their site knows of its world (design 8).

An ontology is Turtle. Everything of it is read and counted before it is in the change log;
the index is built anew beside the one in use.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct, to_builtins

from gateway.directory.indexing import Indexing
from gateway.directory.ontologies import NAME, RESERVED, Given
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import (
    Request,
    answer,
    invalid,
    media_type,
    options_of,
    read,
    require,
)
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.catalog import Catalog
from registry.changes import Change, OntologyLoaded, OntologyUnloaded
from registry.model import OntologyRecord
from registry.ontology.difference import difference
from registry.ontology.turtle import Summary, summary
from registry.problems import InvalidDocument, Problem, quoted
from registry.vocabulary import ONTOLOGIES

T = TypeVar("T")

MOST: Final = 64
"""Ontologies that operators may load."""
TURTLE: Final = frozenset({"text/turtle", "application/n-triples", "text/plain"})
OVERHEAD: Final = 1024 * 1024
"""Bytes that a call may have besides the ontology: what escaping it in JSON adds."""
LARGE: Final = frozenset({"ontology-load", "ontology-diff"})
"""Methods whose payload is a whole ontology."""


class Load(Request, frozen=True):
    """An ontology; as Turtle its name, and the revision that it replaces, are in the query."""

    name: str
    text: str
    revision: int = 0


class Named(Request, frozen=True):
    """What the query says when the payload is Turtle."""

    name: str
    revision: int = 0


class Read(NamedTuple):
    """An ontology that was handed over and can be read."""

    load: Load
    summary: Summary


class Row(Struct, frozen=True, rename="camel", omit_defaults=True):
    """An ontology in the list; ``source`` is ``program``, ``file`` or ``loaded``."""

    name: str
    iri: str
    source: str
    bytes: int
    revision: int = 0
    owner: str = ""
    path: str = ""
    problem: str = ""


class OntologiesObject:
    """The handlers; all need ``administer`` besides ``call``."""

    def __init__(self, site: Site, given: Given, indexing: Indexing) -> None:
        self._site = site
        self._given = given
        self._indexing = indexing
        self._reading = asyncio.Lock()
        self._sizes: dict[str, tuple[str, int]] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "ontologies": self.list,
            "ontology-load": self.load,
            "ontology-unload": self.unload,
            "ontology-diff": self.diff,
            "ontology-rebuild": self.rebuild,
        }

    @property
    def limit(self) -> int:
        """How large a payload of the ``LARGE`` methods may be, in bytes."""
        return self._given.limits.bytes + OVERHEAD

    async def list(self, call: Call, _: Route, __: bytes) -> Result:
        """Return the ontologies in use, and how far the index is."""
        require(self._site, call, Action.ADMINISTER, call.name)
        loaded = self._site.catalog.ontologies
        rows = [
            *(self._row(n, t, "program") for n, t in self._given.core.items()),
            *(self._row(n, f.text, "file", path=str(f.path)) for n, f in self._given.files.items()),
            *(
                self._row(n, r.text, "loaded", owner=r.owner, revision=r.revision)
                for n, r in sorted(loaded.items())
            ),
        ]
        self._sizes = {row.name: self._sizes[row.name] for row in rows}
        return answer({"items": to_builtins(rows), "index": self._index()})

    async def load(self, call: Call, _: Route, payload: bytes) -> Result:
        """Load an ontology, or replace the one of its name."""
        require(self._site, call, Action.ADMINISTER, call.name)
        new, told = await self._read(call, payload)
        outcome: dict[str, Any] = {}

        def plan(catalog: Catalog) -> Sequence[Change]:
            old = catalog.ontologies.get(new.name)
            before = old.revision if old is not None else 0
            if new.revision not in (0, before):
                detail = f"{new.name} is at revision {before}, not {new.revision}"
                raise Refusal(Status.CONFLICT, f"{detail}: look at the difference again")
            if old is None and len(catalog.ontologies) >= MOST:
                raise Refusal(Status.CONFLICT, f"there are {MOST} ontologies: unload one first")
            same = old is not None and old.text == new.text
            result = "unchanged" if same else "replaced" if old else "created"
            outcome.update(result=result, revision=before if same else before + 1)
            if same:
                return []
            record = OntologyRecord(new.name, call.principal.id, new.text, before + 1)
            return [OntologyLoaded(record)]

        await self._site.ledger.change(call.principal.id, plan)
        said = {"name": new.name, "iri": ONTOLOGIES + new.name, **outcome}
        return answer({**said, "summary": to_builtins(told), "index": self._index()})

    async def unload(self, call: Call, _: Route, payload: bytes) -> Result:
        """Take an ontology out."""
        asked = await read(call, payload, Named)
        require(self._site, call, Action.ADMINISTER, call.name)

        def plan(catalog: Catalog) -> Sequence[Change]:
            old = catalog.ontologies.get(asked.name)
            if old is None:
                raise Refusal(Status.NOT_FOUND, self._not_loaded(asked.name))
            if asked.revision not in (0, old.revision):
                detail = f"{asked.name} is at revision {old.revision}, not {asked.revision}"
                raise Refusal(Status.CONFLICT, detail)
            return [OntologyUnloaded(asked.name)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"name": asked.name, "unloaded": True, "index": self._index()})

    async def diff(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say what loading would change; nothing is changed."""
        require(self._site, call, Action.ADMINISTER, call.name)
        new, told = await self._read(call, payload)
        old = self._site.catalog.ontologies.get(new.name)
        before = old.text if old is not None else ""
        found = await self._aside(lambda: difference(before, new.text))
        revision = old.revision if old is not None else 0
        said = {"name": new.name, "revision": revision, "summary": to_builtins(told)}
        return answer({**said, **to_builtins(found)})

    async def rebuild(self, call: Call, _: Route, __: bytes) -> Result:
        """Build the index anew beside the one in use; answer when that has begun."""
        require(self._site, call, Action.ADMINISTER, call.name)
        self._indexing.begin()
        return answer({"index": self._index()})

    # Inside

    async def _read(self, call: Call, payload: bytes) -> Read:
        """Return what was handed over, checked in a thread; raises Refusal with line and column."""
        if media_type(call) in TURTLE:
            named = options_of(call, Named)
            _check_name(named.name, self._given)
            told, text = await self._checked(payload)
            return Read(Load(named.name, text, named.revision), told)
        if media_type(call) != "application/json":
            detail = f"{media_type(call)} is not read here: send text/turtle, its name in the query"
            raise Refusal(Status.UNSUPPORTED_TYPE, detail)
        asked = await read(call, payload, Load)
        _check_name(asked.name, self._given)
        told, _ = await self._checked(asked.text.encode())
        return Read(asked, told)

    async def _checked(self, data: bytes) -> tuple[Summary, str]:
        limits = self._given.limits
        if len(data) > limits.bytes:
            detail = f"an ontology may have at most {limits.bytes} bytes, this has {len(data)}"
            raise Refusal(Status.TOO_LARGE, f"{detail}: split it, or raise ontology_bytes")
        try:
            return await self._aside(lambda: (summary(data, limits), data.decode()))
        except InvalidDocument as error:
            raise invalid(error) from error

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do what takes long in a thread, one at a time, beside that of other documents."""
        async with self._reading:
            return await asyncio.to_thread(work)

    def _row(self, name: str, text: str, source: str, **how: Any) -> Row:
        problem = self._indexing.index.unread.get(name, "")
        size = self._size(name, text)
        return Row(name, ONTOLOGIES + name, source, size, problem=problem, **how)

    def _size(self, name: str, text: str) -> int:
        """Return how many bytes a text has; found once for each."""
        known = self._sizes.get(name)
        if known is None or known[0] is not text:
            known = self._sizes[name] = (text, len(text.encode()))
        return known[1]

    def _index(self) -> dict[str, Any]:
        indexing = self._indexing
        return {
            "ready": indexing.ready,
            "building": indexing.building,
            "builds": indexing.builds,
            "triples": len(indexing.index),
        }

    def _not_loaded(self, name: str) -> str:
        if name in RESERVED:
            return f"{name} is an ontology of ours: it stays"
        if name in self._given.files:
            return f"{name} comes from the settings: take it out of [registry] ontologies"
        return f"there is no ontology {quoted(name)}"


def _check_name(name: str, given: Given) -> None:
    why = ""
    if not NAME.fullmatch(name):
        why = "is no name for an ontology: use up to 64 letters, digits and . _ -"
    elif name in RESERVED:
        why = "is an ontology of ours: choose another name"
    elif name in given.files:
        why = "comes from the settings ([registry] ontologies): choose another name"
    if why:
        raise invalid(InvalidDocument(Problem(f"{quoted(name)} {why}", "name", 1, 1)))
