"""The site's side of the keeper: feeds it, hands it queries fairly, starts it again."""

import asyncio
import logging
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from adapters.sparql.messages import Cancel, Documents, Feed, Frames, ToKeeper, frame, from_keeper
from gateway.directory.queries import Answer, Ask
from gateway.message import Refusal, Status

log = logging.getLogger("hilum.search")

ROOT = Path(__file__).resolve().parents[2]
GRACE = 3.0
"""Seconds beyond a deadline after which the keeper itself counts as stuck."""
PATIENCE = 15.0
"""Seconds that a query waits for its turn."""
_PIECE = 1 << 20


class Pool:
    """Queries in processes; at most ``running`` at a time, ``waiting`` in the queue.

    ``refill`` tells a new keeper all there is. Of one principal at most an eighth of the queue
    waits, and principals take turns; the last free process is for one who has none. The keeper
    starts with the first query.
    """

    def __init__(self, running: int = 2, waiting: int = 64) -> None:
        self.refill: Callable[[], Awaitable[None]] = _nothing
        self._slots = running
        self._limit = waiting
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = 0
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self.restarts = 0
        self.outcomes: dict[str, int] = {}
        """How queries ended, for metrics."""

    @property
    def waiting(self) -> int:
        """How many queries wait for a process."""
        return sum(map(len, self._queues.values()))

    @property
    def busy(self) -> int:
        """How many queries run."""
        return self._running.total()

    async def start(self) -> None:
        """Start the keeper and feed it, once; it is started again whenever it ends."""
        async with self._starting:
            if self._task is None:
                process = await self._spawn()
                self._task = asyncio.get_running_loop().create_task(self._keep(process))

    async def stop(self) -> None:
        """End the keeper and what it runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._fail("the site stops")

    def tell(self, message: ToKeeper) -> None:
        """Send a message to the keeper; while there is none, nothing: a new one is told all."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            process.stdin.write(frame(message))

    def feed(self, generation: int, cleared: tuple[str, ...], quads: bytes) -> None:
        """Let the replica follow a change of the index."""
        self.tell(Feed(generation, cleared=cleared, quads=quads))

    def load(self, generation: int, path: Path) -> None:
        """Let the replica begin anew with a file of N-Quads."""
        self.tell(Feed(generation, path=str(path)))

    def documents(self, put: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
        """Let the descriptions follow."""
        self.tell(Documents(put, gone))

    async def ask(self, principal: str, make: Callable[[], Ask]) -> Answer:
        """Run a query when it is its turn, made just then. Raises Refusal when too many wait."""
        if self._task is None:
            await self.start()
        await self._turn(principal)
        try:
            answer = await self._answer(make)
        finally:
            self._end(principal)
        self.outcomes[answer.outcome] = self.outcomes.get(answer.outcome, 0) + 1
        return answer

    async def _answer(self, make: Callable[[], Ask]) -> Answer:
        if self._process is None:
            raise _unavailable("the process that answers queries is being started")
        ask = make()
        self._numbers += 1
        number = self._numbers
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self.tell(replace(ask, number=number))
        try:
            async with asyncio.timeout(ask.seconds + GRACE):
                return await future
        except TimeoutError:
            log.warning("the keeper of the replica does not answer: it is started again")
            if self._process is not None and not self._asked.keys() - {number}:
                self._process.kill()
            return Answer(number, "time", detail=f"the query took longer than {ask.seconds:g} s")
        finally:
            del self._asked[number]
            if future.cancelled():
                self.tell(Cancel(number))

    # Turns

    async def _turn(self, principal: str) -> None:
        if self._may_run(principal):
            self._running[principal] += 1
            return
        queue = self._queues.setdefault(principal, deque())
        if self.waiting >= self._limit or len(queue) >= max(1, self._limit // 8):
            if not queue:
                del self._queues[principal]
            raise _unavailable("too many queries wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._end(principal)
            else:
                self._leave(principal, turn)
            if isinstance(error, TimeoutError):
                raise _unavailable("other queries took too long") from None
            raise

    def _leave(self, principal: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(principal)
        if queue is not None:
            with suppress(ValueError):
                queue.remove(turn)
            if not queue:
                del self._queues[principal]

    def _may_run(self, principal: str) -> bool:
        """Return whether a query may begin: who has some does not get the last process."""
        free = self._slots - self.busy
        return free > (1 if self._running[principal] else 0)

    def _end(self, principal: str) -> None:
        """Give the place of a query that ended to the principal whose turn it is."""
        self._running[principal] -= 1
        if not self._running[principal]:
            del self._running[principal]
        for each in tuple(self._queues):
            queue = self._queues[each]
            while queue and self._may_run(each):
                turn = queue.popleft()
                self._queues.move_to_end(each)
                if not turn.done():
                    self._running[each] += 1
                    turn.set_result(None)
            if not queue:
                del self._queues[each]

    # The keeper

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "adapters.sparql.keeper",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            await self.refill()
        except BaseException:
            self._process = None
            process.kill()
            await process.wait()
            raise
        return process

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        while True:
            await self._listen(process)
            self._process = None
            code = await process.wait()
            log.warning("the keeper of the replica ended (%s): it is started again", code)
            self._fail("the process that answers queries ended")
            process = await self._again()

    async def _again(self) -> asyncio.subprocess.Process:
        """Start another keeper, however long that takes."""
        while True:
            self.restarts += 1
            await asyncio.sleep(min(0.1 * self.restarts, 5.0))
            try:
                return await self._spawn()
            except OSError as error:
                log.warning("no keeper of the replica can be started: %s", error)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        frames = Frames()
        if process.stdout is None:
            return
        while data := await process.stdout.read(_PIECE):
            for body in frames.feed(data):
                answer = from_keeper(body)
                future = self._asked.get(answer.number)
                if future is not None and not future.done():
                    future.set_result(answer)

    def _fail(self, why: str) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(_unavailable(why))


async def _nothing() -> None:
    pass


def _unavailable(why: str) -> Refusal:
    return Refusal(Status.UNAVAILABLE, f"{why}: ask again", retry_after=1)
