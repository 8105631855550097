"""Bearer tokens of the site: who presents one is a Principal (design 7, RFC 6750).

Only the SHA-256 of a token is kept: its secret has 256 random bits, so a fast hash is enough, and
looking a digest up tells nothing about the secret by its timing.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from policy.model import ANONYMOUS, Principal, Value
from registry.model import TokenRecord

MAX_LIFETIME: Final = 10 * 366 * 86_400
"""Seconds."""
_TOKEN = re.compile(r"hlm_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
_PRINCIPAL = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}:[^\x00-\x20"*\\\x7f-\U0010ffff]{1,190}')
_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")


def is_principal(text: str) -> bool:
    """Whether ``text`` is a principal's id: ``realm:subject`` in printable ASCII."""
    return _PRINCIPAL.fullmatch(text) is not None


def is_kind(text: str) -> bool:
    """Whether ``text`` is a kind of principals: lower-case letters, digits and hyphens."""
    return _KIND.fullmatch(text) is not None


def principal_values(attributes: Mapping[str, str]) -> dict[str, Value]:
    """Return the attributes of a record as a principal has them: ``roles`` is a list of names."""
    values: dict[str, Value] = dict(attributes)
    if "roles" in attributes:
        values["roles"] = tuple(attributes["roles"].replace(",", " ").split())
    return values


def digest_of(secret: str) -> str:
    """Return what is stored of a token: the SHA-256 of its whole text in hexadecimal."""
    return sha256(secret.encode()).hexdigest()


def new_token(
    random_bytes: Callable[[int], bytes],
    *,
    principal: str,
    kind: str,
    now: float,
    lifetime: int,
    note: str = "",
    attributes: Mapping[str, str] | None = None,
) -> tuple[str, TokenRecord]:
    """Make a token for a principal: its text, which is shown once, and the record to store.

    ``random_bytes`` is ``secrets.token_bytes``, ``now`` Unix time, ``lifetime`` seconds.
    Raises ValueError for what cannot be a principal, a kind or a lifetime.
    """
    if not is_principal(principal):
        raise ValueError(f"{principal!r} is no principal: write realm:subject, such as user:ann")
    if not is_kind(kind):
        raise ValueError(f"{kind!r} is no kind: use lower-case letters, digits and hyphens")
    if kind == ANONYMOUS.kind or principal.startswith("anonymous:"):
        raise ValueError("anonymous callers have no token: choose another realm and kind")
    if not 0 < lifetime <= MAX_LIFETIME:
        raise ValueError(f"a lifetime is 1 to {MAX_LIFETIME} seconds, not {lifetime}")
    token_id = random_bytes(8).hex()
    secret = f"hlm_{token_id}_{urlsafe_b64encode(random_bytes(32)).decode().rstrip('=')}"
    record = TokenRecord(
        token_id,
        digest_of(secret),
        principal,
        kind,
        int(now),
        int(now) + lifetime,
        note,
        dict(attributes or {}),
    )
    return secret, record


class Credentials:
    """The valid tokens, each with the one Principal object that stands for it."""

    def __init__(self) -> None:
        self._records: dict[str, TokenRecord] = {}
        self._principals: dict[str, Principal] = {}
        self._by_digest: dict[str, Principal] = {}
        self._by_name: dict[str, dict[str, Principal]] = {}

    def put(self, record: TokenRecord) -> None:
        """Accept a token from now on; the same record again changes nothing."""
        if self._records.get(record.id) == record:
            return
        self.remove(record.id)
        principal = Principal(
            record.principal,
            record.kind,
            method="token",
            credential=record.id,
            expires=float(record.expires),
            attributes=principal_values(record.attributes),
        )
        self._by_name.setdefault(record.principal, {})[record.id] = principal
        self._records[record.id] = record
        self._principals[record.id] = self._by_digest[record.digest] = principal

    def remove(self, token_id: str) -> None:
        """Refuse a token from now on, whoever holds it."""
        record = self._records.pop(token_id, None)
        if record is not None:
            del self._principals[token_id], self._by_digest[record.digest]
            del self._by_name[record.principal][token_id]
            if not self._by_name[record.principal]:
                del self._by_name[record.principal]

    def principal_of(self, secret: str, now: float) -> Principal | None:
        """Return who presents this token, None if it is unknown, revoked or expired."""
        if not _TOKEN.fullmatch(secret):
            return None
        principal = self._by_digest.get(digest_of(secret))
        return principal if principal is not None and now < principal.expires else None

    def void(self, principal: str, at: int) -> list[str]:
        """Refuse a principal's tokens that were issued until ``at``; return their ids."""
        mine = self._by_name.get(principal, ())
        ended = [id_ for id_ in mine if self._records[id_].issued <= at]
        for id_ in ended:
            self.remove(id_)
        return ended

    def known(self, principal: str, now: float) -> Principal | None:
        """Return who this principal is by one of its valid tokens, None if it has none."""
        for found in self._by_name.get(principal, {}).values():
            if now < found.expires:
                return found
        return None

    def end(self, token_id: str) -> float:
        """Return when a token expires (Unix seconds), 0 if there is none."""
        principal = self._principals.get(token_id)
        return principal.expires if principal is not None else 0.0

    def holds(self, principal: Principal) -> bool:
        """Whether a principal's token is still valid, but for its expiry."""
        return self._principals.get(principal.credential) is principal
