"""``$site/registry/secret-put`` and its like: how the gateway authenticates at endpoints.

Secrets go in and never come out. They belong to who owns the object (design 8: device credentials
live in a secret store, never in the description).
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from gateway.identity.endpoint_secrets import ApiKey, EndpointSecrets, Kept, Secret
from gateway.ledger import Entered
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Action
from registry.checks import header_trouble
from registry.manifest import SECURITY
from registry.names import Name

log = logging.getLogger("hilum.identity")

A = TypeVar("A")


class Put(Request, frozen=True):
    """The secret that endpoints of the object ``name`` mean by the word ``security``."""

    name: str
    security: str
    secret: Secret


class Which(Request, frozen=True):
    """Which secret."""

    name: str
    security: str


class Of(Request, frozen=True):
    """Whose secrets are listed: of an object, or all that one may see."""

    name: str = ""


class EndpointSecretsObject:
    """The handlers. A secret goes with its object."""

    def __init__(self, site: Site, secrets: EndpointSecrets) -> None:
        self._site = site
        self._secrets = secrets
        self._tasks: set[asyncio.Task[None]] = set()
        site.watchers.entered.append(self._entered)
        secrets.changed.append(self._changed)

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"secret-put": self.put, "secret-delete": self.delete, "secrets": self.list}

    async def put(self, call: Call, _: Route, payload: bytes) -> Result:
        """Keep a secret, or replace the one of its name; calls use it from now on."""
        asked = await read(call, payload, Put)
        name, owner = self._owned(call, asked.name)
        if not SECURITY.fullmatch(asked.security):
            detail = f"{asked.security[:80]!r} cannot name a secret: use letters, digits, _ and -"
            raise Refusal(Status.INVALID, detail)
        if isinstance(asked.secret, ApiKey) and (trouble := header_trouble(asked.secret.name)):
            raise Refusal(Status.INVALID, f"{trouble[0]}: {trouble[1]}")
        kept = Kept(f"{name}#{asked.security}", owner, asked.secret)
        if not self._secrets.owner_of(kept.reference) and self._secrets.full():
            raise Refusal(Status.THROTTLED, "the site keeps no more secrets: delete some")
        await self._on_disk(self._secrets.write, kept)
        self._secrets.use(kept.reference, kept)
        return answer({"name": name, "security": asked.security, "owner": owner})

    async def delete(self, call: Call, _: Route, payload: bytes) -> Result:
        """Forget a secret."""
        asked = await read(call, payload, Which)
        name, owner = self._owned(call, asked.name)
        reference = f"{name}#{asked.security}"
        there = self._secrets.owner_of(reference)
        if not there or (there != owner and call.principal.kind != ADMINISTRATOR):
            raise Refusal(Status.NOT_FOUND, f"{name} has no secret {asked.security!r} of yours")
        await self._on_disk(self._secrets.erase, reference)
        self._secrets.use(reference, None)
        return answer({"name": name, "security": asked.security, "deleted": True})

    async def list(self, call: Call, _: Route, payload: bytes) -> Result:
        """List which secrets there are: nothing of what they are."""
        asked = await read(call, payload, Of)
        name = name_of(self._site, asked.name) if asked.name else ""
        principal = call.principal
        found = [
            {"name": obj, "security": word, "scheme": scheme_of(kept.secret), "owner": kept.owner}
            for kept in self._secrets.of(name)
            for obj, _, word in [kept.reference.partition("#")]
            if kept.owner == principal.id or principal.kind == ADMINISTRATOR
        ]
        return answer({"secrets": sorted(found, key=lambda one: (one["name"], one["security"]))})

    def _owned(self, call: Call, text: str) -> tuple[Name, str]:
        """Return an object and its owner, who has to be the caller or helped by an administrator.

        A secret may be there before its object: then it is the caller's, if he may register that.
        """
        name = name_of(self._site, text)
        require(self._site, call, Action.REGISTER, name, self._site.catalog.owner_of(name))
        record = self._site.catalog.names.get(name)
        if record is None:
            return name, call.principal.id
        if record.owner != call.principal.id and call.principal.kind != ADMINISTRATOR:
            raise Refusal(Status.CONFLICT, f"{name} belongs to another principal")
        return name, record.owner

    async def _on_disk(self, work: Callable[[A], None], argument: A) -> None:
        try:
            await asyncio.to_thread(work, argument)
        except OSError as error:
            detail = f"nothing was changed: the secret cannot be written: {error.strerror}"
            raise Refusal(Status.UNAVAILABLE, detail, retry_after=5) from error

    def _changed(self, reference: str) -> None:
        """Let what was prepared for the object's endpoints be prepared anew."""
        view = self._site.view
        for name in view.children.get(Name(reference.partition("#")[0]), ()):
            route = view.routes.get(name)
            if route is not None and route.selection is not None:
                for target in route.selection.targets():
                    target.prepared = None

    def _entered(self, entered: Sequence[Entered]) -> None:
        gone = {name for each in entered for name in each.gone}
        lost = [k.reference for name in gone for k in self._secrets.of(name)] if gone else []
        for reference in lost:
            self._secrets.use(reference, None)
        if lost:
            task = asyncio.ensure_future(self._erase(lost))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _erase(self, references: Collection[str]) -> None:
        for reference in references:
            try:
                await asyncio.to_thread(self._secrets.erase, reference)
            except OSError as error:
                log.warning("a secret that is no longer used cannot be removed: %s", error)


def scheme_of(secret: Secret) -> str:
    """Return the name of a secret's scheme, as in a Thing Description."""
    return str(secret.__struct_config__.tag)
