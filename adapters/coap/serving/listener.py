"""The CoAP listener: its sockets, its limits, its end (RFC 7252)."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from adapters.coap.serving.multicast import LEISURE, Group, join
from adapters.coap.serving.peers import Address
from adapters.coap.serving.service import Service
from adapters.coap.serving.streams import StreamConnection
from adapters.coap.serving.udp import Datagrams, bind
from adapters.coap.serving.websocket import WebSocketConnection
from gateway.channels import Channels
from gateway.identity.identity import Identify, by_nothing
from gateway.rota import Rota, in_slices
from gateway.settings import Limits
from gateway.site import Site
from gateway.unfinished import Unfinished
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.coap.serving.dtls_socket import DtlsDatagrams

log = logging.getLogger("hilum.coap")

SLOW_SECONDS = 10.0
"""How often it is looked at what nobody uses."""
CONTEXT_SECONDS = 2.0
"""How often security contexts are looked for that are new or gone."""
ATTEMPTS = 8
"""How often a port is sought that is free for UDP and TCP."""
HANDSHAKE_SECONDS = 10.0
GLANCE = 0.02
"""Seconds between looks at whether all is answered."""

Stream: TypeAlias = StreamConnection | WebSocketConnection


@dataclass(frozen=True, slots=True)
class CoapSettings:
    """What an operator sets.

    ``anonymous``: requests without a security context are served, as ``anonymous:coap``. ``peers``
    and ``observers`` bound how many are remembered. ``oscore`` is the folder of the security
    contexts, if there are any. ``tcp``: the same port number takes TCP too; ``websocket_port`` is
    where WebSockets are taken (0: the kernel chooses), None for nowhere; ``tls_port`` the same for
    CoAP over TLS, ``dtls_port`` for DTLS with pre-shared keys. ``connections`` bounds all streams,
    ``unfinished`` what all of them hold of messages that are not all there: beyond, the oldest
    ends. ``multicast``: discovery is answered to who asks all nodes, within ``leisure``
    seconds. ``unspoofable`` are networks in which nobody can send from another's address.
    """

    anonymous: bool = False
    peers: int = 10_000
    observers: int = 10_000
    oscore: Path | None = None
    tcp: bool = False
    websocket_port: int | None = None
    tls_port: int | None = None
    dtls_port: int | None = None
    connections: int = 10_000
    multicast: bool = False
    leisure: float = LEISURE
    unfinished: int = 64 * 1024 * 1024
    unspoofable: tuple[IPv4Network | IPv6Network, ...] = ()


class Secrets(NamedTuple):
    """What CoAP over TLS and DTLS is proved by: a context for TLS, whom certificates stand for, and
    the key of a PSK identity.
    """

    tls: ssl.SSLContext | None = None
    identify: Identify = by_nothing
    key_of: Callable[[str], bytes | None] = by_nothing


class CoapListener:
    """Serves CoAP."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        settings: CoapSettings,
        limits: Limits,
        proofs: Secrets = Secrets(),  # noqa: B008 (it cannot change)
    ) -> None:
        self.settings = settings
        self._site = site
        self._proofs = proofs
        self.identify = proofs.identify
        site.watchers.credential.append(self.end_of)
        self.service = Service(
            site, channels, limits, observers=settings.observers, anonymous=settings.anonymous
        )
        self.sockets: list[Datagrams | DtlsDatagrams] = []
        self.connections: dict[Stream, None] = {}
        self.websocket_port = self.tls_port = self.dtls_port = 0
        self._dtls: DtlsDatagrams | None = None
        self.rota = Rota()
        self.unfinished: Unfinished[Stream] = Unfinished(settings.unfinished, _abort)
        self._servers: list[asyncio.Server] = []
        self._groups: list[Group] = []
        self._swept = self._looked = 0.0
        self.look_for_contexts()  # before anybody asks who is known

    async def listen(self, host: str, port: int) -> int:
        """Bind the addresses that the settings name; returns the port of UDP (and TCP)."""
        for attempt in range(ATTEMPTS):
            socket = await bind(self.service, host, port, self.settings.peers, self._shown)
            try:
                if self.settings.tcp:
                    await self._serve(StreamConnection, host, socket.port)
                break
            except OSError:
                socket.close()
                if port or attempt == ATTEMPTS - 1:
                    raise  # else the kernel may choose a number that is free for both
        self.sockets.append(socket)
        if self.settings.multicast:
            await self._join(host, socket)
        if self.settings.websocket_port is not None:
            self.websocket_port = await self._serve(
                WebSocketConnection, host, self.settings.websocket_port
            )
        if self.settings.tls_port is not None and self._proofs.tls is not None:
            self.tls_port = await self._serve(
                StreamConnection, host, self.settings.tls_port, self._proofs.tls
            )
        if self.settings.dtls_port is not None:
            await self._listen_dtls(host, self.settings.dtls_port)
        return socket.port

    def _shown(self, address: Address) -> Principal | None:
        """Return who asks if its address is known to be its own: nobody in particular."""
        at = ip_address(address[0].partition("%")[0])
        if any(at in network for network in self.settings.unspoofable):
            return self.service.stranger
        return None

    async def _listen_dtls(self, host: str, port: int) -> None:
        """Bind DTLS too; the library that it needs is an optional one."""
        from adapters.coap.serving.dtls_socket import bind_dtls

        who = partial(self._site.identity.by_key, "psk")
        settings = self.settings
        dtls = await bind_dtls(self.service, host, port, settings.peers, self._proofs.key_of, who)
        self._dtls = dtls
        self.dtls_port = dtls.port
        self.sockets.append(dtls)

    async def _join(self, host: str, socket: Datagrams) -> None:
        """Answer discovery by multicast too, if this machine can."""
        group = Group(self.service, socket.send, random.random, self.settings.leisure)
        try:
            await join(group, host, socket.port)
        except OSError as error:
            log.warning("CoAP discovery by multicast is not answered: %s", error)
        else:
            self._groups.append(group)

    async def _serve(
        self,
        protocol: "type[Stream]",
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: protocol(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
            backlog=1024,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def opened(self, connection: "Stream") -> bool:
        """Take note of a connection; return False when there are too many."""
        if len(self.connections) >= self.settings.connections:
            return False
        self.connections[connection] = None
        return True

    def closed(self, connection: "Stream") -> None:
        """Forget a connection."""
        self.connections.pop(connection, None)

    def sweep(self, now: float) -> None:
        """Look at what waits; to be called every 0.1 s."""
        for socket in self.sockets:
            socket.messages.sweep(now)
        if now - self._looked >= CONTEXT_SECONDS:
            self._looked = now
            self.look_for_contexts()
            if self._dtls is not None:
                self._dtls.sweep(now)
        if now - self._swept >= SLOW_SECONDS:
            self._swept = now
            self.service.sweep(now)
            for socket in self.sockets:
                socket.messages.forget_idle(now)
            in_slices(tuple(self.connections), lambda connection: _end_if_idle(connection, now))

    def end_of(self, credentials: Collection[str]) -> None:
        """End the contexts, sessions and connections whose credentials are over."""
        if self.service.security is not None:
            self.service.security.end_of(credentials)
        if self._dtls is not None:
            self._dtls.end_of(credentials)
        for connection in tuple(self.connections):
            if connection.conversation.client.principal.credential in credentials:
                connection.conversation.abort("the credential is no longer valid")

    def look_for_contexts(self) -> None:
        """Load the security contexts that are there now; without any, nothing of OSCORE is."""
        folder, service = self.settings.oscore, self.service
        if service.security is None and folder is not None and folder.is_dir():
            from adapters.coap.serving.oscore import Contexts
            from adapters.coap.serving.secured import Security

            holder = partial(self._site.identity.by_key, "oscore")
            service.security = Security(service, Contexts(folder, holder))
        if service.security is not None:
            service.security.refresh()

    def known(self, principal: str) -> Principal | None:
        """Return who this principal is by a security context, None if it has none."""
        security = self.service.security
        return security.known(principal) if security is not None else None

    def redecide(self) -> None:
        """Policy changed: what is kept for anybody may not be theirs any longer."""
        self.service.transfers.forget_answers()

    async def drain(self, seconds: float = 5.0) -> None:
        """Tell everybody that the site shuts down, let what is open end, then close."""
        self.service.drain()
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.conversation.release()
        for group in self._groups:
            group.close()
        end = asyncio.get_running_loop().time() + seconds
        while self._is_busy() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(GLANCE)
        for connection in tuple(self.connections):
            connection.abort()
        for socket in self.sockets:
            socket.close()
        self.sockets.clear()
        self.service.close()

    @property
    def peers(self) -> int:
        """How many addresses are remembered."""
        return sum(len(socket.messages.peers) for socket in self.sockets)

    @property
    def observations(self) -> int:
        """How many observations are open."""
        return len(self.service.events.observing)

    @property
    def dtls_sessions(self) -> int:
        """How many DTLS sessions there are."""
        return self._dtls.sessions if self._dtls is not None else 0

    @property
    def datagrams(self) -> int:
        """How many datagrams came."""
        return sum(socket.messages.received_count for socket in self.sockets)

    def _is_busy(self) -> bool:
        """Return whether requests wait for their answers, or messages for acknowledgements."""
        waiting = (one.messages for one in self.sockets)
        return bool(self.connections) or any(m.open or m.outgoing.flying for m in waiting)


def _abort(connection: Stream) -> None:
    connection.abort()


def _end_if_idle(connection: Stream, now: float) -> None:
    if connection.conversation.is_idle(now):
        connection.abort()
