"""A trace's context in an option: the 26 bytes that a traceparent is without its hyphens.

No option for it is registered: ``TRACEPARENT`` is ours, in the range for experiments (RFC 7252
section 12.2). It is elective, safe to forward and no part of a cache's key.
"""

from binascii import hexlify, unhexlify
from typing import Final

from gateway.tracing import NAME, parent_of

SIZE: Final = 26
"""Version, trace-id, parent-id and flags: 1, 16, 8 and 1 bytes."""


def traceparent_of(value: bytes) -> bytes:
    """Return what an option's value says, as W3C Trace Context writes it."""
    text = hexlify(value)
    return b"-".join((text[:2], text[2:34], text[34:50], text[50:]))


def option_value(traceparent: bytes) -> bytes:
    """Return a traceparent as an option's value, b"" for one that is none."""
    parent = parent_of(traceparent)
    if parent is None:
        return b""
    return unhexlify(b"00%b%b%02x" % (parent.trace_id, parent.span_id, parent.sampled))


def fields_of(traceparent: bytes) -> list[bytes]:
    """Return a traceparent as a field of a call."""
    return [NAME, b": ", traceparent, b"\r\n"]
