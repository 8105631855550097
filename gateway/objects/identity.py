"""``$site/identity``: how devices come to credentials, change them, and lose them (design 7).

An administrator adds a device and gets a claim token, which counts once. Who presents it is a
newcomer: it may claim a credential, and do nothing else. What a credential is looked up by is
public, its verifier is in the change log, its secret is in the answer and nowhere else.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, field

from gateway.bootstrap import NEWCOMER
from gateway.identity.device_keys import CLAIM, claim_keys
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, permit_kind, read, require
from gateway.objects.credentials import Issuer, Method, Wish, public, replacing
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.identity.tokens import is_kind, is_principal, new_token
from policy.model import Action
from registry.catalog import Catalog
from registry.changes import Change, CredentialIssued, TokenIssued
from registry.model import TokenRecord

CLAIMS: Final = "claims"
"""The attribute of a claim token that says what it is exchanged for; without it, it is spent."""
GRACE: Final = 5
"""Seconds that a spent token's connection may still read its answer."""
MAX_OVERLAP: Final = 30 * 86_400
MAX_HELD: Final = 8
"""Credentials of a device that may overlap: a broken one must not fill the change log."""


class Add(Request, frozen=True):
    """Which device; ``ttl`` is how long its claim token counts, in seconds.

    With an ``overlap`` what it claims replaces what it has, which ends so many seconds later.
    """

    principal: str
    kind: str = "device"
    ttl: int = 24 * 3600
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    overlap: Annotated[int, Meta(ge=-1, le=MAX_OVERLAP)] = -1


class Certify(Request, frozen=True):
    """A certificate for a request (PEM) that an administrator vouches for; ``days`` it counts."""

    principal: str
    request: str
    kind: str = "service"
    days: int = 90
    attributes: dict[str, str] = field(default_factory=dict)


class Claim(Request, frozen=True):
    """What a newcomer wants; a certificate needs a ``request`` (PKCS #10, PEM)."""

    want: Method = "secret"
    request: str = ""
    days: int = 365


class Rotate(Request, frozen=True):
    """A new credential beside the present one, which ends ``overlap`` seconds later."""

    want: Method | Literal[""] = ""
    request: str = ""
    days: int = 365
    overlap: Annotated[int, Meta(ge=0, le=MAX_OVERLAP)] = 3600


class Revoke(Request, frozen=True):
    """Which credential, or all of a principal, its tokens and claims included."""

    id: str = ""
    principal: str = ""


class Promise(msgspec.Struct, frozen=True):
    """What a claim token is exchanged for; ``overlap`` as when the device was added."""

    principal: str
    kind: str
    attributes: dict[str, str]
    overlap: int = -1


