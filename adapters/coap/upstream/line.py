"""A line to one CoAP server: one request at a time, on a socket of its own (RFC 7252 section 4).

Its own socket makes it an endpoint of its own, so that block-wise transfers of different calls
never mix, and a datagram of anybody else does not reach it. There is never more than one request
outstanding on a line (NSTART = 1, section 4.7).
"""

import asyncio
import random
from collections.abc import Callable
from secrets import token_bytes
from typing import NamedTuple, Protocol

from adapters.coap.serving.asked import BLOCK
from adapters.coap.wire import codec
from adapters.coap.wire.codec import ACK, CON, EMPTY, NON, RST, FormatError, Message
from adapters.coap.wire.options import Options

ACK_TIMEOUT = 2.0
ACK_RANDOM_FACTOR = 1.5
MAX_RETRANSMIT = 4
"""RFC 7252 section 4.8."""
REMEMBERED = 64
"""Message IDs of confirmable messages that were acknowledged, in case they come again."""


class Request(NamedTuple):
    """What is asked; options in ascending order."""

    code: int
    options: Options
    payload: bytes = b""


Heard = Callable[[Message], None]
Lost = Callable[[str, bool], None]
"""Told why there will be no answer, and whether the server may have seen the request."""


class Line(Protocol):
    """A socket to a server; of a datagram or a stream (RFC 8323).

    ``keeper`` lives as long as the socket is open.
    """

    keeper: object | None

    @property
    def lost(self) -> bool:
        """Whether it is of no more use."""
        ...

    @property
    def whole(self) -> int:
        """How many bytes of payload go into one message."""
        ...

    def ask(self, request: Request, heard: Heard, lost: Lost, token: bytes = b"") -> bytes:
        """Send a request, and return its token.

        With a ``token`` of the caller's own, ``heard`` gets every message that comes with it
        until ``forget`` (RFC 7641); else only the response.
        """
        ...

    def tell(self, request: Request, token: bytes) -> None:
        """Send a request that needs no answer."""
        ...

    def forget(self) -> None:
        """Nobody waits any more."""
        ...

    def close(self) -> None:
        """Close the socket; nothing more is heard."""
        ...


class DatagramLine(asyncio.DatagramProtocol):
    """A connected UDP socket."""

    __slots__ = (
        "_datagram",
        "_heard",
        "_lasting",
        "_loop",
        "_lost",
        "_message_id",
        "_recent",
        "_sent",
        "_timeout",
        "_timer",
        "_token",
        "_transport",
        "keeper",
        "lost",
        "whole",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._message_id = int.from_bytes(token_bytes(2))
        self._token = b""
        self._lasting = False
        self._heard: Heard | None = None
        self._lost: Lost | None = None
        self._datagram = b""
        self._sent = 0
        self._timeout = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._recent: dict[int, None] = {}
        self.keeper: object | None = None
        """Who lives as long as the socket is open."""
        self.lost = False
        self.whole = 1 << (BLOCK + 4)

    # The Line port

    def ask(self, request: Request, heard: Heard, lost: Lost, token: bytes = b"") -> bytes:
        """Send a confirmable request until it is acknowledged (RFC 7252 section 4.2)."""
        self._stop()
        self._message_id = (self._message_id + 1) & 0xFFFF
        self._lasting = bool(token)
        self._token = token or token_bytes(4)
        self._heard, self._lost = heard, lost
        message = Message(CON, request.code, self._message_id, self._token, *request[1:])
        self._datagram = codec.encode(message)
        self._sent = 0
        self._timeout = ACK_TIMEOUT * random.uniform(1.0, ACK_RANDOM_FACTOR)  # noqa: S311 (jitter)
        self._send()
        return self._token

    def tell(self, request: Request, token: bytes) -> None:
        """Send a request that needs no answer."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        message = Message(NON, request.code, self._message_id, token, *request[1:])
        self._write(codec.encode(message))

    def forget(self) -> None:
        """Nobody waits any more: a late answer is reset."""
        self._stop()
        self._heard = self._lost = None
        self._token = b""

    def close(self) -> None:
        """Close the socket."""
        self.forget()
        self.lost = True
        self.keeper = None
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, _: object) -> None:
        """Take one message from the server."""
        try:
            message = codec.decode(data)
        except FormatError as error:
            if error.kind == CON:
                self._write(codec.empty(RST, error.message_id))
            return
        if message.kind == ACK:
            self._acknowledged(message)
        elif message.kind == RST:
            if message.message_id == self._message_id:
                self._fail("the server reset the request", written=True)
        else:
            self._response(message)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: nobody listens there, or no way leads there."""
        # Sending itself may find this out, and whoever asks must not be called back meanwhile.
        self._loop.call_soon(self._unreachable, f"the server cannot be reached: {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._fail(f"the socket was closed: {exc or 'it was told to'}", written=True)
        self.lost = True

    # Inside

    def _unreachable(self, why: str) -> None:
        self._fail(why, written=self._sent > 1)

    def _acknowledged(self, message: Message) -> None:
        if message.message_id != self._message_id or self._heard is None:
            return
        if message.code == EMPTY:
            self._stop()  # a separate response follows (RFC 7252 section 5.2.2)
        elif message.token == self._token and not codec.is_request(message.code):
            self._deliver(message)

    def _response(self, message: Message) -> None:
        """Take a separate response or a notification; a duplicate is acknowledged again."""
        known = message.message_id in self._recent
        ours = self._heard is not None and message.token == self._token and message.code >= 64
        if message.kind == CON:
            self._write(codec.empty(ACK if ours or known else RST, message.message_id))
        if known or not ours:
            return
        if len(self._recent) >= REMEMBERED:
            del self._recent[next(iter(self._recent))]
        self._recent[message.message_id] = None
        self._deliver(message)

    def _deliver(self, message: Message) -> None:
        self._stop()
        heard = self._heard
        if not self._lasting:
            self._heard = self._lost = None
        if heard is not None:
            heard(message)

    def _fail(self, why: str, *, written: bool) -> None:
        lost = self._lost
        self.close()
        if lost is not None:
            lost(why, written)

    def _send(self) -> None:
        self._sent += 1
        self._write(self._datagram)
        self._timer = self._loop.call_later(self._timeout, self._again)

    def _again(self) -> None:
        self._timer = None
        if self._sent > MAX_RETRANSMIT:
            self._fail("the server does not answer", written=True)
            return
        self._timeout *= 2
        self._send()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data)
