"""MQTT clients as callers: Response Topics, ``$rpc``, deadlines, refusals; real clients."""

import asyncio
import json

import pytest
import pytest_asyncio

from adapters.mqtt.desk.desk import DeskSettings
from gateway.message import Status
from policy.model import Action
from registry.model import EventChannel, Method
from registry.names import Name
from tests.adapters.live import until
from tests.adapters.mqtt_site import BAND, mqtt_site


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def provider(site):
    """A client that offers ``Band/add`` and ``Band/slow``; ``answering`` answers its calls."""
    client = await site.client("provider")
    assert await client.subscribe("Band/add", "Band/slow") == [0, 0]
    return client


async def answer(provider, payload=b"42", **said):
    call = await provider.hear()
    await provider.publish(call.response_topic, payload, qos=0, **said)
    return call


class TestResponseTopic:
    async def test_a_call_is_answered_there(self, site, provider):
        caller = await site.client("c")
        code = await caller.publish(
            "Band/add", b"[1]", ResponseTopic="anything/at all", CorrelationData=b"\x00k"
        )
        assert code == 0
        await answer(provider, ContentType="text/plain")
        reply = await caller.hear()
        assert (reply.topic, reply.payload) == ("anything/at all", b"42")
        assert reply.correlation == b"\x00k"
        assert reply.content_type == "text/plain"
        assert reply.attributes == {"hilum-status": "ok", "hilum-origin": "provider"}

    async def test_a_response_topic_is_no_name(self, site, provider):
        """A reply goes to the caller even where another client listens to that name."""
        caller, other = await site.client("c"), await site.client("o")
        await other.subscribe("Band/steps", "#")
        await caller.publish("Band/add", b"", ResponseTopic="Band/steps")
        await answer(provider)
        assert (await caller.hear()).payload == b"42"
        assert await other.silent()

    async def test_without_one_nothing_comes_back(self, site, provider):
        caller = await site.client("c")
        assert await caller.publish("Band/add", b"[1]") == 0
        await answer(provider)
        assert await caller.silent()

    async def test_an_error_of_the_provider_is_marked(self, site, provider):
        caller = await site.client("c")
        await caller.publish("Band/add", b"", ResponseTopic="r")
        await answer(provider, b"no such number", UserProperty=[("hilum-status", "not-found")])
        reply = await caller.hear()
        assert reply.payload == b"no such number"
        assert reply.attributes == {"hilum-status": "not-found", "hilum-origin": "provider"}

    async def test_a_refusal_is_a_reason_code_and_a_reply(self, site):
        caller = await site.client("c")
        assert await caller.publish("Band/add", b"", ResponseTopic="r") == 0x83
        assert "no live endpoint" in caller.why
        reply = await caller.hear()
        assert reply.attributes == {"hilum-status": "unavailable", "hilum-origin": "gateway"}
        assert reply.content_type == "application/problem+json"
        assert reply.json()["status"] == 503

    async def test_a_stranger_hears_the_same_of_everything(self, site):
        stranger = await site.client("x", token=await site.issue("device:x"))
        said = set()
        for topic in ("Band/add", "Band/nothing", "Band/steps", "Band"):
            for qos in (0, 1):
                await stranger.publish(topic, b"", qos=qos, ResponseTopic="r")
                document = (await stranger.hear()).json()
                said.add(document["detail"].replace(f"snac.asu.edu/{topic}", "it"))
        assert said == {"device:x may not do that with it"}

    async def test_message_expiry_is_the_deadline(self, site, provider):
        caller = await site.client("c")
        code = await caller.publish("Band/add", b"", ResponseTopic="r", MessageExpiryInterval=1)
        assert code == 0
        call = await provider.hear()
        assert call.expiry == 1
        reply = await caller.hear()
        assert reply.attributes["hilum-status"] == "timeout"
        await provider.publish(call.response_topic, b"late", qos=0)
        assert await caller.silent()

    async def test_a_method_has_a_timeout_of_its_own(self, site, provider):
        caller = await site.client("c")
        await caller.publish("Band/slow", b"", ResponseTopic="r")
        assert (await caller.hear()).attributes["hilum-status"] == "timeout"

    async def test_an_answer_that_is_too_large_is_an_error(self, site, provider):
        caller = await site.client("c", MaximumPacketSize=1000)
        await caller.publish("Band/add", b"", ResponseTopic="r")
        await answer(provider, b"x" * 2000)
        assert (await caller.hear()).attributes["hilum-status"] == "too-large"

    async def test_payloads_pass_untouched(self, site, provider):
        caller = await site.client("c")
        for payload in (b"", b"\x00\xff", b"x" * 300_000):
            await caller.publish("Band/add", payload, ResponseTopic="r")
            assert (await answer(provider, payload)).payload == payload
            assert (await caller.hear()).payload == payload

    async def test_a_payload_is_bounded(self, site, provider):
        caller = await site.client("c")
        payload = b"x" * (1024 * 1024 + 1)
        assert await caller.publish("Band/add", payload, ResponseTopic="r") == 0x97
        assert (await caller.hear()).attributes["hilum-status"] == "too-large"
        assert await caller.publish("Band/add", payload[1:], ResponseTopic="r") == 0
        assert len((await answer(provider)).payload) == 1024 * 1024

    async def test_calls_are_bounded(self, site, provider, monkeypatch):
        caller = await site.client("c")
        settings = DeskSettings(calls=2)
        monkeypatch.setattr(site.broker, "_desk", site.broker._desk._replace(settings=settings))
        monkeypatch.setattr(site.broker.publishing, "_desk", site.broker._desk)
        for _ in range(2):
            assert await caller.publish("Band/add", b"", ResponseTopic="r") == 0
        assert await caller.publish("Band/add", b"", ResponseTopic="r") == 0x97
        assert (await caller.hear()).attributes["hilum-status"] == "throttled"
        await answer(provider)
        await answer(provider)
        assert await caller.publish("Band/add", b"", ResponseTopic="r") == 0

    async def test_who_is_gone_waits_no_longer(self, site, provider):
        caller = await site.client("c")
        await caller.publish("Band/add", b"", ResponseTopic="r")
        await provider.hear()
        await caller.vanish()
        route = site.site.view.find(Name(f"{BAND}/add"))
        await until(lambda: route.meter.counts == {(Action.CALL, Status.CANCELLED): 1})


