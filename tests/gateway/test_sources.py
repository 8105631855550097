"""What feeds channels from outside: declared, allowed, opened, stored, withdrawn."""

import asyncio

import pytest

from gateway.channels import Channels
from gateway.exchange import Plane
from gateway.message import Extras, Refusal, Status
from gateway.objects.local import LocalProvider
from gateway.sources import HELD, Arrival, Sources
from gateway.view import Meter, Route, View
from policy.access.index import AccessIndex
from policy.model import AccessPolicy, Action, Binding, Principal, Subject
from registry.model import EventChannel, Kind, Registration, RegistrationId, VirtualObject
from registry.names import Name
from registry.validation import Validator
from tests.support import Replaceable

TEMP = Name("s/room/temp")
URL = "mqtt://broker.test/room/temp"
SERVICE = Principal("svc:room", "service")
ADMIN = Principal("site:admin", "administrator")


class Opener:
    """Notes what is opened; a test gives the events."""

    def __init__(self):
        self.open_now = []
        self.closed = False

    def open(self, url, peer, take):
        source = Source(self, url, peer, take)
        self.open_now.append(source)
        return source

    async def close(self):
        self.closed = True


class Source:
    def __init__(self, opener, url, peer, take):
        self.opener = opener
        self.what = (url, peer)
        self.take = take

    def give(self, payload=b"21", **how):
        return self.take(Arrival("text/plain", payload, **how))

    def close(self):
        self.opener.open_now.remove(self)


class World:
    def __init__(self):
        self.view = View()
        self.access = AccessIndex("s")
        self.plane = Plane(self.view, self.access, LocalProvider())
        self.channels = Replaceable(Channels(None, time_ms=lambda: 1, incarnation=lambda: "ring"))
        self.opener = Opener()
        self.known = {SERVICE.id: SERVICE, ADMIN.id: ADMIN}
        self.sources = Sources(
            self.plane, self.channels, {"mqtt": self.opener}, principal_of=self.known.get
        )
        self.route = Route(TEMP, Kind.CHANNEL, SERVICE.id, Meter("room"))
        self.route.channel = EventChannel()
        self.view.install({TEMP: self.route})
        self.allow("*")

    def allow(self, who):
        rule = AccessPolicy("allow", (Subject(who),), (Action.PUBLISH,), ("**",))
        self.access.put("AccessPolicy", "publish", rule)

    def deny(self):
        rule = AccessPolicy("deny", (Subject(),), (Action.PUBLISH,), ("**",))
        self.access.put("AccessPolicy", "deny", rule)

    def register(self, *urls, instance="a", peer="10.0.0.1", live=True):
        id_ = RegistrationId("Room", "1", instance)
        obj = VirtualObject("s/room", channels={"temp": EventChannel(sources=urls)})
        self.sources.registered(id_, Registration(id_, SERVICE.id, peer, 60, 1, (obj,), live=live))
        self.sources.look()

    def bind(self, *urls):
        wanted = {url: (ADMIN.id, Binding(TEMP, source=url)) for url in urls}
        self.sources.reconcile(wanted)
        self.sources.look()

    @property
    def open_now(self):
        return [source.what for source in self.opener.open_now]

    async def payloads(self):
        return [event.payload for event in await self.channels.history(self.route)]


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.sources.close()
    assert made.opener.closed


async def test_a_registration_declares_a_source_until_it_ends(world):
    world.register(URL)
    assert world.open_now == [(URL, "10.0.0.1")]
    extras = Extras((("unit", "C"),))
    assert world.opener.open_now[0].give(qos=0, extras=extras) is None
    (event,) = await world.channels.history(world.route)
    assert (event.payload, event.source, event.qos, event.extras) == (b"21", SERVICE.id, 0, extras)
    world.register(URL, live=False)
    assert world.open_now == []
    world.register(URL)
    world.sources.registered(RegistrationId("Room", "1", "a"), None)
    assert world.open_now == []


async def test_two_instances_declare_the_same_source_once(world):
    world.register(URL)
    world.register(URL, instance="b", peer="10.0.0.2")
    assert world.open_now == [(URL, "10.0.0.1")]
    world.register(instance="a")
    assert world.open_now == [(URL, "10.0.0.2")]
    world.register(instance="b")
    assert world.sources.state() == {}


async def test_an_operators_binding_declares_a_source(world):
    world.bind(URL, "mqtt://broker.test/other")
    assert world.open_now == [(URL, ""), ("mqtt://broker.test/other", "")]
    world.bind(URL)
    assert world.open_now == [(URL, "")]
    world.opener.open_now[0].give()
    (event,) = await world.channels.history(world.route)
    assert event.source == ADMIN.id
    world.bind()
    assert world.open_now == []


