"""Rules in an index: finding those about a question costs the name's depth, not the rules. Pure.

Rules lie under their pattern (a dict of literal names, a tree of segments for patterns with
wildcards), then the subject's principal, role or kind, then the text that an attribute must be;
what is left to ask of a rule is a closure.
"""

from collections.abc import Iterable
from typing import Final

from policy.access.rules import Rule
from policy.conditions.compiler import fetch
from policy.conditions.facts import Facts
from policy.decision import Question
from registry.names import Pattern

KNOWN = 10_000
"""Names whose rules an index remembers where to find."""
FEW: Final = 2
"""So many rules are asked as they are: that is faster than looking for the right ones."""


class _Guarded:
    """Rules that need an attribute to be one of some texts, by text."""

    __slots__ = ("allows", "denies", "fetch", "texts")

    def __init__(self, attribute: str) -> None:
        self.fetch = fetch(attribute)
        self.texts: dict[str, dict[Rule, None]] = {}
        self.allows: dict[Rule, None] = {}
        self.denies: dict[Rule, None] = {}

    def put(self, rule: Rule, texts: Iterable[str]) -> None:
        (self.allows if rule.allows else self.denies)[rule] = None
        for text in texts:
            self.texts.setdefault(text, {})[rule] = None

    def remove(self, rule: Rule, texts: Iterable[str]) -> bool:
        """Remove a rule; return whether that was the last one."""
        del (self.allows if rule.allows else self.denies)[rule]
        for text in dict.fromkeys(texts):
            _discard(self.texts, text, rule)
        return not (self.allows or self.denies)

    def collect(self, question: Question, facts: Facts, found: list[Rule]) -> None:
        if len(self.allows) + len(self.denies) <= FEW:
            found += self.denies
            found += self.allows
            return
        value = self.fetch(question, facts)
        if value.__class__ is str:
            found.extend(self.texts.get(value, ()))
            return
        # Each of them fails: one tells of it, and one denies.
        found.extend(next(iter(rules)) for rules in (self.denies, self.allows) if rules)


class _Group:
    """Rules that speak of the same subjects."""

    __slots__ = ("guarded", "plain")

    def __init__(self) -> None:
        self.plain: dict[Rule, None] = {}
        self.guarded: dict[str, _Guarded] = {}

    def put(self, rule: Rule) -> None:
        if rule.guard is None:
            self.plain[rule] = None
            return
        attribute = rule.guard.attribute
        guarded = self.guarded.get(attribute)
        if guarded is None:
            guarded = self.guarded[attribute] = _Guarded(attribute)
        guarded.put(rule, rule.guard.values)

    def remove(self, rule: Rule) -> bool:
        """Remove a rule; return whether that was the last one."""
        if rule.guard is None:
            del self.plain[rule]
        elif self.guarded[rule.guard.attribute].remove(rule, rule.guard.values):
            del self.guarded[rule.guard.attribute]
        return not (self.plain or self.guarded)

    def collect(self, question: Question, facts: Facts, found: list[Rule]) -> None:
        found += self.plain
        if self.guarded:
            for guarded in self.guarded.values():
                guarded.collect(question, facts, found)

    def everything(self, found: list[Rule]) -> None:
        found.extend(self.plain)
        for guarded in self.guarded.values():
            found.extend(guarded.denies)
            found.extend(guarded.allows)


