"""Typed trees to closures. A closure raises only ``Failed``, for ``Condition``."""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from policy.conditions.facts import Facts
from policy.conditions.kinds import BOOLEAN, NUMBER, SET, TIME, Type
from policy.conditions.nodes import (
    Arithmetic,
    Between,
    Compare,
    Has,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
)
from policy.decision import Question

Closure: TypeAlias = Callable[[Question, Facts], Any]
"""A node's value; the tree's types say which one."""


class Failed(Exception):
    """A condition has no answer: an attribute is missing or of another type, or x / 0."""


class _Missing:
    """What stands for an attribute that is not there."""


MISSING = _Missing()

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "startsWith": str.startswith,
    "within": lambda inner, outer: inner == outer or inner.startswith(outer.rstrip("/") + "/"),
    "contains": operator.contains,
    "in": lambda element, elements: element in elements,
}

_RANKED = frozenset({"==", "!=", "<", "<=", ">", ">="})
"""What compares places among the values of an ordered domain."""


def compiled(node: Node) -> Closure:
    """Return a tree as a closure."""
    match node:
        case Literal(_, value):
            return lambda _, __: value
        case Read(type_, attribute):
            return _read(attribute, type_)
        case Has(attribute):
            return _has(attribute)
        case Arithmetic():
            return _arithmetic(node)
        case Compare():
            return _compare(node)
        case OneOf(left, values):
            of, every = compiled(left), frozenset(literal.value for literal in values)
            return lambda question, facts: of(question, facts) in every
        case Between():
            return _between(node)
        case Not(inner):
            what = compiled(inner)
            return lambda question, facts: not what(question, facts)
    joined = _all if node.operator == "and" else _any
    return joined([compiled(part) for part in node.parts])


def _has(attribute: str) -> Closure:
    raw = fetch(attribute)
    return lambda question, facts: raw(question, facts) is not MISSING


def _all(parts: list[Closure]) -> Closure:
    if len(parts) == 2:
        first, second = parts
        return lambda question, facts: first(question, facts) and second(question, facts)

    def every(question: Question, facts: Facts) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs three times as much
            if not part(question, facts):
                return False
        return True

    return every


def _any(parts: list[Closure]) -> Closure:
    def some(question: Question, facts: Facts) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs three times as much
            if part(question, facts):
                return True
        return False

    return some


def _compare(node: Compare) -> Closure:
    test = _COMPARE[node.operator]
    operand, value_of = (_ranked, _rank_of) if node.operator in _RANKED else (compiled, _value_of)
    left, right = operand(node.left), operand(node.right)
    if not isinstance(node.right, Literal):
        return lambda question, facts: test(left(question, facts), right(question, facts))
    value = value_of(node.right)
    if isinstance(node.left, Read) and node.left.type == NUMBER:
        return _number_test(node.left.attribute, test, value)
    if node.operator == "==":
        return lambda question, facts: left(question, facts) == value
    return lambda question, facts: test(left(question, facts), value)


def _number_test(attribute: str, test: Callable[[Any, Any], bool], value: Any) -> Closure:
    """Compare a number with a constant in one step: no test is more frequent."""
    whose, _, key = attribute.partition(".")
    if whose == "subject":

        def of_subject(question: Question, _: Facts) -> bool:
            found = question.principal.attributes.get(key, MISSING)
            return test(found if found.__class__ is float else _number(attribute, found), value)

        return of_subject
    if whose == "environment":

        def of_environment(_: Question, facts: Facts) -> bool:
            found = facts.environment.get(key, MISSING)
            return test(found if found.__class__ is float else _number(attribute, found), value)

        return of_environment
    read = _read_number(attribute, fetch(attribute))
    return lambda question, facts: test(read(question, facts), value)