async def test_what_may_not_be_published_is_not_opened(world, caplog):
    world.deny()
    world.register(URL)
    world.sources.look()
    assert world.open_now == []
    assert sum("is not open" in record.message for record in caplog.records) == 1
    (why,) = world.sources.state().values()
    assert "may not" in why
    world.access.remove("AccessPolicy", "deny")
    world.sources.look()
    assert world.open_now == [(URL, "10.0.0.1")]
    assert list(world.sources.state().values()) == [""]


@pytest.mark.parametrize("how", ["rule", "owner", "channel", "kind"])
async def test_what_may_not_be_published_any_more_is_closed_and_dropped(world, how):
    world.register(URL)
    (source,) = world.opener.open_now
    if how == "rule":
        world.deny()
    elif how == "owner":
        del world.known[SERVICE.id]
    elif how == "channel":
        world.view.install({TEMP: None})
    else:
        world.view.install({TEMP: Route(TEMP, Kind.OBJECT, SERVICE.id, Meter("room"))})
    assert source.give() is None
    world.sources.look()
    assert world.open_now == []
    assert await world.payloads() == []


async def test_a_scheme_that_nobody_opens(world):
    world.bind("coap://device.test/temp")
    (why,) = world.sources.state().values()
    assert "coap" in why


async def test_what_does_not_fit_the_schema_is_dropped(world, caplog):
    world.route.validator = Validator({"type": "number"})
    world.register(URL)
    (source,) = world.opener.open_now
    for payload in (b'"warm"', b"{", b"[" * 1_000_000, b"21"):
        assert source.give(payload) is None
    assert await world.payloads() == [b"21"]
    assert any("does not fit its schema" in record.message for record in caplog.records)


class Log:
    """What ``append`` answers next: an event id, or a Refusal."""

    def __init__(self, world):
        self.stored = []
        self.failing = None
        world.channels.append = self.append

    def append(self, route, source, content_type, payload, **_):
        future = asyncio.get_running_loop().create_future()
        if self.failing is not None:
            future.set_exception(self.failing)
        else:
            self.stored.append(payload)
            future.set_result(None)
        return future


async def test_an_event_is_taken_when_it_is_stored(world):
    log = Log(world)
    world.register(URL)
    taken = world.opener.open_now[0].give()
    await asyncio.wait_for(taken, 1)
    assert log.stored == [b"21"]


async def test_what_cannot_be_stored_now_waits_in_its_order(world, monkeypatch):
    monkeypatch.setattr("gateway.sources.AGAIN_SECONDS", 0.02)
    log = Log(world)
    log.failing = Refusal(Status.UNAVAILABLE, "the disk is full")
    world.register(URL)
    (source,) = world.opener.open_now
    taken = [source.give(b"%d" % number) for number in range(5)]
    await asyncio.sleep(0.1)
    taken += [source.give(b"%d" % number) for number in range(5, 8)]
    assert not any(future.done() for future in taken)
    log.failing = None
    await asyncio.wait_for(asyncio.gather(*taken), 2)
    assert log.stored == [b"%d" % number for number in range(8)]
    source.give(b"8")
    assert log.stored[-1] == b"8"


async def test_what_is_refused_for_good_is_taken(world):
    log = Log(world)
    log.failing = Refusal(Status.TOO_LARGE, "too large")
    world.register(URL)
    await asyncio.wait_for(world.opener.open_now[0].give(), 1)
    assert log.stored == []


async def test_only_so_much_waits(world):
    log = Log(world)
    log.failing = Refusal(Status.UNAVAILABLE, "the disk is full")
    world.register(URL)
    (source,) = world.opener.open_now
    source.give()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taken = [source.give() for _ in range(HELD + 10)]
    assert sum(future.done() for future in taken) == 11


async def test_too_many_free_topics_are_waited_for(world, monkeypatch):
    """``append`` itself may refuse."""
    monkeypatch.setattr("gateway.sources.AGAIN_SECONDS", 0.02)
    append = world.channels.append
    refusals = [Refusal(Status.THROTTLED, "too many")]

    def moody(*arguments, **how):
        if refusals:
            raise refusals.pop()
        return append(*arguments, **how)

    world.channels.append = moody
    world.register(URL)
    await asyncio.wait_for(world.opener.open_now[0].give(), 1)
    assert await world.payloads() == [b"21"]
