"""MQTT 3.1.1 and 5: paho as caller, publisher, subscriber and provider, in the test's own loop."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from urllib.parse import unquote

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.message import Status
from tests.conformance.pairs.model import (
    WINDOW,
    WITHIN,
    Answering,
    Asked,
    Outcome,
    Place,
    Received,
)

V311, V5 = paho.MQTTv311, paho.MQTTv5
RETAINED = 0.4
"""Seconds after a SUBACK in which a retained message comes, if there is one."""
_REFUSED = 0x80


class Connection:
    """One paho client. Its socket is watched by the loop, so that no thread is needed."""

    def __init__(
        self, port: int, client_id: str, version: int, token: str = "", *, lasting: bool = False
    ) -> None:
        self.version = version
        self.client_id = client_id
        self._port = port
        self._lasting = lasting
        self._loop = asyncio.get_running_loop()
        self._awake = True
        self._connected: asyncio.Future[int] | None = None
        self._acks: dict[tuple[str, int], asyncio.Future[Sequence[int]]] = {}
        clean = {} if version == V5 else {"clean_session": not lasting}
        api = paho.CallbackAPIVersion.VERSION2
        made = self.paho = paho.Client(
            api, client_id, protocol=version, reconnect_on_failure=False, **clean
        )
        if token:
            made.username_pw_set("pairs", token)
        made.on_socket_open = self._socket_opened
        made.on_socket_close = self._socket_closed
        made.on_socket_register_write = self._wants_to_write
        made.on_socket_unregister_write = self._has_written
        made.on_connect = self._on_connect
        made.on_disconnect = self._on_disconnect
        made.on_publish = self._on_acknowledged
        made.on_subscribe = self._on_acknowledged
        made.on_message = self._on_message

    def said(self, message: paho.MQTTMessage) -> None:
        """Take a message."""
        raise NotImplementedError

    async def open(self) -> None:
        """Connect; a lasting session goes on."""
        self._connected = self._loop.create_future()
        more: dict[str, Any] = {}
        if self.version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 300 if self._lasting else 0
            more = {"clean_start": not self._lasting, "properties": properties}
        self.paho.connect("127.0.0.1", self._port, 60, **more)
        code = await asyncio.wait_for(self._connected, WITHIN)
        assert code == 0, f"CONNACK with {code:#x}"

    async def close(self) -> None:
        """Disconnect, if connected, and drop what paho keeps."""
        if self.paho.socket() is not None:
            self.wake()
            self.paho.disconnect()
            # Closes the socket; the loop would do it when the site closes its own side.
            self.paho.loop_read()
            self.cut()

    def cut(self) -> None:
        """Close the connection without a word."""
        made = self.paho.socket()
        if made is not None:
            self.wake()
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
            while self.paho.socket() is not None:
                self.paho.loop_read()

    def sleep(self) -> None:
        """Read nothing more for now."""
        self._awake = False
        self._loop.remove_reader(self.paho.socket())

    def wake(self) -> None:
        """Read again."""
        made = self.paho.socket()
        if not self._awake and made is not None:
            self._loop.add_reader(made, self.paho.loop_read)
        self._awake = True

    async def send(
        self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False, **properties: Any
    ) -> int | None:
        """Publish; returns the reason code, or None when the site closed instead of answering."""
        more = None
        if self.version == V5:
            more = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(more, name, value)
        sent = self.paho.publish(topic, payload, qos, retain=retain, properties=more)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            return None
        reasons = await self._acknowledged("publish", sent.mid)
        return reasons[0] if reasons else None

    async def listen(self, topic: str, qos: int = 1) -> int:
        """Subscribe; returns the reason code."""
        result, mid = self.paho.subscribe(topic, qos)
        assert result == paho.MQTT_ERR_SUCCESS
        assert mid is not None
        reasons = await self._acknowledged("subscribe", mid)
        assert reasons, "the site closed the connection"
        return reasons[0]

    def lost(self) -> None:
        """The connection is gone."""

    async def _acknowledged(self, kind: str, mid: int) -> Sequence[int]:
        future = self._acks[kind, mid] = self._loop.create_future()
        return await asyncio.wait_for(future, WITHIN)

    # What paho tells

    def _socket_opened(self, _: object, __: object, made: socket.socket) -> None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self._loop.add_reader(made, self.paho.loop_read)

    def _socket_closed(self, _: object, __: object, made: socket.socket) -> None:
        self._loop.remove_reader(made)

    def _wants_to_write(self, _: object, __: object, made: socket.socket) -> None:
        self._loop.add_writer(made, self.paho.loop_write)

    def _has_written(self, _: object, __: object, made: socket.socket) -> None:
        self._loop.remove_writer(made)

    def _on_connect(self, _: object, __: object, ___: object, reason: Any, ____: object) -> None:
        if self._connected is not None and not self._connected.done():
            self._connected.set_result(reason.value)

    def _on_disconnect(self, *_: object) -> None:
        acks, self._acks = self._acks, {}
        for future in acks.values():
            if not future.done():
                future.set_result(())
        self.lost()

    def _on_acknowledged(self, _: object, __: object, mid: int, reasons: Any, ___: object) -> None:
        several = isinstance(reasons, list)
        codes = [one.value for one in reasons] if several else [reasons.value]
        future = self._acks.pop(("subscribe" if several else "publish", mid), None)
        if future is not None and not future.done():
            future.set_result(codes)

    def _on_message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        self.said(message)


class MqttClient(Connection):
    """A caller, publisher and subscriber."""

    refused = Status.DENIED

    def __init__(self, place: Place, key: str, *, version: int, lasting: bool = False) -> None:
        super().__init__(place.mqtt, key, version, place.token, lasting=lasting)
        self.protocol = "mqtt5" if version == V5 else "mqtt3"
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._replies: dict[str, asyncio.Future[Outcome]] = {}
        self._ids = count(1)
        self._topic = ""
        self._listening = False
        self._retained: list[Outcome] = []

    async def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "",
        *,
        within: float = 0.0,
        trace: str = "",
    ) -> Outcome:
        """Publish to the name; in 3.1.1 to ``$rpc/<client>/<id>/<name>``."""
        if not self._listening:
            self._listening = True
            assert await self.listen(f"$reply/{self.client_id}/#") < _REFUSED
        key = str(next(self._ids))
        replied = self._replies[key] = self._loop.create_future()
        topic, more = f"$rpc/{self.client_id}/{key}/{name}", {}
        if self.version == V5:
            topic, more = name, _properties(content_type)
            more |= {"ResponseTopic": f"$reply/{self.client_id}", "CorrelationData": key.encode()}
            more |= {"MessageExpiryInterval": math.ceil(within)} if within else {}
            more |= {"UserProperty": [("traceparent", trace)]} if trace else {}
        reason = await self.send(topic, payload, **more)
        if replied.done() or (reason is not None and reason < _REFUSED):
            return await asyncio.wait_for(replied, WITHIN)
        return Outcome(self.protocol, reason, closed=reason is None)

    async def calls(self, name: str, payloads: Sequence[bytes]) -> list[Outcome]:
        first = await self.call(name, payloads[0])
        rest = await asyncio.gather(*(self.call(name, payload) for payload in payloads[1:]))
        return [first, *rest]

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        more = _properties(content_type)
        more |= {"UserProperty": list(attributes.items())} if attributes else {}
        reason = await self.send(name, payload, **more)
        return Outcome(self.protocol, reason, closed=reason is None)

    async def last(self, name: str) -> Outcome | None:
        """Subscribe: the last value comes as a retained message."""
        self._retained.clear()
        reason = await self.listen(name)
        if reason >= _REFUSED:
            return Outcome(self.protocol, reason)
        for _ in range(20):
            if self._retained:
                break
            await asyncio.sleep(RETAINED / 20)
        self.paho.unsubscribe(name)
        return self._retained[0] if self._retained else None

    async def subscribe(self, name: str, group: str = "", *, attributes: bool = False) -> Outcome:
        self._topic = f"$share/{group}/{name}" if group else name
        reason = await self.listen(self._topic)
        return Outcome(self.protocol, reason if reason >= _REFUSED else 0)

    async def next(self, within: float = WITHIN) -> Received:
        return await asyncio.wait_for(self._events.get(), within)

    async def leave(self) -> None:
        await self.close()

    async def vanish(self) -> None:
        self.cut()

    async def resume(self) -> None:
        """Connect again: a lasting session still has its subscriptions."""
        await self.open()
        if not self._lasting:
            assert await self.listen(self._topic) < _REFUSED

    def lost(self) -> None:
        for future in self._replies.values():
            if not future.done():
                future.set_result(Outcome(self.protocol, closed=True))

    def said(self, message: paho.MQTTMessage) -> None:
        said = _said(message)
        own = f"$reply/{self.client_id}"
        if message.topic.startswith(own):
            key, _, slug = message.topic.removeprefix(own).lstrip("/").partition("/")
            key = said.correlation or key
            slug = said.attributes.get("hilum-status", slug or "ok")
            origin = said.attributes.get("hilum-origin", "")
            outcome = Outcome(self.protocol, None, slug, message.payload, said.content_type, origin)
            self._replies.pop(key).set_result(outcome)
        elif message.retain:
            kind = said.content_type
            self._retained.append(Outcome(self.protocol, 0, "", message.payload, kind))
        else:
            received = Received(message.payload, said.content_type, attributes=said.attributes)
            self._events.put_nowait(received)


class MqttProvider(Connection):
    """A service that provides its methods by subscribing."""

    def __init__(self, place: Place, key: str, answer: Answering, *, version: int) -> None:
        super().__init__(place.mqtt, f"{key}-provider", version, place.token)
        self._answer = answer
        self._methods: Mapping[str, str] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def endpoint(self, method: str) -> str:
        return ""

    async def open(self, names: Mapping[str, str] = {}) -> None:
        """Subscribe to the exact names; in 3.1.1 to ``$call/<name>/+``."""
        await super().open()
        self._methods = {name: method for method, name in names.items()}
        for name in names.values():
            topic = name if self.version == V5 else f"$call/{name}/+"
            assert await self.listen(topic) < _REFUSED

    async def vanish(self) -> None:
        self.cut()

    async def close(self) -> None:
        await super().close()
        await stop(self._answering)

    def said(self, message: paho.MQTTMessage) -> None:
        task = asyncio.create_task(self._serve(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _serve(self, message: paho.MQTTMessage) -> None:
        name, call = message.topic, ""
        if self.version != V5:
            name, _, call = name.removeprefix("$call/").rpartition("/")
        await serve(self, message, self._answer, self._methods[name], f"$ret/{name}/{call}")


async def serve(
    to: Connection, message: paho.MQTTMessage, answer: Answering, method: str, topic: str = ""
) -> None:
    """Answer a call that came as a message: to its Response Topic, in 3.1.1 to ``topic``."""
    said = _said(message)
    asked = Asked(
        message.payload,
        said.content_type,
        unquote(said.attributes.get("hilum-principal", "").partition(";")[0]),
        getattr(message.properties, "MessageExpiryInterval", None),
        said.attributes.get("traceparent", ""),
    )
    answered = await answer(method, asked)
    if to.version != V5:
        await to.send(f"{topic}/{answered.status.slug}", answered.payload)
        return
    more = _properties(answered.content_type)
    if said.correlation:
        more["CorrelationData"] = said.correlation.encode()
    if answered.status is not Status.OK:
        more["UserProperty"] = [("hilum-status", answered.status.slug)]
    assert message.properties is not None
    await to.send(message.properties.ResponseTopic, answered.payload, **more)


async def stop(tasks: set[asyncio.Task[None]]) -> None:
    """End what is still being answered."""
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Said:
    """What version 5 says beside topic and payload."""

    def __init__(self, properties: Any) -> None:
        self.content_type: str = getattr(properties, "ContentType", "")
        self.attributes: dict[str, str] = dict(getattr(properties, "UserProperty", ()))
        self.correlation: str = getattr(properties, "CorrelationData", b"").decode()


def _said(message: paho.MQTTMessage) -> _Said:
    return _Said(message.properties)


def _properties(content_type: str) -> dict[str, Any]:
    return {"ContentType": content_type} if content_type else {}
