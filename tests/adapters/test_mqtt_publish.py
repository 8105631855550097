"""PUBLISH to channels: what is taken, what is refused and how it is said; real clients."""

import asyncio

import pytest
import pytest_asyncio

from gateway.message import Status
from policy.model import Action
from registry.model import EventChannel
from registry.names import Name
from tests.adapters.mqtt_site import BAND, mqtt_site, settle


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


class TestChannels:
    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("version", [4, 5])
    async def test_what_is_published_arrives(self, site, qos, version):
        sender = await site.client("s", version=version)
        reader = await site.client("r")
        await reader.subscribe("Band/steps", qos=2)
        for payload in (b"", b"\x00\xff binary", b"x" * 70_000):
            await sender.publish("Band/steps", payload, qos=qos)
            message = await reader.hear()
            assert (message.payload, message.qos, message.retain) == (payload, qos, False)

    @pytest.mark.parametrize(
        "topic",
        ["Band/steps", "/Band/steps", "localhost/Band/steps", f"{BAND}/steps", "Band/%73teps"],
    )
    async def test_a_name_has_many_spellings(self, site, topic):
        reader = await site.client("r")
        await reader.subscribe("Band/steps")
        assert await reader.publish(topic, b"1") == 0
        assert (await reader.hear()).topic == "Band/steps"

    async def test_what_a_publisher_says_arrives_unaltered(self, site):
        sender, reader = await site.client("s"), await site.client("r")
        await reader.subscribe("Band/steps", id_=9)
        await sender.publish(
            "Band/steps",
            b"{}",
            ContentType="application/json; charset=utf-8",
            ResponseTopic="any/thing",
            CorrelationData=b"\x00\x01",
            MessageExpiryInterval=100,
            UserProperty=[("specversion", "1.0"), ("id", "é")],
        )
        message = await reader.hear()
        assert message.content_type == "application/json; charset=utf-8"
        assert message.response_topic == "any/thing"
        assert message.correlation == b"\x00\x01"
        assert 99 <= message.expiry <= 100
        assert message.attributes == {"specversion": "1.0", "id": "é"}
        assert message.ids == [9]

    async def test_other_protocols_get_it_too(self, site):
        seen = []

        class Reader:
            def deliver(self, event):
                seen.append(event)

            def ended(self, refusal):
                seen.append(refusal)

        route = site.site.view.find(Name(f"{BAND}/steps"))
        site.channels.subscribe(route, None, Reader()).resume()
        sender = await site.client("s")
        await sender.publish("Band/steps", b"1", qos=2, ContentType="text/plain")
        event = seen[0]
        assert (event.source, event.content_type, event.qos) == ("site:phone", "text/plain", 2)
        assert event.origin == "site:phone s"

    async def test_a_durable_channel_is_acknowledged_when_it_is_on_disk(self, site):
        sender = await site.client("s")
        for number in range(3):
            assert await sender.publish("Band/kept", str(number), qos=1 + number % 2) == 0
        route = site.site.view.find(Name(f"{BAND}/kept"))
        history = await site.channels.history(route)
        assert [event.payload for event in history] == [b"0", b"1", b"2"]

    async def test_it_is_counted_like_any_other_publication(self, site):
        sender = await site.client("s")
        route = site.site.view.find(Name(f"{BAND}/steps"))
        await sender.publish("Band/steps", b"1")
        await sender.publish("Band/kept", b"1")
        assert route.meter.counts[Action.PUBLISH, Status.OK] == 2
        await sender.publish("Band/typed", b"1")
        assert route.meter.counts[Action.PUBLISH, Status.INVALID] == 1
        assert site.broker.publishing.received == 3
        assert site.broker.publishing.refused == 1


