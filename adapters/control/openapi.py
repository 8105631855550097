"""The OpenAPI 3.1 document of the control API, made from the table of operations."""

import re
from inspect import cleandoc
from typing import Any

import msgspec

from adapters.control import answers
from adapters.control.operations import OPERATIONS, Operation
from gateway.message import WIRE, Status
from gateway.problems import MEDIA_TYPE

JSON = "application/json"
YAML = "application/yaml"
TAGS = {
    "policy": "Policies: what may happen, and how names are resolved.",
    "registry": "What exists.",
    "token": "Bearer tokens that the site issues.",
    "channel": "What channels keep, and what could not be delivered.",
    "operation": "Is it alive, ready, busy.",
}
REFUSALS = (
    Status.BAD_REQUEST,
    Status.UNAUTHENTICATED,
    Status.DENIED,
    Status.NOT_FOUND,
    Status.CONFLICT,
    Status.TOO_LARGE,
    Status.UNSUPPORTED_TYPE,
    Status.INVALID,
    Status.UNAVAILABLE,
)
_PLACE = re.compile(r"{(\w+)(?::path)?}")
_REFERENCE = "#/components/schemas/{name}"


def document(version: str) -> dict[str, Any]:
    """Return the document; ``version`` is the program's."""
    types = [t for o in OPERATIONS for t in (o.answer, o.body, o.dry_run_answer) if t]
    schemas, components = msgspec.json.schema_components(
        [*types, answers.Problem], ref_template=_REFERENCE
    )
    for schema in components.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    schema_of = {id(t): schema for t, schema in zip(types, schemas, strict=False)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = _PLACE.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.verb.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Hilum control API",
            "version": version,
            "summary": "What operators do with a site. Each operation is a Call of one of the "
            "site's own methods, decided by policy as any other.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {**paths, **_operation_paths()},
        "components": {
            "schemas": components,
            "responses": {_title(status): _refusal(status) for status in REFUSALS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that the site issued; the first one is in "
                    "admin.token, in the folder of the site's state.",
                }
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    answer = schema_of[id(operation.answer)]
    if operation.dry_run_answer is not None:
        answer = {"anyOf": [answer, schema_of[id(operation.dry_run_answer)]]}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.says,
        "description": f"A Call of `$site/{operation.target}`.",
        "parameters": _parameters(operation),
        "responses": {
            "200": {
                "description": "Done.",
                "content": {JSON: {"schema": answer}},
            },
            **{
                str(status.wire.http): {"$ref": f"#/components/responses/{_title(status)}"}
                for status in REFUSALS
            },
        },
    }
    if operation.body is not None:
        schema = {"schema": schema_of[id(operation.body)]}
        described["requestBody"] = {"required": True, "content": {JSON: schema, YAML: schema}}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found = []
    inside = _PLACE.findall(operation.path)
    schema: dict[str, Any] = {"properties": {}}
    if operation.parameters is not None:
        (_,), components = msgspec.json.schema_components([operation.parameters])
        schema = components[operation.parameters.__name__]
    for name, property_ in schema["properties"].items():
        place = "path" if name in inside else "query"
        required = place == "path" or name in schema.get("required", ())
        found.append({"name": name, "in": place, "required": required, "schema": property_})
    if operation.dry_run:
        says = {"description": "Only say what would change, conflict and be decided differently."}
        dry_run = {"name": "dryRun", "in": "query", "schema": {"type": "boolean"}, **says}
        found.append(dry_run)
    return found


def _operation_paths() -> dict[str, Any]:
    """Return what is served beside the operations."""
    return {
        "/healthz": _plain("getHealth", "Whether the process is alive.", public=True),
        "/readyz": _plain(
            "getReadiness",
            "Whether the site serves traffic and can write changes; 503 says why not.",
            public=True,
            more={"503": {"description": "Not ready: one line for each reason."}},
        ),
        "/metrics": _plain(
            "getMetrics",
            "Metrics in Prometheus' text format. Where other machines reach this listener, a token "
            "whose principal may describe `$site/metrics` is needed.",
            public=False,
        ),
    }


def _plain(
    id_: str, says: str, *, public: bool, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    described: dict[str, Any] = {
        "operationId": id_,
        "tags": ["operation"],
        "summary": says,
        "responses": {"200": {"description": "Yes.", "content": content}, **(more or {})},
    }
    if public:
        described["security"] = []
    return {"get": described}


def _refusal(status: Status) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name="Problem")}
    return {"description": WIRE[status].title, "content": {MEDIA_TYPE: {"schema": schema}}}


def _title(status: Status) -> str:
    return status.name.title().replace("_", "")
