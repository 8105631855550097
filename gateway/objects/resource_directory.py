"""``$site/registry/rd-…``: a resource directory for constrained devices (RFC 9176 section 5).

A registration is a Registration of the catalog: an endpoint becomes a virtual object, its resources
members with names of their own, called through the gateway under policy like all others. An
endpoint's name belongs to the first principal that used it, until he removes it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace

from gateway.message import Call, Refusal, Status
from gateway.objects.admitting import admit, refuse_clashes
from gateway.objects.answers import SMALL, CheckEndpoint, answer, aside, media_type, require
from gateway.objects.endpoint_lookup import MICROSERVICE, EndpointLookup
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Action
from registry.catalog import Catalog
from registry.changes import Change, Deregistered, Registered
from registry.endpoints import (
    LIFETIME,
    MAX_RESOURCES,
    Hosted,
    InvalidEndpoint,
    Parameters,
    hosted,
    location_of,
    object_name,
    object_of,
    read_parameters,
)
from registry.link_format import InvalidLinks, parse_links
from registry.model import DirectoryEndpoint, Registration, RegistrationId, VirtualObject
from registry.names import Name

SOURCE: Final = "$base"
"""The parameter in which the CoAP listener tells where a request came from. It is the base if there
is no other (RFC 9176 section 5), and has to be allowed like any other."""
LINKS: Final = "application/link-format"
Pairs = list[tuple[str, str]]


class _Planned(NamedTuple):
    """An endpoint that was decided on."""

    endpoint: DirectoryEndpoint
    lifetime: int
    object: VirtualObject
    resources: Sequence[Hosted]


class ResourceDirectory:
    """The handlers; ``lookup`` answers those that read."""

    def __init__(self, site: Site, check_endpoint: CheckEndpoint) -> None:
        self.lookup = EndpointLookup(site)
        self._site = site
        self._check_endpoint = check_endpoint

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {
            "rd-register": self.register,
            "rd-update": self.update,
            "rd-remove": self.remove,
            "rd-endpoints": self.endpoints,
            "rd-resources": self.resources,
        }

    async def register(self, call: Call, _: Route, payload: bytes) -> Result:
        """Register an endpoint with its links, or replace its registration."""
        pairs, links = _said(call, payload)
        source = _take(pairs, SOURCE)
        said = _parameters(pairs)
        if said.name is None:
            raise Refusal(Status.BAD_REQUEST, "ep is missing: the endpoint's name")
        base = said.base or _parameters([("base", source)] if source else []).base
        if base is None:
            raise Refusal(Status.BAD_REQUEST, "base is missing: where the endpoint's links lead")
        endpoint = DirectoryEndpoint(
            said.name, said.sector, base, said.base is not None, links, said.attributes
        )
        planned = await self._plan(call, endpoint, said.lifetime or LIFETIME)
        return await self._write(call, planned)

    async def update(self, call: Call, _: Route, payload: bytes) -> Result:
        """Begin a registration's lifetime anew, and change what is said (section 5.3.1)."""
        pairs, links = _said(call, payload)
        location, source = _take(pairs, "location"), _take(pairs, SOURCE)
        said = _parameters(pairs)
        if links or said.name is not None or said.sector:
            detail = "links, ep and d are not changed by an update: register the endpoint again"
            raise Refusal(Status.BAD_REQUEST, detail)
        old = self._own(call, self._site.catalog, location)
        assert old.endpoint is not None
        changed = _updated(old.endpoint, said, source)
        lifetime = said.lifetime or old.lease
        if changed == old.endpoint and lifetime == old.lease:
            self._site.renew(old.id)
            return answer({"location": location, "lt": lifetime, "changed": False})
        planned = await self._plan(call, changed, lifetime)
        return await self._write(call, planned, updates=True)

    async def remove(self, call: Call, _: Route, payload: bytes) -> Result:
        """Remove a registration; its names go, and its endpoint's name is free (section 5.3.2)."""
        pairs, _links = _said(call, payload)
        location = _take(pairs, "location")

        def plan(catalog: Catalog) -> Sequence[Change]:
            return [Deregistered(self._own(call, catalog, location).id)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"location": location, "removed": True})

    async def endpoints(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return the endpoints that fit (section 6)."""
        return await self.lookup.endpoints(call, _said(call, payload)[0])

    async def resources(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return the links that fit (section 6)."""
        return await self.lookup.resources(call, _said(call, payload)[0])

    # Inside

    async def _plan(self, call: Call, endpoint: DirectoryEndpoint, lifetime: int) -> _Planned:
        """Read an endpoint's links, and decide on all that they mean; raises Refusal."""
        site = self._site
        try:
            name = object_name(site.authority, endpoint.name, endpoint.sector)

            def read() -> list[Hosted]:
                links = parse_links(endpoint.links.encode(), limit=MAX_RESOURCES)
                return hosted(links, endpoint.base)

            resources = read() if len(endpoint.links) <= SMALL else await aside(read)
            obj = object_of(name, endpoint, resources)
        except (InvalidLinks, InvalidEndpoint) as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error
        require(site, call, Action.BIND, name, endpoint=endpoint.base)
        why = await self._check_endpoint(endpoint.base, call.peer)
        if why is not None:
            raise Refusal(Status.DENIED, f"the base {endpoint.base} may not be bound: {why}")
        await admit(site, call, [obj], Action.REGISTER, self._check_endpoint)
        return _Planned(endpoint, lifetime, obj, resources)

    async def _write(self, call: Call, planned: _Planned, *, updates: bool = False) -> Result:
        """Enter a registration, if the endpoint's name is the caller's then."""
        endpoint, obj = planned.endpoint, planned.object
        location = location_of(endpoint.name, endpoint.sector)
        id_ = id_of(location)
        draft = Registration(
            id=id_,
            owner=call.principal.id,
            peer=call.peer,
            lease=planned.lifetime,
            generation=0,
            objects=(obj,),
            description=f"the endpoint {endpoint.name} of the resource directory",
            deployment="device",
            endpoint=endpoint,
        )

        def plan(catalog: Catalog) -> Sequence[Change]:
            owner = draft.owner
            if updates:
                owner = self._own(call, catalog, location).owner
            elif (old := catalog.registrations.get(id_)) is not None:
                owner = self._owner(call, old)
            refuse_clashes(self._site, call, catalog, owner, id_, [obj])
            new = replace(draft, owner=owner, generation=catalog.next_generation())
            return [Registered(new)]

        await self._site.ledger.change(call.principal.id, plan)
        unreached = [each.url for each in planned.resources if not each.member]
        return answer(
            {
                "location": location,
                "ep": endpoint.name,
                "d": endpoint.sector,
                "lt": planned.lifetime,
                "name": obj.name,
                "members": [name for name, _ in obj.members()],
                "links": unreached,
                "changed": True,
            }
        )

    def _owner(self, call: Call, old: Registration) -> str:
        """Return whose an endpoint's name is; raises Refusal when it is not the caller's."""
        if old.owner != call.principal.id and call.principal.kind != ADMINISTRATOR:
            detail = "the endpoint's name is taken by another principal: choose another ep"
            raise Refusal(Status.CONFLICT, detail)
        return old.owner

    def _own(self, call: Call, catalog: Catalog, location: str) -> Registration:
        """Return a registration that has not ended and is the caller's; raises Refusal."""
        found = catalog.registrations.get(id_of(location))
        principal = call.principal
        if found is None or found.endpoint is None or not found.live:
            raise Refusal(Status.NOT_FOUND, f"there is no registration {location[:64]!r}")
        if found.owner == principal.id or principal.kind == ADMINISTRATOR:
            return found
        if any(
            self._site.allowed(principal, Action.DESCRIBE, Name(obj.name)) for obj in found.objects
        ):
            raise Refusal(Status.DENIED, f"the registration {location} is another principal's")
        raise Refusal(Status.NOT_FOUND, f"there is no registration {location[:64]!r}")


def id_of(location: str) -> RegistrationId:
    """Return the id that a registration resource has in the catalog."""
    return RegistrationId(MICROSERVICE, "1", location)


def _said(call: Call, payload: bytes) -> tuple[Pairs, str]:
    """Return the parameters and the links of a request: of its query, and of a payload of JSON."""
    try:
        query = call.query.decode("latin-1")
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=64)
        kind = media_type(call)
        if kind == LINKS or (payload and not call.content_type):
            return pairs, payload.decode()
        if kind != "application/json":
            detail = f"links are {LINKS}, not {kind}; or JSON with the member links"
            raise Refusal(Status.UNSUPPORTED_TYPE, detail)
        said: dict[str, Any] = msgspec.json.decode(payload or b"{}", type=dict[str, str | int])
    except ValueError as error:  # also of UTF-8, and of msgspec
        raise Refusal(Status.BAD_REQUEST, f"the parameters cannot be read: {error}") from error
    links = str(said.pop("links", ""))
    return pairs + [(name, str(value)) for name, value in said.items()], links


def _take(pairs: Pairs, name: str) -> str:
    """Take a parameter out; "" if it is not there."""
    found = [value for each, value in pairs if each == name]
    pairs[:] = [pair for pair in pairs if pair[0] != name]
    return found[-1] if found else ""


def _parameters(pairs: Pairs) -> Parameters:
    try:
        return read_parameters(pairs)
    except InvalidEndpoint as error:
        raise Refusal(Status.BAD_REQUEST, str(error)) from error


def _updated(old: DirectoryEndpoint, said: Parameters, source: str) -> DirectoryEndpoint:
    """Return an endpoint with what an update says; a base that was said once is kept."""
    base, given = old.base, old.given
    if said.base is not None:
        base, given = said.base, True
    elif source and not given:
        base = _parameters([("base", source)]).base or base
    names = {name for name, _ in said.attributes}
    kept = tuple(pair for pair in old.attributes if pair[0] not in names)
    return replace(old, base=base, given=given, attributes=kept + said.attributes)
