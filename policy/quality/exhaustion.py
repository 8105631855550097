"""Whether a method nears exhaustion: what a ``Shed`` rule asks of its last calls. Pure."""

from typing import Final

from policy.quality_rules import Shed

LONGEST: Final = 10.0
"""Seconds after which few calls are judged too, or forgotten when there were hardly any."""
SHORTEST: Final = 1.0
HUNDREDTH: Final = 0.01


class Watch:
    """Counts the calls of one method that were let through, and judges them by lots.

    ``now`` and latencies are seconds.
    """

    __slots__ = ("_calls", "_failures", "_rule", "_since", "_slow", "_waiting", "rate")

    def __init__(self, rule: Shed, now: float) -> None:
        self._rule = rule
        self.rate = 0.0
        """Calls a second of the last lot that was judged."""
        self._since = now
        self._calls = self._failures = self._slow = self._waiting = 0

    def observe(self, seconds: float, *, failed: bool, waiting: int) -> None:
        """Count a call that ended; ``waiting`` are the calls that wait for a place now."""
        self._calls += 1
        self._failures += failed
        self._slow += seconds * 1000 > self._rule.p99
        self._waiting = max(self._waiting, waiting)

    def verdict(self, now: float) -> str:
        """Return why the method nears exhaustion, "" when it does not or not enough is known."""
        seconds = now - self._since
        if seconds < SHORTEST or (self._calls < self._rule.calls and seconds < LONGEST):
            return ""
        why = self._why() if self._calls >= self._rule.calls else ""
        self.rate = self._calls / seconds
        self._forget(now)
        return why

    def _why(self) -> str:
        rule, calls = self._rule, self._calls
        if rule.errors and self._failures >= rule.errors * calls:
            return f"{self._failures} of {calls} calls failed"
        if rule.p99 and self._slow > HUNDREDTH * calls:
            return f"{self._slow} of {calls} calls took more than {rule.p99} ms"
        if rule.queue and self._waiting >= rule.queue:
            return f"{self._waiting} calls wait for a place"
        return ""

    def _forget(self, now: float) -> None:
        self._since = now
        self._calls = self._failures = self._slow = self._waiting = 0
