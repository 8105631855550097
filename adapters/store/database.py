"""One SQLite file of ours: lock, connections, schema version and integrity check."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters.store.lock import FileLock
from gateway.ports import StoreError

RESTORE = (
    "Restore it together with its -wal file from a copy,"
    " or move it and its .lock file aside to begin with an empty one."
)
_DAMAGED = "the file is damaged"
_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk reported an input/output error",
    "SQLITE_READONLY": "the file cannot be written",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": "the file is damaged, or is no database",
    "SQLITE_BUSY": "another program holds a lock on the file",
}


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What tables a file of an older version has, and the statements that make it the next one."""

    tables: Mapping[str, str]
    statements: Sequence[str]


@dataclass(frozen=True, slots=True)
class Format:
    """What a file must be: its kind, schema version and tables (name -> CREATE statement).

    Files above ``check_limit`` bytes are opened without reading all of their pages first, and
    those of a version in ``upgrades`` are brought up to date.
    """

    title: str
    application_id: int
    version: int
    tables: Mapping[str, str]
    check_limit: int
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)


@dataclass(slots=True)
class Database:
    """An open file: a connection for the writer's thread, one for the reader's, and the lock."""

    path: Path
    title: str
    writer: sqlite3.Connection
    reader: sqlite3.Connection
    lock: FileLock
    created: bool

    def close(self) -> None:
        """Close everything; SQLite then moves the write-ahead log into the database."""
        self.reader.close()
        self.writer.close()
        self.lock.release()


def explain(error: sqlite3.Error) -> str:
    """Say in words what an error of SQLite means."""
    name: str = getattr(error, "sqlite_errorname", "") or ""
    for prefix, reason in _REASONS.items():
        if name.startswith(prefix):
            text = f"{reason} ({error})"
            return f"{text}. {RESTORE}" if reason.startswith(_DAMAGED) else text
    return str(error)


@contextlib.contextmanager
def errors_explained(doing: str) -> Iterator[None]:
    """Turn errors of SQLite and the operating system into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{doing}: {explain(error)}") from error
    except UnicodeDecodeError as error:  # names and messages of SQLite quote what they read
        raise StoreError(f"{doing}: {_DAMAGED} ({error}). {RESTORE}") from error
    except OSError as error:
        raise StoreError(f"{doing}: {error.strerror or error}") from error


def open_database(path: Path, expected: Format) -> Database:
    """Lock, open (or create, 0600 in a 0700 directory) and check a file; blocks.

    Raises StoreError when it is in use, of another kind, newer than this program or damaged.
    """
    with (
        errors_explained(f"cannot open the {expected.title} {path}"),
        contextlib.ExitStack() as undo,
    ):
        path = path.resolve()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + ".lock"), path)
        undo.callback(lock.release)
        _create_private(path)
        writer = undo.enter_context(contextlib.closing(_connect(path)))
        version = _check_kind(writer, path, expected)
        created = version == 0
        if created and lock.mark:
            raise StoreError(
                f"the {expected.title} {path} is missing or empty, but {lock.mark} entries were"
                f" acknowledged: restore it from a copy, or delete {lock.path} to begin anew"
            )
        _configure(writer, path)
        if created:
            _create_schema(writer, expected)
            _sync_directory(path.parent)
        elif path.stat().st_size <= expected.check_limit:
            _check_pages(writer, path, expected)
        if not created:
            _upgrade(writer, expected, version)
        reader = undo.enter_context(contextlib.closing(_connect(path)))
        reader.execute("PRAGMA query_only=ON")
        undo.pop_all()
    return Database(path, expected.title, writer, reader, lock, created)


def _create_private(path: Path) -> None:
    # Before SQLite does it: the -wal and -shm files then get the same mode.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA cell_size_check=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _check_kind(connection: sqlite3.Connection, path: Path, expected: Format) -> int:
    """Return the file's version, 0 for a new one; refuse what is not exactly of that kind."""
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = dict(
        connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
    )
    if (kind, version, tables) == (0, 0, {}):
        return 0
    if kind != expected.application_id:
        raise StoreError(f"{path} is not a {expected.title} of Hilum")
    if version > expected.version:
        raise StoreError(
            f"the {expected.title} {path} has schema version {version}, this program knows"
            f" {expected.version}: use the newer Hilum that wrote it"
        )
    old = expected.upgrades.get(version)
    known = old.tables if old else expected.tables if version == expected.version else {}
    if tables != dict(known):
        raise StoreError(f"the {expected.title} {path} is damaged: its schema changed. {RESTORE}")
    return int(version)


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{path}: its file system cannot do write-ahead logging (it said {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=OFF")  # else pruning writes every freed page
    connection.execute("PRAGMA wal_autocheckpoint=0")  # the writer does it after it has answered
    connection.execute("PRAGMA recursive_triggers=ON")  # so that replaced rows fire them too
    connection.execute(f"PRAGMA journal_size_limit={64 << 20}")


def _create_schema(connection: sqlite3.Connection, expected: Format) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in expected.tables.values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={expected.application_id}")
    connection.execute(f"PRAGMA user_version={expected.version}")
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection, expected: Format, version: int) -> None:
    """Take an older file to the expected version: all of it, or none of it."""
    if version == expected.version:
        return
    connection.execute("BEGIN IMMEDIATE")
    for older in range(version, expected.version):
        for statement in expected.upgrades[older].statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={expected.version}")
    connection.execute("COMMIT")


def _check_pages(connection: sqlite3.Connection, path: Path, expected: Format) -> None:
    # Not quick_check: it is hardly faster, and passes rows that are out of order.
    rows = connection.execute("PRAGMA integrity_check(3)")
    errors = [" ".join(text.split()) for (text,) in rows]
    if errors != ["ok"]:
        found = "; ".join(errors).removeprefix("*** in database main *** ")
        raise StoreError(f"the {expected.title} {path} is damaged: {found}. {RESTORE}")
