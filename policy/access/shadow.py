"""Policies in shadow mode: what they would have decided differently. Pure."""

from collections import Counter, deque
from typing import Final, NamedTuple

from policy.decision import Decision, Question

KEPT: Final = 100
"""Differences that are kept; the oldest give way."""


class Difference(NamedTuple):
    """A question that shadow policies would have decided otherwise; ``at`` is Unix seconds."""

    question: Question
    decision: Decision
    would: Decision
    at: float


class Shadowed:
    """Differences: how many by policy, and the last of them.

    They are found when a decision is made afresh; those that come from the cache are not counted.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.last: deque[Difference] = deque(maxlen=KEPT)

    def note(self, question: Question, decision: Decision, would: Decision, at: float) -> None:
        """Count and keep a question if the two decisions differ."""
        if decision.allowed is not would.allowed:
            self.counts[would.reasons[0].policy] += 1
            self.last.append(Difference(question, decision, would, at))

    def forget(self, policy: str) -> None:
        """A policy changed or is gone: what it would have decided matters no more."""
        if self.counts.pop(policy, 0):
            kept = [one for one in self.last if one.would.reasons[0].policy != policy]
            self.last = deque(kept, KEPT)
