"""Shared subscriptions are the channels' groups (MQTT 5.0 section 4.8.2)."""

import asyncio
from itertools import chain

import pytest_asyncio

from registry.names import Name
from tests.adapters.mqtt_site import BAND, mqtt_site


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        await made.allow("groups", "site:phone", "subscribe", groups=("g", "h"))
        yield made


async def payloads(client, seconds=0.15):
    await asyncio.sleep(seconds)
    found = [message.payload for message in client.messages]
    client.messages.clear()
    return found


async def test_each_event_goes_to_one_member(site):
    members = [await site.client(f"m{n}", version=4 + n % 2) for n in range(3)]
    for member in members:
        await member.subscribe("$share/g/Band/steps")
    other, alone = await site.client("o"), await site.client("h")
    await other.subscribe("Band/steps")
    await alone.subscribe("$share/h/Band/steps")
    sender = await site.client("s")
    for number in range(30):
        await sender.publish("Band/steps", b"%d" % number)
    shares = [await payloads(member) for member in members]
    assert sorted(chain(*shares), key=int) == [b"%d" % n for n in range(30)]
    assert all(len(share) >= 5 for share in shares)
    assert len(await payloads(other)) == len(await payloads(alone)) == 30


async def test_under_a_wildcard_too(site):
    first, second = await site.client("a"), await site.client("b")
    await first.subscribe("$share/g/Band/+")
    await second.subscribe("$share/g/Band/steps")
    for number in range(10):
        await first.publish("Band/steps", b"%d" % number)
    await first.publish("Band/heart", b"heart")
    got = await payloads(first), await payloads(second)
    assert b"heart" in got[0]
    assert len(got[0]) + len(got[1]) == 11
    assert len(got[1]) >= 3


async def test_groups_are_the_same_in_all_protocols(site):
    seen = []

    class Member:
        def deliver(self, event):
            seen.append(event.payload)

        def ended(self, refusal):
            pass

    route = site.site.view.find(Name(f"{BAND}/steps"))
    principal = site.site.identity.known("site:phone")
    site.channels.subscribe(route, principal, Member(), group="g").resume()
    member = await site.client("m")
    await member.subscribe("$share/g/Band/steps")
    for number in range(10):
        await member.publish("Band/steps", b"%d" % number)
    assert len(seen) + len(await payloads(member)) == 10
    assert seen


async def test_joining_needs_a_rule_that_names_the_group(site):
    client = await site.client("a")
    assert await client.subscribe("$share/secret/Band/steps", "$share/secret/#") == [0x87, 1]
    await client.publish("Band/steps", b"1")
    assert await client.silent()


async def test_who_goes_leaves_its_share_to_the_others(site):
    slow = await site.client("slow", ReceiveMaximum=1)
    slow.paho.manual_ack_set(True)
    await slow.subscribe("$share/g/Band/steps")
    sender = await site.client("s")
    for number in range(5):
        await sender.publish("Band/steps", b"%d" % number)
    assert (await slow.hear()).payload == b"0"
    other = await site.client("o")
    await other.subscribe("$share/g/Band/steps")
    await slow.vanish()
    assert await payloads(other) == [b"0", b"1", b"2", b"3", b"4"]


async def test_members_that_are_away_get_what_nobody_else_takes(site):
    kept = {"clean": False, "expiry": 600}
    away = await site.client("away", **kept)
    await away.subscribe("$share/g/Band/steps")
    here = await site.client("here")
    await here.subscribe("$share/g/Band/steps")
    await away.disconnect()
    for number in range(6):
        await here.publish("Band/steps", b"%d" % number)
    assert len(await payloads(here)) == 6
    await here.unsubscribe("$share/g/Band/steps")
    await here.publish("Band/steps", b"late")
    back = await site.client("away", **kept)
    assert (await back.hear()).payload == b"late"
    await here.subscribe("$share/g/Band/steps")
    for number in range(6):
        await here.publish("Band/steps", b"%d" % number)
    assert len(await payloads(here)) == len(await payloads(back)) == 3


async def test_the_least_busy_member_is_served_first(site):
    slow = await site.client("slow")
    slow.paho.manual_ack_set(True)
    await slow.subscribe("$share/g/Band/steps")
    quick = await site.client("quick")
    await quick.subscribe("$share/g/Band/steps")
    for number in range(10):
        await quick.publish("Band/steps", b"%d" % number)
    assert len(await payloads(slow)) == 1
    assert len(await payloads(quick)) == 9


async def test_who_unsubscribes_still_gets_what_it_was_given(site):
    member = await site.client("m", ReceiveMaximum=1)
    member.paho.manual_ack_set(True)
    await member.subscribe("$share/g/Band/steps")
    other = await site.client("o")
    for number in range(5):
        await other.publish("Band/steps", b"%d" % number)
    got = [(await member.hear()).payload]
    await other.subscribe("$share/g/Band/steps")
    await member.unsubscribe("$share/g/Band/steps")
    for mid in range(1, 6):
        member.paho.ack(mid, 1)
        got += await payloads(member, 0.05)
    assert sorted(got + await payloads(other)) == [b"%d" % number for number in range(5)]
