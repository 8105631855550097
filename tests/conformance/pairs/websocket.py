"""WebSocket: a client over wsproto that calls, publishes, subscribes and provides."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from gateway.message import Status
from tests.conformance.pairs.model import WINDOW, WITHIN, Answering, Asked, Outcome, Place, Received


class _Payload(msgspec.Struct):
    """A message's payload as it was written."""

    payload: msgspec.Raw = msgspec.Raw()


_raw = msgspec.json.Decoder(_Payload)


class Socket:
    """One connection: ``said`` is told every message that is no reply."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self._awake = asyncio.Event()
        self._awake.set()
        self._reading: asyncio.Task[None] | None = None

    def said(self, message: dict[str, Any], payload: bytes) -> None:
        """Take a message."""
        raise NotImplementedError

    async def open(self) -> None:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self._place.http))
        self._reader, self._writer = await asyncio.open_connection(sock=made, limit=16 * 1024)
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._parts = ""
        headers = [(b"Authorization", f"Bearer {self._place.token}".encode())]
        asked = Request("localhost", "/$site/socket", extra_headers=headers)
        self._writer.write(self._wire.send(asked))
        accepted = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(accepted))
        await accepted

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def say(self, **document: Any) -> None:
        """Send a message."""
        text = msgspec.json.encode(document).decode()
        self._writer.write(self._wire.send(TextMessage(text)))

    async def ask(self, op: str, **document: Any) -> tuple[dict[str, Any], bytes]:
        """Send a message, and return its reply with the reply's payload."""
        key = next(self._ids)
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        self.say(op=op, id=key, **document)
        return await asyncio.wait_for(waiting, WITHIN)

    async def _read(self, accepted: asyncio.Future[None]) -> None:
        while data := await self._reader.read(4096):
            await self._awake.wait()
            self._wire.receive_data(data)
            for event in self._wire.events():
                match event:
                    case AcceptConnection():
                        accepted.set_result(None)
                    case TextMessage():
                        self._parts += event.data
                        if event.message_finished:
                            self._parts, text = "", self._parts
                            self._hear(text)
                    case Ping():
                        self._writer.write(self._wire.send(event.response()))
                    case CloseConnection():
                        self._lost(event.code)
                        return
        self._lost(1006)

    def _hear(self, text: str) -> None:
        message = json.loads(text)
        payload = bytes(_raw.decode(text).payload)
        if message.get("encoding") == "base64":
            payload = base64.b64decode(message["payload"])
        elif isinstance(message.get("payload"), str) and not _is_json(message):
            payload = message["payload"].encode()
        if message["op"] == "reply":
            self._waiting.pop(message["id"]).set_result((message, payload))
        else:
            self.said(message, payload)

    def _lost(self, code: int) -> None:
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.set_result(({"status": "closed", "code": code}, b""))


class SocketClient(Socket):
    """A caller, publisher and subscriber."""

    protocol = "websocket"
    refused = Status.DENIED

    def __init__(self, place: Place, key: str, *, lasting: bool = False) -> None:
        super().__init__(place)
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._name = self._seen = ""

    async def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "",
        *,
        within: float = 0.0,
        trace: str = "",
    ) -> Outcome:
        more: dict[str, Any] = {"timeout": int(within * 1000)} if within else {}
        more |= {"traceparent": trace} if trace else {}
        asked = {**written(payload, content_type), **more}
        return _outcome(*await self.ask("call", name=name, **asked))

    async def calls(self, name: str, payloads: Sequence[bytes]) -> list[Outcome]:
        return await asyncio.gather(*(self.call(name, payload) for payload in payloads))

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        more: dict[str, Any] = {"attributes": dict(attributes)} if attributes else {}
        asked = {**written(payload, content_type), **more}
        return _outcome(*await self.ask("publish", name=name, **asked))

    async def last(self, name: str) -> Outcome | None:
        return _outcome(*await self.ask("get", name=name))

    async def subscribe(self, name: str, group: str = "", *, attributes: bool = False) -> Outcome:
        self._name = name
        more = {"group": group} if group else {}
        return _outcome(*await self.ask("subscribe", name=name, **more))

    async def next(self, within: float = WITHIN) -> Received:
        return await asyncio.wait_for(self._events.get(), within)

    async def leave(self) -> None:
        await self.close()

    async def vanish(self) -> None:
        await self.close()

    async def resume(self) -> None:
        await self.open()
        after = {"after": self._seen} if self._seen else {}
        assert (await self.ask("subscribe", name=self._name, **after))[0]["status"] == "ok"

    def sleep(self) -> None:
        self._awake.clear()

    def wake(self) -> None:
        self._awake.set()

    def said(self, message: dict[str, Any], payload: bytes) -> None:
        if message["op"] == "end":
            end = Outcome("websocket", slug=message["status"])
            self._events.put_nowait(Received(b"", end=end))
        if message["op"] not in ("event", "gap"):
            return
        self._seen = message["id"]
        kind = message.get("contentType", "")
        said = message.get("attributes", {})
        self._events.put_nowait(Received(payload, kind, message["op"] == "gap", said))


class SocketProvider(Socket):
    """A service behind NAT: it provides its methods on the connection that it opened."""

    def __init__(self, place: Place, key: str, answer: Answering) -> None:
        super().__init__(place)
        self._answer = answer
        self._methods: Mapping[str, str] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def endpoint(self, method: str) -> str:
        return ""

    async def open(self, names: Mapping[str, str] = {}) -> None:
        await super().open()
        self._methods = {name: method for method, name in names.items()}
        for name in names.values():
            reply, _ = await self.ask("provide", name=name)
            assert reply["status"] == "ok", reply

    async def vanish(self) -> None:
        await self.close()

    async def close(self) -> None:
        await super().close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def said(self, message: dict[str, Any], payload: bytes) -> None:
        if message["op"] == "call":
            task = asyncio.create_task(self._serve(message, payload))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _serve(self, message: dict[str, Any], payload: bytes) -> None:
        kind, seconds = message.get("contentType", ""), message["timeout"] / 1000
        trace = message.get("traceparent", "")
        asked = Asked(payload, kind, message["principal"], seconds, trace)
        method = self._methods[message["name"].partition("/")[2]]
        status, answer, kind = await self._answer(method, asked)
        self.say(op="reply", id=message["id"], status=status.slug, **written(answer, kind))


def written(payload: bytes, content_type: str) -> dict[str, Any]:
    """Return a payload as members of a message, the way a careful client writes them."""
    if not payload:
        return {"contentType": content_type} if content_type else {}
    if content_type == "application/json":
        return {"contentType": content_type, "payload": msgspec.Raw(payload)}
    if content_type.startswith("text/"):
        return {"contentType": content_type, "payload": payload.decode()}
    encoded = base64.b64encode(payload).decode()
    kind = {"contentType": content_type} if content_type else {}
    return {**kind, "payload": encoded, "encoding": "base64"}


def _is_json(message: dict[str, Any]) -> bool:
    return message.get("contentType", "application/json").endswith("json")


def _outcome(reply: dict[str, Any], payload: bytes) -> Outcome:
    if reply["status"] == "closed":
        return Outcome("websocket", reply["code"], closed=True)
    return Outcome(
        "websocket",
        None,
        reply["status"],
        payload,
        reply.get("contentType", ""),
        reply.get("origin", "gateway"),
    )
