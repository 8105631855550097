"""One request of the control API becomes one Call, its reply the response."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.control.calling import Calling, body_of
from adapters.control.operations import OPERATIONS, WHOLE_NAME, Operation
from gateway.message import Refusal, Status
from gateway.problems import MEDIA_TYPE, document_of


def routes(calling: Calling) -> list[Route]:
    """Return a route for every operation."""
    return [
        Route(
            operation.path,
            _endpoint(calling, operation),
            methods=[operation.verb],
            name=operation.id,
        )
        for operation in OPERATIONS
    ]


def _endpoint(calling: Calling, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        target, payload = await _asked(operation, request)
        content_type = "application/json"
        if operation.parameters is None:
            content_type = request.headers.get("content-type", "")
        answered = await calling.call(
            request, f"$site/{target}", payload, content_type=content_type
        )
        head, body = answered
        code = head.code or head.status.wire.http
        return Response(body, code, media_type=head.content_type.decode("latin-1"))

    return endpoint


def refused(refusal: Refusal) -> Response:
    """Return the response that a refusal is, the same as on the data listener."""
    headers = {}
    if refusal.retry_after:
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status is Status.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="hilum"'
    code = refusal.status.wire.http
    return Response(document_of(refusal), code, headers, MEDIA_TYPE)


async def _asked(operation: Operation, request: Request) -> tuple[str, bytes]:
    """Return which of the site's methods is meant, and its payload."""
    query = dict(request.query_params)
    if operation.parameters is not None:
        return operation.target, _payload(operation.parameters, _path(operation, request), query)
    target = operation.target
    if operation.dry_run:
        dry_run = query.pop("dryRun", "false")
        if dry_run not in ("true", "false"):
            raise Refusal(Status.BAD_REQUEST, f"dryRun is true or false, not {dry_run!r}")
        target = operation.dry_run if dry_run == "true" else target
    if query:
        raise Refusal(Status.BAD_REQUEST, f"there is no parameter {next(iter(query))!r} here")
    return target, await body_of(request)


def _path(operation: Operation, request: Request) -> dict[str, str]:
    """Return the parameters in the path; a name keeps its percent-encoding."""
    found = dict(request.path_params)
    if WHOLE_NAME in operation.path:
        begin = operation.path.index(WHOLE_NAME)
        found["name"] = request.scope["raw_path"].decode("latin-1")[begin:]
    return found


def _payload(
    parameters: type[msgspec.Struct], path: dict[str, str], query: dict[str, str]
) -> bytes:
    twice = path.keys() & query.keys()
    if twice:
        raise Refusal(Status.BAD_REQUEST, f"{twice.pop()!r} is in the path already")
    try:
        asked = msgspec.convert({**query, **path}, parameters, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(Status.BAD_REQUEST, f"the parameters are wrong: {error}") from error
    return msgspec.json.encode(asked)
