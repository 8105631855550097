"""Descriptions: of an object, of one of its members, of a microservice (S3 III-D ``introspect``).

Whoever asks sees only what policy lets it describe, in the format that it asks for.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, aside, name_of, read, require
from gateway.objects.listing import SLICE, may_describe
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Action
from policy.resolution import STATIC, Target
from registry.describe import describe_microservice, describe_object
from registry.index.closure import Closure
from registry.index.triples import Offered, Service, subject_of
from registry.model import EventChannel, Kind, Method, Registration, RegistrationId, VirtualObject
from registry.names import Name, member, parent
from registry.renderings.formats import NAMES, TYPES, Choice, named, negotiated
from registry.renderings.shown import Part, Shown
from registry.renderings.style import POLICY
from registry.things.view import Bases

_ACTIONS: Final = {
    Kind.METHOD: (Action.CALL,),
    Kind.CHANNEL: (Action.SUBSCRIBE, Action.PUBLISH),
}
"""What the reader of a description is told that it may do."""
_FIELDS: Final = (b"Vary: Accept, Authorization\r\n", b"X-Content-Type-Options: nosniff\r\n")
_PAGE: Final = (
    *_FIELDS,
    b"Content-Security-Policy: %b\r\n" % POLICY.encode(),
    b"Referrer-Policy: no-referrer\r\n",
)
QUICK: Final = ("json",)
"""Formats that are made at once; what others need may take longer, and is made in a thread."""


class Shape(Request, frozen=True):
    """How to show: ``format`` is a short name or a media type, and comes before ``Accept``."""

    format: str = ""


class Introspect(Shape, frozen=True, kw_only=True):
    """An object, a method, a channel or a microservice by its name."""

    name: str


class DescribeObject:
    """The handlers of ``describe`` on names, and of introspection.

    ``bases`` gives where the site is reached, ``closure`` what ontologies say.
    """

    def __init__(
        self,
        site: Site,
        bases: Callable[[], Bases] = Bases,
        closure: Callable[[], Closure] = Closure,
    ) -> None:
        self._site = site
        self._bases = bases
        self._closure = closure

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"introspect": self.introspect}

    async def describe(self, call: Call, route: Route, payload: bytes) -> Result:
        """Describe a name, or introspect a microservice, in the format that is asked for."""
        asked = await read(call, payload, Shape)
        choice = _choice(call, asked.format)
        if call.name not in self._site.view.routes:
            return await self._microservice(call, choice, member(parent(call.name) or call.name))
        return await self._named(call, choice, route)

    async def introspect(self, call: Call, _: Route, payload: bytes) -> Result:
        """Describe an object, a member or a microservice by name."""
        asked = await read(call, payload, Introspect)
        choice = _choice(call, asked.format)
        name = name_of(self._site, asked.name)
        route = self._site.view.routes.get(name)
        if route is None:
            return await self._microservice(call, choice, member(name))
        require(self._site, call, Action.DESCRIBE, name, route.owner)
        return await self._named(call, choice, route)

    async def _named(self, call: Call, choice: Choice, route: Route) -> Result:
        """Describe an object, or the object of a member with this member only."""
        whole = route.name if route.kind is Kind.OBJECT else parent(route.name) or route.name
        record = self._site.catalog.names.get(whole)
        only = "" if route.kind is Kind.OBJECT else member(route.name)
        offers = record.offers if record is not None else ()
        objects = [
            self._visible(call, offer.definition, only)
            for offer in offers
            if isinstance(offer.definition, VirtualObject)
        ]
        bound = self._visible(call, self._bound(whole), only)
        may = await self._hints(call, [*objects, bound])
        described = describe_object(
            whole, route.owner, [*objects, bound], self._bindings(call, whole), may
        )
        parts = [self._part(whole, objects, (offer.registration for offer in offers))]
        return await self._rendered(choice, described, parts if objects else [])

    def _bound(self, name: Name) -> VirtualObject:
        """Return an object of the methods that a ``Binding`` gives it, whoever registered more."""
        routes = map(self._site.view.routes.get, self._site.view.children.get(name, ()))
        methods = {
            member(route.name): route.method
            for route in routes
            if route is not None and route.method is not None
        }
        return VirtualObject(name, methods=methods)

    async def _microservice(self, call: Call, choice: Choice, name: str) -> Result:
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
        offered = _offered(registrations)
        may = await self._hints(call, (obj for objects, _ in offered.values() for obj in objects))
        described = describe_microservice(name, registrations, partial(self._bindings, call), may)
        parts = [self._part(each, objects, ids) for each, (objects, ids) in offered.items()]
        return await self._rendered(choice, described, parts)

    def _part(
        self, name: Name, objects: list[VirtualObject], ids: Iterable[RegistrationId]
    ) -> Part:
        """Return one object of what all registrations say of it, the first one's word first."""
        catalog = self._site.catalog
        registrations = map(catalog.registrations.get, ids)
        services = tuple(Service(r.id, r.deployment) for r in registrations if r is not None)
        id_ = catalog.thing_of.get(name, "")
        obj = _merged(name, objects)
        subject = subject_of(Offered(name, obj, services, id_), self._closure())
        return Part(name, obj, subject, catalog.things.get(id_), services)

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

    def _may(self, call: Call, name: Name, action: Action = Action.DESCRIBE) -> bool:
        return self._site.allowed(call.principal, action, name)

    async def _hints(
        self, call: Call, objects: Iterable[VirtualObject]
    ) -> Callable[[Name, Method | EventChannel], list[str]]:
        """Find out what the reader may do with each member; others run in between."""
        hints: dict[Name, list[str]] = {}
        for obj in objects:
            for name, definition in obj.members():
                kind = Kind.METHOD if isinstance(definition, Method) else Kind.CHANNEL
                hints[name] = [each for each in _ACTIONS[kind] if self._may(call, name, each)]
                if len(hints) % SLICE == 0:
                    await asyncio.sleep(0)
        return lambda name, _: hints[name]

    def _bindings(self, call: Call, name: Name) -> dict[Name, list[dict[str, Any]]]:
        """Return where each method of an object goes now; addresses are the owner's to know."""
        now, principal = self._site.plane.now, call.principal
        bindings: dict[Name, list[dict[str, Any]]] = {}
        for child in self._site.view.children.get(name, ()):
            route = self._site.view.routes.get(child)
            if route is not None and route.selection is not None:
                known = principal.kind == ADMINISTRATOR or principal.id == route.owner
                bindings[child] = [
                    {
                        "target": str(target) if known else _who(target),
                        "healthy": target.health.ok(now),
                    }
                    for target in route.selection.targets()
                ]
        return bindings

    async def _rendered(
        self, choice: Choice, described: dict[str, Any], parts: list[Part]
    ) -> Result:
        shown = Shown(self._site.authority, described, tuple(parts), self._bases())
        render = partial(choice.format.render, shown)
        body = render() if choice.format.name in QUICK else await aside(render)
        fields = _PAGE if choice.format.name == "html" else _FIELDS
        return Result(body, choice.format.content_type(choice.media_type), fields=fields)


