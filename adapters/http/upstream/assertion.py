"""Who calls, said to a service so that it can believe it (design 4).

``Hilum-Principal: site:phone;kind=device;t=29400000;mac=…`` carries an HMAC-SHA256 with a key
that only the gateway and the microservice know, over id, kind and minute. A line may be
replayed within its minute by who can read it: a service that minds asks for mutual TLS.
"""

import hmac
from hashlib import sha256
from urllib.parse import quote

from mypy_extensions import mypyc_attr

from policy.model import Principal

LINES = 10_000


def service_key(site_key: bytes, owner: str, microservice: str) -> str:
    """Return the key (hex) that a microservice gets when it registers.

    It depends on the owner: who registers a microservice of the same name learns nothing.
    """
    said = b"\0".join((b"hilum service key", owner.encode(), microservice.encode()))
    return hmac.new(site_key, said, sha256).hexdigest()


@mypyc_attr(native_class=False)  # weak references need an ordinary class
class Assertions:
    """The header lines for one microservice, cached for a minute."""

    __slots__ = ("__weakref__", "_key", "_lines", "_minute")

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._lines: dict[Principal, bytes] = {}
        self._minute = 0

    def line(self, principal: Principal, minute: int) -> bytes:
        """Return the Hilum-Principal line; ``minute`` is Unix time in whole minutes."""
        if minute != self._minute or len(self._lines) >= LINES:
            self._lines.clear()
            self._minute = minute
        line = self._lines.get(principal)
        if line is None:
            line = self._lines[principal] = self._sign(principal, minute)
        return line

    def _sign(self, principal: Principal, minute: int) -> bytes:
        said = f"{quote(principal.id, safe=':@')};kind={quote(principal.kind)};t={minute}"
        mac = hmac.new(self._key, said.encode(), sha256).hexdigest()
        return f"Hilum-Principal: {said};mac={mac}\r\n".encode()
