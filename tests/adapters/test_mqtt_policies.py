"""Policies change while clients are connected: what is open follows, both ways; real clients."""

import asyncio

import pytest_asyncio

from registry.model import EventChannel
from tests.adapters.mqtt_site import mqtt_site, settle


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def sender(site):
    return await site.client("sender")


@pytest_asyncio.fixture
async def device(site):
    await site.allow("read", "device:a", "subscribe", "Band/*")
    return await site.client("a", token=await site.issue("device:a"))


async def test_each_channel_under_a_wildcard_is_decided(site, sender, device):
    await site.allow("not", "device:a", "subscribe", "Band/heart", effect="deny")
    assert await device.subscribe("#", "Band/+") == [1, 1]
    await sender.publish("Band/heart", b"secret")
    await sender.publish("Band/steps", b"1")
    assert (await device.hear()).payload == b"1"
    assert await device.silent()


async def test_a_subscription_ends_with_its_permission_and_comes_back_with_it(site, sender, device):
    assert await device.subscribe("Band/steps", "Band/+") == [1, 1]
    await site.allow("not", "device:a", "subscribe", "Band/steps", effect="deny")
    await sender.publish("Band/steps", b"secret")
    await sender.publish("Band/heart", b"1")
    assert (await device.hear()).payload == b"1"
    assert await device.silent()
    assert not device.gone.done()
    assert await device.subscribe("localhost/Band/steps") == [0x87]
    await site.forget_policy("not")
    await settle(site)
    await sender.publish("Band/steps", b"2")
    assert (await device.hear()).payload == b"2"
    assert await device.silent()


async def test_what_becomes_allowed_is_opened_under_a_wildcard(site, sender, device):
    await sender.publish("Band/steps", b"0")
    await site.register("Lamp", channels={"lit": EventChannel()}, methods={})
    await sender.publish("Lamp/lit", b"0")
    await device.subscribe("+/lit")
    assert await device.silent()
    await site.allow("more", "device:a", "subscribe", "Lamp/lit")
    await settle(site)
    await sender.publish("Lamp/lit", b"1")
    assert (await device.hear()).payload == b"1"


async def test_a_durable_session_of_a_client_that_is_away_follows_too(site, sender):
    await site.allow("read", "device:a", "subscribe", "Band/*")
    kept = {"clean": False, "expiry": 600, "token": await site.issue("device:a")}
    device = await site.client("a", **kept)
    await device.subscribe("Band/steps")
    await device.disconnect()
    await sender.publish("Band/steps", b"allowed")
    await site.forget_policy("read")
    await sender.publish("Band/steps", b"denied")
    await site.allow("read", "device:a", "subscribe", "Band/*")
    await settle(site)
    await sender.publish("Band/steps", b"again")
    device = await site.client("a", **kept)
    assert [(await device.hear()).payload for _ in range(2)] == [b"allowed", b"again"]
    assert await device.silent()


async def test_another_token_is_decided_anew(site, sender):
    """The same principal may come as another kind, which may do less."""
    await site.policy(
        "kind",
        _rule("service", "subscribe", "Band/*"),
    )
    kept = {"clean": False, "expiry": 600}
    device = await site.client("a", token=await site.issue("device:a", "service"), **kept)
    await device.subscribe("Band/steps", "Band/+")
    await device.disconnect()
    device = await site.client("a", token=await site.issue("device:a", "device"), **kept)
    assert device.present
    await sender.publish("Band/steps", b"secret")
    assert await device.silent()
    await device.disconnect()
    device = await site.client("a", token=await site.issue("device:a", "service"), **kept)
    await sender.publish("Band/steps", b"1")
    assert (await device.hear()).payload == b"1"
    assert await device.silent()


async def test_many_changes_in_a_row(site, sender, device):
    await device.subscribe("Band/+", "#")
    for _ in range(10):
        await site.allow("not", "device:a", "subscribe", effect="deny")
        await site.forget_policy("not")
    await settle(site)
    await sender.publish("Band/steps", b"1")
    assert (await device.hear()).payload == b"1"
    assert await device.silent()


async def test_publishing_is_decided_each_time(site):
    await site.allow("write", "device:a", "publish", "Band/steps")
    device = await site.client("a", token=await site.issue("device:a"))
    assert await device.publish("Band/steps", b"1") == 0
    await site.forget_policy("write")
    assert await device.publish("Band/steps", b"1") == 0x87


async def test_a_change_of_policy_does_not_block_others(site, sender, device, monkeypatch):
    await site.space("many/**")
    for number in range(200):
        sender.paho.publish(f"many/{number}", b"", 0)
    await sender.publish("many/last", b"")
    await device.subscribe("many/#", "many/+", "+/+", "#")
    longest = 0.0

    async def watch():
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - before)

    watching = asyncio.create_task(watch())
    await site.allow("many", "device:a", "subscribe", "many/**")
    await settle(site)
    watching.cancel()
    await sender.publish("many/199", b"1")
    assert (await device.hear()).payload == b"1"
    assert longest < 0.25


def _rule(kind, actions, *names):
    from policy.model import AccessPolicy, Action, Subject

    return AccessPolicy("allow", (Subject(kind=kind),), tuple(map(Action, actions.split())), names)
