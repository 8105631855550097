"""Who is logged in with a browser: a bounded table of sessions, in memory only.

A session's secret has 256 random bits and is in its cookie alone; the table holds its SHA-256. It
ends when it is not used for a while, after a number of hours, at logout, and at revocation.
"""

import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from policy.identity.claims import Verified
from policy.identity.jwt import BadToken
from policy.model import Principal

PER_PRINCIPAL: Final = 16
"""Browsers in which one principal is logged in; the one longest unused gives way."""


@dataclass(slots=True)
class Session:
    """A login; times in Unix seconds. ``csrf`` proves that a request comes from our own page."""

    principal: Principal
    csrf: str
    used: float


class Sessions:
    """All of them. ``idle`` and ``lifetime`` are seconds; a source of ``Authentication``."""

    def __init__(self, limit: int, idle: float, lifetime: float) -> None:
        self._limit = limit
        self._idle = idle
        self._lifetime = lifetime
        self._by_digest: dict[bytes, Session] = {}
        self._by_credential: dict[str, bytes] = {}
        self._void: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    @property
    def idle(self) -> float:
        """Seconds that a session lasts unused."""
        return self._idle

    def begin(self, who: Verified, now: float) -> str:
        """Return the secret of a new session; raises BadToken for a token that was revoked."""
        principal = who.principal
        if who.issued <= self._void.get(principal.id, -1):
            raise BadToken("whatever was issued to its subject until then is revoked")
        self._sweep(now)
        own = [d for d, s in self._by_digest.items() if s.principal.id == principal.id]
        if len(own) >= PER_PRINCIPAL:
            self._remove(own[0])
        elif len(self._by_digest) >= self._limit:
            self._remove(next(iter(self._by_digest)))
        credential = f"session:{secrets.token_hex(16)}"
        member = replace(
            principal, method="session", credential=credential, expires=now + self._lifetime
        )
        secret = secrets.token_urlsafe(32)
        digest = sha256(secret.encode()).digest()
        self._by_digest[digest] = Session(member, secrets.token_urlsafe(32), now)
        self._by_credential[credential] = digest
        return secret

    def find(self, secret: str, now: float) -> Session | None:
        """Return the session of a cookie, which counts as its use; None: there is none."""
        digest = sha256(secret.encode()).digest()
        session = self._by_digest.get(digest)
        if session is None:
            return None
        if self._over(session, now):
            self._remove(digest)
            return None
        session.used = now
        self._by_digest[digest] = self._by_digest.pop(digest)  # the last in order of use
        return session

    def end(self, session: Session) -> None:
        """Log out."""
        digest = self._by_credential.get(session.principal.credential)
        if digest is not None:
            self._remove(digest)

    # As a source of credentials

    def known(self, principal: str, now: float) -> Principal | None:
        """Return who a principal is by one of its sessions."""
        for session in self._by_digest.values():
            if session.principal.id == principal and not self._over(session, now):
                return session.principal
        return None

    def holds(self, principal: Principal) -> bool:
        """Whether a principal's own session goes on."""
        return principal.credential in self._by_credential

    def void(self, principal: str, at: int) -> list[str]:
        """End a principal's sessions and refuse tokens that were issued until ``at``."""
        self._void[principal] = max(at, self._void.get(principal, -1))
        ending = [d for d, s in self._by_digest.items() if s.principal.id == principal]
        return [self._remove(digest) for digest in ending]

    def _over(self, session: Session, now: float) -> bool:
        return now >= min(session.used + self._idle, session.principal.expires)

    def _sweep(self, now: float) -> None:
        for digest in [d for d, s in self._by_digest.items() if self._over(s, now)]:
            self._remove(digest)

    def _remove(self, digest: bytes) -> str:
        credential = self._by_digest.pop(digest).principal.credential
        del self._by_credential[credential]
        return credential
