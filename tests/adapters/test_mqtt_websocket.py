"""MQTT over WebSocket on real sockets."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from adapters.mqtt.sessions.ports import Settings
from adapters.mqtt.wire.packets import DISCONNECT, PINGRESP, PUBACK, PUBLISH
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_plays import read_one
from tests.adapters.mqtt_sockets import Site, until


class Browser:
    """A WebSocket client that speaks MQTT."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.data = b""
        self.others = []

    async def open(self, target="/mqtt", protocols=("mqtt",), **said):
        request = Request("localhost", target, subprotocols=list(protocols), **said)
        self.writer.write(self.ws.send(request))
        while True:
            for event in self.ws.events():
                return event
            await self._receive()

    async def _receive(self):
        data = await asyncio.wait_for(self.reader.read(65536), 5)
        self.ws.receive_data(data or None)

    def send(self, *packets):
        self.writer.write(b"".join(self.ws.send(BytesMessage(data=each)) for each in packets))

    async def read(self):
        """Return the next packet; None when the server closes."""
        while True:
            packet, self.data = read_one(self.data, 5)
            if packet is not None:
                return packet
            if any(isinstance(each, CloseConnection) for each in self.others):
                return None
            await self._more()

    async def other(self):
        """Return the next event that is no binary message."""
        while not self.others:
            await self._more()
        return self.others.pop(0)

    async def _more(self):
        await self._receive()
        for event in self.ws.events():
            if isinstance(event, BytesMessage):
                self.data += event.data
            else:
                self.others.append(event)

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class WebSite(Site):
    async def __aenter__(self):
        self.port = await self.listener.listen("127.0.0.1", 0, self.tls, websocket=True)
        return self

    async def browser(self):
        browser = Browser(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(browser)
        return browser

    async def connected(self, name="c", **said):
        browser = await self.browser()
        accepted = await browser.open()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "mqtt"
        browser.send(wire.connect(name, **said))
        assert (await browser.read()).reason == 0
        return browser


async def test_publish_and_subscribe():
    async with WebSite() as site:
        subscriber = await site.connected("s")
        subscriber.send(wire.subscribe(("a/#", 1)))
        assert (await subscriber.read()).reasons == (1,)
        publisher = await site.connected("p")
        publisher.send(wire.publish("a/b", b"x", first=0x32, pid=3))
        assert (await publisher.read()).kind == PUBACK
        got = await subscriber.read()
        assert (got.kind, got.topic, got.payload) == (PUBLISH, "a/b", b"x")


async def test_packets_do_not_have_to_fit_the_frames():
    async with WebSite() as site:
        browser = await site.connected()
        packets = wire.publish("t", bytes(3000)) + wire.PINGREQ
        pieces = [packets[at : at + 7] for at in range(0, len(packets), 7)]
        browser.send(*pieces)
        assert (await browser.read()).kind == PINGRESP
        sent = [BytesMessage(data=wire.PINGREQ[:1], message_finished=False)]
        sent += [Ping(payload=b"now"), BytesMessage(data=wire.PINGREQ[1:] + wire.PINGREQ)]
        browser.writer.write(b"".join(browser.ws.send(each) for each in sent))
        assert [(await browser.read()).kind for _ in range(2)] == [PINGRESP, PINGRESP]
        assert isinstance(await browser.other(), Pong)
        assert len(site.desk.published) == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"target": "/"}, 404),
        ({"target": "/mqtt/x"}, 404),
        ({"protocols": ()}, 400),
        ({"protocols": ("mqttv3.1", "chat")}, 400),
    ],
)
async def test_handshakes_that_are_refused(said, status):
    async with WebSite() as site:
        browser = await site.browser()
        rejected = await browser.open(**said)
        assert isinstance(rejected, RejectConnection)
        assert rejected.status_code == status


