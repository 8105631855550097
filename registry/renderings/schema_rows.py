"""A JSON Schema as rows of a table: one for each value in it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from registry.renderings.samples import Schema, resolved, types_of

ROWS: Final = 200
"""Rows of one schema; the rest is in its source."""
DEPTH: Final = 5
_BOUNDS: Final = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "const": "always {}",
    "default": "{} if left out",
    "unit": "in {}",
}


class Row(NamedTuple):
    """One value: where it is (``""`` is the whole), its type, whether it must be there."""

    path: str
    kind: str
    required: bool
    says: str
    limits: tuple[str, ...]


def rows_of(schema: Schema) -> list[Row]:
    """Return the values that a schema describes, outer before inner."""
    found: list[Row] = []
    for row in _rows("", schema, schema, DEPTH, required=False):
        if len(found) == ROWS:
            break
        found.append(row)
    return found


def _rows(path: str, schema: Any, root: Schema, left: int, *, required: bool) -> Iterator[Row]:
    schema = resolved(schema, root)
    members = schema.get("properties", {})
    if path or not members or _limits(schema):
        says = schema.get("description") or schema.get("title") or ""
        yield Row(path, _kind(schema, root), required, str(says), _limits(schema))
    if not left:
        return
    needed = schema.get("required", ())
    for key, inner in members.items():
        where = f"{path}.{key}" if path else key
        yield from _rows(where, inner, root, left - 1, required=key in needed)
    items = resolved(schema.get("items", {}), root)
    if "properties" in items:
        for row in _rows("", items, root, left - 1, required=False):
            if row.path:
                yield row._replace(path=f"{path}[].{row.path}")


def _kind(schema: Schema, root: Schema) -> str:
    types = types_of(schema)
    if types == ["array"]:
        items = schema.get("items")
        inner = _kind(resolved(items, root), root) if isinstance(items, Mapping) else ""
        return f"array of {inner}" if inner and not inner.startswith("array") else "array"
    for key, word in (("anyOf", "any of"), ("oneOf", "one of"), ("allOf", "all of")):
        if not types and key in schema:
            inner = " | ".join(_name(resolved(each, root)) for each in schema[key][:6])
            return f"{word} {inner}"
    if not types and "enum" in schema:
        return "one of a list"
    format_ = schema.get("format")
    kind = " or ".join(types) or "anything"
    return f"{kind} ({format_})" if isinstance(format_, str) else kind


def _name(schema: Schema) -> str:
    return str(schema.get("title") or " or ".join(types_of(schema)) or "anything")


def _limits(schema: Schema) -> tuple[str, ...]:
    found = [
        words.format(value.removeprefix("unit:") if isinstance(value, str) else _json(value))
        for key, words in _BOUNDS.items()
        if (value := schema.get(key)) is not None or (key == "const" and key in schema)
    ]
    if isinstance(schema.get("enum"), list):
        shown = ", ".join(map(_json, schema["enum"][:12]))
        found.insert(0, f"{shown}{', …' if len(schema['enum']) > 12 else ''}")
    if schema.get("additionalProperties") is False:
        found.append("no other values")
    return tuple(found)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
