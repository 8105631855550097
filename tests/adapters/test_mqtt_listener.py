"""The MQTT listener as a whole: TLS, floods, fairness, draining."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from adapters.mqtt.sessions.ports import Answer, Settings
from adapters.mqtt.sockets.listener import MqttListener
from adapters.mqtt.wire.packets import (
    CONNACK,
    DISCONNECT,
    PINGRESP,
    PUBACK,
    PUBLISH,
    SUBACK,
    Reason,
)
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_sockets import Site, until

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def server_tls():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls():
    return ssl.create_default_context(cafile=CERTIFICATE)


async def test_tls():
    async with Site(tls=server_tls()) as site:
        client = await site.client(ssl=client_tls(), server_hostname="localhost")
        assert (await client.connect()).kind == CONNACK
        client.write(wire.subscribe(("t", 1)))
        await client.read()
        large = [wire.publish("t", bytes(30_000), first=0x32, pid=1 + at) for at in range(20)]
        client.write(*large)
        got = [await client.read() for _ in range(40)]
        assert sum(len(each.payload) for each in got if each.kind == PUBLISH) == 600_000
        connection = next(iter(site.listener.connections))
        assert connection.secure
        assert connection.peer == "127.0.0.1"
        client.write(b"\x00\x00")
        assert (await client.read()).kind == DISCONNECT


async def test_a_client_without_tls_disturbs_nobody():
    async with Site(tls=server_tls()) as site:
        lost = await site.client()
        lost.write(wire.connect())
        client = await site.client(ssl=client_tls(), server_hostname="localhost")
        assert (await client.connect()).kind == CONNACK


async def test_a_thousand_connections_that_never_send_connect():
    async with Site(Settings(strangers=200, connections=2000)) as site:
        friend = await site.connected("friend", keep=0)
        flood = [await site.client() for _ in range(1000)]
        await until(lambda: len(site.listener.connections) <= 201)
        assert site.listener.strangers == 200
        assert site.play.engine.counters.refused == 800
        friend.write(wire.PINGREQ)
        assert (await friend.read()).kind == PINGRESP
        late = await site.connected("late", keep=0)
        late.write(wire.PINGREQ)
        assert (await late.read()).kind == PINGRESP
        site.sweep(11)
        await until(lambda: len(site.listener.connections) == 2)
        assert await flood[-1].read() is None


async def test_a_flood_of_large_packets_is_refused_and_others_are_served():
    async with Site() as site:
        friend = await site.connected("friend")
        head = b"\x30" + wire.variable(64 * 1024 * 1024) + b"\0\x01t"
        for number in range(20):
            client = await site.connected(f"flood{number}")
            client.write(head + bytes(200_000))
            got = await client.read()
            assert (got.kind, got.reason) == (DISCONNECT, 0x95)
        friend.write(wire.PINGREQ)
        assert (await friend.read()).kind == PINGRESP
        assert site.desk.published == []


async def test_a_burst_to_many_subscribers_reaches_them_all():
    async with Site() as site:
        subscribers = [await site.connected(f"s{number}") for number in range(150)]
        for each in subscribers:
            each.write(wire.subscribe(("t", 0)))
            await each.read()
        publisher = await site.connected("p")
        publisher.write(*(wire.publish("t", b"%d" % number) for number in range(30)))
        for each in subscribers:
            got = [await each.read() for _ in range(30)]
            assert [int(one.payload) for one in got] == list(range(30))


async def test_somebody_else_is_served_while_one_client_floods():
    async with Site() as site:
        site.desk.fan_out = lambda packet: None
        flood, friend = await site.connected("flood"), await site.connected("friend")
        loop = asyncio.get_running_loop()
        flood.write(wire.publish("t", b"") * 100_000)
        slowest = 0.0
        while len(site.desk.published) < 100_000:
            begin = loop.time()
            friend.write(wire.PINGREQ)
            assert (await friend.read()).kind == PINGRESP
            slowest = max(slowest, loop.time() - begin)
        assert slowest < 0.2


async def test_a_failing_desk_ends_only_one_connection():
    async with Site() as site:
        bad, good = await site.connected("bad"), await site.connected("good")
        publish = site.desk.publish

        def fail(session, packet, receipt):
            if packet.topic == "bad":
                raise RuntimeError("a fault of ours")
            return publish(session, packet, receipt)

        site.desk.publish = fail
        bad.write(wire.publish("bad"))
        got = await bad.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x80)
        good.write(wire.subscribe(("t", 0)), wire.publish("t"))
        assert [(await good.read()).kind for _ in range(2)][1] == PUBLISH


async def test_draining_stops_accepting_first():
    async with Site() as site:
        listener = MqttListener(site.play.engine, site.desk, site.clock)
        port = await listener.listen("127.0.0.1", 0)
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: listener.connections)
        await listener.drain(0.05)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: not listener.connections)
        writer.close()


async def test_who_does_not_answer_the_goodbye_is_cut_off():
    async with Site() as site:
        client = await site.connected()
        client.reader._transport.pause_reading()
        await site.listener.drain(0.05)
        await until(lambda: not site.listener.connections)


async def test_packets_that_take_long_leave_others_their_turn():
    async with Site() as site:
        client, passes, done = await site.connected(), [], []
        publish = site.desk.publish

        def slowly(*said):
            done.append(len(passes))
            time.sleep(0.001)
            return publish(*said)

        site.desk.publish = slowly
        numbers = range(1, 61)
        client.write(*(wire.publish("t", first=0x32, pid=each) for each in numbers), b"\x00\x00")
        while len(done) < 60:
            passes.append(None)
            await asyncio.sleep(0)
        assert max(done.count(each) for each in done) <= 16
        assert [(await client.read()).packet_id for _ in numbers] == list(numbers)
        assert (await client.read()).kind == DISCONNECT


async def test_who_leaves_packets_unfinished_makes_room_for_others():
    async with Site(Settings(unfinished=50_000)) as site:
        large = wire.publish("t", bytes(30_000), first=0x32, pid=1)
        first, second = await site.connected("1"), await site.connected("2")
        for client in (first, second):
            client.write(large[:20_000])
            await asyncio.sleep(0.02)
        third = await site.connected("3")
        third.write(large[:20_000])
        assert (await first.read()).reason == Reason.QUOTA_EXCEEDED
        for client in (second, third):
            client.write(large[20_000:])
            assert (await client.read()).kind == PUBACK
        assert site.listener.unfinished.held == 0


async def test_who_asks_for_much_work_is_not_read_meanwhile():
    async with Site() as site:
        client = await site.connected()
        settling = asyncio.get_running_loop().create_future()
        subscribe = site.desk.subscribe
        site.desk.subscribe = lambda *said: Answer(subscribe(*said).reasons, "", settling)
        client.write(wire.subscribe(("t", 0)), wire.publish("t"), wire.PINGREQ)
        with pytest.raises(TimeoutError):
            await client.read(0.1)
        assert not site.desk.published
        settling.set_result(None)
        assert {(await client.read()).kind for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
