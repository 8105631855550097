"""The View: what a name compiles to, and what the index of names and the probes know of it."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message import Status
from gateway.view import BUCKETS, Compiler, Meter, Route, View
from policy.model import Action, Binding, Choice, HealthCheck, ResolutionPolicy
from policy.resolution import STATIC, Source
from registry.catalog import Catalog
from registry.changes import Change, Deregistered, Expired, ObjectDestroyed, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Kind,
    Method,
    Registration,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name

A = RegistrationId("R", "1", "a")
B = RegistrationId("R", "2", "b")
PLAN = Name("s/Plan")
MAKE = Name("s/Plan/make")
NEWS = Name("s/Plan/news")
CHECK = HealthCheck("/healthz")


class World:
    """A catalog, a View of it, and the policies that the compiler asks for."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.view = View()
        self.resolution: ResolutionPolicy | None = None
        self.static: dict[Name, list[Binding]] = {}
        self.sessions: dict[Name, list[Source]] = {}
        self.compiler = Compiler(
            self.catalog,
            self.view,
            lambda name: self.resolution,
            lambda name: self.static.get(name, []),
            lambda name: self.sessions.get(name, []),
        )

    def apply(self, *changes: Change) -> None:
        for change in changes:
            self.compile(*self.catalog.apply(change).names)

    def compile(self, *names: Name) -> None:
        self.view.install(self.compiler.compile(names))

    def route(self, name: Name) -> Route:
        route = self.view.find(name)
        assert route is not None
        return route

    def urls(self, name: Name = MAKE) -> list[str]:
        selection = self.route(name).selection
        assert selection is not None
        return [t.endpoint.url or t.session for t in selection.targets()]


def registered(
    id_: RegistrationId, *, url: str = "", owner: str = "svc:r", **traits: bool
) -> Registered:
    url = url or f"http://{id_.instance}.test/make"
    plan = VirtualObject(
        PLAN,
        methods={"make": Method(endpoints=(Endpoint(url),), **traits)},
        channels={"news": EventChannel(durable=True)},
    )
    return Registered(Registration(id_, owner, "10.0.0.1", 60, 1, (plan,)))


@pytest.fixture
def world() -> World:
    return World()


# --- compiling -------------------------------------------------------------------------------


def test_each_name_of_a_registration_has_its_route(world):
    world.apply(registered(A, safe=True))
    plan, make, news = map(world.route, (PLAN, MAKE, NEWS))
    assert [r.kind for r in (plan, make, news)] == [Kind.OBJECT, Kind.METHOD, Kind.CHANNEL]
    assert {r.owner for r in (plan, make, news)} == {"svc:r"}
    assert make.method.safe
    assert make.action is Action.CALL
    assert news.channel.durable
    assert plan.object.name == PLAN
    assert plan.selection is news.selection is None
    target = make.selection.single
    assert (target.peer, target.owner, target.registration) == ("10.0.0.1", "svc:r", A)


def test_a_name_that_is_gone_has_no_route(world):
    world.apply(registered(A), ObjectDestroyed(PLAN))
    assert world.view.routes == {}
    assert world.view.find(MAKE) is None


def test_a_name_that_never_was_compiles_to_nothing(world):
    world.compile(MAKE)
    assert world.view.routes == {}
    assert world.view.children == {}


def test_expiry_takes_the_bindings_and_keeps_the_names(world):
    world.apply(registered(A), Expired(A, 1))
    assert world.urls() == []
    assert world.route(NEWS).channel.durable
    assert world.route(MAKE).owner == "svc:r"


def test_a_lease_that_ran_out_counts_before_the_log_says_so(world):
    world.apply(registered(A), registered(B))
    world.compiler.dead.add(A)
    world.compile(MAKE)
    assert world.urls() == ["http://b.test/make"]


def test_the_definition_is_the_established_live_one(world):
    world.apply(registered(A, safe=True), registered(B, safe=False))
    assert world.route(MAKE).method.safe
    world.apply(Expired(A, 1))
    assert not world.route(MAKE).method.safe
    world.apply(Expired(B, 1))
    assert world.route(MAKE).method.safe


