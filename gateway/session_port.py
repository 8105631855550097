"""What sessions that outlive their connection ask of the disk (MQTT 5.0 section 4.1).

Writes are handed over at once and take effect in their order: what one callback of the loop hands
over is one transaction. Whoever must not promise too much waits for ``synced``.

The disk always holds what the sessions were at some earlier moment: what could not be written
stays handed over, before all that follows, and is tried again (at the next write, at the latest a
second later). So there is nothing to repair after a failure, only nothing to be promised; a
message whose publisher was told of it may still be stored, and be queued twice when it is sent
again. When far too much waits for a disk that fails, sessions are given up: as if dropped, until
they are put again.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.message import Mark


class StoredMessage(NamedTuple):
    """A message that waits for a session's client, or is in flight to it.

    ``released``: the client has it, and PUBREL is due (then ``body`` is empty).
    """

    packet_id: int
    qos: int
    body: bytes
    released: bool


class StoredSession(NamedTuple):
    """A session as it was left: its record, what waits for it in order, and its open QoS 2 marks.

    ``positions`` are the ids of the newest events of durable channels that were queued for it.
    """

    key: str
    record: bytes
    messages: Sequence[StoredMessage]
    marks: Sequence[int]
    positions: Sequence[tuple[str, str]]


class SessionStore(Protocol):
    """Durable sessions. ``key`` is any text that names a session; records and bodies are opaque.

    A write never raises: what went wrong is ``synced``'s to tell. Writes for a session that was
    never put, or was dropped since, do nothing.
    """

    @property
    def writes(self) -> int:
        """How many writes were handed over so far: it tells whether something waits for them."""
        ...

    async def load(self) -> Sequence[StoredSession]:
        """Return every stored session; what is damaged is left out and reported.

        It is for the start, before the first write. Raises StoreError.
        """
        ...

    def put(self, key: str, record: bytes) -> None:
        """Store a session's record: its subscriptions, its will, when it expires."""
        ...

    def drop(self, key: str) -> None:
        """Delete a session and everything of it."""
        ...

    def keep(self, body: bytes) -> int:
        """Store a message's body once; return the number by which sessions queue it.

        Only ``enqueue`` calls of the same callback of the loop may use the number. The object that
        was kept last has its number still.
        """
        ...

    def enqueue(self, key: str, packet_id: int, qos: int, body: int) -> None:
        """Queue a message for a session, behind what waits there; its packet id is free there.

        A message that has the packet id all the same is replaced.
        """
        ...

    def position(self, key: str, channel: str, event_id: str) -> None:
        """Note that a durable channel's events are queued for a session up to this one."""
        ...

    def forget_position(self, key: str, channel: str) -> None:
        """A session follows a channel no longer."""
        ...

    def release(self, key: str, packet_id: int) -> None:
        """The client has received a QoS 2 message: only PUBREL is due, after those before it."""
        ...

    def acknowledge(self, key: str, packet_id: int) -> None:
        """A message is done with (or was dropped): its packet id is free again."""
        ...

    def mark(self, mark: Mark) -> None:
        """Note that a QoS 2 message was received, so that it is not taken twice."""
        ...

    def unmark(self, mark: Mark) -> None:
        """The client has released its message: its packet id may be used again."""
        ...

    def synced(self) -> asyncio.Future[None]:
        """Return a future that is done when everything handed over so far is on disk.

        It fails with StoreError when some of that could not be written yet, with StoreBusy when
        too much waits for the disk. Many callers share it: never cancel it (a task awaits it
        through ``asyncio.shield``).
        """
        ...
