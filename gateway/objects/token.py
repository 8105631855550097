"""``$site/token``: bearer tokens that the site issues itself (design 7)."""

import time as clock
from collections.abc import Callable, Sequence

from msgspec import field

from gateway.bootstrap import NEWCOMER
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, permit_kind, read, require
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.identity.tokens import new_token
from policy.model import Action
from registry.catalog import Catalog
from registry.changes import Change, TokenIssued
from registry.model import TokenRecord


class Issue(Request, frozen=True):
    """For whom and how long; ``ttl`` in seconds."""

    principal: str
    kind: str = "service"
    ttl: int = 24 * 3600
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class Revoke(Request, frozen=True):
    """Which token, or all tokens of a principal."""

    id: str = ""
    principal: str = ""


class TokenObject:
    """The handlers; issuing and revoking need ``administer`` besides ``call``."""

    def __init__(self, site: Site, random: Callable[[int], bytes]) -> None:
        self._site = site
        self._random = random

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"issue": self.issue, "list": self.list, "revoke": self.revoke}

    async def issue(self, call: Call, _: Route, payload: bytes) -> Result:
        """Issue a token: its secret is in this answer and nowhere else."""
        asked = await read(call, payload, Issue)
        require(self._site, call, Action.ADMINISTER, call.name)
        permit_kind(call, asked.kind)
        if asked.kind == NEWCOMER:
            detail = "claim tokens are made by $site/identity/add (`hilum device add`)"
            raise Refusal(Status.INVALID, detail)
        try:
            secret, record = new_token(
                self._random,
                principal=asked.principal,
                kind=asked.kind,
                now=self._site.time(),
                lifetime=asked.ttl,
                note=asked.note,
                attributes=asked.attributes,
            )
        except ValueError as error:
            raise Refusal(Status.INVALID, str(error)) from error

        def plan(_: Catalog) -> Sequence[Change]:
            return [TokenIssued(record)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"token": secret, **_public(record)})

    async def list(self, call: Call, _: Route, __: bytes) -> Result:
        """Return the tokens' public parts."""
        require(self._site, call, Action.ADMINISTER, call.name)
        records = sorted(self._site.catalog.tokens.values(), key=lambda r: (r.principal, r.issued))
        return answer({"items": [_public(record) for record in records]})

    async def revoke(self, call: Call, _: Route, payload: bytes) -> Result:
        """Revoke tokens: what is open with them ends now, even when the disk is full."""
        asked = await read(call, payload, Revoke)
        require(self._site, call, Action.ADMINISTER, call.name)
        if not (asked.id or asked.principal):
            raise Refusal(Status.INVALID, "say which token: give its id, or the principal of all")
        ids = [
            record.id
            for record in self._site.catalog.tokens.values()
            if record.id == asked.id or (asked.principal and record.principal == asked.principal)
        ]
        if not ids:
            raise Refusal(Status.NOT_FOUND, "there is no such token")
        durable = [await self._site.revoke(call.principal.id, id_) for id_ in ids]
        return answer({"revoked": ids, "durable": all(durable)})


def _public(record: TokenRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "principal": record.principal,
        "kind": record.kind,
        "issued": _when(record.issued),
        "expires": _when(record.expires),
        "note": record.note,
        "attributes": record.attributes,
    }


def _when(unix: int) -> str:
    return clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime(unix))