class TestRefusals:
    async def test_a_denied_one_says_why_to_those_who_may_know(self, site):
        await site.allow("a", "device:a", "describe")
        knowing = await site.client("a", token=await site.issue("device:a"))
        assert await knowing.publish("Band/steps", b"1") == 0x87
        assert "no policy allows" in knowing.why
        assert await knowing.publish("Band/stepz", b"1") == 0x90
        assert "did you mean snac.asu.edu/Band/steps?" in knowing.why

    async def test_a_stranger_cannot_tell_what_there_is(self, site):
        stranger = await site.client("x", token=await site.issue("device:x"))
        said = set()
        for topic in ("Band/steps", "Band/nothing", "Nothing/at/all", "Band/add", "Band"):
            assert await stranger.publish(topic, b"1") == 0x87, topic
            said.add(stranger.why.replace(f"snac.asu.edu/{topic}", "it"))
        assert said == {"device:x may not do that with it"}

    async def test_what_is_no_name_is_refused(self, site):
        sender = await site.client("s")
        for topic in ("a//b", "a/../b", "a/b%zz", "@a", "localhost", "x" * 2000):
            assert await sender.publish(topic, b"1") == 0x90, topic

    async def test_a_payload_that_does_not_fit_is_refused(self, site):
        sender = await site.client("s")
        assert await sender.publish("Band/typed", {"n": 1}) == 0
        assert await sender.publish("Band/typed", {"m": 1}) == 0x99
        assert "does not fit its schema" in sender.why
        assert await sender.publish("Band/typed", b"{") == 0x83
        assert await sender.publish("Band/typed", b" " * 70_000) == 0x97

    async def test_a_content_type_must_fit_into_other_protocols(self, site):
        sender = await site.client("s")
        for bad in ("a\r\nHilum-Principal: x", "é", " ", "x" * 600):
            assert await sender.publish("Band/steps", b"1", ContentType=bad) == 0x83
        reply = await sender.publish("Band/add", b"1", ContentType="a\r\nb")
        assert reply == 0x83

    async def test_the_properties_of_an_event_are_bounded(self, site):
        sender = await site.client("s")
        big = {"UserProperty": [("a", "x" * 10_000), ("b", "x" * 7_000)]}
        assert await sender.publish("Band/steps", b"1", **big) == 0x97
        assert await sender.publish("Band/steps", b"1", CorrelationData=b"x" * 20_000) == 0x97
        assert await sender.publish("Band/steps", b"1", CorrelationData=b"x" * 16_000) == 0

    async def test_an_object_takes_nothing(self, site):
        sender = await site.client("s")
        assert await sender.publish("Band", b"1") == 0x83
        assert "publish to one of its members" in sender.why

    async def test_without_problem_information_nothing_is_said(self, site):
        sender = await site.client("s", RequestProblemInformation=0)
        assert await sender.publish("Band/nothing", b"1") == 0x90
        assert sender.why == ""

    async def test_a_3_1_1_client_is_disconnected(self, site):
        sender = await site.client("s", version=4)
        sender.paho.publish("Band/nothing", b"1", 1)
        await asyncio.wait_for(sender.gone, 5)
        quiet = await site.client("q", version=4)
        quiet.paho.publish("Band/nothing", b"1", 0)
        assert await quiet.publish("Band/steps", b"1") == 0
        assert not quiet.gone.done()

    async def test_a_full_disk_is_told(self, site, monkeypatch):
        sender = await site.client("s")
        await sender.publish("Band/kept", b"1")

        async def fail(*_):
            from gateway.ports import StoreError

            raise StoreError("the disk is full")

        monkeypatch.setattr(site.channels._log, "append", fail)
        assert await sender.publish("Band/kept", b"2") == 0x83
        assert "the disk is full" in sender.why
        await sender.publish("Band/kept", b"3", qos=0)
        await settle(site)
        assert site.broker.publishing.refused == 2


class TestFreeTopics:
    async def test_unregistered_topics_need_a_space(self, site):
        client = await site.client("a")
        assert await client.subscribe("home/+/temp", "home/hall/temp") == [1, 0x8F]
        assert await client.publish("home/hall/temp", b"1") == 0x90
        await site.space("home/**")
        assert await client.publish("home/hall/temp", b"21") == 0
        assert (await client.hear()).topic == "home/hall/temp"
        assert await client.publish("garden/temp", b"1") == 0x90

    async def test_access_policies_decide_there_too(self, site):
        await site.space("home/**")
        await site.allow("a", "device:a", "publish", "home/a/**")
        client = await site.client("a", token=await site.issue("device:a"))
        assert await client.publish("home/a/temp", b"1") == 0
        assert await client.publish("home/b/temp", b"1") == 0x87
        assert await client.subscribe("home/a/temp") == [0x87]

    async def test_too_many_are_refused(self, site, monkeypatch):
        await site.space("home/**")
        monkeypatch.setattr(site.channels, "_free_topics", 2)
        client = await site.client("a")
        assert await client.publish("home/1", b"1", retain=True) == 0
        assert await client.publish("home/2", b"1", retain=True) == 0
        assert await client.publish("home/3", b"1", retain=True) == 0x97
        assert await client.subscribe("home/4") == [0x97]
        assert await client.publish("home/1", b"2") == 0


async def test_a_registered_name_that_comes_and_goes(site):
    reader = await site.client("r")
    await reader.subscribe("Band/steps")
    await site.register(channels={"heart": EventChannel()}, methods={})
    assert await reader.publish("Band/steps", b"1") == 0x90
    await site.register()
    assert await reader.publish("Band/steps", b"2") == 0
    assert (await reader.hear()).payload == b"2"
