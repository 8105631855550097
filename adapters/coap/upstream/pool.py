"""Lines to one CoAP server: opened when a call needs one, closed when none did for a while."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from adapters.coap.upstream.line import DatagramLine, Line
from adapters.coap.upstream.stream import StreamLine
from gateway.egress import Egress, Forbidden, Origin

LINES = 16
"""Calls that one server is asked at the same time."""
WAITING = 1024
IDLE_SECONDS = 30.0
"""A line that was not used for so long is closed: its server's address may be another by now."""
CONNECT_SECONDS = 5.0
ENDPOINTS: dict[str, type[DatagramLine | StreamLine]] = {
    "coap": DatagramLine,
    "coap+tcp": StreamLine,
}


class Unreachable(Exception):
    """No line could be opened; the text says why."""


class Waiter(Protocol):
    """A call that wants a line."""

    def start(self, line: Line) -> None:
        """Here is one; it is given back by ``free``."""
        ...

    def fail_unsent(self, why: str) -> None:
        """There is none."""
        ...


async def open_line(egress: Egress, origin: Origin, turn: int = 0) -> Line:
    """Open a socket to an address that may be connected to; raises Unreachable.

    No datagram tells which address is best: after a failure, take the next ``turn``.
    """
    loop = asyncio.get_running_loop()
    where = f"{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            addresses = await egress.resolve(origin)
            if origin.scheme == "coap":
                address = addresses[turn % len(addresses)]
                _, line = await loop.create_datagram_endpoint(
                    DatagramLine, remote_addr=(address, origin.port)
                )
                return line
            return await _connect(addresses, origin.port)
    except TimeoutError:
        raise Unreachable(f"cannot connect to {where} in time") from None
    except (Forbidden, OSError, UnicodeError) as error:
        raise Unreachable(f"cannot connect to {where}: {error}") from None


async def _connect(addresses: list[str], port: int) -> Line:
    loop = asyncio.get_running_loop()
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(CONNECT_SECONDS / len(addresses)):
                _, line = await loop.create_connection(StreamLine, address, port)
                return await _welcomed(line)
    _, line = await loop.create_connection(StreamLine, addresses[-1], port)
    return await _welcomed(line)


async def _welcomed(line: StreamLine) -> Line:
    try:
        await line.ready
    except BaseException:
        line.close()
        raise
    return line


class LinePool:
    """The lines to one server."""

    def __init__(self, egress: Egress, origin: Origin, clock: Callable[[], float]) -> None:
        self._egress = egress
        self._origin = origin
        self._clock = clock
        self._idle: list[tuple[Line, float]] = []
        self._failures = 0
        self._waiting: deque[Waiter] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._open: set[Line] = set()

    @property
    def size(self) -> int:
        """How many lines are open."""
        return len(self._open)

    def want(self, waiter: Waiter) -> bool:
        """Give a line to a call, now or later; False when too many wait already."""
        while self._idle:
            line, _ = self._idle.pop()
            if not line.lost:
                waiter.start(line)
                return True
            self._open.discard(line)
        if len(self._waiting) >= WAITING:
            return False
        self._waiting.append(waiter)
        self._grow()
        return True

    def leave(self, waiter: Waiter) -> None:
        """A call that waits for a line does not want it any more."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)

    def free(self, line: Line) -> None:
        """A call has done with its line."""
        if line.lost:
            self._failures += 1
            self._open.discard(line)
            self._grow()
        elif self._waiting:
            self._waiting.popleft().start(line)
        else:
            self._idle.append((line, self._clock()))

    def sweep(self, now: float) -> None:
        """Close what nobody used for a while, once a second."""
        kept = [(line, since) for line, since in self._idle if now - since < IDLE_SECONDS]
        for line, since in self._idle:
            if now - since >= IDLE_SECONDS:
                self._close(line)
        self._idle = kept

    def close(self) -> None:
        """Close everything."""
        for task in self._opening:
            task.cancel()
        for line in tuple(self._open):
            self._close(line)
        self._idle.clear()

    def _close(self, line: Line) -> None:
        self._open.discard(line)
        line.close()

    def _grow(self) -> None:
        """Open a line for each call that waits, up to the bound."""
        while len(self._opening) < len(self._waiting):
            if len(self._open) + len(self._opening) >= LINES:
                return
            task = asyncio.get_running_loop().create_task(self._open_one())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_one(self) -> None:
        try:
            line = await open_line(self._egress, self._origin, self._failures)
        except Unreachable as error:
            waiting, self._waiting = self._waiting, deque()
            for waiter in waiting:
                waiter.fail_unsent(str(error))
            return
        line.keeper = self
        self._open.add(line)
        self.free(line)
