"""The methods of a description as OpenAPI 3.1: paths through this site."""

from typing import Any, Final

import msgspec

from registry.describe import Description
from registry.renderings.samples import resolved, sample, types_of
from registry.renderings.schemas import Components, Ids
from registry.renderings.shown import BEARER, PROBLEM, Shown, legible, path_of

JSON: Final = "application/json"
_SCALAR: Final = frozenset({"string", "number", "integer", "boolean"})
_REFUSED: Final = {
    "401": "A credential is needed, or the one that came is not right.",
    "403": "No policy lets you call this.",
    "default": "Anything else that the site refuses.",
}

Node = dict[str, Any]


def render_openapi(shown: Shown) -> bytes:
    """Render the methods; channels are what AsyncAPI describes."""
    return msgspec.json.format(msgspec.json.encode(openapi(shown))) + b"\n"


def openapi(shown: Shown) -> Node:
    """Return the document as data."""
    operations, components = Ids(), Components()
    problem = components.add("Problem", PROBLEM)
    paths: dict[str, Node] = {}
    tags = []
    for obj in shown.objects:
        tag = path_of(obj["name"])
        if obj["methods"]:
            tags.append({"name": tag, **_described(obj["description"])})
        for method in obj["methods"].values():
            ways = _Method(method, tag, components, operations)
            item = {"post": ways.operation("call")}
            if method["safe"]:
                item["get"] = ways.operation("get")
            paths[f"/{path_of(method['name'])}"] = item
    scheme = shown.bases.scheme("http")
    return {
        "openapi": "3.1.1",
        "info": {
            "title": legible(shown.title),
            "version": legible(shown.version),
            **_described(shown.summary),
        },
        "servers": [{"url": shown.bases.http or "/", "description": f"The site {shown.authority}"}],
        "security": [{"token": []}] + ([{}] if scheme == "nosec_sc" else []),
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "responses": {
                "Refused": {
                    "description": "The site refuses the call, and says why.",
                    "content": {"application/problem+json": {"schema": problem}},
                }
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": BEARER}
            },
        },
    }


class _Method:
    """One method and its operations."""

    def __init__(
        self, method: Description, tag: str, components: Components, operations: Ids
    ) -> None:
        path = path_of(method["name"])
        self._method = method
        self._tag = tag
        self._id = path.replace("/", ".")
        self._operations = operations
        self._schemas = {
            side: components.add(f"{self._id}.{side}", method[side])
            for side in ("input", "output")
            if method[side] is not None
        }

    def operation(self, verb: str) -> Node:
        method = self._method
        more = {key: method[key] for key in ("types", "profile", "may") if key in method}
        return {
            "operationId": self._operations.of(f"{verb}.{self._id}"),
            "tags": [self._tag],
            **_described(method["description"]),
            **({"x-hilum": more} if more else {}),
            **(self._query() if verb == "get" else self._body()),
            "responses": self._responses(),
        }

    def _responses(self) -> Node:
        success: Node = {"description": "What the method answers."}
        if "output" in self._schemas:
            success["content"] = {JSON: self._content("output")}
        refused = {code: {"$ref": "#/components/responses/Refused"} for code in _REFUSED}
        return {"200": success, **refused}

    def _content(self, side: str) -> Node:
        schema = self._method[side]
        return {"schema": self._schemas[side], "example": sample(schema)}

    def _body(self) -> Node:
        if "input" not in self._schemas:
            return {}
        schema = self._method["input"]
        needed = bool(schema.get("required"))
        return {"requestBody": {"required": needed, "content": {JSON: self._content("input")}}}

    def _query(self) -> Node:
        """Return the arguments that fit a query: those without members."""
        root = self._method["input"] or {}
        schema = resolved(root, root)
        found = []
        for name, inner in schema.get("properties", {}).items():
            said = resolved(inner, root)
            types = types_of(said)
            if name and types and _SCALAR.issuperset(types):
                found.append(
                    {
                        "name": name,
                        "in": "query",
                        "required": name in schema.get("required", ()),
                        **_described(str(said.get("description", ""))),
                        "schema": {"type": types[0] if len(types) == 1 else types},
                    }
                )
        return {"parameters": found} if found else {}


def _described(text: str) -> Node:
    return {"description": legible(text)} if text else {}
