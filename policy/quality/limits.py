"""How much may pass: the generic cell rate algorithm for messages and bytes at once. Pure.

GCRA (ITU-T I.371 annex A, virtual scheduling) keeps one number for each rate: when the bucket
would be full again. So a limiter that nobody uses is equal to a new one, and can be forgotten.
"""

from math import ceil
from typing import Final

from policy.quality_rules import Rate

INFINITE: Final = float("inf")
WHOLE: Final = 1.0
EXACT: Final = 1e-9
"""Seconds that rounding may cost without refusing the last message of a burst."""

# ruff: noqa: FURB136, PLR1730 - max() costs three times as much, on the path of every message


class Limiter:
    """Messages and bytes a second of one flow; times in seconds on one clock.

    A message conforms to both rates or takes from none. ``reserve`` is the share of the bursts
    that only urgent messages may use. A message larger than the burst of bytes passes when the
    bucket is full, and is paid off afterwards.
    """

    __slots__ = (
        "_byte_cost",
        "_byte_kept",
        "_byte_slack",
        "_bytes",
        "_message_cost",
        "_message_kept",
        "_message_slack",
        "_messages",
        "weighs",
    )

    def __init__(self, messages: Rate | None, size: Rate | None, reserve: float = 0.0) -> None:
        self._message_cost, slack = _compiled(messages)
        self._byte_cost, self._byte_slack = _compiled(size)
        self._message_slack = slack - self._message_cost
        self._message_kept = reserve * slack if messages is not None else 0.0
        self._byte_kept = reserve * self._byte_slack if size is not None else 0.0
        self.weighs = size is not None
        """Whether bytes matter."""
        self._messages = 0.0
        self._bytes = 0.0

    def wait(self, now: float, size: int, urgent: bool = False) -> float:
        """Return in how many seconds a message of ``size`` bytes conforms: 0.0 is now."""
        free = self._message_slack
        byte_free = self._byte_slack - size * self._byte_cost
        if not urgent:
            free -= self._message_kept
            byte_free -= self._byte_kept
        late = self._messages - now - (free if free > 0.0 else 0.0)
        byte_late = self._bytes - now - (byte_free if byte_free > 0.0 else 0.0)
        if byte_late > late:
            late = byte_late
        return late if late > EXACT else 0.0

    def take(self, now: float, size: int) -> None:
        """Commit a message for which ``wait`` returned 0.0 (or that nobody can stop any more)."""
        last = self._messages
        self._messages = (last if last > now else now) + self._message_cost
        last = self._bytes
        self._bytes = (last if last > now else now) + size * self._byte_cost

    def enter(self, now: float, size: int, urgent: bool = False) -> float:
        """Commit a message if it conforms; return 0.0 then, else as ``wait`` does.

        This is ``wait`` and ``take`` in one: most flows have one limiter.
        """
        messages, last = self._messages, self._bytes
        bytes_cost = size * self._byte_cost
        free = self._message_slack
        byte_free = self._byte_slack - bytes_cost
        if not urgent:
            free -= self._message_kept
            byte_free -= self._byte_kept
        late = messages - now - (free if free > 0.0 else 0.0)
        byte_late = last - now - (byte_free if byte_free > 0.0 else 0.0)
        if byte_late > late:
            late = byte_late
        if late > EXACT:
            return late
        self._messages = (messages if messages > now else now) + self._message_cost
        self._bytes = (last if last > now else now) + bytes_cost
        return 0.0

    def owe(self, now: float, size: int) -> None:
        """Commit bytes that were not known before: what comes next waits for them."""
        last = self._bytes
        self._bytes = (last if last > now else now) + size * self._byte_cost

    def is_idle(self, now: float) -> bool:
        """Return whether it is as good as new."""
        return self._messages <= now and self._bytes <= now


def _compiled(rate: Rate | None) -> tuple[float, float]:
    """Return what one unit costs, in seconds, and how many seconds a full burst is."""
    if rate is None:
        return 0.0, INFINITE
    cost = 1.0 / rate.rate
    return cost, max(rate.burst or rate.rate, WHOLE) * cost


def retry_after(wait: float) -> int:
    """Return whole seconds to tell a client, at least 1 (RFC 9110 section 10.2.3)."""
    return max(1, ceil(wait))
