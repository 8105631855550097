"""Rules in an index: finding those about a question costs the name's depth, not the rules. Pure.

Rules lie under their action, then their pattern (a dict of literal names, a tree of segments for
patterns with wildcards), then the subject's principal or kind; what is left to ask of a rule is
a closure.
"""

from collections.abc import Callable
from functools import lru_cache

from policy.decision import Decision, Question, Reason
from policy.model import AccessPolicy, Action, LifecyclePolicy, Subject
from registry.names import Pattern
from registry.urls import Url, parse_url

Condition = Callable[[Question], bool]
"""What a rule asks beside subject, action and name; it may raise: then the rule denies."""


class Rule:
    """One subject, action and pattern of a policy: all that it takes to decide alone.

    ``decision`` is what follows if nothing else matches, with the reason in words.
    """

    __slots__ = ("_decision", "action", "allows", "condition", "pattern", "policy", "subject")

    def __init__(
        self,
        policy: str,
        allows: bool,
        subject: Subject,
        action: Action,
        pattern: Pattern,
        condition: Condition | None,
    ) -> None:
        self.policy = policy
        self.allows = allows
        self.subject = subject
        self.action = action
        self.pattern = pattern
        self.condition = condition
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """The decision of this rule alone; made when it is first needed, then shared."""
        if self._decision is None:
            who, verb = describe_subject(self.subject), "may" if self.allows else "may not"
            why = f"{who} {verb} {self.action} {self.pattern}"
            reason = Reason(self.policy, "allow" if self.allows else "deny", why)
            self._decision = Decision(self.allows, (reason,))
        return self._decision

    def applies(self, question: Question) -> bool:
        """Ask the condition; subject, action and name were matched by the index."""
        return self.condition is None or self.condition(question)

    def failed(self, error: Exception) -> Decision:
        """Return the denial that follows from a rule that cannot be evaluated."""
        reason = Reason(self.policy, "deny", f"the rule could not be evaluated: {error}")
        return Decision(False, (reason,))


def describe_subject(subject: Subject) -> str:
    """Say in words whom a subject condition means."""
    kind = "" if subject.kind == "*" else f" of kind {subject.kind}"
    if subject.principal != "*":
        return f"{subject.principal}{kind}"
    return f"every principal{kind}" if kind else "anybody"


def condition_of(policy: AccessPolicy | LifecyclePolicy, action: Action) -> Condition | None:
    """Compile what a policy asks beside subject, action and name."""
    if isinstance(policy, AccessPolicy):
        return _group_condition(policy) if action is Action.SUBSCRIBE else None
    if action is Action.BIND and policy.endpoints:
        return _endpoint_condition(policy)
    return None


def _group_condition(policy: AccessPolicy) -> Condition | None:
    groups, every = frozenset(policy.groups), "*" in policy.groups
    if policy.effect == "allow":
        return lambda question: not question.group or every or question.group in groups
    if groups:
        return lambda question: bool(question.group) and (every or question.group in groups)
    return None


def _endpoint_condition(policy: LifecyclePolicy) -> Condition:
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


class _Bucket:
    """The rules of one action and pattern, by whom they speak of."""

    __slots__ = ("anybody", "kinds", "principals")

    def __init__(self) -> None:
        self.principals: dict[str, dict[Rule, None]] = {}
        self.kinds: dict[str, dict[Rule, None]] = {}
        self.anybody: dict[Rule, None] = {}

    def put(self, rule: Rule) -> None:
        subject = rule.subject
        if subject.principal != "*":
            self.principals.setdefault(subject.principal, {})[rule] = None
        elif subject.kind != "*":
            self.kinds.setdefault(subject.kind, {})[rule] = None
        else:
            self.anybody[rule] = None

    def remove(self, rule: Rule) -> bool:
        """Remove a rule that is here; return whether that was the last one."""
        subject = rule.subject
        if subject.principal != "*":
            _discard(self.principals, subject.principal, rule)
        elif subject.kind != "*":
            _discard(self.kinds, subject.kind, rule)
        else:
            del self.anybody[rule]
        return not (self.principals or self.kinds or self.anybody)

    def collect(self, principal: str, kind: str, found: list[Rule]) -> None:
        rules = self.principals.get(principal)
        if rules is not None:
            found += [rule for rule in rules if rule.subject.kind in ("*", kind)]
        found.extend(self.kinds.get(kind, ()))
        found.extend(self.anybody)


