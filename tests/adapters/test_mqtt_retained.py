"""Retained messages are the channels' last values (MQTT 5.0 sections 3.3.1.3 and 3.8.3.1)."""

import asyncio

import pytest
import pytest_asyncio

from registry.names import Name
from tests.adapters.mqtt_site import BAND, mqtt_site


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("text", ["Band/steps", "Band/+", "#"])
async def test_every_event_of_a_channel_is_its_last_value(site, version, text):
    sender = await site.client("s")
    await sender.publish("Band/steps", b"1", qos=1, retain=False)
    reader = await site.client("r", version=version)
    await reader.subscribe(text, qos=2)
    message = await reader.hear()
    assert (message.topic, message.payload, message.qos) == ("Band/steps", b"1", 1)
    assert message.retain
    await sender.publish("Band/steps", b"2", retain=True)
    assert not (await reader.hear()).retain


async def test_an_event_of_another_protocol_is_one_too(site):
    route = site.site.view.find(Name(f"{BAND}/steps"))
    await site.channels.publish(route, "user:ann", "text/plain", b"72")
    reader = await site.client("r")
    await reader.subscribe("Band/steps", id_=5)
    message = await reader.hear()
    assert (message.payload, message.content_type, message.ids) == (b"72", "text/plain", [5])


async def test_a_durable_channel_has_it_after_a_restart(tmp_path):
    async with mqtt_site(tmp_path) as site:
        token = site.token
        sender = await site.client("s")
        await sender.publish("Band/kept", b"1")
        await sender.publish("Band/kept", b"2")
    async with mqtt_site(tmp_path, welcome=False) as site:
        exact = await site.client("r", token=token)
        wild = await site.client("w", token=token)
        await wild.subscribe("Band/#")
        await exact.subscribe("Band/kept")
        for client in (wild, exact):
            message = await client.hear()
            assert (message.topic, message.payload) == ("Band/kept", b"2")
            assert message.retain
            assert await client.silent(0.05)


async def test_retain_handling(site):
    sender = await site.client("s")
    await sender.publish("Band/steps", b"1")
    reader = await site.client("r")
    await reader.subscribe("Band/steps", retainHandling=1)
    assert (await reader.hear()).retain
    await reader.subscribe("Band/steps", retainHandling=1)
    assert await reader.silent(0.1)
    await reader.subscribe("Band/steps", retainHandling=0)
    assert (await reader.hear()).retain
    await reader.subscribe("Band/heart", "Band/+", retainHandling=2)
    assert await reader.silent(0.1)


async def test_a_shared_subscription_gets_none(site):
    await site.allow("g", "site:phone", "subscribe", groups=("g",))
    sender = await site.client("s")
    await sender.publish("Band/steps", b"1")
    reader = await site.client("r")
    assert await reader.subscribe("$share/g/Band/steps", "$share/g/Band/+") == [1, 1]
    assert await reader.silent()


async def test_only_what_may_be_subscribed_to(site):
    sender = await site.client("s")
    await sender.publish("Band/steps", b"1")
    await sender.publish("Band/heart", b"2")
    await site.allow("a", "device:a", "subscribe", "Band/heart")
    reader = await site.client("r", token=await site.issue("device:a"))
    await reader.subscribe("#")
    assert (await reader.hear()).topic == "Band/heart"
    assert await reader.silent()


@pytest.mark.parametrize("expiry", [0, 60])
async def test_thousands_come_as_the_client_takes_them(site, expiry):
    await site.space("many/**")
    sender = await site.client("s")
    for number in range(1500):
        sender.paho.publish(f"many/{number}", b"x", 1, retain=True)
        if number % 500 == 0:
            await sender.publish("Band/steps", b"")
    await sender.publish("many/last", b"1", retain=True)
    reader = await site.client("r", ReceiveMaximum=10, clean=False, expiry=expiry)
    await sender.publish("many/last", b"2", qos=1, retain=True)
    await reader.subscribe("many/#")
    heard = set()
    async with asyncio.timeout(10):
        while len(heard) < 1501:
            heard.add((await reader.hear()).topic)
    assert site.server.engine.counters.overflow == 0


class TestFreeTopics:
    async def test_only_retained_messages_are_last_values(self, site):
        await site.space("home/**")
        client = await site.client("c")
        await client.publish("home/a", b"1", retain=False)
        await client.publish("home/b", b"2", retain=True)
        await client.subscribe("home/+")
        message = await client.hear()
        assert (message.topic, message.payload, message.retain) == ("home/b", b"2", True)
        assert await client.silent()

    async def test_an_empty_one_clears_it(self, site):
        await site.space("home/**")
        client = await site.client("c")
        await client.publish("home/a", b"1", retain=True)
        await client.publish("home/a", b"", retain=True)
        await client.subscribe("home/a")
        assert await client.silent()

    async def test_an_expired_one_is_not_sent(self, site):
        await site.space("home/**")
        client = await site.client("c")
        await client.publish("home/a", b"1", retain=True, MessageExpiryInterval=0)
        await client.subscribe("home/a")
        assert await client.silent()

    async def test_a_closed_space_takes_them_along(self, site):
        await site.space("home/**")
        client = await site.client("c")
        await client.publish("home/a", b"1", retain=True)
        await client.subscribe("home/#", retainHandling=2)
        await site.forget_policy("space", "TopicSpace")
        assert await client.publish("home/a", b"2") == 0x90
        await site.space("home/**")
        assert await client.publish("home/a", b"3") == 0
        assert (await client.hear()).payload == b"3"
