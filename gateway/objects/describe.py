"""Descriptions: of an object, of one of its members, of a microservice (S3 III-D ``introspect``).

Whoever asks sees only what policy lets it describe.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.listing import may_describe
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.manifest import describe_microservice, describe_object, render_text
from registry.model import Kind, VirtualObject
from registry.names import Name, member, parent


class Introspect(Request, frozen=True):
    """An object, a method, a channel or a microservice by its name."""

    name: str


class DescribeObject:
    """The handlers of ``describe`` on names, and of introspection."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"introspect": self.introspect}

    async def describe(self, call: Call, route: Route, _: bytes) -> Result:
        """Describe a name, or introspect a microservice: as JSON, or text if asked for."""
        if call.name not in self._site.view.routes:
            return self._microservice(call, member(parent(call.name) or call.name))
        return self._named(call, route)

    async def introspect(self, call: Call, _: Route, payload: bytes) -> Result:
        """Describe an object, a member or a microservice by name."""
        name = name_of(self._site, (await read(call, payload, Introspect)).name)
        route = self._site.view.routes.get(name)
        if route is None:
            return self._microservice(call, member(name))
        require(self._site, call, Action.DESCRIBE, name, route.owner)
        return self._named(call, route)

    def _named(self, call: Call, route: Route) -> Result:
        """Describe an object, or the object of a member with this member only."""
        whole = route.name if route.kind is Kind.OBJECT else parent(route.name) or route.name
        record = self._site.catalog.names.get(whole)
        offered = [offer.definition for offer in record.offers] if record is not None else []
        offered.append(self._bound(whole))
        only = "" if route.kind is Kind.OBJECT else member(route.name)
        objects = [
            self._visible(call, definition, only)
            for definition in offered
            if isinstance(definition, VirtualObject)
        ]
        return _rendered(call, describe_object(whole, route.owner, objects, self._bindings(whole)))

    def _bound(self, name: Name) -> VirtualObject:
        """Return an object of the methods that a ``Binding`` gives it, whoever registered more."""
        routes = map(self._site.view.routes.get, self._site.view.children.get(name, ()))
        methods = {
            member(route.name): route.method
            for route in routes
            if route is not None and route.method is not None
        }
        return VirtualObject(name, methods=methods)

    def _microservice(self, call: Call, name: str) -> Result:
        registrations = [
            replace(
                registration,
                objects=tuple(self._visible_of(call, registration.objects)),
                created=tuple(self._visible_of(call, registration.created)),
            )
            for registration in self._site.registrations_of(name)
            if may_describe(self._site, call, registration)
        ]
        if not registrations:
            raise Refusal(Status.NOT_FOUND, f"{name} is no name and no microservice here")
        return _rendered(call, describe_microservice(name, registrations, self._bindings))

    def _visible_of(self, call: Call, objects: Iterable[VirtualObject]) -> list[VirtualObject]:
        return [self._visible(call, obj) for obj in objects if self._may(call, Name(obj.name))]

    def _visible(self, call: Call, obj: VirtualObject, only: str = "") -> VirtualObject:
        """Return an object with the members that may be described, or one of them."""
        seen = {
            member(name)
            for name, _ in obj.members()
            if only in ("", member(name)) and self._may(call, name)
        }
        return replace(
            obj,
            methods={name: each for name, each in obj.methods.items() if name in seen},
            channels={name: each for name, each in obj.channels.items() if name in seen},
        )

    def _may(self, call: Call, name: Name) -> bool:
        return self._site.allowed(call.principal, Action.DESCRIBE, name)

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
