"""Payloads stream both ways with flat memory; who is slow holds up only himself."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings import Limits
from tests.adapters.relay import Relay, read_request, running_relay, service
from tests.adapters.wire import chunked, connected

MB = 1024 * 1024
PIECE = b"\x00\xff payload " * 6_000
FLAT = 24 * MB
"""Memory that a payload of any size may cost in this process: three parties and their buffers."""


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path) as running:
        yield running


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Watch:
    """The most resident memory while it ran, beyond what there was before."""

    async def __aenter__(self) -> "Watch":
        self._before = resident()
        self.most = 0
        self._task = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, resident() - self._before)
            await asyncio.sleep(0.02)


async def digest(reader: asyncio.StreamReader, size: int) -> str:
    found = hashlib.blake2b()
    while size:
        data = await reader.read(min(size, MB))
        assert data
        size -= len(data)
        found.update(data)
    return found.hexdigest()


async def upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests with the digest of their payload, which may be chunked."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length" in head:
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            text = await digest(reader, length)
        else:
            found = hashlib.blake2b()
            while size := int(await reader.readline(), 16):
                found.update((await reader.readexactly(size + 2))[:-2])
            assert await reader.readline() == b"\r\n"
            text = found.hexdigest()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text.encode())


async def send(writer: asyncio.StreamWriter, size: int, *, chunks: bool = False) -> str:
    """Write ``size`` bytes, return their digest."""
    found = hashlib.blake2b()
    while size:
        piece = PIECE[:size]
        size -= len(piece)
        found.update(piece)
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunks else piece)
        await writer.drain()
    if chunks:
        writer.write(b"0\r\n\r\n")
    return found.hexdigest()


def streamed(relay: Relay, target: str, *lines: str, length: int = -1) -> bytes:
    """Return the head of a request whose payload follows."""
    framing = f"Content-Length: {length}" if length >= 0 else "Transfer-Encoding: chunked"
    head = relay.request(target, b"", *lines, close=False)
    return head.replace(b"Content-Length: 0", framing.encode())


async def up_and_down(relay: Relay, size: int, chunks: bool) -> int:
    """Send and fetch payloads of ``size`` bytes; return the memory it took."""

    async def download(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        framing = b"Transfer-Encoding: chunked" if chunks else b"Content-Length: %d" % size
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        sent.append(await send(writer, size, chunks=chunks))
        await reader.read()

    sent: list[str] = []
    async with service(upload) as to, service(download) as source, Watch() as watch:
        await relay.method("Up/load", f"{to}/")
        await relay.method("Down/load", f"{source}/")
        async with connected(relay.port) as client:
            client.send(streamed(relay, "/Up/load", length=-1 if chunks else size))
            expected = await send(client.writer, size, chunks=chunks)
            assert (await client.answer(within=60)).body.decode() == expected
            client.send(relay.request("/Down/load", b"", close=False))
            code, fields = await client.head()
            assert code == 200
            found = hashlib.blake2b()
            if chunks:
                assert (b"transfer-encoding", b"chunked") in fields
                while length := int(await client.reader.readline(), 16):
                    found.update((await client.reader.readexactly(length + 2))[:-2])
                assert await client.reader.readline() == b"\r\n"
                text = found.hexdigest()
            else:
                text = await digest(client.reader, size)
            assert text == sent[0]
    return watch.most


@pytest.mark.parametrize("chunks", [False, True])
async def test_64_mb_up_and_down(relay: Relay, chunks: bool):
    assert await up_and_down(relay, 64 * MB, chunks) < FLAT


@pytest.mark.full
@pytest.mark.parametrize("chunks", [False, True])
async def test_1_gb_up_and_down(relay: Relay, chunks: bool):
    assert await up_and_down(relay, 1024 * MB, chunks) < FLAT


async def test_a_payload_can_be_empty_or_come_a_byte_at_a_time(relay: Relay):
    async with service(upload) as url, connected(relay.port) as client:
        await relay.method("Up/load", f"{url}/")
        client.send(streamed(relay, "/Up/load") + chunked())
        assert (await client.answer()).body.decode() == hashlib.blake2b().hexdigest()
        client.send(streamed(relay, "/Up/load"))
        for piece in (b"a", b"b", b"c" * 1000, b"d"):
            await asyncio.sleep(0.01)
            for byte in b"%x\r\n%b\r\n" % (len(piece), piece):
                client.send(bytes([byte]))
        client.send(b"0\r\n\r\n")
        expected = hashlib.blake2b(b"ab" + b"c" * 1000 + b"d").hexdigest()
        assert (await client.answer()).body.decode() == expected


async def test_replies_stream_as_they_come(relay: Relay):
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await gate.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await reader.read()

    async with service(slow) as url, connected(relay.port) as client:
        await relay.method("Slow/get", f"{url}/")
        client.send(relay.request("/Slow/get", b"", close=False))
        await client.head()
        assert await client.reader.readexactly(8) == b"3\r\none\r\n"
        gate.set()
        assert await client.reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_requests_stream_as_they_come(relay: Relay):
    """The service answers the first piece before the client sends the second."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"1\r\na\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n")
        assert await reader.readexactly(11) == b"1\r\nb\r\n0\r\n\r\n"
        writer.write(b"1\r\nB\r\n0\r\n\r\n")
        await reader.read()

    async with service(talk) as url, connected(relay.port) as client:
        await relay.method("Talk/to", f"{url}/")
        for _ in range(2):  # the connections on both sides can go on afterwards
            client.send(streamed(relay, "/Talk/to") + b"1\r\na\r\n")
            await client.head()
            assert await client.reader.readexactly(6) == b"1\r\nA\r\n"
            client.send(b"1\r\nb\r\n0\r\n\r\n")
            assert await client.reader.readexactly(11) == b"1\r\nB\r\n0\r\n\r\n"
            break


