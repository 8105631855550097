"""Keeps the replica that queries run on current with the index."""

import asyncio
import os
import tempfile
from pathlib import Path

from gateway.directory.indexing import Indexing
from gateway.directory.queries import Engine
from registry.index.index import Index, IndexDelta


class Replicating:
    """Feeds an engine: a file of all there is, then each change as it comes.

    Each change is sent at once, before the change itself is acknowledged, so a query that comes
    later finds it; ``generation`` is that of the newest that was sent.
    """

    def __init__(self, indexing: Indexing, engine: Engine, folder: Path) -> None:
        self.generation = 0
        self._indexing = indexing
        self._engine = engine
        self._folder = folder
        self._held: list[IndexDelta] | None = None
        self._started = False
        self._again: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        indexing.changed.append(self._changed)

    async def refill(self) -> None:
        """Tell an engine that knows nothing all there is."""
        async with self._busy:
            self._started = True
            self._held = []
            index, generation = self._indexing.index, self._indexing.generation
            path = await asyncio.to_thread(_written, index, self._folder)
            self._engine.load(generation, path)
            self.generation = generation
            held, self._held = self._held, None
            for delta in held:
                self._send(delta)

    async def stop(self) -> None:
        """End what goes on."""
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)

    def _changed(self, delta: IndexDelta) -> None:
        if not self._started:
            return
        if delta.whole:
            self._again = asyncio.get_running_loop().create_task(self.refill())
            return
        if self._held is not None:
            self._held.append(delta)
        # Also while a file is written: what is gone must not be found in the replica of before.
        self._send(delta)

    def _send(self, delta: IndexDelta) -> None:
        cleared = tuple(graph.value for graph in delta.cleared)
        self._engine.feed(delta.generation, cleared, delta.came())
        self.generation = delta.generation


def _written(index: Index, folder: Path) -> Path:
    for left in folder.glob("replica-*.nq"):  # by a process that ended before it was read
        left.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(".nq", "replica-", folder)
    with os.fdopen(descriptor, "wb") as file:
        index.dump(file)
    return Path(name)
