"""Reads of one file, in a thread of their own, so that they never wait for a commit."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapters.store.database import Database, errors_explained
from gateway.ports import StoreError

T = TypeVar("T")


class Reader:
    """One reading connection; each read sees all that was committed when it began."""

    def __init__(self, database: Database) -> None:
        self._connection = database.reader
        self._title = f"the {database.title}"
        self._executor = ThreadPoolExecutor(1, f"hilum {database.title} reader")
        self._closed = False

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the reader's thread."""
        if self._closed:
            raise StoreError(f"{self._title}: closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._run, work)

    async def close(self) -> None:
        """Finish what is being read."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with errors_explained(f"{self._title}: cannot read"):
            return work(self._connection)
