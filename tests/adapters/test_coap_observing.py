"""Channels fed by observing resources: aiocoap, libcoap, and servers that misbehave."""

import asyncio
import contextlib

import pytest

from adapters.coap.upstream import observing
from adapters.coap.upstream.observing import ResourceSources
from adapters.coap.upstream.provider import CoapProvider
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import ACK, CON, NON, RST, Message, code_of, decode, encode
from adapters.coap.wire.options import uint_value
from gateway.egress import Egress
from gateway.exchange import Plane
from gateway.objects.local import LocalProvider
from gateway.view import View
from policy.access.index import AccessIndex
from tests.adapters.brokers import until
from tests.adapters.devices import Device, calls, libcoap, scripted

SCHEMES = ("coap", "coap+tcp")


class Observed:
    def __init__(self, sources, url):
        self.arrivals = []
        self.source = sources.open(url, "", self.take)

    def take(self, arrival):
        self.arrivals.append(arrival)

    @property
    def payloads(self):
        return [arrival.payload for arrival in self.arrivals]

    async def heard(self, *payloads, seconds=8.0):
        await until(lambda: self.payloads == [*payloads], seconds)


@contextlib.asynccontextmanager
async def sources():
    plane = Plane(View(), AccessIndex("s"), LocalProvider())
    provider = CoapProvider(plane, Egress(()))
    made = ResourceSources(provider, random=lambda: 0.0)
    try:
        yield made
    finally:
        await made.close()
        provider.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def setting(device):
    async with calls() as world:
        world.method("s/set", device.url("sensor"), "PUT")

        async def put(payload):
            await world.ask("s/set", payload)

        yield put


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_each_notification_is_an_event(scheme):
    with Device() as device:
        async with sources() as made, setting(device) as put:
            observed = Observed(made, device.url("sensor", scheme))
            await observed.heard(b"0")
            for value in (b"1", b"2", b"2", b"3"):
                await put(value)
                await asyncio.sleep(0.05)
            await observed.heard(b"0", b"1", b"2", b"2", b"3")
            assert {a.content_type for a in observed.arrivals} == {"application/json"}
            observed.source.close()
            await asyncio.sleep(0.05)
            await put(b"4")
            await asyncio.sleep(0.1)
            assert observed.payloads[-1] == b"3"


async def test_a_large_representation_is_read_whole():
    with Device() as device:
        async with sources() as made, setting(device) as put:
            observed = Observed(made, device.url("sensor"))
            await observed.heard(b"0")
            large = bytes(at % 251 for at in range(5000))
            await put(large)
            await observed.heard(b"0", large)
            await put(b"small")
            await observed.heard(b"0", large, b"small")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_device_that_restarts_is_observed_again(scheme, monkeypatch):
    monkeypatch.setattr(observing, "SHORTEST", 0.3)
    monkeypatch.setattr(observing, "FIRST_PAUSE", 0.1)
    with Device(max_age=0) as device:
        async with sources() as made:
            observed = Observed(made, device.url("sensor", scheme))
            await observed.heard(b"0")
            device.kill()
            await asyncio.sleep(0.6)
            device.start()
            async with setting(device) as put:
                await put(b"1")
                await until(lambda: observed.payloads[-1] == b"1")
                await asyncio.sleep(0.5)
                await put(b"2")
                await until(lambda: observed.payloads[-1] == b"2")
            assert observed.payloads in ([b"0", b"1", b"2"], [b"0", b"0", b"1", b"2"])


async def test_a_device_that_forgot_us_is_noticed_when_its_value_is_stale(monkeypatch):
    """It restarts between two notifications: nothing tells, but the age of what it said."""
    monkeypatch.setattr(observing, "SHORTEST", 0.4)
    seen = []

    def react(server, data, address):
        request = decode(data)
        if request.code == 1 and request.value(o.OBSERVE) == b"":
            seen.append(request)
            options = [(o.OBSERVE, uint_value(len(seen))), (o.MAX_AGE, b"")]
            payload = b"same" if len(seen) < 3 else b"other"
            server.transport.sendto(
                encode(
                    Message(
                        ACK, code_of("2.05"), request.message_id, request.token, options, payload
                    )
                ),
                address,
            )

    async with scripted(react) as server, sources() as made:
        observed = Observed(made, f"coap://127.0.0.1:{server.port}/x")
        await observed.heard(b"same", b"other")
    assert len(seen) >= 3
    assert len({request.token for request in seen}) == 1


