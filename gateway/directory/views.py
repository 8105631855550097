"""Every object as a Thing Description with the gateway's own forms (design 8).

What others get is a view: forms lead through this site, and only members that the reader may
describe are in it. One damaged record costs its own details, never a listing.
"""

import logging
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from gateway.ledger import Entered
from gateway.site import Site
from policy.model import Action, Principal
from registry.model import Kind, NameRecord, ThingRecord, VirtualObject
from registry.names import Name, member, urn
from registry.things.view import Bases, view_of

log = logging.getLogger("hilum.directory")

KEPT: Final = 32 * 1024 * 1024
"""Bytes of descriptions that are kept as JSON."""


class _Kept(NamedTuple):
    """A whole description as JSON, and what it was made of: that never changes, but is replaced."""

    record: NameRecord
    thing: ThingRecord | None
    bases: Bases
    body: bytes

    def is_of(self, record: NameRecord, thing: ThingRecord | None, bases: Bases) -> bool:
        """Whether it is still what it says."""
        return self.record is record and self.thing is thing and self.bases is bases


class Views:
    """The objects of a site by the ids of their descriptions, and what they look like."""

    def __init__(self, site: Site, bases: Bases) -> None:
        self.bases = bases
        """Where this site's listeners are reached; they are known when all of them listen."""
        self._site = site
        self._catalog = site.catalog
        self._ids: list[str] = []
        self._id_of: dict[Name, str] = {}
        self._name_of: dict[str, Name] = {}
        self._kept: OrderedDict[Name, _Kept] = OrderedDict()
        self._size = 0
        site.watchers.entered.append(self._entered)

    def load(self) -> None:
        """Look at all that is there; later changes are heard of."""
        things = self._catalog.thing_of
        self._id_of = {
            name: things.get(name) or urn(name)
            for name, record in self._catalog.names.items()
            if record.kind is Kind.OBJECT
        }
        self._name_of = {id_: name for name, id_ in self._id_of.items()}
        self._ids = sorted(self._name_of)

    def names(self) -> Iterator[Name]:
        """Return the names of all objects, in the order of their ids."""
        return (self._name_of[id_] for id_ in tuple(self._ids) if id_ in self._name_of)

    def ids(self, principal: Principal | None = None, after: str = "") -> Iterator[str]:
        """Return ids in code point order, those that a principal may describe."""
        start = bisect_left(self._ids, after + "\0") if after else 0
        for id_ in self._ids[start:]:
            name = self._name_of.get(id_)
            if name is not None and self.may(principal, name):
                yield id_

    def may(self, principal: Principal | None, name: Name) -> bool:
        """Return whether a principal may describe a name; None stands for nobody's limits."""
        return principal is None or self._site.allowed(principal, Action.DESCRIBE, name)

    def id_of(self, name: Name) -> str | None:
        """Return the id of an object's description."""
        return self._id_of.get(name)

    def name_of(self, id_: str) -> Name | None:
        """Return the name of the object that an id stands for."""
        return self._name_of.get(id_)

    def record(self, name: Name) -> ThingRecord | None:
        """Return the description that was submitted for an object, None if a manifest was."""
        id_ = self._catalog.thing_of.get(name)
        return None if id_ is None else self._catalog.things.get(id_)

    def of(self, name: Name, principal: Principal | None = None) -> dict[str, Any] | None:
        """Return the description of an object as a principal may see it; None: there is none."""
        found = self._found(name, principal)
        return None if found is None else self.shown(object_of(found[0]), found[1], principal)

    def encoded(self, name: Name, principal: Principal | None = None) -> bytes | None:
        """Return the same as JSON: made once for all who may see the whole of it."""
        found = self._found(name, principal)
        if found is None:
            return None
        record, thing = found
        obj = object_of(record)
        if principal is not None and self._visible(obj, principal) is not obj:
            return msgspec.json.encode(self.shown(obj, thing, principal))
        kept = self._kept.get(name)
        if kept is None or not kept.is_of(record, thing, self.bases):
            body = msgspec.json.encode(self.shown(obj, thing, None))
            kept = _Kept(record, thing, self.bases, body)
            self._keep(name, kept)
        self._kept.move_to_end(name)
        return kept.body

    def _keep(self, name: Name, kept: _Kept) -> None:
        old = self._kept.get(name)
        self._kept[name] = kept
        self._size += len(kept.body) - (0 if old is None else len(old.body))
        while self._size > KEPT and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1].body)

    def _found(
        self, name: Name, principal: Principal | None
    ) -> tuple[NameRecord, ThingRecord | None] | None:
        """Return what is registered of an object, None where it is not to be seen."""
        record = self._catalog.names.get(name)
        if record is None or record.kind is not Kind.OBJECT or not self.may(principal, name):
            return None
        thing = self.record(name)
        if thing is not None and 0 < thing.expires <= self._site.time() * 1000:
            return None
        return record, thing

    def shown(
        self, obj: VirtualObject, record: ThingRecord | None, principal: Principal | None
    ) -> dict[str, Any]:
        """Return the description of an object, of now or of before, as a principal may see it."""
        name = Name(obj.name)
        if principal is not None:
            obj = self._visible(obj, principal)
        try:
            view = view_of(name, obj, record, self.bases)
            if record is not None and record.expires:
                view["registration"].update(_time_to_live(record))
        except Exception:  # whatever is wrong with a record, others are shown
            log.exception("the description of %s is damaged: it is shown without its text", name)
            view = view_of(name, obj, None, self.bases)
            if record is not None:
                view["id"] = record.id
        return view

    def _visible(self, obj: VirtualObject, principal: Principal) -> VirtualObject:
        seen = {member(name) for name, _ in obj.members() if self.may(principal, name)}
        if len(seen) == len(obj.methods) + len(obj.channels):
            return obj
        return replace(
            obj,
            methods={name: each for name, each in obj.methods.items() if name in seen},
            channels={name: each for name, each in obj.channels.items() if name in seen},
        )

    def _entered(self, entered: Sequence[Entered]) -> None:
        for _, touched, _ in entered:
            for id_ in touched.things:
                thing = self._catalog.things.get(id_)
                self._look(self._name_of.get(id_) if thing is None else thing.name)
            for name in touched.names:
                self._look(name)

    def _look(self, name: Name | None) -> None:
        if name is None:
            return
        record = self._catalog.names.get(name)
        old, new = self._id_of.get(name), None
        if record is not None and record.kind is Kind.OBJECT:
            new = self._catalog.thing_of.get(name) or urn(name)
        if old == new:
            return
        if old is not None:
            del self._id_of[name]
            if self._name_of.get(old) == name:
                del self._name_of[old]
                del self._ids[bisect_left(self._ids, old)]
        if new is not None:
            self._id_of[name] = new
            if new not in self._name_of:
                insort(self._ids, new)
            self._name_of[new] = name


class _Information(msgspec.Struct):
    ttl: float | None = None


class _Submitted(msgspec.Struct):
    registration: _Information


def _time_to_live(record: ThingRecord) -> dict[str, float]:
    """Return what was submitted of how long a description stays (WoT Discovery 7.3.1)."""
    ttl = msgspec.json.decode(record.text, type=_Submitted).registration.ttl
    return {} if ttl is None else {"ttl": ttl}


def object_of(record: NameRecord) -> VirtualObject:
    """Return what all registrations offer under an object's name, the first one's word first."""
    objects = [o.definition for o in record.offers if isinstance(o.definition, VirtualObject)]
    first = objects[0]
    for other in objects[1:]:
        first = replace(
            first,
            methods={**other.methods, **first.methods},
            channels={**other.channels, **first.channels},
            description=first.description or other.description,
            types=first.types or other.types,
            place=first.place or other.place,
        )
    return first
