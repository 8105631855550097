"""The running checksum over the change log: pure functions over rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

SUM_BYTES = 16
GENESIS = bytes(SUM_BYTES)


def checksum(*parts: bytes) -> bytes:
    """Return the checksum of bytes (BLAKE2b, RFC 7693: it is against damage, not an enemy)."""
    return blake2b(b"".join(parts), digest_size=SUM_BYTES).digest()


def link(previous: bytes, seq: int, body: bytes) -> bytes:
    """Return entry ``seq``'s checksum, which covers all entries before it through ``previous``."""
    return blake2b(b"%b%20d%b" % (previous, seq, body), digest_size=SUM_BYTES).digest()


@dataclass(slots=True)
class Survey:
    """What rows of the log turned out to be.

    ``head`` and ``chain`` are the last sound entry and its checksum; ``inside`` are damaged
    entries with sound ones after them, ``tail`` those after which nothing is sound.
    """

    head: int
    chain: bytes
    inside: list[int] = field(default_factory=list)
    tail: list[int] = field(default_factory=list)


def survey(rows: Iterable[tuple[int, Any, Any]], head: int, chain: bytes) -> Survey:
    """Check rows (sequence number, body, checksum) that should follow on ``head``.

    A row is judged by the checksum stored with the row before it, so that one damaged row does
    not condemn all that follow.
    """
    found = Survey(head, chain)
    previous, previous_sum = head, chain
    for seq, body, total in rows:
        if _is_sound(previous, previous_sum, seq, body, total):
            found.inside += found.tail
            found.tail = []
            found.head, found.chain = seq, total
        else:
            found.tail.append(seq)
        previous, previous_sum = seq, total
    return found


def _is_sound(previous: int, previous_sum: Any, seq: int, body: Any, total: Any) -> bool:
    if not isinstance(previous_sum, bytes) or not isinstance(body, bytes):
        return False
    return seq == previous + 1 and link(previous_sum, seq, body) == total
