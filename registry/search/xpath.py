"""XPath 3.1 over JSON: the context item is the array of descriptions, members are maps.

``?*[?title = 'Lamp']?id`` selects ids. No file, network or environment is ever read.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from elementpath import ElementPathError, XPathContext
from elementpath.xpath31 import XPath31Parser

from registry.search.problems import InvalidQuery

LONGEST: Final = 4096
"""Characters of a query."""
DEEPEST: Final = 32
"""Brackets within each other."""


def find(query: str, documents: Sequence[bytes]) -> Iterator[Any]:
    """Yield what is selected of an array of JSON texts, as JSON values.

    Raises InvalidQuery for what is no query, or fails.
    """
    if len(query) > LONGEST or max(map(query.count, "([{")) > DEEPEST:
        raise InvalidQuery(
            f"a query may have at most {LONGEST} characters and {DEEPEST} brackets of a kind"
        )
    try:
        parser = XPath31Parser()
        text = b"[" + b",".join(documents) + b"]"
        reading = XPathContext(root=None, item=1, variables={"t": text.decode()})
        array = next(iter(parser.parse("parse-json($t)").select(reading)))
        context = XPathContext(root=None, item=array, allow_environment=False)
        for item in parser.parse(query).select(context):
            yield _json(item)
    except RecursionError as error:
        raise InvalidQuery("the query is too deep") from error
    except (ElementPathError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise InvalidQuery(" ".join(str(error).split())[:300]) from error


def _json(item: Any) -> Any:
    """Return an XPath value as JSON: an empty sequence is null, a longer one an array."""
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, list):
        return None if not item else [_json(each) for each in item]
    kind = type(item).__name__
    if kind == "XPathMap":
        return {str(key): _json(value) for key, value in item.items()}
    if kind == "XPathArray":
        return [_json(each) for each in item.items()]
    return str(item)
