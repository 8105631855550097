"""Clients that want what is not theirs, or more than there is; on raw sockets and with paho."""

import asyncio
import contextlib

import pytest
import pytest_asyncio

from gateway.settings import Mqtt
from registry.names import Name
from tests.adapters.mqtt_site import BAND, mqtt_site, settle
from tests.adapters.mqtt_sockets import until

SECRETS = ("Band/steps", "$call/Band/add/1", "$reply/victim/1", "$ret/Band/add/1")


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def thief(site):
    """Somebody who may do everything with an object of its own, and nothing else."""
    await site.register("Own", methods={}, owner="device:thief")
    await site.allow("own", "device:thief", "publish subscribe describe bind call", "Own/**")
    return await site.client("victim", token=await site.issue("device:thief"))


async def test_no_filter_gets_what_is_another_ones(site, thief):
    """Whatever is subscribed to, a call, its reply and an event of others stay unseen."""
    tricks = [
        *("#", "+", "+/#", "/#", "+/+", "Band/#", "Band/+", "localhost/#", "LOCALHOST/+/steps"),
        *("snac.asu.edu/#", "$call/#", "$reply/#", "$reply/+/#", "$ret/#", "$rpc/#", "$SYS/#"),
        *(
            "$share/g/#",
            "$share/g/Band/steps",
            "$share/g/$reply/victim/#",
            "$share/$reply/victim/#",
        ),
        *("urn:hilum:snac.asu.edu/#", "Band%2F#", "B%61nd/+", "Own/../Band/+", "$site/#", "$+/#"),
    ]
    for trick in tricks:
        with contextlib.suppress(ValueError):  # paho refuses some itself
            await thief.subscribe(trick)
    victim, provider = await site.client("victim"), await site.client("provider")
    await victim.subscribe("$reply/victim/#", "Band/steps")
    await provider.subscribe("Band/add", "$call/Band/echo/+")
    for method in ("add", "echo"):
        await victim.publish(f"$rpc/victim/1/Band/{method}", b"secret")
        call = await provider.hear()
        await provider.publish(call.response_topic, b"secret")
        assert (await victim.hear()).payload == b"secret"
    await victim.publish("Band/steps", b"secret")
    assert (await victim.hear()).payload == b"secret"
    heard = [m for m in thief.messages if b"secret" in m.payload]
    assert not heard
    assert not thief.gone.done()


async def test_no_topic_reaches_what_is_another_ones(site, thief):
    victim = await site.client("victim")
    await victim.subscribe("#", "$reply/victim/#", "Band/add")
    for topic in (
        *("$reply/victim/1", "$call/Band/add/1", "$share/g/Band/steps", "$SYS/broker/version"),
        *("$rpc/victim2/1/Band/add", "$queue/Band/steps", "Band/steps", "/Band/steps"),
        *("Own/../Band/steps", "Own/%2e%2e/Band/steps", "snac.asu.edu/Band/steps", "$site/x"),
    ):
        code = await thief.publish(topic, b"forged", ResponseTopic="$reply/victim/1")
        assert code >= 0x80, topic
    await settle(site)
    assert not victim.messages
    assert all(m.topic == "$reply/victim/1" for m in thief.messages)  # to itself only


async def test_the_reserved_objects_are_out_of_reach(site, thief):
    assert await thief.publish("$site/policy/apply", b"{}", ResponseTopic="r") == 0x87
    assert (await thief.hear()).attributes["hilum-status"] == "denied"
    assert await thief.subscribe("$site/policy/apply", "$call/$site/policy/apply/+") == [0x87] * 2
    assert await thief.subscribe("$site/registry", "$site/#", "$SYS/broker/uptime") == [
        *(0x87, 1, 0x87)
    ]


async def test_a_client_id_is_no_way_into_topics(site):
    """Ids with slashes and wildcards open nobody else's replies."""
    victim = await site.client("a/b")
    await victim.subscribe("$reply/a/b/#")
    thief = await site.client("a", token=await site.issue("device:thief"))
    assert await thief.subscribe("$reply/a/b/#", "$reply/a/+/#") == [0, 0]  # its own id is "a"
    for odd in ("+", "#", "+/b", "a/#"):
        client = await site.client(odd, token=await site.issue("device:thief"))
        with contextlib.suppress(ValueError):
            await client.subscribe(f"$reply/{odd}/#")
    await victim.publish("$rpc/a/b/1/Band/echo", b"")
    assert (await victim.hear()).topic == "$reply/a/b/1/unavailable"
    assert await thief.silent()


async def test_a_hundred_thousand_subscriptions(tmp_path):
    async with mqtt_site(tmp_path, Mqtt(port=0, subscriptions=1000)) as site:
        enemy = await site.client("enemy", clean=False, expiry=60)
        other = await site.client("other")
        await other.subscribe("Band/steps")
        for start in range(0, 100_000, 1000):
            wanted = [(f"x{n}/+/#", 0) for n in range(start, start + 1000)]
            enemy.paho.subscribe(wanted)
        for _ in range(5):
            await other.publish("Band/steps", b"1")
            assert (await other.hear()).payload == b"1"
        assert (await enemy.subscribe("Band/steps"))[0] == 0x97
        assert site.broker.subscriptions == 1001


async def test_deep_filters_cost_little(site):
    enemy = await site.client("enemy")
    deep = "/".join(["+"] * 120)
    assert await enemy.subscribe(deep, deep[:-1] + "#", "a/" * 100 + "#") == [1, 1, 1]
    await enemy.publish("Band/steps", b"1")
    assert await enemy.silent(0.05)


