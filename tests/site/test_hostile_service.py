"""A hostile service: it sees no token, leads nobody elsewhere, holds up only its own callers."""

import asyncio
import contextlib
import time

import pytest

from adapters.http.wire.intake import PIECE
from tests.adapters import sockets
from tests.site.test_enemy import memory
from tests.site.wire import Place, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
METADATA = "http://169.254.169.254/latest/meta-data/"


class Hostile:
    """A service that keeps every byte it gets and answers as it is told."""

    def __init__(self, site, name, answer):
        self.site, self.name, self.answer = site, name, answer
        self.heard = bytearray()
        self.serving = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        methods = {"m": {"safe": True, "endpoints": [{"url": url}]}}
        objects = [{"name": self.name, "methods": methods}]
        manifest = {"microservice": self.name, "objects": objects}
        await asyncio.to_thread(self.site.register, manifest)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in tuple(self.serving):
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)
        which = {"microservice": self.name, "version": "1.0.0"}
        await asyncio.to_thread(self.site.ask, "registry/deregister", which)

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.serving.add(task)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                self.heard += data
                if b"\r\n\r\n" in data:
                    await self.answer(writer)
        writer.transport.abort()
        self.serving.discard(task)


async def fine(writer):
    writer.write(OK)


async def test_no_way_of_asking_gives_a_service_the_callers_token(running_site):
    site, token = running_site, running_site.token
    async with Hostile(site, "leak", fine) as service:
        async with Wire(site.url, token) as wire:
            ways = [
                {"connection": "keep-alive, authorization"},
                {"x_copy": "1", "hilum_principal": "user:forged;kind=administrator"},
                {"te": "trailers", "trailer": "Authorization"},
                {"proxy_authorization": f"Bearer {token}"},
                {"expect": "100-continue"},
            ]
            for fields in ways:
                await wire.send("POST", "/leak/m", b"x", **fields)
                status, head = await wire.head()
                if status == 100:
                    status, head = await wire.head()
                await wire.reader.readexactly(int(head.get("content-length", 0)))
                if head.get("connection") == "close":
                    wire.close()
        async with Wire(site.url) as wire:
            await wire.connect()
            head = f"POST /leak/m HTTP/1.1\r\nHost: localhost\r\nauthorization:bearer  {token}\r\n"
            trailer = f"Authorization: Bearer {token}\r\n"
            chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailer}\r\n"
            wire.writer.write(chunked.encode())
            assert (await wire.answer()).status == 200
        for known in (token, ""):
            client = await sockets.Client.open(Place(site.url, known), known)
            if not known:
                assert (await client.ask("auth", token=token))["status"] == "ok"
            assert (await client.ask("call", name="leak/m", args={}))["status"] == "ok"
            client.writer.close()
        heard = bytes(service.heard).lower()
        assert heard.count(b"post / http/1.1") >= 6
        assert token.lower().encode() not in heard
        assert token.split("_", 2)[2].lower().encode() not in heard
        assert b"authorization" not in heard.replace(b"trailer: authorization", b"")
        assert b"user:forged" not in heard


async def test_a_redirect_is_passed_on_and_not_followed(running_site):
    async def redirect(writer):
        writer.write(f"HTTP/1.1 307 \r\nLocation: {METADATA}\r\nContent-Length: 0\r\n\r\n".encode())

    async with (
        Hostile(running_site, "redirects", redirect),
        Wire(running_site.url, running_site.token) as wire,
    ):
        answer = await wire.ask("POST", "/redirects/m", b"x")
        assert (answer.status, answer.fields["location"]) == (307, METADATA)


async def test_an_endless_answer_takes_no_memory(running_site):
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    site = running_site
    async with Hostile(site, "endless", endless), Wire(site.url, site.token) as wire:
        before = memory(site)
        await wire.send("POST", "/endless/m", b"x")
        await wire.head()
        await asyncio.sleep(0.3)  # nothing is read
        for _ in range(1000):
            await wire.reader.read(65_536)
        assert memory(site) - before < 30


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 300_000])
async def test_what_follows_a_reply_is_nobodys(running_site, size):
    """However the reads fall: behind a reply of ``size`` bytes in all comes another one."""

    async def two(writer):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %06d\r\n\r\n"
        body = size - len(head % 0)
        evil = head % 30_000 + b"e" * 30_000
        writer.write(head % body + b"g" * body + evil)
        await writer.drain()

    site = running_site
    async with Hostile(site, "two", two), Wire(site.url, site.token) as wire:
        for _ in range(5):
            answer = await wire.ask("POST", "/two/m", b"x")
            assert answer.status == 200
            assert set(answer.body) == {ord("g")}


async def test_a_drip_of_a_head_ends_with_the_callers_deadline(running_site):
    async def drip(writer):
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    site = running_site
    async with Hostile(site, "drips", drip), Wire(site.url, site.token) as wire:
        begin = time.monotonic()
        answer = await wire.ask("POST", "/drips/m", b"x", hilum_timeout="400")
        assert answer.status == 504
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize("answer", [b"1\r\nx\r\n" * 40_000, b"a: b\r\n" * 40_000])
async def test_a_large_read_of_tiny_things_holds_up_nobody(running_site, answer):
    async def flood(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        writer.write(b"\r\n" if answer.startswith(b"1") else b"")
        while True:
            writer.write(answer)
            await writer.drain()

    site = running_site
    async with Hostile(site, "floods", flood), Hostile(site, "decent", fine):
        callers = [Wire(site.url, site.token) for _ in range(20)]
        for caller in callers:
            await caller.send("POST", "/floods/m", b"x")
        took = []
        async with Wire(site.url, site.token) as wire:
            for _ in range(50):
                begin = time.perf_counter()
                assert (await wire.ask("POST", "/decent/m", b"x")).status == 200
                took.append(time.perf_counter() - begin)
        for caller in callers:
            caller.writer.transport.abort()
        assert sorted(took)[len(took) // 2] < 0.2
