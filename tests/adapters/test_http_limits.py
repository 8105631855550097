"""Limits on what a client can make the listener hold or wait for, each with a clear answer."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path

import pytest

from gateway.message import Call
from gateway.objects.local import Result
from gateway.settings import Limits
from gateway.view import Route
from policy.model import Action
from registry.changes import Registered
from registry.model import EventChannel, Registration, RegistrationId, VirtualObject
from tests.adapters.relay import AUTHORITY, Relay, echo, read_request, running_relay, service
from tests.adapters.wire import chunked, connected, problem_of, until


def clock() -> float:
    return asyncio.get_running_loop().time()


async def test_one_connection_too_many(tmp_path: Path):
    async with running_relay(tmp_path, Limits(connections=2)) as relay:
        async with connected(relay.port) as one, connected(relay.port) as two:
            for client in (one, two):
                assert (await client.ask(relay.request("/No/x", b"", close=False))).code == 404
            async with connected(relay.port) as three:
                answer = await three.answer()
                assert answer.code == 503
                assert answer.get(b"retry-after") == b"1"
                assert answer.get(b"connection") == b"close"
                assert await three.ended() == b""
            assert (await one.ask(relay.request("/No/x", b"", close=False))).code == 404
        await until(lambda: not relay.listener.connections)
        async with connected(relay.port) as four:
            assert (await four.ask(relay.request("/No/x", b""))).code == 404


async def test_a_head_that_comes_too_slowly(tmp_path: Path):
    """A byte now and then does not keep a connection (slowloris)."""
    limits = Limits(head_seconds=0.5)
    async with running_relay(tmp_path, limits) as relay, connected(relay.port) as client:
        start = clock()
        client.send(b"POST /No/x HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                await asyncio.sleep(0.05)
                client.send(b"X-More: 1\r\n")

        dripping = asyncio.ensure_future(drip())
        answer = await client.answer()
        dripping.cancel()
        assert answer.code == 408
        assert "head" in str(problem_of(answer)["detail"])
        assert 0.4 < clock() - start < 2.5
        assert await client.ended() == b""


async def test_empty_lines_are_no_request(tmp_path: Path):
    """They keep a connection no longer than silence does."""
    limits = Limits(idle_seconds=0.5)
    async with (
        running_relay(tmp_path, limits) as relay,
        connected(relay.port) as silent,
        connected(relay.port) as client,
    ):
        start = clock()
        with contextlib.suppress(ConnectionError):
            while not client.reader.at_eof() and clock() - start < 4:
                client.send(b"\r\n")
                await asyncio.sleep(0.05)
        assert 0.4 < clock() - start < 2.5
        assert await silent.ended() == b""
        assert await client.ended() == b""


async def test_a_payload_that_comes_too_slowly(tmp_path: Path):
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    limits = Limits(body_seconds=0.5)
    async with running_relay(tmp_path, limits) as relay, service(wait) as url:
        await relay.method("Wait/here", f"{url}/")
        async with connected(relay.port) as client:
            client.send(relay.request("/Wait/here", b"x" * 100, close=False)[:-50])
            for _ in range(6):  # slow, but it comes
                await asyncio.sleep(0.15)
                client.send(b"x")
            start = clock()
            answer = await client.answer()
            assert answer.code == 408
            assert "payload did not come in time" in str(problem_of(answer)["detail"])
            assert 0.2 < clock() - start < 2
            await asyncio.wait_for(gone.wait(), 3)
            assert await client.ended() == b""


async def test_idle_connections_close_in_silence(tmp_path: Path):
    limits = Limits(idle_seconds=0.5)
    async with running_relay(tmp_path, limits) as relay, connected(relay.port) as client:
        assert (await client.ask(relay.request("/No/x", b"", close=False))).code == 404
        start = clock()
        assert await client.ended() == b""
        assert 0.3 < clock() - start < 2


async def test_waiting_for_a_slow_service_is_not_idling(tmp_path: Path):
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(1.5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    limits = Limits(idle_seconds=0.3, head_seconds=0.3, body_seconds=0.3)
    async with running_relay(tmp_path, limits) as relay, service(slow) as url:
        await relay.method("Slow/get", f"{url}/")
        assert (await relay.ask("/Slow/get"))[2] == b"ok"


async def test_heads_are_measured_to_the_byte(tmp_path: Path):
    limits = Limits(head=2_000, fields=10)
    async with running_relay(tmp_path, limits) as relay:
        plain = relay.request("/No/x", b"", "X: ", close=False)
        for pieces in (1, 2, 50):
            async with connected(relay.port) as client:
                for size in (1_500, 1_990):
                    raw = plain.replace(b"X: ", b"X: " + b"a" * (size - len(plain)))
                    client.send(raw)
                    assert (await client.answer()).code == 404
                raw = plain.replace(b"X: ", b"X: " + b"a" * (2_100 - len(plain)))
                step = len(raw) // pieces + 1
                for at in range(0, len(raw), step):
                    client.send(raw[at : at + step])
                    await asyncio.sleep(0.002)
                answer = await client.answer()
                assert answer.code == 431
                assert await client.ended() == b""
        code, _, body = await relay.ask("/No/x", b"", *["X: 1"] * 11)
        assert code == 431
        assert b"too many" in body
        # Bytes before the head are not the head's: here a large payload, in one read with it.
        async with connected(relay.port) as client:
            client.send(relay.request("/No/x", b"p" * 50_000, close=False) + plain)
            assert (await client.answer()).code == 404
            assert (await client.answer()).code == 404


# Payloads


async def test_a_payload_beyond_the_limit(tmp_path: Path):
    """Refused before anything is sent when its length is known, else when it is too much."""
    got: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            got.append(data)

    limits = Limits(body=10_000)
    async with (
        running_relay(tmp_path, limits) as relay,
        service(collect) as sink,
        service(echo()) as url,
        connected(relay.port) as client,
    ):
        await relay.method("Sink/put", f"{sink}/")
        await relay.method("Echo/say", f"{url}/")
        exact = await client.ask(relay.request("/Echo/say", b"x" * 10_000, close=False))
        assert exact.code == 200
        answer = await client.ask(relay.request("/Sink/put", b"x" * 10_001, close=False))
        assert answer.code == 413
        assert "at most 10000 bytes" in str(problem_of(answer)["detail"])
        assert not got
        streamed = relay.request("/Echo/say", b"", "Transfer-Encoding: chunked", close=False)
        streamed = streamed.replace(b"Content-Length: 0\r\n", b"")
        answer = await client.ask(streamed + chunked(b"x" * 5_000, b"x" * 5_000))
        assert answer.code == 200
        answer = await client.ask(streamed + chunked(b"x" * 5_000, b"x" * 5_001))
        assert answer.code == 413
        client.send(streamed.replace(b"Echo/say", b"Sink/put") + b"1388\r\n" + b"x" * 5_000)
        await until(lambda: len(b"".join(got)) > 5_000)
        client.send(b"\r\n1389\r\n" + b"x" * 5_001 + b"\r\n0\r\n\r\n")
        assert (await client.answer()).code == 413
        assert not b"".join(got).endswith(b"0\r\n\r\n")
        assert (await client.ask(relay.request("/Echo/say", b"on", close=False))).body == b"on"


async def test_a_payload_beyond_the_limit_after_the_reply_has_begun(tmp_path: Path):
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read()

    async with running_relay(tmp_path, Limits(body=1_000)) as relay, service(early) as url:
        await relay.method("Early/say", f"{url}/")
        async with connected(relay.port) as client:
            raw = relay.request("/Early/say", b"", "Transfer-Encoding: chunked", close=False)
            client.send(raw.replace(b"Content-Length: 0\r\n", b"") + b"1\r\na\r\n")
            await client.head()
            client.send(b"7d0\r\n" + b"x" * 2_000 + b"\r\n0\r\n\r\n")
            assert len(await client.ended()) < 100


async def test_messages_that_are_held_as_a_whole(tmp_path: Path):
    """Events and calls of the site's own objects have a limit of their own."""
    kept: list[bytes] = []

    async def publish(call: Call, route: Route, payload: bytes) -> Result:
        kept.append(payload)
        return Result(json.dumps(len(payload)).encode())

    async with running_relay(tmp_path, Limits(message=1_000)) as relay:
        local = relay.site.plane.local
        local.serve_action(Action.PUBLISH, publish)  # type: ignore[attr-defined]
        virtual = VirtualObject(f"{AUTHORITY}/Band", channels={"pulse": EventChannel()})
        id_ = RegistrationId("Band", "1", "a")
        await relay.change(Registered(Registration(id_, "site:band", "", 60, 7, (virtual,))))
        assert await relay.ask("/Band/pulse", b"x" * 1_000) == (200, *(await _rest(relay)))
        code, _, body = await relay.ask("/Band/pulse", b"x" * 1_001)
        assert code == 413
        assert b"at most 1000 bytes" in body
        assert [len(payload) for payload in kept] == [1_000, 1_000]


