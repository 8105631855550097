"""``GET /discover`` and ``POST /match``: thin ways to make Calls."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.control.calling import Calling, body_of, response
from gateway.message import Refusal, Status

LONGEST_ANSWER = 16 * 1024 * 1024
"""Bytes: a page of 1,000 objects with 64 members each is below."""


def discovery_routes(calling: Calling) -> list[Route]:
    """Return the routes."""

    async def discover(request: Request) -> Response:
        twice = _twice(request)
        if twice:
            raise Refusal(Status.BAD_REQUEST, f"the query: {twice!r} is there twice")
        query = request.scope["query_string"].decode("latin-1")
        answered = await calling.call(
            request, "$site/registry/discover", query=query, limit=LONGEST_ANSWER
        )
        return response(answered)

    async def match(request: Request) -> Response:
        payload = await body_of(request)
        kind = request.headers.get("content-type", "application/json")
        answered = await calling.call(
            request,
            "$site/registry/match",
            payload,
            content_type=kind,
            limit=LONGEST_ANSWER,
        )
        return response(answered)

    return [
        Route("/discover", discover, methods=["GET"], name="discover"),
        Route("/match", match, methods=["POST"], name="match"),
    ]


def _twice(request: Request) -> str:
    """Return a parameter that is there more than once, "" if none is."""
    seen: set[str] = set()
    for key, _ in request.query_params.multi_items():
        if key in seen:
            return key
        seen.add(key)
    return ""
