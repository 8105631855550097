"""``$site/accounts``: what principals and bindings have used."""

from gateway.accounts import KINDS, Accounts, Kind, Row
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, read
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action

PAGE = 1000
"""Most entries of one answer."""


class Listing(Request, frozen=True):
    """A page of accounts ``by`` principal or binding, after the key ``after``."""

    by: str = "principal"
    after: str = ""
    limit: int = 100


class AccountsObject:
    """The handlers. Who may not administer them sees the own account only."""

    def __init__(self, site: Site, accounts: Accounts) -> None:
        self._site = site
        self._accounts = accounts

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"list": self.page}

    async def page(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of accounts, in the order of their keys."""
        asked = await read(call, payload, Listing)
        limit = max(1, min(asked.limit, PAGE))
        kind: Kind | None = next((kind for kind in KINDS if kind == asked.by), None)
        if kind is None:
            raise Refusal(Status.BAD_REQUEST, f"accounts are by {' or '.join(KINDS)}")
        rows = self._rows(call, kind, asked.after, limit)
        items = [{kind: row.key, **row.used._asdict(), "updated": row.updated} for row in rows]
        return answer({"items": items, "next": rows[-1].key if len(rows) == limit else ""})

    def _rows(self, call: Call, kind: Kind, after: str, limit: int) -> list[Row]:
        if self._site.allowed(call.principal, Action.ADMINISTER, call.name):
            return self._accounts.page(kind, after, limit)
        if kind != "principal":
            detail = "only who may administer accounts sees those of bindings"
            raise Refusal(Status.DENIED, detail)
        mine = self._accounts.mine(call.principal.id)
        return [row for row in mine if row.key > after]
