"""DTLS 1.2 with pre-shared keys (RFC 6347, RFC 4279): one socket, a session for each address.

mbedtls does the cryptography and sees neither sockets nor the loop. Who only sends a ClientHello
gets a cookie and is forgotten; handshakes and sessions are bounded; the identity is looked up to a
principal, and is never one itself.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from mbedtls.exceptions import TLSError
from mbedtls.tls import (
    DTLSConfiguration,
    DTLSVersion,
    HandshakeStep,
    HelloVerifyRequest,
    ServerContext,
    WantReadError,
    WantWriteError,
)

from adapters.coap.serving.peers import Address
from policy.model import Principal

log = logging.getLogger("hilum.coap")

SUITES: Final = (
    "TLS-ECDHE-PSK-WITH-CHACHA20-POLY1305-SHA256",
    "TLS-PSK-WITH-AES-128-GCM-SHA256",
    "TLS-PSK-WITH-AES-128-CCM",
    "TLS-PSK-WITH-AES-128-CCM-8",
)
"""All authenticate what they encrypt; the last is the one that every CoAP client has (RFC 7252)."""
HANDSHAKES: Final = 256
"""Handshakes that are under way at once; the oldest gives way."""
HANDSHAKE_SECONDS: Final = 20.0
SESSIONS: Final = 4096
"""Each holds some 45 kB. When all are taken, the one that was silent for longest gives way."""
IDLE_SECONDS: Final = 3600.0
STEPS: Final = 40
"""Of a handshake for one datagram: more is a loop."""
READ: Final = 16_384
HEADER: Final = 13
CHANGE_CIPHER_SPEC: Final = 20
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
"""Of records: the bytes of their header, and their types (RFC 6347 section 4.1)."""
_DEAD: Final = (TLSError, ValueError, OSError, MemoryError)

Who = Callable[[str], Principal | None]
"""Who has an identity."""


class _Keys(Mapping[str, bytes]):
    """The keys as mbedtls asks for them; it is noted which one it took."""

    def __init__(self, key_of: Callable[[str], bytes | None]) -> None:
        self._key_of = key_of
        self.asked = ""

    def __getitem__(self, identity: str) -> bytes:
        key = self._key_of(identity)
        if key is None:
            raise KeyError(identity)
        self.asked = identity
        return key

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Handshake:
    """A handshake with an address that has shown that it is there."""

    __slots__ = ("began", "buffer", "identity")

    def __init__(self, buffer: Any, began: float) -> None:
        self.buffer = buffer
        self.began = began
        self.identity = ""


class _Session:
    """An address whose key is proved."""

    __slots__ = ("buffer", "heard", "principal")

    def __init__(self, buffer: Any, principal: Principal, heard: float) -> None:
        self.buffer = buffer
        self.principal = principal
        self.heard = heard


class Dtls:
    """The sessions of one socket.

    ``send`` sends a datagram, ``hear`` takes what came in one, ``gone`` is told of an address whose
    session ends. ``key_of`` returns the key of an identity, ``who`` its principal.
    """

    def __init__(
        self,
        key_of: Callable[[str], bytes | None],
        who: Who,
        send: Callable[[bytes, Address], None],
        hear: Callable[[bytes, Address], None],
        gone: Callable[[Address], None],
    ) -> None:
        self._keys = _Keys(key_of)
        self._who = who
        self._send = send
        self._hear = hear
        self._gone = gone
        self._context = ServerContext(
            DTLSConfiguration(
                validate_certificates=False,
                ciphers=SUITES,
                lowest_supported_version=DTLSVersion.DTLSv1_2,
                anti_replay=True,
                pre_shared_key_store=self._keys,
            )
        )
        self._handshakes: dict[Address, _Handshake] = {}
        self.sessions: dict[Address, _Session] = {}

    def principal_of(self, address: Address) -> Principal | None:
        """Return who is at an address, None if nobody is."""
        session = self.sessions.get(address)
        return session.principal if session is not None else None

    def received(self, data: bytes, address: Address, now: float) -> None:
        """Take a datagram."""
        if len(data) < HEADER or not CHANGE_CIPHER_SPEC <= data[0] <= APPLICATION_DATA:
            return
        session = self.sessions.get(address)
        if session is not None and data[3:5] != b"\0\0":
            self._read(session, data, address, now)
        elif address in self._handshakes:
            self._go_on(self._handshakes[address], data, address, now)
        elif data[0] == HANDSHAKE:  # a new client, or one that lost its session (section 4.2.8)
            self._greet(data, address, now)

    def send(self, data: bytes, address: Address) -> None:
        """Send something to whoever has a session at an address."""
        session = self.sessions.get(address)
        if session is None:
            return
        try:
            session.buffer.write(data)
            self._flush(session.buffer, address)
        except _DEAD as error:
            log.info("the DTLS session of %s broke: %s", session.principal.id, error)
            self._drop(address)

    def sweep(self, now: float) -> None:
        """Give up handshakes that take too long, and sessions that nobody uses."""
        for address, handshake in tuple(self._handshakes.items()):
            if handshake.began + HANDSHAKE_SECONDS > now:
                break  # those behind it are younger
            del self._handshakes[address]
        for address, session in tuple(self.sessions.items()):
            if session.heard + IDLE_SECONDS <= now:
                self.end(address)

    def end_of(self, credentials: Collection[str]) -> None:
        """End the sessions of credentials that are over."""
        for address, session in tuple(self.sessions.items()):
            if session.principal.credential in credentials:
                self.end(address)

    def close(self) -> None:
        """End all sessions."""
        for address in tuple(self.sessions):
            self.end(address)
        self._handshakes.clear()

    def end(self, address: Address) -> None:
        """Say goodbye to an address (close_notify), and forget it."""
        session = self.sessions[address]
        with contextlib.suppress(*_DEAD):
            session.buffer.shutdown()
            self._flush(session.buffer, address)
        self._drop(address)

    # Inside

    def _greet(self, data: bytes, address: Address, now: float) -> None:
        """Answer a ClientHello: with a cookie, of which nothing is kept, or by a handshake."""
        buffer = self._context.wrap_buffers()
        buffer.setcookieparam(repr(address).encode())
        handshake = _Handshake(buffer, now)
        if not self._step(handshake, data, address):
            return
        if len(self._handshakes) >= HANDSHAKES:
            del self._handshakes[next(iter(self._handshakes))]
        self._handshakes[address] = handshake

    def _go_on(self, handshake: _Handshake, data: bytes, address: Address, now: float) -> None:
        if not self._step(handshake, data, address):
            del self._handshakes[address]
        elif handshake.buffer._handshake_state is HandshakeStep.HANDSHAKE_OVER:  # noqa: SLF001
            del self._handshakes[address]
            self._begin(handshake, address, now)

    def _begin(self, handshake: _Handshake, address: Address, now: float) -> None:
        """The client has the key: it is who the identity stands for."""
        if address in self.sessions:
            self._drop(address)
        principal = self._who(handshake.identity)
        if principal is None:  # revoked meanwhile
            return
        if len(self.sessions) >= SESSIONS:
            self.end(next(iter(self.sessions)))
        self.sessions[address] = _Session(handshake.buffer, principal, now)

    def _step(self, handshake: _Handshake, data: bytes, address: Address) -> bool:
        """Go on with a handshake as far as a datagram lets it; return whether to keep it."""
        buffer, keys = handshake.buffer, self._keys
        keys.asked = ""
        try:
            buffer.receive_from_network(data)
            for _ in range(STEPS):
                if buffer._handshake_state is HandshakeStep.HANDSHAKE_OVER:  # noqa: SLF001
                    break
                try:
                    buffer.do_handshake()
                except WantReadError:
                    break
                except WantWriteError:
                    pass
                self._flush(buffer, address)
        except HelloVerifyRequest:
            self._flush(buffer, address)
            return False
        except _DEAD as error:
            log.debug("a DTLS handshake with %s failed: %s", address[0], error)
            self._flush(buffer, address)  # an alert says so, to who has shown that it is there
            return False
        handshake.identity = keys.asked or handshake.identity
        self._flush(buffer, address)
        return True

    def _read(self, session: _Session, data: bytes, address: Address, now: float) -> None:
        """Take what is in a datagram of a session; records that are forged or replayed are not."""
        buffer = session.buffer
        try:
            buffer.receive_from_network(data)
            while plain := buffer.read(READ):
                if session.heard != now:
                    session.heard = now
                    self.sessions[address] = self.sessions.pop(address)  # the last to give way
                self._hear(plain, address)
                if self.sessions.get(address) is not session:
                    return
        except WantReadError:
            return
        except WantWriteError:
            self._flush(buffer, address)
        except _DEAD:  # close_notify is the usual one
            self._drop(address)

    def _flush(self, buffer: Any, address: Address) -> None:
        """Send what mbedtls has written, a datagram for some whole records."""
        while waiting := buffer.peek_outgoing(READ):
            buffer.consume_outgoing(len(waiting))
            self._send(waiting, address)

    def _drop(self, address: Address) -> None:
        if self.sessions.pop(address, None) is not None:
            self._gone(address)