class _Bucket:
    """The rules of one action and pattern, by whom they speak of."""

    __slots__ = ("anybody", "kinds", "principals", "roles")

    def __init__(self) -> None:
        self.principals: dict[str, _Group] = {}
        self.roles: dict[str, _Group] = {}
        self.kinds: dict[str, _Group] = {}
        self.anybody = _Group()

    def put(self, rule: Rule) -> None:
        table, key = self._place(rule)
        if table is None:
            self.anybody.put(rule)
            return
        group = table.get(key)
        if group is None:
            group = table[key] = _Group()
        group.put(rule)

    def remove(self, rule: Rule) -> bool:
        """Remove a rule that is here; return whether that was the last one."""
        table, key = self._place(rule)
        if table is None:
            self.anybody.remove(rule)
        elif table[key].remove(rule):
            del table[key]
        anybody = self.anybody
        return not (self.principals or self.roles or self.kinds or anybody.plain or anybody.guarded)

    def collect(
        self, question: Question, facts: Facts, roles: Iterable[str], found: list[Rule]
    ) -> None:
        """Add the rules that may speak of the caller."""
        principal = question.principal
        if self.principals:
            group = self.principals.get(principal.id)
            if group is not None:
                group.collect(question, facts, found)
        if self.kinds:
            group = self.kinds.get(principal.kind)
            if group is not None:
                group.collect(question, facts, found)
        if self.roles:
            for role in roles:
                if role in self.roles:
                    self.roles[role].collect(question, facts, found)
        anybody = self.anybody
        if anybody.plain or anybody.guarded:
            anybody.collect(question, facts, found)

    def everything(self, question: Question, roles: Iterable[str], found: list[Rule]) -> None:
        """Add the rules that may speak of the caller, whatever attributes they need."""
        groups = [self.principals.get(question.principal.id)]
        groups += [self.kinds.get(question.principal.kind), self.anybody]
        groups += [self.roles.get(role) for role in roles]
        for group in groups:
            if group is not None:
                group.everything(found)

    def _place(self, rule: Rule) -> tuple[dict[str, _Group] | None, str]:
        subject = rule.subject
        if subject.principal != "*":
            return self.principals, subject.principal
        if subject.role:
            return self.roles, subject.role
        if subject.kind != "*":
            return self.kinds, subject.kind
        return None, ""


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

    __slots__ = ("_known", "_literals", "_prefixes", "_tree")

    def __init__(self) -> None:
        self._known: dict[str, list[_Bucket]] = {}
        self._literals: dict[str, _Bucket] = {}
        self._prefixes: dict[str, _Bucket] = {}
        self._tree = _Tree()

    def put(self, rule: Rule) -> None:
        """Add a rule."""
        self._known = {}
        table, key = self._place(rule.pattern)
        if table is None:
            self._tree.bucket(key).put(rule)
        else:
            table.setdefault(key, _Bucket()).put(rule)

    def remove(self, rule: Rule) -> None:
        """Remove a rule; it must be there."""
        self._known = {}
        table, key = self._place(rule.pattern)
        if table is None:
            if self._tree.bucket(key).remove(rule):
                self._tree.drop(key)
        elif table[key].remove(rule):
            del table[key]

    def matching(self, question: Question, facts: Facts, roles: Iterable[str]) -> list[Rule]:
        """Return the rules that speak of the caller and the name, in no particular order.

        Those that need an attribute to be another text are left out.
        """
        buckets = self._known.get(question.name)
        if buckets is None:
            if len(self._known) >= KNOWN:
                self._known = {}
            buckets = self._known[question.name] = self._buckets(question.name)
        found: list[Rule] = []
        for bucket in buckets:
            bucket.collect(question, facts, roles, found)
        return found

    def everything(self, question: Question, roles: Iterable[str]) -> list[Rule]:
        """Return all rules that speak of the caller and the name."""
        found: list[Rule] = []
        for bucket in self._buckets(question.name):
            bucket.everything(question, roles, found)
        return found

    def _buckets(self, name: str) -> list[_Bucket]:
        found: list[_Bucket] = []
        bucket = self._literals.get(name)
        if bucket is not None:
            found.append(bucket)
        prefixes = self._prefixes
        if prefixes:
            # No wildcard matches a reserved segment, so a prefix must hold the last of them.
            shortest = name.rfind("/$") + 1
            end = len(name)
            while end > shortest:
                bucket = prefixes.get(name[:end])
                if bucket is not None:
                    found.append(bucket)
                end = name.rfind("/", 0, end)
        if self._tree.root.children:
            found += self._tree.matching(name)
        return found

    def _place(self, pattern: Pattern) -> tuple[dict[str, _Bucket] | None, str]:
        """Return where a pattern's bucket lies and under what: in the tree if there is no table."""
        if pattern.literal:
            return self._literals, pattern.text
        if pattern.text == f"{pattern.prefix}/**":
            return self._prefixes, pattern.prefix
        return None, pattern.text
