"""A line to one CoAP server over TCP (RFC 8323): no message IDs, no retransmission."""

import asyncio
from secrets import token_bytes
from typing import Final

from adapters.coap.upstream.line import Heard, Lost, Request
from adapters.coap.wire.codec import MARKER, NON, Message, code_of
from adapters.coap.wire.options import OptionError, option_bytes, parse_options, uint, uint_value

CSM: Final = code_of("7.01")
PING: Final = code_of("7.02")
PONG: Final = code_of("7.03")
RELEASE: Final = code_of("7.04")
ABORT: Final = code_of("7.05")
MAX_MESSAGE_SIZE: Final = 2
"""Option of a CSM (section 5.3.1)."""
BASE_SIZE: Final = 1152
"""Bytes of a message that everybody takes."""
OVERHEAD: Final = 128
TAKEN: Final = 1024 * 1024 + 4096
"""Bytes of a message that we take."""


class StreamError(ValueError):
    """What came is no CoAP over TCP."""


class StreamLine(asyncio.Protocol):
    """A connection; ``ready`` is done when the server has said what it takes (section 5.3)."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.whole = BASE_SIZE - OVERHEAD
        self.keeper: object | None = None
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._token = b""
        self._lasting = False
        self._heard: Heard | None = None
        self._lost: Lost | None = None

    # The Line port

    def ask(self, request: Request, heard: Heard, lost: Lost, token: bytes = b"") -> bytes:
        """Send a request."""
        self._lasting = bool(token)
        self._token = token or token_bytes(4)
        self._heard, self._lost = heard, lost
        self._write(frame(request, self._token))
        return self._token

    def tell(self, request: Request, token: bytes) -> None:
        """Send a request that needs no answer."""
        self._write(frame(request, token))

    def forget(self) -> None:
        """Nobody waits any more: a late answer is dropped."""
        self._heard = self._lost = None
        self._token = b""

    def close(self) -> None:
        """Close the connection."""
        self.forget()
        self.lost = True
        self.keeper = None
        if self._transport is not None:
            self._transport.close()

    # What the loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Say what we take."""
        self._transport = transport
        self._write(frame(Request(CSM, [(MAX_MESSAGE_SIZE, uint_value(TAKEN))]), b""))

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data
        try:
            while not self.lost and (taken := parse(self._buffer)) is not None:
                message, size = taken
                del self._buffer[:size]
                self._take(message)
        except StreamError as error:
            self._fail(f"the server sent what is no CoAP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed, or we did."""
        self._fail(f"the server closed the connection{f': {exc}' if exc else ''}")

    # Inside

    def _take(self, message: Message) -> None:
        if message.code == CSM:
            value = message.value(MAX_MESSAGE_SIZE)
            if value is not None:
                self.whole = max(BASE_SIZE, uint(value)) - OVERHEAD
            if not self.ready.done():
                self.ready.set_result(None)
        elif message.code == PING:
            self._write(frame(Request(PONG, []), message.token))
        elif message.code in (RELEASE, ABORT):
            self._fail("the server ended the connection")
        elif message.code >> 5 in (2, 4, 5) and message.token == self._token and self._heard:
            heard = self._heard
            if not self._lasting:
                self._heard = self._lost = None
            heard(message)

    def _fail(self, why: str) -> None:
        lost = self._lost
        self.close()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(why))
        if lost is not None:
            lost(why, True)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def frame(request: Request, token: bytes) -> bytes:
    """Return a message as bytes (section 3.2)."""
    body = option_bytes(request.options)
    if request.payload:
        body += MARKER + request.payload
    size = len(body)
    if size < 13:
        head = bytes((size << 4 | len(token),))
    elif size < 269:
        head = bytes((13 << 4 | len(token), size - 13))
    elif size < 65_805:
        head = bytes((14 << 4 | len(token),)) + (size - 269).to_bytes(2)
    else:
        head = bytes((15 << 4 | len(token),)) + (size - 65_805).to_bytes(4)
    return b"".join((head, bytes((request.code,)), token, body))


def parse(data: bytearray) -> tuple[Message, int] | None:
    """Return the first message and its size, None when it is not whole; raises StreamError."""
    if not data:
        return None
    nibble, token_size = data[0] >> 4, data[0] & 15
    extended = {13: 1, 14: 2, 15: 4}.get(nibble, 0)
    start = 2 + extended
    if token_size > 8:
        raise StreamError("a token has at most 8 bytes")
    if len(data) < start:
        return None
    base = {13: 13, 14: 269, 15: 65_805}.get(nibble, nibble)
    size = base + int.from_bytes(data[1 : 1 + extended]) if extended else nibble
    end = start + token_size + size
    if size > TAKEN:
        raise StreamError(f"a message of {size} bytes")
    if len(data) < end:
        return None
    whole = bytes(data[:end])
    try:
        options, at = parse_options(whole, start + token_size)
    except OptionError as error:
        raise StreamError(str(error)) from None
    token = whole[start : start + token_size]
    return Message(NON, whole[start - 1], 0, token, options, whole[at:]), end
