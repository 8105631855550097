"""The MQTT listener: accepts, limits, sweeps and drains connections (design 6)."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import cast

from adapters.mqtt.sessions.engine import Engine
from adapters.mqtt.sessions.ports import Desk
from adapters.mqtt.sockets.connection import Connection
from adapters.mqtt.sockets.flusher import Flusher
from adapters.mqtt.sockets.websocket import WebSocket
from adapters.mqtt.wire.packets import Reason
from gateway.farewell import stop_accepting
from gateway.identity.identity import Identify, by_nothing
from gateway.rota import Rota, in_slices
from gateway.unfinished import Unfinished

_log = logging.getLogger("hilum.mqtt")


def _crowded(connection: Connection) -> None:
    why = "too many packets of all clients are not all there"
    connection.fail(Reason.QUOTA_EXCEEDED, why)


class MqttListener:
    """All connections of MQTT clients. ``clock`` is the loop's time in seconds."""

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        clock: Callable[[], float],
    ) -> None:
        self.engine = engine
        self.settings = engine.settings
        self.desk = desk
        self.clock = clock
        self.identify: Identify = by_nothing
        self.rota = Rota()
        self.flusher = Flusher()
        self.unfinished = Unfinished(self.settings.unfinished, _crowded)
        self.connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._draining = False

    @property
    def strangers(self) -> int:
        """How many connections have not been accepted yet."""
        return len(self._strangers)

    async def listen(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        websocket: bool = False,
    ) -> int:
        """Bind an address and accept; returns the port."""
        server = await asyncio.get_running_loop().create_server(
            lambda: cast("asyncio.Protocol", WebSocket(self) if websocket else Connection(self)),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=self.settings.connect_seconds if tls is not None else None,
            backlog=1024,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def opened(self, connection: Connection) -> None:
        """Take note of a connection.

        Of too many that have not said who they are the oldest gives way: who means it says so at
        once. Beyond the limit of all, nobody is let in.
        """
        self.connections.add(connection)
        if self._draining or len(self.connections) > self.settings.connections:
            self.engine.counters.refused += 1
            connection.abort()
            return
        self._strangers[connection] = None
        if len(self._strangers) > self.settings.strangers:
            self.engine.counters.refused += 1
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()

    def admitted(self, connection: Connection) -> None:
        """A connection's client has a session now."""
        self._strangers.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._strangers.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def sweep(self, now: float) -> None:
        """Look at the time limits of all connections; call it about once a second."""
        in_slices(tuple(self.connections), lambda connection: self._sweep_one(connection, now))

    async def drain(self, seconds: float) -> None:
        """Stop accepting, say goodbye to all clients, then close (graceful shutdown)."""
        self._draining = True
        await stop_accepting(self._servers)
        in_slices(tuple(self.connections), self._part)
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        for connection in tuple(self.connections):
            connection.abort()

    def _part(self, connection: Connection) -> None:
        connection.fail(Reason.SERVER_SHUTTING_DOWN, "the site shuts down")

    def _sweep_one(self, connection: Connection, now: float) -> None:
        try:
            connection.sweep(now)
        except Exception:  # one connection must not end the limits of all others
            _log.exception("a connection of %s failed", connection.peer)
            connection.abort()
