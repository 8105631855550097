"""How certificates name principals: ``urn:hilum:principal:device:thermometer`` (RFC 8141). Pure.

A slash is always encoded, so that none of these is ever the URN of a name (design 2).
"""

from typing import Final
from urllib.parse import quote, unquote

from policy.identity.tokens import is_principal

URN: Final = "urn:hilum:principal:"
_SAFE: Final = ":@!$&'()+,;="


def uri_of(principal: str) -> str:
    """Return the URI that names a principal in certificates; raises ValueError."""
    if not is_principal(principal):
        raise ValueError(f"{principal!r} is no principal: write realm:subject")
    return URN + quote(principal, safe=_SAFE)


def principal_in(uri: str) -> str | None:
    """Return the principal that a URI names; None for any other URI, or one that says it oddly."""
    if not uri.startswith(URN):
        return None
    principal = unquote(uri[len(URN) :], errors="replace")
    return principal if is_principal(principal) and uri_of(principal) == uri else None
