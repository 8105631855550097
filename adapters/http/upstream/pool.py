"""Connections to one origin: bounded, reused last in first out, each address checked first."""

import asyncio
import contextlib
import ssl
from collections import deque
from typing import cast

from mypy_extensions import mypyc_attr

from adapters.http.upstream.upstream import UpstreamConnection
from adapters.http.wire.heads import HeadMemory, ReplyHead
from gateway.egress import Egress, Forbidden, Origin
from gateway.exchange import Plane
from gateway.message import Status
from gateway.ports import Answer
from gateway.rota import Rota
from gateway.settings import Upstream

PENDING_BYTES = 256 * 1024
"""Payload that is held for a call without a connection; then the caller is paused."""


class Pending:
    """A call that waits for a connection; afterwards it passes on to it."""

    __slots__ = (
        "answer",
        "connection",
        "end",
        "gone",
        "head",
        "length",
        "parts",
        "paused",
        "pool",
        "size",
    )

    def __init__(
        self, pool: "Pool", answer: Answer, head: list[bytes], body: bytes, end: bool, length: int
    ) -> None:
        self.pool = pool
        self.answer = answer
        self.head = head
        self.parts = [body]
        self.size = len(body)
        self.end = end
        self.length = length
        self.paused = False
        self.gone = False
        self.connection: UpstreamConnection | None = None

    def body(self, data: bytes, end: bool) -> None:
        """Hold more payload, or send it on."""
        if self.connection is not None:
            self.connection.body(data, end)
            return
        self.parts.append(data)
        self.size += len(data)
        self.end = end
        if self.size > PENDING_BYTES and not end and not self.paused:
            self.paused = True
            self.answer.pause_body()

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.gone = True
        if self.connection is not None:
            self.connection.cancel()
        else:
            self.pool.forget(self)

    def pause(self) -> None:
        """Stop giving reply payload."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        """Go on giving reply payload."""
        if self.connection is not None:
            self.connection.resume()

    def go(self, connection: UpstreamConnection, head_only: bool) -> None:
        """Send on a connection what was held."""
        self.connection = connection
        connection.head_only = head_only
        connection.begin(self.answer, self.head, b"".join(self.parts), self.end, self.length)
        self.parts.clear()
        if self.paused:
            self.answer.resume_body()


@mypyc_attr(native_class=False)  # weak references need an ordinary class
class Pool:
    """The connections to one origin, for endpoints bound from one peer."""

    def __init__(
        self,
        origin: Origin,
        plane: Plane,
        egress: Egress,
        sizes: Upstream,
        tls: ssl.SSLContext,
        memory: HeadMemory[ReplyHead],
        rota: Rota,
    ) -> None:
        self.origin = origin
        self.memory = memory
        self.rota = rota
        self.plane = plane
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self._egress = egress
        self._sizes = sizes
        self._tls = tls if origin.scheme == "https" else None
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._waiting: deque[Pending] = deque()
        self._connecting: set[asyncio.Task[None]] = set()

    def send(
        self, answer: Answer, head: list[bytes], body: bytes, end: bool, length: int
    ) -> UpstreamConnection | Pending:
        """Send a call on an idle connection, or let it wait for one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                connection.head_only = head[0].startswith(b"HEAD ")
                connection.begin(answer, head, body, end, length)
                return connection
        pending = Pending(self, answer, head, body, end, length)
        if len(self._waiting) >= self._sizes.waiting:
            why = f"{self._sizes.waiting} calls wait for {self.origin.host} already"
            self._loop.call_soon(self._fail, pending, Status.THROTTLED, why)
            return pending
        self._waiting.append(pending)
        self._grow()
        return pending

    def forget(self, pending: Pending) -> None:
        """Let a call wait no longer: it would take the place of one that somebody waits for."""
        if pending in self._waiting:
            self._waiting.remove(pending)

    def free(self, connection: UpstreamConnection) -> None:
        """Take back a connection that can serve another call."""
        if self._waiting:
            pending = self._waiting.popleft()
            pending.go(connection, pending.head[0].startswith(b"HEAD "))
        else:
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Forget a connection that closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._grow()

    @property
    def size(self) -> int:
        """How many connections are open."""
        return len(self._all)

    def sweep(self, now: float) -> None:
        """Close what has been idle or stalled too long."""
        for connection in list(self._all):
            if connection.answer is None:
                if now - connection.heard > self._sizes.idle:
                    connection.close()
            elif connection.stalled(now, self._sizes.first_byte, self._sizes.stall):
                connection.stall()

    def close(self) -> None:
        """Close all connections and stop connecting."""
        for task in self._connecting:
            task.cancel()
        for connection in list(self._all):
            connection.close()

    def _grow(self) -> None:
        connecting = len(self._connecting)
        room = self._sizes.connections - len(self._all) - connecting
        if connecting < len(self._waiting) and room > 0:
            task = self._loop.create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        """Open one connection; on failure one waiting call fails, nothing of it was written."""
        why = ""
        try:
            connection = await self._open()
        except Forbidden as error:
            why = str(error)
        except TimeoutError:
            why = f"{self.origin.host}:{self.origin.port} did not answer the connection in time"
        except (OSError, UnicodeError) as error:
            why = f"cannot connect to {self.origin.host}:{self.origin.port}: {error}"
        else:
            self._all.add(connection)
            connection.heard = self.clock()
            self.free(connection)
            return
        if self._waiting:
            self._fail(self._waiting.popleft(), Status.UNAVAILABLE, why)
        self._connecting.discard(asyncio.current_task())
        self._grow()

    async def _open(self) -> UpstreamConnection:
        """Connect to the first address that answers; each gets its share of the time."""
        async with asyncio.timeout(self._sizes.connect):
            addresses = await self._egress.resolve(self.origin)
        share = self._sizes.connect / len(addresses)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._dial(address, share)
        return await self._dial(addresses[-1], share)

    async def _dial(self, address: str, seconds: float) -> UpstreamConnection:
        origin = self.origin
        connection = UpstreamConnection(self)
        async with asyncio.timeout(seconds):
            await self._loop.create_connection(
                lambda: cast("asyncio.Protocol", connection),
                address,
                origin.port,
                ssl=self._tls,
                server_hostname=origin.host if self._tls else None,
            )
        if connection.closed:
            raise ConnectionResetError("it closed the connection at once")
        return connection

    def _fail(self, pending: Pending, status: Status, why: str) -> None:
        if not pending.gone:
            self.plane.now = self.clock()
            pending.answer.failed(status, why, written=False)
