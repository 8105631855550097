"""What conditions see: roles, attributes of objects, the environment, and the schema. Pure."""

from collections.abc import Callable, Container, Mapping
from typing import Final, TypeAlias, get_args

from policy.access.knowledge import Claim, Fact, Known, covers, merged
from policy.access.roles import Roles, is_subject
from policy.conditions.facts import Facts
from policy.conditions.kinds import Schema
from policy.model import Assertion, Attribute, Environment, ObjectAttributes, Role, Value
from policy.patterns import PatternIndex
from registry.names import Name, Pattern

KEPT: Final = 50_000
"""Names whose attributes are remembered."""

Statement: TypeAlias = Role | Attribute | ObjectAttributes | Assertion | Environment
"""A policy that decides nothing itself: rules speak of what it says."""
STATEMENTS: Final = frozenset(kind.__name__ for kind in get_args(Statement))
FactsOf: TypeAlias = Callable[[Name], Known]


def nothing_known(_: Name) -> Known:
    """Know nothing of any name: there is no registry here."""
    return Known()


class Circumstances:
    """The statements in force. ``facts_of`` says what the registry knows of a name."""

    def __init__(
        self, authority: str, aliases: Container[str], facts_of: FactsOf = nothing_known
    ) -> None:
        self.roles = Roles()
        self.facts = Facts(self.object, self.roles.of)
        self.schema = Schema()
        self.facts_of = facts_of
        self._authority = authority
        self._aliases = aliases
        self._attributes: dict[str, Attribute] = {}
        self._environments: dict[str, Environment] = {}
        self._objects: PatternIndex[tuple[str, ObjectAttributes]] = PatternIndex()
        self._stated: dict[str, ObjectAttributes] = {}
        self._assertions: PatternIndex[tuple[str, Assertion]] = PatternIndex()
        self._asserted: dict[str, Assertion] = {}
        self._known: dict[Name, Mapping[str, Value]] = {}
        self._overflowed = False
        self._surroundings()

    @property
    def declared(self) -> dict[str, Attribute]:
        """The attributes that policies declare, by policy name."""
        return dict(self._attributes)

    def put(self, name: str, statement: Statement) -> None:
        """Add a statement, or replace the one of its kind and this name."""
        self.remove(type(statement).__name__, name)
        if isinstance(statement, Role):
            self.roles.put(name, statement)
            self._known = {}
        elif isinstance(statement, Attribute):
            self._attributes[name] = statement
            self.schema = Schema(self._attributes.values())
        elif isinstance(statement, Environment):
            self._environments[name] = statement
            self._surroundings()
        elif isinstance(statement, Assertion):
            self._asserted[name] = statement
            for pattern in self._patterns(statement):
                self._assertions.put(pattern, name, (name, statement))
            self._known = {}
        else:
            self._stated[name] = statement
            for pattern in self._patterns(statement):
                self._objects.put(pattern, name, (name, statement))
            self._known = {}

    def remove(self, kind: str, name: str) -> None:
        """Remove a statement, if it is there."""
        if kind == Role.__name__:
            self.roles.remove(name)
            self._known = {}
        elif kind == Attribute.__name__:
            self._attributes.pop(name, None)
            self.schema = Schema(self._attributes.values())
        elif kind == Environment.__name__:
            self._environments.pop(name, None)
            self._surroundings()
        elif kind == Assertion.__name__ and name in self._asserted:
            for pattern in self._patterns(self._asserted.pop(name)):
                self._assertions.remove(pattern, name)
            self._known = {}
        elif kind == ObjectAttributes.__name__ and name in self._stated:
            for pattern in self._patterns(self._stated.pop(name)):
                self._objects.remove(pattern, name)
            self._known = {}

    def object(self, name: Name) -> Mapping[str, Value]:
        """Return the attributes of a name; more specific statements win over wider ones."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= KEPT:
                self._known = {}
                self._overflowed = True
            known = self._known[name] = self._merged(name)[0]
        return known

    def explain(self, name: Name) -> list[Fact]:
        """Return what is known of a name, by whom, and what of it counts."""
        return self._merged(name)[1]

    def changed(self, name: Name) -> bool:
        """Forget what the registry said of a name; return whether anybody may have asked."""
        return self._known.pop(name, None) is not None or self._overflowed

    def forget(self) -> None:
        """Forget what the registry said of all names."""
        self._known = {}

    def _merged(self, name: Name) -> tuple[dict[str, Value], list[Fact]]:
        def allows(claim: Claim, above: frozenset[str]) -> str:
            roles = self.roles.of(claim.owner)
            for policy, assertion in self._assertions.matching(name):
                if covers(assertion, claim, above) and any(
                    is_subject(subject, claim.owner, roles) for subject in assertion.subjects
                ):
                    return f"Assertion/{policy}"
            return ""

        stated = reversed(list(self._objects.matching(name)))
        attributes = [(policy, statement.attributes) for policy, statement in stated]
        return merged(self.facts_of(name), attributes, allows)

    def _surroundings(self) -> None:
        """Merge the environments; by name, so that every replay finds the same."""
        clock = {k: v for k, v in self.facts.environment.items() if k in _CLOCK}
        everywhere: dict[str, Value] = {}
        for _, each in sorted(self._environments.items()):
            everywhere.update(each.attributes)
        threats = [each.threat for each in self._environments.values()]
        everywhere["threat"] = float(max(threats, default=0))
        everywhere["site"] = self._authority
        self.facts.environment = {**everywhere, **clock}

    def _patterns(self, statement: ObjectAttributes | Assertion) -> list[Pattern]:
        parse, authority, aliases = Pattern.parse, self._authority, self._aliases
        names = dict.fromkeys(statement.names)
        return [parse(name, authority=authority, aliases=aliases) for name in names]


_CLOCK: Final = frozenset({"time", "date", "weekday"})
