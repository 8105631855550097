"""The View: the immutable compiled state that traffic is decided on (design 5).

``compile_route`` makes one Route from the catalog's record of a name and the policies about it;
``View.install`` swaps all touched Routes in one step. A call keeps the Route that it began with.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from mypy_extensions import mypyc_attr

from gateway.message import Status
from gateway.quality.admission import Admission, Gate
from policy.model import Action, Binding, HealthCheck, ResolutionPolicy
from policy.resolution import STATIC, Health, Selection, Source, Target, compile_selection
from registry.catalog import Catalog
from registry.model import (
    Definition,
    Endpoint,
    EventChannel,
    Kind,
    Method,
    NameRecord,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name
from registry.validation import Validator

DEFAULT_RESOLUTION = ResolutionPolicy(names=("**",))
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""


@mypyc_attr(native_class=False)  # weak references need an ordinary class
class Meter:
    """Counters of one microservice, shared by its Routes."""

    __slots__ = ("__weakref__", "_counts", "buckets", "microservice", "seconds")

    def __init__(self, microservice: str) -> None:
        self.microservice = microservice
        self._counts: dict[Action, list[int]] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, action: Action, status: Status, seconds: float) -> None:
        """Count one exchange that ended."""
        counts = self._counts.get(action)
        if counts is None:
            counts = self._counts[action] = [0] * len(Status)
        counts[status] += 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def passed(self, action: Action) -> None:
        """Count one that went well and took no time: cheaper than ``observe``."""
        counts = self._counts.get(action)
        if counts is None:
            counts = self._counts[action] = [0] * len(Status)
        counts[0] += 1
        self.buckets[0] += 1

    @property
    def counts(self) -> dict[tuple[Action, Status], int]:
        """How many exchanges ended, by action and status."""
        return {
            (action, status): counts[status]
            for action, counts in self._counts.items()
            for status in Status
            if counts[status]
        }


class Route:
    """One compiled name. ``selection`` is None for objects, and channels have a ``channel``.

    ``free``: a topic in a space that a policy opened, not a registered channel.
    ``one_of_group``: a channel's events are dispatched among its subscribers, not duplicated (S3).
    """

    __slots__ = (
        "action",
        "channel",
        "free",
        "gate",
        "kind",
        "meter",
        "method",
        "name",
        "object",
        "one_of_group",
        "owner",
        "selection",
        "validator",
    )

    def __init__(self, name: Name, kind: Kind, owner: str, meter: Meter) -> None:
        self.name = name
        self.kind = kind
        self.owner = owner
        self.meter = meter
        self.action = Action.CALL
        """What calling it asks of policy: ``describe`` for an introspection."""
        self.method: Method | None = None
        self.channel: EventChannel | None = None
        self.object: VirtualObject | None = None
        self.selection: Selection | None = None
        self.validator: Validator | None = None
        """What a payload must fit, when its definition says so."""
        self.one_of_group = False
        self.free = False
        self.gate: Gate | None = None
        """What quality policies ask of its traffic; None: no policy covers the name."""


class View:
    """Routes by name, and what is shared between them. One writer: ``install``."""

    def __init__(self) -> None:
        self.routes: dict[Name, Route] = {}
        self.children: dict[Name, dict[Name, None]] = {}
        self.implicit: Callable[[Name], Route | None] = _nothing
        """Routes that are made when asked for: every microservice's ``introspect``."""
        self._healths: WeakValueDictionary[tuple[str, HealthCheck | None], Health]
        self._healths = WeakValueDictionary()
        self._meters: WeakValueDictionary[str, Meter] = WeakValueDictionary()
        self._probed: dict[Health, dict[Target, HealthCheck]] = {}

    def install(self, routes: Mapping[Name, Route | None]) -> None:
        """Put all touched Routes in place at once; None removes a name."""
        there = self.routes
        old = [there[name] for name in routes if name in there]
        new = {name: route for name, route in routes.items() if route is not None}
        came = [name for name in new if name not in there]
        went = [name for name in routes if name in there and name not in new]
        there.update(new)
        for name in went:
            del there[name]
        for name in came:
            self._remember(name)
        for name in went:
            self._forget(name)
        for route in new.values():
            if route.selection is not None and route.selection.health_check is not None:
                self._probe(route.selection, route.selection.health_check)
        for route in old:
            if route.selection is not None and route.selection.health_check is not None:
                self._probe_no_more(route.selection)

    def find(self, name: Name) -> Route | None:
        """Return the Route of a name, None when nothing has that name."""
        return self.routes.get(name) or self.implicit(name)

    def under(self, name: Name) -> Iterator[Name]:
        """Yield every name below ``name``, depth first."""
        for child in tuple(self.children.get(name, ())):
            if child in self.routes:
                yield child
            yield from self.under(child)

    def health_of(self, origin: str, check: HealthCheck | None) -> Health:
        """Return the shared health of an origin; it lives as long as a Route uses it.

        Probes that differ may find different things, so each kind has a health of its own.
        """
        health = self._healths.get((origin, check))
        if health is None:
            health = self._healths[origin, check] = Health()
        return health

    def probed(self) -> Iterator[tuple[Target, HealthCheck]]:
        """Yield one target of each origin that is to be probed, and how: only HTTP is."""
        for targets in self._probed.values():
            yield next(iter(targets.items()))

    def meter_of(self, microservice: str) -> Meter:
        """Return the shared counters of a microservice."""
        meter = self._meters.get(microservice)
        if meter is None:
            meter = self._meters[microservice] = Meter(microservice)
        return meter

    def meters(self) -> list[Meter]:
        """Return the counters of every microservice that has Routes."""
        return list(self._meters.values())

    def _probe(self, selection: Selection, check: HealthCheck) -> None:
        for target in selection.targets():
            if target.provider == "http":
                self._probed.setdefault(target.health, {})[target] = check

    def _probe_no_more(self, selection: Selection) -> None:
        for target in selection.targets():
            targets = self._probed.get(target.health, {})
            if targets.pop(target, None) is not None and not targets:
                del self._probed[target.health]

    def _remember(self, name: Name) -> None:
        above = _above(name)
        while above:
            siblings = self.children.setdefault(above, {})
            if name in siblings:
                return
            siblings[name] = None
            name, above = above, _above(above)

    def _forget(self, name: Name) -> None:
        while name not in self.routes and name not in self.children:
            above = _above(name)
            siblings = self.children.get(above, {})
            if name not in siblings:
                return
            del siblings[name]
            if siblings:
                return
            del self.children[above]
            name = above


