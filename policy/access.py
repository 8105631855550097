"""Access decisions: default deny, deny beats allow, every answer with its reasons. Pure.

Two rules are built in. An administrator always reaches ``$site/policy/**``, whatever is denied
(else a bad policy could never be taken back). An owner may publish to, create and destroy what is
his, unless a deny says otherwise (design 4).
"""

from collections.abc import Callable, Container, Iterator
from itertools import islice
from typing import Final, NamedTuple

from policy.decision import Decision, Question, Reason
from policy.model import (
    ADMINISTRATOR,
    ANONYMOUS,
    AccessPolicy,
    Action,
    LifecyclePolicy,
    Principal,
    Subject,
)
from policy.rules import Condition, Rule, RuleIndex, condition_of, describe_subject
from registry.names import InvalidName, Name, Pattern

Rules = AccessPolicy | LifecyclePolicy

CACHE: Final = 32 * 1024 * 1024
"""Bytes of cached decisions: some 120,000, however long the names are that somebody asks for."""
_ENTRY: Final = 200
"""Bytes of one cached decision beside its name."""
NEAR_MISSES: Final = 3
BUILT_IN: Final = "built-in"

_OWNERS: Final = frozenset({Action.PUBLISH, Action.CREATE, Action.DESTROY})
_ADMINISTRATORS: Final = frozenset({Action.CALL, Action.ADMINISTER})
_PROTECTED = Decision(
    True, (Reason(BUILT_IN, "allow", "administrators always reach the site's policies"),)
)
_OWNED = Decision(True, (Reason(BUILT_IN, "allow", "the name is the caller's own"),))
UNDECIDED: Final = Decision(False, (Reason(BUILT_IN, "deny", "no policy allows it"),))
"""The one decision of ``check`` when no rule says anything."""
FirstUses = Callable[[Principal, Action, Name, str], Decision | None]
"""Returns what a controller decided, None when it was not asked (S3 III-F)."""


class _Compiled(NamedTuple):
    """A policy in the index: its rules, and what a near miss is told from."""

    policy: Rules
    patterns: tuple[Pattern, ...]
    rules: tuple[Rule, ...]


class AccessIndex:
    """Access and lifecycle policies, compiled and indexed. One writer: ``put`` and ``remove``.

    ``decided`` is told each decision of ``check`` that was not cached. ``epoch`` grows whenever
    decisions are to be made afresh, because the rules changed or for another reason. ``failures``
    says what is wrong with policies that cannot be read or evaluated as they stand; such a rule
    denies and disturbs no other.
    """

    def __init__(
        self,
        authority: str,
        aliases: Container[str] = (),
        decided: Callable[[Question, Decision], None] | None = None,
    ) -> None:
        self.epoch = 0
        self.failures: dict[str, str] = {}
        self.first_uses: FirstUses | None = None
        self.told: Callable[[Principal, Action, Name, Decision], None] | None = None
        """Is told of every denial of ``check``, cached or not, and of allows with such a duty."""
        self.tell_all = False
        """Of every allow, too."""
        self._authority = authority
        self._aliases = aliases
        self._decided = decided
        self._protected = Pattern.parse("$site/policy/**", authority=authority)
        self._actions: dict[Action, RuleIndex] = {action: RuleIndex() for action in Action}
        self._policies: dict[str, _Compiled] = {}
        self._quiet: dict[tuple[Principal, Action, Name, str], Decision] = {}
        self._loud: dict[tuple[Principal, Action, Name, str], Decision] = {}
        self._cached = 0

    def put(self, kind: str, name: str, policy: Rules) -> None:
        """Add a policy or replace the one of this kind and name."""
        self.remove(kind, name)
        label = f"{kind}/{name}"
        patterns = tuple(self._patterns(label, policy))
        rules = tuple(_rules(label, policy, patterns))
        for rule in rules:
            self._actions[rule.action].put(rule)
        self._policies[label] = _Compiled(policy, patterns, rules)
        self._changed()

    def remove(self, kind: str, name: str) -> None:
        """Remove a policy, if it is there."""
        label = f"{kind}/{name}"
        self.failures.pop(label, None)
        compiled = self._policies.pop(label, None)
        if compiled is not None:
            for rule in compiled.rules:
                self._actions[rule.action].remove(rule)
            self._changed()

    def check(self, principal: Principal, action: Action, name: Name, owner: str) -> Decision:
        """Decide as ``decide`` does, without group or endpoint: cached, with one reason only."""
        decision = self._quiet.get((principal, action, name, owner))
        if decision is not None:
            return decision
        return self._check(principal, action, name, owner)

    def _check(self, principal: Principal, action: Action, name: Name, owner: str) -> Decision:
        """Decide what is not cached, or what is to be told each time."""
        key = (principal, action, name, owner)
        decision = self._loud.get(key)
        if decision is None:
            question = Question(principal, action, name, owner)
            decision = self._evaluate(question)
            if self._decided is not None:
                self._decided(question, decision)
            self._cached += _ENTRY + len(name)
            if self._cached > CACHE:
                self.forget()
            cache = self._loud if self._is_told(decision) else self._quiet
            cache[key] = decision
        if decision is UNDECIDED and self.first_uses is not None:
            decision = self.first_uses(principal, action, name, owner) or decision
        if decision is UNDECIDED and self.first_uses is not None:
            return decision  # a controller may be asked yet; ``denial`` tells
        if self.told is not None and self._is_told(decision):
            self.told(principal, action, name, decision)
        return decision

    def forget(self) -> None:
        """Forget cached decisions: each is made afresh when it is next asked for."""
        self.epoch += 1
        self._quiet = {}
        self._loud = {}
        self._cached = 0

    def decide(self, question: Question) -> Decision:
        """Decide with every rule that mattered, those that decided first."""
        if self._is_protected(question):
            return _PROTECTED
        found = self._found(question)
        if _is_owner(question):
            found.append(_OWNED)
        if not found:
            why = f"no policy allows {question.principal.id} to {_asked(question)}"
            return Decision(False, (Reason(BUILT_IN, "deny", why),))
        reasons = sorted(reason for decision in found for reason in decision.reasons)
        reasons.sort(key=lambda reason: reason.effect != "deny")
        return Decision(reasons[0].effect != "deny", tuple(reasons))

    def explain(self, question: Question) -> Decision:
        """Decide, and when nothing allows say which rules would have but for one thing.

        Costs time in proportion to the policies: for people who ask, not for traffic.
        """
        decision = self.decide(question)
        if decision.reasons[0].effect != "deny" or decision.reasons[0].policy != BUILT_IN:
            return decision
        near = tuple(islice(self._near(question), NEAR_MISSES))
        return Decision(False, decision.reasons + near)

    def _evaluate(self, question: Question) -> Decision:
        if self._is_protected(question):
            return _PROTECTED
        found = self._found(question)
        for decision in found:
            if not decision.allowed:
                return decision
        if found:
            return found[0]
        return _OWNED if _is_owner(question) else UNDECIDED

    def _found(self, question: Question) -> list[Decision]:
        """Return what each rule about a question decides."""
        principal, action, name = question[:3]
        found: list[Decision] = []
        for rule in self._actions[action].matching(principal.id, principal.kind, name):
            try:
                if rule.applies(question):
                    found.append(rule.decision)
            except Exception as error:  # One bad rule must not decide about others.
                self.failures[rule.policy] = str(error)
                found.append(rule.failed(error))
        return found

    def _is_told(self, decision: Decision) -> bool:
        duties = decision.obligations
        return self.tell_all or not decision.allowed or (duties is not None and duties.log)

    def _is_protected(self, question: Question) -> bool:
        return (
            question.principal.kind == ADMINISTRATOR
            and question.action in _ADMINISTRATORS
            and self._protected.matches(question.name)
        )

    def _changed(self) -> None:
        self.forget()

    def _patterns(self, label: str, policy: Rules) -> Iterator[Pattern]:
        """Parse a policy's names. An unreadable one widens a deny to everything, allows nothing."""
        for text in policy.names:
            try:
                yield self._pattern(text)
            except InvalidName as error:
                self.failures[label] = str(error)
                if policy.effect == "deny":
                    yield self._pattern("**")

    def _pattern(self, text: str) -> Pattern:
        return Pattern.parse(text, authority=self._authority, aliases=self._aliases)

    def _near(self, question: Question) -> Iterator[Reason]:
        """Yield the allowing policies that miss one thing of the question only."""
        for label, compiled in self._policies.items():
            if compiled.policy.effect == "allow":
                misses = list(islice(_misses(compiled, question), 2))
                if len(misses) == 1:
                    yield Reason(label, "near miss", f"would allow it, but {misses[0]}")


