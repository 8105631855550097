"""Contradictions that are told before policies are applied."""

import pytest

from policy.conflicts import Conflict, PolicyId, conflicts
from policy.model import (
    AccessPolicy,
    Action,
    Choice,
    LifecyclePolicy,
    Policy,
    ResolutionPolicy,
    Role,
    Subject,
)


def access(
    effect: str, *names: str, to: str = "*", actions: str = "call", groups: str = ""
) -> AccessPolicy:
    return AccessPolicy(
        "allow" if effect == "allow" else "deny",
        (Subject(to),),
        tuple(map(Action, actions.split())),
        tuple(f"s/{name}" for name in names),
        tuple(groups.split()),
    )


def told(*policies: Policy, changed: set[PolicyId] | None = None) -> list[Conflict]:
    return conflicts(
        {(type(policy).__name__, f"p{i}"): policy for i, policy in enumerate(policies)}, changed
    )


def test_two_resolutions_of_one_pattern_are_an_error() -> None:
    one = ResolutionPolicy(("s/a/**", "s/b"), (Choice(version="1"),))
    two = ResolutionPolicy(("s/b",), (Choice(version="2"),))
    (conflict,) = told(one, two, ResolutionPolicy(("s/a/*",)))
    assert conflict.error
    assert str(conflict) == (
        "error: ResolutionPolicy/p0 and ResolutionPolicy/p1 say how s/b is resolved: keep one"
    )
    assert told(one, two, changed={("ResolutionPolicy", "p1")}) == [conflict]
    assert told(one, two, changed={("ResolutionPolicy", "p2")}) == []
    assert len(told(one, one)) == 2


def test_policies_that_say_the_same_are_told() -> None:
    rule = access("allow", "a")
    described = AccessPolicy(rule.effect, rule.subjects, rule.actions, rule.names, description="x")
    (conflict,) = told(rule, described, rule, rule)
    assert not conflict.error
    assert str(conflict) == (
        "warning: AccessPolicy/p0 and AccessPolicy/p1 and AccessPolicy/p2 and 1 more "
        "say the same: one of them is enough"
    )
    assert told(rule, rule, changed=set()) == []


def test_roles_that_nobody_defined_are_told_of_what_is_changed() -> None:
    """They may come from tokens; but a deny for a role that is misspelt denies nobody."""
    rule = AccessPolicy(
        "deny", (Subject(role="p1"), Subject(role="nurs")), (Action.CALL,), ("s/a",)
    )
    (conflict,) = told(rule, Role())
    assert str(conflict) == (
        "warning: AccessPolicy/p0 speaks of the role nurs, which no Role defines: "
        "it counts only for tokens that say it"
    )
    assert told(rule, Role(), changed={("Role", "p1")}) == []
    assert len(told(rule, changed={("AccessPolicy", "p0")})) == 2


@pytest.mark.parametrize(
    ("allow", "deny", "shadowed"),
    [
        (access("allow", "a/b"), access("deny", "a/b"), True),
        (access("allow", "a/b"), access("deny", "**"), True),
        (access("allow", "a/b", "a/*"), access("deny", "a/**"), True),
        (access("allow", "a/**"), access("deny", "a/**"), True),
        (access("allow", "a", to="u:1"), access("deny", "a"), True),
        (access("allow", "a", to="u:1"), access("deny", "a", actions="call publish"), True),
        (access("allow", "a/b", "c"), access("deny", "a/**"), False),
        (access("allow", "ab"), access("deny", "a/**"), False),
        (access("allow", "a/b"), access("deny", "a/*"), False),
        (access("allow", "x/a/b"), access("deny", "*/a/**"), False),
        (access("allow", "$site/x"), access("deny", "**"), False),
        (access("allow", "$site/x"), access("deny", "$site/**"), True),
        (access("allow", "a"), access("deny", "a", to="u:1"), False),
        (access("allow", "a", actions="call publish"), access("deny", "a"), False),
        (
            access("allow", "a", actions="subscribe"),
            access("deny", "a", actions="subscribe", groups="g"),
            False,
        ),
        (
            access("allow", "a", actions="bind"),
            LifecyclePolicy("deny", (Subject(),), ("bind",), ("s/a",), ("http://h",)),
            False,
        ),
        (
            access("allow", "a", actions="bind"),
            LifecyclePolicy("deny", (Subject(),), ("bind",), ("s/a",)),
            True,
        ),
    ],
)
def test_an_allow_that_a_deny_covers_is_told(
    allow: AccessPolicy, deny: AccessPolicy, shadowed: bool
) -> None:
    found = [str(conflict) for conflict in told(allow, deny)]
    kind = type(deny).__name__
    expected = f"warning: AccessPolicy/p0 never allows anything: {kind}/p1 denies all of it"
    assert found == [expected] * shadowed


def test_only_what_changed_is_looked_at() -> None:
    policies = (access("allow", "a"), access("deny", "a"), access("allow", "a/b"))
    assert told(*policies, changed={("AccessPolicy", "p2")}) == []
    assert len(told(*policies, changed={("AccessPolicy", "p1")})) == 1
    assert len(told(*policies, changed={("AccessPolicy", "p0")})) == 1
