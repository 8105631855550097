"""Conditions as text to typed trees: recursive descent, bounded in depth; the grammar is below.

condition := all ("or" all)*
all       := one ("and" one)*
one       := "not" one | "has" ATTRIBUTE | test
test      := sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum
                 | ("contains" | "within" | "startsWith") sum
                 | "in" ("{" literal ("," literal)* "}" | literal ".." literal | ATTRIBUTE)]
sum       := product (("+" | "-") product)*
product   := factor (("*" | "/" | "%") factor)*
factor    := "-" factor | literal | ATTRIBUTE | "(" condition ")"
"""

import re
from collections.abc import Callable
from datetime import date
from math import isfinite
from typing import Final

from policy.conditions.kinds import (
    BOOLEAN,
    DATE,
    NUMBER,
    PATH,
    SET,
    STRING,
    TIME,
    Schema,
    Type,
)
from policy.conditions.nodes import (
    Arithmetic,
    Between,
    Compare,
    Has,
    Join,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
)
from policy.conditions.tokens import KEYWORDS, InvalidCondition, Token, tokens
from registry.names import near

MAX_DEPTH: Final = 32
EPOCH: Final = date(1970, 1, 1).toordinal()
"""The day that days are counted from."""

_ESCAPE = re.compile(r"\\([\"\\])")
_ORDER = ("<", "<=", ">", ">=")
_COMPARISONS = ("==", "!=", *_ORDER)
_TEXTUAL = (STRING, PATH)
_ORDERED = (NUMBER, TIME, DATE)


def parse_tree(text: str, schema: Schema) -> Node:
    """Return a condition as a typed tree. Raises InvalidCondition."""
    return _Parser(text, schema).whole()


