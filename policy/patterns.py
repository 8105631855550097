"""An index from patterns to values: finding what matches a name costs its depth, not the rules."""

from bisect import insort
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from registry.names import Name, Pattern

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
    """A value under a pattern, sorted by ``rank``, ``text`` and ``key``."""

    rank: tuple[int, int]
    text: str
    key: str
    pattern: Pattern
    value: T


class PatternIndex(Generic[T]):
    """Values under patterns; ``matching`` yields them, the more specific pattern first.

    Which one that is does not depend on the order of ``put``: every replica of a site and every
    replay finds the same.
    """

    __slots__ = ("_by_prefix",)

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[_Entry[T]]] = {}

    def put(self, pattern: Pattern, key: str, value: T) -> None:
        """Add a value under a pattern; ``key`` is its own among all under that pattern."""
        entries = self._by_prefix.setdefault(pattern.prefix, [])
        entry = _Entry(_rank(pattern), pattern.text, key, pattern, value)
        insort(entries, entry, key=_order)

    def remove(self, pattern: Pattern, key: str) -> None:
        """Remove the value of a key under a pattern; it must be there."""
        entries = self._by_prefix[pattern.prefix]
        entries[:] = [e for e in entries if (e.text, e.key) != (pattern.text, key)]
        if not entries:
            del self._by_prefix[pattern.prefix]

    def __iter__(self) -> Iterator[T]:
        """Yield every value, as often as it has patterns."""
        for entries in self._by_prefix.values():
            for entry in entries:
                yield entry.value

    def matching(self, name: Name) -> Iterator[T]:
        """Yield the values whose pattern matches ``name``.

        The longest literal beginning comes first, then more literal segments, then more segments.
        """
        prefix: str = name
        while prefix:
            for entry in self._by_prefix.get(prefix, ()):
                if entry.pattern.matches(name):
                    yield entry.value
            prefix = prefix.rpartition("/")[0]


def _order(entry: _Entry[T]) -> tuple[tuple[int, int], str, str]:
    return entry[:3]


def _rank(pattern: Pattern) -> tuple[int, int]:
    parts = pattern.text.split("/")
    literal = sum(part not in ("*", "**") for part in parts)
    return -literal, -len(parts) if parts[-1] != "**" else 1 - len(parts)
