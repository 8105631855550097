"""Files that an older version wrote are brought up to date when they are opened."""

import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace

import pytest

from adapters.store import open_event_log
from adapters.store.database import Upgrade, open_database
from adapters.store.eventfile import FORMAT
from gateway.message import Mark
from gateway.ports import ChannelTail, DeadLetter, Keep, StoredEvent, StoreError

# As Hilum 1 made it, before events had a QoS and sessions were stored.
VERSION_1 = """
CREATE TABLE channels (id INTEGER PRIMARY KEY, name TEXT UNIQUE, incarnation TEXT NOT NULL, \
sum INTEGER NOT NULL);
CREATE TABLE events (channel INTEGER NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL, \
total INTEGER NOT NULL, type TEXT NOT NULL, source TEXT NOT NULL, payload BLOB NOT NULL, \
sum INTEGER NOT NULL, PRIMARY KEY (channel, seq)) WITHOUT ROWID;
CREATE TABLE cursors (channel INTEGER NOT NULL, binding TEXT NOT NULL, seq INTEGER NOT NULL, \
PRIMARY KEY (channel, binding)) WITHOUT ROWID;
CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, binding TEXT NOT NULL, \
channel TEXT NOT NULL, event TEXT NOT NULL, time INTEGER NOT NULL, attempts INTEGER NOT NULL, \
error TEXT NOT NULL, type TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA application_id=1214858614;
PRAGMA user_version=1;
"""


@pytest.fixture
def path(tmp_path):
    """Return a file of version 1, with one channel, a cursor and a dead letter."""
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1)
        total = zlib.crc32("a/ü\0ab12cd34ab12cd34".encode())
        connection.execute("INSERT INTO channels VALUES (1,'a/ü','ab12cd34ab12cd34',?)", [total])
        for seq in range(1, 101):
            payload = b"payload %d" % seq
            head = f"1 {seq} {seq * 10} {seq * 20} text/plain\0user:1".encode()
            row = (seq, seq * 10, seq * 20, payload, zlib.crc32(payload, zlib.crc32(head)))
            connection.execute("INSERT INTO events VALUES (1,?,?,?,'text/plain','user:1',?,?)", row)
        connection.execute("INSERT INTO cursors VALUES (1,'binding',7)")
        connection.execute("INSERT INTO letters VALUES (3,'b','a/ü','x-1',5,8,'no','t',x'00')")
    return path


def version(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


async def test_an_event_log_of_version_1_goes_on(path):
    for seq in (101, 102):
        log = await open_event_log(path)
        assert log.findings == ()
        assert await log.open("a/ü") == ChannelTail("ab12cd34ab12cd34", 1, seq - 1)
        log.sessions.put("session", b"record")
        event = StoredEvent(0, 2_000, "text/plain", "user:1", b"new", 2, b"extras")
        assert await log.append("a/ü", event, Keep(), Mark("session", seq)) == seq
        events = await log.read("a/ü", 0, 1_000)
        assert [one.seq for one in events] == list(range(1, seq + 1))
        assert events[99] == StoredEvent(100, 1_000, "text/plain", "user:1", b"payload 100", 1, b"")
        assert (events[100].qos, events[100].extras) == (2, b"extras")
        assert await log.cursor("a/ü", "binding") == 7
        letter = DeadLetter(3, "b", "a/ü", "x-1", 5, 8, "no", "t", b"\0")
        assert await log.letters(0, 9) == [letter]
        await log.close()
        assert version(path) == FORMAT.version
    assert version(path) == 2


async def test_an_upgrade_is_all_or_nothing(path):
    first = FORMAT.upgrades[1]
    failing = Upgrade(first.tables, (*first.statements, "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(StoreError, match="no such table: nowhere"):
        open_database(path, replace(FORMAT, upgrades={1: failing}))
    assert version(path) == 1
    log = await open_event_log(path)
    assert len(await log.read("a/ü", 0, 1_000)) == 100
    await log.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE events ADD COLUMN qos INTEGER NOT NULL DEFAULT 1",
        "DROP TABLE counters",
        "CREATE TABLE sessions (id INTEGER PRIMARY KEY)",
        "PRAGMA user_version=2",
        "PRAGMA user_version=0",
    ],
)
async def test_what_is_of_no_known_version_is_refused(path, change):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="damaged: its schema changed"):
        await open_event_log(path)
    assert path.read_bytes() == before
