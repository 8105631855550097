"""The newest entries in memory, so that a follower that keeps up costs no disk read."""

from collections.abc import Sequence

from gateway.ports import Entry

BATCH_ENTRIES = 512


class Tail:
    """Committed entries at the end of the log, at most about twice a number or a size of them."""

    __slots__ = ("_bytes", "_entries", "_limit_bytes", "_limit_entries", "head")

    def __init__(self, head: int, entries: int = 2_048, limit_bytes: int = 1 << 20) -> None:
        self.head = head
        self._entries: list[Entry] = []
        self._bytes = 0
        self._limit_entries = entries
        self._limit_bytes = limit_bytes

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow on ``head``; old ones go."""
        self._entries += entries
        self._bytes += sum(len(entry.body) for entry in entries)
        self.head = self._entries[-1].seq
        # Twice the limit, then down to it: an entry is moved once on average, not at each append.
        if len(self._entries) > 2 * self._limit_entries or self._bytes > 2 * self._limit_bytes:
            self._cut()

    def after(self, seq: int) -> Sequence[Entry] | None:
        """Return entries after ``seq``, at most a batch; None when they are only on disk."""
        start = len(self._entries) - (self.head - seq)
        return self._entries[start : start + BATCH_ENTRIES] if start >= 0 else None

    def _cut(self) -> None:
        keep, size = 0, 0
        for entry in reversed(self._entries):
            size += len(entry.body)
            if size > self._limit_bytes or keep == self._limit_entries:
                size -= len(entry.body)
                break
            keep += 1
        self._entries = self._entries[len(self._entries) - keep :]
        self._bytes = size
