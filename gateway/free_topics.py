"""Channels that nobody registered: a policy opens a space of names for them (``TopicSpace``)."""

from gateway.quality.admission import Admission
from gateway.view import Meter, Route
from policy.model import TopicSpace
from policy.patterns import PatternIndex
from registry.model import EventChannel, Kind
from registry.names import Name, is_reserved

REMEMBERED = 10_000
"""Routes that are kept ready; asking about a name must not cost memory for ever."""


class FreeTopics:
    """The Routes of names in open spaces, made when they are asked for."""

    def __init__(
        self, spaces: PatternIndex[TopicSpace], meter: Meter, admission: Admission | None = None
    ) -> None:
        self._spaces = spaces
        self._meter = meter
        self._admission = admission
        self._routes: dict[Name, Route] = {}

    def find(self, name: Name) -> Route | None:
        """Return the Route of a name in an open space."""
        route = self._routes.get(name)
        if route is None and not is_reserved(name):
            space = next(self._spaces.matching(name), None)
            if space is not None:
                if len(self._routes) >= REMEMBERED:
                    self._routes.clear()
                route = self._routes[name] = self._route(name, space)
        return route

    def forget(self) -> None:
        """Spaces have changed, or quality policies."""
        self._routes.clear()

    def _route(self, name: Name, space: TopicSpace) -> Route:
        route = Route(name, Kind.CHANNEL, "", self._meter)
        route.channel = EventChannel(retain=space.retain, overflow=space.overflow)
        route.free = True
        if self._admission is not None:
            route.gate = self._admission.gate_of(name)
        return route