def _rules(label: str, policy: Rules, patterns: tuple[Pattern, ...]) -> Iterator[Rule]:
    allows = policy.effect == "allow"
    for text in dict.fromkeys(policy.actions):
        action = Action(text)
        condition: Condition | None = condition_of(policy, action)
        for subject in dict.fromkeys(policy.subjects):
            for pattern in dict.fromkeys(patterns):
                yield Rule(label, allows, subject, action, pattern, condition)


def _is_owner(question: Question) -> bool:
    # Anonymous callers share one id, so that none of them owns what another made.
    principal = question.principal
    return (
        question.owner != ""
        and question.owner == principal.id
        and question.action in _OWNERS
        and principal.kind != ANONYMOUS.kind
    )


def _misses(compiled: _Compiled, question: Question) -> Iterator[str]:
    """Yield in words what keeps an allowing policy from matching."""
    policy, principal = compiled.policy, question.principal
    if not any(_is_subject(subject, principal) for subject in policy.subjects):
        who = _some([describe_subject(subject) for subject in policy.subjects])
        yield f"it is for {who}, not for {principal.id} of kind {principal.kind}"
    if question.action not in policy.actions:
        yield f"it is for {_some([*policy.actions])}, not for {question.action}"
    elif (condition := condition_of(policy, question.action)) and not _holds(condition, question):
        yield (
            f"it does not let anybody join the group {question.group}"
            if question.group
            else f"it does not cover the endpoint {question.endpoint or '(none)'}"
        )
    if not any(pattern.matches(question.name) for pattern in compiled.patterns):
        yield f"it is about {_some([str(p) for p in compiled.patterns])}, not {question.name}"


def _holds(condition: Condition, question: Question) -> bool:
    try:
        return condition(question)
    except Exception:
        return False


def _is_subject(subject: Subject, principal: Principal) -> bool:
    return subject.principal in ("*", principal.id) and subject.kind in ("*", principal.kind)


def _some(texts: list[str]) -> str:
    """Join the first few texts; a long policy must not make a long answer."""
    shown = ", ".join(texts[:3])
    return shown if len(texts) <= 3 else f"{shown} and {len(texts) - 3} more"


def _asked(question: Question) -> str:
    text = f"{question.action} {question.name}"
    if question.group:
        text += f" in group {question.group}"
    return f"{text} with endpoint {question.endpoint}" if question.endpoint else text
