"""The event log's state and work in the writer's thread: channels, retention, dead letters."""

import os
from dataclasses import dataclass

from adapters.store.eventfile import channel_sum, event_sum
from adapters.store.writer import Table, Transaction
from gateway.ports import ChannelTail, DeadLetter, Keep, StoredEvent, StoreError

_EVENTS = Table("INSERT INTO events VALUES", 10)
_CHANNELS_KNOWN = 10_000
_DELETED_AT_ONCE = 5_000
_ALL = Keep()


@dataclass(frozen=True, slots=True)
class LetterLimits:
    """How many dead letters are kept, and how many bytes of their payloads."""

    count: int = 10_000
    bytes: int = 64 << 20


@dataclass(slots=True)
class Channel:
    """A channel's log: events ``first`` to ``last`` are there.

    ``floor`` and ``total`` are the payload bytes that ever came before ``first`` and up to
    ``last``; ``oldest`` and ``newest`` are the times of the two.
    """

    id: int
    incarnation: str
    first: int = 1
    last: int = 0
    floor: int = 0
    total: int = 0
    oldest: int = 0
    newest: int = 0
    keep: Keep = _ALL

    def is_overdue(self) -> bool:
        """Tell whether more than 1/16 too much is kept: rarely true, so deletion is cheap."""
        keep = self.keep
        return self.first < self.last and (
            0 < keep.count + keep.count // 16 < self.last - self.first + 1
            or 0 < keep.bytes + keep.bytes // 16 < self.total - self.floor
            or 0 < keep.age_ms + keep.age_ms // 16 < self.newest - self.oldest
        )


class Channels:
    """All channels as the writer's thread knows them (part of its Ledger)."""

    def __init__(self, letters: LetterLimits) -> None:
        self._limits = letters
        self._known: dict[str, Channel] = {}
        self._touched: dict[int, Channel] = {}
        self._letters: tuple[int, int] | None = None

    # The Ledger.

    def settle(self, transaction: Transaction) -> None:
        """Apply retention to the channels that were appended to."""
        for channel in self._touched.values():
            if channel.is_overdue():
                _trim(transaction, channel)
        self._touched.clear()

    def committed(self) -> None:
        """Keep what is known, within bounds."""
        if len(self._known) > _CHANNELS_KNOWN:
            self._known.clear()

    def rolled_back(self) -> None:
        """Forget everything: the file knows better."""
        self._known.clear()
        self._touched.clear()
        self._letters = None

    # Work.

    def open(self, transaction: Transaction, name: str) -> ChannelTail:
        """Return what a channel's log holds; creates it."""
        channel = self._find(transaction, name)
        if channel is None:
            channel = self._known[name] = _create(transaction, name)
        return ChannelTail(channel.incarnation, channel.first, channel.last)

    def append(self, transaction: Transaction, name: str, event: StoredEvent, keep: Keep) -> int:
        """Append an event and return its sequence number; StoreError for an unknown channel."""
        channel = self._find(transaction, name)
        if channel is None:
            raise StoreError(f"channel {name} has no log: it was dropped, or never opened")
        channel.last += 1
        channel.total += len(event.payload)
        channel.newest = event.time
        channel.keep = keep
        if channel.first == channel.last:
            channel.oldest = event.time
        total = channel.total
        event = StoredEvent(
            channel.last,
            event.time,
            event.content_type,
            event.source,
            event.payload,
            event.qos,
            event.extras,
        )
        transaction.insert(
            _EVENTS,
            (
                channel.id,
                event.seq,
                event.time,
                total,
                event.content_type,
                event.source,
                event.payload,
                event_sum(channel.id, event, total),
                event.qos,
                event.extras,
            ),
        )
        self._touched[channel.id] = channel
        return event.seq

    def drop(self, transaction: Transaction, name: str) -> None:
        """Make a channel unknown; ``purge`` deletes what it held."""
        if channel := self._known.pop(name, None):
            self._touched.pop(channel.id, None)
        transaction.execute("UPDATE channels SET name=NULL WHERE name=?", name)

    def purge(self, transaction: Transaction) -> bool:
        """Delete some of what dropped channels held; True while there may be more."""
        rows = transaction.query("SELECT id FROM channels WHERE name IS NULL LIMIT 1")
        if not rows:
            return False
        (channel,) = rows[0]
        ((first, last),) = transaction.query(
            "SELECT min(seq), max(seq) FROM events WHERE channel=?", channel
        )
        if first is not None:
            upto = first + _DELETED_AT_ONCE
            transaction.execute("DELETE FROM events WHERE channel=? AND seq<?", channel, upto)
        if first is None or last < upto:
            transaction.execute("DELETE FROM cursors WHERE channel=?", channel)
            transaction.execute("DELETE FROM channels WHERE id=?", channel)
        return True

    def save_cursor(self, transaction: Transaction, name: str, binding: str, seq: int) -> None:
        """Set a cursor, if there is such a channel."""
        transaction.execute(
            "INSERT INTO cursors SELECT id, ?, ? FROM channels WHERE name=?"
            " ON CONFLICT (channel, binding) DO UPDATE SET seq=excluded.seq",
            binding,
            seq,
            name,
        )

    def delete_cursor(self, transaction: Transaction, name: str, binding: str) -> None:
        """Delete a cursor."""
        transaction.execute(
            "DELETE FROM cursors WHERE binding=?"
            " AND channel=(SELECT id FROM channels WHERE name=?)",
            binding,
            name,
        )

    def bury(self, transaction: Transaction, letter: DeadLetter) -> int:
        """Keep a dead letter, make room for it and return its id."""
        count, size = self._letters or _count_letters(transaction)
        transaction.execute(
            "INSERT INTO letters (binding, channel, event, time, attempts, error, type, payload)"
            " VALUES (?,?,?,?,?,?,?,?)",
            letter.binding,
            letter.channel,
            letter.event_id,
            letter.time,
            letter.attempts,
            letter.error,
            letter.content_type,
            letter.payload,
        )
        letter_id: int = transaction.query("SELECT last_insert_rowid()")[0][0]
        count, size = count + 1, size + len(letter.payload)
        while count > 1 and (count > self._limits.count or size > self._limits.bytes):
            count, size = count - 1, size - _drop_oldest_letter(transaction)
        self._letters = count, size
        return letter_id

    def delete_letter(self, transaction: Transaction, letter_id: int) -> bool:
        """Delete a dead letter."""
        count, size = self._letters or _count_letters(transaction)
        rows = transaction.query("SELECT length(payload) FROM letters WHERE id=?", letter_id)
        if not rows:
            return False
        transaction.execute("DELETE FROM letters WHERE id=?", letter_id)
        self._letters = count - 1, size - rows[0][0]
        return True

    def _find(self, transaction: Transaction, name: str) -> Channel | None:
        channel = self._known.get(name)
        if channel is None and (channel := _load(transaction, name)):
            self._known[name] = channel
        return channel


