"""``$site/identity/password`` and ``…/secret``: what users and devices log in with (design 7)."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from msgspec import field

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, permit_kind, read, require
from gateway.objects.credentials import REPLACES
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.identity.credentials import new_secret
from policy.identity.passwords import SALT, hash_password, problem_of
from policy.identity.tokens import MAX_LIFETIME, is_kind, is_principal
from policy.model import Action
from registry.catalog import Catalog
from registry.changes import Change, CredentialIssued
from registry.model import CredentialRecord

USER: Final = 128
"""Characters of a user's name."""


class SetPassword(Request, frozen=True):
    """A user's chosen password; ``principal`` is who that is, ``user:`` and the name by default."""

    user: str
    password: str
    principal: str = ""
    kind: str = "user"
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class IssueSecret(Request, frozen=True):
    """A device secret; ``user`` is what it logs in as, by default what follows the realm."""

    principal: str
    user: str = ""
    kind: str = "device"
    ttl: int = 0
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class PasswordObject:
    """The handlers; both need ``administer`` besides ``call``."""

    def __init__(self, site: Site, random: Callable[[int], bytes]) -> None:
        self._site = site
        self._random = random

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"password": self.password, "secret": self.secret}

    async def password(self, call: Call, _: Route, payload: bytes) -> Result:
        """Set a user's password; sessions of the one before end."""
        asked = await read(call, payload, SetPassword)
        require(self._site, call, Action.ADMINISTER, call.name)
        permit_kind(call, asked.kind)
        if problem := problem_of(asked.password):
            raise Refusal(Status.INVALID, problem)
        verifier = await asyncio.to_thread(hash_password, asked.password, self._random(SALT))
        record = CredentialRecord(
            f"password:{sha256(asked.user.encode()).hexdigest()[:16]}",
            "password",
            asked.user,
            verifier,
            asked.principal or f"user:{asked.user}",
            asked.kind,
            int(self._site.time()),
            0,
            asked.note,
            asked.attributes,
        )

        def plan(catalog: Catalog) -> Sequence[Change]:
            there = catalog.credentials.get(record.id)
            if there is not None and there.principal != record.principal:
                detail = f"the user {asked.user!r} is {there.principal}: revoke that first"
                raise Refusal(Status.CONFLICT, detail)
            return [CredentialIssued(record)]

        _check(record)
        await self._site.ledger.change(call.principal.id, plan)
        return answer({"id": record.id, "user": asked.user, "principal": record.principal})

    async def secret(self, call: Call, _: Route, payload: bytes) -> Result:
        """Issue a device secret: it is in this answer and nowhere else."""
        asked = await read(call, payload, IssueSecret)
        require(self._site, call, Action.ADMINISTER, call.name)
        permit_kind(call, asked.kind)
        if not 0 <= asked.ttl <= MAX_LIFETIME:
            raise Refusal(Status.INVALID, f"a ttl is 0 (for ever) to {MAX_LIFETIME} seconds")
        secret, verifier = new_secret(self._random)
        now = int(self._site.time())
        record = CredentialRecord(
            f"secret:{self._random(8).hex()}",
            "secret",
            asked.user or asked.principal.partition(":")[2],
            verifier,
            asked.principal,
            asked.kind,
            now,
            now + asked.ttl if asked.ttl else 0,
            asked.note,
            asked.attributes,
        )
        _check(record)
        await self._site.ledger.change(call.principal.id, lambda _: [CredentialIssued(record)])
        return answer(
            {"id": record.id, "user": record.lookup, "principal": record.principal}
            | {"secret": secret, "expires": record.expires}
        )


def _check(record: CredentialRecord) -> None:
    """Raise Refusal for what cannot be a user, a principal or a kind."""
    user = record.lookup
    if not is_principal(record.principal) or record.principal.startswith("anonymous:"):
        detail = f"{record.principal!r} is no principal: write realm:subject, such as user:ann"
        raise Refusal(Status.INVALID, detail)
    if not is_kind(record.kind) or record.kind == "anonymous":
        detail = f"{record.kind!r} is no kind: use lower-case letters, digits and hyphens"
        raise Refusal(Status.INVALID, detail)
    if REPLACES.fullmatch(record.note):
        raise Refusal(Status.INVALID, "such a note would end other credentials: write another one")
    if not 0 < len(user) <= USER or not user.isprintable():
        raise Refusal(Status.INVALID, f"a user's name has 1 to {USER} printable characters")
