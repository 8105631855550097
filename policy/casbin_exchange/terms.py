"""Casbin's matchers as terms: read, a policy's row put in, in disjunctive normal form.

Casbin for Python evaluates matchers as Python expressions (after writing ``and`` for ``&&`` and
so on), so they are read as such. Nothing here is ever evaluated.
"""

import ast
import copy
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

MAX_TEXT: Final = 4096
"""Characters of a matcher, and of a rule for ``eval``."""
MAX_CASES: Final = 256
"""Alternatives of one matcher."""


class NotExpressible(ValueError):
    """A model or policy of casbin that Hilum's policies cannot say; the message says what to do."""


class Literal(NamedTuple):
    """A term without ``and``, ``or`` and ``not``, and whether it must not hold."""

    term: ast.expr
    negated: bool


Case: TypeAlias = tuple[Literal, ...]
"""Literals that must all hold."""
_COMPARED: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}


def cases_of(matcher: str, row: Mapping[str, str]) -> list[Case]:
    """Return the alternatives of a matcher for a row, any of which must hold.

    ``row`` has the values of the policy's columns, such as ``p_sub``.
    Raises NotExpressible.
    """
    return _cases(_Filling(row).visit(_parsed(matcher)), negated=False)


def holds(term: ast.expr, action: str) -> bool | None:
    """Return what a comparison is for one action, None when it speaks of more than the action."""
    if not isinstance(term, ast.Compare):
        return None
    return _known(_Filling({"r_act": action}).visit(copy.deepcopy(term)))


def value_of(term: ast.expr) -> Any:
    """Return a constant's value, NotImplemented for what is none."""
    if isinstance(term, ast.Constant):
        return term.value
    if isinstance(term, ast.Tuple | ast.List):
        values = [value_of(item) for item in term.elts]
        return NotImplemented if NotImplemented in values else tuple(values)
    return NotImplemented


def written(term: ast.expr) -> str:
    """Return a term as it stands in casbin's text."""
    return re.sub(r"\b([rp])_", r"\1.", ast.unparse(term))


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_TEXT:
        raise NotExpressible(f"an expression is longer than {MAX_TEXT} characters")
    plain = re.sub(r"\b([rp])\.", r"\1_", text).replace("&&", " and ").replace("||", " or ")
    plain = re.sub(r"!(?!=)", " not ", plain).strip()
    try:
        return ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, MemoryError) as error:
        raise NotExpressible(f"{text!r} is no expression: {error}") from None


class _Filling(ast.NodeTransformer):
    """Puts a row's values in place of ``p_…``, and its rules in place of ``eval(p_…)``."""

    def __init__(self, row: Mapping[str, str]) -> None:
        self._row = row

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Put in a value."""
        if node.id in self._row:
            return ast.Constant(self._row[node.id])
        if node.id.startswith("p_"):
            raise NotExpressible(f"the policy has no column {node.id[2:]}")
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Put in a rule."""
        if isinstance(node.func, ast.Name) and node.func.id == "eval":
            argument = node.args[0] if len(node.args) == 1 else None
            if isinstance(argument, ast.Name) and argument.id in self._row:
                rule = _parsed(self._row[argument.id])
                if any(isinstance(n, ast.Name) and n.id == "eval" for n in ast.walk(rule)):
                    raise NotExpressible("a rule for eval has an eval in it")
                filled: ast.expr = self.visit(rule)
                return filled
            raise NotExpressible("eval is understood with a column of the policy only")
        node.args = [self.visit(argument) for argument in node.args]
        return node


def _cases(term: ast.expr, *, negated: bool) -> list[Case]:
    if isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.Not):
        return _cases(term.operand, negated=not negated)
    if isinstance(term, ast.BoolOp):
        parts = [_cases(part, negated=negated) for part in term.values]
        if isinstance(term.op, ast.Or) is not negated:
            return _limited([case for part in parts for case in part])
        found: list[Case] = [()]
        for part in parts:
            found = _limited([(*one, *other) for one in found for other in part])
        return found
    known = _known(term)
    if known is not None:
        return [()] if known is not negated else []
    return [(Literal(term, negated),)]


def _limited(cases: list[Case]) -> list[Case]:
    if len(cases) > MAX_CASES:
        raise NotExpressible(f"the matcher has more than {MAX_CASES} alternatives")
    return cases


def _known(term: ast.expr) -> bool | None:
    """Return what a term is that speaks of constants only, None for any other."""
    if isinstance(term, ast.Constant) and isinstance(term.value, bool):
        return term.value
    if isinstance(term, ast.Name) and term.id in ("true", "false"):
        return term.id == "true"
    if not isinstance(term, ast.Compare) or len(term.ops) != 1:
        return None
    left, right = value_of(term.left), value_of(term.comparators[0])
    if left is NotImplemented or right is NotImplemented:
        return None
    try:
        return _COMPARED[type(term.ops[0])](left, right)
    except (KeyError, TypeError) as error:
        raise NotExpressible(f"{written(term)} cannot be compared") from error
