"""Durable sessions as the writer's thread knows them: it turns their writes into few rows."""

from collections.abc import Sequence
from typing import Any

from adapters.store.eventfile import body_sum, mark_sum, position_sum, queued_sum, session_sum
from adapters.store.writer import Keys, Table, Transaction
from gateway.message import Mark
from gateway.ports import StoreError

_SESSIONS = Table("INSERT OR REPLACE INTO sessions VALUES", 4)
_QUEUED = Table("INSERT OR REPLACE INTO queued VALUES", 7)
_BODIES = Table("INSERT INTO bodies VALUES", 3)
_MARKS = Table("INSERT OR REPLACE INTO marks VALUES", 2)
_POSITIONS = Table("INSERT OR REPLACE INTO positions VALUES", 4)
_NO_QUEUED = Keys("DELETE FROM queued WHERE id IN")
_NO_MARKS = Keys("DELETE FROM marks WHERE id IN")
_OF_SESSION = (
    "DELETE FROM queued WHERE id>=?1<<16 AND id<(?1+1)<<16",
    "DELETE FROM marks WHERE id>=?1<<16 AND id<(?1+1)<<16",
    "DELETE FROM positions WHERE session=?1",
    "DELETE FROM sessions WHERE id=?1",
)
_SESSIONS_KNOWN = 100_000

# A write: what it does (a method of Changes), the key of its session, and the rest.
Write = tuple[Any, ...]


def stored_text(text: str) -> bytes:
    """Return text as it is stored: any that Python has, also what is no Unicode."""
    return text.encode("utf-8", "surrogatepass")


def text_stored(data: bytes) -> str:
    """Return stored text; raises UnicodeDecodeError for damaged one."""
    return data.decode("utf-8", "surrogatepass")


class SessionRows:
    """What was handed over and is not written yet, and which session has which id.

    Writes are kept until they are committed and go in their order, so the file is always what
    the sessions once were: after an error, the next transaction begins with what failed.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._numbers: list[int] = []
        # The event loop appends to it; all else is the writer's thread's.
        self._waiting: list[tuple[int, Sequence[Write]]] = []
        self._written = 0

    def hand_over(self, number: int, writes: Sequence[Write]) -> None:
        """Take writes from the event loop; ``number`` counts up."""
        self._waiting.append((number, writes))

    def write(self, transaction: Transaction, number: int) -> None:
        """Write what was handed over up to a number and is not written: also what an error left."""
        waiting = self._waiting
        start = end = self._written
        while end < len(waiting) and waiting[end][0] <= number:
            end += 1
        if start < end:
            changes = Changes(self, transaction)
            for _, writes in waiting[start:end]:
                for write in writes:
                    write[0](changes, write)
            changes.flush()
            self._written = end

    def row_of(self, transaction: Transaction, mark: Mark) -> int:
        """Return the id of a mark's row; raises StoreError when its session is not stored."""
        session = self.find(transaction, mark.session)
        if session is None:
            raise StoreError(f"session {mark.session} is not stored: it cannot have QoS 2 marks")
        return session << 16 | mark.packet_id

    def committed(self) -> None:
        """Take what was written for true."""
        del self._waiting[: self._written]
        self._written = 0
        if len(self._ids) > _SESSIONS_KNOWN:
            self._ids.clear()

    def rolled_back(self) -> None:
        """Keep what was not written, and believe only the file."""
        self._written = 0
        self._ids.clear()

    def find(self, transaction: Transaction, key: str) -> int | None:
        """Return a session's id."""
        session = self._ids.get(key)
        if session is None:
            rows = transaction.query("SELECT id FROM sessions WHERE key=?", stored_text(key))
            if rows:
                session = self._ids[key] = int(rows[0][0])
        return session

    def create(self, transaction: Transaction, key: str) -> int:
        """Return the id of a new session."""
        session = self._ids[key] = self._next(transaction, 0)
        return session

    def forget(self, key: str) -> None:
        """A session is no more."""
        self._ids.pop(key, None)

    def next_place(self, transaction: Transaction) -> int:
        """Return a place behind all others."""
        return self._next(transaction, 1)

    def next_body(self, transaction: Transaction) -> int:
        """Return the id of a new body."""
        return self._next(transaction, 2)

    def _next(self, transaction: Transaction, which: int) -> int:
        if not self._numbers:  # once: a number that an error left unused does no harm
            ((*self._numbers,),) = transaction.query(
                "SELECT (SELECT coalesce(max(id), 0) FROM sessions),"
                " (SELECT coalesce(max(place), 0) FROM queued),"
                " (SELECT coalesce(max(id), 0) FROM bodies)"
            )
        self._numbers[which] += 1
        return self._numbers[which]


def insert_mark(transaction: Transaction, row: int) -> None:
    """Store a QoS 2 mark."""
    transaction.insert(_MARKS, (row, mark_sum(row)))


