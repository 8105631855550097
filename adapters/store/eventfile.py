"""What is in the event log's file: its tables, those of older versions, and its checksums.

A session's rows have ids that begin with its own: ``session * 65536 + packet id``.
"""

import zlib
from collections.abc import Mapping
from struct import Struct

from adapters.store.database import Format, Upgrade
from gateway.ports import StoredEvent

_EVENTS_1 = (
    "CREATE TABLE events (channel INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " time INTEGER NOT NULL, total INTEGER NOT NULL, type TEXT NOT NULL,"
    " source TEXT NOT NULL, payload BLOB NOT NULL, sum INTEGER NOT NULL,"
    " PRIMARY KEY (channel, seq)) WITHOUT ROWID"
)
_NEW_COLUMNS = ("qos INTEGER NOT NULL DEFAULT 1", "extras BLOB NOT NULL DEFAULT x''")

_TABLES_1: Mapping[str, str] = {
    # A channel without a name is being dropped; it goes when its last event has gone.
    "channels": (
        "CREATE TABLE channels (id INTEGER PRIMARY KEY, name TEXT UNIQUE,"
        " incarnation TEXT NOT NULL, sum INTEGER NOT NULL)"
    ),
    # total: payload bytes of the channel's events up to this one, also those deleted since.
    "events": _EVENTS_1,
    "cursors": (
        "CREATE TABLE cursors (channel INTEGER NOT NULL, binding TEXT NOT NULL,"
        " seq INTEGER NOT NULL, PRIMARY KEY (channel, binding)) WITHOUT ROWID"
    ),
    "letters": (
        "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, binding TEXT NOT NULL,"
        " channel TEXT NOT NULL, event TEXT NOT NULL, time INTEGER NOT NULL,"
        " attempts INTEGER NOT NULL, error TEXT NOT NULL, type TEXT NOT NULL,"
        " payload BLOB NOT NULL)"
    ),
    "counters": (
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
    ),
}

# Keys, names and event ids are bytes here, so that any text of theirs can be written.
_SESSIONS: Mapping[str, str] = {
    "sessions": (
        "CREATE TABLE sessions (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
        " record BLOB NOT NULL, sum INTEGER NOT NULL)"
    ),
    # place: a session's messages are in the order of their places. shared: the id of a body that
    # several messages have, 0 when the message has its own.
    "queued": (
        "CREATE TABLE queued (id INTEGER PRIMARY KEY, place INTEGER NOT NULL,"
        " qos INTEGER NOT NULL, released INTEGER NOT NULL, shared INTEGER NOT NULL,"
        " body BLOB NOT NULL, sum INTEGER NOT NULL)"
    ),
    "queued_shared": "CREATE INDEX queued_shared ON queued (shared) WHERE shared > 0",
    "bodies": (
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL, sum INTEGER NOT NULL)"
    ),
    "unshared": (
        "CREATE TRIGGER unshared AFTER DELETE ON queued WHEN old.shared > 0 BEGIN"
        " DELETE FROM bodies WHERE id = old.shared AND NOT EXISTS"
        " (SELECT 1 FROM queued WHERE shared = old.shared AND shared > 0); END"
    ),
    "marks": "CREATE TABLE marks (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL)",
    "positions": (
        "CREATE TABLE positions (session INTEGER NOT NULL, channel BLOB NOT NULL,"
        " event BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (session, channel)) WITHOUT ROWID"
    ),
}

FORMAT = Format(
    title="event log",
    application_id=0x48694576,
    version=2,
    tables={
        **_TABLES_1,
        # As SQLite writes it down when columns are added.
        "events": _EVENTS_1.replace(
            ", PRIMARY KEY", "".join(f", {column}" for column in _NEW_COLUMNS) + ", PRIMARY KEY"
        ),
        **_SESSIONS,
    },
    check_limit=256 << 20,
    upgrades={
        1: Upgrade(
            _TABLES_1,
            (
                *(f"ALTER TABLE events ADD COLUMN {column}" for column in _NEW_COLUMNS),
                *_SESSIONS.values(),
            ),
        )
    },
)

_QUEUED = Struct("<qqBBq")
_ONE = Struct("<q")


def channel_sum(name: str, incarnation: str) -> int:
    """Return the checksum of a channel's record (CRC-32, as all of this file)."""
    return zlib.crc32(f"{name}\0{incarnation}".encode())


def event_sum(channel: int, event: StoredEvent, total: int) -> int:
    """Return the checksum of a stored event."""
    head = f"{channel} {event.seq} {event.time} {total} {event.content_type}\0{event.source}"
    found = zlib.crc32(event.payload, zlib.crc32(head.encode()))
    if event.qos == 1 and not event.extras:  # all that version 1 knew
        return found
    return zlib.crc32(event.extras, zlib.crc32(f"{event.qos} ".encode(), found))


def session_sum(session: int, key: bytes, record: bytes) -> int:
    """Return the checksum of a session's record."""
    return zlib.crc32(record, zlib.crc32(b"%d %d %b" % (session, len(key), key)))


def queued_sum(row: int, place: int, qos: int, released: int, shared: int, body: bytes) -> int:
    """Return the checksum of a queued message."""
    return zlib.crc32(body, zlib.crc32(_QUEUED.pack(row, place, qos, released, shared)))


def body_sum(body_id: int, body: bytes) -> int:
    """Return the checksum of a body that several messages have."""
    return zlib.crc32(body, zlib.crc32(_ONE.pack(body_id)))


def mark_sum(row: int) -> int:
    """Return the checksum of a QoS 2 mark."""
    return zlib.crc32(_ONE.pack(row))


def position_sum(session: int, channel: bytes, event: bytes) -> int:
    """Return the checksum of a session's position in a channel."""
    return zlib.crc32(event, zlib.crc32(b"%d %d %b" % (session, len(channel), channel)))
