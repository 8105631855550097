"""How the gateway authenticates at an HTTP endpoint: RFC 7617, RFC 6750, or a key under a name."""

from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from gateway.identity.endpoint_secrets import ApiKey, Basic, Bearer, Secret

SecretOf: TypeAlias = Callable[[str, str], Secret | None]
"""Returns the secret that a reference stands for, if it belongs to this owner."""


class Shown(NamedTuple):
    """What shows a secret: a whole line of a head, and a parameter of the query."""

    line: bytes = b""
    query: str = ""


def shown(secret: Secret | None) -> Shown:
    """Return how a request shows a secret; nothing when there is none."""
    match secret:
        case Basic(user, password):
            both = b64encode(f"{user}:{password}".encode()).decode()
            return Shown(f"Authorization: Basic {both}\r\n".encode())
        case Bearer(token):
            return Shown(f"Authorization: Bearer {token}\r\n".encode())
        case ApiKey(key, name, "query"):
            return Shown(query=f"{quote(name, safe='')}={quote(key, safe='')}")
        case ApiKey(key, name):
            return Shown(f"{name}: {key}\r\n".encode())
    return Shown()
