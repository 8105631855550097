"""Exchanges authorization codes for ID tokens (RFC 6749 section 4.1.3, OpenID Connect 3.1.3)."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import quote_plus, urlencode

import msgspec

from adapters.oidc.keys import Metadata, discover
from gateway.message import Refusal, Status
from gateway.web import FetchError, Web

REMEMBERED: Final = 900.0
"""Seconds that a provider's metadata is remembered."""
FAILED: Final = 2.0
"""Seconds that a failure is: visitors do not make us ask more often."""
_BASIC: Final = "client_secret_basic"
_REFUSED: Final = (400, 401)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


class CodeExchange:
    """One client at one provider. ``secret`` is "" for a public client; ``clock`` the loop's."""

    def __init__(
        self,
        issuer: str,
        client: str,
        secret: str,
        fetcher: Web,
        clock: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._client = client
        self._secret = secret
        self._fetcher = fetcher
        self._clock = clock
        self._asking = asyncio.Lock()
        self._found: Metadata | Refusal | None = None
        self._until = float("-inf")

    async def metadata(self) -> Metadata:
        """Return what the provider says of itself; raises Refusal."""
        async with self._asking:
            if self._clock() >= self._until:
                await self._discover()
        if isinstance(self._found, Refusal):
            raise Refusal(self._found.status, self._found.detail, retry_after=2)
        assert self._found is not None
        return self._found

    async def exchange(self, code: str, verifier: str, redirect: str) -> str:
        """Return the ID token of a code; raises Refusal: UNAUTHENTICATED when it is no good."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if self._secret and _BASIC in metadata.token_endpoint_auth_methods_supported:
            # Both parts are encoded as in a form first (RFC 6749 section 2.3.1).
            pair = f"{quote_plus(self._client)}:{quote_plus(self._secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = self._client
            if self._secret:
                form["client_secret"] = self._secret
        try:
            answer = await self._fetcher.ask(
                "POST", metadata.token_endpoint, headers, urlencode(form).encode()
            )
        except FetchError as error:
            raise _unavailable(error) from None
        return _id_token(answer.status, answer.body)

    async def _discover(self) -> None:
        try:
            found = await discover(self._fetcher, self._issuer)
        except FetchError as error:
            self._found, keep = _unavailable(error), FAILED
        else:
            ends = found.authorization_endpoint and found.token_endpoint
            missing = FetchError("it names no endpoints to log in at")
            self._found, keep = found if ends else _unavailable(missing), REMEMBERED
        self._until = self._clock() + keep


def _id_token(status: int, body: bytes) -> str:
    """Return the ID token in an answer of the token endpoint; raises Refusal."""
    try:
        if status == 200:
            return msgspec.json.decode(body, type=_Tokens).id_token
        error = msgspec.json.decode(body, type=_Error).error
    except (msgspec.DecodeError, RecursionError):
        error = ""
    if status in _REFUSED and error == "invalid_grant":
        detail = "the provider does not accept the login's code: it may be used already, or too old"
        raise Refusal(Status.UNAUTHENTICATED, detail)
    if status in _REFUSED and error == "invalid_client":
        detail = (
            "the provider does not accept this site as its client: see client_id and its secret"
        )
        raise Refusal(Status.PROVIDER_ERROR, detail)
    raise Refusal(Status.PROVIDER_ERROR, f"the provider answers {status} without an ID token")


def _unavailable(error: FetchError) -> Refusal:
    detail = f"the provider cannot be asked at present: {error}"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=2)
