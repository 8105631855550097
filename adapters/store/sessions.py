"""Durable sessions in the event log's file: the SessionStore of a single gateway."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.store.reader import Reader
from adapters.store.sessionload import load
from adapters.store.sessionrows import Changes, SessionRows, Write
from adapters.store.writer import Transaction, Writer
from gateway.message import Mark
from gateway.ports import StoreBusy, StoreError
from gateway.session_port import StoredSession

_log = logging.getLogger("hilum.store")
_RETRY_SECONDS = 1.0
_WRITE_BYTES = 256
# How many times the limits may wait for a disk that fails before sessions are given up.
_PATIENCE = 4


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much may wait for the disk before ``synced`` says that it is busy.

    The bytes are those of bodies and records, and some for each write.
    """

    writes: int = 100_000
    bytes: int = 64 << 20


class _Unit:
    """What one callback of the loop handed over: a transaction, and what the writer answers to."""

    __slots__ = ("cost", "count", "future", "number", "store")

    def __init__(self, store: "SqliteSessionStore", number: int, count: int, cost: int) -> None:
        self.store = store
        self.number = number
        self.count = count
        self.cost = cost
        self.future: asyncio.Future[None] | None = None

    def work(self, transaction: Transaction) -> None:
        self.store.rows.write(transaction, self.number)

    def done(self) -> bool:
        return False

    def set_result(self, _: Any) -> None:
        self.store.stored(self)

    def set_exception(self, error: StoreError) -> None:
        self.store.failed(self, error)


