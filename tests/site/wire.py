"""Clients and a service on asyncio, as small as real ones can be: keep-alive HTTP, many at once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Reply(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(ConnectionError):
    """No connection was made: nothing was sent."""


class Wire:
    """A keep-alive client: reconnects when it was told to, and never sends anything twice."""

    def __init__(self, url: str, token: str = "") -> None:
        netloc = urlsplit(url)
        self.host, self.port = netloc.hostname, netloc.port
        self.token = token
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Wire":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def connect(self) -> None:
        try:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            raise Refused(str(error)) from error

    async def ask(
        self, verb: str, path: str, body: bytes | Any = b"", seconds: float = 30.0, **fields: str
    ) -> Reply:
        """Send a request and return its answer; anything but a whole one is a ConnectionError."""
        try:
            async with asyncio.timeout(seconds):
                await self.send(verb, path, body, **fields)
                return await self.answer()
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            if isinstance(error, Refused):
                raise
            raise ConnectionError(f"{verb} {path}: {type(error).__name__} {error}") from error

    async def call(self, method: str, document: Any) -> Reply:
        """Call one of the site's own methods."""
        return await self.ask("POST", f"/$site/{method}", document)

    async def send(self, verb: str, path: str, body: bytes | Any = b"", **fields: str) -> None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("content_type", "application/json")
        if self.writer is None:
            await self.connect()
        lines = [f"{verb} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        top = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(first.split()[1]), fields

    async def answer(self) -> Reply:
        status, fields = await self.head()
        if "content-length" in fields:
            body = await self.reader.readexactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            body = b"".join([part async for part in self.chunks()])
        else:
            body = b"" if status in (204, 304) else await self.reader.read()
        if fields.get("connection") == "close":
            self.close()
        return Reply(status, fields, body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the chunks of a payload to its end."""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")


class Event(NamedTuple):
    kind: str
    id: str
    data: str


async def stream(
    wire: Wire, path: str, last: str = "", opened: Callable[[], None] | None = None
) -> AsyncIterator[Event]:
    """Yield a channel's events as they come; ends with the stream, whole or broken."""
    fields = {"last_event_id": last} if last else {}
    await wire.send("GET", path, accept="text/event-stream", **fields)
    status, _ = await wire.head()
    if status != 200:
        raise ConnectionError(f"GET {path}: {status}")
    if opened is not None:
        opened()
    text = b""
    with contextlib.suppress(OSError, EOFError):
        async for chunk in wire.chunks():
            text += chunk
            *blocks, text = text.split(b"\n\n")
            for block in blocks:
                lines = dict(line.split(": ", 1) for line in block.decode().split("\n") if line)
                if "data" in lines:
                    yield Event(lines.get("event", ""), lines.get("id", ""), lines["data"])
    wire.close()


class Service:
    """A microservice's HTTP server in this loop: says its name and what it got."""

    def __init__(self, name: str = "service", seconds: float = 0.0) -> None:
        self.name = name
        self.seconds = seconds
        self.calls = 0
        self.cancelled = 0
        self.called = asyncio.Event()
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Service":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, EOFError):
            while True:
                await self._one(reader, writer)
        self._writers.discard(writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = await reader.readexactly(length)
        self.calls += 1
        self.called.set()
        if self.seconds:
            gone = asyncio.create_task(reader.read(1))
            done, _ = await asyncio.wait([gone], timeout=self.seconds)
            gone.cancel()
            if done:
                self.cancelled += 1
                raise EOFError
        answer = json.dumps({"by": self.name, "got": body.decode()}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(answer), answer)
        )
        await writer.drain()


class Place(NamedTuple):
    """What a WebSocket client needs to know of a site in another process."""

    url: str
    token: str
    object: str = ""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        netloc = urlsplit(self.url)
        return await asyncio.open_connection(netloc.hostname, netloc.port)
