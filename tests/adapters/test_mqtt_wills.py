"""Wills: when they are published, as whom, and when not (MQTT 5.0 section 3.1.2.5)."""

import asyncio

import pytest
import pytest_asyncio
from paho.mqtt.packettypes import PacketTypes

from tests.adapters.mqtt_site import Client, mqtt_site, properties_of, settle

KEPT = {"clean": False, "expiry": 600}
WILL = ("Band/steps", b"gone", 1)


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def heir(site):
    client = await site.client("heir")
    await client.subscribe("Band/+", qos=2)
    return client


@pytest.mark.parametrize("version", [4, 5])
async def test_a_client_that_vanishes_leaves_its_will(site, heir, version):
    client = await site.client("a", version=version, will=("Band/steps", b"gone", 2, True))
    await client.vanish()
    message = await heir.hear()
    assert (message.topic, message.payload, message.qos) == ("Band/steps", b"gone", 2)


@pytest.mark.parametrize("version", [4, 5])
async def test_who_says_goodbye_leaves_none(site, heir, version):
    client = await site.client("a", version=version, will=WILL)
    await client.disconnect()
    assert await heir.silent()


async def test_a_delay_gives_time_to_come_back(site, heir):
    client = await site.client("a", will=WILL, will_delay=30, **KEPT)
    await client.vanish()
    site.pass_by(29)
    assert await heir.silent()
    client = await site.client("a", will=WILL, will_delay=30, **KEPT)
    site.pass_by(60)
    assert await heir.silent()
    await client.vanish()
    site.pass_by(31)
    assert (await heir.hear()).payload == b"gone"
    site.pass_by(31)
    assert await heir.silent()
    assert (await site.client("a", **KEPT)).present


async def test_the_end_of_the_session_does_not_wait_for_the_delay(site, heir):
    client = await site.client("a", will=WILL, will_delay=60, clean=False, expiry=10)
    await client.vanish()
    site.pass_by(11)
    assert (await heir.hear()).payload == b"gone"
    client = await site.client("b", will=WILL, will_delay=60)
    await client.vanish()
    assert (await heir.hear()).payload == b"gone"


async def test_take_over(site, heir):
    await site.client("a", will=WILL, **KEPT)
    await site.client("a", will=("Band/steps", b"second", 1), will_delay=30, **KEPT)
    assert (await heir.hear()).payload == b"gone"
    await site.client("a", will_delay=30, **KEPT)  # it came back: no will
    assert await heir.silent()
    site.pass_by(31)
    assert await heir.silent()


async def test_a_clean_start_ends_the_session_and_so_publishes_the_will(site, heir):
    await site.client("a", will=WILL, will_delay=300, **KEPT)
    await site.client("a", clean=True)
    assert (await heir.hear()).payload == b"gone"


async def test_it_is_decided_when_it_is_published(site, heir):
    await site.allow("a", "device:a", "publish", "Band/steps")
    token = await site.issue("device:a")
    client = await site.client("a", token=token, will=WILL)
    await site.client("b", token=token, will=("Band/heart", b"gone", 1))
    await client.vanish()
    assert (await heir.hear()).payload == b"gone"
    await site.clients[-1].vanish()
    assert await heir.silent()
    client = await site.client("a", token=token, will=WILL)
    await site.forget_policy("a")
    await client.vanish()
    assert await heir.silent()


async def test_who_is_nobody_any_more_leaves_none(site, heir):
    await site.allow("a", "device:a", "publish")
    token = await site.issue("device:a")
    client = await site.client("a", token=token, will=WILL)
    await site.revoke(token)
    await asyncio.wait_for(client.gone, 5)
    assert await heir.silent()


async def test_it_carries_its_properties(site, heir):
    client = Client(site, "b")
    said = properties_of(
        PacketTypes.WILLMESSAGE,
        ContentType="text/x",
        UserProperty=[("a", "b")],
        CorrelationData=b"c",
    )
    client.paho.will_set(*WILL, properties=said)
    assert await client.connect() == 0
    await client.vanish()
    message = await heir.hear()
    assert (message.content_type, message.correlation) == ("text/x", b"c")
    assert message.attributes["a"] == "b"


async def test_it_may_call_a_method(site):
    provider = await site.client("p")
    await provider.subscribe("Band/add")
    client = await site.client("a", will=("Band/add", b"I am gone", 1))
    await client.vanish()
    assert (await provider.hear()).payload == b"I am gone"


async def test_a_pending_will_survives_a_restart(tmp_path):
    async with mqtt_site(tmp_path) as site:
        token = site.token
        client = await site.client("a", will=("Band/kept", b"gone", 1), will_delay=100, **KEPT)
        await client.vanish()
        site.pass_by(10)
    async with mqtt_site(tmp_path, welcome=False) as site:
        heir = await site.client("heir", token=token)
        await heir.subscribe("Band/kept")
        assert await heir.silent()
        site.pass_by(101)
        assert (await heir.hear()).payload == b"gone"
        await settle(site)
    async with mqtt_site(tmp_path, welcome=False) as site:
        heir = await site.client("heir", token=token)
        await heir.subscribe("Band/kept", retainHandling=2)
        site.pass_by(200)
        assert await heir.silent()


async def test_the_will_of_a_client_that_was_there_when_the_site_died(tmp_path):
    async with mqtt_site(tmp_path) as site:
        token = site.token
        await site.client("a", will=WILL, will_delay=5, **KEPT)
        await settle(site)
        site.server.listener.desk.disconnected = lambda *_: None  # nobody had time to notice
    async with mqtt_site(tmp_path, welcome=False) as site:
        heir = await site.client("heir", token=token)
        await heir.subscribe("Band/steps")
        assert await heir.silent()
        site.pass_by(6)
        assert (await heir.hear()).payload == b"gone"
