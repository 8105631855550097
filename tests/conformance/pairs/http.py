"""HTTP: httpx as the client, an HTTP server on an asyncio stream as the endpoint."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlencode

import httpx

from gateway.message import Status
from tests.adapters.wire import connected
from tests.conformance.pairs.model import (
    WINDOW,
    WITHIN,
    Answered,
    Answering,
    Asked,
    Outcome,
    Place,
    Received,
)
from tests.support import free_port

_OPTIONS = [(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)]


class HttpClient:
    """Calls and publishes with POST, subscribes to server-sent events."""

    protocol = "http"
    refused = Status.DENIED

    def __init__(self, place: Place, key: str, *, lasting: bool = False) -> None:
        self._place = place
        self._authorization = f"Bearer {place.token}"
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._path = self._seen = ""
        self._attributes = False

    async def open(self) -> None:
        transport = httpx.AsyncHTTPTransport(verify=False, socket_options=_OPTIONS)
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._place.http}",
            headers={"Authorization": self._authorization},
            transport=transport,
            timeout=30,
        )

    async def close(self) -> None:
        await self.leave()
        await self._http.aclose()

    async def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "",
        *,
        within: float = 0.0,
        trace: str = "",
    ) -> Outcome:
        fields = {"Content-Type": content_type} if content_type else {}
        if within:
            fields["Hilum-Timeout"] = str(int(within * 1000))
        if trace:
            fields["Traceparent"] = trace
        return _outcome(await self._http.post(f"/{name}", content=payload, headers=fields))

    async def calls(self, name: str, payloads: Sequence[bytes]) -> list[Outcome]:
        """Pipeline: httpx takes a connection for each request, so these are written by hand."""
        async with connected(self._place.http) as wire:
            for payload in payloads:
                head = f"POST /{name} HTTP/1.1\r\nHost: localhost\r\n"
                head += f"Authorization: {self._authorization}\r\n"
                wire.send(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
            answers = [await wire.answer(within=WITHIN) for _ in payloads]
        return [Outcome("http", answer.code, payload=answer.body) for answer in answers]

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        fields = {f"ce-{key}": value for key, value in attributes.items()}
        fields |= {"Content-Type": content_type} if content_type else {}
        return _outcome(await self._http.post(f"/{name}", content=payload, headers=fields))

    async def last(self, name: str) -> Outcome | None:
        return _outcome(await self._http.get(f"/{name}"))

    async def subscribe(self, name: str, group: str = "", *, attributes: bool = False) -> Outcome:
        asked = {"group": group, "format": "cloudevents" if attributes else ""}
        query = urlencode({key: value for key, value in asked.items() if value})
        self._path = f"/{name}?{query}" if query else f"/{name}"
        self._attributes = attributes
        return await self._stream()

    async def next(self, within: float = WITHIN) -> Received:
        return await asyncio.wait_for(self._events.get(), within)

    async def leave(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None

    async def vanish(self) -> None:
        await self.close()

    async def resume(self) -> None:
        if self._http.is_closed:
            await self.open()
        assert (await self._stream()).code == 200

    def sleep(self) -> None:
        self._awake.clear()

    def wake(self) -> None:
        self._awake.set()

    async def _stream(self) -> Outcome:
        begun: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(begun))
        return await begun

    async def _read(self, begun: asyncio.Future[Outcome]) -> None:
        fields = {"Accept": "text/event-stream"}
        if self._seen:
            fields["Last-Event-ID"] = self._seen
        async with self._http.stream("GET", self._path, headers=fields, timeout=None) as response:
            if response.status_code != 200:
                await response.aread()
                begun.set_result(_outcome(response))
                return
            begun.set_result(Outcome("http", response.status_code))
            block: dict[str, list[str]] = {}
            async for line in response.aiter_lines():
                await self._awake.wait()
                if line:
                    name, _, value = line.partition(":")
                    block.setdefault(name, []).append(value.removeprefix(" "))
                    continue
                self._take(block)
                block = {}

    def _take(self, block: Mapping[str, Sequence[str]]) -> None:
        if block.get("event") == ["end"]:
            problem = json.loads(block["data"][0])
            self._events.put_nowait(Received(b"", end=Outcome("http", problem["status"])))
        if "id" not in block:
            return
        self._seen = block["id"][0]
        data = "\n".join(block["data"])
        match block.get("event", [""])[0]:
            case "gap":
                self._events.put_nowait(Received(data.encode(), gap=True))
            case "base64":
                self._events.put_nowait(Received(base64.b64decode(data)))
            case _ if self._attributes:
                event = json.loads(data)
                self._events.put_nowait(Received(event["data"].encode(), attributes=event))
            case _:
                self._events.put_nowait(Received(data.encode()))


class HttpEndpoint:
    """A service with an HTTP server of its own."""

    def __init__(self, place: Place, key: str, answer: Answering) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._port = free_port()

    def endpoint(self, method: str) -> str:
        return f"http://127.0.0.1:{self._port}/{method}"

    async def open(self, names: Mapping[str, str]) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def vanish(self) -> None:
        assert self._server is not None
        self._server.close()
        for task, writer in tuple(self._serving.items()):
            writer.transport.abort()
            task.cancel()
        while self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()
        self._server = None

    async def close(self) -> None:
        if self._server is not None:
            await self.vanish()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while True:
                path, asked = await _read_request(reader)
                answered = await self._answer(path.removeprefix("/"), asked)
                writer.write(_reply(answered))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            del self._serving[task]


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, Asked]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    fields = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    if fields.get("transfer-encoding") == "chunked":
        payload = b""
        while size := int(await reader.readline(), 16):
            payload += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        payload = await reader.readexactly(int(fields.get("content-length", "0")))
    asked = Asked(
        payload,
        fields.get("content-type", ""),
        unquote(fields.get("hilum-principal", "").partition(";")[0]),
        int(fields["hilum-timeout"]) / 1000 if "hilum-timeout" in fields else None,
        fields.get("traceparent", ""),
    )
    return line.split(" ")[1], asked


def _reply(answered: Answered) -> bytes:
    head = f"HTTP/1.1 {answered.status.wire.http} X\r\nContent-Length: {len(answered.payload)}\r\n"
    if answered.content_type:
        head += f"Content-Type: {answered.content_type}\r\n"
    return f"{head}\r\n".encode() + answered.payload


def _outcome(response: httpx.Response) -> Outcome:
    content_type = response.headers.get("content-type", "")
    origin = response.headers.get("hilum-origin", "")
    slug = ""
    if content_type == "application/problem+json" and not origin:
        slug = json.loads(response.content)["type"].rpartition(":")[2]
        assert Status[slug.upper().replace("-", "_")].wire.http == response.status_code
    return Outcome(
        "http", response.status_code, slug, response.content, content_type, origin or "gateway"
    )
