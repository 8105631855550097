"""An index from patterns to values: finding what matches a name costs its depth, not the rules."""

from typing import Generic, TypeVar

from registry.names import Name, Pattern

T = TypeVar("T")


class PatternIndex(Generic[T]):
    """Values under patterns; ``matching`` yields them, the more specific pattern first."""

    __slots__ = ("_by_prefix",)

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[tuple[Pattern, T]]] = {}

    def put(self, pattern: Pattern, value: T) -> None:
        """Add a value under a pattern."""
        self._by_prefix.setdefault(pattern.prefix, []).append((pattern, value))

    def remove(self, pattern: Pattern, value: T) -> None:
        """Remove a value; it must be there."""
        entries = self._by_prefix[pattern.prefix]
        entries.remove((pattern, value))
        if not entries:
            del self._by_prefix[pattern.prefix]

    def matching(self, name: Name) -> list[T]:
        """Return the values whose pattern matches ``name``, the longest literal prefix first."""
        found: list[T] = []
        prefix: str = name
        while True:
            for pattern, value in self._by_prefix.get(prefix, ()):
                if pattern.matches(name):
                    found.append(value)
            if not prefix:
                return found
            prefix = prefix.rpartition("/")[0]
