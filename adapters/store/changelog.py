"""The change log in SQLite (design 5): the Store that a single gateway needs nothing else for."""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path

from adapters.store import snapshots
from adapters.store.chain import GENESIS, link
from adapters.store.database import Database, errors_explained, open_database
from adapters.store.lock import FileLock
from adapters.store.reader import Reader
from adapters.store.recovery import FORMAT, Recovered, recover
from adapters.store.tail import BATCH_ENTRIES, Tail
from adapters.store.writer import Limits, Table, Transaction, Writer
from gateway.ports import Entry, Snapshot, StoreConflict, StoreError, StorePruned

KEEP_ENTRIES = 10_000
_BATCH_BYTES = 1 << 20
_PRUNED_AT_ONCE = 1_000
_ENTRIES = Table("INSERT INTO entries VALUES", 3)


class _Head:
    """The end of the log: running within a transaction, and as committed (a writer's Ledger)."""

    def __init__(self, recovered: Recovered, lock: FileLock) -> None:
        self.tail = Tail(recovered.head)
        self.news = asyncio.Event()
        self._lock = lock
        self._committed = self._running = (recovered.head, recovered.chain)
        self._fresh: list[Entry] = []
        self._to_announce: deque[list[Entry]] = deque()

    def append(self, transaction: Transaction, expected: int, bodies: Sequence[bytes]) -> int:
        seq, chain = self._running
        if seq != expected:
            raise StoreConflict(expected, seq)
        for body in bodies:
            seq += 1
            chain = link(chain, seq, body)
            transaction.insert(_ENTRIES, (seq, body, chain))
            self._fresh.append(Entry(seq, body))
        self._running = seq, chain
        return seq

    def settle(self, transaction: Transaction) -> None:
        """Nothing to add."""

    def committed(self) -> None:
        if self._fresh:
            self._committed = self._running
            self._lock.set_mark(self._committed[0])
            self._to_announce.append(self._fresh)
            self._fresh = []

    def rolled_back(self) -> None:
        self._running = self._committed
        self._fresh = []

    def announce(self) -> None:
        while self._to_announce:
            self.tail.extend(self._to_announce.popleft())
        self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class SqliteStore:
    """The change log in a SQLite file; see ``gateway.ports.Store``. Bound to one event loop."""

    def __init__(
        self, database: Database, recovered: Recovered, keep_entries: int, limits: Limits
    ) -> None:
        self._database = database
        self._keep_entries = keep_entries
        self._findings = list(recovered.findings)
        self._head = _Head(recovered, database.lock)
        self._writer = Writer(database, self._head, limits)
        self._reader = Reader(database)
        self._saving = asyncio.Lock()
        self._closing = asyncio.Lock()
        self._closed = False

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found wrong with the file and handled."""
        return tuple(self._findings)

    async def append(self, expected: int, bodies: Sequence[bytes]) -> int:
        """Append ``bodies`` in one transaction right after entry ``expected``."""
        head, kept = self._head, tuple(bodies)
        cost = sum(map(len, kept))
        return await self._writer.write(lambda tx: head.append(tx, expected, kept), cost)

    async def follow(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        """Yield committed entries after ``after`` in bounded batches until the store closes."""
        if not 0 <= after <= self._head.tail.head:
            raise StoreError(
                f"cannot follow the change log from entry {after}: it ends at"
                f" {self._head.tail.head}, so that position belongs to another log"
            )
        while True:
            news = self._head.news
            batch = self._head.tail.after(after)
            if batch is None and not self._closed:
                batch = await self._reader.read(partial(_read_after, after=after))
            if batch:
                after = batch[-1].seq
                yield batch
            elif self._closed:
                return
            else:
                await news.wait()

    async def snapshot(self) -> Snapshot | None:
        """Return the newest snapshot that passes its checksum."""
        found, findings = await self._reader.read(_load_snapshot)
        self._findings += [text for text in findings if text not in self._findings]
        return found

    async def save_snapshot(self, seq: int, records: Iterable[bytes]) -> None:
        """Store a snapshot part by part between appends, then drop what it replaces."""
        async with self._saving:
            parts = snapshots.pack(records)
            write = self._writer.keep_house
            try:
                snapshot = await write(lambda tx: _begin_snapshot(tx, seq))
                number = 0
                while part := await asyncio.to_thread(next, parts, None):
                    add = partial(snapshots.add, snapshot=snapshot, number=number, part=part)
                    await write(add, len(part.data))
                    number += 1
                await write(lambda tx: snapshots.complete(tx, snapshot))
            finally:
                with contextlib.suppress(StoreError):  # the next snapshot tries again
                    await self._tidy()

    async def head(self) -> int:
        """Return the sequence number of the last committed entry."""
        return self._head.tail.head

    async def close(self) -> None:
        """Finish what is in flight, end the followers, release the file."""
        async with self._closing:
            if self._closed:
                return
            await self._writer.close()
            self._closed = True
            self._head.wake()
            await self._reader.close()
            await asyncio.to_thread(self._database.close)

    async def _tidy(self) -> None:
        keep, write = self._keep_entries, self._writer.keep_house
        while await write(snapshots.shrink):
            pass
        while await write(lambda tx: _prune(tx, keep)):
            pass


async def open_store(
    path: Path, *, keep_entries: int = KEEP_ENTRIES, limits: Limits | None = None
) -> SqliteStore:
    """Open (or create) a change log.

    At least ``keep_entries`` are kept for followers when a snapshot replaces the log before it.
    Raises StoreError when another process has the file, or it is newer or damaged beyond repair.
    """
    database, recovered = await asyncio.to_thread(_open, path)
    return SqliteStore(database, recovered, keep_entries, limits or Limits())


def _open(path: Path) -> tuple[Database, Recovered]:
    database = open_database(path, FORMAT)
    try:
        with errors_explained(f"cannot open the change log {path}"):
            return database, recover(database)
    except BaseException:
        database.close()
        raise


def _read_after(connection: sqlite3.Connection, after: int) -> list[Entry]:
    rows = connection.execute(
        "SELECT seq, CAST(body AS BLOB), CAST(sum AS BLOB) FROM entries"
        " WHERE seq>=? ORDER BY seq LIMIT ?",
        (after, BATCH_ENTRIES + (after > 0)),
    )
    with contextlib.closing(rows):
        if after == 0:
            chain = GENESIS
        else:
            seq, _, chain = rows.fetchone() or (0, None, b"")
            if seq != after:
                raise StorePruned(f"entries after {after} are pruned: begin with the snapshot")
        return _checked_batch(rows, after, chain)


def _checked_batch(
    rows: Iterable[tuple[int, bytes | None, bytes]], after: int, chain: bytes
) -> list[Entry]:
    batch: list[Entry] = []
    size = 0
    for seq, body, total in rows:
        if body is None:
            raise StorePruned(f"entries up to {seq} are pruned: begin with the snapshot")
        if seq != after + 1 or link(chain, seq, body) != total:
            raise StoreError(f"entry {after + 1} of the change log was damaged while it was open")
        batch.append(Entry(seq, body))
        after, chain = seq, total
        size += len(body)
        if size >= _BATCH_BYTES:
            break
    return batch


def _load_snapshot(connection: sqlite3.Connection) -> tuple[Snapshot | None, list[str]]:
    connection.execute("BEGIN")  # one view of it, whatever is pruned meanwhile
    try:
        header, findings = snapshots.newest(connection)
        if header is None:
            pruned = connection.execute("SELECT 1 FROM entries WHERE body IS NULL LIMIT 1")
            if pruned.fetchone():
                raise StoreError("no snapshot is sound any more, and the log before it is pruned")
            return None, findings
        return Snapshot(header.seq, snapshots.load(connection, header)), findings
    finally:
        connection.execute("ROLLBACK")


def _begin_snapshot(transaction: Transaction, seq: int) -> int:
    rows = transaction.query("SELECT sum FROM entries WHERE seq=?", seq)
    if not rows and seq != 0:
        raise StoreError(f"cannot take a snapshot of entry {seq}: it is not in the log")
    return snapshots.begin(transaction, seq, rows[0][0] if rows else GENESIS)


def _prune(transaction: Transaction, keep_entries: int) -> bool:
    """Delete some entries that nobody needs; True while there may be more."""
    ((last, pruned),) = transaction.query(
        "SELECT coalesce(max(seq), 0), coalesce((SELECT seq FROM entries"
        " WHERE seq=(SELECT min(seq) FROM entries) AND body IS NULL), 0) FROM entries"
    )
    upto: int = min(snapshots.replaced_before(transaction), last - keep_entries)
    step = min(upto, pruned + _PRUNED_AT_ONCE)
    if step <= pruned:
        return False
    transaction.execute("DELETE FROM entries WHERE seq<?", step)
    transaction.execute("UPDATE entries SET body=NULL WHERE seq=?", step)
    return bool(step < upto)