async def test_a_storm_of_connections_with_one_client_id(site):
    clients = [site.client("same", clean=False, expiry=60) for _ in range(20)]
    done = await asyncio.gather(*clients, return_exceptions=True)
    await settle(site)
    assert site.broker.sessions == 1
    assert site.broker.connected_now == 1
    assert sum(not isinstance(one, BaseException) for one in done) >= 1


async def test_many_sessions_of_one_thief_leave_room_for_others(site, monkeypatch):
    from adapters.mqtt.desk.desk import DeskSettings

    monkeypatch.setattr(site.broker, "_settings", DeskSettings(sessions_of_one=5))
    token = await site.issue("device:thief")
    for number in range(5):
        client = await site.client(f"s{number}", token=token, clean=False, expiry=600)
        await client.disconnect()
    assert await site.refused("s5", token=token, clean=False, expiry=600) == 0x97
    await site.client("honest")


async def test_replies_to_oneself_are_not_amplified(site, thief):
    """A refused call costs one message back at most, and none without a Response Topic."""
    for _ in range(10):
        await thief.publish("Band/add", b"x", qos=0)
    assert await thief.silent()


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\x00" * 10, b'{"a":' * 2000])
async def test_hostile_payloads_of_typed_channels(site, payload):
    client = await site.client("a")
    assert await client.publish("Band/typed", payload) in (0x83, 0x99)


async def test_the_call_of_a_gone_thief_holds_nothing(site, thief):
    provider = await site.client("provider")
    await provider.subscribe("Band/add")
    await site.allow("call", "device:thief", "call", "Band/add")
    for number in range(200):
        thief.paho.publish("Band/add", b"%d" % number, 0)
    await thief.publish("Own/steps", b"")
    await thief.vanish()
    plane = site.site.plane
    assert not [e for e in plane.live if e.call.principal.id == "device:thief"]
    assert site.site.sessions.of(Name(f"{BAND}/add"))


async def test_reconnecting_for_ever_costs_nothing(site):
    for _ in range(20):
        client = await site.client("again", clean=True, expiry=0xFFFFFFFF)
        await client.subscribe("Band/+")
        await client.disconnect()
    broker = site.broker
    assert len(broker._by_key) == len(broker._clients) == len(broker._absences) == 1
    assert broker.subscriptions == 1
    await site.client("again", clean=True)
    assert not len(broker._absences)
    assert not broker._subscribing.matching._index.match("snac.asu.edu/Band/steps")


async def test_one_principal_holds_its_share_of_filters_in_all_sessions(site, monkeypatch):
    token = await site.issue("device:thief")
    monkeypatch.setattr(site.broker._desk.filters, "_limit", 100)
    deep = "/".join(["+"] * 40)
    for number in range(3):
        client = await site.client(f"s{number}", token=token)
        await client.subscribe(*(f"{deep}/{n}" for n in range(10)))
    assert await client.subscribe("Band/+") == [0x97]
    honest = await site.client("honest")
    assert await honest.subscribe("Band/+") == [1]
    for number in range(3):
        client = await site.client(f"s{number}", token=token)
    assert site.broker._desk.filters.of("device:thief") == 0
    assert await client.subscribe("Band/+") == [1]


async def test_one_principal_holds_its_share_of_matches_in_all_sessions(site, monkeypatch):
    await site.space("many/**")
    await site.allow("many", "device:thief", "publish subscribe", "many/**")
    monkeypatch.setattr(site.broker._desk.matches, "_limit", 50)
    token = await site.issue("device:thief")
    clients = [await site.client(f"s{number}", token=token) for number in range(4)]
    for client in clients:
        await client.subscribe("many/#")
    for number in range(40):
        await clients[0].publish(f"many/{number}", b"")
    assert 50 <= site.broker._desk.matches.of("device:thief") <= 54
    for client in clients:
        await client.disconnect()
    await until(lambda: not site.broker.sessions)
    await settle(site)
    assert site.broker._desk.matches.of("device:thief") == 0


async def test_one_principal_holds_its_share_of_queues_in_all_sessions(site, monkeypatch):
    """Sessions of a token that is away: their queues are bounded together, others' are not."""
    queued = site.broker.new_session.args[0].queued
    monkeypatch.setattr(queued, "_limit", 100_000)
    await site.space("many/**")
    await site.allow("many", "device:thief", "publish subscribe", "many/**")
    token = await site.issue("device:thief")
    for number in range(10):
        client = await site.client(f"s{number}", token=token, clean=False, expiry=600)
        await client.subscribe(f"many/{number}")
        await client.disconnect()
    friend = await site.client("friend", clean=False, expiry=600)
    await friend.subscribe("Band/steps")
    await friend.disconnect()
    sender, other = await site.client("sender", token=token), await site.client("other")
    for number in range(10):
        for _ in range(10):
            await sender.publish(f"many/{number}", bytes(5000))
    await other.publish("Band/steps", bytes(5000))
    assert 90_000 < queued.of("device:thief") <= 100_000
    back = await site.client("s0", token=token, clean=False, expiry=600)
    assert len((await back.hear()).payload) == 5000
    friend = await site.client("friend", clean=False, expiry=600)
    assert len((await friend.hear()).payload) == 5000
    for number in range(10):
        await site.client(f"s{number}", token=token)
    assert queued.of("device:thief") == 0