class IdentityObject:
    """The handlers; all but ``claim`` and ``rotate`` need ``administer`` besides ``call``."""

    def __init__(self, site: Site, issuer: Issuer, random: Callable[[int], bytes]) -> None:
        self._site = site
        self._issuer = issuer
        self._random = random

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "add": self.add,
            "certify": self.certify,
            "claim": self.claim,
            "rotate": self.rotate,
            "list": self.list,
            "revoke": self.revoke,
        }

    async def add(self, call: Call, _: Route, payload: bytes) -> Result:
        """Make a claim token for a device: it is in this answer and nowhere else."""
        asked = await read(call, payload, Add)
        require(self._site, call, Action.ADMINISTER, call.name)
        permit_kind(call, asked.kind)
        _check_principal(asked.principal, asked.kind)
        if asked.overlap >= 0 and not self._held_by(asked.principal):
            detail = f"{asked.principal} has nothing to replace: `hilum device add` lets it in"
            raise Refusal(Status.NOT_FOUND, detail)
        promise = Promise(asked.principal, asked.kind, asked.attributes, asked.overlap)
        try:
            token, record = new_token(
                self._random,
                principal=f"{NEWCOMER}:{asked.principal}"[:255],
                kind=NEWCOMER,
                now=self._site.time(),
                lifetime=asked.ttl,
                note=asked.note,
                attributes={CLAIMS: msgspec.json.encode(promise).decode()},
            )
        except ValueError as error:
            raise Refusal(Status.INVALID, str(error)) from error
        context = {"principal": record.principal, "kind": NEWCOMER, "token": record.id}
        await asyncio.to_thread(
            self._issuer.keys.put_oscore, CLAIM + record.id, claim_keys(token), context
        )
        self._issuer.claimable(record.id)
        await self._site.ledger.change(call.principal.id, lambda _: [TokenIssued(record)])
        self._issuer.tell()
        return answer(
            {"claim": token, "id": record.id, "principal": asked.principal, "kind": asked.kind}
            | {"expires": record.expires}
        )

    async def certify(self, call: Call, _: Route, payload: bytes) -> Result:
        """Sign a certificate request for a principal."""
        asked = await read(call, payload, Certify)
        require(self._site, call, Action.ADMINISTER, call.name)
        permit_kind(call, asked.kind)
        _check_principal(asked.principal, asked.kind)
        promise = Promise(asked.principal, asked.kind, asked.attributes)
        wish = Wish("certificate", asked.request, asked.days)
        made = await self._issuer.make(wish, promise.principal, promise.kind, promise.attributes)
        await self._site.ledger.change(call.principal.id, lambda _: [CredentialIssued(made.record)])
        return answer(made.told)

    async def claim(self, call: Call, _: Route, payload: bytes) -> Result:
        """Exchange a claim token for a credential; it is written as spent before the answer."""
        asked = await read(call, payload, Claim)
        token, promise = self._promised(call)
        wish = Wish(asked.want, asked.request, asked.days)
        made = await self._issuer.make(wish, promise.principal, promise.kind, promise.attributes)
        ends = int(self._site.time()) + promise.overlap
        old = self._held_by(promise.principal) if promise.overlap >= 0 else []
        record = replacing(made.record, old, ends) if old else made.record

        def plan(catalog: Catalog) -> Sequence[Change]:
            if catalog.tokens.get(token.id) != token:  # another claim was faster
                raise _spent()
            spent = _without_claim(token, self._site.time())
            return [TokenIssued(spent), CredentialIssued(record)]

        try:
            await self._site.ledger.change(call.principal.id, plan)
        except Refusal:
            await self._issuer.unmake(record)
            raise
        self._issuer.tell()
        self._issuer.schedule(old, ends)
        return answer(made.told)

    async def rotate(self, call: Call, _: Route, payload: bytes) -> Result:
        """Give the caller a new credential; the one it called with ends after the overlap."""
        asked = await read(call, payload, Rotate)
        credential = call.principal.credential
        old = self._site.catalog.credentials.get(credential)
        if old is None or old.principal != call.principal.id:
            detail = "only a device's own credential can be rotated, by whom it authenticates"
            raise Refusal(Status.DENIED, detail)
        if len(self._held_by(old.principal)) >= MAX_HELD:
            detail = f"{old.principal} has {MAX_HELD} credentials: wait until some of them end"
            raise Refusal(Status.THROTTLED, detail, retry_after=60)
        want = asked.want or old.method
        if want == "password" or want == "claim":  # noqa: PLR1714 (this narrows its type)
            raise Refusal(
                Status.INVALID, f"a {want} is not rotated here: say what you want instead"
            )
        wish = Wish(want, asked.request, asked.days)
        made = await self._issuer.make(wish, old.principal, old.kind, old.attributes)
        ends = int(self._site.time()) + asked.overlap
        record = replacing(made.record, [old.id], ends)

        def plan(catalog: Catalog) -> Sequence[Change]:
            if old.id not in catalog.credentials:
                raise Refusal(Status.UNAUTHENTICATED, "the credential was revoked meanwhile")
            return [CredentialIssued(record)]

        try:
            await self._site.ledger.change(call.principal.id, plan)
        except Refusal:
            await self._issuer.unmake(record)
            raise
        self._issuer.tell()
        self._issuer.schedule([old.id], ends)
        return answer(made.told | {"replaces": old.id, "overlap": asked.overlap})

    async def list(self, call: Call, _: Route, __: bytes) -> Result:
        """Return what is public of the credentials, and the claims that are open."""
        require(self._site, call, Action.ADMINISTER, call.name)
        catalog = self._site.catalog
        records = sorted(catalog.credentials.values(), key=lambda r: (r.principal, r.issued))
        claims = [
            _public_claim(token, promise)
            for token in catalog.tokens.values()
            if (promise := _promise_of(token)) is not None
        ]
        return answer({"items": [public(record) for record in records], "claims": claims})

    async def revoke(self, call: Call, _: Route, payload: bytes) -> Result:
        """Revoke credentials: what is open with them ends now, even when the disk is full."""
        asked = await read(call, payload, Revoke)
        require(self._site, call, Action.ADMINISTER, call.name)
        if bool(asked.id) == bool(asked.principal):
            raise Refusal(Status.INVALID, "say either the id of a credential or a principal")
        site, actor = self._site, call.principal.id
        tokens = [
            token.id
            for token in site.catalog.tokens.values()
            if token.id == asked.id or (asked.principal and _concerns(token, asked.principal))
        ]
        ids = self._held_by(asked.principal) if asked.principal else []
        if asked.id in site.catalog.credentials:
            ids = [asked.id]
        if not ids and not tokens and not asked.principal:
            raise Refusal(Status.NOT_FOUND, "there is no such credential")
        durable = [await site.revoke(actor, token) for token in tokens]
        durable += [await self._issuer.revoke(actor, id_) for id_ in ids]
        if asked.principal:  # tokens of issuers too, which no list here knows
            durable.append(await site.revoke_principal(actor, asked.principal))
        return answer({"revoked": [*ids, *tokens], "durable": all(durable)})

    def _held_by(self, principal: str) -> Sequence[str]:
        """Return the ids of a principal's credentials."""
        records = self._site.catalog.credentials.values()
        return [record.id for record in records if record.principal == principal]

    def _promised(self, call: Call) -> tuple[TokenRecord, Promise]:
        """Return the claim token that a caller presents, and what it stands for now."""
        credential = call.principal.credential.removeprefix(f"oscore:{CLAIM}")
        token = self._site.catalog.tokens.get(credential)
        if call.principal.kind != NEWCOMER or token is None or token.kind != NEWCOMER:
            raise Refusal(Status.DENIED, "only who presents a claim token may claim a credential")
        promise = _promise_of(token)
        if promise is None or self._site.time() >= token.expires:
            raise _spent()
        return token, promise


