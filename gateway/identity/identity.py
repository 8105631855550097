"""Who a client is: the one way from what it presents to a Principal (design 7).

A right token or device secret always gets in, and costs a look into a dict when it was seen
before. Only chosen passwords are slow; those wait in a bounded pool. Who fails again and again is
told to wait, by its source address.
"""

import asyncio
import re
from asyncio import BaseTransport
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from math import ceil
from typing import Final, Protocol

from gateway.identity.issuers import IssuerKeys
from gateway.identity.jwt_cache import JwtCache
from gateway.identity.verifier import Job, Verifier
from gateway.message import Refusal, Status
from policy.identity.backoff import Backoff, source_of
from policy.identity.claims import principal_of
from policy.identity.credentials import Records
from policy.identity.jwt import TOKEN_BYTES, BadToken, Unverified, looks_like, read, verify
from policy.identity.passwords import UNKNOWN, is_password
from policy.identity.tokens import Credentials
from policy.model import Principal

HEADER_BYTES: Final = TOKEN_BYTES + 32
HEADERS: Final = 8 * 1024 * 1024
"""Bytes of Authorization headers whose principals are remembered."""
SPARE: Final = 100.0
"""Signatures a second that are checked for all sources together that have to wait."""
SECRET_BYTES: Final = 1024
"""Bytes of a user's name, and of a secret that is no token."""
_BEARER = re.compile(rb"(?i:bearer) {1,8}([A-Za-z0-9._~+/-]+=*) *")


class Source(Protocol):
    """One kind of credentials: who has them, and whose are void."""

    def known(self, principal: str, now: float) -> Principal | None:
        """Return who a principal is by one of them, None if it has none that is valid."""
        ...

    def holds(self, principal: Principal) -> bool:
        """Whether a principal's own credential is still valid, but for its expiry."""
        ...

    def void(self, principal: str, at: int) -> list[str]:
        """Refuse what was issued to a principal until ``at``; return the credentials that end."""
        ...


Then = Callable[[Principal | Refusal], None]
Identify = Callable[[BaseTransport], Principal | None]
"""Returns whom a connection's certificate stands for, None without one; raises Refusal."""
Watcher = Callable[[str, str, Refusal], None]
"""Is told of a failure: the source, the user or "", and what was answered."""


def by_nothing(_connection: object) -> None:
    """Identify nobody: the listener asks for no certificates."""


