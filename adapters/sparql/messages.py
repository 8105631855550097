"""What a site and the keeper of its replica say to each other: length, then MessagePack."""

from collections.abc import Iterator
from typing import Final

import msgspec

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


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A query, what it may see, and what it may use; ``memory`` and ``size`` are in bytes.

    ``only`` are the graphs that may be seen, if those are fewer than the ``hidden`` ones. Of
    descriptions, ``hidden_ids`` are left out and ``instead`` stand for others of their id.
    """

    number: int
    language: str
    query: str
    media_type: str
    seconds: float
    rows: int
    size: int
    memory: int
    offset: int = 0
    network: bool = False
    default_graphs: tuple[str, ...] | None = None
    named_graphs: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()
    hidden_terms: tuple[str, ...] = ()
    hidden_ids: frozenset[str] = frozenset()
    instead: dict[str, bytes] = {}


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the answer any more."""

    number: int


class Answer(msgspec.Struct, frozen=True):
    """How a query ended: ``ok``, ``invalid``, ``too-much``, ``time``, ``memory`` or ``failed``.

    ``generation`` is that of the index that was asked; ``more`` says that rows follow.
    """

    number: int
    outcome: str
    body: bytes = b""
    detail: str = ""
    line: int = 0
    column: int = 0
    generation: int = 0
    more: bool = False


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