async def test_a_slow_client_holds_up_its_service(relay: Relay):
    """What it does not read stays where it is: the service can write no more either."""
    written = 0
    stuck = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MB))
        while written < 200 * MB:
            writer.write(PIECE)
            written += len(PIECE)
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                stuck.set()
                return

    async with service(flood) as url, connected(relay.port) as client, Watch() as watch:
        await relay.method("Flood/get", f"{url}/")
        client.send(relay.request("/Flood/get", b"", close=False))
        await asyncio.wait_for(stuck.wait(), 10)
        code, _, _ = await relay.ask("/No/thing")
        assert code == 404
    assert written < 40 * MB
    assert watch.most < FLAT


async def test_a_slow_service_holds_up_its_client(relay: Relay):
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(3)

    sent = 0
    async with service(deaf) as url, connected(relay.port) as client, Watch() as watch:
        await relay.method("Deaf/put", f"{url}/")
        client.send(streamed(relay, "/Deaf/put", length=200 * MB))
        try:
            while sent < 200 * MB:
                client.send(PIECE)
                sent += len(PIECE)
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
        except TimeoutError:
            pass
        client.writer.transport.abort()
    assert sent < 40 * MB
    assert watch.most < FLAT


async def test_a_payload_that_waits_for_its_turn_is_not_collected(relay: Relay):
    """A pipelined request's payload stays in the kernel until the request begins."""
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with service(slow) as first, service(upload) as second, connected(relay.port) as client:
        await relay.method("Slow/get", f"{first}/")
        await relay.method("Up/load", f"{second}/")
        client.send(relay.request("/Slow/get", b"", close=False))
        async with Watch() as watch:
            client.send(streamed(relay, "/Up/load", length=64 * MB))
            sending = asyncio.ensure_future(send(client.writer, 64 * MB))
            await asyncio.sleep(0.5)
            assert not sending.done()
            held = [len(p) for c in relay.listener.connections for i in c.waiting for p in i.parts]
            assert sum(held) < MB
            gate.set()
            assert (await client.answer()).code == 200
            assert (await client.answer(within=30)).body.decode() == await sending
        assert watch.most < FLAT


async def test_clients_that_ask_but_do_not_read(tmp_path: Path):
    """Answers that nobody reads do not pile up, and the connection ends at last."""
    limits = Limits(body_seconds=0.6)
    async with running_relay(tmp_path, limits) as relay, connected(relay.port) as client:
        async with Watch() as watch:
            raw = relay.request("/" + "n" * 900 + "/x", b"", close=False) * 200
            try:
                async with asyncio.timeout(5):
                    for _ in range(400):
                        client.send(raw)
                        await client.writer.drain()
            except (TimeoutError, ConnectionError):
                pass
            for _ in range(50):
                if not relay.listener.connections:
                    break
                await asyncio.sleep(0.1)
        assert not relay.listener.connections
        assert watch.most < FLAT + 8 * MB
