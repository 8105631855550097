"""What would allow but for one thing: for people who ask why they may not. Pure."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from policy.access.compiling import Compiled
from policy.access.roles import is_subject
from policy.access.rules import Restriction, describe_subject, restriction_of
from policy.decision import Question, Reason

NEAR_MISSES: Final = 3
"""How many are told."""


def near_misses(
    policies: Iterable[Compiled], question: Question, roles: frozenset[str]
) -> Iterator[Reason]:
    """Yield the allowing policies that miss one thing of the question only."""
    for compiled in policies:
        if compiled.policy.effect == "allow":
            misses = list(islice(_misses(compiled, question, roles), 2))
            if len(misses) == 1:
                yield Reason(compiled.label, "near miss", f"would allow it, but {misses[0]}")


def _misses(compiled: Compiled, question: Question, roles: frozenset[str]) -> Iterator[str]:
    """Yield in words what keeps an allowing policy from matching."""
    policy, principal = compiled.policy, question.principal
    if not any(is_subject(subject, principal, roles) for subject in policy.subjects):
        who = _some([describe_subject(subject) for subject in policy.subjects])
        yield f"it is for {who}, not for {principal.id} of kind {principal.kind}"
    if question.action not in policy.actions:
        yield f"it is for {_some([*policy.actions])}, not for {question.action}"
    elif (restriction := restriction_of(policy, question.action)) and not _holds(
        restriction, question
    ):
        yield (
            f"it does not let anybody join the group {question.group}"
            if question.group
            else f"it does not cover the endpoint {question.endpoint or '(none)'}"
        )
    if not any(pattern.matches(question.name) for pattern in compiled.patterns):
        yield f"it is about {_some([str(p) for p in compiled.patterns])}, not {question.name}"


def _holds(restriction: Restriction, question: Question) -> bool:
    try:
        return restriction(question)
    except ValueError:
        return False


def _some(texts: list[str]) -> str:
    """Join the first few texts; a long policy must not make a long answer."""
    shown = ", ".join(texts[:3])
    return shown if len(texts) <= 3 else f"{shown} and {len(texts) - 3} more"


def asked(question: Question) -> str:
    """Say a question in words, without who asks."""
    text = f"{question.action} {question.name}"
    if question.group:
        text += f" in group {question.group}"
    return f"{text} with endpoint {question.endpoint}" if question.endpoint else text
