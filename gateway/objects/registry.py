"""``$site/registry``: microservices come, stay and go; what exists is described (design 4, 5)."""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from gateway.message import Call, Refusal, Status
from gateway.objects.admitting import admit, refuse_clashes
from gateway.objects.answers import (
    CheckEndpoint,
    Request,
    answer,
    media_type,
    name_of,
    parsed,
    read,
    require,
)
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Action
from registry.catalog import Catalog
from registry.changes import Change, Deregistered, ObjectCreated, ObjectDestroyed, Registered
from registry.manifest import (
    MAX_NAMES,
    Manifest,
    count_names,
    decode_manifest,
    decode_object,
)
from registry.model import Kind, Registration, RegistrationId, VirtualObject
from registry.names import Name

ServiceKey = Callable[[str, str], str]
"""Returns the key with which an (owner, microservice) checks who calls it."""


class Id(Request, frozen=True):
    """Which registration."""

    microservice: str
    version: str
    instance: str = "default"

    def registration(self) -> RegistrationId:
        """Return it as the catalog knows it."""
        return RegistrationId(self.microservice, self.version, self.instance)


class Destroy(Request, frozen=True):
    """Which object."""

    name: str


class RegistryObject:
    """The handlers; each is decided a second time on every name in its payload."""

    def __init__(self, site: Site, check_endpoint: CheckEndpoint, service_key: ServiceKey) -> None:
        self._site = site
        self._check_endpoint = check_endpoint
        self._service_key = service_key

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "register": self.register,
            "update": self.update,
            "renew": self.renew,
            "deregister": self.deregister,
            "create": self.create,
            "destroy": self.destroy,
        }

    async def register(self, call: Call, _: Route, payload: bytes) -> Result:
        """Register a microservice, or replace its registration of the same id."""
        manifest = await self._manifest(call, payload)
        await self._admit(call, manifest.objects, Action.REGISTER)
        return await self._append(call, manifest, manifest.objects)

    async def update(self, call: Call, _: Route, payload: bytes) -> Result:
        """Put the objects of a manifest beside those registered already."""
        manifest = await self._manifest(call, payload)
        await self._admit(call, manifest.objects, Action.REGISTER)
        id_ = RegistrationId(manifest.microservice, manifest.version, manifest.instance)
        old = self._own(call, self._site.catalog, id_)
        new = {obj.name for obj in manifest.objects}
        objects = tuple(obj for obj in old.objects if obj.name not in new) + manifest.objects
        if (size := count_names(objects)) > MAX_NAMES:
            detail = f"{id_} would have {size} names, more than {MAX_NAMES}: use another instance"
            raise Refusal(Status.INVALID, detail)
        return await self._append(call, manifest, objects)

    async def renew(self, call: Call, _: Route, payload: bytes) -> Result:
        """Begin a lease anew. This is no Change: nothing is written."""
        id_ = (await read(call, payload, Id)).registration()
        self._own(call, self._site.catalog, id_)
        lease = self._site.renew(id_)
        if lease is None:
            raise Refusal(Status.CONFLICT, f"the lease of {id_} ran out: register again")
        return answer({"id": str(id_), "lease": lease})

    async def deregister(self, call: Call, _: Route, payload: bytes) -> Result:
        """End a registration; its names go unless somebody else offers them too."""
        id_ = (await read(call, payload, Id)).registration()

        def plan(catalog: Catalog) -> Sequence[Change]:
            self._own(call, catalog, id_)
            return [Deregistered(id_)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"id": str(id_), "deregistered": True})

    async def create(self, call: Call, _: Route, payload: bytes) -> Result:
        """Create an object at run time; it stays bound to the instance that created it."""
        site = self._site

        def parse() -> tuple[RegistrationId, VirtualObject]:
            return decode_object(
                payload,
                media_type=media_type(call),
                authority=site.authority,
                aliases=site.aliases,
                remotes=site.remotes,
            )

        id_, obj = await parsed(call, payload, parse)
        self._own(call, self._site.catalog, id_)
        await self._admit(call, [obj], Action.CREATE)

        def plan(catalog: Catalog) -> Sequence[Change]:
            if not self._own(call, catalog, id_).live:
                raise Refusal(Status.CONFLICT, f"the lease of {id_} ran out: register again")
            self._check_clashes(call, catalog, id_, [obj])
            return [ObjectCreated(id_, obj)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"name": obj.name, "members": [name for name, _ in obj.members()]})

    async def destroy(self, call: Call, _: Route, payload: bytes) -> Result:
        """Destroy an object and its members."""
        name = name_of(self._site, (await read(call, payload, Destroy)).name)
        require(self._site, call, Action.DESTROY, name, self._site.catalog.owner_of(name))

        def plan(catalog: Catalog) -> Sequence[Change]:
            record = catalog.names.get(name)
            if record is None:
                raise Refusal(Status.NOT_FOUND, f"{name} is not registered")
            if record.kind is not Kind.OBJECT:
                raise Refusal(Status.CONFLICT, f"{name} is a {record.kind}, not an object")
            return [ObjectDestroyed(name)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"name": name, "destroyed": True})

    async def _manifest(self, call: Call, payload: bytes) -> Manifest:
        site = self._site

        def parse() -> Manifest:
            return decode_manifest(
                payload,
                media_type=media_type(call),
                authority=site.authority,
                aliases=site.aliases,
                remotes=site.remotes,
            )

        return await parsed(call, payload, parse)

    async def _admit(self, call: Call, objects: Iterable[VirtualObject], action: Action) -> None:
        await admit(self._site, call, objects, action, self._check_endpoint)

    async def _append(
        self, call: Call, manifest: Manifest, objects: tuple[VirtualObject, ...]
    ) -> Result:
        id_ = RegistrationId(manifest.microservice, manifest.version, manifest.instance)
        owner = call.principal.id
        draft = Registration(
            id=id_,
            owner=owner,
            peer=call.peer,
            lease=manifest.lease,
            generation=0,
            objects=objects,
            description=manifest.description,
            deployment=manifest.deployment,
        )

        def plan(catalog: Catalog) -> Sequence[Change]:
            if id_ in catalog.registrations:
                self._own(call, catalog, id_)
            self._check_clashes(call, catalog, id_, objects)
            return [Registered(replace(draft, generation=catalog.next_generation()))]

        await self._site.ledger.change(owner, plan)
        names = [str(name) for obj in objects for name in (obj.name, *_members(obj))]
        return answer(
            {
                "id": str(id_),
                "lease": manifest.lease,
                "names": names,
                "key": self._service_key(owner, id_.microservice),
            }
        )

    def _check_clashes(
        self, call: Call, catalog: Catalog, id_: RegistrationId, objects: Iterable[VirtualObject]
    ) -> None:
        refuse_clashes(self._site, call, catalog, call.principal.id, id_, objects)

    def _own(self, call: Call, catalog: Catalog, id_: RegistrationId) -> Registration:
        """Return a registration if it is the caller's (or the caller is an administrator)."""
        registration = catalog.registrations.get(id_)
        principal = call.principal
        if registration is None:
            raise Refusal(Status.NOT_FOUND, f"{id_} is not registered")
        if registration.owner != principal.id and principal.kind != ADMINISTRATOR:
            raise Refusal(Status.CONFLICT, f"{id_} is registered by another principal")
        return registration


def _members(obj: VirtualObject) -> list[Name]:
    return [name for name, _ in obj.members()]
