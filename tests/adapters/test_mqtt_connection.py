"""Clients on real sockets: what a connection takes, refuses, limits and says at its end."""

import asyncio
import socket

import pytest

from adapters.mqtt.sessions.ports import LATER, Settings
from adapters.mqtt.wire.packets import (
    AUTH,
    CONNACK,
    DISCONNECT,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    SUBACK,
)
from gateway.message import Refusal, Status
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_plays import SOMEBODY
from tests.adapters.mqtt_sockets import Site, until


@pytest.mark.parametrize("version", [4, 5])
async def test_publish_and_subscribe_at_each_qos(version):
    async with Site() as site:
        subscriber = await site.connected("s", version)
        subscriber.write(wire.subscribe(("a/+", 2), version=version))
        assert (await subscriber.read()).reasons == (2,)
        publisher = await site.connected("p", version)
        publisher.write(
            wire.publish("a/0", b"0", version),
            wire.publish("a/1", b"1", version, first=0x32, pid=1),
            wire.publish("a/2", b"2", version, first=0x34, pid=2),
        )
        assert [(await publisher.read()).kind for _ in range(2)] == [PUBACK, PUBREC]
        publisher.write(wire.ack(0x62, 2))
        assert (await publisher.read()).kind == PUBCOMP
        got = [await subscriber.read() for _ in range(3)]
        assert [(each.kind, each.topic, each.payload, each.qos) for each in got] == [
            (PUBLISH, "a/0", b"0", 0),
            (PUBLISH, "a/1", b"1", 1),
            (PUBLISH, "a/2", b"2", 2),
        ]


async def test_connack_announces_the_limits():
    settings = Settings(receive_maximum=7, maximum_packet=5000, alias_maximum=3, keep_alive=30)
    async with Site(settings) as site:
        client = await site.client()
        connack = await client.connect(keep=0)
        assert connack.kind == CONNACK
        said = connack.properties
        assert (said[0x21], said[0x27], said[0x22], said[0x13]) == (7, 5000, 3, 30)


async def test_pings_are_answered():
    async with Site() as site:
        client = await site.connected()
        client.write(wire.PINGREQ, wire.PINGREQ)
        assert [(await client.read()).kind for _ in range(2)] == [PINGRESP, PINGRESP]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (wire.PINGREQ, None),
        (wire.publish(), None),
        (wire.connect(version=7), 0x84),
        (wire.connect(payload=b"more"), 0x81),
        (b"\x10\xff\xff\xff\x7f", None),
    ],
)
async def test_the_first_packet_is_a_connect(sent, reason):
    async with Site() as site:
        client = await site.client()
        client.write(sent)
        got = await client.read()
        assert (got and got.reason) == reason
        assert await client.read() is None


async def test_an_old_version_gets_return_code_1():
    async with Site() as site:
        client = await site.client(version=4)
        client.write(wire.connect(version=3, name="MQIsdp"))
        assert (await client.read()).reason == 1
        assert await client.read() is None


async def test_the_desk_may_refuse():
    async with Site() as site:
        site.desk.refuses = 0x87
        for version, reason in ((5, 0x87), (4, 5)):
            client = await site.client(version)
            client.write(wire.connect(version=version), wire.publish(version=version))
            assert (await client.read()).reason == reason
            assert await client.read() is None
        assert site.desk.published == []


async def test_packets_behind_connect_wait_until_the_client_is_known():
    async with Site(Settings(cloudevents=False, connect_seconds=1.0, strangers=1)) as site:
        site.desk.slow = True
        client = await site.client()
        client.write(wire.connect(), wire.publish("a", b"1"), wire.publish("b", b"2")[:3])
        await until(lambda: site.desk.waiting is not None)
        client.write(wire.publish("b", b"2")[3:], *(wire.publish("c", b"3") for _ in range(99)))
        stranger = await site.client()
        await site.client()
        assert await stranger.read() is None  # of two strangers the older one gives way
        site.sweep(5.0)
        assert site.desk.published == []
        site.desk.waiting.settle(SOMEBODY)
        assert (await client.read()).reason == 0
        await until(lambda: len(site.desk.published) == 101)


async def test_a_client_that_leaves_while_it_waits_is_forgotten():
    async with Site() as site:
        site.desk.slow = True
        client = await site.client()
        client.write(wire.connect())
        await until(lambda: site.desk.waiting is not None)
        await client.close()
        await until(lambda: not site.desk.waiting.wanted)
        assert site.desk.sessions == {}


