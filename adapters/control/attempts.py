"""A login that has begun: what ties the provider's answer to the browser that asked for it.

Everything is derived from one cookie with a key of this process, so that strangers who begin
logins by the thousands take no memory. Only the browser with the cookie can end its login, which
is what prevents login CSRF (RFC 6749 section 10.12, RFC 9700 section 4.7).
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final, NamedTuple

SECONDS: Final = 600
"""How long somebody may take to log in at the provider."""
_COOKIE = re.compile(r"([0-9]{1,12})\.[A-Za-z0-9_-]{43}")


class Attempt(NamedTuple):
    """What goes to the provider, and what must come back (RFC 6749, RFC 7636, OpenID Connect)."""

    state: str
    nonce: str
    verifier: str

    @property
    def challenge(self) -> str:
        """The code challenge by the method S256 (RFC 7636 section 4.2)."""
        return _encoded(sha256(self.verifier.encode()).digest())


class Attempts:
    """Begins attempts and finds them again by their cookie. Times are Unix seconds."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def begin(self, now: float) -> tuple[str, Attempt]:
        """Return a new cookie and what it stands for."""
        cookie = f"{int(now)}.{secrets.token_urlsafe(32)}"
        return cookie, self._derive(cookie)

    def find(self, cookie: str, state: str, now: float) -> Attempt | None:
        """Return the attempt of a cookie, if it is not too old and its ``state`` is this one."""
        match = _COOKIE.fullmatch(cookie)
        if match is None or not 0 <= now - int(match[1]) <= SECONDS:
            return None
        attempt = self._derive(cookie)
        same = hmac.compare_digest(attempt.state.encode(), state.encode(errors="replace"))
        return attempt if same else None

    def _derive(self, cookie: str) -> Attempt:
        return Attempt(*(self._secret(use, cookie) for use in Attempt._fields))

    def _secret(self, use: str, cookie: str) -> str:
        return _encoded(hmac.digest(self._key, f"{use} {cookie}".encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