class Changes:
    """The sum of many writes, as rows: a message that came and went in between costs none."""

    def __init__(self, rows: SessionRows, transaction: Transaction) -> None:
        self._rows = rows
        self._transaction = transaction
        self._records: dict[int, tuple[bytes, bytes]] = {}
        # Row id -> place, QoS, released, number of the body, body.
        self._queued: dict[int, tuple[int, int, int, int, bytes]] = {}
        self._gone: dict[int, None] = {}
        self._marks: dict[int, bool] = {}
        self._positions: dict[tuple[int, bytes], bytes | None] = {}

    def put(self, write: tuple[Any, str, bytes]) -> None:
        """Store a record; a new session gets an id."""
        _, key, record = write
        session = self._rows.find(self._transaction, key)
        if session is None:
            session = self._rows.create(self._transaction, key)
        self._records[session] = stored_text(key), record

    def drop(self, write: tuple[Any, str]) -> None:
        """Delete a session."""
        session = self._rows.find(self._transaction, write[1])
        if session is not None:
            self._rows.forget(write[1])
            self.remove((None, "", session))

    def remove(self, write: tuple[Any, str, int]) -> None:
        """Delete all rows of the session with an id."""
        self.flush()
        for statement in _OF_SESSION:
            self._transaction.execute(statement, write[2])

    def enqueue(self, write: tuple[Any, str, int, int, int, bytes]) -> None:
        """Queue a message."""
        _, key, packet_id, qos, number, body = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            place = self._rows.next_place(self._transaction)
            self._queued[session << 16 | packet_id] = place, qos, 0, number, body

    def release(self, write: tuple[Any, str, int]) -> None:
        """Leave of a message that PUBREL is due, behind what waits."""
        _, key, packet_id = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            place = self._rows.next_place(self._transaction)
            self._queued[session << 16 | packet_id] = place, 2, 1, 0, b""

    def acknowledge(self, write: tuple[Any, str, int]) -> None:
        """Delete a message."""
        _, key, packet_id = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            row = session << 16 | packet_id
            queued = self._queued.pop(row, None)
            if queued is None or queued[2]:
                self._gone[row] = None

    def remove_messages(self, write: tuple[Any, str, Sequence[int]]) -> None:
        """Delete messages by their row ids."""
        self._gone.update(dict.fromkeys(write[2]))

    def mark(self, write: tuple[Any, str, int]) -> None:
        """Set a QoS 2 mark."""
        self._set_mark(write, True)

    def unmark(self, write: tuple[Any, str, int]) -> None:
        """Delete a QoS 2 mark."""
        self._set_mark(write, False)

    def position(self, write: tuple[Any, str, str, str]) -> None:
        """Set a position."""
        _, key, channel, event = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            self._positions[session, stored_text(channel)] = stored_text(event)

    def forget_position(self, write: tuple[Any, str, str]) -> None:
        """Delete a position."""
        _, key, channel = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            self._positions[session, stored_text(channel)] = None

    def flush(self) -> None:
        """Make statements of it."""
        transaction = self._transaction
        for session, (key, record) in self._records.items():
            total = session_sum(session, key, record)
            transaction.insert(_SESSIONS, (session, key, record, total))
        self._records.clear()
        transaction.delete(_NO_QUEUED, list(self._gone))
        self._gone.clear()
        self._flush_queued()
        self._flush_marks()
        self._flush_positions()

    def _set_mark(self, write: tuple[Any, str, int], there: bool) -> None:
        _, key, packet_id = write
        session = self._rows.find(self._transaction, key)
        if session is not None:
            self._marks[session << 16 | packet_id] = there

    def _flush_queued(self) -> None:
        transaction = self._transaction
        shared = self._share()
        for row, (place, qos, released, number, body) in self._queued.items():
            body_id = shared.get(number, 0)
            own = b"" if body_id else body
            total = queued_sum(row, place, qos, released, body_id, own)
            transaction.insert(_QUEUED, (row, place, qos, released, body_id, own, total))
        self._queued.clear()

    def _share(self) -> dict[int, int]:
        """Store the bodies that several messages have; return their ids by their numbers."""
        seen: set[int] = set()
        shared: dict[int, int] = {}
        for _, _, released, number, body in self._queued.values():
            if number not in seen:
                seen.add(number)
            elif not released and number not in shared:
                body_id = shared[number] = self._rows.next_body(self._transaction)
                self._transaction.insert(_BODIES, (body_id, body, body_sum(body_id, body)))
        return shared

    def _flush_marks(self) -> None:
        if self._marks:
            gone = [row for row, there in self._marks.items() if not there]
            self._transaction.delete(_NO_MARKS, gone)
            for row, there in self._marks.items():
                if there:
                    insert_mark(self._transaction, row)
            self._marks.clear()

    def _flush_positions(self) -> None:
        for (session, channel), event in self._positions.items():
            if event is not None:
                total = position_sum(session, channel, event)
                self._transaction.insert(_POSITIONS, (session, channel, event, total))
            else:
                self._transaction.execute(
                    "DELETE FROM positions WHERE session=? AND channel=?", session, channel
                )
        self._positions.clear()
