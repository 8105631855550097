"""A UDP socket of the listener whose datagrams are DTLS records (RFC 7252 section 9.1)."""

import asyncio
import contextlib
import random
import secrets
import socket
from collections.abc import Callable, Collection
from typing import Final

from adapters.coap.serving.datagrams import Messages
from adapters.coap.serving.dtls import Dtls, Who
from adapters.coap.serving.peers import Address
from adapters.coap.serving.service import Service
from adapters.coap.serving.udp import bound_socket
from gateway.rota import MOMENT

LARGEST: Final = 16_384
"""Bytes of a datagram that is taken."""
BURST: Final = 64
"""Datagrams that are taken before others have their turn, if they take no longer than MOMENT."""


class DtlsDatagrams:
    """A bound socket, its sessions and its message layer."""

    def __init__(
        self,
        service: Service,
        bound: socket.socket,
        peers: int,
        key_of: Callable[[str], bytes | None],
        who: Who,
    ) -> None:
        self.port = int(bound.getsockname()[1])
        self._socket = bound
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._dtls = dtls = Dtls(key_of, who, self._transmit, self._hear, self._gone)
        self.messages = Messages(
            service,
            clock=self._loop.time,
            random=random.random,
            send=dtls.send,
            key=secrets.token_bytes(32),
            peers=peers,
            proved=dtls.principal_of,
        )
        self._loop.add_reader(bound.fileno(), self._read)

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(self._dtls.sessions)

    def send(self, data: bytes, address: Address) -> None:
        """Send a message to whoever has a session at an address."""
        self._dtls.send(data, address)

    def sweep(self, now: float) -> None:
        """Give up what takes too long, and what nobody uses."""
        self._dtls.sweep(now)

    def end_of(self, credentials: Collection[str]) -> None:
        """End the sessions of credentials that are over."""
        self._dtls.end_of(credentials)

    def close(self) -> None:
        """End all sessions and close the socket."""
        if self._open:
            self._dtls.close()
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _transmit(self, data: bytes, address: Address) -> None:
        if self._open:
            with contextlib.suppress(OSError):  # it is lost, as datagrams are
                self._socket.sendto(data, address)

    def _hear(self, data: bytes, address: Address) -> None:
        self.messages.received(data, address)

    def _gone(self, address: Address) -> None:
        self.messages.forget(address)

    def _read(self) -> None:
        now = self._loop.time()
        until = now + MOMENT
        for _ in range(BURST):
            try:
                data, address = self._socket.recvfrom(LARGEST + 1)
            except OSError:  # nothing more is there, or somebody's port is closed
                return
            if len(data) <= LARGEST:
                self._dtls.received(data, address, now)
            now = self._loop.time()
            if not self._open or now > until:
                return  # handshakes cost much more than messages


async def bind_dtls(
    service: Service,
    host: str,
    port: int,
    peers: int,
    key_of: Callable[[str], bytes | None],
    who: Who,
) -> DtlsDatagrams:
    """Bind an address; raises OSError."""
    return DtlsDatagrams(service, await bound_socket(host, port), peers, key_of, who)
