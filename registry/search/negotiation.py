"""Which media type an answer gets (RFC 9110 section 12.5.1)."""

from collections.abc import Sequence
from math import isnan

SHORT = {"application/json": "json", "application/xml": "xml", "text/xml": "xml"}
"""General types that also mean the special one that ends so."""


def chosen(accept: str, offered: Sequence[str]) -> str | None:
    """Return the offered type that is wanted most, the first among equals, None for none."""
    if not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")[:64] if part.strip()]
    best, found = 0.0, None
    for kind in offered:
        weight = _weight(kind, ranges)
        if weight > best:
            best, found = weight, kind
    return found


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                weight = min(1.0, max(0.0, float(value)))
            except ValueError:
                weight = 0.0
    return kind, 0.0 if isnan(weight) else weight


def _weight(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the weight of the range that says most about a type."""
    best, weight = 0, 0.0
    for asked, wanted in ranges:
        if asked == kind:
            specific = 4
        elif SHORT.get(asked, "-") == kind.rpartition("+")[2]:
            specific = 3
        elif asked == kind.partition("/")[0] + "/*":
            specific = 2
        elif asked == "*/*":
            specific = 1
        else:
            continue
        if specific > best:
            best, weight = specific, wanted
    return weight
