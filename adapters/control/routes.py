"""One request of the control API becomes one Call, its reply the response."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.control.callers import Callers
from adapters.control.operations import OPERATIONS, WHOLE_NAME, Operation
from gateway.calls import MAX_MESSAGE, ask
from gateway.egress import NOBODY
from gateway.message import Call, Refusal, Status
from gateway.problems import MEDIA_TYPE, document_of
from gateway.site import Site
from policy.model import Action
from registry.names import Name

CALL_SECONDS = 30.0
"""The deadline of a call."""
BODY_SECONDS = 30.0
"""How long a client may take to send its payload."""


def routes(site: Site, callers: Callers, clock: Callable[[], float]) -> list[Route]:
    """Return a route for every operation; ``clock`` is the loop's time."""
    return [
        Route(
            operation.path,
            _endpoint(site, callers, clock, operation),
            methods=[operation.verb],
            name=operation.id,
        )
        for operation in OPERATIONS
    ]


def _endpoint(
    site: Site, callers: Callers, clock: Callable[[], float], operation: Operation
) -> Callable[[Request], Awaitable[Response]]:
    name = f"{site.authority}/$site/"

    async def endpoint(request: Request) -> Response:
        target, payload = await _asked(operation, request)
        principal = await callers.principal_of(request)
        call = Call(Action.CALL, Name(name + target), principal, clock() + CALL_SECONDS)
        call.peer = request.client.host if request.client is not None else NOBODY
        call.content_type = b"application/json"
        if operation.parameters is None:
            call.content_type = request.headers.get("content-type", "").encode("latin-1")
        head, body = await ask(site.plane, call, payload)
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
    return target, await _body(request)


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


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > MAX_MESSAGE:
                    detail = f"a message may have at most {MAX_MESSAGE} bytes"
                    raise Refusal(Status.TOO_LARGE, detail)
    except TimeoutError:
        raise Refusal(Status.TIMEOUT, "the payload did not come in time") from None
    except ClientDisconnect:
        raise Refusal(Status.CANCELLED, "the client is gone") from None
    return b"".join(parts)
