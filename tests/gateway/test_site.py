"""A site on a real store: what is in force follows the log, at every site that follows it."""

import asyncio

import pytest

from gateway.message import Unwritten
from gateway.policies import is_deny
from gateway.ports import StoreError
from policy.model import Action, Binding, Choice, Principal
from policy.resolution import Source
from registry.changes import (
    Batch,
    Deregistered,
    Expired,
    ObjectCreated,
    ObjectDestroyed,
    PolicyDeleted,
    TokenRevoked,
    encode,
)
from registry.model import Endpoint, Kind, Method, RegistrationId, VirtualObject
from registry.names import Name
from tests.gateway.sites import (
    ASK,
    NEWS,
    A,
    B,
    Time,
    W,
    applied,
    change,
    issued,
    opened,
    record,
    registered,
    registration,
    resolution,
    rule,
    running,
    shown,
    until,
)

ANN = Principal("user:ann", "user")


@pytest.fixture
def time():
    return Time()


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        yield store


@pytest.fixture
async def site(store, time):
    async with running(store, time) as site:
        yield site


def urls(site, name=ASK):
    route = site.view.find(name)
    return sorted(t.endpoint.url for t in route.selection.targets())


# --- following the log -----------------------------------------------------------------------


async def test_two_sites_follow_one_log(store, time):
    """Both write; each sees what the other wrote; both decide and resolve alike."""
    async with running(store, time) as one, running(store, time) as two:
        await change(one, registered(A), applied("all", rule("allow")))
        await change(two, registered(B), issued("t"))
        await until(lambda: one.ledger.seq == two.ledger.seq == 2)
        await until(lambda: one.view.find(ASK) and len(urls(one)) == 2)
        assert shown(one) == shown(two)
        assert urls(two) == ["http://a.test/ask", "http://b.test/ask"]
        assert one.allowed(ANN, Action.CALL, ASK)
        assert two.allowed(ANN, Action.CALL, ASK)
        assert one.identity.tokens.known("user:ann", 0) is not None
        await change(two, Deregistered(A), applied("no", rule("deny", Action.CALL)))
        await until(lambda: not one.allowed(ANN, Action.CALL, ASK))
        await until(lambda: shown(one) == shown(two))
        assert urls(one) == ["http://b.test/ask"]


async def test_two_sites_that_both_write_at_once_agree_in_the_end(store, time):
    async with running(store, time) as one, running(store, time) as two:
        sites = (one, two)
        ids = [RegistrationId("Weather", "1", str(n)) for n in range(60)]
        await asyncio.gather(
            *(
                change(sites[n % 2], registered(id_, obj=Name(f"s/w{n % 7}"), owner=f"svc:{n % 3}"))
                for n, id_ in enumerate(ids)
            )
        )
        await until(lambda: one.ledger.seq == two.ledger.seq == 60)
        await until(lambda: shown(one) == shown(two))
        assert len(one.view.routes) == 7 * 3


async def test_a_site_that_starts_later_catches_up(store, time):
    async with running(store, time) as one:
        await change(one, registered(), applied("r", resolution(sticky="principal")), issued("t"))
        async with running(store, time) as two:
            assert two.ready
            assert shown(two) == shown(one)
            assert two.identity.tokens.known("user:ann", 0) is not None
            assert two.view.find(ASK).selection.sticky == "principal"


async def test_a_log_that_cannot_be_followed_makes_the_site_not_ready(store, site, caplog):
    await change(site, registered())
    await store.append(1, [b"garbage"])
    await until(lambda: not site.ready)
    assert "cannot be followed any further" in caplog.text
    assert urls(site) == ["http://a.test/ask"]
    with pytest.raises(Unwritten):
        await change(site, issued("t"))


async def test_a_failing_append_leaves_the_old_state_serving(store, site):
    await change(site, registered())
    before = shown(site)
    store.break_down()
    with pytest.raises(Unwritten):
        await change(site, Deregistered(A))
    assert shown(site) == before
    assert site.ready
    store.recover()
    await change(site, Deregistered(A))
    assert site.view.find(ASK) is None


async def test_the_sites_own_objects_cannot_be_taken(store, time):
    async with running(store, time, own=["s/$site/x"]) as site:
        own = site.view.find(Name("s/$site/x"))
        await change(site, registered(obj=Name("s/$site"), methods=("x",)))
        assert site.view.find(own.name) is own


# --- policies --------------------------------------------------------------------------------


async def test_a_resolution_policy_switches_versions(site):
    v2 = RegistrationId("Weather", "2", "c")
    await change(site, registered(A), registered(v2))
    assert urls(site) == ["http://a.test/ask"]
    await change(site, applied("r", resolution("w/**", choices=(Choice(version="2"),))))
    assert urls(site) == ["http://c.test/ask"]
    await change(site, applied("r", resolution("other/**", choices=(Choice(version="2"),)), 2))
    assert urls(site) == ["http://a.test/ask"]
    await change(site, applied("r", resolution("*/ask", choices=(Choice(version="2"),)), 3))
    assert urls(site) == ["http://c.test/ask"]
    await change(site, PolicyDeleted("ResolutionPolicy", "r"))
    assert urls(site) == ["http://a.test/ask"]


