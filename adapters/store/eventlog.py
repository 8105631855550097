"""Durable event channels in SQLite: the EventLog of a single gateway."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from adapters.store.channels import Channels, LetterLimits
from adapters.store.database import Database, open_database
from adapters.store.eventfile import FORMAT, channel_sum, event_sum
from adapters.store.reader import Reader
from adapters.store.sessionrows import SessionRows, insert_mark
from adapters.store.sessions import SessionLimits, SqliteSessionStore
from adapters.store.writer import Limits, Transaction, Writer
from gateway.message import Mark
from gateway.ports import ChannelTail, DeadLetter, Keep, StoredEvent, StoreError

_log = logging.getLogger(__name__)
_READ_BYTES = 4 << 20
_FINDINGS = 100


class _Ledger:
    """What the writer's thread knows of the file: its channels and its sessions."""

    def __init__(self, channels: Channels, rows: SessionRows) -> None:
        self._channels = channels
        self._rows = rows

    def settle(self, transaction: Transaction) -> None:
        self._channels.settle(transaction)

    def committed(self) -> None:
        self._channels.committed()
        self._rows.committed()

    def rolled_back(self) -> None:
        self._channels.rolled_back()
        self._rows.rolled_back()

    def announce(self) -> None:
        """Nobody follows the file: the channels have their subscribers."""