async def _rest(relay: Relay) -> tuple[bytes, bytes]:
    _, head, body = await relay.ask("/Band/pulse", b"x" * 1_000)
    return head, body


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_unwanted_payload_is_swallowed_up_to_a_limit(tmp_path: Path, framing: str):
    """Below the limit the connection goes on, above it closes; the answer can be read."""

    def request(relay: Relay, size: int) -> bytes:
        raw = relay.request("/No/x", b"", close=False)
        if framing == "length":
            return raw.replace(b"Length: 0", b"Length: %d" % size) + b"x" * size
        raw = raw.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return raw + chunked(*[b"x" * 1_000] * (size // 1_000))

    limits = Limits(swallow=50_000)
    async with running_relay(tmp_path, limits) as relay, connected(relay.port) as client:
        for _ in range(3):
            assert (await client.ask(request(relay, 40_000))).code == 404
        client.send(request(relay, 400_000))
        assert (await client.answer()).code == 404
        await client.ended()


@pytest.mark.parametrize("target", ["/No/x", "/Echo/say"])
async def test_a_client_that_sends_all_before_it_reads(tmp_path: Path, target: str):
    """10 MB to a name that is not there, or malformed: the refusal is there to be read."""
    async with running_relay(tmp_path) as relay, service(echo()) as url:
        await relay.method("Echo/say", f"{url}/")
        raw = relay.request(target, b"x" * 10_000_000, close=False)
        if target == "/Echo/say":
            raw = raw.replace(b"Host: localhost", b"Host: localhost\r\nX : y")

        def blocking() -> bytes:
            with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as client:
                client.sendall(raw)
                data = b""
                while more := client.recv(65_536):
                    data += more
                return data

        start = clock()
        data = await asyncio.to_thread(blocking)
        assert data.startswith(b"HTTP/1.1 404" if target == "/No/x" else b"HTTP/1.1 400")
        assert data.endswith(b"}\n")
        assert clock() - start < 5
        await until(lambda: not relay.listener.connections)


async def test_a_client_that_never_stops_sending_is_left(tmp_path: Path):
    limits = Limits(swallow=10_000)
    async with running_relay(tmp_path, limits) as relay, connected(relay.port) as client:
        client.send(relay.request("/No/x", b"", close=False).replace(b": 0", b": 999999999999"))
        assert (await client.answer()).code == 404
        start = clock()
        with contextlib.suppress(ConnectionError):
            while clock() - start < 10:
                client.send(b"x" * 10_000)
                await client.writer.drain()
                await asyncio.sleep(0.01)
        assert 1.5 < clock() - start < 4


async def test_pipelined_requests_wait_in_the_kernel(tmp_path: Path):
    """As many as the configuration says, and one more, wait here."""
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await read_request(reader))[0]:
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        running_relay(tmp_path, Limits(pipelined=4)) as relay,
        service(slow) as url,
        connected(relay.port) as client,
    ):
        await relay.method("Slow/get", f"{url}/")
        for _ in range(30):
            client.send(relay.request("/Slow/get", b"x", close=False))
            await asyncio.sleep(0.005)
        (connection,) = relay.listener.connections
        assert len(connection.waiting) == 5
        gate.set()
        for _ in range(30):
            assert (await client.answer()).code == 200


