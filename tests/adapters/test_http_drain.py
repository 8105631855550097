"""The listener drains: who has asked is answered, nobody is reset (SIGTERM: tests/site)."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.relay import Relay, echo, read_request, running_relay, service
from tests.adapters.wire import chunked, connected, until


class Slow:
    """A service that answers when it may."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await read_request(reader))[0]:
            self.asked += 1
            await self.go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path) as running, service(echo()) as url:
        await running.method("Echo/say", f"{url}/")
        yield running


def drained(relay: Relay, seconds: float = 5.0) -> "asyncio.Future[None]":
    return asyncio.ensure_future(relay.listener.drain(seconds))


async def test_what_was_asked_is_answered(relay: Relay):
    """In flight, pipelined behind it, half sent: each is answered, the last says that it is."""
    slow = Slow()
    async with (
        service(slow.talk) as url,
        connected(relay.port) as one,
        connected(relay.port) as piped,
        connected(relay.port) as half,
        connected(relay.port) as streamed,
    ):
        await relay.method("Slow/get", f"{url}/")
        one.send(relay.request("/Slow/get", b"x", close=False))
        for target in ("/Slow/get", "/Echo/say", "/No/x", "/Echo/say"):
            piped.send(relay.request(target, b"y", close=False))
        raw = relay.request("/Echo/say", b"12345", close=False)
        half.send(raw[:-3])
        head = relay.request("/Echo/say", b"", "Transfer-Encoding: chunked", close=False)
        head = head.replace(b"Content-Length: 0\r\n", b"")
        streamed.send(head[:40])
        await until(lambda: slow.asked == 2)
        draining = drained(relay)
        await asyncio.sleep(0.3)
        half.send(raw[-3:])
        streamed.send(head[40:] + chunked(b"a", b"b"))
        slow.go.set()
        answer = await one.answer()
        assert (answer.body, answer.get(b"connection")) == (b"ok", b"close")
        answers = [await piped.answer() for _ in range(4)]
        assert [a.code for a in answers] == [200, 200, 404, 200]
        assert [a.get(b"connection") for a in answers] == [b"", b"", b"", b"close"]
        answer = await half.answer()
        assert (answer.body, answer.get(b"connection")) == (b"12345", b"close")
        answer = await streamed.answer()
        assert (answer.body, answer.get(b"connection")) == (b"ab", b"close")
        for client in (one, piped, half, streamed):
            assert await client.ended() == b""
        await asyncio.wait_for(draining, 2)


async def test_newcomers_are_refused(relay: Relay):
    slow = Slow()
    async with service(slow.talk) as url, connected(relay.port) as client:
        await relay.method("Slow/get", f"{url}/")
        client.send(relay.request("/Slow/get", b"x"))
        await until(lambda: slow.asked == 1)
        draining = drained(relay)
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        slow.go.set()
        assert (await client.answer()).code == 200
        await draining


async def test_a_long_reply_is_finished(relay: Relay):
    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with service(long) as url, connected(relay.port) as client:
        await relay.method("Long/get", f"{url}/")
        client.send(relay.request("/Long/get", b"", close=False))
        await client.head()
        draining = drained(relay)
        assert (await client.reader.readexactly(65)).endswith(b"0\r\n\r\n")
        assert await client.ended() == b""
        await draining


async def test_who_takes_too_long_is_cut_off(relay: Relay):
    slow = Slow()
    async with service(slow.talk) as url, connected(relay.port) as client:
        await relay.method("Slow/get", f"{url}/")
        client.send(relay.request("/Slow/get", b"x", close=False))
        await until(lambda: slow.asked == 1)
        await drained(relay, 0.3)
        assert await client.ended() == b""
        await until(lambda: not relay.site.plane.live)


async def test_idle_connections_go_soon(relay: Relay):
    """One that was used a moment ago is about to be used again: it gets a second."""
    async with connected(relay.port) as fresh, connected(relay.port) as late:
        for client in (fresh, late):
            await client.ask(relay.request("/Echo/say", b"x", close=False))
        start = asyncio.get_running_loop().time()
        draining = drained(relay)
        await asyncio.sleep(0.4)
        answer = await late.ask(relay.request("/Echo/say", b"late", close=False))
        assert (answer.body, answer.get(b"connection")) == (b"late", b"close")
        assert await fresh.ended() == b""
        await draining
        assert asyncio.get_running_loop().time() - start < 2.5


async def test_no_request_fails_under_load(relay: Relay):
    """Clients that keep their connections: each one's last answer says so, and none is missing."""
    answers: Counter[str] = Counter()
    started = asyncio.Event()

    async def load(number: int) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                async with connected(relay.port) as client:
                    last = b""
                    while last != b"close":
                        text = b"%d" % number * (1 + 5_000 * (answers["ok"] % 7 == 0))
                        answer = await client.ask(relay.request("/Echo/say", text, close=False))
                        assert (answer.code, answer.body) == (200, text)
                        answers["ok"] += 1
                        last = answer.get(b"connection")
                        if answers["ok"] > 200:
                            started.set()
                    assert await client.ended() == b""
                answers["closed"] += 1

    loads = [asyncio.ensure_future(load(number)) for number in range(20)]
    await asyncio.wait_for(started.wait(), 10)
    await drained(relay)
    await asyncio.wait_for(asyncio.gather(*loads), 5)
    assert answers["closed"] >= 20
