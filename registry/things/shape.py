"""All that is wrong with the shape of a value, for what the compiled schema has refused. Pure.

The compiled check says yes or no, quickly. Its own way to list errors takes seconds for thousands
of them, and paths as texts that may be read in several ways.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from registry.things.findings import Path
from registry.things.problems import Problem, pointer
from registry.things.schema import Schema

_MAX_SHOWN: Final = 60
_IS: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
        and not isinstance(value, bool)
    ),
}
_SIZES: Final = (
    (str, "minLength", "maxLength", "characters"),
    (list, "minItems", "maxItems", "items"),
    (dict, "minProperties", "maxProperties", "members"),
)


def problems_of(root: Schema, value: object) -> Iterator[Problem]:
    """Return each place where a value does not fit a schema of the keywords that ours uses."""
    yield from _problems(root, root, value, ())


def _problems(root: Schema, schema: Schema, value: Any, path: Path) -> Iterator[Problem]:
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    types = schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    if types and not any(_IS[each](value) for each in types):
        yield _problem(path, f"it must be of the type {' or '.join(types)}", value)
        return
    for kind, least, most, what in _SIZES:
        if isinstance(value, kind):
            if len(value) < schema.get(least, 0):
                yield _problem(path, f"it must have {what}, at least {schema[least]}", value)
            if len(value) > schema.get(most, len(value)):
                yield _problem(path, f"it must have at most {schema[most]} {what}", value)
    yield from _scalar(schema, value, path)
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from _problems(root, schema["items"], each, (*path, index))
    if isinstance(value, dict):
        yield from _members(root, schema, value, path)


def _members(root: Schema, schema: Schema, value: dict[str, Any], path: Path) -> Iterator[Problem]:
    for key in schema.get("required", ()):
        if key not in value:
            yield Problem(pointer(*path), f"the member {key!r} is missing")
    known, other = schema.get("properties", {}), schema.get("additionalProperties")
    for key, each in value.items():
        inner = known.get(key, other)
        if inner is not None:
            yield from _problems(root, inner, each, (*path, key))


def _scalar(schema: Schema, value: Any, path: Path) -> Iterator[Problem]:
    if "enum" in schema and value not in schema["enum"]:
        yield _problem(path, f"it must be one of {', '.join(schema['enum'])}", value)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield _problem(path, "it must be a date and time, as 2026-01-31T12:00:00Z", value)
    if "minimum" in schema and value < schema["minimum"]:
        yield _problem(path, f"it must be at least {schema['minimum']}", value)
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield _problem(path, f"it must be greater than {schema['exclusiveMinimum']}", value)


def _problem(path: Path, message: str, value: object) -> Problem:
    return Problem(pointer(*path), message, f"it is {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        what = "an object" if isinstance(value, dict) else "an array"
        return f"{what} of {len(value)}"
    text = json.dumps(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
