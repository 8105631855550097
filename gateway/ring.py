"""What a channel in memory keeps: its newest events, bounded by number, bytes and age."""

from gateway.message import Event
from registry.model import Retain

RING_BYTES = 64 * 1024 * 1024
"""Payload bytes that a channel may hold in memory, whatever its manifest says."""
RING_COUNT = 100_000


class Account:
    """How many payload bytes some rings hold together."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Ring:
    """Events by sequence number, which begins at 1 and has no gaps. The newest always stays."""

    __slots__ = ("_account", "_age", "_bytes", "_count", "_events", "_first", "_last", "_size")

    def __init__(self, retain: Retain, account: Account | None = None) -> None:
        self._account = account
        self._events: list[Event | None] = []
        self._first = 1
        self._last = 0
        self._bytes = 0
        self._count, self._size, self._age = _limits(retain)

    def resize(self, retain: Retain, now: int) -> None:
        """Keep as much as ``retain`` says from now on; ``now`` is Unix time in milliseconds."""
        limits = _limits(retain)
        if limits == (self._count, self._size, self._age):
            return
        kept = self.read(0, self._count, now)
        self._count, self._size, self._age = limits
        kept = kept[-self._count :]
        self._first = self._last - len(kept) + 1
        held = sum(len(event.payload) for event in kept)
        if self._account is not None:
            self._account.bytes += held - self._bytes
        self._bytes = held
        # Slot (sequence - 1) % count; a ring that is not full yet grows at its end.
        self._events = [None] * min(self._last, self._count)
        for event in kept:
            self._events[(event.id.sequence - 1) % self._count] = event
        self._trim(now)

    def add(self, event: Event, now: int) -> None:
        """Keep the next event."""
        events = self._events
        at = self._last % self._count
        self._last += 1
        more = len(event.payload)
        if at == len(events):
            events.append(event)
        else:
            old = events[at]
            if old is not None:
                more -= len(old.payload)
                self._first = self._last - self._count + 1
            events[at] = event
        self._bytes += more
        if self._account is not None:
            self._account.bytes += more
        if self._age or self._bytes > self._size:
            self._trim(now)

    def read(self, after: int, limit: int, now: int) -> list[Event]:
        """Return at most ``limit`` events after a sequence number, the oldest first."""
        self._trim(now)
        first = max(after + 1, self._first)
        last = min(self._last, first + limit - 1)
        found = (self._events[(at - 1) % self._count] for at in range(first, last + 1))
        return [event for event in found if event is not None]

    def forget(self) -> None:
        """Hold nothing any more."""
        if self._account is not None:
            self._account.bytes -= self._bytes
        self._events, self._first, self._bytes = [None] * len(self._events), self._last + 1, 0

    def _trim(self, now: int) -> None:
        events, count = self._events, self._count
        oldest = now - self._age if self._age else 0
        while self._first < self._last:
            at = (self._first - 1) % count
            event = events[at]
            assert event is not None  # as all from the first to the last are
            if self._bytes <= self._size and event.time >= oldest:
                return
            self._bytes -= len(event.payload)
            if self._account is not None:
                self._account.bytes -= len(event.payload)
            events[at] = None
            self._first += 1


def _limits(retain: Retain) -> tuple[int, int, int]:
    """Return how many events, bytes and milliseconds are kept in memory (0 ms: no such limit)."""
    count = min(retain.count or RING_COUNT, RING_COUNT)
    return count, min(retain.bytes or RING_BYTES, RING_BYTES), retain.age * 1000