def _discard(table: dict[str, dict[Rule, None]], key: str, rule: Rule) -> None:
    rules = table[key]
    del rules[rule]
    if not rules:
        del table[key]


class _Node:
    """One segment of patterns with ``*``, which is a child like any other.

    ``here`` holds the patterns that end here, ``rest`` those that end here with ``**``.
    """

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.here: _Bucket | None = None
        self.rest: _Bucket | None = None


class _Tree:
    """Buckets of patterns with ``*``: a walk visits the nodes that the name can reach."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        self.root = _Node()

    def matching(self, name: str) -> list[_Bucket]:
        parts = name.split("/")
        # No wildcard matches a reserved segment, so `**` counts only behind the last of them.
        last = max((i for i, part in enumerate(parts) if part[0] == "$"), default=-1)
        found: list[_Bucket] = []
        nodes = [self.root]
        for depth, part in enumerate(parts):
            keys = (part,) if part[0] == "$" else (part, "*")
            nodes = [node.children[key] for node in nodes for key in keys if key in node.children]
            if depth >= last:
                found.extend(node.rest for node in nodes if node.rest is not None)
        found.extend(node.here for node in nodes if node.here is not None)
        return found

    def bucket(self, text: str) -> _Bucket:
        """Return the bucket of a pattern, made when it is not there."""
        node = self.root
        for part in text.removesuffix("/**").split("/"):
            node = node.children.setdefault(part, _Node())
        if text.endswith("/**"):
            node.rest = node.rest or _Bucket()
            return node.rest
        node.here = node.here or _Bucket()
        return node.here

    def drop(self, text: str) -> None:
        """Drop the bucket of a pattern and the nodes that nothing needs any more."""
        path = [self.root]
        parts = text.removesuffix("/**").split("/")
        for part in parts:
            path.append(path[-1].children[part])
        if text.endswith("/**"):
            path[-1].rest = None
        else:
            path[-1].here = None
        for part in reversed(parts):
            node = path.pop()
            if node.children or node.here is not None or node.rest is not None:
                return
            del path[-1].children[part]


class RuleIndex:
    """The rules of one action: literal names, ``prefix/**``, and a tree for all other patterns."""

    __slots__ = ("_literals", "_prefixes", "_tree")

    def __init__(self) -> None:
        self._literals: dict[str, _Bucket] = {}
        self._prefixes: dict[str, _Bucket] = {}
        self._tree = _Tree()

    def put(self, rule: Rule) -> None:
        """Add a rule."""
        table, key = self._place(rule.pattern)
        if table is None:
            self._tree.bucket(key).put(rule)
        else:
            table.setdefault(key, _Bucket()).put(rule)

    def remove(self, rule: Rule) -> None:
        """Remove a rule; it must be there."""
        table, key = self._place(rule.pattern)
        if table is None:
            if self._tree.bucket(key).remove(rule):
                self._tree.drop(key)
        elif table[key].remove(rule):
            del table[key]

    def matching(self, principal: str, kind: str, name: str) -> list[Rule]:
        """Return the rules that speak of this principal and name, in no particular order."""
        found: list[Rule] = []
        bucket = self._literals.get(name)
        if bucket is not None:
            bucket.collect(principal, kind, found)
        prefixes = self._prefixes
        if prefixes:
            # No wildcard matches a reserved segment, so a prefix must hold the last of them.
            shortest = name.rfind("/$") + 1
            end = len(name)
            while end > shortest:
                bucket = prefixes.get(name[:end])
                if bucket is not None:
                    bucket.collect(principal, kind, found)
                end = name.rfind("/", 0, end)
        if self._tree.root.children:
            for bucket in self._tree.matching(name):
                bucket.collect(principal, kind, found)
        return found

    def _place(self, pattern: Pattern) -> tuple[dict[str, _Bucket] | None, str]:
        """Return where a pattern's bucket lies and under what: in the tree if there is no table."""
        if pattern.literal:
            return self._literals, pattern.text
        if pattern.text == f"{pattern.prefix}/**":
            return self._prefixes, pattern.prefix
        return None, pattern.text
