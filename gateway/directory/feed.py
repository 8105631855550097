"""What changed in the directory, in the order of the change log (W3C WoT Discovery 7.3.2.2).

A change has the sequence number of its entry in the log, and its place among the changes of that
entry. The newest are kept in memory with what was before and after. A restart reads the entries
behind the snapshot again, so they are known again; what is older is a gap, and said.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from gateway.directory.views import object_of
from gateway.site import Site
from registry.changes import (
    Batch,
    Change,
    Deregistered,
    ObjectCreated,
    ObjectDestroyed,
    Registered,
    ThingDescribed,
    ThingForgotten,
)
from registry.model import Kind, RegistrationId, ThingRecord, VirtualObject
from registry.names import Name, urn

KEPT = 10_000
"""Changes that are kept in memory."""
KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of what they describe, about: fewer of large descriptions are kept."""
AT_ONCE = 256
"""Changes of one answer from memory."""
CREATED, UPDATED, DELETED = "thing_created", "thing_updated", "thing_deleted"
TYPES = (CREATED, UPDATED, DELETED)


class Position(NamedTuple):
    """Where a change stands: ``sequence`` of its entry, ``place`` in it; it orders changes."""

    sequence: int
    place: int = 0

    def __str__(self) -> str:
        return f"{self.sequence}.{self.place}" if self.place else str(self.sequence)


def position_of(text: str) -> Position:
    """Read what ``str`` of a position wrote; raises ValueError."""
    sequence, dot, place = text.partition(".")
    numbers = (sequence, place) if dot else (sequence, "0")
    if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
        raise ValueError(f"{text[:40]!r} is no position in the feed: a number, or two with a dot")
    return Position(int(numbers[0]), int(numbers[1]))


class State(NamedTuple):
    """An object as it was: what was offered under its name, and its description if submitted."""

    obj: VirtualObject
    record: ThingRecord | None
    owner: str


class ThingChange(NamedTuple):
    """One change of a description; ``time`` is Unix milliseconds."""

    at: Position
    type: str
    id: str
    name: Name
    time: int
    before: State | None = None
    after: State | None = None


class Feed:
    """The changes of one site; whoever follows keeps his own position."""

    def __init__(self, site: Site, kept: int = KEPT, kept_bytes: int = KEPT_BYTES) -> None:
        self._site = site
        self._most = kept
        self._most_bytes = kept_bytes
        self._bytes = 0
        self._kept: deque[ThingChange] = deque()
        self._states: dict[Name, _Known] = {}
        self._offered: dict[RegistrationId, tuple[Name, ...]] = {}
        self._described: dict[str, Name] = {}
        self._loaded = False
        self._moved = asyncio.Event()
        self._before: Callable[[int, Batch], None] | None = site.ledger.heard
        site.ledger.heard = self._hear
        self.begin = Position(0)
        """Changes after this position are known."""
        self.head = Position(0)
        """The newest change."""

    def load(self) -> None:
        """Begin with what is there, unless the log has said it; once the log is replayed."""
        if not self._loaded:
            self._load(self._site.ledger.seq)

    def after(self, at: Position) -> list[ThingChange]:
        """Return changes after a position, the oldest first, some of them at once.

        None if there are none yet; what a position before ``begin`` has missed is not among them.
        """
        start = bisect_right(self._kept, at, key=_position)
        kept = self._kept
        return [kept[i] for i in range(start, min(len(kept), start + AT_ONCE))]

    async def wait(self, at: Position) -> None:
        """Wait until there is a change after a position."""
        while self.head <= at:
            await self._moved.wait()

    # What is heard of the log

    def _load(self, sequence: int) -> None:
        """Look at all that is there after an entry: what it changed itself is not known."""
        self._loaded = True
        if sequence > 1:
            catalog = self._site.catalog
            for id_, registration in catalog.registrations.items():
                self._offered[id_] = tuple(Name(o.name) for o in registration.everything())
            for name in catalog.names:
                self._look(name)
            self.begin = self.head = Position(sequence, _LAST)

    def _hear(self, sequence: int, batch: Batch) -> None:
        if self._before is not None:
            self._before(sequence, batch)
        if not self._loaded:
            self._load(sequence)
        place = 0
        touched = dict.fromkeys(name for change in batch.changes for name in self._touched(change))
        for name in touched:
            for type_, id_, before, after in _differences(*self._look(name)):
                self._add(
                    ThingChange(
                        Position(sequence, place), type_, id_, name, batch.at, before, after
                    )
                )
                place += 1
        if place:
            self._moved.set()
            self._moved.clear()

    def _add(self, change: ThingChange) -> None:
        self._kept.append(change)
        self._bytes += _size(change)
        self.head = change.at
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            oldest = self._kept.popleft()
            self._bytes -= _size(oldest)
            self.begin = oldest.at

    def _touched(self, change: Change) -> tuple[Name, ...]:
        """Return the objects that a Change may have changed."""
        match change:
            case Registered(registration):
                return self._reoffered(registration.id)
            case Deregistered(id_):
                return self._reoffered(id_)
            case ObjectCreated(id_, created):
                return (*self._reoffered(id_), Name(created.name))
            case ObjectDestroyed(name):
                return (name,)
            case ThingDescribed(thing):
                return (thing.name,)
            case ThingForgotten(id_):
                return tuple(n for n in (self._described.pop(id_, None),) if n is not None)
        return ()

    def _reoffered(self, id_: RegistrationId) -> tuple[Name, ...]:
        """Return what a registration offered and offers now."""
        before = self._offered.pop(id_, ())
        registration = self._site.catalog.registrations.get(id_)
        if registration is None:
            return before
        now = self._offered[id_] = tuple(Name(o.name) for o in registration.everything())
        return tuple(dict.fromkeys((*before, *now)))

    def _look(self, name: Name) -> tuple["_Known | None", "_Known | None"]:
        """Return what an object was when it was last looked at, and what it is now."""
        catalog = self._site.catalog
        old = self._states.pop(name, None)
        record = catalog.names.get(name)
        if record is None or record.kind is not Kind.OBJECT:
            return old, None
        id_ = catalog.thing_of.get(name)
        thing = None if id_ is None else catalog.things.get(id_)
        state = State(object_of(record), thing, record.owner)
        self._states[name] = new = _Known(id_ or urn(name), state)
        if id_ is not None:
            self._described[id_] = name
        return old, new


class _Known(NamedTuple):
    """An object and the id that it is described by."""

    id: str
    state: State


_LAST = 1_000_000
"""The place after all changes of an entry."""


def _size(change: ThingChange) -> int:
    """Return about how many bytes a change keeps; what was before is the change before it."""
    state = change.after or change.before
    if state is None:
        return 0
    if state.record is not None:
        return 2 * len(state.record.text)
    return len(msgspec.json.encode(state.obj))


def _position(change: ThingChange) -> Position:
    return change.at


def _differences(
    old: _Known | None, new: _Known | None
) -> Iterator[tuple[str, str, State | None, State | None]]:
    if old is not None and new is not None and old.id == new.id:
        if old.state != new.state:
            yield UPDATED, new.id, old.state, new.state
        return
    if old is not None:
        yield DELETED, old.id, old.state, None
    if new is not None:
        yield CREATED, new.id, None, new.state
