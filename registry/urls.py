"""Absolute URLs of endpoints, parsed strictly so that two readers never disagree (RFC 3986). Pure.

What other parsers quietly repair is refused here: user information, backslashes, white space,
``..`` segments, numbers that some resolvers take for an IPv4 address (``0x7f.1``, ``010.0.0.1``).
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

MAX_URL: Final = 2048
"""Characters of a URL."""
PORTS: Final = {
    "http": 80,
    "https": 443,
    "mqtt": 1883,
    "mqtts": 8883,
    "coap": 5683,
    "coap+tcp": 5683,
}
"""The schemes that an endpoint may have, and their ports."""
WEB: Final = ("http", "https")
"""The schemes of another site's gateway."""

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_WRONG = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%{}]|%(?![0-9A-Fa-f]{2})")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]{0,63})\}")


class InvalidUrl(ValueError):
    """A text that is no absolute URL of ours; the message says why and what to do."""


class Url(NamedTuple):
    """The parts of a URL in one spelling: lower-case scheme and host, the port always given.

    ``path`` begins with ``/`` (or is empty) and keeps its percent-encoding, as ``query`` does.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{host}:{self.port}{self.path}{query}"

    def within(self, prefix: "Url") -> bool:
        """Whether every URL of this template has the origin of ``prefix`` and its path or below.

        Paths are compared by whole decoded segments; a ``/`` at the end of ``prefix`` says nothing.
        """
        return self[:3] == prefix[:3] and _begins(self.path, prefix.path, guess=False)

    def may_reach(self, prefix: "Url") -> bool:
        """Whether some URL of this template is ``within`` the prefix: what a deny must ask."""
        return self[:3] == prefix[:3] and _begins(self.path, prefix.path, guess=True)


def parse_url(text: str, *, template: bool = False, schemes: Collection[str] = PORTS) -> Url:
    """Parse an absolute URL; only a ``template`` may hold ``{argument}`` in its path and query.

    Raises InvalidUrl, also for a scheme that is none of ``schemes``.
    """
    if len(text) > MAX_URL:
        raise InvalidUrl(f"the URL is longer than {MAX_URL} characters")
    match = _PARTS.fullmatch(text)
    if match is None:
        raise InvalidUrl(f"not an absolute URL: write {next(iter(schemes))}://host:port/path")
    scheme, authority, path, query, fragment = match.groups(default="")
    scheme = scheme.lower()
    if scheme not in schemes:
        raise InvalidUrl(f"the scheme {scheme!r} is not supported: use {' or '.join(schemes)}")
    if fragment:
        why = "wildcards are not supported" if "mqtt" in scheme else "a fragment is never sent"
        raise InvalidUrl(f"{why}: remove '#' and what follows")
    host, port = _authority(authority, PORTS[scheme])
    _check_characters(path, "path", template)
    _check_characters(query, "query", template)
    if _may_have_dots(path) and any(unquote(part) in {".", ".."} for part in path.split("/")):
        raise InvalidUrl("'.' and '..' segments are not allowed: write the path in full")
    if "%2f" in path.lower():
        raise InvalidUrl("an encoded '/' (%2F) in the path means different things to servers")
    return Url(scheme, host, port, path, query)


def scheme_of(text: str) -> str:
    """Return a URL's scheme in lower case, "" when there is none."""
    return text.partition("://")[0].lower() if "://" in text else ""


def placeholders(part: str) -> list[str]:
    """Return the ``{argument}`` names in the path or query of a template, in order."""
    return _PLACEHOLDER.findall(part)


def _may_have_dots(path: str) -> bool:
    return "/." in path or "%2" in path


def _begins(path: str, prefix: str, *, guess: bool) -> bool:
    have, want = (text.rstrip("/").split("/") for text in (path, prefix))
    return len(have) >= len(want) and all(
        unquote_to_bytes(mine) == unquote_to_bytes(theirs)
        or (guess and _PLACEHOLDER.search(mine) is not None)
        for mine, theirs in zip(have, want, strict=False)
    )


@lru_cache(maxsize=1024)  # the forms of one thing lead to the same host, again and again
def _authority(authority: str, default: int) -> tuple[str, int]:
    if "@" in authority:
        raise InvalidUrl("user information before '@' is not allowed: remove it")
    if authority.startswith("["):
        inner, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidUrl("an IPv6 address needs its closing bracket: http://[::1]:8080/")
        return _ipv6(inner), _port(rest[1:], default) if rest else default
    host, colon, port = authority.partition(":")
    return _host(host), _port(port, default) if colon else default


def _port(text: str, default: int) -> int:
    if not text:
        return default
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise InvalidUrl(f"the port {text!r} is not a number from 1 to 65535")
    return int(text)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise InvalidUrl(f"{text!r} is not an IPv6 address") from None
    if address.scope_id is not None:
        raise InvalidUrl("an address with a zone (%) means something on one machine only")
    return str(address.ipv4_mapped or address)


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if not host:
        raise InvalidUrl("the host is missing: write http://host:port/path")
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise InvalidUrl(
            f"the host {text!r} is not a host name or address; write other alphabets as xn-- labels"
        )
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise InvalidUrl(f"{text!r} is not an IPv4 address such as 10.0.0.1") from None
    return host


def _check_characters(part: str, where: str, template: bool) -> None:
    plain = _PLACEHOLDER.sub("", part) if template and "{" in part else part
    wrong = _WRONG.search(plain)
    if wrong is not None or "{" in plain or "}" in plain:
        character = wrong[0] if wrong is not None else "{}"
        raise InvalidUrl(
            f"{character!r} is not allowed in the {where}: percent-encode it"
            + (", or write {argument} for an argument" if template else "")
        )
