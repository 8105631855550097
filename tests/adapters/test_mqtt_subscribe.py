"""SUBSCRIBE: names, wildcards, options, limits; real clients."""

import pytest
import pytest_asyncio

from adapters.mqtt.desk import matching, scanning
from gateway.settings import Mqtt
from registry.model import EventChannel
from tests.adapters.mqtt_site import BAND, mqtt_site


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def sender(site):
    return await site.client("sender")


class TestSpelling:
    @pytest.mark.parametrize(
        "text",
        ["Band/steps", "/Band/steps", f"{BAND}/steps", "LOCALHOST/Band/steps", "Band/%73teps"],
    )
    async def test_an_exact_filter_gets_its_own_spelling(self, site, sender, text):
        reader = await site.client("r")
        assert await reader.subscribe(text) == [1]
        await sender.publish("Band/steps", b"1")
        assert (await reader.hear()).topic == text

    @pytest.mark.parametrize(
        ("text", "topic"),
        [
            ("#", "Band/steps"),
            ("+/steps", "Band/steps"),
            ("/Band/+", "/Band/steps"),
            ("localhost/#", "localhost/Band/steps"),
            (f"{BAND}/+", f"{BAND}/steps"),
            ("Band/steps/#", "Band/steps"),
            ("B%61nd/+", "B%61nd/steps"),
        ],
    )
    async def test_under_a_wildcard_the_topic_matches_the_filter(self, site, sender, text, topic):
        reader = await site.client("r")
        assert await reader.subscribe(text) == [1]
        await sender.publish("Band/steps", b"1")
        assert (await reader.hear()).topic == topic

    async def test_two_spellings_are_two_topics(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("Band/steps", "/Band/steps")
        await sender.publish("Band/steps", b"1")
        assert {(await reader.hear()).topic for _ in range(2)} == {"Band/steps", "/Band/steps"}
        assert await reader.silent()


class TestOptions:
    async def test_overlapping_filters_deliver_once_with_all_identifiers(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("Band/steps", qos=0, id_=1)
        await reader.subscribe("Band/+", qos=2, id_=2)
        await reader.subscribe("#", qos=1, id_=3)
        await sender.publish("Band/steps", b"1", qos=2)
        message = await reader.hear()
        assert message.qos == 2
        assert sorted(message.ids) == [1, 2, 3]
        assert await reader.silent()
        await reader.unsubscribe("Band/+", "#")
        await sender.publish("Band/steps", b"2", qos=2)
        message = await reader.hear()
        assert (message.qos, message.ids) == (0, [1])

    async def test_no_local_keeps_the_clients_own_events_away(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("Band/steps", noLocal=True)
        await reader.publish("Band/steps", b"own")
        await sender.publish("Band/steps", b"other")
        assert (await reader.hear()).payload == b"other"
        await reader.subscribe("Band/+", id_=4, retainHandling=2)  # this one wants them
        await reader.publish("Band/steps", b"own")
        message = await reader.hear()
        assert (message.payload, message.ids) == (b"own", [4])

    async def test_retain_as_published(self, site, sender):
        reader, other = await site.client("r"), await site.client("o")
        await reader.subscribe("Band/steps", retainAsPublished=True)
        await other.subscribe("Band/steps")
        await sender.publish("Band/steps", b"1", retain=True)
        await sender.publish("Band/steps", b"2", retain=False)
        assert [(await reader.hear()).retain for _ in range(2)] == [True, False]
        assert [(await other.hear()).retain for _ in range(2)] == [False, False]

    async def test_the_same_filter_again_replaces_its_options(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("Band/steps", qos=2, id_=1)
        await reader.subscribe("Band/steps", qos=0, id_=2)
        await sender.publish("Band/steps", b"1", qos=2)
        message = await reader.hear()
        assert (message.qos, message.ids) == (0, [2])
        assert await reader.silent()
        assert site.broker.subscriptions == 1

    async def test_unsubscribe(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("Band/steps", "Band/+")
        assert await reader.unsubscribe("Band/steps", "Band/nothing", "Band/+") == [0, 0x11, 0]
        await sender.publish("Band/steps", b"1")
        assert await reader.silent()
        assert site.broker.subscriptions == 0


class TestWildcards:
    async def test_channels_that_appear_later_are_matched_too(self, site, sender):
        reader = await site.client("r")
        await reader.subscribe("+/news")
        await site.register("Late", channels={"news": EventChannel()}, methods={})
        await sender.publish("Late/news", b"first")
        assert (await reader.hear()).payload == b"first"

    async def test_no_wildcard_matches_what_is_reserved(self, site, sender):
        await site.allow("all", "*", "subscribe", "$SYS/**")
        reader = await site.client("r")
        await reader.subscribe("#", "+/#", "localhost/#", "$SYS/broker/version")
        assert (await reader.hear()).topic == "$SYS/broker/version"
        assert await reader.silent()

    async def test_thousands_of_channels_do_not_block_others(self, site, sender, monkeypatch):
        monkeypatch.setattr(scanning, "MOMENT", 0.0)  # one at a time
        monkeypatch.setattr(scanning, "TURN", 0.0)
        await site.space("many/**")
        for number in range(300):
            await sender.publish(f"many/{number}", str(number), retain=True)
        reader = await site.client("r")
        assert await reader.subscribe("many/#") == [1]
        sessions = site.broker._by_key
        assert len(sessions["site:phone r"].joined) == 300
        heard = {(await reader.hear()).payload for _ in range(300)}
        assert len(heard) == 300
        await sender.publish("many/299", b"now")
        assert (await reader.hear()).payload == b"now"

    async def test_a_wildcard_is_gone_when_that_is_acknowledged(self, site, sender, monkeypatch):
        await site.space("many/**")
        for number in range(300):
            await sender.publish(f"many/{number}", b"", retain=True)
        reader = await site.client("r")
        await reader.subscribe("many/#", retainHandling=2)
        await reader.subscribe("many/7", retainHandling=2)
        monkeypatch.setattr(scanning, "MOMENT", 0.0)
        monkeypatch.setattr(scanning, "TURN", 0.0)
        assert await reader.unsubscribe("many/#") == [0]
        assert len(site.broker._by_key["site:phone r"].joined) == 1
        await sender.publish("many/8", b"no")
        await sender.publish("many/7", b"yes")
        assert (await reader.hear()).payload == b"yes"

    async def test_late_sessions_catch_up_with_a_new_channel(self, site, sender, monkeypatch):
        monkeypatch.setattr(matching, "AT_ONCE", 1)
        readers = [await site.client(f"r{number}") for number in range(4)]
        for reader in readers:
            await reader.subscribe("new/#")
        await site.space("new/**")
        await sender.publish("new/topic", b"first")
        await sender.publish("new/topic", b"second")
        for reader in readers:
            assert [(await reader.hear()).payload for _ in range(2)] == [b"first", b"second"]
            assert await reader.silent(0.02)


class TestLimits:
    async def test_subscriptions_are_bounded(self, tmp_path):
        async with mqtt_site(tmp_path, Mqtt(port=0, subscriptions=3)) as site:
            client = await site.client("a")
            codes = await client.subscribe(*(f"a{number}/#" for number in range(5)))
            assert codes == [1, 1, 1, 0x97, 0x97]
            assert "3 subscriptions" in client.why
            assert await client.subscribe("a1/#") == [1]

    async def test_a_filter_is_bounded(self, site):
        client = await site.client("a")
        assert await client.subscribe("a/" * 10 + "#", "x" * 5000 + "/#") == [1, 0x97]

    async def test_so_are_the_filters_of_one_packet(self, site):
        client = await site.client("a")
        codes = await client.subscribe(*(f"a{number}/#" for number in range(502)))
        assert codes == [1] * 500 + [0x97] * 2
        assert "500 filters" in client.why

    @pytest.mark.parametrize("text", ["a//#", "a/../+", "@a/#", "a%zz/+"])
    async def test_what_can_match_no_name_is_refused(self, site, text):
        client = await site.client("a")
        assert await client.subscribe(text) == [0x8F]
        assert "invalid name" in client.why

    @pytest.mark.parametrize("version", [4, 5])
    async def test_an_unknown_name_is_refused(self, site, version):
        client = await site.client("a", version=version)
        assert await client.subscribe("Band/nothing") == [0x80 if version == 4 else 0x8F]

    async def test_many_subscriptions_of_a_durable_session_are_stored_once(self, site):
        client = await site.client("a", clean=False, expiry=60)
        before = site.broker._keeper.writes
        for number in range(50):
            client.paho.subscribe(f"a{number}/#", 1)
        assert await client.subscribe("b/#") == [1]
        assert site.broker._keeper.writes - before < 60
        assert site.broker.subscriptions == 51


class TestDescriptions:
    @pytest.mark.parametrize("version", [4, 5])
    async def test_an_object_is_described_on_its_name(self, site, version):
        client = await site.client("a", version=version)
        assert await client.subscribe("Band", "Band/introspect") == [0, 0]
        message = await client.hear()
        assert message.retain
        assert message.topic == "Band"
        assert message.json()["name"] == BAND
        assert "steps" in str(message.json())
        if version == 5:
            assert message.content_type == "application/json"
        assert (await client.hear()).topic == "Band/introspect"
        assert await client.unsubscribe("Band") == ([0] if version == 5 else [])

    async def test_it_shows_what_may_be_described(self, site):
        await site.allow("a", "device:a", "describe", "Band", "Band/steps")
        client = await site.client("a", token=await site.issue("device:a"))
        assert await client.subscribe("Band") == [0]
        text = str((await client.hear()).json())
        assert "steps" in text
        assert "heart" not in text

    async def test_without_describe_there_is_nothing(self, site):
        client = await site.client("x", token=await site.issue("device:x"))
        assert await client.subscribe("Band", "Nothing") == [0x87, 0x87]

    async def test_a_stranger_cannot_tell_what_there_is(self, site):
        client = await site.client("x", token=await site.issue("device:x"))
        said = set()
        for topic in (
            "Band",
            "Band/add",
            "Band/steps",
            "Band/nothing",
            "Nothing",
            "$call/Band/add/+",
        ):
            assert await client.subscribe(topic) == [0x87]
            said.add(client.why.split(" with ")[0])
        assert said == {"device:x may not do that"}
