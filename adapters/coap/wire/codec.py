"""CoAP messages over datagrams: bytes <-> Message, strict and without effects (RFC 7252 section 3).

>>> decode(bytes.fromhex("40010001")).code == GET
True
"""

from typing import Final, NamedTuple

from adapters.coap.wire.options import OptionError, Options, option_bytes, parse_options

CON: Final = 0
NON: Final = 1
ACK: Final = 2
RST: Final = 3

EMPTY: Final = 0
GET: Final = 1
POST: Final = 2
PUT: Final = 3
DELETE: Final = 4
FETCH: Final = 5
PATCH: Final = 6
IPATCH: Final = 7
METHODS: Final = {
    GET: b"GET",
    POST: b"POST",
    PUT: b"PUT",
    DELETE: b"DELETE",
    FETCH: b"FETCH",
    PATCH: b"PATCH",
    IPATCH: b"iPATCH",
}
"""RFC 7252 section 12.1.1 and RFC 8132 section 6."""

MAX_TOKEN: Final = 8
MARKER: Final = b"\xff"


def code_of(text: str) -> int:
    """Return the code that ``2.05`` spells."""
    class_, _, detail = text.partition(".")
    return int(class_) << 5 | int(detail)


def code_text(code: int) -> str:
    """Return a code as it is written, such as ``2.05``."""
    return f"{code >> 5}.{code & 31:02}"


def is_request(code: int) -> bool:
    """Return whether a code is a method's (class 0, but not empty)."""
    return 0 < code < 32


class Message(NamedTuple):
    """One message. ``kind`` is CON, NON, ACK or RST; ``message_id`` its Message ID."""

    kind: int
    code: int
    message_id: int
    token: bytes = b""
    options: Options = []  # noqa: RUF012 (never changed: messages are values)
    payload: bytes = b""

    def values(self, number: int) -> list[bytes]:
        """Return the values of an option."""
        return [value for option, value in self.options if option == number]

    def value(self, number: int) -> bytes | None:
        """Return the first value of an option, None when it is not there."""
        return next((value for option, value in self.options if option == number), None)


class FormatError(ValueError):
    """A message format error; ``kind`` and ``message_id`` are known, so that it can be reset.

    ``kind`` is -1 for a datagram that is to be ignored: too short, or of another version.
    """

    def __init__(self, why: str, kind: int = -1, message_id: int = 0) -> None:
        super().__init__(why)
        self.kind = kind
        self.message_id = message_id


def decode(data: bytes) -> Message:
    """Read a datagram; raises FormatError (RFC 7252 sections 3 and 4.1)."""
    if len(data) < 4 or data[0] & 0xC0 != 0x40:
        raise FormatError("no CoAP message of version 1")
    kind, size, code = data[0] >> 4 & 3, data[0] & 15, data[1]
    message_id = data[2] << 8 | data[3]
    start = 4 + size
    if size > MAX_TOKEN:
        raise FormatError("a token has at most 8 bytes", kind, message_id)
    if code == EMPTY and len(data) > 4:
        raise FormatError("an empty message has nothing behind its ID", kind, message_id)
    if len(data) < start:
        raise FormatError("the token is cut off", kind, message_id)
    if code >> 5 in (1, 6, 7):
        raise FormatError(f"the code {code_text(code)} is reserved", kind, message_id)
    try:
        options, at = parse_options(data, start)
    except OptionError as error:
        raise FormatError(str(error), kind, message_id) from None
    return Message(kind, code, message_id, data[4:start], options, data[at:])


def encode(message: Message) -> bytes:
    """Return a message as bytes; its options have to be in ascending order."""
    kind, code, message_id, token, options, payload = message
    head = bytes((0x40 | kind << 4 | len(token), code, message_id >> 8, message_id & 255))
    parts = [head, token, option_bytes(options)]
    if payload:
        parts += (MARKER, payload)
    return b"".join(parts)


def empty(kind: int, message_id: int) -> bytes:
    """Return an empty message: an acknowledgement, a reset or a ping."""
    return bytes((0x40 | kind << 4, 0, message_id >> 8, message_id & 255))
