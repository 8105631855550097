"""Packets that are not all there yet: what all connections together may hold of them."""

from typing import Protocol

from adapters.mqtt.packets import Reason


class Sender(Protocol):
    """A connection."""

    def fail(self, reason: int, why: str) -> None:
        """End it."""
        ...


class Unfinished:
    """Who holds how many bytes. Beyond ``limit`` the connection that began first has to end.

    One that sends its packet soon is never the first for long, however many others do not.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[Sender, int] = {}
        self.held = 0

    def note(self, sender: Sender, size: int, *, fresh: bool = False) -> bool:
        """Note how much somebody holds, of another packet than before if it is ``fresh``.

        Returns whether it still has to be told when that changes.
        """
        sizes = self._sizes
        self.held += size - (sizes.pop(sender, 0) if fresh or not size else sizes.get(sender, 0))
        if size:
            sizes[sender] = size
        while self.held > self._limit and sizes:
            oldest = next(iter(sizes))
            self.held -= sizes.pop(oldest)
            oldest.fail(Reason.QUOTA_EXCEEDED, "too many packets of all clients are not all there")
        return sender in sizes
