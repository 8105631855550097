"""A Binding policy on a whole site: events of a channel become calls of a method (S3 III-A)."""

import asyncio

import pytest
import pytest_asyncio

from tests.adapters.live import live_site
from tests.adapters.sockets import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def site(tmp_path):
    async with live_site(tmp_path) as made:
        yield made


async def bind(site, channel):
    await site.apply(
        "Binding", "hook", {"name": f"{site.object}/{channel}", "call": f"{site.object}/add"}
    )


@pytest.mark.parametrize("channel", ["steps", "kept"])
async def test_events_become_calls(site, channel):
    provider = await Client.open(site)
    await provider.ask("provide", name="Band/add")
    await bind(site, channel)
    await asyncio.sleep(0.05)
    for text in ("one", "two"):
        await site.publish(channel, text)
        asked = await provider.op("call")
        assert asked["payload"] == text
        assert asked["contentType"] == "text/plain"
        provider.say(op="reply", id=asked["id"])
    await site.delete("hook")
    await site.publish(channel, "unheard")
    reply = await provider.ask("get", name=f"Band/{channel}")
    assert reply["payload"] == "unheard"
    assert provider.messages == []


async def test_a_durable_channel_is_served_after_a_restart(tmp_path):
    async with live_site(tmp_path) as site:
        await bind(site, "kept")
        await site.publish("kept", "while the method was away")
    async with live_site(tmp_path) as site:
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        asked = await asyncio.wait_for(provider.op("call"), 10)
        assert asked["payload"] == "while the method was away"
        provider.say(op="reply", id=asked["id"])
        await site.publish("kept", "another")
        assert (await provider.op("call"))["payload"] == "another"


async def test_dead_letters_can_be_listed_redriven_and_discarded(site, monkeypatch):
    monkeypatch.setattr(site.application.deliveries, "random", lambda: 0.001)
    await bind(site, "kept")
    await asyncio.sleep(0.05)
    await site.publish("kept", "one", "two")

    async def letters():
        return (await site.call("channel/deadletters", {}))["items"]

    found = []
    while len(found) < 2:
        await asyncio.sleep(0.02)
        found = await letters()
    first, second = found
    assert first["channel"] == site.name("kept")
    assert first["attempts"] == 8
    assert "unavailable" in first["error"]
    assert (first["payload"], second["payload"]) == ("one", "two")
    provider = await Client.open(site)
    await provider.ask("provide", name="Band/add")
    driving = asyncio.ensure_future(site.call("channel/redrive", {"id": first["id"]}))
    asked = await provider.op("call")
    assert asked["payload"] == "one"
    provider.say(op="reply", id=asked["id"])
    assert (await driving)["delivered"]
    await site.call("channel/discard", {"id": second["id"]})
    assert await letters() == []
