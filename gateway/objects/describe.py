"""Descriptions: of an object, of a microservice (S3 III-D ``introspect``), and the listing.

Whoever asks sees only what policy lets it describe.
"""

from collections.abc import Iterable
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from typing import Any

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.manifest import describe_microservice, describe_object, render_text
from registry.model import Kind, Registration, VirtualObject
from registry.names import Name, join, member, parent

PAGE = 1000
"""Most entries of one answer."""


class Listing(Request, frozen=True):
    """A page of names: below ``prefix``, of one ``kind``, after the name ``after``."""

    prefix: str = ""
    kind: str = ""
    after: str = ""
    limit: int = 100


class Registrations(Request, frozen=True):
    """A page of registrations after the id ``after``, of one microservice or of all."""

    microservice: str = ""
    after: str = ""
    limit: int = 100


class Introspect(Request, frozen=True):
    """An object or a microservice by its name."""

    name: str


class DescribeObject:
    """The handlers of ``describe`` on objects, and of listing and introspection."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {
            "list": self.list_names,
            "registrations": self.registrations,
            "introspect": self.introspect,
        }

    async def describe(self, call: Call, route: Route, _: bytes) -> Result:
        """Describe an object, or introspect a microservice: as JSON, or text if asked for."""
        if route.kind is Kind.METHOD:
            return self._microservice(call, member(parent(call.name) or call.name))
        return self._object(call, route)

    async def introspect(self, call: Call, _: Route, payload: bytes) -> Result:
        """Describe an object or a microservice by name."""
        text = (await read(call, payload, Introspect)).name
        name = name_of(self._site, text)
        route = self._site.view.find(name)
        if route is None or route.kind is not Kind.OBJECT:
            return self._microservice(call, member(name))
        require(self._site, call, Action.DESCRIBE, name, route.owner)
        return self._object(call, route)

    async def list_names(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of names with what they are and whose."""
        asked = await read(call, payload, Listing)
        site = self._site
        prefix = (
            name_of(site, asked.prefix, reserved=True) if asked.prefix else Name(site.authority)
        )
        found = (
            route
            for route in self._routes(prefix)
            if route.name > asked.after
            and asked.kind in ("", route.kind)
            and site.allowed(call.principal, Action.DESCRIBE, route.name)
        )
        limit = max(1, min(asked.limit, PAGE))
        page = list(islice(found, limit))
        items = [
            {"name": r.name, "kind": r.kind, "owner": r.owner, "live": _is_live(r)} for r in page
        ]
        more = page[-1].name if len(page) == limit else ""
        return answer({"items": items, "next": more})

    async def registrations(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of registrations, in the order of their ids."""
        asked = await read(call, payload, Registrations)
        found = (
            (str(id_), registration)
            for id_, registration in self._site.catalog.registrations.items()
            if str(id_) > asked.after
            and asked.microservice in ("", id_.microservice)
            and self._may_describe(call, registration)
        )
        limit = max(1, min(asked.limit, PAGE))
        page = nsmallest(limit, found, key=itemgetter(0))
        items = [_registration(registration) for _, registration in page]
        return answer({"items": items, "next": page[-1][0] if len(page) == limit else ""})

    def _routes(self, prefix: Name) -> Iterable[Route]:
        """Yield the Routes at and below a prefix in the order of their names."""
        view = self._site.view
        here = view.routes.get(prefix)
        if here is not None:
            yield here
        for child in sorted(view.children.get(prefix, ())):
            yield from self._routes(child)

    def _object(self, call: Call, route: Route) -> Result:
        site = self._site
        objects = [
            offer.definition
            for offer in site.catalog.names[route.name].offers
            if isinstance(offer.definition, VirtualObject)
        ]
        described = describe_object(route.name, route.owner, objects, self._bindings(route.name))
        return _rendered(call, described)

    def _microservice(self, call: Call, name: str) -> Result:
        registrations = [
            registration
            for registration in self._site.registrations_of(name)
            if self._may_describe(call, registration)
        ]
        if not registrations:
            raise Refusal(Status.NOT_FOUND, f"{name} is no object and no microservice here")
        described = describe_microservice(name, registrations, self._bindings)
        return _rendered(call, described)

    def _may_describe(self, call: Call, registration: Registration) -> bool:
        """Decide by its objects, by its own name while it has none."""
        names = [obj.name for obj in registration.everything()]
        names = names or [join(Name(self._site.authority), registration.id.microservice)]
        return any(
            self._site.allowed(call.principal, Action.DESCRIBE, Name(name)) for name in names
        )

    def _bindings(self, name: Name) -> dict[Name, list[dict[str, Any]]]:
        """Return where each method of an object goes now."""
        now = self._site.plane.now
        bindings: dict[Name, list[dict[str, Any]]] = {}
        for child in self._site.view.children.get(name, ()):
            route = self._site.view.routes.get(child)
            if route is not None and route.selection is not None:
                bindings[child] = [
                    {"target": str(target), "healthy": target.health.ok(now)}
                    for target in route.selection.targets()
                ]
        return bindings


def _registration(registration: Registration) -> dict[str, Any]:
    id_ = registration.id
    return {
        **id_._asdict(),
        "owner": registration.owner,
        "live": registration.live,
        "lease": registration.lease,
        "objects": len(registration.everything()),
        "description": registration.description,
    }


def _is_live(route: Route) -> bool:
    return route.selection is None or any(True for _ in route.selection.targets())


def _rendered(call: Call, described: dict[str, Any]) -> Result:
    """Return JSON, or readable text to who asks for it."""
    if b"text/plain" in _accept(call):
        return Result(render_text(described).encode(), b"text/plain; charset=utf-8")
    return answer(described)


def _accept(call: Call) -> bytes:
    fields = call.fields
    for at in range(0, len(fields), 4):
        if fields[at].lower() == b"accept":
            return fields[at + 2]
    return b""
