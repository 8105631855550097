"""Work in small steps that takes as long as it takes, while all clients have their turns."""

import asyncio
from collections import deque
from collections.abc import Hashable, Iterator
from time import perf_counter

from gateway.rota import MOMENT, TURN, Rota

Steps = Iterator[None]
"""Work: each step takes some microseconds."""


class Scans:
    """What is to be done for whom. Those who have much to do share the time evenly."""

    def __init__(self) -> None:
        self._rota = Rota()
        self._queues: dict[Hashable, _Queue] = {}
        self._until = 0.0

    def run(self, whose: Hashable, steps: Steps) -> None:
        """Do something at once if there is time, else bit by bit, behind what waits already."""
        queue = self._queues.get(whose)
        if queue is not None:
            queue.items.append(steps)
        elif not self._at_once(steps):
            queue = self._queues[whose] = _Queue(self, whose)
            queue.items.append(steps)
            self._rota.add(queue)

    def finished(self, whose: Hashable) -> asyncio.Future[None] | None:
        """Return a future of when all that waits now is done; None when that is nothing."""
        queue = self._queues.get(whose)
        if queue is None:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.items.append(future)
        return future

    def all_finished(self) -> list[asyncio.Future[None]]:
        """Return futures of when everything is done."""
        found = [self.finished(whose) for whose in tuple(self._queues)]
        return [future for future in found if future is not None]

    def forget(self, whose: Hashable) -> None:
        """Nothing is left to do for somebody."""
        self._queues.pop(whose, None)

    def _at_once(self, steps: Steps) -> bool:
        """Take steps for a moment; all that is done in one turn of the loop shares the moment."""
        if not self._until:
            self._until = perf_counter() + MOMENT
            asyncio.get_running_loop().call_soon(self._renew)
        return all(perf_counter() < self._until for _ in steps)

    def _renew(self) -> None:
        self._until = 0.0


class _Queue:
    """What is to be done for one client, in its order."""

    __slots__ = ("_scans", "_whose", "items")

    def __init__(self, scans: Scans, whose: Hashable) -> None:
        self._scans = scans
        self._whose = whose
        self.items: deque[Steps | asyncio.Future[None]] = deque()

    def work(self) -> bool:
        """Take some steps; return whether there are more."""
        end = perf_counter() + TURN
        items = self.items
        while items:
            item = items[0]
            if isinstance(item, asyncio.Future):
                if not item.done():
                    item.set_result(None)
            else:
                for _ in item:
                    if perf_counter() >= end:
                        return True
            items.popleft()
            if items and perf_counter() >= end:
                return True
        self._scans.forget(self._whose)
        return False

    def abort(self) -> None:
        """A step failed: leave it at that, and let nobody wait."""
        self._scans.forget(self._whose)
        for item in self.items:
            if isinstance(item, asyncio.Future) and not item.done():
                item.set_result(None)
