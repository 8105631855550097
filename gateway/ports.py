"""What the gateway asks of the outside world: every effect goes through a Protocol of this file."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreError(Exception):
    """The store cannot do what was asked (disk full, read-only, closed); nothing was written."""


class StoreConflict(StoreError):
    """An append expected another head: somebody else appended first.

    ``head`` is the sequence number of the last entry that is really in the log.
    """

    def __init__(self, expected: int, head: int) -> None:
        super().__init__(f"append expected the log at {expected}, but it is at {head}")
        self.expected = expected
        self.head = head


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed entry of the change log: ``body`` is opaque to the store."""

    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state after entry ``seq``, as opaque records."""

    seq: int
    records: Sequence[bytes]


class Store(Protocol):
    """The change log (design 5): append-only, one total order, durable before it answers."""

    async def append(self, expected: int, bodies: Sequence[bytes]) -> int:
        """Append ``bodies`` in one transaction right after entry ``expected``; return the new head.

        Returns only after the entries are synced to disk. Raises StoreConflict when the head is
        not ``expected`` (appends still in flight count), StoreError when nothing was written.
        """
        ...

    def follow(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        """Yield every committed entry after ``after``, in order, in batches, for ever."""
        ...

    async def snapshot(self) -> Snapshot | None:
        """Return the newest snapshot that passes its checksum."""
        ...

    async def save_snapshot(self, seq: int, records: Iterable[bytes]) -> None:
        """Store a snapshot of the state after ``seq``; ``records`` is consumed off the loop."""
        ...

    async def head(self) -> int:
        """Return the sequence number of the last committed entry, 0 for an empty log."""
        ...

    async def close(self) -> None:
        """Finish what is in flight, then release the file."""
        ...


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a durable channel; ``time`` is Unix time in milliseconds."""

    seq: int
    time: int
    content_type: str
    source: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of a channel is retained: a limit of 0 means no limit of that kind."""

    count: int = 0
    bytes: int = 0
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class ChannelTail:
    """What a durable channel's log holds: its incarnation and the sequence numbers kept."""

    incarnation: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event whose delivery to a bound method was given up: kept until deleted or re-driven."""

    id: int
    binding: str
    channel: str
    event_id: str
    time: int
    attempts: int
    error: str
    content_type: str
    payload: bytes


class EventLog(Protocol):
    """Durable channels: append logs with retention, delivery cursors and dead letters."""

    async def open(self, channel: str) -> ChannelTail:
        """Open a channel's log, creating it (with a random incarnation) when it is new."""
        ...

    async def append(self, channel: str, event: StoredEvent, keep: Keep) -> int:
        """Append one event (its ``seq`` is ignored) and return the sequence number it got.

        Returns only after it is synced to disk; concurrent appends share one commit.
        """
        ...

    async def read(self, channel: str, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return at most ``limit`` retained events after sequence number ``after``."""
        ...

    async def drop(self, channel: str) -> None:
        """Delete a channel's log; a later ``open`` begins a new incarnation."""
        ...

    async def cursor(self, binding: str) -> int | None:
        """Return the sequence number up to which a bound method has been served."""
        ...

    async def save_cursor(self, binding: str, seq: int) -> None:
        """Record that a bound method has been served up to ``seq``."""
        ...

    async def bury(self, letter: DeadLetter) -> int:
        """Keep a dead letter (its ``id`` is ignored) and return the id it got."""
        ...

    async def letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return dead letters with ids above ``after``."""
        ...

    async def letter(self, letter_id: int) -> DeadLetter | None:
        """Return one dead letter."""
        ...

    async def delete_letter(self, letter_id: int) -> bool:
        """Delete a dead letter; False when there is none."""
        ...

    async def close(self) -> None:
        """Finish what is in flight, then release the file."""
        ...
