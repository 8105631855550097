"""Values that fit a JSON Schema, for examples (the subset of ``registry.schemas``)."""

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

DEPTH: Final = 6
"""Schemas within each other that are looked into."""
MEMBERS: Final = 12
"""Members of an object that an example shows."""
_FORMATS: Final = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT5M",
    "email": "ann@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "6f0c0f6e-7d0a-4d1b-9c0e-2f1f6a3b5c4d",
}


def sample(schema: Schema) -> Any:
    """Return a value that a schema describes; where it says little, one that shows its type.

    It is meant to be read: combinations, patterns and bounds that exclude it are not searched.
    """
    return _sample(schema, schema, DEPTH)


def resolved(schema: Any, root: Schema) -> Schema:
    """Return what a schema refers to, with what it says beside the reference."""
    for _ in range(DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        kind, _, name = str(schema["$ref"]).removeprefix("#/").partition("/")
        target = root.get(kind, {}).get(name, {})
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **beside} if isinstance(target, Mapping) else beside
    return schema if isinstance(schema, Mapping) else {}


def types_of(schema: Schema) -> list[str]:
    """Return the types that a schema names, or that its keywords are about."""
    said = schema.get("type", [])
    types = [said] if isinstance(said, str) else list(said)
    if not types and "properties" in schema:
        return ["object"]
    if not types and ("items" in schema or "prefixItems" in schema):
        return ["array"]
    return types


def _sample(schema: Any, root: Schema, left: int) -> Any:
    schema = resolved(schema, root)
    for key in ("examples", "enum"):
        if schema.get(key) and isinstance(schema[key], list):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and left and not types_of(schema):
            return _sample(schema[key][0], root, left - 1)
    kind = next(iter(types_of(schema)), "")
    if kind == "object":
        return _object(schema, root, left)
    if kind == "array":
        return _array(schema, root, left)
    return _scalar(kind, schema)


def _object(schema: Schema, root: Schema, left: int) -> dict[str, Any]:
    if not left:
        return {}
    properties = schema.get("properties", {})
    required = [key for key in schema.get("required", ()) if key in properties]
    keys = list(dict.fromkeys([*required, *properties]))[: max(MEMBERS, len(required))]
    return {key: _sample(properties[key], root, left - 1) for key in keys}


def _array(schema: Schema, root: Schema, left: int) -> list[Any]:
    if not left:
        return []
    first = [_sample(each, root, left - 1) for each in schema.get("prefixItems", ())]
    if not first and "items" in schema and schema.get("maxItems", 1):
        first = [_sample(schema["items"], root, left - 1)]
    return first


def _scalar(kind: str, schema: Schema) -> Any:
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format", "")), "text")
        text = text.ljust(min(schema.get("minLength", 0), 64), "x")
        return text[: schema.get("maxLength", len(text))]
    if kind in ("integer", "number"):
        try:
            return _number(kind, schema)
        except OverflowError:  # bounds that no example can stand between
            return 1
    return {"boolean": True, "null": None}.get(kind, {})


def _number(kind: str, schema: Schema) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        middle = (low + high) / 2
    elif low is not None:
        middle = low + 1
    elif high is not None:
        middle = min(high - 1, 1)
    else:
        middle = 1
    step = schema.get("multipleOf", 1 if kind == "integer" else 0)
    if step:
        middle = round(middle / step) * step
    return int(middle) if middle == int(middle) else middle