def auth(reason=0x19, method="bearer", data=b"t"):
    props = b"\x15" + wire.string(method) + b"\x16" + len(data).to_bytes(2, "big") + data
    return wire.packet(0xF0, bytes([reason]), wire.properties(props))


async def test_a_client_authenticates_again():
    async with Site() as site:
        client = await site.client()
        client.write(wire.connect(props=b"\x15" + wire.string("bearer")))
        connack = await client.read()
        assert (connack.reason, connack.properties[0x15]) == (0, "bearer")
        client.write(auth())
        got = await client.read()
        assert (got.kind, got.reason, got.properties[0x15]) == (AUTH, 0, "bearer")
        site.desk.slow = True
        client.write(auth(), wire.publish("a", b"1"))
        await until(lambda: site.desk.waiting is not None)
        assert site.desk.published == []
        site.desk.waiting.settle(SOMEBODY)
        assert (await client.read()).kind == AUTH
        await until(lambda: len(site.desk.published) == 1)
        client.write(auth())
        await until(lambda: site.desk.waiting.wanted)
        site.desk.waiting.settle(Refusal(Status.UNAUTHENTICATED, "no"))
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x87)


@pytest.mark.parametrize(
    ("method", "sent", "reason"),
    [
        (None, auth(), 0x82),
        ("bearer", auth(method="other"), 0x82),
        ("bearer", auth(reason=0x18), 0x82),
    ],
)
async def test_auth_that_does_not_fit(method, sent, reason):
    async with Site() as site:
        client = await site.client()
        client.write(wire.connect(props=b"\x15" + wire.string(method) if method else b""))
        assert (await client.read()).reason == 0
        client.write(sent)
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, reason)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (wire.connect(), 0x82),
        (b"\x30\xff\xff\xff\xff\x01", 0x81),
        (wire.publish("a/#"), 0x90),
        (wire.publish(first=0x36, pid=1), 0x81),
        (b"\x00\x00", 0x82),
        (wire.publish("", props=b"\x23\x00\x05"), 0x82),
        (wire.packet(0xE0, b"\x00", wire.properties(b"\x11\x00\x00\x00\x09")), 0x82),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(sent, reason):
    async with Site() as site:
        client = await site.connected()
        client.write(sent, wire.publish("after"))
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, reason)
        assert got.why
        assert await client.read() is None
        assert [(each[1], each[2]) for each in site.desk.gone] == [(reason, None)]
        assert site.desk.published == []


async def test_version_311_is_just_disconnected():
    async with Site() as site:
        client = await site.connected(version=4)
        client.write(b"\x00\x00")
        assert await client.read() is None


async def test_a_packet_that_is_too_large_is_refused_before_it_came():
    async with Site(Settings(maximum_packet=1000)) as site:
        client = await site.connected()
        client.write(b"\x30" + wire.variable(64 * 1024 * 1024) + b"\0\x01t" + bytes(100_000))
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x95)


async def test_a_normal_disconnect_has_no_will():
    async with Site() as site:
        client = await site.connected(props=b"\x11\x00\x00\x00\x05")
        client.write(wire.packet(0xE0, b"\x00", wire.properties(b"\x11\x00\x00\x00\x00")))
        assert await client.read() is None
        assert [(each[1], each[2]) for each in site.desk.gone] == [(0, 0)]


async def test_a_lost_connection_has():
    async with Site() as site:
        client = await site.connected()
        await client.close()
        await until(lambda: site.desk.gone)
        assert site.desk.gone[0][1] == 0x80


async def test_a_session_is_taken_over():
    async with Site() as site:
        first = await site.connected("same")
        await site.connected("same")
        got = await first.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x8E)
        assert await first.read() is None
        assert site.desk.gone == []


async def test_a_client_that_never_sends_connect():
    async with Site(Settings(connect_seconds=5)) as site:
        client = await site.client()
        friend = await site.connected("friend", keep=0)
        site.sweep(4.9)
        await until(lambda: len(site.listener.connections) == 2)
        site.sweep(0.2)
        assert await client.read() is None
        friend.write(wire.PINGREQ)
        assert (await friend.read()).kind == PINGRESP


async def test_keep_alive():
    async with Site() as site:
        client = await site.connected(keep=10)
        site.sweep(1.0)
        site.sweep(14.9)
        client.write(wire.PINGREQ)
        assert (await client.read()).kind == PINGRESP
        site.sweep(10)
        site.sweep(14.9)
        await asyncio.sleep(0)
        assert len(site.listener.connections) == 1
        site.sweep(0.2)
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x8D)
        assert site.desk.gone[0][1] == 0x8D


