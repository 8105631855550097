"""Access decisions: default deny, deny beats allow, every answer with its reasons. Pure.

Two rules are built in. An administrator always reaches ``$site/policy/**``, whatever is denied
(else a bad policy could never be taken back). An owner may publish to, create and destroy what is
his, unless a deny says otherwise (design 4).
"""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from itertools import islice
from math import inf
from typing import Final, TypeAlias

from policy.access.attributes import STATEMENTS, Circumstances, FactsOf, Statement, nothing_known
from policy.access.compiling import Compiled, Rules, compile_policy, merged
from policy.access.near_misses import NEAR_MISSES, asked, near_misses
from policy.access.roles import is_owner, is_subject
from policy.access.rule_index import RuleIndex
from policy.access.rules import Rule
from policy.access.shadow import Shadowed
from policy.conditions.condition import Condition, Failure
from policy.decision import Decision, Question, Reason
from policy.model import (
    ADMINISTRATOR,
    AccessPolicy,
    Action,
    Attribute,
    LifecyclePolicy,
    Principal,
)
from registry.names import Name, Pattern

CACHE = 32 * 1024 * 1024
"""Bytes of cached decisions: some 120,000, however long the names are that somebody asks for."""
_ENTRY: Final = 200
"""Bytes of one cached decision beside its name."""
SHOWN: Final = 20
"""Rules whose conditions do not hold that an explanation tells at most."""
BUILT_IN: Final = "built-in"

_ADMINISTRATORS: Final = frozenset({Action.CALL, Action.ADMINISTER})
_PROTECTED = Decision(
    True, (Reason(BUILT_IN, "allow", "administrators always reach the site's policies"),)
)
_OWNED = Decision(True, (Reason(BUILT_IN, "allow", "the name is the caller's own"),))
UNDECIDED: Final = Decision(False, (Reason(BUILT_IN, "deny", "no policy allows it"),))
"""The one decision of ``check`` when no rule says anything."""
FirstUses = Callable[[Principal, Action, Name, str], Decision | None]
"""Returns what a controller decided, None when it was not asked (S3 III-F)."""


Deciding: TypeAlias = Rules | Statement
"""Policies that decide, and those that say what rules speak of."""
_CLOCK: Final = frozenset({"environment.time", "environment.date", "environment.weekday"})


