"""What the log says of credentials, put in force: who may authenticate, and who may no longer."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from gateway.identity.expiry import Expiry
from gateway.identity.identity import Authentication
from registry.catalog import Catalog
from registry.changes import (
    Change,
    CredentialIssued,
    CredentialRevoked,
    PrincipalRevoked,
    TokenIssued,
    TokenRevoked,
)
from registry.model import CredentialRecord, TokenRecord

CHANGES: Final = (
    TokenIssued | TokenRevoked | CredentialIssued | CredentialRevoked | PrincipalRevoked
)


class CredentialBook:
    """Follows the log for an ``Authentication``; what it returns are credentials that ended."""

    def __init__(self, identity: Authentication) -> None:
        self._identity = identity
        self._expiry = Expiry()

    def load(self, catalog: Catalog) -> None:
        """Accept what there is at the start."""
        for principal, at in catalog.revoked.items():
            self._identity.void(principal, at)
        for token in catalog.tokens.values():
            self._token(token)
        for record in catalog.credentials.values():
            self._record(record)

    def react(self, change: Change) -> Collection[str]:
        """Put a change in force."""
        match change:
            case TokenIssued(token):
                self._token(token)
            case CredentialIssued(record):
                return self._record(record)
            case TokenRevoked(id_) | CredentialRevoked(id_):
                return self.end([id_])
            case PrincipalRevoked(principal, at):
                return self._identity.void(principal, at)
            case _:
                pass
        return ()

    def end(self, ids: Iterable[str]) -> Collection[str]:
        """Refuse some credentials from now on; all of them count as ended."""
        ended = list(ids)
        for id_ in ended:
            self._identity.tokens.remove(id_)
            self._identity.records.remove(id_)
        self._identity.forget()
        return ended

    def end_principal(self, catalog: Catalog, principal: str, at: int) -> Collection[str]:
        """Refuse whatever a principal has, and tokens of issuers from before ``at``."""
        mine = [one for one in _all(catalog) if one.principal == principal]
        ended = self.end(one.id for one in mine)
        return [*ended, *self._identity.void(principal, at)]

    def expired(self, now: float) -> Collection[str]:
        """Return the credentials that expired since the last time."""
        due = [id_ for id_ in self._expiry.ended(now) if not self._identity.lasts(id_)]
        ended = due + self._identity.jwts.ended(now)
        if ended:
            self._identity.forget()
        return ended

    def forgotten(self, now: float) -> list[str]:
        """Return the credentials whose records are kept no longer."""
        return [id_ for id_ in self._expiry.forgotten(now) if not self._identity.lasts(id_)]

    def _token(self, token: TokenRecord) -> None:
        self._identity.tokens.put(token)
        self._identity.forget()
        self._expiry.add(token.id, token.expires)

    def _record(self, record: CredentialRecord) -> Collection[str]:
        ended = self._identity.records.put(record)
        if record.expires:
            self._expiry.add(record.id, record.expires)
        return (ended,) if ended else ()


def withdrawn(ids: Iterable[str], catalog: Catalog) -> Sequence[Change]:
    """Return the changes that take credentials out of the log, as far as they are there."""
    changes: list[Change] = []
    for id_ in ids:
        if id_ in catalog.tokens:
            changes.append(TokenRevoked(id_))
        if id_ in catalog.credentials:
            changes.append(CredentialRevoked(id_))
    return changes


def withdrawn_principal(principal: str, at: int, catalog: Catalog) -> Sequence[Change]:
    """Return the changes that take all of a principal's credentials out of the log."""
    mine = [one.id for one in _all(catalog) if one.principal == principal and one.issued <= at]
    changes = withdrawn(mine, catalog)
    if catalog.revoked.get(principal, -1) >= at:
        return changes
    return [*changes, PrincipalRevoked(principal, at)]


def _all(catalog: Catalog) -> list[TokenRecord | CredentialRecord]:
    return [*catalog.tokens.values(), *catalog.credentials.values()]
