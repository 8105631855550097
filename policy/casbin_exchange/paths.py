"""Casbin's functions that match paths, as patterns of names."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from policy.casbin_exchange.terms import NotExpressible
from registry.names import encode_segment

ANYTHING: Final = ("**",)
_ANY_BELOW: Final = ("*", "**")
"""Casbin's final ``*`` stands for one segment at least, our ``**`` also for none."""
_SPECIAL = re.compile(r"[.\\+?^$()|\[\]]")


def literal(path: str) -> str:
    """Return an object of casbin as a name: without the first slash."""
    parts = path.removeprefix("/").split("/")
    if "" in parts:
        raise NotExpressible(f"the object {path!r} has an empty segment: no name has")
    return "/".join(map(encode_segment, parts))


def key_match(pattern: str) -> str:
    """Return the pattern of names that is casbin's keyMatch with ``pattern``."""
    start, star, _ = pattern.partition("*")  # Casbin does not look at what follows.
    if not star:
        return literal(pattern)
    if start in ("", "/"):
        return "**"
    if not start.endswith("/"):
        raise NotExpressible(
            f"keyMatch with {pattern!r} ends within a segment: patterns of names end with /* or /**"
        )
    return "/".join([literal(start[:-1]), *_ANY_BELOW])


def _segments(function: str, variable: str) -> Callable[[str], str]:
    """Return how patterns with variables (a regular expression of one) are translated."""

    def translated(pattern: str) -> str:
        if pattern in ("*", "/*"):
            return "**"
        parts = pattern.removeprefix("/").split("/")
        found: list[str] = []
        seen: list[str] = []
        for index, part in enumerate(parts):
            if part == "*" and index == len(parts) - 1:
                found += _ANY_BELOW
            elif re.fullmatch(variable, part):
                found.append("*")
                seen.append(part)
            elif re.search(r"[*:{}]", part) or _SPECIAL.search(part):
                raise NotExpressible(
                    f"{function} with {pattern!r}: in {part!r} only whole segments can be variable"
                )
            else:
                found.append(literal(part))
        if function == "keyMatch4" and len(set(seen)) < len(seen):
            raise NotExpressible(f"keyMatch4 with {pattern!r} asks for equal segments")
        return "/".join(found)

    return translated


def _glob(pattern: str) -> str:
    parts = pattern.removeprefix("/").split("/")
    if any(part != "*" and re.search(r"[*?\[\]\\]", part) for part in parts):
        raise NotExpressible(f"globMatch with {pattern!r}: only whole segments can be variable")
    return "/".join(part if part == "*" else literal(part) for part in parts)


MATCHING: Final[Mapping[str, Callable[[str], str]]] = {
    "keyMatch": key_match,
    "keyMatch2": _segments("keyMatch2", r":[^/]+"),
    "keyMatch3": _segments("keyMatch3", r"\{[^/{}]+\}"),
    "keyMatch4": _segments("keyMatch4", r"\{[^/{}]+\}"),
    "keyMatch5": _segments("keyMatch5", r"\{[^/{}]+\}"),
    "globMatch": _glob,
}
"""Functions of casbin that compare a request's object with a pattern."""