async def test_too_many_strangers():
    async with Site(Settings(strangers=3)) as site:
        clients = [await site.client() for _ in range(3)]
        late = await site.client()
        assert await clients[0].read() is None
        assert (await late.connect("late")).reason == 0
        assert (await clients[1].connect("early")).reason == 0


async def test_too_many_connections():
    async with Site(Settings(connections=2)) as site:
        friends = [await site.connected(str(number)) for number in range(2)]
        late = await site.client()
        assert await late.read() is None
        friends[0].write(wire.PINGREQ)
        assert (await friends[0].read()).kind == PINGRESP


async def test_a_burst_is_worked_off_in_turns_and_in_order():
    async with Site() as site:
        client = await site.connected()
        count = 50_000
        site.desk.fan_out = lambda packet: None
        client.write(b"".join(wire.publish("t", b"%d" % at) for at in range(count)))
        client.write(wire.PINGREQ)
        assert (await client.read(20)).kind == PINGRESP
        assert [int(each.payload) for each in site.desk.published] == list(range(count))


async def test_a_subscriber_that_never_reads_is_bounded():
    async with Site(Settings(backlog=10_000, queue_messages=10, cloudevents=False)) as site:
        subscriber = await site.connected("s")
        subscriber.write(wire.subscribe(("t", 1)))
        assert (await subscriber.read()).kind == SUBACK
        publisher = await site.connected("p")
        subscriber.reader._transport.pause_reading()
        session = site.desk.sessions["s"]
        while not session.slow:
            publisher.write(wire.publish("t", bytes(50_000)), wire.PINGREQ)
            await publisher.read()
        for number in range(1, 41):
            publisher.write(wire.publish("t", bytes(100), first=0x32, pid=number))
            await publisher.read()
        assert session.load <= 10
        assert site.play.engine.counters.overflow >= 30
        publisher.write(wire.publish("t", b""), wire.PINGREQ)
        await publisher.read()
        assert site.play.engine.counters.slow
        site.sweep(61)
        await until(lambda: len(site.listener.connections) == 1)


async def test_a_client_that_does_not_read_acknowledgements_is_not_read_from():
    async with Site(Settings(backlog=1000, receive_maximum=65_535)) as site:
        site.desk.fan_out = lambda packet: None
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.connect(("127.0.0.1", site.port))
            client = await site.client(sock=small.dup())
        await client.connect()
        client.reader._transport.pause_reading()
        client.writer.transport.set_write_buffer_limits(high=1)

        async def flood():
            while True:
                client.write(wire.PINGREQ * 100_000)
                await client.writer.drain()

        flooding = asyncio.create_task(flood())
        connection = next(iter(site.listener.connections))
        counters, received = site.listener.engine.counters, -1
        async with asyncio.timeout(20.0):  # until the buffers of both kernels are full
            while not connection.full or counters.received != received:
                received = counters.received
                await asyncio.sleep(0.2)
        assert not flooding.done()
        flooding.cancel()
        client.reader._transport.resume_reading()
        client.writer.transport.abort()


async def test_answers_that_come_late_are_sent_in_order():
    async with Site() as site:
        site.desk.answers["late"] = LATER
        client = await site.connected(version=4)
        client.write(
            wire.publish("late", b"", 4, first=0x32, pid=1),
            wire.publish("t", b"", 4, first=0x32, pid=2),
            wire.PINGREQ,
        )
        assert (await client.read()).kind == PINGRESP
        site.desk.answer()
        assert [(await client.read()).packet_id for _ in range(2)] == [1, 2]


async def test_a_client_that_runs_ahead_is_not_read_from_nor_missed():
    async with Site() as site:
        site.desk.answers["late"] = LATER
        client = await site.connected(version=4, keep=10)
        for number in range(1, 3001):
            client.write(wire.publish("late", bytes(100), 4, first=0x32, pid=number))
        await until(lambda: len(site.desk.later) >= 1024)
        await asyncio.sleep(0.05)
        assert len(site.desk.later) < 1200
        for _ in range(5):
            site.sweep(10)
        while site.desk.later:
            site.desk.answer()
            await asyncio.sleep(0)
        got = [(await client.read()).packet_id for _ in range(3000)]
        assert got == list(range(1, 3001))


async def test_draining_says_goodbye():
    async with Site() as site:
        client = await site.connected()
        stranger = await site.client()
        await until(lambda: len(site.listener.connections) == 2)
        drained = asyncio.create_task(site.listener.drain(5))
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x8B)
        assert await client.read() is None
        assert await stranger.read() is None
        await client.close()
        await stranger.close()
        await drained
        assert site.desk.gone[0][1] == 0x8B