class TestRpc:
    @pytest.mark.parametrize("version", [4, 5])
    async def test_a_call_and_its_reply(self, site, provider, version):
        caller = await site.client("c", version=version)
        assert await caller.subscribe("$reply/c/+") == [0]
        assert await caller.publish("$rpc/c/17/Band/add", b"[1]") == 0
        call = await answer(provider)
        assert call.payload == b"[1]"
        reply = await caller.hear()
        assert (reply.topic, reply.payload) == ("$reply/c/17", b"42")

    async def test_errors_have_topics_of_their_own(self, site, provider):
        caller = await site.client("c", version=4)
        await caller.subscribe("$reply/c/#")
        await caller.publish("$rpc/c/1/Band/echo", b"")
        reply = await caller.hear()
        assert reply.topic == "$reply/c/1/unavailable"
        assert reply.json()["type"] == "urn:hilum:problem:unavailable"
        await caller.publish("$rpc/c/2/Band/nothing", b"")
        assert (await caller.hear()).topic == "$reply/c/2/not-found"
        await caller.publish("$rpc/c/3/Band/steps", b"")
        assert (await caller.hear()).topic == "$reply/c/3/bad-request"
        await caller.publish("$rpc/c/4/a//b", b"")
        assert (await caller.hear()).topic == "$reply/c/4/bad-request"
        await caller.publish("$rpc/c/5/Band/add", b"")
        await answer(provider, b"{}", UserProperty=[("hilum-status", "conflict")])
        reply = await caller.hear()
        assert (reply.topic, reply.payload) == ("$reply/c/5/conflict", b"{}")

    async def test_a_denied_call_is_told(self, site):
        caller = await site.client("c", version=4, token=await site.issue("device:c"))
        await caller.subscribe("$reply/c/#")
        await caller.publish("$rpc/c/1/Band/add", b"")
        assert (await caller.hear()).topic == "$reply/c/1/denied"
        await caller.publish("$rpc/c/2/Band/steps", b"")
        assert (await caller.hear()).topic == "$reply/c/2/denied"

    async def test_only_under_ones_own_id(self, site):
        caller = await site.client("c")
        for topic in ("$rpc/other/1/Band/add", "$rpc/c/Band", "$rpc/c//Band/add", "$rpc/c"):
            assert await caller.publish(topic, b"") == 0x87, topic
        assert await caller.subscribe("$reply/other/#", "$reply/#", "$reply/+/x") == [0x87] * 3
        assert await caller.subscribe("$share/g/$reply/c/#", "$rpc/c/#") == [0x87] * 2
        assert (
            await caller.subscribe("$reply/c/#", "$reply/c/+", "$reply/c/1", "$reply/c") == [0] * 4
        )

    async def test_a_3_1_1_client_may_call_for_nothing(self, site, provider):
        caller = await site.client("c", version=4)
        assert await caller.publish("Band/add", b"now") == 0
        assert (await answer(provider)).payload == b"now"
        assert await caller.silent()


