"""``/services/<microservice>``: what a microservice is, as a page or in another format."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from adapters.control.calling import Calling, response
from adapters.control.page import refusal_page
from gateway.message import Fields, Refusal, Status
from policy.model import Action

PATH: Final = "/services/"
MAX_PAGE: Final = 16 * 1024 * 1024
"""Bytes of one description."""


def services_routes(calling: Calling) -> list[Route]:
    """Return the route of the descriptions."""
    return [Route(f"{PATH}{{name:path}}", _described(calling))]


def _described(calling: Calling) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        """Describe what is in the path; whatever is there, nothing is called."""
        accept = ", ".join(request.headers.getlist("accept"))
        try:
            answered = await calling.call(
                request,
                f"{_microservice(request)}/introspect",
                query=request.scope["query_string"].decode("latin-1"),
                fields=_fields(accept),
                limit=MAX_PAGE,
                action=Action.DESCRIBE,
            )
        except Refusal as refusal:
            if "text/html" not in accept:
                raise
            return HTMLResponse(refusal_page(refusal), refusal.status.wire.http)
        return response(answered)

    return endpoint


def _microservice(request: Request) -> str:
    """Return the segment in the path, as it is encoded there."""
    segment = str(request.scope["raw_path"].decode("latin-1")[len(PATH) :])
    if not segment or "/" in segment:
        raise Refusal(Status.NOT_FOUND, f"{PATH}<microservice> describes a microservice")
    return segment


def _fields(accept: str) -> Fields:
    return [b"Accept", b": ", accept.encode("latin-1"), b"\r\n"] if accept else []
