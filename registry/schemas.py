"""JSON Schemas of methods and channels: the subset of draft 2020-12 that Hilum understands.

A keyword outside it is an error, because a limit that is quietly not checked is worse than none.
Patterns are matched in linear time (``registry.regex``); references stay within the schema, name
``$defs`` and do not recur, so that checking a value is bounded by the value and the schema.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from registry.checks import Findings
from registry.documents import Path
from registry.names import near
from registry.regex import UnsafePattern, check_pattern

MAX_BYTES: Final = 16 * 1024
"""Bytes of one schema as compact JSON."""
MAX_DEPTH: Final = 16
"""Schemas within each other."""
MAX_PATTERNS: Final = 256
"""Patterns of one document."""
MAX_EXPANDED: Final = 2000
"""Schemas in a schema after every reference is replaced by what it names."""

Schema: TypeAlias = Mapping[str, Any]
_Rule: TypeAlias = tuple[Callable[[Any], bool], str]

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_ONE = frozenset(
    ["additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"]
)
_LISTS = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
_DEFINITIONS = frozenset(["$defs", "definitions"])
_MAPS = _DEFINITIONS | {"dependentSchemas", "patternProperties", "properties"}
_REFERENCE = re.compile(r"#/(\$defs|definitions)/([A-Za-z0-9_.-]{1,64})")
_FOREIGN = re.compile(r"x-.*|@.*|[^:$]+:.*", re.DOTALL)  # What other vocabularies write.


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(each, str) and each in _TYPES for each in types)


_NUMBER: _Rule = (_is_number, "a number")
_COUNT: _Rule = (_is_count, "a whole number from 0")
_STRING: _Rule = (lambda value: isinstance(value, str), "a string")
_ANYTHING: _Rule = (lambda _: True, "")
_PLAIN: dict[str, _Rule] = {
    "$ref": _STRING,
    "pattern": _STRING,
    "type": (_is_type, f"one or a list of {', '.join(_TYPES)}"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    "required": (_is_strings, "a list of strings"),
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_strings, value.values())),
        "an object of lists of strings",
    ),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], _NUMBER),
    **dict.fromkeys(["minLength", "maxLength", "minItems", "maxItems"], _COUNT),
    **dict.fromkeys(["minContains", "maxContains", "minProperties", "maxProperties"], _COUNT),
    **dict.fromkeys(["$comment", "$schema", "const", "contentEncoding"], _ANYTHING),
    **dict.fromkeys(["contentMediaType", "default", "deprecated", "description"], _ANYTHING),
    **dict.fromkeys(["examples", "format", "readOnly", "title", "unit", "writeOnly"], _ANYTHING),
}
"""Keywords that hold no schemas, and what they hold."""
_KNOWN = sorted(_ONE | _LISTS | _MAPS | _PLAIN.keys())


class SchemaChecks:
    """Checks the schemas of one document; problems go to its findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._patterns = 0
        self._root: Schema = {}
        self._is_sound = True

    def check(self, path: Path, schema: Schema) -> None:
        """Check one schema, which stands at ``path``."""
        self._root, self._is_sound = schema, True
        size = len(msgspec.json.encode(schema))
        if size > MAX_BYTES:
            self._add(path, f"the schema has {size} bytes, more than {MAX_BYTES}")
            return
        self._schema(path, schema, 1)
        if self._is_sound:
            self._expand(path)

    def _add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        self._is_sound = False
        self._findings.add(path, message, hint, key=key)

    def _schema(self, path: Path, schema: object, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            self._add(path, "a schema is an object, true or false")
        elif depth > MAX_DEPTH:
            self._add(path, f"more than {MAX_DEPTH} schemas within each other", "use $defs")
        else:
            for key, value in schema.items():
                self._keyword((*path, key), key, value)
            for step, inner in _inside(schema):
                self._schema((*path, *step), inner, depth + 1)

    def _keyword(self, path: Path, key: str, value: object) -> None:
        if key in _LISTS:
            if not isinstance(value, list) or not value:
                self._add(path, f"{key} is a list of schemas")
        elif key in _MAPS:
            if not isinstance(value, dict):
                self._add(path, f"{key} is an object of schemas")
            elif key == "patternProperties":
                for pattern in value:
                    self._pattern((*path, pattern), pattern, key=True)
        elif key in _PLAIN:
            self._plain(path, key, value)
        elif key not in _ONE and not _FOREIGN.fullmatch(key):
            close = near(key, _KNOWN, 1)
            hint = f'did you mean "{close[0]}"?' if close else "write it into the description"
            self._add(path, "this keyword of schemas is not understood", hint, key=True)

    def _plain(self, path: Path, key: str, value: Any) -> None:
        is_right, what = _PLAIN[key]
        if not is_right(value):
            self._add(path, f"{key} is {what}")
        elif key == "pattern":
            self._pattern(path, value)
        elif key == "$ref":
            self._reference(path, value)

    def _pattern(self, path: Path, pattern: str, *, key: bool = False) -> None:
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            self._add(path, f"more than {MAX_PATTERNS} patterns in the document", key=key)
            return
        try:
            check_pattern(pattern)
        except UnsafePattern as error:
            self._add(path, str(error), key=key)

    def _reference(self, path: Path, reference: str) -> None:
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            hint = "references stay within the schema: write #/$defs/name"
            self._add(path, f"{reference[:80]!r} cannot be followed", hint)
            return
        definitions = self._root.get(found[1])
        if not isinstance(definitions, dict) or found[2] not in definitions:
            self._add(path, f"there is no definition {reference}")

    def _expand(self, path: Path) -> None:
        """Check that references do not recur and do not multiply."""
        try:
            size = _Expansion(self._root).size(self._root)
        except _RecursiveError as error:
            hint = "write the levels out, or leave the inner ones open"
            self._add(path, f"the reference {error} leads back to itself", hint)
            return
        if size > MAX_EXPANDED:
            message = f"{size} schemas after references are followed, more than {MAX_EXPANDED}"
            self._add(path, message, "use fewer references")


class _RecursiveError(ValueError):
    """A definition that refers to itself, directly or through others."""


class _Expansion:
    """Counts the schemas in a sound schema with its references followed."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}

    def size(self, schema: object) -> int:
        if not isinstance(schema, dict):
            return 1
        inside = ((step, inner) for step, inner in _inside(schema) if step[0] not in _DEFINITIONS)
        total = 1 + sum(self.size(inner) for _, inner in inside)
        return total + (self._definition(schema["$ref"]) if "$ref" in schema else 0)

    def _definition(self, reference: str) -> int:
        if reference not in self._sizes:
            self._sizes[reference] = -1
            _, table, name = reference.split("/")
            self._sizes[reference] = self.size(self._root[table][name])
        if self._sizes[reference] < 0:
            raise _RecursiveError(reference)
        return self._sizes[reference]


def _inside(schema: Schema) -> Iterator[tuple[Path, object]]:
    """Yield the schemas directly in a schema, each with the path to it."""
    for key, value in schema.items():
        if key in _ONE:
            yield (key,), value
        elif key in _LISTS and isinstance(value, list):
            yield from (((key, index), inner) for index, inner in enumerate(value))
        elif key in _MAPS and isinstance(value, dict):
            yield from (((key, name), inner) for name, inner in value.items())
