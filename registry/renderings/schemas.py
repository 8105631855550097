"""Schemas of members within a larger document: named components whose references stay right."""

import re
from typing import Any, Final

Node = dict[str, Any]

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]")
_SINGLE: Final = frozenset(
    ["additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"]
)
_LISTS: Final = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
_MAPS: Final = frozenset(
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"]
)


class Ids:
    """Keys for texts within one document: what OpenAPI and AsyncAPI allow, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """Return a new key that looks like a text."""
        key = bare = _UNFIT.sub("_", text) or "_"
        number = 2
        while key in self._taken:
            key, number = f"{bare}_{number}", number + 1
        self._taken.add(key)
        return key


class Components:
    """The schemas of a document, kept at ``#/components/schemas``."""

    def __init__(self) -> None:
        self.schemas: dict[str, Node] = {}
        self._ids = Ids()

    def add(self, name: str, schema: Node) -> Node:
        """Keep a schema; returns the reference to it."""
        key = self._ids.of(name)
        pointer = f"#/components/schemas/{key}"
        self.schemas[key] = rooted(schema, pointer)
        return {"$ref": pointer}


def rooted(schema: Any, pointer: str) -> Any:
    """Return a schema whose references ``#/…`` begin at a pointer, where it will stand."""
    if not isinstance(schema, dict):
        return schema
    found: Node = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and value.startswith("#"):
            found[key] = pointer + value[1:]
        elif key in _SINGLE:
            found[key] = rooted(value, pointer)
        elif key in _LISTS and isinstance(value, list):
            found[key] = [rooted(each, pointer) for each in value]
        elif key in _MAPS and isinstance(value, dict):
            found[key] = {name: rooted(each, pointer) for name, each in value.items()}
        elif key != "$schema":
            found[key] = value
    return found