class SqliteSessionStore:
    """Durable sessions; see ``gateway.session_port.SessionStore``. Bound to one event loop."""

    def __init__(
        self,
        rows: SessionRows,
        writer: Writer,
        reader: Reader,
        report: Callable[[str], None],
        limits: SessionLimits,
    ) -> None:
        self.rows = rows
        self._writer = writer
        self._reader = reader
        self._report = report
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.writes = 0
        """How many writes were handed over so far. Every event published looks at it."""
        self._writes: list[Write] = []
        self._cost = 0
        self._due = False
        self._kept: dict[int, bytes] = {}
        self._last_body = 0
        self._future: asyncio.Future[None] | None = None
        # Handed to the writer and not on disk; among them those that failed.
        self._units: deque[_Unit] = deque()
        self._number = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._error: StoreError | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._lost: set[str] = set()
        self._closed = False

    async def load(self) -> Sequence[StoredSession]:
        """Return every stored session; damaged ones are left out, reported and removed."""
        loaded = await self._reader.read(load)
        for finding in loaded.findings:
            self._report(finding)
        for session in loaded.damaged_sessions:
            self._write((Changes.remove, "", session))
        if loaded.damaged_messages:
            self._write((Changes.remove_messages, "", loaded.damaged_messages))
        return loaded.sessions

    def put(self, key: str, record: bytes) -> None:
        """Store a session's record."""
        self._cost += len(record)
        self._write((Changes.put, key, record))

    def drop(self, key: str) -> None:
        """Delete a session and everything of it."""
        self._write((Changes.drop, key))

    def keep(self, body: bytes) -> int:
        """Store a message's body once; return its number. The same object has the same number."""
        if body is self._kept.get(self._last_body):
            return self._last_body
        self._cost += len(body)
        self._last_body = number = self._last_body + 1
        self._kept[number] = body
        if not self._due:
            self._wait_for_end()
        return number

    def enqueue(self, key: str, packet_id: int, qos: int, body: int) -> None:
        """Queue a message for a session."""
        self._write((Changes.enqueue, key, packet_id, qos, body, self._kept[body]))

    def position(self, key: str, channel: str, event_id: str) -> None:
        """Note that a durable channel's events are queued for a session up to this one."""
        self._write((Changes.position, key, channel, event_id))

    def forget_position(self, key: str, channel: str) -> None:
        """A session follows a channel no longer."""
        self._write((Changes.forget_position, key, channel))

    def release(self, key: str, packet_id: int) -> None:
        """The client has received a QoS 2 message: only PUBREL is due."""
        self._write((Changes.release, key, packet_id))

    def acknowledge(self, key: str, packet_id: int) -> None:
        """A message is done with."""
        self._write((Changes.acknowledge, key, packet_id))

    def mark(self, mark: Mark) -> None:
        """Note that a QoS 2 message was received."""
        self._write((Changes.mark, mark.session, mark.packet_id))

    def unmark(self, mark: Mark) -> None:
        """The client has released its message."""
        self._write((Changes.unmark, mark.session, mark.packet_id))

    def synced(self) -> asyncio.Future[None]:
        """Return a future that is done when everything handed over so far is on disk."""
        if self._is_over(1):
            return self._settled(
                StoreBusy(f"the event log: busy, {self._waiting} session writes wait for the disk")
            )
        if self._writes:
            if self._future is None:
                self._future = self._loop.create_future()
            return self._future
        if self._units and self._error is None:
            unit = self._units[-1]
            if unit.future is None:
                unit.future = self._loop.create_future()
            return unit.future
        return self._settled(self._error)

    def hand_over(self) -> int:
        """Give the writer's thread what it has not got yet; return the number of the last of it.

        Done at the end of each callback anyway.
        """
        if self._writes:
            self._hand_over()
        return self._number

    def _hand_over(self) -> None:
        writes, cost, future = self._writes, self._cost, self._future
        self._writes, self._cost, self._future = [], 0, None
        if self._is_over(_PATIENCE):
            self._give_up(writes, future)
            return
        if self._lost:
            writes[:0] = [(Changes.drop, key) for key in self._lost]
            self._lost.clear()
        self._send(writes, cost, future)

    def close(self) -> None:
        """Hand over the last of it: nothing is taken afterwards."""
        self.hand_over()
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()

    def stored(self, unit: _Unit) -> None:
        """``unit`` is on disk, and all before it: the writer's answer."""
        self._error = None
        units = self._units
        while units and units[0].number <= unit.number:
            done = units.popleft()
            self._waiting -= done.count
            self._waiting_bytes -= done.cost
        if unit.future is not None and not unit.future.done():
            unit.future.set_result(None)
        if self._lost and not self._is_over(1):
            lost: list[Write] = [(Changes.drop, key) for key in self._lost]
            self._lost.clear()
            self._send(lost, 0, None)

    def failed(self, unit: _Unit, error: StoreError) -> None:
        """``unit`` could not be written: it is tried again before all that comes after it."""
        _fail(unit.future, error)
        if unit is self._units[-1]:
            self._error = error
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._try_again)

    def _write(self, write: Write) -> None:
        self.writes += 1
        self._writes.append(write)
        if not self._due:
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        self._due = True
        self._loop.call_soon(self._end_callback)

    def _end_callback(self) -> None:
        self._due = False
        self._kept.clear()
        self.hand_over()

    def _send(
        self, writes: Sequence[Write], cost: int, future: asyncio.Future[None] | None
    ) -> None:
        self._number += 1
        unit = _Unit(self, self._number, len(writes), cost)
        unit.future = future
        self._units.append(unit)
        self._waiting += len(writes)
        self._waiting_bytes += cost
        self._error = None
        self.rows.hand_over(unit.number, writes)
        try:
            self._writer.hand_over(unit.work, unit, cost)
        except StoreError as error:  # closed
            self.failed(unit, error)

    def _try_again(self) -> None:
        self._retry = None
        if self._units:
            self._send((), 0, None)

    def _is_over(self, times: int) -> bool:
        limits = self._limits
        return self._waiting > times * limits.writes or self._waiting_bytes > times * limits.bytes

    def _give_up(self, writes: Sequence[Write], future: asyncio.Future[None] | None) -> None:
        """Drop writes: what the disk has of their sessions goes too, as soon as it can."""
        if not self._lost:
            self._report(
                f"{self._waiting} session writes wait for the disk, which is too many: sessions"
                " are being given up on disk until they are put again"
            )
        self._lost.update(write[1] for write in writes)
        _fail(future, StoreError("the event log: nothing was written: its sessions were given up"))

    def _settled(self, error: StoreError | None) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        if error is None:
            future.set_result(None)
        else:
            _fail(future, error)
        return future


def _fail(future: asyncio.Future[None] | None, error: StoreError) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # whoever asked may be gone by now
