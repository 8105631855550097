"""The shape of a description against the schema, every error with its JSON pointer."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, cast

import fastjsonschema

from registry.things.problems import Problem, pointer
from registry.things.schema import SCHEMA

_Check = Callable[[Any], Any]

_MAX_ERRORS: Final = 1000
_MAX_SHOWN: Final = 60
_INDEX = re.compile(r"\[(\d+)\]")
_WORDS: Final = {
    "type": "it must be of the type ",
    "enum": "it must be one of ",
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
        for error in found.errors[:_MAX_ERRORS]:
            for each in _problems(document, error):
                if each.pointer not in wrong_types:
                    problems.setdefault((each.pointer, each.message), each)
                if error.rule == "type":
                    wrong_types.add(each.pointer)
        return list(problems.values())
    return []


def _problems(document: object, error: Any) -> list[Problem]:
    steps = _steps(document, str(error.name).removeprefix("data"), error.value)
    where = pointer(*steps)
    if error.rule == "required":
        missing = [key for key in error.rule_definition if key not in error.value]
        return [Problem(where, f"the member {key!r} is missing") for key in missing]
    message = _WORDS[error.rule].format(error.rule_definition)
    if error.rule == "type":
        wanted = error.rule_definition
        names = wanted if isinstance(wanted, list) else [wanted]
        message += " or ".join(names)
    elif error.rule == "enum":
        message += ", ".join(map(str, error.rule_definition))
    return [Problem(where, message, f"it is {_shown(error.value)}")]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _steps(node: object, name: str, value: object) -> tuple[str | int, ...]:
    """Return the path that ``.a.b[0]`` means in this document, where keys may hold dots too.

    The validator writes a path as one text; the value that it found there decides between the
    readings.
    """
    pending: list[tuple[object, str, tuple[str | int, ...]]] = [(node, name, ())]
    best: tuple[str | int, ...] = ()
    while pending:
        here, rest, path = pending.pop()
        if not rest:
            if here is value:
                return path
            best = best or path
        elif isinstance(here, list) and (index := _INDEX.match(rest)):
            pending.append((here[int(index[1])], rest[index.end() :], (*path, int(index[1]))))
        elif isinstance(here, dict) and rest[0] == ".":
            pending += [
                (inner, rest[1 + len(key) :], (*path, key))
                for key, inner in here.items()
                if rest.startswith(key, 1) and rest[1 + len(key) :][:1] in ("", ".", "[")
            ]
    return best
