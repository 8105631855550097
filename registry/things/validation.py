"""The shape of a description against the schema, every error with its JSON pointer."""

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final, cast

import fastjsonschema

from registry.things.problems import MAX_PROBLEMS, Problem, pointer
from registry.things.schema import SCHEMA

_Check = Callable[[Any], Any]

_MAX_READINGS: Final = 3000
_MAX_DOTS: Final = 64
_MAX_SHOWN: Final = 60
_INDEX = re.compile(r"\[(\d+)\]")
_END = re.compile(r"(?=[.\[])|\Z")
_WORDS: Final = {
    "type": "it must be of the type {}",
    "enum": "it must be one of {}",
    "minLength": "it must have at least {} character",
    "maxLength": "it must have at most {} characters",
    "minItems": "it must have at least {} items",
    "maxItems": "it must have at most {} items",
    "minProperties": "it must have at least {} member",
    "maxProperties": "it must have at most {} members",
    "minimum": "it must be at least {}",
    "exclusiveMinimum": "it must be greater than {}",
    "pattern": "it must be a date and time, as 2026-01-31T12:00:00Z",
}
"""The schema's keywords in words; its only pattern is that of a date."""


@lru_cache(maxsize=1)
def _compiled() -> _Check:
    compiled = fastjsonschema.compile(SCHEMA, use_default=False, use_formats=False, fast_fail=False)
    return cast("_Check", compiled)


def prepare() -> None:
    """Compile the schema now, which takes a moment, not with the first description."""
    _compiled()


def shape_problems(document: object) -> list[Problem]:
    """Return all that is wrong with the shape of a description."""
    try:
        _compiled()(document)
    except fastjsonschema.JsonSchemaValuesException as found:
        problems: dict[tuple[str, str], Problem] = {}
        wrong_types: set[str] = set()
        readings = iter(range(_MAX_READINGS))
        for error in found.errors:
            if len(problems) >= MAX_PROBLEMS:
                break
            for each in _problems(document, error, readings):
                if each.pointer not in wrong_types:
                    problems.setdefault((each.pointer, each.message), each)
                if error.rule == "type":
                    wrong_types.add(each.pointer)
        return list(problems.values())
    return []


def _problems(document: object, error: Any, readings: Iterator[int]) -> list[Problem]:
    steps = _steps(document, str(error.name).removeprefix("data"), error.value, readings)
    where = pointer(*steps)
    wanted = error.rule_definition
    if error.rule == "required":
        missing = [key for key in wanted if key not in error.value]
        return [Problem(where, f"the member {key!r} is missing") for key in missing]
    if error.rule == "type":
        wanted = " or ".join([wanted] if isinstance(wanted, str) else wanted)
    elif error.rule == "enum":
        wanted = ", ".join(wanted)
    return [Problem(where, _WORDS[error.rule].format(wanted), f"it is {_shown(error.value)}")]


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        what = "an object" if isinstance(value, dict) else "an array"
        return f"{what} of {len(value)}"
    text = json.dumps(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _steps(
    document: object, name: str, value: object, readings: Iterator[int]
) -> tuple[str | int, ...]:
    """Return the path that ``.a.b[0]`` means in this document, where keys may hold dots too.

    The validator writes a path as one text; the value that it found there decides between the
    readings. Where there are very many the nearest value around is told.
    """
    pending: list[tuple[object, int, tuple[str | int, ...]]] = [(document, 0, ())]
    best: tuple[str | int, ...] = ()
    for _ in readings:
        if not pending:
            break
        here, at, path = pending.pop()
        best = max(best, path, key=len)
        if at == len(name) and here is value:
            return path
        if isinstance(here, list) and (index := _INDEX.match(name, at)):
            pending.append((here[int(index[1])], index.end(), (*path, int(index[1]))))
        elif isinstance(here, dict):
            ends = [end for end in _ends(name, at + 1) if name[at + 1 : end] in here]
            pending += [(here[key], e, (*path, key)) for e in ends for key in [name[at + 1 : e]]]
    return best


def _ends(name: str, start: int) -> list[int]:
    """Return where a key that starts in a path may end, the nearest first."""
    found = (match.start() for match in _END.finditer(name, start))
    return list(islice(found, _MAX_DOTS))
