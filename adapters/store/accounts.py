"""Accounts in a small SQLite file of their own, written by one thread every few seconds.

After ``kill -9`` what was counted since the last write is missing; nothing else is.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from gateway.accounts import KINDS, Row, Used
from gateway.ports import StoreError

A = TypeVar("A")
R = TypeVar("R")

ROWS: Final = 50_000
"""Accounts of each kind that stay in the file: those not used for longest give way."""

_TABLE = """
CREATE TABLE IF NOT EXISTS accounts (
    kind TEXT NOT NULL, key TEXT NOT NULL, calls INTEGER NOT NULL, events INTEGER NOT NULL,
    errors INTEGER NOT NULL, received INTEGER NOT NULL, sent INTEGER NOT NULL, cpu REAL NOT NULL,
    updated INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID"""
_COLUMNS = "kind, key, calls, events, errors, received, sent, cpu, updated"
_OLDEST = """
DELETE FROM accounts WHERE kind = ? AND key IN (
    SELECT key FROM accounts WHERE kind = ? ORDER BY updated DESC LIMIT -1 OFFSET ?)"""


class AccountFile:
    """The file; ``findings`` is what was found wrong with it, for the operator."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "hilum accounts")
        self._database: sqlite3.Connection | None = None
        self.findings: list[str] = []

    async def load(self, most: int) -> Sequence[Row]:
        """Return the ``most`` rows of each kind that were used last; a damaged file is put aside.

        Accounts are no reason not to start.
        """
        return await self._run(self._load, most)

    async def save(self, rows: Sequence[Row]) -> None:
        """Replace rows, in one transaction; raises StoreError."""
        await self._run(self._save, rows)

    async def close(self) -> None:
        """Release the file."""
        await self._run(self._close, None)
        self._thread.shutdown()

    async def _run(self, work: Callable[[A], R], argument: A) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, argument)

    # In the thread

    def _load(self, most: int) -> list[Row]:
        try:
            return self._read(most)
        except sqlite3.DatabaseError as error:
            self._close(None)
            aside = self._path.with_suffix(".damaged")
            self.findings.append(f"{self._path} is damaged ({error}): it is now {aside.name}")
            try:
                self._path.replace(aside)
                return self._read(most)
            except (OSError, sqlite3.Error) as again:
                self._close(None)
                self.findings.append(f"accounts are not kept: {again}")
                return []

    def _read(self, most: int) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM accounts WHERE kind = ? ORDER BY updated DESC LIMIT ?"  # noqa: S608
        database = self._open()
        found = [row for kind in KINDS for row in database.execute(query, (kind, most))]
        return [Row(kind, key, Used(*used), at) for kind, key, *used, at in found]

    def _save(self, rows: Sequence[Row]) -> None:
        values = [(row.kind, row.key, *row.used, row.updated) for row in rows]
        places = ", ".join("?" * 9)
        try:
            database = self._open()
            with database:
                database.executemany(f"REPLACE INTO accounts VALUES ({places})", values)  # noqa: S608
                for kind in KINDS:
                    database.execute(_OLDEST, (kind, kind, ROWS))
        except sqlite3.Error as error:
            raise StoreError(f"accounts cannot be written to {self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            database = sqlite3.connect(self._path, check_same_thread=False)
            self._database = database
            self._path.chmod(0o600)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
        return self._database

    def _close(self, _: None) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()
