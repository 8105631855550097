"""A condition: read once, held against many questions. It never raises; what fails says why."""

from collections.abc import Iterator
from datetime import date
from math import inf
from typing import Final, NamedTuple

from policy.conditions.compiler import MISSING, Closure, Failed, compiled, fetch
from policy.conditions.facts import DAY, Facts
from policy.conditions.kinds import DATE, PATH, STRING, TIME, WEEKDAY, Schema, Type
from policy.conditions.nodes import (
    Between,
    Compare,
    Has,
    Join,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
    parts_of,
)
from policy.conditions.parser import EPOCH, parse_tree
from policy.conditions.terms import expanded
from policy.conditions.tokens import InvalidCondition
from policy.decision import Question

__all__ = ["MISSING", "Condition", "Failure", "Guard", "InvalidCondition", "parse"]

_SHOWN: Final = 80


class Failure(NamedTuple):
    """A condition that has no answer, and why. It is neither true nor false."""

    why: str


class Guard(NamedTuple):
    """A text attribute that must have one of ``values``, or the condition does not hold."""

    attribute: str
    values: tuple[str, ...]
    first: bool
    """Whether it is asked first: else something before it may fail the condition."""


class Condition:
    """What ``parse`` returns. ``tree`` is what it means, ``reads`` the attributes it may read."""

    __slots__ = ("_closure", "_times", "guards", "reads", "text", "tree")

    def __init__(self, text: str, tree: Node) -> None:
        self.text = text
        self.tree = tree
        self.reads = frozenset(n.attribute for n in _nodes(tree) if isinstance(n, Read | Has))
        self.guards = tuple(_guards(tree))
        self._closure: Closure = compiled(tree)
        self._times = tuple(sorted(set(_boundaries(tree))))

    def holds(self, question: Question, facts: Facts) -> bool | Failure:
        """Return the answer, or why there is none."""
        try:
            return self._closure(question, facts) is True
        except Failed as failed:
            return Failure(str(failed))

    def flips(self, now: float, offset: int = 0) -> float:
        """Return the next Unix time when the answer may change by the clock alone; or inf.

        ``offset`` is how many seconds local time is ahead of UTC.
        """
        if not self._times:
            return inf
        days, seconds = divmod(int(now) + offset, DAY)
        start = days * DAY - offset
        later = next((at for at in self._times if at > seconds), DAY + self._times[0])
        return float(start + later)

    def explain(self, question: Question, facts: Facts) -> list[str]:
        """Say of each test whether it holds, with the values that it saw."""
        return [_told(node, question, facts) for node in _tests(self.tree)]


def parse(text: str, schema: Schema) -> Condition:
    """Read a condition. Raises InvalidCondition, and nothing else."""
    return Condition(text, expanded(parse_tree(text, schema), schema.terms, text))


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in parts_of(node):
        yield from _nodes(part)


def _tests(node: Node) -> Iterator[Node]:
    """Yield what ``and``, ``or`` and ``not`` join."""
    if isinstance(node, Join | Not):
        for part in parts_of(node):
            yield from _tests(part)
    else:
        yield node


def _guards(tree: Node) -> Iterator[Guard]:
    """Yield the tests for equality with texts that a condition cannot hold without."""
    parts = tree.parts if isinstance(tree, Join) and tree.operator == "and" else (tree,)
    for place, part in enumerate(parts):
        match part:
            case Compare("==", Read(type_, attribute), Literal(_, value)) if _is_text(type_):
                yield Guard(attribute, (str(value),), place == 0)
            case OneOf(Read(type_, attribute), values) if _is_text(type_):
                yield Guard(attribute, tuple(str(v.value) for v in values), place == 0)
            case _:
                pass


def _is_text(type_: Type) -> bool:
    return type_ in (STRING, PATH)


def _boundaries(tree: Node) -> Iterator[int]:
    """Yield the seconds of the day when a condition may change its answer."""
    for node in _nodes(tree):
        match node:
            case Read() if node.type in (DATE, WEEKDAY):
                yield 0
            case Between(_, low, high) if low.type == TIME:
                yield from (int(low.value) % DAY, int(high.value) % DAY)
            case Compare(_, left, right) if left.type == TIME:
                yield 0
                yield from _around(left, right)
            case OneOf(left, values) if left.type == TIME:
                yield from _around(*values)
            case _:
                pass


def _around(*nodes: Node) -> Iterator[int]:
    """Yield when a comparison with a time changes: then, and a second later."""
    for node in nodes:
        if isinstance(node, Literal):
            yield from (int(node.value) % DAY, (int(node.value) + 1) % DAY)


def _told(node: Node, question: Question, facts: Facts) -> str:
    try:
        answer = "yes" if compiled(node)(question, facts) is True else "no"
    except Failed as failed:
        answer = f"no answer: {failed}"
    seen = dict.fromkeys(n.attribute for n in _nodes(node) if isinstance(n, Read))
    values = [f"{name} is {_shown(name, question, facts, _type(node, name))}" for name in seen]
    return f"{node.text}: {answer}" + (f" ({', '.join(values)})" if values else "")


def _type(tree: Node, attribute: str) -> Type:
    return next(n.type for n in _nodes(tree) if isinstance(n, Read) and n.attribute == attribute)


def _shown(attribute: str, question: Question, facts: Facts, type_: Type) -> str:
    value = fetch(attribute)(question, facts)
    if value is MISSING:
        return "missing"
    if type_ == TIME and isinstance(value, float):
        minutes, seconds = divmod(int(value), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    if type_ == DATE and isinstance(value, float):
        return date.fromordinal(int(value) + EPOCH).isoformat()
    if isinstance(value, frozenset | tuple):
        value = ", ".join(sorted(map(str, value))) or "nothing"
        return "{" + value[:_SHOWN] + "}"
    return str(value)[:_SHOWN] or '""'
