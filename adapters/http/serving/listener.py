"""The HTTP data listener: accepts, limits, sweeps and drains connections (design 6)."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Collection
from heapq import nsmallest
from operator import attrgetter
from typing import NamedTuple, cast

from adapters.http.serving.dispatch import SOCKET, Dispatcher
from adapters.http.serving.inbound import Inbound
from adapters.http.serving.server import ServerConnection
from adapters.http.wire import render
from adapters.http.wire.heads import HeadMemory, RequestHead
from gateway.farewell import stop_accepting
from gateway.identity.identity import Identify, by_nothing
from gateway.message import Call
from gateway.rota import Rota
from gateway.settings import Limits
from gateway.site import Site
from gateway.view import Route
from registry.names import Name

log = logging.getLogger("hilum.http")

SWEEP_SECONDS = 0.5
SEEK_SECONDS = 0.02
"""How often connections that can be closed are sought when there are too many."""
IDLE_SECONDS = 1.0
ROOM = 64
"""How long they must have been idle, and how many are closed then."""
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Takeovers(NamedTuple):
    """Who takes over a request for a channel's events, and a WebSocket's handshake."""

    stream: Callable[[Inbound, Call, Route], None]
    socket: Callable[[Inbound, Call], None]
    drain: Callable[[], None] = lambda: None
    """End all of these: by themselves they would go on until the time to drain is over."""


class Listener:
    """One bound address and its connections."""

    def __init__(
        self,
        site: Site,
        limits: Limits,
        takeovers: Takeovers,
        clock: Callable[[], float],
    ) -> None:
        self.site = site
        self.plane = site.plane
        self.limits = limits
        self.clock = clock
        self.stream = takeovers.stream
        self.socket = takeovers.socket
        self._end_takeovers = takeovers.drain
        self.socket_name = Name(f"{site.authority}/{SOCKET}")
        self.identify: Identify = by_nothing
        self.date = render.date_line(site.time())
        self.memory: HeadMemory[RequestHead] = HeadMemory()
        self.draining = False
        self.dispatch = Dispatcher(self)
        self.rota = Rota()
        self.connections: set[ServerConnection] = set()
        self._sought = 0.0
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind an address and accept; returns the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: cast("asyncio.Protocol", ServerConnection(self)),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=self.limits.head_seconds if tls is not None else None,
            backlog=1024,
        )
        self._servers.append(server)
        if self._sweeping is None:
            self._sweeping = loop.create_task(self._sweep())
        return int(server.sockets[0].getsockname()[1])

    def opened(self, connection: ServerConnection) -> None:
        """Take note of a connection; of too many, those that are idle for longest give way."""
        if len(self.connections) >= self.limits.connections and not self._make_room():
            connection.write(FULL)
            connection.close()
        else:
            self.connections.add(connection)

    def _make_room(self) -> bool:
        """Close some connections that nobody uses; return whether there were any."""
        now = self.clock()
        if now - self._sought < SEEK_SECONDS:  # it looks at all of them
            return False
        self._sought = now
        idle = [c for c in self.connections if c.is_idle() and now - c.idle_since > IDLE_SECONDS]
        for connection in nsmallest(ROOM, idle, key=attrgetter("idle_since")):
            self.connections.discard(connection)
            connection.close()
        return bool(idle)

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def end_of(self, credentials: Collection[str]) -> None:
        """Close the connections whose certificates are among credentials that ended."""
        for connection in list(self.connections):
            if connection.certified.credential in credentials:
                connection.abort()

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what is open end, then close (graceful shutdown)."""
        self.draining = True
        self._part()
        await stop_accepting(self._servers)
        self._part()  # from whoever came meanwhile
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _part(self) -> None:
        self._end_takeovers()
        for connection in list(self.connections):
            connection.drain()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.plane.now = now = self.clock()
            self.date = render.date_line(self.site.time())
            for connection in list(self.connections):
                try:
                    connection.sweep(now)
                except Exception:  # one connection must not end the limits of all others
                    log.exception("a connection of %s failed", connection.peer)
                    connection.abort()