@pytest.mark.parametrize(
    "head",
    [
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /mqtt HTTP/1.1\r\nHost: \xff\r\nConnection: Upgrade\r\n\r\n",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ],
)
async def test_what_is_no_handshake(head):
    async with WebSite() as site:
        browser = await site.browser()
        browser.writer.write(head)
        answer = await asyncio.wait_for(browser.reader.read(), 5)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
        assert b"content-length: 0" in answer.lower()


async def test_a_head_without_end():
    async with WebSite() as site:
        browser = await site.browser()
        browser.writer.write(b"GET /mqtt HTTP/1.1\r\n" + b"x: y\r\n" * 4000)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(browser.reader.read(), 5) == b""
        await until(lambda: not site.listener.connections)


async def test_text_is_refused():
    async with WebSite() as site:
        browser = await site.connected()
        browser.writer.write(browser.ws.send(TextMessage(data="hello")))
        got = await browser.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x82)
        assert (await browser.other()).code == 1003
        assert site.desk.gone[0][1] == 0x82


async def test_a_client_that_closes():
    async with WebSite() as site:
        browser = await site.connected()
        browser.writer.write(browser.ws.send(CloseConnection(code=1001)))
        assert isinstance(await browser.other(), CloseConnection)
        await until(lambda: site.desk.gone)
        assert site.desk.gone[0][1] == 0x80


async def test_a_normal_disconnect():
    async with WebSite() as site:
        browser = await site.connected()
        browser.send(wire.DISCONNECT)
        assert (await browser.other()).code == 1000
        browser.writer.write(browser.ws.send(CloseConnection(code=1000)))
        await until(lambda: not site.listener.connections)
        assert site.desk.gone[0][1] == 0


async def test_a_client_that_does_not_say_goodbye_is_closed():
    async with WebSite() as site:
        browser = await site.connected()
        browser.send(wire.DISCONNECT)
        await browser.other()
        site.sweep(2.5)
        await until(lambda: not site.listener.connections)


async def test_strangers_have_as_much_time_as_over_tcp():
    async with WebSite(Settings(connect_seconds=5)) as site:
        silent = await site.browser()
        slow = await site.browser()
        await slow.open()
        await until(lambda: len(site.listener.connections) == 2)
        site.sweep(5.1)
        assert await silent.reader.read() == b""
        await until(lambda: not site.listener.connections)


async def test_a_burst_of_tiny_frames_and_others_are_served():
    async with WebSite() as site:
        site.desk.fan_out = lambda packet: None
        friend = await site.connected("friend")
        flood = await site.connected("flood")
        count = 3000
        flood.send(*(wire.publish("t", b"%d" % at) for at in range(count)), wire.PINGREQ)
        friend.send(wire.PINGREQ)
        assert (await friend.read()).kind == PINGRESP
        assert (await flood.read()).kind == PINGRESP
        assert [int(each.payload) for each in site.desk.published] == list(range(count))


async def test_a_subscriber_that_does_not_read_is_bounded():
    async with WebSite(Settings(backlog=10_000, cloudevents=False)) as site:
        subscriber = await site.connected("s")
        subscriber.send(wire.subscribe(("t", 0)))
        await subscriber.read()
        subscriber.reader._transport.pause_reading()
        publisher = await site.connected("p")
        for _ in range(400):
            publisher.send(wire.publish("t", bytes(50_000)))
            await publisher.writer.drain()
        publisher.send(wire.PINGREQ)
        assert (await publisher.read()).kind == PINGRESP
        assert site.play.engine.counters.slow
        assert site.desk.sessions["s"].slow
        subscriber.reader._transport.resume_reading()
        assert (await subscriber.read()).kind == PUBLISH


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_whatever_bytes_come(chunks, shakes):
    async def play():
        async with WebSite() as site:
            browser = await site.browser()
            if shakes:
                await browser.open()
            for chunk in chunks:
                browser.writer.write(chunk)
            browser.writer.write_eof()
            await asyncio.wait_for(browser.reader.read(), 5)
            await browser.close()
            await until(lambda: not site.listener.connections)

    asyncio.run(play())
