"""Access and lifecycle policies to rules. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from policy.access.rules import Rule, Unreadable, When, obligations_of, restriction_of
from policy.conditions.condition import InvalidCondition, parse
from policy.conditions.kinds import Schema
from policy.model import AccessPolicy, Action, LifecyclePolicy, Obligations
from registry.names import InvalidName, Pattern

Rules: TypeAlias = AccessPolicy | LifecyclePolicy


class Compiled(NamedTuple):
    """A policy in the index: its rules, and what a near miss is told from."""

    label: str
    policy: Rules
    patterns: tuple[Pattern, ...]
    when: When | None
    rules: tuple[Rule, ...]


def compile_policy(
    label: str, policy: Rules, pattern: Callable[[str], Pattern], schema: Schema
) -> tuple[Compiled, str]:
    """Compile a policy; return also what is wrong with it, "" for nothing.

    An unreadable name widens a deny to everything and allows nothing; an unreadable condition
    (an attribute may be declared no more) always fails.
    """
    patterns: list[Pattern] = []
    when: When | None = None
    trouble = ""
    for text in policy.names:
        try:
            patterns.append(pattern(text))
        except InvalidName as error:
            trouble = str(error)
            if policy.effect == "deny":
                patterns.append(pattern("**"))
    if policy.when:
        try:
            when = parse(policy.when, schema)
        except InvalidCondition as error:
            trouble = f"its condition cannot be read: {error.message}"
            when = Unreadable(policy.when, trouble)
    rules = tuple(_rules(label, policy, tuple(patterns), when))
    return Compiled(label, policy, tuple(patterns), when, rules), trouble


def _rules(
    label: str, policy: Rules, patterns: tuple[Pattern, ...], when: When | None
) -> Iterator[Rule]:
    allows, duties = policy.effect == "allow", obligations_of(policy)
    for text in dict.fromkeys(policy.actions):
        action = Action(text)
        restriction = restriction_of(policy, action)
        for subject in dict.fromkeys(policy.subjects):
            for pattern in dict.fromkeys(patterns):
                yield Rule(label, allows, subject, action, pattern, restriction, when, duties)


def merged(rules: Iterable[Rule]) -> Obligations | None:
    """Return the duties of all allowing rules; of two values of a header the first policy's."""
    duties = {rule.policy: rule.obligations for rule in rules if rule.obligations is not None}
    if not duties:
        return None
    every = [duty for _, duty in sorted(duties.items())]
    mask = dict.fromkeys(pointer for duty in every for pointer in duty.mask)
    headers = {name: value for duty in reversed(every) for name, value in duty.headers.items()}
    return Obligations(any(duty.log for duty in every), tuple(mask), headers)
