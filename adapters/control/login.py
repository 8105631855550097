"""Logging in with a browser: OpenID Connect's authorization code with PKCE.

    GET /login -> the provider -> GET /login/callback -> a session's cookie, and to /

The address after a login is always ours, and no parameter changes it. The provider is asked by
``Provider``, off the relay's path, with limits of time and size.
"""

import asyncio
import logging
import re
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from adapters.control.attempts import SECONDS, Attempt, Attempts
from adapters.control.sessions import Session, Sessions
from gateway.egress import NOBODY
from gateway.identity.id_token import verified
from gateway.identity.issuers import IssuerKeys
from gateway.message import Refusal, Status
from gateway.site import Site
from policy.identity.backoff import source_of
from policy.identity.jwt import BadToken

log = logging.getLogger("hilum.login")

CALLBACK: Final = "/login/callback"
SESSION: Final = "hilum-session"
ATTEMPT: Final = "hilum-login"
EXCHANGES: Final = 8
"""Codes that are exchanged at a time; strangers can make one up, but not many."""
CODE: Final = re.compile(r"[\x20-\x7e]{1,2048}")
ERROR: Final = re.compile(r"[a-z_]{1,64}")
ISSUER_CHARACTERS: Final = 2048


class Metadata(Protocol):
    """What an OpenID provider says of itself (OpenID Connect Discovery section 3)."""

    @property
    def authorization_endpoint(self) -> str:
        """Where people log in."""
        ...

    @property
    def authorization_response_iss_parameter_supported(self) -> bool:
        """Whether its answers say whose they are (RFC 9207)."""
        ...


class Provider(Protocol):
    """Talks to the OpenID provider; both raise Refusal with a detail for the person."""

    async def metadata(self) -> Metadata:
        """Return what the provider says of itself, remembered for a while."""
        ...

    async def exchange(self, code: str, verifier: str, redirect: str) -> str:
        """Return the ID token that a code stands for (RFC 6749 section 4.1.3)."""
        ...


class Client(NamedTuple):
    """Who we are at the provider: its issuer's keys, our id there, how to ask."""

    issuer: IssuerKeys
    id: str
    provider: Provider


class Login:
    """The steps of a login, and who a cookie stands for."""

    def __init__(self, site: Site, client: Client, sessions: Sessions) -> None:
        self.sessions = sessions
        self._site = site
        self._client = client
        self._attempts = Attempts()
        self._exchanges = 0

    async def begin(self, request: Request) -> Response:
        """Send a browser to the provider."""
        metadata = await self._client.provider.metadata()
        cookie, attempt = self._attempts.begin(self._site.time())
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": _redirect(request),
            "scope": "openid profile",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        response = RedirectResponse(
            f"{metadata.authorization_endpoint}{joint}{urlencode(asked)}", 303
        )
        _set(response, request, ATTEMPT, cookie, SECONDS)
        return response

    async def finish(self, request: Request) -> Response:
        """Take the provider's answer, and begin a session; raises Refusal."""
        now = self._site.time()
        said = _parameters(request)
        cookie = request.cookies.get(_name(request, ATTEMPT), "")
        attempt = self._attempts.find(cookie, said.get("state", ""), now)
        if attempt is None:
            detail = "this is not the answer to a login that this browser began just now"
            raise Refusal(Status.BAD_REQUEST, detail)
        await self._check_issuer(said.get("iss"))
        if "error" in said:
            error = said["error"] if ERROR.fullmatch(said["error"]) else "an error"
            raise Refusal(Status.DENIED, f"the provider did not log you in: {error}")
        secret = await self._session(request, said.get("code", ""), attempt)
        old = self.of(request)
        if old is not None:
            self.sessions.end(old)
        response = RedirectResponse("/", 303)
        _set(response, request, SESSION, secret, None)
        _set(response, request, ATTEMPT, "", 0)
        return response

    def end(self, request: Request, session: Session) -> Response:
        """Log out; ``permit`` has been asked."""
        self.sessions.end(session)
        log.info("%s logged out", session.principal.id)
        response = RedirectResponse("/", 303)
        _set(response, request, SESSION, "", 0)
        return response

    def of(self, request: Request) -> Session | None:
        """Return the session whose cookie a request has, None without one."""
        secret = request.cookies.get(_name(request, SESSION), "")
        return self.sessions.find(secret, self._site.time()) if secret else None

    async def _check_issuer(self, said: str | None) -> None:
        """Refuse the answer of another provider than the one that was asked (RFC 9207)."""
        wanted = (
            await self._client.provider.metadata()
        ).authorization_response_iss_parameter_supported
        if said != self._client.issuer.expected.url and (wanted or said is not None):
            detail = "the answer does not come from the provider that was asked"
            raise Refusal(Status.BAD_REQUEST, detail)

    async def _session(self, request: Request, code: str, attempt: Attempt) -> str:
        """Exchange a code, verify the ID token, and return the secret of a new session."""
        if not CODE.fullmatch(code):
            raise Refusal(Status.BAD_REQUEST, "the provider's answer has no code")
        peer = source_of(request.client.host if request.client is not None else NOBODY)
        backoff, clock = self._site.identity.backoff, asyncio.get_running_loop().time
        waits = int(backoff.wait(peer, "", clock()))
        if waits:
            detail = "too many logins failed from this address: try again later"
            raise Refusal(Status.THROTTLED, detail, retry_after=waits)
        refusal: Refusal
        try:
            text = await self._exchanged(request, code, attempt)
            client, now = self._client, self._site.time()
            who = await verified(text, attempt.nonce, client.issuer, client.id, now)
            secret = self.sessions.begin(who, now)
        except BadToken as bad:
            detail = f"the provider's ID token is not valid here: {bad}"
            refusal = Refusal(Status.UNAUTHENTICATED, detail)
        except Refusal as error:
            refusal = error
        else:
            log.info("%s logged in", who.principal.id)
            self._site.watchers.began(who.principal, "control", peer)
            return secret
        if refusal.status is Status.UNAUTHENTICATED:
            backoff.failed(peer, "", clock())
            for tell in self._site.identity.watchers:
                tell(peer, "", refusal)
        log.warning("a login failed: %s", refusal.detail)
        raise refusal

    async def _exchanged(self, request: Request, code: str, attempt: Attempt) -> str:
        if self._exchanges >= EXCHANGES:
            detail = "too many people log in at this moment: try again"
            raise Refusal(Status.UNAVAILABLE, detail, retry_after=2)
        self._exchanges += 1
        try:
            return await self._client.provider.exchange(code, attempt.verifier, _redirect(request))
        finally:
            self._exchanges -= 1


def _parameters(request: Request) -> dict[str, str]:
    """Return the provider's answer, in which nothing may occur twice (RFC 6749 section 3.1)."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise Refusal(Status.BAD_REQUEST, "a parameter of the provider's answer occurs twice")
        if len(value) > ISSUER_CHARACTERS:
            raise Refusal(Status.BAD_REQUEST, "a parameter of the provider's answer is too long")
        found[name] = value
    return found


def _redirect(request: Request) -> str:
    """Return where the provider sends the browser; the host was checked to be one of ours."""
    return f"{request.url.scheme}://{request.headers['host']}{CALLBACK}"


def _name(request: Request, name: str) -> str:
    """Return a cookie's name: over TLS one that no other host can set (RFC 6265bis)."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def _set(response: Response, request: Request, name: str, value: str, age: int | None) -> None:
    response.set_cookie(
        _name(request, name),
        value,
        max_age=age,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # the provider's redirect is a navigation from another site
    )
