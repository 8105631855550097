"""The CoAP listener: its sockets, its limits, its end (RFC 7252)."""

import asyncio
import logging
import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from adapters.coap.datagrams import Messages
from adapters.coap.peers import Address
from adapters.coap.service import Service
from gateway.channels import Channels
from gateway.config import Limits
from gateway.site import Site

log = logging.getLogger("hilum.coap")

SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CoapSettings:
    """What an operator sets.

    ``anonymous``: requests without a security context are served, as ``anonymous:coap``. ``peers``
    and ``observers`` bound how many are remembered. ``oscore`` is the folder of the security
    contexts, if there are any.
    """

    anonymous: bool = False
    peers: int = 10_000
    observers: int = 10_000
    oscore: Path | None = None


class CoapListener:
    """Serves CoAP."""

    def __init__(
        self, site: Site, channels: Channels, settings: CoapSettings, limits: Limits
    ) -> None:
        self.settings = settings
        self.service = Service(
            site, channels, limits, observers=settings.observers, anonymous=settings.anonymous
        )
        self.sockets: list[Datagrams] = []
        self._swept = 0.0

    async def listen(self, host: str, port: int) -> int:
        """Bind a UDP address; returns the port."""
        self._look_for_contexts()
        loop = asyncio.get_running_loop()
        _, made = await loop.create_datagram_endpoint(
            lambda: cast("Any", Datagrams(self)), local_addr=(host, port)
        )
        socket = cast("Datagrams", made)
        self.sockets.append(socket)
        return socket.port

    def sweep(self, now: float) -> None:
        """Look at what waits; to be called every 0.1 s."""
        for socket in self.sockets:
            socket.messages.sweep(now)
        if now - self._swept >= SLOW_SECONDS:
            self._swept = now
            self.service.sweep(now)
            self._look_for_contexts()
            for socket in self.sockets:
                socket.messages.forget_idle(now)

    def _look_for_contexts(self) -> None:
        """Load the security contexts that are there now; without any, nothing of OSCORE is."""
        folder, service = self.settings.oscore, self.service
        if service.security is None and folder is not None and folder.is_dir():
            from adapters.coap.oscore import Contexts
            from adapters.coap.secured import Security

            service.security = Security(service, Contexts(folder))
        if service.security is not None:
            service.security.refresh()

    def redecide(self) -> None:
        """Policy changed: what is kept for anybody may not be theirs any longer."""
        self.service.transfers.forget_answers()

    async def drain(self) -> None:
        """Tell observers that the site shuts down, and close."""
        self.service.close()
        for socket in self.sockets:
            socket.close()
        self.sockets.clear()


class Datagrams:
    """One UDP socket (asyncio.DatagramProtocol by its methods)."""

    def __init__(self, listener: CoapListener) -> None:
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self.messages = Messages(
            listener.service,
            clock=asyncio.get_running_loop().time,
            random=random.random,
            send=self._send,
            key=secrets.token_bytes(32),
            peers=listener.settings.peers,
        )
        self.datagram_received = self.messages.received

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        """The socket is bound."""
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        self.messages.send = self.messages.outgoing.send = transport.sendto

    def connection_lost(self, _exc: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        self.messages.send = self.messages.outgoing.send = self._send

    def error_received(self, _exc: Exception) -> None:
        """A datagram could not be delivered: whoever waits for an answer asks again."""

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    def _send(self, data: bytes, address: Address) -> None:
        """There is no socket any longer."""
