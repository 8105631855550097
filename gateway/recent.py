"""What was decided lately, so that a change of policy can be tried on real questions first."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from policy.access.index import AccessIndex
from policy.decision import Decision, Question
from policy.model import (
    AccessPolicy,
    Action,
    Assertion,
    Attribute,
    Environment,
    LifecyclePolicy,
    ObjectAttributes,
    Policy,
    Role,
)

QUESTIONS = 10_000
SECONDS = 600.0
SHOWN = 100
"""Differences that are told at most."""


class Decided(NamedTuple):
    """A question that was asked, how it was decided, and when (seconds on the given clock)."""

    question: Question
    allowed: bool
    at: float


class Recent:
    """The last questions that were decided afresh; the oldest give way."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._decided: dict[Question, Decided] = {}

    def note(self, question: Question, decision: Decision) -> None:
        """Remember a decision. Who may describe what is asked by listings too: that is left out."""
        if question.action is Action.DESCRIBE:
            return
        self._decided.pop(question, None)
        self._decided[question] = Decided(question, decision.allowed, self._clock())
        if len(self._decided) > QUESTIONS:
            del self._decided[next(iter(self._decided))]

    def last(self) -> list[Decided]:
        """Return what was decided in the last minutes."""
        since = self._clock() - SECONDS
        return [one for one in self._decided.values() if one.at >= since]


def fill(index: AccessIndex, policies: Mapping[tuple[str, str], Policy]) -> None:
    """Put all policies that decide into an index: first what rules speak of, then the rules."""
    for (kind, name), policy in policies.items():
        if isinstance(policy, Role | Attribute | ObjectAttributes | Assertion | Environment):
            index.put(kind, name, policy)
    for (kind, name), policy in policies.items():
        if isinstance(policy, AccessPolicy | LifecyclePolicy):
            index.put(kind, name, policy)


def differences(
    index: AccessIndex, policies: Mapping[tuple[str, str], Policy], decided: list[Decided]
) -> list[str]:
    """Say in lines what would be decided differently; fills the empty ``index`` with policies."""
    fill(index, policies)
    lines = []
    for one in decided:
        would = index.decide(one.question)
        if would.allowed != one.allowed:
            lines.append(_line(one, would))
    if len(lines) > SHOWN:
        return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
    return lines


def _line(one: Decided, would: Decision) -> str:
    question = one.question
    was = "allowed" if one.allowed else "denied"
    asked = f"{question.principal.id} {question.action} {question.name}"
    return f"{asked}: was {was}, would be {would}"
