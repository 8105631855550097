"""What casbin's matchers ask of attributes, as conditions."""

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

from policy.casbin_exchange.terms import Literal, NotExpressible, value_of, written
from policy.conditions.kinds import BUILT_IN

_OF: Final = {"r_sub": "subject", "r_obj": "object"}
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
}
_ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}


class Conditions:
    """Writes conditions, and remembers which attributes they speak of."""

    def __init__(self, realm: str) -> None:
        self._realm = realm
        self._types: dict[str, str] = {}

    def condition(self, one: Literal) -> str:
        """Return one literal as a condition. Raises NotExpressible."""
        term = one.term
        if isinstance(term, ast.Compare) and len(term.ops) == 1:
            text = self._comparison(term, type(term.ops[0]), term.left, term.comparators[0])
        elif isinstance(term, ast.Attribute):
            text = self._attribute(term, "boolean")
        else:
            raise NotExpressible(f"{written(term)} cannot be said in a condition")
        return f"not ({text})" if one.negated else text

    def declarations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield a name and the spec of each attribute that was spoken of."""
        for attribute, type_ in self._types.items():
            owner, _, name = attribute.partition(".")
            yield f"{owner}-{name}", {"attribute": attribute, "type": type_}

    def _comparison(
        self, term: ast.expr, how: type[ast.cmpop], left: ast.expr, right: ast.expr
    ) -> str:
        if how not in _COMPARISONS:
            raise NotExpressible(f"{written(term)} cannot be compared in a condition")
        if how is ast.NotIn:
            return f"not ({self._comparison(term, ast.In, left, right)})"
        if how is ast.In:
            many = self._term(right, left, many=True)
            return f"{self._term(left, right)} {_COMPARISONS[how]} {many}"
        return f"{self._term(left, right)} {_COMPARISONS[how]} {self._term(right, left)}"

    def _term(self, term: ast.expr, other: ast.expr, *, many: bool = False) -> str:
        """Return one side of a comparison; ``other`` tells of what type it is."""
        if isinstance(term, ast.Name) and term.id == "r_sub":
            return "subject.id"
        if isinstance(term, ast.Attribute):
            return self._attribute(term, _type(other, many))
        if isinstance(term, ast.BinOp) and type(term.op) in _ARITHMETIC:
            number = ast.Constant(0)
            left, right = self._term(term.left, number), self._term(term.right, number)
            return f"({left} {_ARITHMETIC[type(term.op)]} {right})"
        value = value_of(term)
        if value is NotImplemented:
            raise NotExpressible(f"{written(term)} cannot be said in a condition")
        of_principal = isinstance(other, ast.Name) and other.id == "r_sub"
        return self._constant(value, of_principal)

    def _attribute(self, term: ast.Attribute, type_: str) -> str:
        owner = term.value.id if isinstance(term.value, ast.Name) else ""
        if owner not in _OF:
            raise NotExpressible(f"{written(term)} is no attribute of r.sub or r.obj")
        name = f"{_OF[owner]}.{term.attr}"
        if name in BUILT_IN:
            raise NotExpressible(f"{name} means something else here: rename {written(term)}")
        if self._types.setdefault(name, type_) != type_:
            raise NotExpressible(f"{written(term)} is a {type_} here, a {self._types[name]} there")
        return name

    def _constant(self, value: Any, of_principal: bool) -> str:
        if isinstance(value, tuple):
            return "{" + ", ".join(self._constant(one, of_principal) for one in value) + "}"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            text = format(value, "f") if isinstance(value, float) else str(value)
            return text.rstrip("0").rstrip(".") if "." in text else text
        text = f"{self._realm}:{value}" if of_principal else str(value)
        if "\n" in text:
            raise NotExpressible(
                f"{value!r} cannot stand in a condition: it has more than one line"
            )
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _type(other: ast.expr, many: bool) -> str:
    if many:
        return "set"
    value = value_of(other)
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float) or isinstance(other, ast.BinOp):
        return "number"
    return "string"