class _Parser:
    def __init__(self, text: str, schema: Schema) -> None:
        self._text = text
        self._types = schema.types
        self._tokens = tokens(text)
        self._at = 0
        self._open = 0

    def whole(self) -> Node:
        node = self._condition()
        token = self._tokens[self._at]
        if token.kind != "end":
            hint = "join tests with and, or"
            raise InvalidCondition(f"{token.text!r} is not expected here", token.offset, hint)
        self._want(node, BOOLEAN, 0, "a condition")
        return node

    # Grammar

    def _condition(self) -> Node:
        return self._chain("or", self._all)

    def _all(self) -> Node:
        return self._chain("and", self._one)

    def _chain(self, operator: str, part: Callable[[], Node]) -> Node:
        start = self._here()
        parts = [part()]
        while self._take(operator):
            self._want(parts[-1], BOOLEAN, start, f"what stands before {operator}")
            at = self._here()
            parts.append(part())
            self._want(parts[-1], BOOLEAN, at, f"what follows {operator}")
        if len(parts) == 1:
            return parts[0]
        return Join(operator, tuple(parts), self._since(start), self._depth(start, *parts))

    def _one(self) -> Node:
        start = self._here()
        if self._take("not"):
            at = self._here()
            inner = self._nested(self._one)
            self._want(inner, BOOLEAN, at, "what follows not")
            return Not(inner, self._since(start), self._depth(start, inner))
        if self._take("has"):
            token = self._next()
            if token.kind != "attribute":
                raise InvalidCondition("has asks for an attribute", token.offset, "has subject.x")
            return Has(self._attribute(token).attribute)
        return self._test()

    def _test(self) -> Node:
        start = self._here()
        left = self._sum()
        token = self._tokens[self._at]
        if token.text == "in" and token.kind == "word":
            self._at += 1
            return self._membership(start, left)
        if token.kind == "word" and token.text in ("contains", "within", "startsWith"):
            self._at += 1
            return self._relation(start, left, token.text)
        if token.kind != "sign" or token.text not in _COMPARISONS:
            return left
        self._at += 1
        right = self._sum()
        left, right = self._alike(left, start, right, token.offset)
        ordered = left.type in _ORDERED or bool(left.type.values)
        if token.text in _ORDER and not ordered:
            message = f"{left.text} is {left.type}: it has no order"
            hint = "declare the attribute as ordered or number, or use == and !="
            raise InvalidCondition(message, token.offset, hint)
        if left.type == SET:
            hint = "use contains, or in {...}"
            raise InvalidCondition("sets are not compared", token.offset, hint)
        depth = self._depth(start, left, right)
        return Compare(token.text, left, right, self._since(start), depth)

    def _relation(self, start: int, left: Node, operator: str) -> Node:
        at = self._here()
        right = self._sum()
        if operator == "contains":
            self._want(left, SET, start, "what stands before contains")
        elif left.type not in _TEXTUAL:
            message = f"what stands before {operator} must be a string or path, not {left.type}"
            raise InvalidCondition(message, start)
        if isinstance(right, Literal) and right.type is UNKNOWN:
            raise self._bare(right, at)
        if right.type not in _TEXTUAL and not right.type.values:
            message = f"what follows {operator} must be a string, not {right.type}"
            raise InvalidCondition(message, at, "put it in quotes")
        return Compare(operator, left, right, self._since(start), self._depth(start, left, right))

    def _membership(self, start: int, left: Node) -> Node:
        if self._take("{"):
            values = [self._literal(left)]
            while self._take(","):
                values.append(self._literal(left))
            if not self._take("}"):
                raise InvalidCondition("a set without its end", self._here(), "close it with }")
            depth = self._depth(start, left)
            return OneOf(left, tuple(values), self._since(start), depth)
        token = self._tokens[self._at]
        if token.kind == "attribute":
            right = self._attribute(self._next())
            self._want(right, SET, token.offset, "what follows in")
            if left.type not in _TEXTUAL and not left.type.values:
                message = f"sets hold strings, {left.text} is {left.type}"
                raise InvalidCondition(message, start)
            depth = self._depth(start, left, right)
            return Compare("in", left, right, self._since(start), depth)
        low = self._literal(left)
        if left.type not in _ORDERED and not left.type.values:
            hint = "write a set, {...}"
            raise InvalidCondition(f"{left.text} is {left.type}: it has no range", start, hint)
        if not self._take(".."):
            raise InvalidCondition("a range is low..high", self._here(), "or write a set, {...}")
        high = self._literal(left)
        return Between(left, low, high, self._since(start), self._depth(start, left))

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._arithmetic(("*", "/", "%"), self._factor)

    def _arithmetic(self, operators: tuple[str, ...], part: Callable[[], Node]) -> Node:
        start = self._here()
        left = part()
        while (sign := self._tokens[self._at]).kind == "sign" and sign.text in operators:
            self._at += 1
            at = self._here()
            right = part()
            self._want(left, NUMBER, start, f"what stands before {sign.text}")
            self._want(right, NUMBER, at, f"what follows {sign.text}")
            depth = self._depth(start, left, right)
            left = Arithmetic(NUMBER, sign.text, left, right, self._since(start), depth)
        return left

    def _factor(self) -> Node:
        start = self._here()
        if self._take("-"):
            inner = self._nested(self._factor)
            self._want(inner, NUMBER, start, "what follows -")
            if isinstance(inner, Literal):
                return Literal(NUMBER, -float(inner.value), self._since(start))
            zero, depth = Literal(NUMBER, 0.0, "0"), self._depth(start, inner)
            return Arithmetic(NUMBER, "-", zero, inner, self._since(start), depth)
        if self._take("("):
            inner = self._nested(self._condition)
            if not self._take(")"):
                raise InvalidCondition("a parenthesis without its end", start, "close it with )")
            return inner
        token = self._next()
        if token.kind == "attribute":
            return self._attribute(token)
        return _value(token)

    # Values

    def _literal(self, like: Node) -> Literal:
        """Read a value that fits ``like``."""
        start = self._here()
        sign = -1.0 if self._take("-") else 1.0
        literal = _value(self._next())
        if sign < 0:
            self._want(literal, NUMBER, start, "what follows -")
            literal = Literal(NUMBER, -float(literal.value), f"-{literal.text}")
        return self._fit(literal, like.type, start)

    def _attribute(self, token: Token) -> Read:
        type_ = self._types.get(token.text)
        if type_ is None:
            close = near(token.text, self._types, 1)
            hint = "declare it in a policy of the kind Attribute"
            if close:
                hint += f", or did you mean {close[0]}?"
            raise InvalidCondition(f"there is no attribute {token.text}", token.offset, hint)
        return Read(type_, token.text)

    def _alike(self, left: Node, start: int, right: Node, at: int) -> tuple[Node, Node]:
        """Return both sides of a comparison with one type."""
        if isinstance(left, Literal):
            left = self._fit(left, right.type, start)
        if isinstance(right, Literal):
            right = self._fit(right, left.type, at)
        textual = left.type in _TEXTUAL and right.type in _TEXTUAL
        if left.type != right.type and not textual:
            message = f"{left.text} is {left.type} and {right.text} is {right.type}"
            raise InvalidCondition(message, at, "compare what is alike")
        return left, right

    def _fit(self, literal: Literal, type_: Type, at: int) -> Literal:
        """Return a literal as a value of ``type_``."""
        if type_.values and literal.type in (STRING, UNKNOWN):
            if literal.value not in type_.values:
                close = near(str(literal.value), type_.values, 1)
                hint = f"did you mean {close[0]}?" if close else f"use {type_}"
                raise InvalidCondition(f"{literal.text} is not {type_}", at, hint)
            return Literal(type_, literal.value, literal.text)
        if literal.type is UNKNOWN:
            raise self._bare(literal, at)
        if literal.type != type_ and not (literal.type == STRING and type_ == PATH):
            if type_ is UNKNOWN:
                return literal
            message = f"{literal.text} is {literal.type}, not {type_}"
            raise InvalidCondition(message, at, "compare what is alike")
        return literal

    def _bare(self, literal: Literal, at: int) -> InvalidCondition:
        hint = f'put a string in quotes: "{literal.text}"'
        meant = [name for name in self._types if name.endswith(f".{literal.text}")]
        if meant:
            hint += f", or did you mean {meant[0]}?"
        return InvalidCondition(f"{literal.text} means nothing by itself", at, hint)

    # Help

    def _want(self, node: Node, type_: Type, at: int, what: str) -> None:
        if node.type == type_:
            return
        if isinstance(node, Literal) and node.type is UNKNOWN:
            raise self._bare(node, at)
        raise InvalidCondition(f"{what} must be {type_}, not {node.type}", at)

    def _nested(self, part: Callable[[], Node]) -> Node:
        self._open += 1
        if self._open > MAX_DEPTH:
            raise self._too_deep(self._here())
        node = part()
        self._open -= 1
        return node

    def _depth(self, start: int, *nodes: Node) -> int:
        depth = 1 + max(node.depth for node in nodes)
        if depth > MAX_DEPTH:
            raise self._too_deep(start)
        return depth

    def _too_deep(self, at: int) -> InvalidCondition:
        return InvalidCondition(f"more than {MAX_DEPTH} levels", at, "make it several policies")

    def _here(self) -> int:
        return self._tokens[self._at].offset

    def _since(self, start: int) -> str:
        last = self._tokens[self._at - 1]
        return self._text[start : last.offset + len(last.text)]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind == "end":
            raise InvalidCondition("the condition ends too early", token.offset)
        self._at += 1
        return token

    def _take(self, text: str) -> bool:
        token = self._tokens[self._at]
        if token.text != text or token.kind not in ("word", "sign"):
            return False
        self._at += 1
        return True


