"""Which media type an ``Accept`` asks for most (RFC 9110 section 12.5.1). Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

MAX_ACCEPT: Final = 4096
"""Characters of an ``Accept`` that are read."""
MAX_RANGES: Final = 64
_RANGE: Final = re.compile(r"([\w!#$&^.+*-]+)/([\w!#$&^.+*-]+)", re.ASCII)
_WEIGHT: Final = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)
_GENERAL: Final = {
    "+json": ("application/json",),
    "+xml": ("application/xml", "text/xml"),
}
"""Types that also mean the special ones that end so."""


def ranges(accept: str) -> dict[str, float]:
    """Return the weight of each media range; what cannot be read is as if it were not there."""
    found: dict[str, float] = {}
    for one in accept[:MAX_ACCEPT].split(",")[:MAX_RANGES]:
        media_range, *parameters = one.split(";")
        media_range = media_range.strip().lower()
        if not _RANGE.fullmatch(media_range):
            continue
        weights = [match for each in parameters if (match := _WEIGHT.fullmatch(each))]
        weight = float(weights[0][1]) if weights else 1.0
        found[media_range] = max(weight, found.get(media_range, 0.0))
    return found


def weight(media_type: str, wanted: Mapping[str, float]) -> tuple[float, int]:
    """Return a media type's weight by the range that names it most exactly, and how exactly."""
    group = media_type.partition("/")[0]
    for exactness, media_range in ((4, media_type), (2, f"{group}/*"), (1, "*/*")):
        if media_range in wanted:
            return wanted[media_range], exactness
    return 0.0, 0


def chosen(accept: str, offered: Sequence[str]) -> str | None:
    """Return the offered type that is wanted most, None for none.

    Of equal weights the range that says more wins, then what is offered first.
    """
    wanted = ranges(accept)
    if not wanted:
        return offered[0]
    best: tuple[float, int] = (0.0, 0)
    found = None
    for kind in offered:
        each = weight(kind, wanted)
        if each[1] < 4:
            general = _GENERAL.get(f"+{kind.rpartition('+')[2]}", ())
            each = next(((wanted[one], 3) for one in general if one in wanted), each)
        if each[0] and each > best:
            best, found = each, kind
    return found
