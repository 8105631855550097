"""Every microservice answers ``<authority>/<microservice>/introspect`` unregistered (S3 III-D)."""

from collections.abc import Callable

from gateway.view import Meter, Route
from policy.model import Action
from registry.catalog import Catalog
from registry.model import Kind, Method, Registration, RegistrationId
from registry.names import InvalidName, Name, encode_segment

_METHOD = Method("Describe this microservice: its objects, versions and bindings", safe=True)


class Introspection:
    """The microservices that are registered, live or not, and the Route of each description."""

    def __init__(self, authority: str, catalog: Catalog, meter_of: Callable[[str], Meter]) -> None:
        self._authority = authority
        self._catalog = catalog
        self._meter_of = meter_of
        self._registered: dict[str, dict[RegistrationId, None]] = {}
        self._routes: dict[Name, Route] = {}

    def find(self, name: Name) -> Route | None:
        """Return the Route of an introspection."""
        return self._routes.get(name)

    def registrations_of(self, segment: str) -> list[Registration]:
        """Return the registrations of a microservice, a segment of a name, sorted by id."""
        registrations = self._catalog.registrations
        return [registrations[id_] for id_ in sorted(self._registered.get(segment, ()))]

    def update(self, id_: RegistrationId) -> None:
        """Follow the catalog: this registration came or went."""
        segment = _segment(id_)
        if not segment:
            return
        name = Name(f"{self._authority}/{segment}/introspect")
        known = self._registered.setdefault(segment, {})
        if id_ in self._catalog.registrations:
            known[id_] = None
            if name not in self._routes:
                self._routes[name] = self._route(name, id_.microservice)
            return
        known.pop(id_, None)
        if not known:
            del self._registered[segment]
            self._routes.pop(name, None)

    def _route(self, name: Name, microservice: str) -> Route:
        route = Route(name, Kind.METHOD, "", self._meter_of(microservice))
        route.action = Action.DESCRIBE
        route.method = _METHOD
        return route


def _segment(id_: RegistrationId) -> str:
    """Return the segment that a microservice is named by, "" if it cannot be in a name."""
    try:
        return encode_segment(id_.microservice)
    except InvalidName:
        return ""