def test_a_resolution_policy_chooses_versions(world):
    world.apply(registered(A), registered(B))
    assert world.urls() == ["http://a.test/make"]
    world.resolution = ResolutionPolicy(("**",), (Choice(version="2"),))
    world.compile(MAKE)
    assert world.urls() == ["http://b.test/make"]


def test_a_policy_may_dispatch_a_channels_events_within_groups(world):
    world.apply(registered(A))
    assert not world.route(NEWS).one_of_group
    world.resolution = ResolutionPolicy(("**",), delivery="one-of-group")
    world.compile(NEWS)
    assert world.route(NEWS).one_of_group


def test_an_operators_binding_needs_no_registration(world):
    world.static[MAKE] = [Binding(MAKE, "http://static.test/x", "PUT", safe=True, idempotent=True)]
    world.compile(MAKE)
    route = world.route(MAKE)
    assert (route.kind, route.owner, route.meter.microservice) == (Kind.METHOD, "", "$binding")
    assert (route.method.safe, route.method.idempotent) == (True, True)
    assert route.selection.single.endpoint.method == "PUT"
    assert route.selection.single.registration == STATIC


def test_an_operators_binding_wins_over_a_registration(world):
    world.static[MAKE] = [Binding(MAKE, "http://static.test/x")]
    world.apply(registered(A))
    assert world.urls() == ["http://static.test/x"]
    assert world.route(MAKE).owner == "svc:r"


def session(id_: RegistrationId, name: str) -> Source:
    return Source(id_, Endpoint(""), "10.0.0.9", session=name)


def test_a_session_of_a_new_version_gets_no_traffic_either(world):
    world.apply(registered(A), registered(B))
    world.sessions[MAKE] = [session(B, "ws-b")]
    world.compile(MAKE)
    assert world.urls() == ["http://a.test/make"]


def test_a_session_stands_beside_the_endpoints_of_its_registration(world):
    world.apply(registered(A))
    world.sessions[MAKE] = [session(A, "ws-a"), session(RegistrationId("Other", "1", ""), "ws-o")]
    world.compile(MAKE)
    assert world.urls() == ["ws-a", "http://a.test/make"]


def test_a_session_of_its_own_serves_when_nobody_else_does(world):
    world.apply(registered(A), Expired(A, 1))
    world.sessions[MAKE] = [session(RegistrationId("Other", "1", ""), "ws-o")]
    world.compile(MAKE)
    assert world.urls() == ["ws-o"]


# --- the index of names ----------------------------------------------------------------------


def make_route(name: str) -> Route:
    return Route(Name(name), Kind.METHOD, "", Meter("m"))


def test_names_below_a_name_are_found_depth_first():
    view = View()
    names = ["s/a", "s/a/m", "s/b/c/d", "s/a/m/x"]
    view.install({Name(n): make_route(n) for n in names})
    assert list(view.under(Name("s"))) == ["s/a", "s/a/m", "s/a/m/x", "s/b/c/d"]
    assert list(view.under(Name("s/b"))) == ["s/b/c/d"]
    assert list(view.under(Name("s/b/c/d"))) == []
    assert Name("s/b") in view.children[Name("s")]


tree = st.lists(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda p: "/".join(["s", *p])),
    unique=True,
)


@given(st.lists(tree, max_size=6))
def test_the_index_knows_exactly_the_names_that_are_there(steps: list[list[str]]) -> None:
    """Each step installs the names it lists and removes all others."""
    view = View()
    for wanted in steps:
        routes: dict[Name, Route | None] = dict.fromkeys(view.routes)
        routes.update({Name(n): make_route(n) for n in wanted})
        view.install(routes)
        assert sorted(view.under(Name("s"))) == sorted(wanted)
        inner = {Name(n[:at]) for n in wanted for at, c in enumerate(n) if c == "/"}
        assert set(view.children) == inner


def test_implicit_routes_are_found_and_give_way_to_real_ones():
    view = View()
    implicit, real = make_route("s/R/introspect"), make_route("s/R/introspect")
    view.implicit = {implicit.name: implicit}.get
    assert view.find(implicit.name) is implicit
    view.install({real.name: real})
    assert view.find(real.name) is real
    assert list(view.under(Name("s"))) == [real.name]


