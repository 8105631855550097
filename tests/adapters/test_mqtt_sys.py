"""``$SYS``: what the server says of itself, to those whom a policy lets know; real clients."""

import pytest_asyncio

from adapters.mqtt.desk.sys import EVERY
from registry.names import Name
from tests.adapters.mqtt_site import AUTHORITY, mqtt_site

ALL = {
    "version": "Hilum",
    "uptime": "0 seconds",
    "clients/connected": "2",
    "clients/total": "3",
    "clients/disconnected": "1",
    "subscriptions/count": "1",
}


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


async def test_a_policy_has_to_name_it(site):
    client = await site.client("a")
    assert await client.subscribe("$SYS/broker/uptime", "$SYS/#") == [0x87, 1]
    assert await client.publish("$SYS/broker/uptime", b"0") == 0x87
    assert await client.silent()
    await site.allow("sys", "site:phone", "subscribe", "$SYS/**")
    assert await client.subscribe("$SYS/broker/uptime") == [1]
    assert (await client.hear()).payload == b"0 seconds"
    assert await client.publish("$SYS/broker/uptime", b"0") == 0x87


async def test_values(site):
    await site.allow("sys", "site:phone", "subscribe", "$SYS/**")
    away = await site.client("away", clean=False, expiry=60)
    await away.disconnect()
    await site.client("here")
    client = await site.client("a")
    await client.subscribe("$SYS/broker/#")
    said = {}
    for _ in site.server.system._values:
        message = await client.hear()
        said[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()
    assert await client.silent()
    assert {name: said[name] for name in ALL} == ALL
    assert all(int(said[f"bytes/{way}"]) > 20 for way in ("received", "sent"))


async def test_they_are_published_every_ten_seconds_and_only_if_asked_for(site):
    await site.allow("sys", "site:phone", "subscribe", "$SYS/**")
    system = site.server.system
    client = await site.client("a")
    await client.subscribe("$SYS/broker/clients/connected", qos=0)
    assert (await client.hear()).payload == b"1"
    now = system._last
    system.sweep(now + EVERY - 1)
    assert await client.silent()
    system.sweep(now + EVERY)
    assert (await client.hear()).payload == b"1"
    in_use = {route.name for route in site.channels.in_use()}
    assert in_use == {Name(f"{AUTHORITY}/$SYS/broker/clients/connected")}
    again = await site.client("b")
    await again.subscribe("$SYS/broker/clients/connected")
    message = await again.hear()
    assert message.retain


async def test_other_protocols_see_it_too(site):
    route = site.site.view.find(Name(f"{AUTHORITY}/$SYS/broker/clients/connected"))
    await site.client("a")
    event = await site.channels.last(route)
    assert event.payload == b"1"
