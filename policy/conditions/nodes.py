"""A condition as a tree; every node knows its type and the words that it was written with."""

from dataclasses import dataclass
from typing import TypeAlias

from policy.conditions.kinds import BOOLEAN, Type


@dataclass(frozen=True, slots=True)
class Literal:
    """A value: ``value`` is text, a number, a boolean, seconds of the day, or a day's number.

    Days are counted from 1970-01-01.
    """

    type: Type
    value: str | float | bool
    text: str
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """The value of an attribute, such as ``subject.rank``."""

    type: Type
    attribute: str
    depth: int = 1

    @property
    def text(self) -> str:
        """As it is written."""
        return self.attribute


@dataclass(frozen=True, slots=True)
class Has:
    """Whether an attribute is there."""

    attribute: str
    depth: int = 1
    type: Type = BOOLEAN

    @property
    def text(self) -> str:
        """As it is written."""
        return f"has {self.attribute}"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers joined by ``+ - * / %``."""

    type: Type
    operator: str
    left: "Node"
    right: "Node"
    text: str
    depth: int


@dataclass(frozen=True, slots=True)
class Compare:
    """``== != < <= > >=``, ``within``, ``startsWith``, ``contains``, or ``in`` a set attribute."""

    operator: str
    left: "Node"
    right: "Node"
    text: str
    depth: int
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class OneOf:
    """``left in {…}``."""

    left: "Node"
    values: tuple[Literal, ...]
    text: str
    depth: int
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Between:
    """``left in low..high``; of times the end does not count, and they wrap around midnight."""

    left: "Node"
    low: Literal
    high: Literal
    text: str
    depth: int
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    inner: "Node"
    text: str
    depth: int
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Join:
    """``and`` or ``or`` of two or more, from left to right until the answer is known."""

    operator: str
    parts: tuple["Node", ...]
    text: str
    depth: int
    type: Type = BOOLEAN


Node: TypeAlias = Literal | Read | Has | Arithmetic | Compare | OneOf | Between | Not | Join


def parts_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below a node, from left to right."""
    match node:
        case Arithmetic() | Compare():
            return node.left, node.right
        case OneOf():
            return (node.left, *node.values)
        case Between():
            return node.left, node.low, node.high
        case Not():
            return (node.inner,)
        case Join():
            return node.parts
        case _:
            return ()
