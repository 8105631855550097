"""Typed discovery: which objects have all of some terms, in the order of their names. Pure.

For each term there is the set of the objects that have it, what follows by the ontologies
included. A question is a join of such sets: the smallest is gone through, the others are asked.
The facts come from the index of RDF (``registry.discovery.reading``).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from registry.names import Name

Key: TypeAlias = tuple[str, str]
"""What sort of term it is, and the term."""
TYPE: Final = "type"
PLACE: Final = "place"
CAPABILITY: Final = "capability"
PROTOCOL: Final = "protocol"
ALL: Final[Key] = ("", "")
"""Every object has it."""
NONE: Final[frozenset[str]] = frozenset()


class Member(Struct, frozen=True, gc=False):
    """A method or channel as discovery sees it.

    ``types`` are stated, ``classes`` hold what contains these too; ``capabilities`` are the
    classes, and its category with what contains that. ``latency`` is declared, in milliseconds,
    0 for none.
    """

    name: Name
    is_method: bool
    types: frozenset[str] = NONE
    classes: frozenset[str] = NONE
    capabilities: frozenset[str] = NONE
    protocols: frozenset[str] = NONE
    latency: float = 0


class Object(Struct, frozen=True, gc=False):
    """An object as discovery sees it; ``within`` are its place and all that contain it."""

    name: Name
    id: str = ""
    title: str = ""
    types: frozenset[str] = NONE
    classes: frozenset[str] = NONE
    place: str = ""
    within: frozenset[str] = NONE
    members: tuple[Member, ...] = ()


class Question(NamedTuple):
    """What is looked for; empty terms ask nothing."""

    type: str = ""
    place: str = ""
    capability: str = ""
    protocol: str = ""

    def keys(self) -> list[Key]:
        """Return the terms that an object, or one of its members, must have."""
        asked = (
            (TYPE, self.type),
            (PLACE, self.place),
            (CAPABILITY, self.capability),
            (PROTOCOL, self.protocol),
        )
        return [key for key in asked if key[1]]

    def needs_member(self, obj: Object) -> bool:
        """Return whether an object is found only by a member of its own."""
        return bool(
            self.capability or self.protocol or (self.type and self.type not in obj.classes)
        )

    def members(self, obj: Object) -> list[Member]:
        """Return the members that meet all; a type that the object has counts for each."""
        return [each for each in obj.members if self._fits(each, obj)]

    def _fits(self, member: Member, obj: Object) -> bool:
        return (
            (not self.type or self.type in member.classes or self.type in obj.classes)
            and (not self.capability or self.capability in member.capabilities)
            and (not self.protocol or self.protocol in member.protocols)
        )


class Window(NamedTuple):
    """A part of what was looked at: what was found, and the name to go on after, "" at the end."""

    found: list[str]
    after: str


class Postings:
    """The objects by their terms. What is asked while they change is never held by reference."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self._lists: dict[Key, _Posting] = {}

    def put(self, obj: Object) -> None:
        """Add an object, or replace the one of its name."""
        old = self.objects.get(obj.name)
        before = _keys(old) if old is not None else set()
        now = _keys(obj)
        self.objects[obj.name] = obj
        self._drop(obj.name, before - now)
        for key in now - before:
            posting = self._lists.get(key)
            if posting is None:
                posting = self._lists[key] = _Posting()
            posting.add(obj.name)

    def remove(self, name: str) -> None:
        """Take an object out, if it is there."""
        old = self.objects.pop(name, None)
        if old is not None:
            self._drop(name, _keys(old))

    def has(self, key: Key) -> bool:
        """Return whether any object has a term."""
        return key in self._lists

    def having(self, key: Key) -> int:
        """Return how many objects have a term."""
        posting = self._lists.get(key)
        return 0 if posting is None else len(posting.names)

    def settle(self) -> Iterator[None]:
        """Put every set in order, so that no first question pays for it; each step is short."""
        for posting in list(self._lists.values()):
            posting.settle()
            yield

    def look(self, keys: Iterable[Key], without: Iterable[Key], after: str, most: int) -> Window:
        """Look at so many objects after a name: return those with all keys, and none of others."""
        lists = [self._lists.get(key) for key in (ALL, *keys)]
        there = [posting for posting in lists if posting is not None]
        if len(there) < len(lists):
            return Window([], "")
        there.sort(key=lambda posting: len(posting.names))
        window, rest = there[0].part(after, most)
        last = window[-1] if rest else ""
        for posting in there[1:]:
            if len(posting.names) < len(self.objects):
                window = [name for name in window if name in posting.names]
        for key in without:
            other = self._lists.get(key)
            if other is not None:
                window = [name for name in window if name not in other.names]
        return Window(window, last)

    def _drop(self, name: str, keys: Iterable[Key]) -> None:
        for key in keys:
            posting = self._lists[key]
            posting.discard(name)
            if not posting.names:
                del self._lists[key]


class _Posting:
    """A set of names that is put in order when it is looked at: adding costs little."""

    __slots__ = ("_fresh", "_gone", "_order", "names")

    def __init__(self) -> None:
        self.names: set[str] = set()
        # Order and fresh together are names and gone together, each once.
        self._order: list[str] = []
        self._fresh: list[str] = []
        self._gone: set[str] = set()

    def add(self, name: str) -> None:
        """Add a name that is not there."""
        self.names.add(name)
        if name in self._gone:
            self._gone.discard(name)
        else:
            self._fresh.append(name)

    def discard(self, name: str) -> None:
        """Take out a name that is there."""
        self.names.discard(name)
        self._gone.add(name)

    def settle(self) -> None:
        """Put the names in order."""
        if self._fresh:
            self._order += self._fresh
            self._fresh = []
            self._order.sort()  # two runs are merged: nearly as cheap as copying them
        if self._gone:
            self._order = [name for name in self._order if name not in self._gone]
            self._gone = set()

    def part(self, after: str, most: int) -> tuple[list[str], bool]:
        """Return the next names in their order, and whether there are more."""
        self.settle()
        order = self._order
        begin = bisect_right(order, after)
        return order[begin : begin + most], begin + most < len(order)


def _keys(obj: Object) -> set[Key]:
    keys = {ALL}
    keys.update((PLACE, term) for term in obj.within)
    keys.update((TYPE, term) for term in obj.classes)
    for classes, capabilities, protocols in {
        (each.classes, each.capabilities, each.protocols) for each in obj.members
    }:
        keys.update((TYPE, term) for term in classes)
        keys.update((CAPABILITY, term) for term in capabilities)
        keys.update((PROTOCOL, term) for term in protocols)
    return keys