def _create(transaction: Transaction, name: str) -> Channel:
    incarnation = os.urandom(8).hex()
    transaction.execute(
        "INSERT INTO channels (name, incarnation, sum) VALUES (?,?,?)",
        name,
        incarnation,
        channel_sum(name, incarnation),
    )
    return Channel(transaction.query("SELECT last_insert_rowid()")[0][0], incarnation)


def _load(transaction: Transaction, name: str) -> Channel | None:
    rows = transaction.query("SELECT id, incarnation FROM channels WHERE name=?", name)
    if not rows:
        return None
    channel = Channel(*rows[0])
    ends = transaction.query(
        "SELECT seq, total, time FROM events WHERE channel=? ORDER BY seq DESC LIMIT 1", channel.id
    )
    if ends:
        channel.last, channel.total, channel.newest = ends[0]
        _find_first(transaction, channel)
    return channel


def _find_first(transaction: Transaction, channel: Channel) -> None:
    ((channel.first, channel.floor, channel.oldest),) = transaction.query(
        "SELECT seq, total - length(payload), time FROM events WHERE channel=?"
        " ORDER BY seq LIMIT 1",
        channel.id,
    )


def _trim(transaction: Transaction, channel: Channel) -> None:
    """Delete the oldest events down to what is to be kept, a bounded number at a time."""
    keep, cut = channel.keep, channel.first
    if keep.count:
        cut = max(cut, channel.last - keep.count + 1)
    if keep.bytes:
        cut = max(cut, _first_seq(transaction, channel, "total", channel.total - keep.bytes))
    if keep.age_ms:
        cut = max(cut, _first_seq(transaction, channel, "time", channel.newest - keep.age_ms))
    cut = min(cut, channel.last, channel.first + _DELETED_AT_ONCE)
    transaction.execute("DELETE FROM events WHERE channel=? AND seq<?", channel.id, cut)
    _find_first(transaction, channel)


_FIRST_SEQ = {
    "total": "SELECT seq FROM events WHERE channel=? AND total - length(payload) >= ?",
    "time": "SELECT seq FROM events WHERE channel=? AND time >= ?",
}


def _first_seq(transaction: Transaction, channel: Channel, column: str, least: int) -> int:
    rows = transaction.query(_FIRST_SEQ[column] + " ORDER BY seq LIMIT 1", channel.id, least)
    return rows[0][0] if rows else channel.last


def _count_letters(transaction: Transaction) -> tuple[int, int]:
    ((count, size),) = transaction.query(
        "SELECT count(*), coalesce(sum(length(payload)), 0) FROM letters"
    )
    return count, size


def _drop_oldest_letter(transaction: Transaction) -> int:
    ((letter_id, size),) = transaction.query(
        "SELECT id, length(payload) FROM letters ORDER BY id LIMIT 1"
    )
    transaction.execute("DELETE FROM letters WHERE id=?", letter_id)
    transaction.execute(
        "INSERT INTO counters VALUES ('letters_dropped', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )
    return int(size)
