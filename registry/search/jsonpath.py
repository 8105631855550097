"""JSONPath (RFC 9535): the whole language, and which queries have a fast form."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterExpression,
    FilterExpressionLiteral,
    FunctionExtension,
    LogicalExpression,
    RelativeFilterQuery,
)
from jsonpath_rfc9535.segments import JSONPathChildSegment, JSONPathSegment
from jsonpath_rfc9535.selectors import FilterSelector, NameSelector, WildcardSelector

from registry.problems import place
from registry.search.forms import WILDCARD, Equal, Exists, Form, Path, Prefix, Test, key_of
from registry.search.problems import InvalidQuery

LONGEST: Final = 4096
"""Characters of a query."""
DEEPEST: Final = 32
"""Brackets within each other."""
TERMS: Final = 8
"""Tests of a fast form."""
_PREFIX = re.compile(r"([\w /:#@%&=;,'\"!<>~`\-]+)\.\*")
"""Characters that mean themselves in a regular expression (RFC 9485), then ``.*``."""


class Compiled:
    """A query that can be asked."""

    def __init__(self, query: JSONPathQuery) -> None:
        self._query = query

    def find(self, documents: Sequence[Any]) -> Iterator[Any]:
        """Yield what is selected of an array. Raises InvalidQuery when it cannot go on."""
        try:
            for node in self._query.finditer(list(documents)):
                yield node.value
        except (JSONPathError, RecursionError) as error:
            raise _invalid(error) from error

    def form(self) -> Form | None:
        """Return the fast form of the query, None if it has none."""
        segments = self._query.segments
        if not segments:
            return None
        tests, projection = _tests_of(segments[0]), _path(segments[1:])
        if tests is None or projection is None or WILDCARD in projection:
            return None
        return Form(tuple(tests), projection)


def compile_query(text: str) -> Compiled:
    """Read a query. Raises InvalidQuery with line and column."""
    if len(text) > LONGEST:
        raise InvalidQuery(f"a query may have at most {LONGEST} characters")
    if _depth(text) > DEEPEST:
        raise InvalidQuery(f"a query may have at most {DEEPEST} brackets within each other")
    try:
        return Compiled(_ENVIRONMENT.compile(text))
    except (JSONPathError, RecursionError, ValueError, OverflowError) as error:
        raise _invalid(error) from error


def _depth(text: str) -> int:
    depth = deepest = 0
    for sign in text:
        if sign in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in ")]":
            depth -= 1
    # Negations stand within each other too.
    return max(deepest, text.count("!"))


def _invalid(error: BaseException) -> InvalidQuery:
    token = getattr(error, "token", None)
    message = str(error.args[0]) if error.args else "the query is too deep"
    if isinstance(error, RecursionError):
        message = "the query, or what it is asked of, is too deep"
    if token is None:
        return InvalidQuery(message[:300])
    return InvalidQuery(message[:300], *place(token.query, max(0, token.index)))


def _tests_of(segment: JSONPathSegment) -> list[Test] | None:
    if not isinstance(segment, JSONPathChildSegment) or len(segment.selectors) != 1:
        return None
    selector = segment.selectors[0]
    if isinstance(selector, WildcardSelector):
        return []
    if not isinstance(selector, FilterSelector):
        return None
    tests = [_test_of(term) for term in _terms(selector.expression)]
    if len(tests) > TERMS:
        return None
    found = [test for test in tests if test is not None]
    return found if len(found) == len(tests) else None


def _terms(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, FilterExpression):
        expression = expression.expression
    if isinstance(expression, LogicalExpression) and expression.operator == "&&":
        yield from _terms(expression.left)
        yield from _terms(expression.right)
    else:
        yield expression


def _test_of(term: Expression) -> Test | None:
    if isinstance(term, ComparisonExpression) and term.operator == "==":
        return _equality(term.left, term.right) or _equality(term.right, term.left)
    if isinstance(term, FunctionExtension) and term.name == "match":
        return _prefix(*term.args)
    if isinstance(term, RelativeFilterQuery):
        return _existence(term)
    return None


def _equality(left: Expression, right: Expression) -> Equal | None:
    path = _path_of(left)
    if not path or not isinstance(right, FilterExpressionLiteral):
        return None
    return Equal(path, key_of(right.value))


def _prefix(left: Expression, right: Expression) -> Prefix | None:
    path = _path_of(left)
    if not path or not isinstance(right, FilterExpressionLiteral):
        return None
    match = _PREFIX.fullmatch(str(right.value)) if isinstance(right.value, str) else None
    return None if match is None else Prefix(path, match.group(1))


def _existence(term: RelativeFilterQuery) -> Test | None:
    path = _path_of(term)
    if path:
        return Exists(path)
    *before, last = term.query.segments or (None,)
    start = _path(segment for segment in before if segment is not None)
    within = None if last is None else _tests_of(last)
    if not start or within is None or len(within) != 1 or not isinstance(within[0], Equal):
        return None
    return Equal((*start, WILDCARD, *within[0].path), within[0].key)


def _path_of(expression: Expression) -> Path | None:
    if not isinstance(expression, RelativeFilterQuery):
        return None
    return _path(expression.query.segments)


def _path(segments: Iterable[JSONPathSegment]) -> Path | None:
    path: Path = ()
    for segment in segments:
        step = _step(segment)
        if step is None:
            return None
        path += step
    return path


def _step(segment: JSONPathSegment) -> Path | None:
    """Return the name that a segment selects, or WILDCARD, as a path; None for more."""
    if isinstance(segment, JSONPathChildSegment) and len(segment.selectors) == 1:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            return (selector.name,)
        if isinstance(selector, WildcardSelector):
            return (WILDCARD,)
    return None


_ENVIRONMENT = JSONPathEnvironment()