class Compiler:
    """Compiles Routes from a catalog; ``resolution_of`` and ``static_of`` look up policies.

    ``sessions_of`` returns the sources of live sessions that provide a name themselves.
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        resolution_of: Callable[[Name], ResolutionPolicy | None],
        static_of: Callable[[Name], Sequence[Binding]],
        sessions_of: Callable[[Name], Sequence[Source]],
        admission: Admission | None = None,
    ) -> None:
        self._catalog = catalog
        self._view = view
        self._resolution_of = resolution_of
        self._static_of = static_of
        self._sessions_of = sessions_of
        self._admission = admission
        self.dead: set[RegistrationId] = set()
        """Registrations that have expired, before the log says so."""

    def compile(self, names: Iterable[Name]) -> dict[Name, Route | None]:
        """Compile the Routes of ``names``; a name that exists no more compiles to None."""
        routes = {name: self._route(name) for name in names}
        if self._admission is not None:
            for route in routes.values():
                if route is not None:
                    route.gate = self._admission.gate_of(route.name)
        return routes

    def _route(self, name: Name) -> Route | None:
        record = self._catalog.names.get(name)
        static = self._static_of(name)
        if record is None:
            return self._static_route(name, static) if static else None
        meter = self._view.meter_of(record.offers[0].registration.microservice)
        route = Route(name, record.kind, record.owner, meter)
        definition = self._definition(record)
        if isinstance(definition, Method):
            route.method = definition
            route.validator = _validator(definition.input)
            sources = [*map(_static_source, static), *self._sources(record)]
            route.selection = self._select(name, sources)
        elif isinstance(definition, EventChannel):
            route.channel = definition
            route.validator = _validator(definition.schema)
            policy = self._resolution_of(name) or DEFAULT_RESOLUTION
            route.one_of_group = policy.delivery == "one-of-group"
        else:
            route.object = definition
        return route

    def _definition(self, record: NameRecord) -> Definition:
        live = self._catalog.live_offers(record) or record.offers
        return live[0].definition

    def _sources(self, record: NameRecord) -> list[Source]:
        """Return what provides a method, in the order of registration: the first is established."""
        sessions = list(self._sessions_of(record.name))
        sources: list[Source] = []
        for id_, definition in self._catalog.live_offers(record):
            sources += [s for s in sessions if s.registration == id_]
            if isinstance(definition, Method) and id_ not in self.dead:
                registration = self._catalog.registrations[id_]
                sources += [
                    Source(id_, endpoint, registration.peer, owner=registration.owner)
                    for endpoint in definition.endpoints
                ]
        return sources + [s for s in sessions if s not in sources]

    def _static_route(self, name: Name, static: Sequence[Binding]) -> Route:
        route = Route(name, Kind.METHOD, "", self._view.meter_of(STATIC.microservice))
        first = static[0]
        route.method = Method(first.description, safe=first.safe, idempotent=first.idempotent)
        route.selection = self._select(name, [_static_source(b) for b in static])
        return route

    def _select(self, name: Name, sources: Sequence[Source]) -> Selection:
        policy = self._resolution_of(name) or DEFAULT_RESOLUTION
        guard_of = None if self._admission is None else self._admission.guard_of
        return compile_selection(name, sources, policy, self._view.health_of, guard_of)


def _validator(schema: dict[str, Any] | None) -> Validator | None:
    return None if schema is None else Validator(schema)


def _static_source(binding: Binding) -> Source:
    endpoint = Endpoint(binding.endpoint, binding.method, binding.args, binding.encoding)
    return Source(STATIC, endpoint, "")


def _nothing(_: Name) -> Route | None:
    return None


def _above(name: Name) -> Name:
    """Return the name one level up; the authority is the root, "" is above it."""
    return Name(name.rpartition("/")[0])
