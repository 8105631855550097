"""A quality policy on the wire: one limit as clients of HTTP, MQTT and CoAP feel it."""

import asyncio
import json
import time

import pytest

from adapters.coap.wire.codec import POST, PUT, code_text
from adapters.coap.wire.options import MAX_AGE
from policy.model import QualityPolicy
from policy.quality_rules import Rate
from tests.adapters.coap_site import PLAN, Device, running_coap
from tests.adapters.mqtt_site import BAND, mqtt_site
from tests.adapters.sockets import Client
from tests.adapters.test_websocket_process import Remote
from tests.running import Gateway, Service

QUOTA_EXCEEDED = 0x97
PACKET_ID_NOT_FOUND = 0x92
STEPS = f"{BAND}/steps"


def limited(rate: float, burst: float, **more: object) -> QualityPolicy:
    return QualityPolicy(("**",), per=("principal",), messages=Rate(rate, burst), **more)


# --- MQTT ------------------------------------------------------------------------------------


async def test_mqtt_5_hears_of_the_quota_and_what_was_acknowledged_is_delivered(tmp_path):
    async with mqtt_site(tmp_path) as site:
        listener = await site.client("listener")
        await listener.subscribe(STEPS)
        await site.policy("calm", limited(0.1, 3))
        sender = await site.client("sender")
        codes = [await sender.publish(STEPS, f"{n}", qos=1) for n in range(4)]
        assert codes == [0, 0, 0, QUOTA_EXCEEDED]
        # paho goes on with PUBREL after a PUBREC that refuses, and is told so.
        assert await sender.publish(STEPS, "4", qos=2) in (QUOTA_EXCEEDED, PACKET_ID_NOT_FOUND)
        assert [(await listener.hear()).payload for _ in range(3)] == [b"0", b"1", b"2"]
        assert await listener.silent()
        assert site.broker.publishing.refused == 2


@pytest.mark.parametrize(("version", "qos"), [(4, 0), (4, 1), (4, 2), (5, 0)])
async def test_who_cannot_be_told_is_read_from_more_slowly_and_nothing_is_lost(
    tmp_path, version, qos
):
    async with mqtt_site(tmp_path) as site:
        listener = await site.client("listener")
        await listener.subscribe(STEPS, qos=2)
        await site.policy("calm", limited(20, 2))
        sender = await site.client("sender", version=version)
        begun = time.monotonic()
        sent = [asyncio.ensure_future(sender.publish(STEPS, f"{n}", qos=qos)) for n in range(12)]
        heard = [(await listener.hear()).payload for _ in range(12)]
        assert heard == [b"%d" % n for n in range(12)]
        assert time.monotonic() - begun > 0.4
        assert [await code for code in sent] == [0] * 12


async def test_far_ahead_of_the_rate_qos_0_is_dropped_and_qos_1_not_acknowledged(tmp_path):
    async with mqtt_site(tmp_path) as site:
        listener = await site.client("listener")
        await listener.subscribe(STEPS)
        await site.policy("calm", limited(0.01, 1))
        sender = await site.client("sender", version=4)
        await sender.publish(STEPS, "taken", qos=0)
        await sender.publish(STEPS, "dropped", qos=0)
        assert (await listener.hear()).payload == b"taken"
        assert await listener.silent()
        other = await site.client("other", version=4)
        other.paho.publish(STEPS, "again", 1)
        assert await asyncio.wait_for(other.gone, 5)
        assert site.broker.publishing.refused == 2


async def test_a_throttled_call_over_mqtt_is_answered_so(tmp_path):
    async with mqtt_site(tmp_path) as site:
        await site.policy("calm", limited(0.01, 1))
        caller = await site.client("caller")
        await caller.subscribe("answers")
        for _ in range(2):
            code = await caller.publish(
                f"{BAND}/add", "1", ResponseTopic="answers", CorrelationData=b"1"
            )
        assert code == QUOTA_EXCEEDED
        replies = [await caller.hear() for _ in range(2)]
        assert replies[-1].attributes["hilum-status"] == "throttled"


# --- CoAP ------------------------------------------------------------------------------------


async def test_coap_hears_when_to_come_back(tmp_path):
    async with running_coap(tmp_path) as site:
        await site.policy("calm", limited(0.1, 2))
        with Device(site.port) as device:
            assert code_text((await device.ask(PUT, f"{PLAN}/news", b"1")).code) == "2.04"
            for code, member in ((POST, "make"), (PUT, "news"), (POST, "make")):
                answer = await device.ask(code, f"{PLAN}/{member}", b"2")
            assert code_text(answer.code) == "4.29"
            assert 8 <= int.from_bytes(answer.value(MAX_AGE), "big") <= 20


# --- HTTP and WebSocket ----------------------------------------------------------------------


async def test_a_websocket_hears_when_to_come_back(running_site):
    objects = [{"name": "Whisper", "channels": {"news": {}}}]
    await asyncio.to_thread(running_site.register, {"microservice": "Whisper", "objects": objects})
    spec = {"names": ["Whisper/**"], "messages": {"rate": 0.1, "burst": 2}}
    await asyncio.to_thread(calm, running_site, "calm-websocket", spec)
    client = await Client.open(Remote(running_site))
    for _ in range(3):
        answer = await client.ask("publish", name="Whisper/news", payload="x")
    assert answer["status"] == "throttled"
    assert 8 <= answer["retryAfter"] <= 10
    client.writer.close()
    await client.writer.wait_closed()


def applied(site: Gateway, kind: str, name: str, spec: dict[str, object]) -> None:
    manifest = {
        "apiVersion": "hilum/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    site.apply(json.dumps(manifest))


def calm(site: Gateway, name: str, spec: dict[str, object]) -> None:
    applied(site, "QualityPolicy", name, spec)


def test_http_says_429_and_when_to_come_back(running_site):
    site = running_site
    site.register({"microservice": "Calm", "objects": [{"name": "calm", "channels": {"news": {}}}]})
    calm(site, "calm-http", {"names": ["calm/**"], "messages": {"rate": 0.1, "burst": 2}})
    answers = [site.http("POST", "/calm/news", b"x") for _ in range(3)]
    assert [a.status for a in answers] == [200, 200, 429]
    assert 8 <= int(answers[2].fields["Retry-After"]) <= 10
    assert answers[2].json()["status"] == 429


def test_a_breaker_opens_and_closes_again(running_site):
    site = running_site
    with Service() as service:
        binding = {"name": "fragile/ask", "endpoint": f"{service.url}/ask"}
        applied(site, "Binding", "fragile", binding)
        calm(site, "fragile", {"names": ["fragile/**"], "breaker": {"failures": 2, "open": 2}})
        service.status = 503
        statuses = [site.http("POST", "/fragile/ask", b"{}").status for _ in range(3)]
        refused = site.http("POST", "/fragile/ask", b"{}")
        assert statuses[:2] == [503, 503]
        assert refused.status == 503
        assert refused.fields["Retry-After"] in ("1", "2")
        assert "left alone" in refused.json()["detail"]
        assert len(service.seen) == 2
        service.status = 200
        end = time.monotonic() + 10
        while time.monotonic() < end and len(service.seen) == 2:
            time.sleep(0.1)
            site.http("POST", "/fragile/ask", b"{}")
        assert site.http("POST", "/fragile/ask", b"{}").status == 200
