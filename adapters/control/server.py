"""The control API's own listener: uvicorn in the site's loop."""

import asyncio
import logging
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import count
from operator import attrgetter
from pathlib import Path
from socket import AI_PASSIVE, SOCK_STREAM, create_server
from socket import socket as Socket  # noqa: N812
from typing import cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.control.app import application, directory_application
from adapters.control.callers import certified_app
from adapters.control.directory import Surfaces
from adapters.control.login import Login
from adapters.control.metrics import Gauge
from gateway.identity.identity import Identify, by_nothing
from gateway.message import Refusal
from gateway.settings import Listen
from gateway.site import Site

log = logging.getLogger("hilum.control")

MAX_CONNECTIONS = 256
HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
"""How long a connection may be open without asking anything, and a TLS handshake may take."""
KEEP_ALIVE = 5
GRACE = 5
"""Seconds that open requests get at the end."""
_NUMBERS = count(1)


class ControlServer:
    """Serves the control API of a site; ``tls`` is the context to speak TLS with.

    With ``login`` people may log in with a browser.
    """

    def __init__(
        self,
        site: Site,
        listen: Listen,
        state: Path,
        gauges: Iterable[Gauge] = (),
        tls: ssl.SSLContext | None = None,
        login: Login | None = None,
        directory: Surfaces | None = None,
    ) -> None:
        self._site = site
        self._listen = listen
        self._state = state
        self._gauges = tuple(gauges)
        self._tls = tls
        self._login = login
        self._directory = directory
        self.identify: Identify = by_nothing
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Bind and serve; returns the port. Raises OSError when the address is not to be had."""
        clock = asyncio.get_running_loop().time
        version = metadata.version("hilum")
        app = application(
            self._site,
            self._listen,
            self._state,
            version,
            clock,
            self._gauges,
            self._login,
            self._directory,
        )
        return await self.serve(app)

    async def start_directory(self, directory: Surfaces) -> int:
        """Do the same with the directory only: nothing that operators do is there."""
        clock = asyncio.get_running_loop().time
        return await self.serve(directory_application(self._site, self._listen, clock, directory))

    async def serve(self, app: Starlette) -> int:
        """Bind and serve an application; returns the port."""
        config = _Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
        config.load()
        config.ssl = self._tls
        config.identify = self.identify
        socket = await _bound(self._listen.host, self._listen.port)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([socket]))
        return int(socket.getsockname()[1])

    async def stop(self) -> None:
        """Answer what is open, then close."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Config(uvicorn.Config):
    """Tells connections how to find out whom a certificate stands for."""

    identify: Identify = by_nothing


class _Server(uvicorn.Server):
    """A server within somebody else's program: signals are not its business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the program."""
        yield

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        """Serve on bound sockets as uvicorn does, but give up handshakes that take too long."""
        config, loop = self.config, asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return _Connection(config, self.server_state, self.lifespan.state)

        self.servers = [
            await loop.create_server(
                connection,
                sock=socket,
                ssl=config.ssl,
                ssl_handshake_timeout=HEAD_SECONDS if config.ssl is not None else None,
                backlog=config.backlog,
            )
            for socket in sockets or ()
        ]
        self.started = True


class _Connection(H11Protocol):
    """A connection that is closed when it asks nothing, and one of not too many.

    Where there are too many, the oldest of those that ask nothing goes.
    """

    number = 0
    _timer: asyncio.TimerHandle | None = None
    _seen: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away."""
        super().connection_made(transport)
        self.number = next(_NUMBERS)
        if len(self.connections) > MAX_CONNECTIONS and not self._replaces():
            transport.abort()
            return
        config = cast("_Config", self.config)
        try:
            certified = config.identify(transport)
        except Refusal:  # the log says why
            transport.abort()
        else:
            if certified is not None:
                self.app = certified_app(self.app, certified)
            self._timer = self.loop.call_later(HEAD_SECONDS, self._look)

    def idle(self) -> bool:
        """Return whether nothing is asked on the connection."""
        return self.cycle is None or self.cycle.response_complete

    def _replaces(self) -> bool:
        """Take the place of another connection; False if each of them is asking something."""
        others = (c for c in self.connections if isinstance(c, _Connection) and c is not self)
        idle = [c for c in others if c.idle() and not c.transport.is_closing()]
        if idle:
            min(idle, key=attrgetter("number")).transport.close()
        return bool(idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer too."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if no request came since the last look."""
        if self.idle() and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)


async def _bound(host: str, port: int) -> Socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
    family, _, _, _, address = found[0]
    return create_server(address[:2], family=family, backlog=128)
