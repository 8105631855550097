"""Checks chosen passwords in threads, a bounded number at a time, in turns between sources.

Argon2 costs some twenty milliseconds of a processor by intention. The threads have a lower
priority than the loop, and who waits is bounded in number and time: a storm of reconnects takes
longer, but the site goes on.
"""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

from gateway.rota import in_slices

NICE: Final = 10
PATIENCE: Final = 30.0
"""Seconds that a check waits at most; most clients have given up by then."""


class Job:
    """One check that waits or runs; ``cancel`` when nobody wants the answer any more."""

    __slots__ = ("_then", "since", "still", "work")

    def __init__(
        self,
        work: Callable[[], bool],
        then: Callable[[bool | None], None],
        still: Callable[[], bool],
        since: float,
    ) -> None:
        self.work = work
        self.still = still
        self.since = since
        self._then: Callable[[bool | None], None] | None = then

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._then is not None

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._then = None

    def answer(self, right: bool | None) -> None:
        """Tell who waits; None: there was no time for it."""
        then, self._then = self._then, None
        if then is not None:
            then(right)


class Verifier:
    """The threads and who waits for them. Only the loop's thread may call it."""

    def __init__(self, threads: int = 2, waiting: int = 20_000) -> None:
        self._threads = threads
        self._limit = waiting
        self._pool: ThreadPoolExecutor | None = None
        self._queues: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = 0
        self.running = 0

    def check(
        self,
        source: str,
        work: Callable[[], bool],
        then: Callable[[bool | None], None],
        still: Callable[[], bool],
    ) -> Job | None:
        """Do a check in a thread; ``then`` is called later, unless it is cancelled.

        ``still`` says, when its turn has come, whether it is worth the work: ``then`` hears None
        if not. None: too many wait, and this source has its share of them.
        """
        loop = asyncio.get_running_loop()
        if self.waiting >= self._limit and not self._make_room(source):
            return None
        job = Job(work, then, still, loop.time())
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = deque()
            self._turns.append(source)
        queue.append(job)
        self.waiting += 1
        self._go_on()
        if self._timer is None:
            self._timer = loop.call_later(1.0, self._look_at_clock)
        return job

    def close(self) -> None:
        """End the threads; nobody who waits gets an answer."""
        self._queues.clear()
        self._turns.clear()
        self.waiting = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, source: str) -> bool:
        """Send one away who came last from the source with the most, unless that is this one."""
        most = max(self._queues, key=lambda name: len(self._queues[name]))
        if most == source or len(self._queues[most]) <= len(self._queues.get(source, ())) + 1:
            return False
        self.waiting -= 1
        job = self._queues[most].pop()
        asyncio.get_running_loop().call_soon(job.answer, None)
        return True

    def _next(self) -> Job | None:
        """Return the next check in turns between sources."""
        while self._turns:
            source = self._turns.popleft()
            queue = self._queues[source]
            while queue:
                job = queue.popleft()
                self.waiting -= 1
                if job.wanted and job.still():
                    self._turns.append(source)
                    return job
                asyncio.get_running_loop().call_soon(job.answer, None)
            del self._queues[source]
        return None

    def _go_on(self) -> None:
        while self.running < self._threads and (job := self._next()) is not None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "hilum-passwords", _step_back)
            self.running += 1
            loop = asyncio.get_running_loop()
            future = self._pool.submit(job.work)
            future.add_done_callback(partial(_hand_over, loop, partial(self._done, job)))

    def _done(self, job: Job, future: "Future[bool]") -> None:
        self.running -= 1
        job.answer(None if future.cancelled() or future.exception() else future.result())
        self._go_on()

    def _look_at_clock(self) -> None:
        """Send those away who have waited for too long: their clients will come again."""
        loop = asyncio.get_running_loop()
        late = loop.time() - PATIENCE
        gone: list[Job] = []
        for queue in list(self._queues.values()):
            while queue and (queue[0].since < late or not queue[0].wanted):
                self.waiting -= 1
                gone.append(queue.popleft())
        in_slices(gone, _send_away)  # after a storm there are thousands
        self._timer = loop.call_later(1.0, self._look_at_clock) if self.waiting else None


def _send_away(job: Job) -> None:
    job.answer(None)


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    done: Callable[["Future[bool]"], None],
    future: "Future[bool]",
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(done, future)


def _step_back() -> None:
    """Let the loop's thread go first, where the system has priorities of threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
