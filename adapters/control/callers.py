"""Who asks the control API: by a bearer token, or by the cookie of a login.

A browser sends cookies with whatever page makes it ask, so a cookie alone counts only for reading.
To change something a request must come from our own page (Origin, Sec-Fetch-Site) and show the
session's token in ``Hilum-CSRF``, which other pages cannot read.
"""

import hmac
from collections.abc import MutableMapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from adapters.control.login import Login
from adapters.control.sessions import Session
from gateway.egress import NOBODY
from gateway.identity.identity import awaited
from gateway.message import Refusal, Status
from gateway.site import Site
from policy.model import ANONYMOUS, Principal

CERTIFIED: Final = "hilum.certified"
"""Where an ASGI scope has the principal of the connection's certificate."""
CSRF_FIELD: Final = "hilum-csrf"
READING: Final = frozenset({"GET", "HEAD"})


class Callers:
    """Finds out who asks. ``login`` is None where people do not log in."""

    def __init__(self, site: Site, login: Login | None) -> None:
        self.login = login
        self._site = site

    async def principal_of(self, request: Request) -> Principal:
        """Return who asks; raises Refusal for a token that is not valid."""
        headers = request.headers.getlist("authorization")
        if not headers:
            return self._by_cookie(request)
        if len(headers) > 1:
            raise Refusal(Status.BAD_REQUEST, "the request has more than one Authorization field")
        raw = headers[0].encode("latin-1")
        known = self._site.identity.authorization(raw, self._site.time())
        if known is not None:
            return known
        peer = request.client.host if request.client is not None else NOBODY
        found = await awaited(partial(self._site.identity.header, raw, peer))
        if isinstance(found, Refusal):
            raise found
        return found

    def session_of(self, request: Request) -> Session | None:
        """Return the session of a request's cookie; None without one."""
        return self.login.of(request) if self.login is not None else None

    def _by_cookie(self, request: Request) -> Principal:
        session = self.session_of(request)
        if session is None:
            return self._by_certificate(request)
        if request.method not in READING:
            permit(request, session, request.headers.get(CSRF_FIELD, ""))
        return session.principal

    def _by_certificate(self, request: Request) -> Principal:
        """Return whom the connection's certificate stands for.

        A browser shows certificates too, whatever page makes it ask: what pages ask needs a token.
        """
        certified: Principal = request.scope.get(CERTIFIED, ANONYMOUS)
        from_a_page = "origin" in request.headers or "sec-fetch-site" in request.headers
        return ANONYMOUS if from_a_page or not self._site.identity.live(certified) else certified


def certified_app(app: Any, principal: Principal) -> Any:
    """Return an ASGI application that knows whom its connection's certificate stands for."""

    async def asked(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        scope[CERTIFIED] = principal
        await app(scope, receive, send)

    return asked


def permit(request: Request, session: Session, token: str) -> None:
    """Refuse a request that another page may have made the browser send."""
    own = f"{request.url.scheme}://{request.headers['host']}"
    origin = request.headers.get("origin", own)
    fetched = request.headers.get("sec-fetch-site", "same-origin")
    proof = hmac.compare_digest(token.encode(errors="replace"), session.csrf.encode())
    if origin != own or fetched != "same-origin" or not proof:
        detail = (
            "a request with a login's cookie must come from this site's own page, with the "
            "session's token in the field Hilum-CSRF"
        )
        raise Refusal(Status.DENIED, detail)
