"""The thread that does all writes of one file, many callers to a transaction (group commit)."""

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeVar

from adapters.store.database import Database, explain
from adapters.store.turns import Turns
from gateway.ports import StoreBusy, StoreError

T = TypeVar("T")

_log = logging.getLogger("hilum.store")
Value = int | str | bytes | None
Row = tuple[Value, ...]

# SQLite's own automatic checkpoint comes after as many pages.
_CHECKPOINT_PAGES = 1_000
_PAGE_BYTES = 4_096
_ROW_BYTES = 256
# Rows in a statement: a few sizes only, so that all stay in the connection's statement cache.
_BATCHES = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for its commit: jobs, and bytes of payload."""

    jobs: int = 8_192
    bytes: int = 32 << 20


class Table:
    """Where rows are inserted, ``INSERT INTO … VALUES``, as many as possible at a time."""

    __slots__ = ("_statements",)

    def __init__(self, insert: str, columns: int) -> None:
        row = f"({','.join('?' * columns)})"
        self._statements = tuple((size, insert + " " + ",".join([row] * size)) for size in _BATCHES)

    def statements(self, rows: Sequence[Row]) -> list[tuple[str, list[Value]]]:
        """Return the statements, with their parameters, that insert ``rows`` in order."""
        found, start = [], 0
        for size, statement in self._statements:
            while len(rows) - start >= size:
                chunk = rows[start : start + size]
                found.append((statement, [value for row in chunk for value in row]))
                start += size
        return found


class Keys:
    """Where rows are deleted by their key, ``DELETE FROM … WHERE id IN``, many at a time."""

    __slots__ = ("_statements",)

    def __init__(self, delete: str) -> None:
        self._statements = tuple((size, f"{delete} ({','.join('?' * size)})") for size in _BATCHES)

    def statements(self, keys: Sequence[Value]) -> list[tuple[str, Sequence[Value]]]:
        """Return the statements, with their parameters, that delete the rows of ``keys``."""
        found, start = [], 0
        for size, statement in self._statements:
            while len(keys) - start >= size:
                found.append((statement, keys[start : start + size]))
                start += size
        return found


class Transaction:
    """One write transaction, begun with the first statement that needs one.

    Inserts are gathered by table: each call of SQLite gives up the interpreter lock and has to
    win it back from a busy event loop, so a group of appends must not be a call per row.
    """

    __slots__ = ("_begun", "_connection", "_rows")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._begun = False
        self._rows: dict[Table, list[Row]] = {}

    def insert(self, table: Table, row: Row) -> None:
        """Insert a row, before the next statement or at the end."""
        rows = self._rows.get(table)
        if rows is None:
            self._rows[table] = [row]
        else:
            rows.append(row)

    def delete(self, keys: Keys, which: Sequence[Value]) -> None:
        """Delete rows by their keys."""
        if which:
            self._flush()
            self._begin()
            for statement, values in keys.statements(which):
                self._connection.execute(statement, values)

    def execute(self, sql: str, *values: Value) -> None:
        """Run a statement that writes."""
        self._flush()
        self._begin()
        self._connection.execute(sql, values)

    def query(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Return all rows of a query, which sees what this transaction wrote."""
        self._flush()
        return self._connection.execute(sql, values).fetchall()

    def commit(self) -> None:
        """Make it durable; a lone insert is its own transaction (one call instead of three)."""
        if not self._begun and len(self._rows) == 1:
            ((table, rows),) = self._rows.items()
            statements = table.statements(rows)
            if len(statements) == 1:
                self._connection.execute(*statements[0])
                return
        self._flush()
        if self._begun:
            self._connection.execute("COMMIT")

    def _begin(self) -> None:
        if not self._begun:
            self._connection.execute("BEGIN IMMEDIATE")
            self._begun = True

    def _flush(self) -> None:
        if self._rows:
            self._begin()
            gathered, self._rows = self._rows, {}
            for table, rows in gathered.items():
                for statement, values in table.statements(rows):
                    self._connection.execute(statement, values)


class Ledger(Protocol):
    """What is known in memory about a file; only the writer's thread changes it."""

    def settle(self, transaction: Transaction) -> None:
        """Add the last writes of a group, e.g. retention."""
        ...

    def committed(self) -> None:
        """Take the group's writes for true."""
        ...

    def rolled_back(self) -> None:
        """Forget the group's writes."""
        ...

    def announce(self) -> None:
        """Tell, on the event loop and before any caller is answered, what was committed."""
        ...


class Waiter(Protocol):
    """Who waits for a job: an asyncio.Future, or something more frugal. Told on the loop."""

    def done(self) -> bool:
        """Tell whether it waits no more."""
        ...

    def set_result(self, result: Any, /) -> object:
        """The job is committed."""
        ...

    def set_exception(self, error: StoreError, /) -> object:
        """Nothing of the job was written."""
        ...


class _Job(NamedTuple):
    work: Callable[[Transaction], Any]
    waiter: Waiter
    cost: int


_Outcome = tuple[_Job, Any, StoreError | None]


