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
_EXPLAINING: Final[dict[str, type]] = {
    **dict.fromkeys(["$comment", "contentEncoding", "contentMediaType", "description"], str),
    **dict.fromkeys(["format", "title"], str),
    **dict.fromkeys(["deprecated", "readOnly", "writeOnly"], bool),
    "examples": list,
}
"""What keywords must hold that nothing is checked by."""


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
    """Return a schema whose references ``#/…`` begin at a pointer, where it will stand.

    What other readers would refuse, and no check depends on, is left out (``registry.schemas``
    takes any value of a keyword that only explains).
    """
    if not isinstance(schema, dict):
        return schema
    return {
        key: _rooted(key, value, pointer)
        for key, value in schema.items()
        if key != "$schema" and isinstance(value, _EXPLAINING.get(key, object))
    }


def _rooted(key: str, value: Any, pointer: str) -> Any:
    if key == "$ref":
        return pointer + value[1:]
    if key in _SINGLE:
        return rooted(value, pointer)
    if key in _LISTS:
        return [rooted(each, pointer) for each in value]
    if key in _MAPS:
        return {name: rooted(each, pointer) for name, each in value.items()}
    if key in ("required", "type") and isinstance(value, list):
        return list(dict.fromkeys(value))
    if key == "dependentRequired":
        return {name: list(dict.fromkeys(each)) for name, each in value.items()}
    return value
