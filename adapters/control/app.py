"""The control API as an ASGI application."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.control.callers import Callers
from adapters.control.calling import Calling
from adapters.control.directory import Surfaces, directory_routes
from adapters.control.health import Health
from adapters.control.home import Home
from adapters.control.login import Login
from adapters.control.loginpages import LoginPages
from adapters.control.metrics import CONTENT_TYPE, Gauge, Metrics
from adapters.control.ontology import ontology_routes
from adapters.control.openapi import document
from adapters.control.page import STYLE_SOURCE, page
from adapters.control.routes import refused, routes
from adapters.control.services import services_routes
from gateway.config import is_loopback
from gateway.message import Refusal, Status
from gateway.problems import MEDIA_TYPE, problem
from gateway.settings import Listen
from gateway.site import Site
from policy.model import Action
from registry.names import Name
from registry.renderings.style import STYLE_SOURCE as STYLE_OF_SERVICES

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src {STYLE_SOURCE} {STYLE_OF_SERVICES}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    # With no-referrer browsers send forms without their origin, which /logout looks at.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
METRICS = "$site/metrics"
"""What a scraper must be allowed to describe."""


def application(
    site: Site,
    listen: Listen,
    state: Path,
    version: str,
    clock: Callable[[], float],
    gauges: Iterable[Gauge],
    login: Login | None = None,
    directory: Surfaces | None = None,
) -> Starlette:
    """Return the application of one listener; without ``login`` people do not log in at it."""
    callers = Callers(site, login)
    calling = Calling(site, callers, clock)
    health = Health(site, state, clock)
    logins = None
    if login is not None:
        logins = LoginPages(login, Home(site, clock, login.sessions.idle, version))
    pages = _Pages(site, callers, logins, listen, health, Metrics(site, gauges), version)
    return Starlette(
        routes=[
            Route("/", pages.home),
            Route("/openapi.json", pages.openapi),
            Route("/healthz", pages.healthz),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
            *ontology_routes(),
            *(logins.routes() if logins is not None else ()),
            *routes(calling),
            *services_routes(calling),
            *(directory_routes(calling, directory) if directory is not None else ()),
        ],
        middleware=[Middleware(_Guard, hosts=_hosts(site, listen))],
        exception_handlers=_HANDLERS,
    )


def directory_application(
    site: Site, listen: Listen, clock: Callable[[], float], directory: Surfaces
) -> Starlette:
    """Return the application of the directory's own listener: nothing that operators do."""
    calling = Calling(site, Callers(site, None), clock)
    return Starlette(
        routes=directory_routes(calling, directory),
        middleware=[Middleware(_Guard, hosts=_hosts(site, listen))],
        exception_handlers={**_HANDLERS, HTTPException: _directory_error},
    )


class _Pages:
    """What is served beside the operations."""

    def __init__(
        self,
        site: Site,
        callers: Callers,
        logins: LoginPages | None,
        listen: Listen,
        health: Health,
        metrics: Metrics,
        version: str,
    ) -> None:
        self._site = site
        self._callers = callers
        self._logins = logins
        self._open = is_loopback(listen.host)
        self._health = health
        self._metrics = metrics
        self._version = version
        self._document = msgspec.json.format(msgspec.json.encode(document(version)))

    async def home(self, request: Request) -> Response:
        """Say what is here, and to whom."""
        if self._logins is not None and (own := await self._logins.home(request)) is not None:
            return own
        shown = page(self._version, str(request.base_url), login=self._logins is not None)
        return HTMLResponse(shown)

    async def openapi(self, _: Request) -> Response:
        """Describe the API."""
        return Response(self._document, media_type="application/json")

    async def healthz(self, _: Request) -> Response:
        """Say that the process is alive: its loop runs."""
        return PlainTextResponse("alive\n")

    async def readyz(self, _: Request) -> Response:
        """Say whether the site is ready, else why not."""
        problems = await self._health.problems()
        if not problems:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("".join(f"{one}\n" for one in problems), 503)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics, to this machine or to who may describe them."""
        if not self._open:
            principal = await self._callers.principal_of(request)
            name = Name(f"{self._site.authority}/{METRICS}")
            if not self._site.allowed(principal, Action.DESCRIBE, name):
                detail = f"{principal.id} may not describe {name}"
                anonymous = principal.kind == "anonymous"
                raise Refusal(Status.UNAUTHENTICATED if anonymous else Status.DENIED, detail)
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)


class _Guard:
    """Adds the security headers, and refuses requests that are meant for another host.

    A name that an attacker's DNS points here would pass a browser's same-origin rule, so only
    names of this site and literal addresses, which no DNS can turn, are answered.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        host = Request(scope).headers.get("host", "")
        app = self._app if self._known(host) else _problem(421, f"this site is not {host!r}")
        await app(scope, receive, guarded)

    def _known(self, host: str) -> bool:
        bare = host.lower().rpartition(":")[0] if _has_port(host) else host.lower()
        if bare in self._hosts:
            return True
        try:
            ip_address(bare.strip("[]"))
        except ValueError:
            return False
        return True


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not (host.startswith("[") and host.endswith("]"))


def _hosts(site: Site, listen: Listen) -> frozenset[str]:
    return frozenset({"localhost", site.authority, *site.aliases, listen.host.lower()})


def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


def _http_error(request: Request, error: Exception) -> Response:
    return _nothing(request, error, "the control API does; see /openapi.json")


def _directory_error(request: Request, error: Exception) -> Response:
    return _nothing(request, error, "the directory does; see /.well-known/wot")


def _nothing(request: Request, error: Exception, who: str) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path} is nothing that {who}"
    return _problem(error.status_code, detail, dict(error.headers or {}))


def _failure(_: Request, __: Exception) -> Response:
    return refused(Refusal(Status.INTERNAL, "the gateway failed to answer; its log says why"))


_HANDLERS = {Refusal: _refusal, HTTPException: _http_error, Exception: _failure}


def _problem(code: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    title = {404: "Not found", 405: "Method not allowed", 421: "Misdirected request"}.get(code, "")
    slug = title.lower().replace(" ", "-") or "error"
    return Response(problem(code, title, slug, detail), code, headers, MEDIA_TYPE)
