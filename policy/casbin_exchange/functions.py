"""The functions that a reader of our casbin texts needs, written without our own compiled rules."""

import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import unquote

from registry.urls import InvalidUrl, parse_url


def name_match(name: str, pattern: str) -> bool:
    """Match a name against a pattern: by a regular expression, unlike ``registry.names``."""
    if pattern == "**":
        return True
    parts = with_commas(pattern).split("/")
    is_open = parts[-1] == "**"
    body = "/".join(
        r"[^/$][^/]*" if part == "*" else re.escape(part)
        for part in (parts[:-1] if is_open else parts)
    )
    return re.fullmatch(body + (r"(?:/[^/$][^/]*)*" if is_open else ""), name) is not None


def endpoint_match(endpoint: str, prefix: str, effect: str) -> bool:
    """Match a URL against an encoded prefix; what cannot be read is denied, never allowed."""
    try:
        url, within_ = parse_url(endpoint, template=True), parse_url(unquote(prefix))
    except InvalidUrl:
        return effect == "deny" and bool(endpoint)
    return url.may_reach(within_) if effect == "deny" else url.within(within_)


def with_commas(pattern: str) -> str:
    """Undo what keeps a pattern in one column; a canonical name never holds ``%2C`` itself."""
    return pattern.replace("%2C", ",")


def typed(of: SimpleNamespace, key: str, type_: str) -> bool:
    """Whether an attribute is there and of a type; ``type_`` may be ``any``."""
    if key not in vars(of):
        return False
    return type_ == "any" or _TYPES[type_](vars(of)[key])


def attribute(of: SimpleNamespace, key: str) -> Any:
    """Return an attribute with a name that expressions of casbin cannot reach."""
    return vars(of)[key]


def one_of(of: SimpleNamespace, key: str, *values: str) -> bool:
    """Whether an attribute is there and one of the values of an ordered domain."""
    return typed(of, key, "string") and vars(of)[key] in values


def place(value: str, *values: str) -> int:
    """Return where a value stands among those of an ordered domain."""
    return values.index(value)


def within(inner: str, outer: str) -> bool:
    """Whether a path is another one or lies below it."""
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: type(value) is str,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "set": lambda value: type(value) in (tuple, frozenset),
    "moment": lambda value: type(value) is float,
}
FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "nameMatch": name_match,
    "endpointMatch": endpoint_match,
    "typed": typed,
    "attribute": attribute,
    "oneOf": one_of,
    "place": place,
    "within": within,
    "startsWith": lambda text, start: text.startswith(start),
    "contains": lambda many, one: one in many,
    "text": unquote,
}
"""By the names that the texts use."""
