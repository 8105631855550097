"""Snapshots in the change log's file: parts with checksums, made true by a final mark."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct

from adapters.store.chain import checksum
from adapters.store.writer import Transaction
from gateway.ports import StoreError

TABLES = {
    "snapshots": (
        "CREATE TABLE snapshots (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL,"
        " chain BLOB NOT NULL, records INTEGER NOT NULL, parts INTEGER NOT NULL,"
        " sum BLOB NOT NULL, complete INTEGER NOT NULL)"
    ),
    "snapshot_parts": (
        "CREATE TABLE snapshot_parts (snapshot INTEGER NOT NULL, part INTEGER NOT NULL,"
        " records INTEGER NOT NULL, data BLOB NOT NULL, sum BLOB NOT NULL,"
        " PRIMARY KEY (snapshot, part))"
    ),
}

# An append may have to wait for one part's commit, so a part is small.
PART_BYTES = 256 << 10
KEPT = 2
RECORD_BYTES = 16 << 20
_LENGTH = Struct(">I")


@dataclass(frozen=True, slots=True)
class Header:
    """A finished snapshot: the state after entry ``seq``, whose checksum is ``chain``."""

    id: int
    seq: int
    chain: bytes
    records: int
    parts: int
    sum: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Some records in a row, each behind its length."""

    records: int
    data: bytes


def pack(records: Iterable[bytes]) -> Iterator[Part]:
    """Gather records into parts.

    Raises StoreError for a record above RECORD_BYTES.
    """
    data, count = bytearray(), 0
    for record in records:
        if len(record) > RECORD_BYTES:
            raise StoreError(f"a snapshot record has {len(record)} bytes, {RECORD_BYTES} may be")
        data += _LENGTH.pack(len(record))
        data += record
        count += 1
        if len(data) >= PART_BYTES:
            yield Part(count, bytes(data))
            data, count = bytearray(), 0
    if count:
        yield Part(count, bytes(data))


def unpack(data: bytes) -> Iterator[bytes]:
    """Yield the records of a part."""
    start = 0
    while start < len(data):
        begin = start + _LENGTH.size
        start = begin + _LENGTH.unpack_from(data, start)[0]
        yield data[begin:start]


def begin(transaction: Transaction, seq: int, chain: bytes) -> int:
    """Begin a snapshot and return its id."""
    transaction.execute(
        "INSERT INTO snapshots (seq, chain, records, parts, sum, complete) VALUES (?,?,0,0,x'',0)",
        seq,
        chain,
    )
    snapshot: int = transaction.query("SELECT last_insert_rowid()")[0][0]
    return snapshot


def add(transaction: Transaction, snapshot: int, number: int, part: Part) -> None:
    """Store one part."""
    transaction.execute(
        "INSERT INTO snapshot_parts VALUES (?,?,?,?,?)",
        snapshot,
        number,
        part.records,
        part.data,
        checksum(part.data),
    )


def complete(transaction: Transaction, snapshot: int) -> None:
    """Make a snapshot count: from here on it is read and outlives a restart."""
    ((seq, chain),) = transaction.query("SELECT seq, chain FROM snapshots WHERE id=?", snapshot)
    rows = transaction.query(
        "SELECT records, sum FROM snapshot_parts WHERE snapshot=? ORDER BY part", snapshot
    )
    records = sum(count for count, _ in rows)
    total = _total(seq, chain, records, [part for _, part in rows])
    transaction.execute(
        "UPDATE snapshots SET records=?, parts=?, sum=?, complete=1 WHERE id=?",
        records,
        len(rows),
        total,
        snapshot,
    )


def newest(connection: sqlite3.Connection) -> tuple[Header | None, list[str]]:
    """Return the newest sound snapshot, and what is wrong with newer ones; reads all its bytes."""
    findings: list[str] = []
    rows = connection.execute(
        "SELECT id, seq, CAST(chain AS BLOB), records, parts, CAST(sum AS BLOB) FROM snapshots"
        " WHERE complete ORDER BY id DESC"
    ).fetchall()
    for row in rows:
        header = Header(*row)
        if _is_sound(connection, header):
            return header, findings
        findings.append(f"the snapshot of entry {header.seq} is damaged and was not used")
    return None, findings


def load(connection: sqlite3.Connection, header: Header) -> list[bytes]:
    """Return the records of a sound snapshot."""
    records: list[bytes] = []
    for data, _ in _parts(connection, header.id):
        records.extend(unpack(data))
    return records


def shrink(transaction: Transaction) -> bool:
    """Delete some of what replaced and unfinished snapshots left; True while there is more."""
    rows = transaction.query(
        "SELECT id FROM snapshots WHERE NOT complete OR id NOT IN"
        " (SELECT id FROM snapshots WHERE complete ORDER BY id DESC LIMIT ?) LIMIT 1",
        KEPT,
    )
    if not rows:
        return False
    (snapshot,) = rows[0]
    transaction.execute(
        "DELETE FROM snapshot_parts WHERE rowid IN"
        " (SELECT rowid FROM snapshot_parts WHERE snapshot=? LIMIT 8)",
        snapshot,
    )
    if not transaction.query("SELECT 1 FROM snapshot_parts WHERE snapshot=? LIMIT 1", snapshot):
        transaction.execute("DELETE FROM snapshots WHERE id=?", snapshot)
    return True


def replaced_before(transaction: Transaction) -> int:
    """Return the entry up to which no kept snapshot needs the log, 0 with fewer than two."""
    rows = transaction.query(
        "SELECT seq FROM snapshots WHERE complete ORDER BY id DESC LIMIT ?", KEPT
    )
    return min(seq for (seq,) in rows) if len(rows) == KEPT else 0


def _parts(connection: sqlite3.Connection, snapshot: int) -> Iterator[tuple[bytes, bytes]]:
    yield from connection.execute(
        "SELECT CAST(data AS BLOB), CAST(sum AS BLOB) FROM snapshot_parts"
        " WHERE snapshot=? ORDER BY part",
        (snapshot,),
    )


def _is_sound(connection: sqlite3.Connection, header: Header) -> bool:
    sums = []
    for data, total in _parts(connection, header.id):
        if checksum(data) != total:
            return False
        sums.append(total)
    expected = _total(header.seq, header.chain, header.records, sums)
    return len(sums) == header.parts and expected == header.sum


def _total(seq: int, chain: bytes, records: int, sums: list[bytes]) -> bytes:
    return checksum(b"%d %d %d " % (seq, records, len(sums)), chain, *sums)
