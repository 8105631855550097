"""CoAP messages on reliable transports: bytes <-> Frame (RFC 8323 sections 3.2 and 4.2). Pure."""

from typing import Final, NamedTuple

from adapters.coap.wire.codec import MARKER, MAX_TOKEN, code_of
from adapters.coap.wire.options import OptionError, Options, option_bytes, parse_options

CSM: Final = code_of("7.01")
PING: Final = code_of("7.02")
PONG: Final = code_of("7.03")
RELEASE: Final = code_of("7.04")
ABORT: Final = code_of("7.05")
MAX_MESSAGE_SIZE: Final = 2
BLOCK_WISE: Final = 4
BAD_CSM_OPTION: Final = 2
BASE_SIZE: Final = 1152
"""Bytes of a message that a peer takes that has not said how many it takes (section 5.3.1)."""
OVERHEAD: Final = 4096
"""Bytes that a message may have beside its payload."""


class FrameError(ValueError):
    """What no message can be: the connection cannot go on."""


class Frame(NamedTuple):
    """One message; there are no types and no Message IDs here."""

    code: int
    token: bytes = b""
    options: Options = []  # noqa: RUF012 (never changed: messages are values)
    payload: bytes = b""


class Frames:
    """What came of a stream of messages. ``limit`` bounds one message, in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def held(self) -> int:
        """Return how many bytes of messages are here that were not returned."""
        return len(self._data) - self._at

    def is_fresh(self) -> bool:
        """Return whether a message was returned since bytes came."""
        return self._at > 0

    def next(self) -> Frame | None:
        """Return the next message, None when it is not all here; raises FrameError."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        length, token_size = data[at] >> 4, data[at] & 15
        if token_size > MAX_TOKEN:
            raise FrameError("a token has at most 8 bytes")
        at += 1
        if length >= 13:
            size = 1 << (length - 13)
            if len(data) - at < size:
                return None
            base = (13, 269, 65_805)[length - 13]
            length = base + int.from_bytes(data[at : at + size])
            at += size
        if length > self.limit:
            raise FrameError(f"a message of {length} bytes, at most {self.limit} are taken")
        end = at + 1 + token_size + length
        if len(data) < end:
            return None
        self._at = end
        return _frame(bytes(data[at:end]), token_size)


def read_message(data: bytes) -> Frame:
    """Return the message that is one WebSocket message (section 4.2); raises FrameError."""
    if len(data) < 2 or data[0] >> 4 or data[0] & 15 > MAX_TOKEN:
        raise FrameError("the length is 0 and a token has at most 8 bytes")
    return _frame(data[1:], data[0] & 15)


def frame_bytes(frame: Frame) -> bytes:
    """Return a message for TCP."""
    code, token, options, payload = frame
    rest = option_bytes(options) + (MARKER + payload if payload else b"")
    length = len(rest)
    if length < 13:
        head = bytes((length << 4 | len(token), code))
    elif length < 269:
        head = bytes((13 << 4 | len(token), length - 13, code))
    elif length < 65_805:
        head = bytes((14 << 4 | len(token),)) + (length - 269).to_bytes(2) + bytes((code,))
    else:
        head = bytes((15 << 4 | len(token),)) + (length - 65_805).to_bytes(4) + bytes((code,))
    return b"".join((head, token, rest))


def message_bytes(frame: Frame) -> bytes:
    """Return a message for a WebSocket."""
    code, token, options, payload = frame
    rest = option_bytes(options) + (MARKER + payload if payload else b"")
    return b"".join((bytes((len(token), code)), token, rest))


def _frame(data: bytes, token_size: int) -> Frame:
    """Read a message from its code on."""
    if len(data) < 1 + token_size:
        raise FrameError("the token is cut off")
    try:
        options, at = parse_options(data, 1 + token_size)
    except OptionError as error:
        raise FrameError(str(error)) from None
    return Frame(data[0], data[1 : 1 + token_size], options, data[at:])