def _check_principal(principal: str, kind: str) -> None:
    if not is_principal(principal) or principal.startswith(("anonymous:", f"{NEWCOMER}:")):
        detail = f"{principal!r} is no principal: write realm:subject, such as device:thermometer"
        raise Refusal(Status.INVALID, detail)
    if not is_kind(kind) or kind in ("anonymous", NEWCOMER):
        raise Refusal(Status.INVALID, f"{kind!r} is no kind that a credential can have")


def _promise_of(token: TokenRecord) -> Promise | None:
    """Return what a claim token stands for; None when it is spent, or no claim token."""
    text = token.attributes.get(CLAIMS, "") if token.kind == NEWCOMER else ""
    try:
        return msgspec.json.decode(text, type=Promise) if text else None
    except msgspec.DecodeError:  # somebody issued such a token by hand
        return None


def _without_claim(token: TokenRecord, now: float) -> TokenRecord:
    """Return a claim token that is spent: it still authenticates its connection for a moment."""
    expires = min(token.expires, int(now) + GRACE)
    return msgspec.structs.replace(token, attributes={}, expires=expires, note="spent")


def _concerns(token: TokenRecord, principal: str) -> bool:
    promise = _promise_of(token)
    return token.principal == principal or (promise is not None and promise.principal == principal)


def _public_claim(token: TokenRecord, promise: Promise) -> dict[str, object]:
    return {
        "id": token.id,
        "principal": promise.principal,
        "kind": promise.kind,
        "expires": token.expires,
        "note": token.note,
    }


def _spent() -> Refusal:
    return Refusal(Status.CONFLICT, "this claim token has been used, or has expired: get a new one")
