"""Rules: one subject, action and pattern of a policy, and what else it asks. Pure."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from policy.conditions.condition import Condition, Failure, Guard
from policy.conditions.facts import Facts
from policy.decision import Decision, Question, Reason
from policy.model import NONE, AccessPolicy, Action, LifecyclePolicy, Obligations, Subject
from registry.names import Pattern
from registry.urls import Url, parse_url

Restriction: TypeAlias = Callable[[Question], bool]
"""What a rule asks of group and endpoint; it may raise: then the rule fails."""


class Unreadable:
    """Stands for a condition that cannot be read (as the attributes are declared now): it fails."""

    __slots__ = ("_failure", "text")

    guards: Final[tuple[Guard, ...]] = ()

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        self._failure = Failure(why)

    def holds(self, _: Question, __: Facts) -> Failure:
        """Return why it cannot be read."""
        return self._failure

    def explain(self, _: Question, __: Facts) -> list[str]:
        """Say why it cannot be read."""
        return [self._failure.why]


When: TypeAlias = Condition | Unreadable


class Rule:
    """One subject, action and pattern of a policy: all that it takes to decide alone.

    ``decision`` is what follows if nothing else matches, with the reason in words. A rule that
    fails (its condition has no answer) denies if it is a deny; an allow allows nothing then, and
    leaves it to the others.
    """

    __slots__ = (
        "_decision",
        "action",
        "allows",
        "guard",
        "obligations",
        "partial",
        "pattern",
        "policy",
        "restriction",
        "subject",
        "test",
        "when",
    )

    def __init__(
        self,
        policy: str,
        allows: bool,
        subject: Subject,
        action: Action,
        pattern: Pattern,
        restriction: Restriction | None,
        when: When | None = None,
        obligations: Obligations | None = None,
    ) -> None:
        self.policy = policy
        self.allows = allows
        self.subject = subject
        said = (subject.principal != "*", subject.kind != "*", subject.role != "")
        self.partial = sum(said) > 1
        """Whether the index looks at one part only of whom the rule speaks of."""
        self.action = action
        self.pattern = pattern
        self.restriction = restriction
        self.when = when
        self.obligations = obligations
        self.test = when.holds if when is not None and restriction is None else None
        """What is asked in place of ``applies``, when there is a condition only."""
        self.guard = _guard(when, allows) if when is not None else None
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """The decision of this rule alone; made when it is first needed, then shared."""
        if self._decision is None:
            reason = Reason(self.policy, "allow" if self.allows else "deny", self.why)
            self._decision = Decision(self.allows, (reason,), self.obligations)
        return self._decision

    @property
    def why(self) -> str:
        """The rule in words."""
        who, verb = describe_subject(self.subject), "may" if self.allows else "may not"
        when = f" when {self.when.text}" if self.when is not None else ""
        return f"{who} {verb} {self.action} {self.pattern}{when}"

    def applies(self, question: Question, facts: Facts) -> bool | Failure:
        """Ask what is left to ask; subject, action and name were matched by the index."""
        if self.restriction is not None:
            try:
                if not self.restriction(question):
                    return False
            except ValueError as error:
                return Failure(str(error))
        return True if self.when is None else self.when.holds(question, facts)

    def failed(self, failure: Failure) -> Reason:
        """Return the reason that follows from a rule that cannot be evaluated."""
        why = f"the rule could not be evaluated: {failure.why}"
        return Reason(self.policy, "failed" if self.allows else "deny", why)


def _guard(when: When, allows: bool) -> Guard | None:
    """Return what a rule can be indexed by beside its subject.

    A test that comes later serves an allow only: what stands before it may fail, and a deny that
    fails denies.
    """
    guards = [guard for guard in when.guards if allows or guard.first]
    return min(guards, key=lambda guard: len(guard.values), default=None)


def describe_subject(subject: Subject) -> str:
    """Say in words whom a subject condition means."""
    kind = "" if subject.kind == "*" else f" of kind {subject.kind}"
    if subject.role:
        kind += f" with the role {subject.role}"
    if subject.principal != "*":
        return f"{subject.principal}{kind}"
    return f"every principal{kind}" if kind else "anybody"


def obligations_of(policy: AccessPolicy | LifecyclePolicy) -> Obligations | None:
    """Return what a policy obliges to, None for nothing."""
    if not isinstance(policy, AccessPolicy) or policy.obligations == NONE:
        return None
    return policy.obligations


def restriction_of(policy: AccessPolicy | LifecyclePolicy, action: Action) -> Restriction | None:
    """Compile what a policy asks of group and endpoint."""
    if isinstance(policy, AccessPolicy):
        return _group_condition(policy) if action is Action.SUBSCRIBE else None
    if action is Action.BIND and policy.endpoints:
        return _endpoint_condition(policy)
    return None


def _group_condition(policy: AccessPolicy) -> Restriction | None:
    groups, every = frozenset(policy.groups), "*" in policy.groups
    if policy.effect == "allow":
        return lambda question: not question.group or every or question.group in groups
    if groups:
        return lambda question: bool(question.group) and (every or question.group in groups)
    return None


def _endpoint_condition(policy: LifecyclePolicy) -> Restriction:
    prefixes, test = policy.endpoints, Url.within if policy.effect == "allow" else Url.may_reach

    def condition(question: Question) -> bool:
        if not question.endpoint:
            return False
        url = parse_url(question.endpoint, template=True)
        return any(test(url, _prefix(prefix)) for prefix in prefixes)

    return condition


@lru_cache(maxsize=1024)
def _prefix(text: str) -> Url:
    return parse_url(text)
