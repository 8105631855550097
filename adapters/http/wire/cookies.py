"""Cookies whose names begin with ``hilum-`` are the control plane's: they do not pass.

Browsers do not tell ports of one host apart (RFC 6265 section 8.5). Else a microservice would be
sent the session of whoever is logged in at the control API, and could set one of its own.
"""

from typing import Final

_OWN: Final = (b"hilum-", b"__host-hilum-", b"__secure-hilum-")


def without_ours(value: bytes) -> bytes:
    """Return a Cookie field without our cookies, b"" when there are no others."""
    if b"hilum-" not in value.lower():
        return value
    return b"; ".join(pair.strip() for pair in value.split(b";") if not is_ours(pair))


def is_ours(pair: bytes) -> bool:
    """Whether a cookie, as it is sent or set, has a name of ours.

    One without a name, such as ``=hilum-session=x``, is sent back as if it had one.
    """
    return pair.lstrip(b" \t=").lower().startswith(_OWN)