class SqliteEventLog:
    """Durable channels in a SQLite file; see ``gateway.ports.EventLog``. Bound to one loop.

    ``sessions`` are the durable sessions in the same file.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits,
        letters: LetterLimits,
        session_limits: SessionLimits,
    ) -> None:
        self._database = database
        self._channels = Channels(letters)
        self._rows = SessionRows()
        self._writer = Writer(database, _Ledger(self._channels, self._rows), limits)
        self._reader = Reader(database)
        self.sessions = SqliteSessionStore(
            self._rows, self._writer, self._reader, self._report, session_limits
        )
        self._findings: list[str] = []
        self._closing = asyncio.Lock()
        self._closed = False

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found wrong with stored events, the last hundred things."""
        return tuple(self._findings)

    async def open(self, channel: str) -> ChannelTail:
        """Open a channel's log, creating it (with a random incarnation) when it is new."""
        return await self._writer.write(lambda tx: self._channels.open(tx, channel), len(channel))

    async def append(
        self, channel: str, event: StoredEvent, keep: Keep, mark: Mark | None = None
    ) -> int:
        """Append one event (its ``seq`` is ignored) and return the sequence number it got."""
        cost = len(channel) + len(event.content_type) + len(event.source) + len(event.payload)
        cost += len(event.extras)
        append = self._channels.append
        if mark is None:
            return await self._writer.write(lambda tx: append(tx, channel, event, keep), cost)
        before = self.sessions.hand_over()
        rows = self._rows

        def marked(transaction: Transaction) -> int:
            rows.write(transaction, before)
            row = rows.row_of(transaction, mark)
            seq = append(transaction, channel, event, keep)
            insert_mark(transaction, row)
            return seq

        return await self._writer.write(marked, cost)

    async def read(self, channel: str, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return at most ``limit`` retained events after sequence number ``after``."""
        events, damaged = await self._reader.read(partial(_read, channel, after, limit))
        for seq in damaged:
            self._report(f"event {seq} of channel {channel} is damaged and was left out")
        return events

    async def drop(self, channel: str) -> None:
        """Delete a channel's log and cursors."""
        await self._writer.write(lambda tx: self._channels.drop(tx, channel), len(channel))
        await self.purge()

    async def purge(self) -> None:
        """Delete what dropped channels still hold, also those that a crash interrupted."""
        while await self._writer.keep_house(self._channels.purge):
            pass

    async def check_channels(self) -> None:
        """Report channels whose records are damaged."""
        for name in await self._reader.read(_damaged_channels):
            self._report(f"the record of channel {name} is damaged: its events may be another's")

    async def cursor(self, channel: str, binding: str) -> int | None:
        """Return the sequence number up to which a bound method has been served."""
        return await self._reader.read(partial(_cursor, channel, binding))

    async def save_cursor(self, channel: str, binding: str, seq: int) -> None:
        """Record that a bound method has been served up to ``seq``."""
        save = self._channels.save_cursor
        await self._writer.write(lambda tx: save(tx, channel, binding, seq), len(binding))

    async def delete_cursor(self, channel: str, binding: str) -> None:
        """Forget how far a bound method was served."""
        delete = self._channels.delete_cursor
        await self._writer.write(lambda tx: delete(tx, channel, binding), len(binding))

    async def bury(self, letter: DeadLetter) -> int:
        """Keep a dead letter (its ``id`` is ignored) and return the id it got."""
        cost = len(letter.payload) + len(letter.error)
        return await self._writer.write(lambda tx: self._channels.bury(tx, letter), cost)

    async def letters_dropped(self) -> int:
        """Return how many dead letters were ever dropped to make room."""
        return await self._reader.read(_letters_dropped)

    async def letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return at most ``limit`` dead letters with ids above ``after``."""
        return await self._reader.read(partial(_letters, after, limit))

    async def letter(self, letter_id: int) -> DeadLetter | None:
        """Return one dead letter."""
        found = await self._reader.read(partial(_letters, letter_id - 1, 1))
        return found[0] if found and found[0].id == letter_id else None

    async def delete_letter(self, letter_id: int) -> bool:
        """Delete a dead letter; False when there is none."""
        delete = self._channels.delete_letter
        return await self._writer.write(lambda tx: delete(tx, letter_id), 0)

    async def close(self) -> None:
        """Finish what is in flight, then release the file."""
        async with self._closing:
            if self._closed:
                return
            self._closed = True
            self.sessions.close()
            await self._writer.close()
            await self._reader.close()
            await asyncio.to_thread(self._database.close)

    def _report(self, finding: str) -> None:
        if finding not in self._findings:
            _log.warning("%s: %s", self._database.path, finding)
            self._findings = [*self._findings[1 - _FINDINGS :], finding]


async def open_event_log(
    path: Path,
    *,
    limits: Limits | None = None,
    letters: LetterLimits | None = None,
    session_limits: SessionLimits | None = None,
) -> SqliteEventLog:
    """Open (or create) an event log.

    Raises StoreError when another process has the file, or it is newer or damaged.
    """
    database = await asyncio.to_thread(open_database, path, FORMAT)
    log = SqliteEventLog(
        database,
        limits or Limits(),
        letters or LetterLimits(),
        session_limits or SessionLimits(),
    )
    try:
        await log.check_channels()
        with contextlib.suppress(StoreError):  # a full disk, say: the next drop goes on with it
            await log.purge()
    except BaseException:
        await log.close()
        raise
    return log


def _read(
    name: str, after: int, limit: int, connection: sqlite3.Connection
) -> tuple[list[StoredEvent], list[int]]:
    rows = connection.execute(
        "SELECT channel, seq, time, total, CAST(type AS BLOB), CAST(source AS BLOB),"
        " CAST(payload AS BLOB), sum, qos, CAST(extras AS BLOB) FROM events"
        " WHERE channel=(SELECT id FROM channels WHERE name=?) AND seq>? ORDER BY seq",
        (name, after),
    )
    events: list[StoredEvent] = []
    damaged: list[int] = []
    size = 0
    with contextlib.closing(rows):
        for channel, seq, time, total, kind, source, payload, stored, qos, extras in rows:
            if len(events) >= limit or size >= _READ_BYTES:
                break
            try:
                event = StoredEvent(seq, time, kind.decode(), source.decode(), payload, qos, extras)
            except UnicodeDecodeError:
                damaged.append(seq)
                continue
            if event_sum(channel, event, total) != stored:
                damaged.append(seq)
                continue
            events.append(event)
            size += len(payload)
    return events, damaged


def _damaged_channels(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name, incarnation, sum FROM channels WHERE name IS NOT NULL ORDER BY id"
    )
    return [name for name, incarnation, stored in rows if channel_sum(name, incarnation) != stored]


def _cursor(channel: str, binding: str, connection: sqlite3.Connection) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT seq FROM cursors WHERE binding=?"
        " AND channel=(SELECT id FROM channels WHERE name=?)",
        (binding, channel),
    ).fetchone()
    return row[0] if row else None


def _letters(after: int, limit: int, connection: sqlite3.Connection) -> list[DeadLetter]:
    rows = connection.execute(
        "SELECT id, binding, channel, event, time, attempts, error, type, payload FROM letters"
        " WHERE id>? ORDER BY id",
        (after,),
    )
    letters: list[DeadLetter] = []
    size = 0
    with contextlib.closing(rows):
        for row in rows:
            if len(letters) >= limit or size >= _READ_BYTES:
                break
            letters.append(DeadLetter(*row))
            size += len(letters[-1].payload)
    return letters


def _letters_dropped(connection: sqlite3.Connection) -> int:
    row: tuple[int] | None = connection.execute(
        "SELECT value FROM counters WHERE name='letters_dropped'"
    ).fetchone()
    return row[0] if row else 0
