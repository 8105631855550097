"""Credentials that are no bearer tokens: device secrets, passwords, certificates, keys. Pure.

What a client presents is only looked up by; who it is, is what the record says. So a PSK identity
``admin`` is whatever an administrator made of it, never the principal of that name.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple, TypeVar

from policy.identity.tokens import principal_values
from policy.model import Principal
from registry.model import CredentialRecord

Key = TypeVar("Key")
FOR_EVER: Final = float("inf")
NOTHING: Final = "0" * 64
"""What an unknown user's secret is compared with."""


class Held(NamedTuple):
    """A credential and the one Principal object that stands for it."""

    record: CredentialRecord
    principal: Principal


class Records:
    """The valid credentials by method and what is presented; several overlap during a rotation."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._by_lookup: dict[tuple[str, str], dict[str, Held]] = {}
        self._by_name: dict[str, dict[str, Held]] = {}
        self._passwords = 0

    def put(self, record: CredentialRecord) -> str:
        """Accept a credential; return the id of the one that this ends, "" for none."""
        old = self._held.get(record.id)
        if old is not None and old.record == record:
            return ""
        ended = self.remove(record.id)
        principal = Principal(
            record.principal,
            record.kind,
            method=record.method,
            credential=record.id,
            expires=float(record.expires) if record.expires else FOR_EVER,
            attributes=principal_values(record.attributes),
        )
        held = self._held[record.id] = Held(record, principal)
        self._by_lookup.setdefault((record.method, record.lookup), {})[record.id] = held
        self._by_name.setdefault(record.principal, {})[record.id] = held
        self._passwords += record.method == "password"
        return ended

    def remove(self, id_: str) -> str:
        """Refuse a credential from now on; return its id, "" if there was none."""
        held = self._held.pop(id_, None)
        if held is None:
            return ""
        record = held.record
        _discard(self._by_lookup, (record.method, record.lookup), id_)
        _discard(self._by_name, record.principal, id_)
        self._passwords -= record.method == "password"
        return id_

    @property
    def has_passwords(self) -> bool:
        """Whether anybody has chosen a password."""
        return self._passwords > 0

    def void(self, principal: str, at: int) -> list[str]:
        """Refuse a principal's credentials that were issued until ``at``; return their ids."""
        mine = self._by_name.get(principal, {})
        ended = [id_ for id_, held in mine.items() if held.record.issued <= at]
        for id_ in ended:
            self.remove(id_)
        return ended

    def valid(self, method: str, lookup: str, now: float) -> Iterator[Held]:
        """Yield the credentials that may be meant, unless they have expired."""
        for held in self._by_lookup.get((method, lookup), {}).values():
            if now < held.principal.expires:
                yield held

    def by_secret(self, lookup: str, secret: str, now: float) -> Principal | None:
        """Return whose device secret this is; it takes the same time for an unknown user."""
        digest = sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        found = None
        for held in self.valid("secret", lookup, now):
            if compare_digest(digest, held.record.verifier):
                found = held.principal
        if found is None:
            compare_digest(digest, NOTHING)
        return found

    def by_certificate(self, uri: str, fingerprint: str, now: float) -> Principal | None:
        """Return whose certificate this is; ``fingerprint`` is its SHA-256 in hexadecimal."""
        for held in self.valid("certificate", uri, now):
            if held.record.verifier in ("", fingerprint):
                return held.principal
        return None

    def by_key(self, method: str, lookup: str, now: float) -> Principal | None:
        """Return whose PSK identity or OSCORE context this is; the protocol proves the key."""
        return next((held.principal for held in self.valid(method, lookup, now)), None)

    def known(self, principal: str, now: float) -> Principal | None:
        """Return who a principal is by one of its credentials, None if it has none."""
        for held in self._by_name.get(principal, {}).values():
            if now < held.principal.expires and held.record.method != "claim":
                return held.principal
        return None

    def end(self, id_: str) -> float:
        """Return when a credential expires (Unix seconds), 0 if there is none."""
        held = self._held.get(id_)
        return held.principal.expires if held is not None else 0.0

    def holds(self, principal: Principal) -> bool:
        """Whether a principal's credential is still valid, but for its expiry."""
        held = self._held.get(principal.credential)
        return held is not None and held.principal is principal


def new_secret(random_bytes: Callable[[int], bytes]) -> tuple[str, str]:
    """Return a device secret of 256 random bits, shown once, and its verifier."""
    secret = "hls_" + random_bytes(32).hex()
    return secret, sha256(secret.encode()).hexdigest()


def _discard(index: dict[Key, dict[str, Held]], key: Key, id_: str) -> None:
    del index[key][id_]
    if not index[key]:
        del index[key]