UNKNOWN: Final = Type("word")
"""A word that means something only beside an attribute of an ordered domain."""


def _value(token: Token) -> Literal:
    """Return the value that a token spells. Raises InvalidCondition."""
    text, at = token.text, token.offset
    if token.kind == "number":
        number = float(text)
        if not isfinite(number):
            raise InvalidCondition("the number is too large", at)
        return Literal(NUMBER, number, text)
    if token.kind == "string":
        plain = text[1:-1]
        if text[0] == '"':
            plain = _ESCAPE.sub(r"\1", plain)
        return Literal(STRING, plain, text)
    if token.kind == "time":
        return Literal(TIME, float(_seconds(text, at)), text)
    if token.kind == "date":
        return Literal(DATE, float(_days(text, at)), text)
    if token.kind == "word" and text in ("true", "false"):
        return Literal(BOOLEAN, text == "true", text)
    if token.kind == "word" and text not in KEYWORDS:
        return Literal(UNKNOWN, text, text)
    raise InvalidCondition(
        f"{text!r} is not expected here", at, "a value or attribute belongs here"
    )


def _seconds(text: str, at: int) -> int:
    hours, minutes, seconds = map(int, (text + ":0").split(":")[:3])
    total = hours * 3600 + minutes * 60 + seconds
    if minutes > 59 or seconds > 59 or total > 86_400:
        raise InvalidCondition(f"{text} is no time of day", at, "00:00 to 24:00")
    return total


def _days(text: str, at: int) -> int:
    try:
        return date.fromisoformat(text).toordinal() - EPOCH
    except ValueError:
        raise InvalidCondition(f"{text} is no date", at, "year-month-day") from None
