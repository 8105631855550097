"""Keeps the keys of an issuer fresh: at the start, now and then, and when a token asks for it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.identity.issuers import IssuerKeys
from gateway.web import FetchError, Web
from policy.identity.jwt import BadKeys, VerificationKey, read_keys
from registry import json_text
from registry.problems import InvalidDocument
from registry.urls import InvalidUrl, parse_url

REFRESH_SECONDS: Final = 900.0
RETRY_SECONDS: Final = 5.0
"""After a failure; twice as long after each further one, until it is as long as a refresh."""
DISCOVERY: Final = "/.well-known/openid-configuration"

log = logging.getLogger("hilum.oidc")


class Metadata(msgspec.Struct, frozen=True):
    """What is read of a provider's metadata (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


async def discover(fetcher: Web, issuer: str) -> Metadata:
    """Return a provider's metadata (sections 4.2 and 4.3); raises FetchError."""
    url = issuer.rstrip("/") + DISCOVERY
    data = await fetcher.get(url)
    try:
        text = data.decode()
        json_text.check(text)
        found = msgspec.json.decode(text, type=Metadata)
    except (UnicodeDecodeError, InvalidDocument, msgspec.DecodeError, RecursionError):
        raise FetchError(f"{url} is not the metadata of a provider") from None
    if found.issuer != issuer:
        raise FetchError(f"{url} is the metadata of another issuer")
    secure = issuer.startswith("https:")
    for endpoint in (found.jwks_uri, found.authorization_endpoint, found.token_endpoint):
        if endpoint and not _is_sane(endpoint, secure=secure):
            raise FetchError(f"{url} names an endpoint that is no {'https' if secure else ''} URL")
    return found


class KeyRefresher:
    """Fetches the keys of one issuer; ``jwks_uri`` is "" when it is to be discovered."""

    def __init__(
        self,
        issuer: IssuerKeys,
        fetcher: Web,
        jwks_uri: str = "",
        refresh: float = REFRESH_SECONDS,
        retry: float = RETRY_SECONDS,
        warn: Callable[..., None] = log.warning,
    ) -> None:
        self._issuer = issuer
        self._fetcher = fetcher
        self._jwks_uri = jwks_uri
        self._refresh = refresh
        self._retry = retry
        self._warn = warn
        self._wanted = asyncio.Event()
        issuer.wake = self._wanted.set

    async def run(self) -> None:
        """Fetch for ever."""
        pause = self._retry
        while True:
            self._wanted.clear()
            self._issuer.asking()
            try:
                keys = await self._fetch()
            except FetchError as error:
                if self._issuer.problem != str(error):
                    self._warn("the keys of %s: %s", self._issuer.expected.url, error)
                self._issuer.failed(str(error))
                wait, pause = pause, min(pause * 2, self._refresh)
            else:
                self._issuer.fetched(keys)
                wait, pause = self._refresh, self._retry
            try:
                await asyncio.wait_for(self._wanted.wait(), wait)
            except TimeoutError:
                continue

    async def _fetch(self) -> tuple[VerificationKey, ...]:
        url = self._jwks_uri
        if not url:
            url = (await discover(self._fetcher, self._issuer.expected.url)).jwks_uri
        data = await self._fetcher.get(url)
        try:
            return await asyncio.to_thread(read_keys, data)
        except BadKeys as bad:
            raise FetchError(f"{url}: {bad}") from None


def _is_sane(url: str, *, secure: bool) -> bool:
    try:
        parse_url(url.partition("?")[0], schemes=("https",) if secure else ("http", "https"))
    except InvalidUrl:
        return False
    return True