async def test_a_reader_that_is_slow_but_reads_is_served(tmp_path: Path):
    size = 3_000_000

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()
        await reader.read()

    limits = Limits(body_seconds=0.6, idle_seconds=0.6)
    async with running_relay(tmp_path, limits) as relay, service(large) as url:
        await relay.method("Large/get", f"{url}/")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        await asyncio.to_thread(raw.connect, ("127.0.0.1", relay.port))
        raw.sendall(relay.request("/Large/get", b"", close=False))
        reader, writer = await asyncio.open_connection(sock=raw, limit=16_384)
        got = 0
        while got < size:
            data = await reader.read(100_000)
            assert data, f"broken off after {got}"
            got += len(data)
            await asyncio.sleep(0.015)
        writer.close()


async def test_a_client_that_does_not_read_is_left(tmp_path: Path):
    """Its connection and the service's are held no longer than a payload may pause."""
    gone = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 100_000)
                await writer.drain()
        finally:
            gone.set()

    async with running_relay(tmp_path, Limits(body_seconds=0.5)) as relay, service(flood) as url:
        await relay.method("Flood/get", f"{url}/")
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1_000)
        writer.write(relay.request("/Flood/get", b""))
        await asyncio.wait_for(gone.wait(), 10)
        await until(lambda: not relay.listener.connections)
        writer.close()
        del reader