# --- what Routes share -----------------------------------------------------------------------


def test_health_and_counters_live_as_long_as_a_route_uses_them(world):
    world.apply(registered(A), registered(B))
    health = world.view.health_of("http://a.test:80", None)
    assert world.route(MAKE).selection.single.health is health
    world.route(MAKE).meter.observe(Action.CALL, Status.OK, 0.002)
    health.failures = 2
    world.apply(registered(A, url="http://a.test/other"))
    assert world.route(MAKE).selection.single.health.failures == 2
    (meter,) = world.view.meters()
    assert meter.microservice == "R"
    del health, meter
    world.apply(Deregistered(A), Deregistered(B))
    gc.collect()
    assert world.view.meters() == []
    assert world.view.health_of("http://a.test:80", None).failures == 0


def test_a_meter_counts_by_action_and_status_in_buckets():
    meter = Meter("R")
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        meter.observe(Action.CALL, Status.OK, seconds)
    meter.observe(Action.PUBLISH, Status.DENIED, 0.0)
    assert meter.counts == {(Action.CALL, Status.OK): 4, (Action.PUBLISH, Status.DENIED): 1}
    assert sum(meter.buckets) == 5
    assert meter.buckets[0] == 3
    assert meter.buckets[BUCKETS.index(0.5)] == 1
    assert meter.buckets[-1] == 1
    assert meter.seconds == pytest.approx(99.3015)


# --- probes ----------------------------------------------------------------------------------


def probed(world: World) -> list[tuple[str, HealthCheck]]:
    return sorted((t.endpoint.url, check) for t, check in world.view.probed())


def test_nothing_is_probed_unless_a_policy_says_so(world):
    world.apply(registered(A))
    assert probed(world) == []


def test_each_origin_is_probed_once_however_many_names_lead_there(world):
    world.resolution = ResolutionPolicy(("**",), health=CHECK)
    methods = {f"m{n}": Method(endpoints=(Endpoint(f"http://a.test/{n}"),)) for n in range(50)}
    many = VirtualObject("s/Many", methods=methods)
    world.apply(Registered(Registration(A, "svc:r", "", 60, 1, (many,))), registered(B))
    origins = [url.rpartition("/")[0] for url, _ in probed(world)]
    assert origins == ["http://a.test", "http://b.test"]
    world.apply(ObjectDestroyed(Name("s/Many")))
    assert probed(world) == [("http://b.test/make", CHECK)]
    world.apply(Deregistered(B))
    assert probed(world) == []


def test_probing_stops_with_its_policy_and_begins_anew_with_another(world):
    world.apply(registered(A))
    healths = []
    for check in (None, CHECK, HealthCheck("/other"), None):
        world.resolution = ResolutionPolicy(("**",), health=check)
        world.compile(MAKE)
        assert [found for _, found in probed(world)] == ([check] if check else [])
        healths.append(world.route(MAKE).selection.single.health)
        healths[-1].down = bool(check)
    assert not world.route(MAKE).selection.single.health.down
    assert len(set(healths)) == 3


def test_a_binding_that_changes_keeps_what_probes_found(world):
    world.resolution = ResolutionPolicy(("**",), health=CHECK)
    world.apply(registered(A))
    world.route(MAKE).selection.single.health.down = True
    world.apply(registered(A, url="http://a.test/moved"))
    assert world.route(MAKE).selection.single.health.down
    assert probed(world) == [("http://a.test/moved", CHECK)]


def test_sessions_and_channels_are_not_probed(world):
    world.resolution = ResolutionPolicy(("**",), health=CHECK)
    world.apply(registered(A), Expired(A, 1))
    world.sessions[MAKE] = [session(A, "ws")]
    world.compile(MAKE, NEWS)
    assert world.urls() == ["ws"]
    assert probed(world) == []
    world.sessions.clear()
    world.compile(MAKE)
    assert probed(world) == []


def test_what_passes_at_once_is_counted():
    counted = Meter("Plan")
    counted.passed(Action.PUBLISH)
    counted.passed(Action.PUBLISH)
    assert counted.counts == {(Action.PUBLISH, Status.OK): 2}
    assert counted.buckets[0] == 2