class AccessIndex:
    """Access and lifecycle policies, compiled and indexed. One writer: ``put`` and ``remove``.

    ``decided`` is told each decision of ``check`` that was not cached. ``epoch`` grows whenever
    decisions are to be made afresh, because the rules changed or for another reason. ``failures``
    says what is wrong with policies that cannot be read or evaluated as they stand: a deny denies
    then, an allow allows nothing, and neither disturbs another policy. ``failed`` is told of each
    once. Times are those of the last ``tick``.
    """

    def __init__(
        self,
        authority: str,
        aliases: Container[str] = (),
        decided: Callable[[Question, Decision], None] | None = None,
        facts_of: FactsOf = nothing_known,
        remotes: Container[str] = (),
    ) -> None:
        self.epoch = 0
        self.failures: dict[str, str] = {}
        self.failed: Callable[[str, str], None] | None = None
        self.shadowed = Shadowed()
        self.first_uses: FirstUses | None = None
        self.told: Callable[[Principal, Action, Name, Decision], None] | None = None
        """Is told of every denial of ``check``, cached or not, and of allows with such a duty."""
        self.tell_all = False
        """Of every allow, too."""
        self._authority = authority
        self._aliases = aliases
        self._remotes = remotes
        self._pattern = partial(
            Pattern.parse, authority=authority, aliases=aliases, remotes=remotes
        )
        self._decided = decided
        self._protected = Pattern.parse("$site/policy/**", authority=authority)
        self.circumstances = Circumstances(authority, aliases, facts_of)
        self._facts = self.circumstances.facts
        self.roles_of = self.circumstances.roles.of
        self._enforced: dict[Action, RuleIndex] = {action: RuleIndex() for action in Action}
        self._shadow: dict[Action, RuleIndex] = {action: RuleIndex() for action in Action}
        self._policies: dict[str, Compiled] = {}
        self._shadows: set[str] = set()
        self._timed: dict[str, Condition] = {}
        self._of_roles = 0
        self._now = 0.0
        self._offset = 0
        self._flips = -inf
        self._quiet: dict[tuple[Principal, Action, Name, str], Decision] = {}
        self._loud: dict[tuple[Principal, Action, Name, str], Decision] = {}
        self._cached = 0

    # What is in force

    def put(self, kind: str, name: str, policy: Deciding) -> None:
        """Add a policy or replace the one of this kind and name."""
        if not isinstance(policy, AccessPolicy | LifecyclePolicy):
            self.circumstances.put(name, policy)
            self._stated(kind)
            return
        self.remove(kind, name)
        label = f"{kind}/{name}"
        self._policies[label] = self._compiled(label, policy)
        self._enter(label)
        self.forget()

    def remove(self, kind: str, name: str) -> None:
        """Remove a policy, if it is there."""
        label = f"{kind}/{name}"
        self.failures.pop(label, None)
        self.shadowed.forget(label)
        if label in self._policies:
            self._leave(label)
            del self._policies[label]
            self.forget()
        elif kind in STATEMENTS:
            self.circumstances.remove(kind, name)
            self._stated(kind)

    def tick(self, now: float, offset: int = 0) -> bool:
        """Let it be Unix time ``now``; local time is ``offset`` seconds ahead.

        Returns whether the clock alone may have changed what was decided: then decisions are made
        afresh, and what is open must be decided again.
        """
        self._facts.look(now, offset)
        if self._now <= now < self._flips and offset == self._offset:
            self._now = now
            return False
        self._now, self._offset = now, offset
        timed = self._timed.values()
        self._flips = min((condition.flips(now, offset) for condition in timed), default=inf)
        if self._timed:
            self.forget()
        return bool(self._timed)

    def changed(self, names: Iterable[Name]) -> bool:
        """The registry changed ``names``; return whether decisions had looked at one of them."""
        looked = [name for name in names if self.circumstances.changed(name)]
        if looked:
            self.forget()
        return bool(looked)

    @property
    def declared(self) -> dict[str, Attribute]:
        """The attributes that policies declare, by policy name."""
        return self.circumstances.declared

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
            if self._shadows:
                self._look_at_shadows(question, decision)
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
        reasons: list[Reason] = []
        failed: list[Reason] = []
        allowing: list[Rule] = []
        for rule, answer in self._answers(question):
            if answer is True:
                reasons += rule.decision.reasons
                if rule.allows:
                    allowing.append(rule)
            elif answer is not False:
                (failed if rule.allows else reasons).append(rule.failed(answer))
        if is_owner(question):
            reasons += _OWNED.reasons
        if not reasons:
            why = f"no policy allows {question.principal.id} to {asked(question)}"
            reasons.append(Reason(BUILT_IN, "deny", why))
        reasons = sorted(dict.fromkeys(reasons))
        reasons.sort(key=lambda reason: reason.effect != "deny")
        allowed = reasons[0].effect != "deny"
        duties = merged(allowing) if allowed else None
        return Decision(allowed, (*reasons, *dict.fromkeys(failed)), duties)

    def explain(self, question: Question) -> Decision:
        """Decide, and tell what conditions saw, what shadow policies would do, and near misses.

        A near miss is a policy that would allow but for one thing, told when nothing allows.
        Costs time in proportion to the policies: for people who ask, not for traffic.
        """
        decision = self.decide(question)
        told = list(islice(self._conditions(question), SHOWN))
        reasons = decision.reasons
        if reasons[0].policy == BUILT_IN and not decision.allowed:
            shown = {reason.policy for reason in told}
            others = (c for label, c in self._policies.items() if label not in shown)
            roles = self.roles_of(question.principal)
            told += islice(near_misses(others, question, roles), NEAR_MISSES)
        return Decision(decision.allowed, (*reasons, *told), decision.obligations)

    def empty(self) -> "AccessIndex":
        """Return an index of the same site and time without policies, to try some."""
        facts_of = self.circumstances.facts_of
        index = AccessIndex(self._authority, self._aliases, None, facts_of, self._remotes)
        index.tick(self._now, self._offset)
        return index

    # Inside

    def _evaluate(self, question: Question) -> Decision:
        if question.principal.kind == ADMINISTRATOR and self._is_protected(question):
            return _PROTECTED
        rules = self._about(question, self._enforced)
        if len(rules) == 1:  # the usual case, and the shortest way
            rule = rules[0]
            if rule.test is not None and rule.test(question, self._facts) is True:
                return rule.decision
        return self._outcome(rules, question)

    def _outcome(self, rules: list[Rule], question: Question) -> Decision:
        """Decide by rules that speak of the caller and the name: a deny ends it."""
        allowing: Rule | None = None
        obliging: list[Rule] = []
        facts = self._facts
        for rule in rules:
            if rule.allows and allowing is not None and rule.obligations is None:
                continue
            answer = (rule.test or rule.applies)(question, facts)
            if answer is True:
                if not rule.allows:
                    return rule.decision
                allowing = allowing or rule
                if rule.obligations is not None:
                    obliging.append(rule)
            elif answer is not False:
                self._note_failure(rule, answer)
                if not rule.allows:
                    return Decision(False, (rule.failed(answer),))
        if allowing is None:
            return _OWNED if is_owner(question) else UNDECIDED
        if not obliging or obliging == [allowing]:
            return allowing.decision
        return allowing.decision._replace(obligations=merged(obliging))

    def _about(self, question: Question, indexes: dict[Action, RuleIndex]) -> list[Rule]:
        """Return the rules that speak of the caller and the name and may apply."""
        principal = question.principal
        roles: frozenset[str] = self.roles_of(principal) if self._of_roles else _NONE
        found = indexes[question.action].matching(question, self._facts, roles)
        for rule in found:
            if rule.partial:
                return [
                    r for r in found if not r.partial or is_subject(r.subject, principal, roles)
                ]
        return found

    def _answers(
        self, question: Question, indexes: dict[Action, RuleIndex] | None = None
    ) -> Iterator[tuple[Rule, bool | Failure]]:
        """Yield what each rule about a question answers."""
        principal, roles = question.principal, self.roles_of(question.principal)
        index = (indexes or self._enforced)[question.action]
        for rule in index.everything(question, roles):
            if is_subject(rule.subject, principal, roles):
                answer = rule.applies(question, self._facts)
                if answer.__class__ is Failure:
                    self._note_failure(rule, answer)
                yield rule, answer

    def _conditions(self, question: Question) -> Iterator[Reason]:
        """Yield what conditions saw, and what shadow policies say."""
        if self._is_protected(question):
            return
        for rule, answer in self._answers(question):
            if rule.when is not None:
                tests = "; ".join(rule.when.explain(question, self._facts))
                effect = "condition" if answer is True else "no match"
                yield Reason(rule.policy, effect, f"{rule.why}: {tests}")
        for rule, answer in self._answers(question, self._shadow):
            effect = "allow" if rule.allows else "deny"
            effect = f"shadow {effect}" if answer is True else "shadow no match"
            tests = "; ".join(rule.when.explain(question, self._facts)) if rule.when else ""
            yield Reason(rule.policy, effect, f"{rule.why}: {tests}" if tests else rule.why)

    def _look_at_shadows(self, question: Question, decision: Decision) -> None:
        """Decide once more with the policies in shadow mode among the others."""
        shadows = self._about(question, self._shadow)
        if shadows and decision is not _PROTECTED:
            rules = shadows + self._about(question, self._enforced)
            self.shadowed.note(question, decision, self._outcome(rules, question), self._now)

    def _note_failure(self, rule: Rule, failure: Failure) -> None:
        if rule.policy not in self.failures:
            self.failures[rule.policy] = failure.why
            if self.failed is not None:
                self.failed(rule.policy, failure.why)

    def _is_told(self, decision: Decision) -> bool:
        duties = decision.obligations
        return self.tell_all or not decision.allowed or (duties is not None and duties.log)

    def _is_protected(self, question: Question) -> bool:
        return (
            question.principal.kind == ADMINISTRATOR
            and question.action in _ADMINISTRATORS
            and self._protected.matches(question.name)
        )

    # Policies to rules

    def _compiled(self, label: str, policy: Rules) -> Compiled:
        """Compile a policy and note what is wrong with it."""
        compiled, trouble = compile_policy(label, policy, self._pattern, self.circumstances.schema)
        if trouble:
            self.failures[label] = trouble
        return compiled

    def _enter(self, label: str) -> None:
        """Put the rules of a policy into the indexes."""
        compiled = self._policies[label]
        shadow, when = compiled.policy.mode == "shadow", compiled.when
        if shadow:
            self._shadows.add(label)
        for rule in compiled.rules:
            (self._shadow if shadow else self._enforced)[rule.action].put(rule)
            self._of_roles += rule.subject.role != ""
        if isinstance(when, Condition) and not when.reads.isdisjoint(_CLOCK):
            self._timed[label] = when
            self._flips = min(self._flips, when.flips(self._now, self._offset))

    def _leave(self, label: str) -> None:
        compiled = self._policies[label]
        index = self._shadow if label in self._shadows else self._enforced
        for rule in compiled.rules:
            index[rule.action].remove(rule)
            self._of_roles -= rule.subject.role != ""
        self._shadows.discard(label)
        self._timed.pop(label, None)

    def _stated(self, kind: str) -> None:
        """A statement changed; conditions are read again when attributes did."""
        if kind == Attribute.__name__:
            conditional = [label for label, c in self._policies.items() if c.when is not None]
            for label in conditional:
                self._leave(label)
                self.failures.pop(label, None)
                self._policies[label] = self._compiled(label, self._policies[label].policy)
                self._enter(label)
        self.forget()


_NONE: Final[frozenset[str]] = frozenset()
