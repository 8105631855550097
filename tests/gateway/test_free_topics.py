"""Free topics: a policy opens names that nobody registered; and publishers wait for sessions."""

import asyncio
from itertools import count

import pytest

from adapters.store.eventlog import open_event_log
from gateway.channels import Channels
from gateway.free_topics import REMEMBERED, FreeTopics
from gateway.message import EventId, Refusal, Status
from gateway.ports import StoreError
from gateway.view import Meter, Route
from policy.model import Principal, TopicSpace
from policy.patterns import PatternIndex
from registry.model import EventChannel, Kind, Retain
from registry.names import Name, Pattern

WHO = Principal("user:ann", "user")
LAB = Name("s/lab/one")


def space(*patterns, **how):
    index = PatternIndex()
    for text in patterns:
        index.put(Pattern.parse(text, authority="s"), text, TopicSpace((text,), **how))
    return index


def free(*patterns, **how):
    return FreeTopics(space(*patterns, **how), Meter("$free"))


class Listener:
    def __init__(self, keeper=None):
        self.heard = []
        self.refusal = None
        self.keeper = keeper

    def deliver(self, event):
        self.heard.append(event.payload)
        if self.keeper is not None and event.qos:
            self.keeper.writes += 1

    def gap(self, gap):
        raise AssertionError(gap)

    def ended(self, refusal):
        self.refusal = refusal


class Keeper:
    """A session store whose disk is in the test's hands."""

    def __init__(self):
        self.writes = 0
        self.disk = asyncio.get_running_loop().create_future()

    def synced(self):
        return self.disk


@pytest.fixture
async def log(tmp_path):
    opened = await open_event_log(tmp_path / "events.db")
    yield opened
    await opened.close()


def channels_of(log, **how):
    numbers = count(1)
    return Channels(log, time_ms=lambda: 0, incarnation=lambda: f"ring{next(numbers)}", **how)


def listen(channels, route, keeper=None, **how):
    listener = Listener(keeper)
    listener.subscription = channels.subscribe(route, WHO, listener, **how)
    listener.subscription.resume()
    return listener


def test_a_name_in_an_open_space_is_a_channel_as_the_policy_says():
    topics = free("lab/**", retain=Retain(count=7), overflow="disconnect")
    route = topics.find(LAB)
    assert route.free
    assert route.kind is Kind.CHANNEL
    assert route.channel == EventChannel(retain=Retain(count=7), overflow="disconnect")
    assert topics.find(LAB) is route
    assert topics.find(Name("s/other")) is None
    assert topics.find(Name("s/lab/$x")) is None


def test_asking_about_names_does_not_cost_memory_for_ever():
    topics = free("**")
    first = topics.find(LAB)
    for number in range(REMEMBERED):
        topics.find(Name(f"s/{number}"))
    assert topics.find(LAB) is not first


async def test_retaining_decides_a_free_topics_last_value(log):
    channels, route = channels_of(log), free("**").find(LAB)
    channels.append(route, "user:ann", "", b"kept", 1, True)
    channels.append(route, "user:ann", "", b"passing", 1, False)
    assert channels.newest(route).payload == b"kept"
    channels.append(route, "user:ann", "", b"", 1, True)
    assert channels.newest(route) is None
    await channels.close()


async def test_there_are_only_so_many_free_topics_in_use(log):
    channels, topics = channels_of(log, free_topics=2), free("**")
    one, two, three = (topics.find(Name(f"s/{n}")) for n in "123")
    channels.append(one, "user:ann", "", b"x", 0, False)
    channels.append(two, "user:ann", "", b"x", 0, True)
    channels.append(three, "user:ann", "", b"x", 0, True)  # nobody uses the first any more
    with pytest.raises(Refusal, match="as much as may be") as refused:
        channels.append(one, "user:ann", "", b"x")
    assert refused.value.status is Status.THROTTLED
    channels.append(two, "user:ann", "", b"", 0, True)
    channels.append(one, "user:ann", "", b"x")
    await channels.close()


async def test_free_topics_hold_only_so_much_together(log):
    channels, topics = channels_of(log, free_bytes=10), free("**", retain=Retain(count=10))
    one, two = (topics.find(Name(f"s/{n}")) for n in "12")
    channels.append(one, "user:ann", "", b"12345", 0, False)  # nobody hears or keeps it
    channels.append(two, "user:ann", "", b"123456", 0, True)
    with pytest.raises(Refusal, match="as much as may be") as refused:
        channels.append(two, "user:ann", "", b"12345")
    assert refused.value.status is Status.THROTTLED
    channels.append(two, "user:ann", "", b"1234")
    channels.look_at_spaces(free("other/**").find)
    channels.append(one, "user:ann", "", b"1234567890")
    await channels.close()


async def test_closing_a_space_ends_its_topics(log):
    channels, topics = channels_of(log), free("lab/**", "yard/**")
    routes = [topics.find(LAB), topics.find(Name("s/yard/one"))]
    lab, yard = (listen(channels, route) for route in routes)
    channels.look_at_spaces(free("yard/**").find)
    assert lab.refusal.status is Status.NOT_FOUND
    assert yard.refusal is None
    await channels.close()


def registered(**settings):
    route = Route(Name("s/w/news"), Kind.CHANNEL, "user:ann", Meter("w"))
    route.channel = EventChannel(**settings)
    return route


@pytest.mark.parametrize("durable", [False, True])
async def test_a_publisher_waits_until_sessions_that_are_away_have_it(log, durable):
    keeper = Keeper()
    channels, route = channels_of(log, keeper=keeper), registered(durable=durable)
    listen(channels, route, keeper)
    waiting = channels.append(route, "user:ann", "", b"x")
    await asyncio.sleep(0.05)
    assert not waiting.done()
    keeper.disk.set_result(None)
    assert isinstance(await waiting, EventId)
    await channels.close()


async def test_qos_0_waits_for_nobody(log):
    keeper = Keeper()
    channels, route = channels_of(log, keeper=keeper), registered()
    listener = listen(channels, route, keeper)
    assert isinstance(channels.append(route, "user:ann", "", b"x", 0), EventId)
    assert listener.heard == [b"x"]
    await channels.close()


async def test_a_publisher_hears_when_that_cannot_be_stored(log):
    keeper = Keeper()
    channels, route = channels_of(log, keeper=keeper), registered()
    listen(channels, route, keeper)
    waiting = channels.append(route, "user:ann", "", b"x")
    keeper.disk.set_exception(StoreError("the disk is full"))
    with pytest.raises(Refusal, match="the disk is full"):
        await waiting
    await channels.close()


async def test_what_a_member_did_not_acknowledge_goes_to_the_others(log):
    channels, route = channels_of(log), registered()
    one = listen(channels, route, group="g")
    two = listen(channels, route, group="g")
    two.subscription.load = 1
    channels.append(route, "user:ann", "", b"a")
    assert (one.heard, two.heard) == ([b"a"], [])
    one.subscription.close([channels.newest(route)])
    assert two.heard == [b"a"]
    await channels.close()
