"""Turns for connections that have more to do than is fair at once.

However many of them there are, they get one moment of each pass of the loop, all together.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol, TypeVar

MOMENT = 0.001
"""Seconds of one pass of the loop, for all of them together."""
TURN = 0.0002
"""Seconds of one turn, unless a single piece takes longer."""

log = logging.getLogger("hilum.turns")

SLICE = 128
"""Items that are done at once."""

T = TypeVar("T")


class Worker(Protocol):
    """A connection with something to do."""

    def work(self) -> bool:
        """Do a little of it; return whether there is more."""
        ...

    def abort(self) -> None:
        """Give up: it failed."""
        ...


class Rota:
    """Who waits for a turn, longest first."""

    def __init__(self) -> None:
        self._waiting: deque[Worker] = deque()

    def add(self, worker: Worker) -> None:
        """Let a connection wait for its turn; it must not wait already."""
        self._waiting.append(worker)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        waiting, end = self._waiting, perf_counter() + MOMENT
        while waiting and perf_counter() < end:
            # It stays in its place meanwhile, so that this is scheduled once only.
            if _works(waiting[0]):
                waiting.rotate(-1)
            else:
                waiting.popleft()
        if waiting:
            asyncio.get_running_loop().call_soon(self._run)


def in_slices(items: Sequence[T], do: Callable[[T], None], begin: int = 0) -> None:
    """Do something with each item, some at once; then others have their turn."""
    end = begin + SLICE
    for item in items[begin:end]:
        do(item)
    if end < len(items):
        asyncio.get_running_loop().call_soon(in_slices, items, do, end)


def _works(worker: Worker) -> bool:
    try:
        return worker.work()
    except Exception:  # one connection's fault must not stop all others
        log.exception("a connection failed")
        worker.abort()
        return False