async def test_the_more_specific_resolution_wins_whenever_it_was_applied(store, time, site):
    v2 = RegistrationId("Weather", "2", "c")
    await change(site, registered(A), registered(v2))
    await change(site, applied("b", resolution("w/**", choices=(Choice(version="2"),))))
    await change(site, applied("a", resolution("w/**", choices=(Choice(version="1"),))))
    await change(site, applied("b", resolution("w/**", choices=(Choice(version="2"),)), 2))
    assert urls(site) == ["http://a.test/ask"]
    await change(site, applied("z", resolution("w/ask", choices=(Choice(version="2"),))))
    assert urls(site) == ["http://c.test/ask"]
    async with running(store, time) as again:
        assert shown(again) == shown(site)


async def test_an_operators_binding_comes_and_goes(site):
    tell = Name("s/w/tell")
    await change(site, applied("b", Binding(tell, "http://static.test/tell")))
    assert urls(site, tell) == ["http://static.test/tell"]
    await change(site, applied("c", Binding(tell, "http://more.test/tell")))
    assert urls(site, tell) == ["http://more.test/tell", "http://static.test/tell"]
    await change(site, PolicyDeleted("Binding", "b"), PolicyDeleted("Binding", "c"))
    assert site.view.find(tell) is None
    await change(site, PolicyDeleted("Binding", "b"))


async def test_bindings_of_channels_to_methods_are_told(site):
    told = []
    site.watchers.deliveries.append(lambda: told.append(dict(site.policies.deliveries)))
    bound = Binding(NEWS, call=ASK)
    await change(site, registered(), applied("d", bound))
    await change(site, PolicyDeleted("Binding", "d"))
    assert told == [{"d": ("site:admin", bound)}, {}]


async def test_changed_rules_are_told_once_a_batch_when_they_are_in_force(site):
    told = []
    site.watchers.access.append(lambda: told.append(site.allowed(ANN, Action.CALL, ASK)))
    await change(site, applied("all", rule("allow")), applied("x", rule("allow", names="x")))
    await change(site, PolicyDeleted("AccessPolicy", "all"))
    await change(site, applied("r", resolution()))
    assert told == [True, False]


async def test_two_bindings_of_a_name_are_in_the_same_order_after_a_replay(store, time, site):
    tell = Name("s/w/tell")
    await change(site, applied("b", Binding(tell, "http://b.test/", safe=True)))
    await change(site, applied("c", Binding(tell, "http://c.test/")))
    await change(site, applied("b", Binding(tell, "http://b2.test/", safe=True), 2))
    async with running(store, time) as again:
        assert shown(again) == shown(site)
        assert again.view.find(tell).method == site.view.find(tell).method


# --- channels that end -----------------------------------------------------------------------


async def test_a_channel_that_is_destroyed_is_told_and_nothing_else(site):
    gone = []
    site.watchers.gone.append(lambda name: gone.append((name, site.view.find(name) is None)))
    await change(site, registered())
    await change(site, ObjectDestroyed(W))
    assert gone == [(NEWS, True)]


async def test_a_channel_that_came_back_within_the_batch_is_another_one(site):
    gone = []
    site.watchers.gone.append(gone.append)
    await change(site, registered())
    made = registration().objects[0]
    await change(site, ObjectDestroyed(W), ObjectCreated(A, made))
    assert gone == [NEWS]
    assert site.view.find(NEWS).kind is Kind.CHANNEL


async def test_a_channel_that_becomes_a_method_is_gone(site):
    gone = []
    site.watchers.gone.append(gone.append)
    await change(site, registered())
    await change(site, registered(methods=("ask", "news"), channels=(), generation=2))
    assert gone == [NEWS]


async def test_expiry_and_a_new_registration_keep_the_channel(site):
    gone = []
    site.watchers.gone.append(gone.append)
    await change(site, registered())
    await change(site, Expired(A, 1))
    await change(site, registered(generation=2))
    assert gone == []


# --- sessions --------------------------------------------------------------------------------


async def test_a_session_provides_a_method_as_long_as_it_lives(site):
    await change(site, registered(methods=("ask",)), Expired(A, 1))
    session = Source(A, Endpoint(""), "10.0.0.9", session="ws-1")
    site.sessions.add(ASK, session)
    assert [t.session for t in site.view.find(ASK).selection.targets()] == ["ws-1"]
    site.sessions.remove(ASK, session)
    site.sessions.remove(ASK, session)
    assert urls(site) == []


async def test_a_session_that_comes_during_a_long_compilation_is_not_lost(store, site):
    """What was compiled before it came must not be installed after it."""
    methods = tuple(f"m{n}" for n in range(3000))
    await change(site, registered(methods=methods))
    names = [Name(f"s/w/{m}") for m in methods]
    changing = asyncio.create_task(change(site, applied("r", resolution(sticky="principal"))))
    session = Source(A, Endpoint(""), "10.0.0.9", session="ws-1")
    await until(lambda: len(site._installer._built) > 500)
    for name in names:
        site.sessions.add(name, session)
    await changing
    for name in names:
        selection = site.view.find(name).selection
        assert selection.sticky == "principal"
        assert "ws-1" in [t.session for t in selection.targets()]