class Writer:
    """Queues jobs, commits all that wait as one group, then answers all of them at once.

    A job that raises StoreError (having written nothing) fails alone; an error of the disk
    fails the whole group and leaves the file as it was.
    """

    def __init__(self, database: Database, ledger: Ledger, limits: Limits) -> None:
        self._connection = database.writer
        # Clients read errors too: where the file is, only the log says.
        self._title = f"the {database.title}"
        self._path = database.path
        self._failing = False
        self._ledger = ledger
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        # Only the event loop touches these two, so that neither side ever waits for a lock.
        self._jobs = 0
        self._bytes = 0
        self._turns = Turns(self._loop, self._answer)
        self._done: deque[list[_Outcome]] = deque()
        self._typical = 0.0
        self._closed = False
        self._ended = False
        self._pages = 0
        self._thread = Thread(target=self._run, name=f"hilum {database.title}", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Transaction], T], cost: int) -> asyncio.Future[T]:
        """Queue a caller's job of ``cost`` bytes; StoreBusy at once when too much waits."""
        limits = self._limits
        if cost > limits.bytes:
            raise StoreError(
                f"{self._title}: {cost} bytes at once are too many, {limits.bytes} are allowed"
            )
        if self._jobs >= limits.jobs or self._bytes + cost > limits.bytes:
            raise StoreBusy(
                f"{self._title}: busy, {self._jobs} writes ({self._bytes} bytes) wait for the disk"
            )
        return self.keep_house(work, cost)

    def keep_house(self, work: Callable[[Transaction], T], cost: int = 0) -> asyncio.Future[T]:
        """Queue a job of the store's own, without a limit."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.hand_over(work, future, cost)
        return future

    def hand_over(self, work: Callable[[Transaction], Any], waiter: Waiter, cost: int) -> None:
        """Queue a job without a limit and tell ``waiter`` what became of it."""
        if self._closed:
            raise StoreError(f"{self._title}: closed")
        self._jobs += 1
        self._bytes += cost
        self._queue.put(_Job(work, waiter, cost))
        self._turns.watch()

    async def close(self) -> None:
        """Finish what is queued and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _answer(self) -> bool:
        """Answer the callers of all groups that are done; True while others wait."""
        while self._done:
            outcomes = self._done.popleft()
            self._ledger.announce()
            self._answer_group(outcomes)
        return self._jobs > 0

    def _answer_group(self, outcomes: list[_Outcome]) -> None:
        for job, result, error in outcomes:
            self._jobs -= 1
            self._bytes -= job.cost
            if job.waiter.done():  # nobody waits any more
                continue
            if error is None:
                job.waiter.set_result(result)
            else:
                job.waiter.set_exception(error)

    # From here on: the writer's thread.

    def _run(self) -> None:
        while not self._ended:
            if jobs := self._take():
                self._done.append(self._commit(jobs))
                with contextlib.suppress(RuntimeError):  # the event loop is gone
                    self._loop.call_soon_threadsafe(self._answer)
                self._turns.taken()
                self._checkpoint()

    def _take(self) -> list[_Job]:
        taken = [self._queue.get()]
        taken += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        self._ended = taken[-1] is None
        return [job for job in taken if job is not None]

    def _commit(self, jobs: list[_Job]) -> list[_Outcome]:
        transaction = Transaction(self._connection)
        before = self._connection.total_changes
        try:
            outcomes = [_perform(job, transaction) for job in jobs]
            self._ledger.settle(transaction)
            begin = perf_counter()
            self._turns.taken(self._typical)
            transaction.commit()
            # Not an average: under load it would hold the time that the lock was waited for.
            self._typical = min(perf_counter() - begin, self._typical * 1.02 + 1e-6)
        except Exception as error:  # whatever it was: nobody may wait for ever
            self._roll_back()
            if len(jobs) > 1 and not isinstance(error, sqlite3.OperationalError):
                # One of them is to blame (say a string that is no UTF-8), not the disk.
                return [outcome for job in jobs for outcome in self._commit([job])]
            return [(job, None, self._failure(error)) for job in jobs]
        self._ledger.committed()
        self._works()
        changes = self._connection.total_changes - before
        used = sum(job.cost for job in jobs) + _ROW_BYTES * changes
        self._pages += 2 + used // _PAGE_BYTES
        return outcomes

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        self._ledger.rolled_back()

    def _failure(self, error: Exception) -> StoreError:
        why = explain(error) if isinstance(error, sqlite3.Error) else repr(error)
        failure = StoreError(f"{self._title}: nothing was written: {why}")
        failure.__cause__ = error
        if not self._failing:
            self._failing = True
            _log.error("%s in %s", failure, self._path)
        return failure

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            _log.warning("%s can be written again", self._title)

    def _checkpoint(self) -> None:
        """Move the write-ahead log into the database, about as often as SQLite does by itself."""
        if self._pages >= _CHECKPOINT_PAGES:
            self._pages = 0
            with contextlib.suppress(sqlite3.Error):  # e.g. a full disk: the log just grows
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _perform(job: _Job, transaction: Transaction) -> _Outcome:
    try:
        return job, job.work(transaction), None
    except StoreError as refusal:
        return job, None, refusal