async def test_a_resource_that_cannot_be_observed_is_asked_now_and_then(monkeypatch, caplog):
    monkeypatch.setattr(observing, "MAX_AGE", 0)
    monkeypatch.setattr(observing, "SHORTEST", 0.1)
    with Device() as device:
        async with sources() as made:
            observed = Observed(made, device.url("fixed"))
            await observed.heard(b"fixed")
            await asyncio.sleep(0.5)
            assert observed.payloads == [b"fixed"]
            assert observed.arrivals[0].content_type == "application/octet-stream"
    assert sum("cannot be observed" in record.message for record in caplog.records) == 1


async def test_what_is_no_resource_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(observing, "FIRST_PAUSE", 0.05)
    with Device() as device:
        async with sources() as made:
            observed = Observed(made, device.url("nothing"))
            await asyncio.sleep(0.5)
            assert observed.payloads == []
    assert sum("4.04" in record.message for record in caplog.records) == 1


async def test_a_device_that_comes_later(monkeypatch):
    monkeypatch.setattr(observing, "FIRST_PAUSE", 0.1)
    device = Device()
    async with sources() as made:
        observed = Observed(made, device.url("sensor"))
        await asyncio.sleep(0.3)
        with device:
            await observed.heard(b"0")


async def test_libcoap_tells_the_time():
    with libcoap() as port:
        async with sources() as made:
            observed = Observed(made, f"coap://127.0.0.1:{port}/time")
            await until(lambda: len(observed.arrivals) >= 3)
            assert len(set(observed.payloads)) >= 2


async def test_an_older_notification_that_comes_late_is_dropped():
    """RFC 7641 section 3.4, also when the 24 bits of the sequence run over."""
    numbers = [(0xFFFFFE, b"a"), (0xFFFFFD, b"late"), (0xFFFFFF, b"b"), (1, b"c"), (0, b"late")]

    def react(server, data, address):
        request = decode(data)
        if request.code != 1 or request.value(o.OBSERVE) != b"":
            return
        for at, (number, payload) in enumerate(numbers):
            kind = ACK if at == 0 else NON
            message_id = request.message_id if at == 0 else 100 + at
            options = [(o.OBSERVE, uint_value(number))]
            message = Message(kind, code_of("2.05"), message_id, request.token, options, payload)
            server.transport.sendto(encode(message), address)

    async with scripted(react) as server, sources() as made:
        observed = Observed(made, f"coap://127.0.0.1:{server.port}/x")
        await observed.heard(b"a", b"b", b"c")
        await asyncio.sleep(0.05)
        assert observed.payloads == [b"a", b"b", b"c"]


async def test_confirmable_notifications_are_acknowledged_once_each_published_once():
    def react(server, data, address):
        request = decode(data)
        if request.code != 1 or request.value(o.OBSERVE) != b"":
            return
        options = [(o.OBSERVE, b"\1")]
        first = Message(ACK, code_of("2.05"), request.message_id, request.token, options, b"a")
        second = Message(CON, code_of("2.05"), 7, request.token, [(o.OBSERVE, b"\2")], b"b")
        foreign = Message(CON, code_of("2.05"), 8, b"other", [(o.OBSERVE, b"\3")], b"c")
        for message in (first, second, second, foreign):
            server.transport.sendto(encode(message), address)

    async with scripted(react) as server:
        async with sources() as made:
            observed = Observed(made, f"coap://127.0.0.1:{server.port}/x")
            await observed.heard(b"a", b"b")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        said = [decode(data) for data in server.seen[1:]]
    assert [(m.kind, m.message_id) for m in said[:3]] == [(ACK, 7), (ACK, 7), (RST, 8)]
    assert observed.payloads == [b"a", b"b"]
    # The end: a GET with Observe 1, which needs no answer.
    assert (said[-1].kind, said[-1].code, said[-1].value(o.OBSERVE)) == (NON, 1, b"\1")
