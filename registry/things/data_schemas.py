"""JSON Schemas of manifests in the words of TD 1.1, which knows fewer (section 5.3.2). Pure."""

from collections.abc import Mapping
from typing import Any, Final

from registry.things.schema import MAX_ITEMS, MAX_MEMBERS

MAX_PARTS: Final = 2000
"""Schemas in the one that is shown, each reference replaced by what it names."""

_KEPT: Final = (
    *("title", "description", "readOnly", "writeOnly", "unit", "enum", "format", "pattern"),
    *("contentEncoding", "contentMediaType", "minimum", "maximum", "exclusiveMinimum"),
    *("exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "multipleOf"),
    *("const", "default", "required"),
)
_DEPTH: Final = 16


def data_schema(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what TD 1.1 can say of a schema; what it cannot is left out."""
    return _Shown(schema or {}).of(schema or {}, _DEPTH)


class _Shown:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_PARTS

    def of(self, schema: Any, depth: int) -> dict[str, Any]:
        """Return one schema, and those within it down to ``depth``."""
        self._left -= 1
        if not isinstance(schema, Mapping) or depth == 0 or self._left < 0:
            return {}
        named = self._named(schema.get("$ref"))
        shown = {} if named is None else self.of(named, depth - 1)
        shown.update({key: schema[key] for key in _KEPT if key in schema})
        shown.update({key: value for key, value in schema.items() if key.startswith("@")})
        kind = schema.get("type")
        choices = [{"type": each} for each in kind] if isinstance(kind, list) else []
        if isinstance(kind, str):
            shown["type"] = kind
        choices += [
            self.of(each, depth - 1) for key in ("oneOf", "anyOf") for each in schema.get(key, ())
        ]
        if choices:
            shown["oneOf"] = choices[:MAX_ITEMS]
        if "properties" in schema:
            inner = list(schema["properties"].items())[:MAX_MEMBERS]
            shown["properties"] = {key: self.of(each, depth - 1) for key, each in inner}
        if isinstance(schema.get("items"), Mapping):
            shown["items"] = self.of(schema["items"], depth - 1)
        elif "prefixItems" in schema:
            shown["items"] = [self.of(each, depth - 1) for each in schema["prefixItems"]]
        return shown

    def _named(self, reference: Any) -> Any:
        """Return what ``#/$defs/name`` stands for; accepted schemas refer to nothing else."""
        if not isinstance(reference, str) or reference.count("/") != 2:
            return None
        _, table, name = reference.split("/")
        return self._root.get(table, {}).get(name)