def _between(node: Between) -> Closure:
    of, low, high = _ranked(node.left), _rank_of(node.low), _rank_of(node.high)
    if node.left.type != TIME:
        return lambda question, facts: low <= of(question, facts) <= high
    if low <= high:
        return lambda question, facts: low <= of(question, facts) < high

    def wrapping(question: Question, facts: Facts) -> bool:
        at = of(question, facts)
        return bool(at >= low or at < high)

    return wrapping


def _value_of(literal: Literal) -> Any:
    return literal.value


def _rank_of(literal: Literal) -> Any:
    values = literal.type.values
    return values.index(str(literal.value)) if values else literal.value


def _ranked(node: Node) -> Closure:
    """Return the closure of an operand; of an ordered domain it is the place among its values."""
    of, values = compiled(node), node.type.values
    if not values:
        return of
    ranks = {value: rank for rank, value in enumerate(values)}
    return lambda question, facts: ranks[of(question, facts)]


def _arithmetic(node: Arithmetic) -> Closure:
    left, right, sign = compiled(node.left), compiled(node.right), node.operator
    if sign not in "/%":
        count = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign]
        return lambda question, facts: count(left(question, facts), right(question, facts))
    share = operator.truediv if sign == "/" else operator.mod

    def divided(question: Question, facts: Facts) -> float:
        over, under = left(question, facts), right(question, facts)
        if under == 0:
            raise Failed(f"{node.text} divides by zero")
        return float(share(over, under))

    return divided


# Attributes


def fetch(attribute: str) -> Closure:
    """Return what gives an attribute's value as it is, ``MISSING`` when it is not there."""
    if attribute in _GIVEN:
        return _GIVEN[attribute]
    whose, _, key = attribute.partition(".")
    if whose == "subject":
        return lambda question, _: question.principal.attributes.get(key, MISSING)
    if whose == "object":
        return lambda question, facts: facts.objects(question.name).get(key, MISSING)
    return lambda _, facts: facts.environment.get(key, MISSING)


_GIVEN: dict[str, Closure] = {
    "subject.id": lambda question, _: question.principal.id,
    "subject.kind": lambda question, _: question.principal.kind,
    "subject.realm": lambda question, _: question.principal.id.partition(":")[0],
    "subject.method": lambda question, _: question.principal.method,
    "subject.roles": lambda question, facts: facts.roles(question.principal),
    "object.name": lambda question, _: str(question.name),
    "object.owner": lambda question, _: question.owner,
}


def _read(attribute: str, type_: Type) -> Closure:
    """Return what gives an attribute's value, of its declared type."""
    raw = fetch(attribute)
    if type_ == SET:
        return _read_set(attribute, raw)
    if type_ == NUMBER:
        return _read_number(attribute, raw)
    wanted = bool if type_ == BOOLEAN else float if type_.name in ("time", "date") else str
    allowed = frozenset(type_.values)

    def read(question: Question, facts: Facts) -> Any:
        value = raw(question, facts)
        if value.__class__ is wanted and (not allowed or value in allowed):
            return value
        raise Failed(trouble(attribute, type_, value))

    return read


def _read_number(attribute: str, raw: Closure) -> Closure:
    def read(question: Question, facts: Facts) -> float:
        value = raw(question, facts)
        return value if value.__class__ is float else _number(attribute, value)

    return read


def _number(attribute: str, value: Any) -> float:
    """Return a value as a number; a whole one need not be a float."""
    if value.__class__ is int and abs(value) < 1 << 1000:
        return float(value)
    raise Failed(trouble(attribute, NUMBER, value))


def _read_set(attribute: str, raw: Closure) -> Closure:
    def read(question: Question, facts: Facts) -> Any:
        value = raw(question, facts)
        if value.__class__ in (frozenset, tuple):
            return value
        raise Failed(trouble(attribute, SET, value))

    return read


def trouble(attribute: str, type_: Type, value: object) -> str:
    """Say why an attribute's value cannot be used."""
    if value is MISSING:
        return f"{attribute} is missing"
    return f"{attribute} is {str(value)[:80]!r}, not {type_}"