# --- introspection ---------------------------------------------------------------------------

INTROSPECT = Name("s/Weather/introspect")


async def test_every_microservice_answers_introspect_without_registering_it(store, time, site):
    assert site.view.find(INTROSPECT) is None
    await change(site, registered(A), registered(B))
    route = site.view.find(INTROSPECT)
    assert (route.kind, route.action, route.owner) == (Kind.METHOD, Action.DESCRIBE, "")
    assert route.method.safe
    assert route.selection is None
    assert [r.id for r in site.registrations_of("Weather")] == [A, B]
    await change(site, Deregistered(A), Expired(B, 1))
    assert [r.id for r in site.registrations_of("Weather")] == [B]
    assert site.view.find(INTROSPECT) is not None
    async with running(store, time) as again:
        assert [r.id for r in again.registrations_of("Weather")] == [B]
    await change(site, registered(A), Deregistered(B), Deregistered(A))
    assert site.view.find(INTROSPECT) is None
    assert site.registrations_of("Weather") == []
    await change(site, Deregistered(B))


async def test_an_introspection_shows_what_is_registered_now(site):
    await change(site, registered())
    await change(site, ObjectCreated(A, VirtualObject("s/w/deep", methods={"x": Method()})))
    (found,) = site.registrations_of("Weather")
    assert [o.name for o in found.everything()] == ["s/w", "s/w/deep"]


async def test_a_registered_name_comes_before_the_introspection(site):
    await change(site, registered(obj=Name("s/Weather"), methods=("introspect",)))
    assert site.view.find(INTROSPECT).action is Action.CALL
    assert urls(site, INTROSPECT) == ["http://a.test/introspect"]


async def test_a_microservice_is_found_by_its_segment_in_a_name(site):
    spaced, odd = RegistrationId("My Weather", "1", "a"), RegistrationId("$x", "1", "a")
    await change(site, registered(spaced), registered(odd, obj=Name("s/v")))
    assert site.view.find(Name("s/My%20Weather/introspect")) is not None
    assert [r.id for r in site.registrations_of("My%20Weather")] == [spaced]
    assert site.registrations_of("$x") == []
    await change(site, Deregistered(odd))


# --- credentials that expire -----------------------------------------------------------------


async def test_what_is_open_with_an_expired_token_ends(site, time):
    ended = []
    site.watchers.credential.append(ended.extend)
    await change(site, issued("t", expires=time.unix + 10), issued("u", expires=time.unix + 1e6))
    await site.sweep_tokens()
    assert ended == []
    time.pass_by(10)
    await site.sweep_tokens()
    await site.sweep_tokens()
    assert ended == ["t"]
    assert set(site.catalog.tokens) == {"t", "u"}


async def test_the_record_of_a_token_goes_a_day_after_it_expired(store, site, time):
    await change(site, issued("t", expires=time.unix + 10), issued("u", expires=time.unix + 1e6))
    time.pass_by(10 + 24 * 3600)
    await site.sweep_tokens()
    await until(lambda: set(site.catalog.tokens) == {"u"})
    assert await store.head() == 2
    async with running(store, time) as again:
        await again.sweep_tokens()
        assert set(again.catalog.tokens) == {"u"}


async def test_tokens_that_expired_before_the_start_are_swept_too(store, time):
    async with running(store, time) as site:
        await change(site, *(issued(f"t{n}", expires=time.unix + 1) for n in range(250)))
    time.pass_by(24 * 3600 + 1)
    async with running(store, time) as site:
        await site.sweep_tokens()
        await until(lambda: not site.catalog.tokens)
        assert await store.head() == 1 + 3


async def test_a_swept_token_that_was_revoked_meanwhile_writes_nothing(store, site, time):
    await change(site, issued("t", expires=time.unix + 10))
    await change(site, TokenRevoked("t"))
    time.pass_by(25 * 3600)
    await site.sweep_tokens()
    await until(lambda: site.ledger.owed == 0)
    assert await store.head() == 2


# --- starting and stopping -------------------------------------------------------------------


async def test_a_site_that_stops_is_not_ready_and_lets_nobody_wait(store, time):
    async with running(store, time) as site:
        await change(site, registered())
        store.gate.clear()
        waiting = asyncio.create_task(change(site, issued("t")))
        await until(lambda: store.appends == 2)
    assert not site.ready
    store.gate.set()
    with pytest.raises(Unwritten):
        await waiting


async def test_a_store_that_cannot_be_read_keeps_the_site_from_starting(store, time):
    await store.append(0, [encode(Batch(1, "a", (applied("p", rule("allow")),))), b"{"])
    with pytest.raises(StoreError, match="cannot read entry 2"):
        async with running(store, time):
            pass


def test_a_policy_is_a_deny_only_if_it_denies():
    assert is_deny(record("d", rule("deny")))
    assert not is_deny(record("a", rule("allow")))
    assert not is_deny(record("r", resolution()))