class Pending:
    """An answer that comes later, exactly once, unless it is cancelled."""

    __slots__ = ("_then", "job")

    def __init__(self, then: Then) -> None:
        self._then: Then | None = then
        self.job: Job | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits."""
        return self._then is not None

    def cancel(self) -> None:
        """The client is gone."""
        self._then = None
        if self.job is not None:
            self.job.cancel()

    def settle(self, found: Principal | Refusal) -> None:
        """Answer."""
        then, self._then = self._then, None
        if then is not None:
            then(found)


Answer = Principal | Refusal | Pending
"""Who it is, why it is nobody, or: that is told later by ``then``, never within the call."""


class Authentication:
    """What every adapter asks. ``time`` is Unix time, ``clock`` the loop's, in seconds."""

    def __init__(self, time: Callable[[], float], clock: Callable[[], float]) -> None:
        self.tokens = Credentials()
        self.records = Records()
        self.jwts = JwtCache()
        self.verifier = Verifier()
        self.backoff = Backoff()
        self.sources: list[Source] = [self.tokens, self.records, self.jwts]
        """Adapters that know principals in ways of their own add themselves."""
        self.watchers: list[Watcher] = []
        self.others: list[Callable[[Principal], bool]] = []
        """Who knows principals of other authorities, and whether they may go on."""
        self.failures = 0
        self._time = time
        self._clock = clock
        self._issuers: dict[str, IssuerKeys] = {}
        self._headers: dict[bytes, Principal] = {}
        self._header_bytes = 0
        self._spare, self._spared = SPARE, 0.0

    def trust(self, issuers: Iterable[IssuerKeys]) -> None:
        """Believe tokens of some issuers."""
        self._issuers = {issuer.expected.url: issuer for issuer in issuers}

    def forget(self) -> None:
        """Credentials changed: look again at every header."""
        self._headers = {}
        self._header_bytes = 0

    # What adapters ask

    def authorization(self, raw: bytes, now: float) -> Principal | None:
        """Return who is known to send this Authorization header; None: ask ``header``."""
        principal = self._headers.get(raw)
        return principal if principal is not None and now < principal.expires else None

    def header(self, raw: bytes, peer: str, then: Then) -> Answer:
        """Find out who sends an Authorization header (RFC 6750 section 2.1)."""
        if len(raw) > HEADER_BYTES:
            why = f"the Authorization field is longer than {HEADER_BYTES} bytes"
            return self._failed(peer, "", why)
        match = _BEARER.fullmatch(raw)
        if match is None:
            return self._failed(peer, "", "no bearer token is in the Authorization field")
        found = self.bearer(match[1].decode(), peer, partial(self._remember, raw, then))
        if isinstance(found, Principal):
            self._keep(raw, found)
        return found

    def bearer(self, token: str, peer: str, then: Then) -> Answer:
        """Find out who presents a token: the site's own, or an issuer's."""
        now = self._time()
        principal = self.tokens.principal_of(token, now)
        if principal is not None:
            return principal
        if not looks_like(token) or not self._issuers:
            why = "no bearer token that is valid here: it may be unknown, expired or revoked"
            return self._failed(peer, "", why)
        digest = sha256(token.encode()).hexdigest()
        principal = self.jwts.get(digest, now)
        if principal is not None:
            return principal
        try:
            return self._jwt(read(token), digest, peer, then)
        except BadToken as bad:
            return self._failed(peer, "", f"the token is not valid here: {bad}")

    def password(self, user: str, secret: str, peer: str, then: Then) -> Answer:
        """Find out who a user with a password is, which may be a token: then the name is free."""
        now = self._time()
        if secret.startswith("hlm_") or (self._issuers and looks_like(secret)):
            return self.bearer(secret, peer, then)
        if max(len(user), len(secret)) > SECRET_BYTES:
            return self._failed(peer, "", "the user name or the password is too long")
        principal = self.records.by_secret(user, secret, now)
        if principal is not None:
            return principal
        if not self.records.has_passwords:
            return self._failed(peer, user, _WRONG)
        return self._chosen(user, secret, peer, then)

    def by_certificate(self, uri: str, fingerprint: str) -> Principal | None:
        """Return whose certificate this is, by its subject's URI and SHA-256 (hexadecimal)."""
        return self.records.by_certificate(uri, fingerprint, self._time())

    def by_key(self, method: str, lookup: str) -> Principal | None:
        """Return whose ``psk`` identity or ``oscore`` context this is."""
        return self.records.by_key(method, lookup, self._time())

    def known(self, principal: str) -> Principal | None:
        """Return who a principal is now, by any of its credentials; None: by none."""
        now = self._time()
        found = (source.known(principal, now) for source in self.sources)
        return next((one for one in found if one is not None), None)

    def lasts(self, credential: str) -> bool:
        """Whether a token or record of this id counts now: it may have been issued anew."""
        return max(self.tokens.end(credential), self.records.end(credential)) > self._time()

    def live(self, principal: Principal) -> bool:
        """Whether a principal may go on with what it has open: not revoked, not expired."""
        if self._time() >= principal.expires:
            return False
        if not principal.credential:
            return True
        return any(source.holds(principal) for source in self.sources)

    def void(self, principal: str, at: int) -> list[str]:
        """Refuse whatever was issued to a principal until ``at``; return what ends with it."""
        self.forget()
        return [credential for source in self.sources for credential in source.void(principal, at)]

    def close(self) -> None:
        """End the threads."""
        self.verifier.close()

    # Tokens of issuers

    def _jwt(self, token: Unverified, digest: str, peer: str, then: Then) -> Answer:
        issuer = self._issuers.get(token.issuer)
        if issuer is None or token.header.alg not in issuer.expected.algorithms:
            raise BadToken("its issuer, or its algorithm, is none that is believed")
        if not self._spares(source_of(peer)):
            waits = self.backoff.wait(source_of(peer), "", self._clock())
            return self._refused(source_of(peer), "", _throttled(waits))
        if issuer.knows(token):
            return self._verified(issuer, token, digest)
        pending = Pending(then)
        if issuer.wait(partial(self._look_again, issuer, token, digest, peer, pending)):
            return pending
        return self._unknown_key(issuer, peer)

    def _look_again(
        self, issuer: IssuerKeys, token: Unverified, digest: str, peer: str, pending: Pending
    ) -> None:
        """The issuer's keys were fetched, or could not be."""
        if not pending.wanted:
            return
        found: Principal | Refusal
        try:
            if issuer.knows(token):
                found = self._verified(issuer, token, digest)
            else:
                found = self._unknown_key(issuer, peer)
        except BadToken as bad:
            found = self._failed(peer, "", f"the token is not valid here: {bad}")
        pending.settle(found)

    def _verified(self, issuer: IssuerKeys, token: Unverified, digest: str) -> Principal:
        if not verify(token, issuer.keys):
            raise BadToken("its signature does not fit")
        credential = f"jwt:{digest[:32]}"
        found = principal_of(token.claims, issuer.expected, self._time(), credential)
        if not self.jwts.put(digest, found):
            raise BadToken("whatever was issued to its subject until then is revoked")
        return found.principal

    def _spares(self, source: str) -> bool:
        """Whether to check a signature for a source; those that have to wait share a little."""
        now = self._clock()
        if not self.backoff.wait(source, "", now):
            return True
        self._spare = min(SPARE, self._spare + (now - self._spared) * SPARE)
        self._spared = now
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def _unknown_key(self, issuer: IssuerKeys, peer: str) -> Refusal:
        if issuer.keys:
            return self._failed(peer, "", "the token's key is none that its issuer publishes")
        detail = "the keys of the token's issuer cannot be had at present"
        return Refusal(Status.UNAVAILABLE, detail, retry_after=5)

    # Chosen passwords

    def _chosen(self, user: str, secret: str, peer: str, then: Then) -> Answer:
        source = source_of(peer)
        waits = self.backoff.wait(source, user, self._clock())
        if waits:
            return self._refused(source, user, _throttled(waits))
        held = list(self.records.valid("password", user, self._time()))[:2]
        verifiers = [one.record.verifier for one in held] or [UNKNOWN]
        right: list[str] = []

        def check() -> bool:
            right.extend(one for one in verifiers if is_password(one, secret))
            return bool(right)

        def still() -> bool:
            return not self.backoff.wait(source, user, self._clock())

        def checked(fits: bool | None) -> None:
            principal = None
            for one in held:
                if fits and one.record.verifier in right and self.live(one.principal):
                    principal = one.principal
            if principal is not None:
                self.backoff.succeeded(source, user)
                pending.settle(principal)
            elif fits is None:
                waits = self.backoff.wait(source, user, self._clock())
                busy = _throttled(waits) if waits else _busy()
                pending.settle(self._refused(source, user, busy))
            else:
                pending.settle(self._failed(peer, user, _WRONG))

        pending = Pending(then)
        pending.job = self.verifier.check(source, check, checked, still)
        return pending if pending.job is not None else self._refused(source, user, _busy())

    # Failures

    def _failed(self, peer: str, user: str, why: str) -> Refusal:
        """Return what to answer to a failure; while its source waits it counts no further."""
        source, now = source_of(peer), self._clock()
        waits = self.backoff.wait(source, user, now)
        if waits:
            return self._refused(source, user, _throttled(waits))
        self.backoff.failed(source, user, now)
        return self._refused(source, user, Refusal(Status.UNAUTHENTICATED, why))

    def _refused(self, source: str, user: str, refusal: Refusal) -> Refusal:
        self.failures += 1
        for tell in self.watchers:
            tell(source, user, refusal)
        return refusal

    # Headers that were seen

    def _remember(self, raw: bytes, then: Then, found: Principal | Refusal) -> None:
        if isinstance(found, Principal):
            self._keep(raw, found)
        then(found)

    def _keep(self, raw: bytes, principal: Principal) -> None:
        self._header_bytes += len(raw) + 100
        if self._header_bytes > HEADERS:
            self._headers = {}
            self._header_bytes = len(raw) + 100
        self._headers[raw] = principal


async def awaited(ask: Callable[[Then], Answer]) -> Principal | Refusal:
    """Wait for an answer: ``ask`` is one of the questions, given who is told."""
    told: asyncio.Future[Principal | Refusal] = asyncio.get_running_loop().create_future()
    found = ask(told.set_result)
    if not isinstance(found, Pending):
        return found
    try:
        return await told
    finally:
        found.cancel()


_WRONG: Final = "the user name or the password is wrong"


def _throttled(waits: float) -> Refusal:
    detail = "too many failures to authenticate came from this address: try again later"
    return Refusal(Status.THROTTLED, detail, retry_after=max(1, ceil(waits)))


def _busy() -> Refusal:
    detail = "too many passwords wait to be checked: try again in a moment"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=5)
