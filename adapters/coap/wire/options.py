"""CoAP options: their numbers, lengths and bytes (RFC 7252 sections 3.1, 3.2, 5.4 and 5.10)."""

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

Options: TypeAlias = list[tuple[int, bytes]]
"""Numbers and values in the order of the wire: ascending, repeated ones in their own order."""

IF_MATCH: Final = 1
URI_HOST: Final = 3
ETAG: Final = 4
IF_NONE_MATCH: Final = 5
OBSERVE: Final = 6
URI_PORT: Final = 7
LOCATION_PATH: Final = 8
OSCORE: Final = 9
URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
URI_QUERY: Final = 15
HOP_LIMIT: Final = 16
ACCEPT: Final = 17
LOCATION_QUERY: Final = 20
BLOCK2: Final = 23
BLOCK1: Final = 27
SIZE2: Final = 28
PROXY_URI: Final = 35
PROXY_SCHEME: Final = 39
SIZE1: Final = 60
ECHO: Final = 252
NO_RESPONSE: Final = 258
REQUEST_TAG: Final = 292
TRACEPARENT: Final = 65020
"""Ours too, elective, safe to forward, not of a cache's key: ``adapters.coap.wire.traces``."""
HILUM_ORIGIN: Final = 65000
"""Ours, elective, empty, in the range for experiments: the provider made this error, not Hilum."""

MAX_OPTIONS: Final = 128
"""Options of one message. A name of 1024 bytes may have as many segments as that, and no more."""


class Definition(NamedTuple):
    """Lengths in bytes that an option's value may have, and whether it may be repeated."""

    shortest: int
    longest: int
    repeatable: bool = False


DEFINITIONS: Final = {
    IF_MATCH: Definition(0, 8, repeatable=True),
    URI_HOST: Definition(1, 255),
    ETAG: Definition(1, 8, repeatable=True),
    IF_NONE_MATCH: Definition(0, 0),
    OBSERVE: Definition(0, 3),
    URI_PORT: Definition(0, 2),
    LOCATION_PATH: Definition(0, 255, repeatable=True),
    OSCORE: Definition(0, 255),
    URI_PATH: Definition(0, 255, repeatable=True),
    CONTENT_FORMAT: Definition(0, 2),
    MAX_AGE: Definition(0, 4),
    URI_QUERY: Definition(0, 255, repeatable=True),
    HOP_LIMIT: Definition(1, 1),
    ACCEPT: Definition(0, 2),
    LOCATION_QUERY: Definition(0, 255, repeatable=True),
    BLOCK2: Definition(0, 3),
    BLOCK1: Definition(0, 3),
    SIZE2: Definition(0, 4),
    PROXY_URI: Definition(1, 1034),
    PROXY_SCHEME: Definition(1, 255),
    SIZE1: Definition(0, 4),
    ECHO: Definition(1, 40),
    NO_RESPONSE: Definition(0, 1),
    REQUEST_TAG: Definition(0, 8, repeatable=True),
    TRACEPARENT: Definition(26, 26),
}
"""RFC 7252 table 4, RFC 7641, 7959, 7967, 8613, 8768 and 9175."""


class OptionError(ValueError):
    """The bytes of a message's options are malformed."""


def is_critical(number: int) -> bool:
    """Return whether a message must not be processed by who does not know the option."""
    return bool(number & 1)


def uint(value: bytes) -> int:
    """Return the number that an option's value holds (RFC 7252 section 3.2)."""
    return int.from_bytes(value)


def uint_value(number: int) -> bytes:
    """Return a number as an option's value, as short as it can be."""
    return number.to_bytes((number.bit_length() + 7) // 8)


def parse_options(data: bytes, at: int) -> tuple[Options, int]:
    """Read options from ``data`` at offset ``at``; return them and the payload's offset.

    Raises OptionError: bytes are missing, an option's number is too large, 15 stands where it is
    reserved, or the payload marker has no payload behind it (RFC 7252 sections 3 and 3.1).
    """
    options: Options = []
    number, end = 0, len(data)
    while at < end:
        head = data[at]
        at += 1
        if head == 0xFF:
            if at == end:
                raise OptionError("a payload marker, but no payload")
            return options, at
        delta, at = _extended(head >> 4, data, at)
        length, at = _extended(head & 15, data, at)
        number += delta
        if number > 0xFFFF or at + length > end:
            raise OptionError("an option that is too large")
        if len(options) >= MAX_OPTIONS:
            raise OptionError("more options than a request can need")
        options.append((number, data[at : at + length]))
        at += length
    return options, end


def _extended(nibble: int, data: bytes, at: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, at
    size = nibble - 12
    if size == 3:
        raise OptionError("15 is reserved")
    if at + size > len(data):
        raise OptionError("an option that is cut off")
    base = 13 if size == 1 else 269
    return base + int.from_bytes(data[at : at + size]), at + size


def option_bytes(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Return options as bytes; they have to be in ascending order."""
    parts, before = [], 0
    for number, value in options:
        parts.append(one_option(number - before, value))
        before = number
    return b"".join(parts)


def one_option(delta: int, value: bytes) -> bytes:
    """Return one option whose number is ``delta`` above that of the one before it."""
    length = len(value)
    if delta < 13 and length < 13:
        return bytes((delta << 4 | length,)) + value
    delta_nibble, delta_bytes = _nibble(delta)
    length_nibble, length_bytes = _nibble(length)
    return b"".join((bytes((delta_nibble << 4 | length_nibble,)), delta_bytes, length_bytes, value))


def _nibble(number: int) -> tuple[int, bytes]:
    if number < 13:
        return number, b""
    if number < 269:
        return 13, bytes((number - 13,))
    return 14, (number - 269).to_bytes(2)


def ordered(options: Iterable[tuple[int, bytes]]) -> Options:
    """Return options in ascending order; repeated ones keep theirs."""
    return sorted(options, key=_number)


def _number(option: tuple[int, bytes]) -> int:
    return option[0]


class Unknown(NamedTuple):
    """A critical option that is not understood, and why."""

    number: int
    why: str


def recognised(
    options: Options, known: Iterable[int] = DEFINITIONS
) -> tuple[Options, Unknown | None]:
    """Return the options that are understood, and a critical one that is not, if there is any.

    One of a length outside its definition, or once too many, counts as not understood
    (RFC 7252 sections 5.4.3 and 5.4.5).
    """
    kept: Options = []
    before = -1
    for number, value in options:
        definition = DEFINITIONS.get(number) if number in known else None
        if definition is None:
            why = "is not understood here"
        elif not definition.shortest <= len(value) <= definition.longest:
            why = f"cannot have {len(value)} bytes"
        elif number == before and not definition.repeatable:
            why = "stands there more than once"
        else:
            why = ""
            kept.append((number, value))
        if why and is_critical(number):
            return kept, Unknown(number, why)
        before = number
    return kept, None
