"""Makes the credentials of devices, ends them, and keeps their keys and the log in step."""

import asyncio
import heapq
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import msgspec

from gateway.identity.authority import AuthorityFolder
from gateway.identity.device_keys import CLAIM, DeviceKeys, new_keys
from gateway.message import Refusal, Status
from gateway.site import SYSTEM, Site
from policy.identity.credentials import new_secret
from policy.identity.principal_uris import uri_of
from policy.identity.site_ca import CertificateError
from registry.model import CredentialRecord

log = logging.getLogger("hilum.identity")

DAY: Final = 86_400
MAX_DAYS: Final = 3660
Method = Literal["certificate", "secret", "psk", "oscore"]
REPLACES = re.compile(r"replaces (\S{1,4000}) until ([0-9]{1,12})")
"""A note that ends other credentials at a time: only the site itself writes it."""


class Wish(NamedTuple):
    """What somebody wants; a certificate needs a ``request`` (PKCS #10, PEM)."""

    method: Method
    request: str = ""
    days: int = 365


class Made(NamedTuple):
    """A new credential: its record, and what its holder is told."""

    record: CredentialRecord
    told: dict[str, object]


class Issuer:
    """Makes and ends credentials; ``random`` is ``secrets.token_bytes``."""

    def __init__(
        self,
        site: Site,
        authority: AuthorityFolder,
        keys: DeviceKeys,
        random: Callable[[int], bytes],
    ) -> None:
        self.authority = authority
        self.keys = keys
        self._site = site
        self._random = random
        self._ends: list[tuple[int, str]] = []
        self._claims: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.made: list[Callable[[], None]] = []
        """Told when a credential that was made is in force."""

    def start(self) -> None:
        """Go on with what the log says: credentials that are being replaced end in time."""
        for record in self._site.catalog.credentials.values():
            match = REPLACES.fullmatch(record.note)
            if match is not None:
                self.schedule(match[1].split(","), int(match[2]))
        self._claims.update(self.keys.claims())
        self._site.watchers.credential.append(self._ended)

    def schedule(self, ids: Iterable[str], at: int) -> None:
        """Let credentials end at a Unix time, because another one replaces them."""
        for id_ in ids:
            heapq.heappush(self._ends, (at, id_))

    async def sweep(self) -> None:
        """Once a second: end what is replaced, forget the keys of claims that are over."""
        now = self._site.time()
        while self._ends and self._ends[0][0] <= now:
            _, id_ = heapq.heappop(self._ends)
            if id_ in self._site.catalog.credentials:
                await self.revoke(SYSTEM, id_)
        tokens = self._site.catalog.tokens
        for id_ in [one for one in self._claims if one not in tokens or tokens[one].expires <= now]:
            self._claims.discard(id_)
            await asyncio.to_thread(self.keys.remove, "oscore", CLAIM + id_)

    async def make(
        self, wish: Wish, principal: str, kind: str, attributes: Mapping[str, str]
    ) -> Made:
        """Make a credential for a principal, and keep its key; raises Refusal."""
        if not 0 < wish.days <= MAX_DAYS:
            raise Refusal(Status.INVALID, f"days are 1 to {MAX_DAYS}, not {wish.days}")
        if wish.method == "certificate":
            id_, lookup, verifier, expires, told = await self._certificate(wish, principal)
        else:
            expires = int(self._site.time()) + wish.days * DAY
            id_, lookup, verifier, told = await self._secret(wish.method, principal, kind)
        record = CredentialRecord(
            id_,
            wish.method,
            lookup,
            verifier,
            principal,
            kind,
            int(self._site.time()),
            expires,
            attributes=dict(attributes),
        )
        return Made(record, {"id": id_, "principal": principal, "expires": expires} | told)

    async def unmake(self, record: CredentialRecord) -> None:
        """Forget the key of a credential that did not get into the log."""
        await self._forget(record.id)

    async def revoke(self, actor: str, id_: str) -> bool:
        """End a credential and what is open with it now; return whether that is durable yet."""
        durable = await self._site.revoke(actor, id_)
        method, _, serial = id_.partition(":")
        if method == "certificate":
            try:
                await asyncio.to_thread(self.authority.revoke, [serial])
            except (OSError, CertificateError) as error:
                # It counts no more anyway: there is no record of it.
                log.warning("the revocation list does not say that %s is revoked: %s", id_, error)
        return durable

    def tell(self) -> None:
        """A credential is in force: whoever needs its key may look for it."""
        for tell in self.made:
            tell()

    def claimable(self, token: str) -> None:
        """Note a claim token that has a security context."""
        self._claims.add(token)

    async def _certificate(
        self, wish: Wish, principal: str
    ) -> tuple[str, str, str, int, dict[str, object]]:
        authority = self.authority
        if not wish.request:
            detail = "a certificate needs a request: PKCS #10 in PEM, signed with your own key"
            raise Refusal(Status.INVALID, detail)
        if not authority.exists():
            detail = (
                "this site has no authority to sign: an operator makes one with `hilum ca init`"
            )
            raise Refusal(Status.UNAVAILABLE, detail)
        try:
            request = wish.request.encode()
            issued = await asyncio.to_thread(authority.certify, request, principal, wish.days)
            own = await asyncio.to_thread(authority.certificate_pem)
        except CertificateError as error:
            raise Refusal(Status.INVALID, str(error)) from error
        except OSError as error:
            log.warning("the authority cannot sign: %s", error)
            raise Refusal(Status.UNAVAILABLE, "the site's authority cannot sign now") from error
        told: dict[str, object] = {
            "serial": issued.serial,
            "certificate": issued.pem.decode(),
            "authority": own.decode(),
        }
        id_ = f"certificate:{issued.serial}"
        return id_, uri_of(principal), issued.fingerprint, issued.not_after, told

    async def _secret(
        self, method: str, principal: str, kind: str
    ) -> tuple[str, str, str, dict[str, object]]:
        name = self._random(8).hex()
        if method == "secret":
            secret, verifier = new_secret(self._random)
            return f"secret:{name}", principal, verifier, {"user": principal, "password": secret}
        if method == "psk":
            key = self._random(16).hex().encode()
            await self._kept(self.keys.put_psk, name, key)
            told: dict[str, object] = {"identity": name, "key": key.decode()}
            return f"psk:{name}", name, _digest(key), told
        keys = new_keys(self._random)
        name = keys.device_id
        context = {"principal": principal, "kind": kind, "record": f"oscore:{name}"}
        await self._kept(self.keys.put_oscore, name, keys, context)
        secret = keys.master_secret
        return f"oscore:{name}", name, _digest(bytes.fromhex(secret)), keys.told()

    async def _kept(self, put: Callable[..., None], *what: object) -> None:
        try:
            await asyncio.to_thread(put, *what)
        except OSError as error:
            log.warning("a key cannot be kept: %s", error)
            raise Refusal(Status.UNAVAILABLE, "the site cannot keep a key now") from error

    def _ended(self, ids: Collection[str]) -> None:
        """Credentials are over, revoked or expired: so are their keys."""
        for id_ in ids:
            if id_.startswith(("psk:", "oscore:")):
                task = asyncio.ensure_future(self._forget(id_))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _forget(self, id_: str) -> None:
        method, _, name = id_.partition(":")
        try:
            await asyncio.to_thread(self.keys.remove, method, name)
        except OSError as error:
            log.warning("the key of %s, which is over, cannot be removed: %s", id_, error)


def replacing(record: CredentialRecord, ids: Sequence[str], until: int) -> CredentialRecord:
    """Return a record that says which credentials it replaces, and when those end."""
    return msgspec.structs.replace(record, note=f"replaces {','.join(ids)} until {until}")


def public(record: CredentialRecord) -> dict[str, object]:
    """Return what anybody may know of a credential who may list them."""
    return {
        "id": record.id,
        "method": record.method,
        "lookup": record.lookup,
        "principal": record.principal,
        "kind": record.kind,
        "issued": record.issued,
        "expires": record.expires,
        "note": record.note,
        "attributes": record.attributes,
    }


def _digest(key: bytes) -> str:
    return sha256(key).hexdigest()
