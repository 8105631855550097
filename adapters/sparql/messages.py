"""What a site and the keeper of its replica say to each other: length, then MessagePack."""

from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.directory.queries import Answer, Ask

LONGEST: Final = 1 << 30
"""Bytes of a message."""


class Feed(msgspec.Struct, frozen=True, tag=True):
    """What the index did: begin anew with a file of N-Quads, or clear graphs and add quads."""

    generation: int
    path: str = ""
    cleared: tuple[str, ...] = ()
    quads: bytes = b""


class Documents(msgspec.Struct, frozen=True, tag=True):
    """Descriptions that came and went, JSON by id."""

    put: dict[str, bytes] = {}
    gone: tuple[str, ...] = ()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the answer any more."""

    number: int


ToKeeper = Feed | Documents | Ask | Cancel
_encode = msgspec.msgpack.Encoder().encode
to_keeper = msgspec.msgpack.Decoder(ToKeeper).decode
from_keeper = msgspec.msgpack.Decoder(Answer).decode


def frame(message: ToKeeper | Answer) -> bytes:
    """Return a message as it is sent."""
    body = _encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, yield each message that is whole. Raises ValueError for one too long."""
        self._pending += data
        begin = 0
        while len(self._pending) - begin >= 4:
            length = int.from_bytes(self._pending[begin : begin + 4], "big")
            if length > LONGEST:
                raise ValueError(f"a message of {length} bytes")
            end = begin + 4 + length
            if len(self._pending) < end:
                break
            yield bytes(self._pending[begin + 4 : end])
            begin = end
        del self._pending[:begin]