class TestOtherProviders:
    async def test_the_sites_own_methods(self, site):
        """A device registers itself, over MQTT."""
        await site.allow("registrants", "device:a", "register create", "Lamp/**")
        await site.allow("call", "device:a", "call", "$site/registry/*")
        client = await site.client("a", token=await site.issue("device:a"))
        manifest = {
            "apiVersion": "hilum/v1",
            "microservice": "Lamp",
            "version": "1.0.0",
            "lease": 60,
            "objects": [{"name": "Lamp", "channels": {"lit": {}}, "methods": {"toggle": {}}}],
        }
        code = await client.publish(
            "$site/registry/register", manifest, ResponseTopic="r", ContentType="application/json"
        )
        assert code == 0
        reply = await client.hear()
        assert reply.attributes["hilum-status"] == "ok", reply.payload
        assert reply.content_type == "application/json"
        assert await client.publish("Lamp/lit", b"1") == 0
        await client.publish(
            "$rpc/a/1/$site/registry/renew",
            json.dumps({"microservice": "Lamp", "version": "1.0.0"}),
        )
        assert (await client.hear()).topic == "$reply/a/1"

    async def test_an_introspection_is_a_call(self, site):
        client = await site.client("a")
        await client.publish("Band/introspect", b"", ResponseTopic="r")
        assert (await client.hear()).json()["microservice"] == "Band"

    async def test_an_http_service(self, site):
        from adapters.http.upstream.provider import HttpProvider
        from gateway.egress import Egress
        from gateway.settings import Upstream
        from registry.model import Endpoint
        from tests.adapters.relay import echo, service

        seen = []
        http = HttpProvider(site.site.plane, Egress(()), b"k" * 32, site.time, Upstream(), None)
        site.site.plane.providers["http"] = http
        async with service(echo(seen)) as url:
            methods = {"echo": Method(endpoints=(Endpoint(url),))}
            await site.register("Web", {"c": EventChannel()}, methods)
            caller = await site.client("c")
            await caller.publish(
                "Web/echo",
                b"hello",
                ResponseTopic="r",
                ContentType="text/x-own",
                UserProperty=[
                    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                    ("Hilum-Principal", "user:root"),
                ],
            )
            reply = await caller.hear()
        http.close()
        assert (reply.payload, reply.content_type) == (b"hello", "text/plain")
        head = seen[0][0]
        assert b"\r\nContent-Type: text/x-own\r\n" in head
        assert b"0af7651916cd43dd8448eb211c80319c" in head
        assert b"user:root" not in head


async def test_many_calls_at_once(site, provider):
    caller = await site.client("c")

    async def one(number):
        await caller.publish(
            "Band/add", str(number), ResponseTopic="r", CorrelationData=str(number).encode()
        )

    async def serve():
        for _ in range(50):
            call = await provider.hear()
            provider.paho.publish(call.response_topic, call.payload, 0)

    await asyncio.gather(serve(), *(one(number) for number in range(50)))
    replies = [await caller.hear() for _ in range(50)]
    assert all(reply.payload == reply.correlation for reply in replies)
    assert {reply.payload for reply in replies} == {str(n).encode() for n in range(50)}
