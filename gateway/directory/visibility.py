"""What a caller may see in searches: which objects, and which of their members, are hidden.

A decision about every name is dear, so it is kept for each principal until access rules change;
names that change are decided again before the next query runs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gateway.directory.indexing import Indexing
from gateway.directory.views import Views, object_of
from gateway.ledger import Entered
from gateway.site import Site
from policy.model import Action, Principal
from registry.index.index import IndexDelta
from registry.index.rdf import Iri
from registry.index.triples import graph_of
from registry.model import Kind
from registry.names import Name
from registry.vocabulary import HAS_ACTION, HAS_EVENT

KEPT: Final = 64
"""Principals whose view is kept."""
SLICE: Final = 64
"""Objects that are decided about before others may run."""
QUICK: Final = 1024
"""Objects that may be decided about at once."""
_AFFORDANCES: Final = (Iri(HAS_ACTION), Iri(HAS_EVENT))
"""What leads to members: each is a method or a channel, also those that are of a property."""


class Seen:
    """What is hidden from one principal."""

    __slots__ = ("dirty", "hidden", "partial", "principal", "total")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.hidden: set[Name] = set()
        self.partial: dict[Name, tuple[str, ...]] = {}
        """Objects some of whose members are hidden: the IRIs of those."""
        self.total: set[Name] = set()
        self.dirty: dict[Name, None] = {}


class Visibility:
    """What each principal may see now."""

    def __init__(self, site: Site, views: Views, indexing: Indexing) -> None:
        self._site = site
        self._views = views
        self._indexing = indexing
        self._kept: OrderedDict[Principal, Seen] = OrderedDict()
        site.watchers.entered.append(self._entered)
        site.watchers.access.append(self._kept.clear)
        indexing.changed.append(self._changed)

    async def prepare(self, principal: Principal) -> None:
        """Decide about every name, while others run; ``of`` is quick then."""
        while not self.is_ready(principal):
            if principal not in self._kept:
                seen = self._kept[principal] = Seen(principal)
                seen.dirty = dict.fromkeys(self._names())
            await self._settle(self._kept[principal])

    async def _settle(self, seen: Seen) -> None:
        while len(seen.dirty) > SLICE and self._kept.get(seen.principal) is seen:
            for _ in range(SLICE):
                self._decide(seen, seen.dirty.popitem()[0])
            await asyncio.sleep(0)

    def is_ready(self, principal: Principal) -> bool:
        """Return whether ``of`` is quick now: few decisions are to be made."""
        seen = self._kept.get(principal)
        return seen is not None and len(seen.dirty) <= QUICK

    def of(self, principal: Principal) -> Seen:
        """Return what is hidden from a principal at this moment."""
        seen = self._kept.get(principal)
        if seen is None:
            seen = self._kept[principal] = Seen(principal)
            seen.dirty = dict.fromkeys(self._names())
        while seen.dirty:
            self._decide(seen, seen.dirty.popitem()[0])
        self._kept.move_to_end(principal)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return seen

    def hidden_of(self, principal: Principal, name: Name) -> tuple[str, ...]:
        """Return the members of an object that are hidden, as last decided; none if not known."""
        seen = self._kept.get(principal)
        return () if seen is None else seen.partial.get(name, ())

    def _names(self) -> Iterator[Name]:
        yield from self._views.names()
        yield from self._indexing.index.names()

    def _decide(self, seen: Seen, name: Name) -> None:
        seen.hidden.discard(name)
        seen.partial.pop(name, None)
        record = self._site.catalog.names.get(name)
        is_object = record is not None and record.kind is Kind.OBJECT
        if not is_object and name not in self._indexing.index:
            seen.total.discard(name)
            return
        seen.total.add(name)
        if not self._may(seen.principal, name):
            seen.hidden.add(name)
            return
        members = self._members(name)
        unseen = tuple(m for m in members if not self._may(seen.principal, m))
        if unseen:
            seen.partial[name] = tuple(graph_of(member).value for member in unseen)

    def _may(self, principal: Principal, name: Name) -> bool:
        """Decide by the owner in the catalog: the View may follow in a moment only."""
        owner = self._site.catalog.owner_of(name)
        return self._site.plane.access.check(principal, Action.DESCRIBE, name, owner).allowed

    def _members(self, name: Name) -> Iterable[Name]:
        record = self._site.catalog.names.get(name)
        if record is not None and record.kind is Kind.OBJECT:
            return [member for member, _ in object_of(record).members()]
        # An object of another site is in no catalog here: the index knows its members.
        store = self._indexing.index.store
        return [
            Name(quad.object.value.removeprefix("urn:hilum:"))
            for predicate in _AFFORDANCES
            for quad in store.quads(predicate=predicate, graph=graph_of(name))
            if isinstance(quad.object, Iri)
        ]

    def _entered(self, entered: Sequence[Entered]) -> None:
        if not self._kept:
            return
        names = dict.fromkeys(name for each in entered for name in each.touched.names)
        things = self._site.catalog.things
        for _, touched, _ in entered:
            names.update(dict.fromkeys(things[i].name for i in touched.things if i in things))
        for seen in self._kept.values():
            seen.dirty.update(names)

    def _changed(self, delta: IndexDelta) -> None:
        if delta.whole:
            self._kept.clear()
        if not self._kept:
            return
        names = dict.fromkeys(
            Name(graph.value.removeprefix("urn:hilum:"))
            for graph in (*delta.cleared, *(quad.graph_name for quad in delta.quads))
            if isinstance(graph, Iri) and graph.value.startswith("urn:hilum:")
            if "#" not in graph.value
        )
        for seen in self._kept.values():
            seen.dirty.update(names)
