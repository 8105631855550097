"""Channels fed from a real mosquitto: nothing of QoS 1 is lost, whoever is killed."""

import asyncio
import contextlib
import socket
import time

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes

from adapters.mqtt.outbound.brokers import Brokers
from adapters.mqtt.outbound.sources import TopicSources
from adapters.store.eventlog import open_event_log
from gateway.channels import Channels
from gateway.egress import Egress
from gateway.exchange import Plane
from gateway.message import Refusal, Status
from gateway.objects.local import LocalProvider
from gateway.sources import Sources
from gateway.view import Meter, Route, View
from policy.access.index import AccessIndex
from policy.model import AccessPolicy, Action, Binding, Principal, Subject
from registry.model import EventChannel, Kind, Retain
from registry.names import Name
from tests.adapters.brokers import Mosquitto, calls, properties, until
from tests.support import Replaceable

TEMP = Name("s/room/temp")
OWNER = Principal("site:admin", "administrator")
KEPT = EventChannel(durable=True, retain=Retain(count=100_000))


class Fed:
    """A site's core with one durable channel that is fed from a broker."""

    def __init__(self, log):
        self.view = View()
        self.access = AccessIndex("s")
        self.plane = Plane(self.view, self.access, LocalProvider())
        self.channels = Replaceable(
            Channels(log, time_ms=lambda: time.time_ns() // 1_000_000, incarnation=lambda: "ring")
        )
        brokers = Brokers(Egress(()), (), "5173abcd")
        self.topics = TopicSources(brokers, random=lambda: 0.0, time_ms=lambda: 1_000)
        self.sources = Sources(
            self.plane,
            self.channels,
            {"mqtt": self.topics},
            principal_of=lambda _: OWNER,
        )
        self.route = Route(TEMP, Kind.CHANNEL, "svc:w", Meter("w"))
        self.route.channel = KEPT
        self.view.install({TEMP: self.route})
        rule = AccessPolicy("allow", (Subject(),), (Action.PUBLISH,), ("**",))
        self.access.put("AccessPolicy", "publish", rule)

    def bind(self, *urls):
        wanted = {
            f"b{number}": (OWNER.id, Binding(TEMP, source=url)) for number, url in enumerate(urls)
        }
        self.sources.reconcile(wanted)
        self.sources.look()

    async def connected(self):
        await until(lambda: self.topics.connections() == 1)
        await asyncio.sleep(0.1)

    async def events(self):
        found, after = [], "oldest"
        while more := await self.channels.history(self.route, after, 1000):
            found += more
            after = str(more[-1].id)
        return found

    async def payloads(self):
        return [event.payload.decode() for event in await self.events()]

    async def heard(self, *wanted, seconds=15.0):
        """Wait until all these were published; what came twice is allowed."""
        async with asyncio.timeout(seconds):
            while set(wanted) - set(await self.payloads()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def close(self):
        await self.sources.close()
        await self.channels.close()


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@contextlib.asynccontextmanager
async def fed(folder):
    log = await open_event_log(folder / "events.db")
    world = Fed(log)
    try:
        yield world
    finally:
        await world.close()
        await log.close()


@contextlib.asynccontextmanager
async def publisher(broker):
    async with aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        protocol=aiomqtt.ProtocolVersion.V5,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    ) as client:
        client.pending_calls_threshold = 10_000
        try:
            yield client
        finally:
            if client._disconnected.done():
                client._disconnected.exception()  # else the loop complains that nobody asked


async def test_what_is_published_there_is_published_here(broker, tmp_path):
    async with fed(tmp_path) as world, publisher(broker) as client:
        world.bind(f"{broker.url}/room%201/temp")
        await world.connected()
        made = properties(
            PacketTypes.PUBLISH,
            ContentType="text/plain",
            UserProperty=[("unit", "C")],
            MessageExpiryInterval=60,
            PayloadFormatIndicator=1,
        )
        await client.publish("room 1/temp", b"21", qos=1, properties=made)
        await client.publish("room 1/other", b"99", qos=1)
        await client.publish("room 1/temp", b"22", qos=0)
        await client.publish("room 1/temp", b"23", qos=2)
        await world.heard("21", "22", "23")
        first, *rest = await world.events()
    assert (first.content_type, first.source, first.qos) == ("text/plain", OWNER.id, 1)
    assert first.extras.attributes == (("unit", "C"),)
    assert first.extras.text
    assert 1_000 < first.extras.expires <= 61_000
    assert [(e.payload, e.qos, e.content_type) for e in rest] == [
        (b"22", 0, "application/octet-stream"),
        (b"23", 1, "application/octet-stream"),
    ]


async def test_the_broker_keeps_what_comes_while_the_site_is_away(broker, tmp_path):
    async with publisher(broker) as client:
        async with fed(tmp_path) as world:
            world.bind(f"{broker.url}/t")
            await world.connected()
        for number in range(50):
            await client.publish("t", f"{number}", qos=1)
        async with fed(tmp_path) as world:
            world.bind(f"{broker.url}/t")
            await world.heard(*map(str, range(50)))
            assert await world.payloads() == [str(n) for n in range(50)]


async def test_nothing_is_lost_when_the_broker_is_killed(broker, tmp_path):
    """Killed while the site is away, and again while it is there and messages flow."""
    async with fed(tmp_path) as world:
        world.bind(f"{broker.url}/t")
        await world.connected()
    async with publisher(broker) as client:
        for number in range(200):
            await client.publish("t", f"a{number}", qos=1)
    await asyncio.sleep(1.2)  # mosquitto saves once a second
    broker.kill()
    broker.start()
    async with fed(tmp_path) as world:
        world.bind(f"{broker.url}/t")
        await world.heard(*(f"a{number}" for number in range(200)))
        sent = await publish_through_a_crash(broker, 150)
        await world.heard(*sent)
        payloads = await world.payloads()
    assert set(payloads) == {*sent, *(f"a{number}" for number in range(200))}


async def publish_through_a_crash(broker, total, prefix="b"):
    """Publish while the broker is killed and comes back; return what it acknowledged for good."""
    sent, number = [], 0
    crash = asyncio.get_running_loop().time() + 0.5
    crashed = False
    while number < total:
        with contextlib.suppress(aiomqtt.MqttError):
            async with publisher(broker) as client:
                while number < total:
                    now = asyncio.get_running_loop().time()
                    if not crashed and now > crash:
                        await asyncio.sleep(1.2)  # what it has acknowledged is saved by then
                        broker.kill()
                        broker.start()
                        crashed = True
                    await client.publish("t", f"{prefix}{number}", qos=1, timeout=1)
                    sent.append(f"{prefix}{number}")
                    number += 1
                    await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
    assert crashed
    return sent


@pytest.mark.full
async def test_nothing_is_lost_in_many_rounds(broker, tmp_path):
    """Each round kills the broker while messages flow, every other one takes the site away."""
    sent = []
    for number in range(10):
        async with fed(tmp_path) as world:
            world.bind(f"{broker.url}/t")
            await world.connected()
            sent += await publish_through_a_crash(broker, 150, f"r{number}-")
            if number % 2:
                await world.heard(*sent)
    async with fed(tmp_path) as world:
        world.bind(f"{broker.url}/t")
        await world.heard(*sent)


async def test_a_message_is_acknowledged_only_when_it_is_stored(broker, tmp_path):
    """While the log is stuck, the broker keeps what it has sent."""
    async with fed(tmp_path) as world, publisher(broker) as client:
        world.bind(f"{broker.url}/t")
        await world.connected()
        stuck = asyncio.get_running_loop().create_future()
        world.channels.append = lambda *_, **__: stuck
        for number in range(10):
            await client.publish("t", f"{number}", qos=1)
        await asyncio.sleep(0.3)
    async with fed(tmp_path) as world:
        assert await world.payloads() == []
        world.bind(f"{broker.url}/t")
        await world.heard(*map(str, range(10)))
        assert await world.payloads() == [str(n) for n in range(10)]


async def test_a_source_that_is_withdrawn_is_forgotten_by_the_broker(broker, tmp_path):
    async with fed(tmp_path) as world, publisher(broker) as client:
        world.bind(f"{broker.url}/t", f"{broker.url}/u")
        await world.connected()
        world.bind(f"{broker.url}/t")
        await asyncio.sleep(0.2)
        await client.publish("u", "1", qos=1)
        await client.publish("t", "2", qos=1)
        await world.heard("2")
        world.bind()
        await until(lambda: world.topics.connections() == 0)
        await client.publish("t", "3", qos=1)
        world.bind(f"{broker.url}/t", f"{broker.url}/u")
        await world.connected()
        await client.publish("t", "4", qos=1)
        await world.heard("4")
        assert await world.payloads() == ["2", "4"]


async def test_a_retained_message_comes_once(broker, tmp_path):
    async with fed(tmp_path) as world, publisher(broker) as client:
        await client.publish("t", "last", qos=1, retain=True)
        world.bind(f"{broker.url}/t")
        await world.heard("last")
        await asyncio.sleep(1.2)  # mosquitto saves once a second
        broker.kill()
        broker.start()
        await until(lambda: world.topics.connections() == 0)
        await world.connected()
        async with publisher(broker) as again:
            await again.publish("t", "new", qos=1)
        await world.heard("new")
        assert await world.payloads() == ["last", "new"]


async def test_a_broker_that_comes_later(broker, tmp_path, caplog):
    broker.kill()
    async with fed(tmp_path) as world:
        world.bind(f"{broker.url}/t")
        await asyncio.sleep(0.5)
        broker.start()
        await world.connected()
        async with publisher(broker) as client:
            await client.publish("t", "1", qos=1)
        await world.heard("1")
    assert sum("cannot connect" in record.message for record in caplog.records) == 1


@contextlib.asynccontextmanager
async def old(broker):
    """A broker that knows MQTT 3.1.1 only: mosquitto, behind who refuses anything newer."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            connect = await reader.read(4096)
            if connect[8:9] == b"\x05":
                writer.write(b"\x20\x02\x00\x01")
            elif connect:
                there = await asyncio.open_connection("127.0.0.1", broker.port)
                there[1].write(connect)
                await asyncio.wait(
                    [
                        asyncio.create_task(pipe(reader, there[1])),
                        asyncio.create_task(pipe(there[0], writer)),
                    ]
                )
        writer.close()

    async def pipe(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.sleep(0.1)  # until it has heard that its clients are gone


async def test_a_broker_that_knows_3_1_1_only(broker, tmp_path):
    async with old(broker) as url:
        async with publisher(broker) as client:
            async with fed(tmp_path) as world:
                world.bind(f"{url}/t")
                await world.connected()
                await client.publish("t", "1", qos=1)
                await world.heard("1")
            await client.publish("t", "2", qos=1)
            async with fed(tmp_path) as world:
                world.bind(f"{url}/t")
                await world.heard("1", "2")
                world.bind()
                await until(lambda: world.topics.connections() == 0)
                await client.publish("t", "3", qos=1)
                world.bind(f"{url}/t")
                await world.connected()
                await client.publish("t", "4", qos=1)
                await world.heard("4")
                assert await world.payloads() == ["1", "2", "4"]
        async with calls() as world:
            world.method("s/one-way", f"{url}/t?reply=none")
            assert (await world.ask("s/one-way", b"x")).head.status is Status.OK
            world.method("s/m", f"{url}/t")
            with pytest.raises(Refusal, match=r"speaks MQTT 3\.1\.1"):
                await world.ask("s/m", b"x")
