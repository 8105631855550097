"""Contradictions among policies, told before they are applied: a first form (S1 5.3 is step 6)."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from policy.access.roles import cycles
from policy.conditions.condition import InvalidCondition, parse
from policy.conditions.kinds import Schema
from policy.model import (
    AccessPolicy,
    Attribute,
    LifecyclePolicy,
    Policy,
    ResolutionPolicy,
    Role,
    Subject,
)

PolicyId: TypeAlias = tuple[str, str]
"""Kind and name."""


class Conflict(NamedTuple):
    """Policies that do not fit together; an ``error`` must not be applied."""

    message: str
    error: bool

    def __str__(self) -> str:
        return f"{'error' if self.error else 'warning'}: {self.message}"


def conflicts(
    policies: Mapping[PolicyId, Policy], changed: Collection[PolicyId] | None = None
) -> list[Conflict]:
    """Return the conflicts among all ``policies`` that concern one of ``changed`` (or any).

    Names in the policies are canonical. Costs time in proportion to changed times all.
    """
    concerned = set(policies if changed is None else changed)
    found = [*_same_names(policies, concerned), *_duplicates(policies, concerned)]
    found += _circles(policies, concerned)
    found += _unknown_roles(policies, concerned)
    found += _same_attributes(policies, concerned)
    if any(kind == Attribute.__name__ for kind, _ in concerned):
        found += _unreadable(policies)
    return found + list(_overridden(policies, concerned))


def uses(policies: Mapping[PolicyId, Policy], deleted: Collection[PolicyId]) -> list[Conflict]:
    """Return why policies must not be ``deleted``: others, in ``policies`` too, use them."""
    left = {id_: policy for id_, policy in policies.items() if id_ not in deleted}
    roles = {name for kind, name in deleted if kind == Role.__name__}
    found = [
        Conflict(f"{_labels([id_])} uses the role {role}: change that first", error=True)
        for id_, policy in left.items()
        for role in sorted(roles & _roles_in(policy))
    ]
    if any(kind == Attribute.__name__ for kind, _ in deleted):
        found += _unreadable(left)
    return found


def _roles_in(policy: Policy) -> set[str]:
    inherited = set(policy.inherits) if isinstance(policy, Role) else set()
    return inherited | {s.role for s in getattr(policy, "subjects", ()) if s.role}


def _circles(policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]) -> Iterator[Conflict]:
    roles = {name: policy for (_, name), policy in policies.items() if isinstance(policy, Role)}
    changed = {name for kind, name in concerned if kind == Role.__name__}
    for circle in cycles(roles) if changed else ():
        if not changed.isdisjoint(circle):
            way = " -> ".join(circle[:20])
            yield Conflict(f"roles inherit in a circle, {way}: leave one step out", error=True)


def _unknown_roles(
    policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]
) -> Iterator[Conflict]:
    """Yield uses of roles that no Role defines: claims of tokens may say them, or it is a typo."""
    known = {name for kind, name in policies if kind == Role.__name__}
    for id_, policy in policies.items():
        for role in sorted(_roles_in(policy) - known) if id_ in concerned else ():
            message = f"{_labels([id_])} speaks of the role {role}, which no Role defines"
            yield Conflict(f"{message}: it counts only for tokens that say it", error=False)


def _same_attributes(
    policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]
) -> Iterator[Conflict]:
    by_name: dict[str, list[PolicyId]] = {}
    for id_, policy in policies.items():
        if isinstance(policy, Attribute):
            by_name.setdefault(policy.attribute, []).append(id_)
    for name, ids in by_name.items():
        if len(ids) > 1 and not concerned.isdisjoint(ids):
            yield Conflict(f"{_labels(ids)} declare {name}: keep one", error=True)


def _unreadable(policies: Mapping[PolicyId, Policy]) -> Iterator[Conflict]:
    """Yield the policies whose conditions do not fit the declared attributes."""
    schema = Schema(policy for policy in policies.values() if isinstance(policy, Attribute))
    for id_, policy in policies.items():
        if isinstance(policy, AccessPolicy | LifecyclePolicy) and policy.when:
            try:
                parse(policy.when, schema)
            except InvalidCondition as error:
                message = f"{_labels([id_])} could not be read any more: {error.message}"
                yield Conflict(f"{message}; change its condition first", error=True)


def _same_names(
    policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]
) -> Iterator[Conflict]:
    by_pattern: dict[str, list[PolicyId]] = {}
    for id_, policy in policies.items():
        if isinstance(policy, ResolutionPolicy):
            for pattern in dict.fromkeys(policy.names):
                by_pattern.setdefault(pattern, []).append(id_)
    for pattern, ids in by_pattern.items():
        if len(ids) > 1 and not concerned.isdisjoint(ids):
            message = f"{_labels(ids)} say how {pattern} is resolved: keep one"
            yield Conflict(message, error=True)


def _duplicates(
    policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]
) -> Iterator[Conflict]:
    by_content: dict[tuple[str, bytes], list[PolicyId]] = {}
    for id_, policy in policies.items():
        content = msgspec.json.encode(replace(policy, description=""))
        by_content.setdefault((id_[0], content), []).append(id_)
    for (kind, _), ids in by_content.items():
        if len(ids) > 1 and not concerned.isdisjoint(ids) and kind != ResolutionPolicy.__name__:
            yield Conflict(f"{_labels(ids)} say the same: one of them is enough", error=False)


def _overridden(
    policies: Mapping[PolicyId, Policy], concerned: set[PolicyId]
) -> Iterator[Conflict]:
    rules = [(i, p) for i, p in policies.items() if isinstance(p, AccessPolicy | LifecyclePolicy)]
    denies = [(i, p) for i, p in rules if p.effect == "deny"]
    allows = [(i, p) for i, p in rules if p.effect == "allow"]
    new_denies = [(i, p) for i, p in denies if i in concerned]
    for allow_id, allow in allows:
        for deny_id, deny in denies if allow_id in concerned else new_denies:
            if _covers(deny, allow):
                message = f"{_labels([allow_id])} never allows anything: "
                yield Conflict(f"{message}{_labels([deny_id])} denies all of it", error=False)


def _covers(deny: AccessPolicy | LifecyclePolicy, allow: AccessPolicy | LifecyclePolicy) -> bool:
    """Whether one deny certainly matches whatever an allow matches."""
    restricted = deny.groups if isinstance(deny, AccessPolicy) else deny.endpoints
    return (
        not restricted
        and not deny.when
        and (deny.mode == "enforce" or allow.mode == "shadow")
        and set(allow.actions) <= set(deny.actions)
        and all(any(_is_within(s, d) for d in deny.subjects) for s in allow.subjects)
        and all(any(_is_below(name, d) for d in deny.names) for name in allow.names)
    )


def _is_within(subject: Subject, other: Subject) -> bool:
    return (
        other.principal in ("*", subject.principal)
        and other.kind in ("*", subject.kind)
        and other.role in ("", subject.role)
    )


def _is_below(pattern: str, other: str) -> bool:
    """Whether ``other`` is the same pattern or ``prefix/**`` around it."""
    if pattern == other:
        return True
    prefix = other.removesuffix("/**")
    if prefix == other or "*" in prefix or not f"{pattern}/".startswith(f"{prefix}/"):
        return False
    return "/$" not in pattern[len(prefix) :]


def _labels(ids: list[PolicyId]) -> str:
    shown = [f"{kind}/{name}" for kind, name in ids[:3]]
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return " and ".join(shown) + more
