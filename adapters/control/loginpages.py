"""The pages around a login; whatever fails there is told as a page, to a person."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.control.callers import permit
from adapters.control.home import Home
from adapters.control.login import CALLBACK, Login
from adapters.control.page import failure
from gateway.message import Refusal, Status

FORM_BYTES: Final = 4096
FORM_SECONDS: Final = 10.0


class LoginPages:
    """Routes of a listener that people log in at."""

    def __init__(self, login: Login, home: Home) -> None:
        self._login = login
        self._home = home

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/login", _told(self._login.begin)),
            Route(CALLBACK, _told(self._login.finish)),
            Route("/logout", _told(self._logout), methods=["POST"]),
        ]

    async def home(self, request: Request) -> Response | None:
        """Return the page of who is logged in; None: nobody is."""
        session = self._login.of(request)
        if session is None:
            return None
        return HTMLResponse(await self._home.page(request, session))

    async def _logout(self, request: Request) -> Response:
        session = self._login.of(request)
        if session is None:
            return RedirectResponse("/", 303)
        form = parse_qs(await _form(request))
        permit(request, session, form.get("csrf", [""])[0])
        return self._login.end(request, session)


def _told(
    step: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return a step whose refusals are pages."""

    async def endpoint(request: Request) -> Response:
        try:
            return await step(request)
        except Refusal as refusal:
            headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None
            return HTMLResponse(failure(refusal.detail), refusal.status.wire.http, headers)

    return endpoint


async def _form(request: Request) -> str:
    """Return a small form as it was sent; raises Refusal."""
    data = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > FORM_BYTES:
                    raise Refusal(Status.TOO_LARGE, "the form is too large")
    except TimeoutError:
        raise Refusal(Status.TIMEOUT, "the form did not come in time") from None
    except ClientDisconnect:
        raise Refusal(Status.CANCELLED, "the client is gone") from None
    return data.decode("latin-1")
