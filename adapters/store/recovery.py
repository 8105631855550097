"""What happens to the change log when it is opened: check it, set damage aside, or refuse."""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.store import snapshots
from adapters.store.chain import GENESIS, survey
from adapters.store.database import RESTORE, Database, Format
from adapters.store.snapshots import Header
from gateway.ports import StoreError

# An entry without a body is pruned; it stays, first of all, for its checksum.
FORMAT = Format(
    title="change log",
    application_id=0x48694C67,
    version=1,
    tables={
        "entries": "CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB, sum BLOB NOT NULL)",
        "quarantine": (
            "CREATE TABLE quarantine (id INTEGER PRIMARY KEY, time INTEGER NOT NULL,"
            " reason TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB, sum BLOB)"
        ),
        **snapshots.TABLES,
    },
    check_limit=1 << 40,
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the log ends, and what had to be done to it."""

    head: int
    chain: bytes
    findings: tuple[str, ...]


def recover(database: Database) -> Recovered:
    """Check the chain of checksums from the newest sound snapshot on, and repair the rest.

    A damaged tail goes to the table ``quarantine``; damage before the snapshot only costs
    history. Raises StoreError for damage in the middle, which cannot be repaired.
    """
    connection = database.writer
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "DELETE FROM snapshot_parts WHERE snapshot IN (SELECT id FROM snapshots WHERE NOT complete)"
    )
    connection.execute("DELETE FROM snapshots WHERE NOT complete")
    snapshot, findings = snapshots.newest(connection)
    if snapshot is None:
        _need_whole_log(connection, database.path)
        start, chain = 0, GENESIS
    else:
        start, chain = snapshot.seq, snapshot.chain
        findings += _check_history(connection, snapshot)
    recent = survey(_rows(connection, start), start, chain)
    if recent.inside:
        raise _damaged(
            database.path,
            f"{_listed(recent.inside)} damaged or missing, but entries after that are sound",
        )
    if recent.tail:
        _quarantine(connection, recent.tail, "damaged at the end of the log")
        findings.append(
            f"{_listed(recent.tail)} damaged (a torn write, or a failing disk): moved to the table"
            f" quarantine; the log goes on after entry {recent.head}"
        )
    connection.execute("COMMIT")
    findings += _check_mark(database, recent.head)
    return Recovered(recent.head, recent.chain, tuple(findings))


def _rows(
    connection: sqlite3.Connection, after: int, last: int = (1 << 63) - 1
) -> Iterable[tuple[int, Any, Any]]:
    return connection.execute(
        "SELECT seq, CAST(body AS BLOB), CAST(sum AS BLOB) FROM entries"
        " WHERE seq>? AND seq<=? ORDER BY seq",
        (after, last),
    )


def _need_whole_log(connection: sqlite3.Connection, path: Path) -> None:
    pruned, _ = _pruned(connection)
    if pruned:
        raise _damaged(path, f"no snapshot is sound, and entries up to {pruned} are pruned")


def _pruned(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Return the last pruned entry and its checksum."""
    row: tuple[int, bytes] | None = connection.execute(
        "SELECT seq, CAST(sum AS BLOB) FROM entries"
        " WHERE seq=(SELECT min(seq) FROM entries) AND body IS NULL"
    ).fetchone()
    return row or (0, GENESIS)


def _check_history(connection: sqlite3.Connection, snapshot: Header) -> list[str]:
    """Check the entries that the snapshot replaces; with damage in them it becomes the start."""
    start, chain = _pruned(connection)
    found = survey(_rows(connection, start, snapshot.seq), start, chain)
    damaged = found.inside + found.tail
    if not damaged and (found.head, found.chain) == (snapshot.seq, snapshot.chain):
        return []
    _quarantine(connection, damaged, "damaged before the snapshot")
    connection.execute("DELETE FROM entries WHERE seq<=?", (snapshot.seq,))
    connection.execute("INSERT INTO entries VALUES (?,NULL,?)", (snapshot.seq, snapshot.chain))
    return [
        f"entries up to {snapshot.seq} were damaged or missing ({len(damaged)} moved to the table"
        " quarantine); nothing is lost, the snapshot of that entry is sound and replaces them"
    ]


def _quarantine(connection: sqlite3.Connection, seqs: Sequence[int], reason: str) -> None:
    now = int(time.time())
    connection.executemany(
        "INSERT INTO quarantine (time, reason, seq, body, sum)"
        " SELECT ?, ?, seq, body, sum FROM entries WHERE seq=?",
        [(now, reason, seq) for seq in seqs],
    )
    connection.executemany("DELETE FROM entries WHERE seq=?", [(seq,) for seq in seqs])


def _check_mark(database: Database, head: int) -> list[str]:
    mark = database.lock.mark
    database.lock.set_mark(head)
    if head >= mark:
        return []
    return [
        f"{mark - head} acknowledged entries are missing: the log ends at {head}, but reached"
        f" {mark} (was {database.path.name}-wal removed or damaged, or an older copy restored?)"
    ]


def _listed(seqs: Sequence[int]) -> str:
    if len(seqs) == 1:
        return f"entry {seqs[0]} is"
    return f"{len(seqs)} entries between {seqs[0]} and {seqs[-1]} are"


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"the change log {path} is damaged: {what}. {RESTORE}")
