"""Messages that are not all there yet: what all connections of a listener may hold of them."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

LEAST = 8192
"""Bytes from which on it is worth noting."""

Sender = TypeVar("Sender", bound=Hashable)


class Unfinished(Generic[Sender]):
    """Who holds how many bytes. Beyond ``limit`` the one that began first has to ``end``.

    One that sends its message soon is never the first for long, however many others do not.
    """

    def __init__(self, limit: int, end: Callable[[Sender], None]) -> None:
        self._limit = limit
        self._end = end
        self._sizes: dict[Sender, int] = {}
        self.held = 0

    def note(self, sender: Sender, size: int, *, fresh: bool = False) -> bool:
        """Note how much somebody holds, of another message than before if it is ``fresh``.

        Returns whether it still has to be told when that changes.
        """
        sizes = self._sizes
        self.held += size - (sizes.pop(sender, 0) if fresh or not size else sizes.get(sender, 0))
        if size:
            sizes[sender] = size
        while self.held > self._limit and sizes:
            oldest = next(iter(sizes))
            self.held -= sizes.pop(oldest)
            self._end(oldest)
        return sender in sizes