def _who(target: Target) -> str:
    """Say who answers, without saying where."""
    return "an operator's binding" if target.registration == STATIC else str(target.registration)


def _choice(call: Call, wanted: str) -> Choice:
    """Return the format that is asked for, by name or by ``Accept``."""
    if wanted:
        choice = named(wanted)
        if choice is None:
            detail = f"there is no format {wanted[:80]!r}: use one of {', '.join(NAMES)}"
            raise Refusal(Status.BAD_REQUEST, detail)
        return choice
    choice = negotiated(_accept(call))
    if choice is None:
        detail = f"descriptions come as {', '.join(TYPES)}"
        raise Refusal(Status.NOT_ACCEPTABLE, detail, extra={"types": list(TYPES)})
    return choice


def _accept(call: Call) -> str:
    """Return all that a call's ``Accept`` fields say."""
    fields = call.fields
    said = [fields[at + 2] for at in range(0, len(fields), 4) if fields[at].lower() == b"accept"]
    return b",".join(said).decode("latin-1")


def _offered(
    registrations: Iterable[Registration],
) -> dict[Name, tuple[list[VirtualObject], list[RegistrationId]]]:
    """Return who offers which object, in the order of the registrations."""
    found: dict[Name, tuple[list[VirtualObject], list[RegistrationId]]] = {}
    for registration in registrations:
        for obj in registration.everything():
            objects, ids = found.setdefault(Name(obj.name), ([], []))
            objects.append(obj)
            ids.append(registration.id)
    return found


def _merged(name: Name, objects: Iterable[VirtualObject]) -> VirtualObject:
    merged = VirtualObject(name)
    for each in objects:
        merged = replace(
            merged,
            description=merged.description or each.description,
            methods={**each.methods, **merged.methods},
            channels={**each.channels, **merged.channels},
            types=merged.types or each.types,
            place=merged.place or each.place,
        )
    return merged
