"""A client of blocking sockets that sends what a test wants, right or wrong."""

import contextlib
import socket
import time

from tests.adapters import mqtt_bytes as raw
from tests.conformance.mqtt import reading
from tests.conformance.mqtt.reading import Got
from tests.conformance.mqtt.websocket import WebSocket

PATIENCE = 10.0
"""Seconds that only a failing test waits, or one on a very busy machine."""


class Closed(Exception):
    """The server closed the connection."""


def tcp(port: int) -> socket.socket:
    """Return a TCP connection to the server."""
    made = socket.create_connection(("127.0.0.1", port), PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Client:
    """One connection. ``connect`` presents a token; everything received was well-formed."""

    def __init__(
        self, connection: socket.socket | WebSocket, token: str = "", version: int = 5
    ) -> None:
        self.version = version
        self.token = token
        self.received: list[Got] = []
        self._socket = connection
        self._data = b""
        self._pid = 0
        self._kept: list[Got] = []

    # Bytes

    def send(self, *packets: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(b"".join(packets))

    def cut(self) -> None:
        """Close without DISCONNECT."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def next(self, patience: float = PATIENCE) -> Got:
        """Return the next packet; raises Closed, or TimeoutError."""
        end = time.monotonic() + patience
        while True:
            got = self._parse()
            if got is not None:
                self.received.append(got)
                return got
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                raise Closed from None
            if not data:
                assert not self._data, "the server closed within a packet"
                raise Closed
            self._data += data

    def _parse(self) -> Got | None:
        data, length, shift = self._data, 0, 0
        for at in range(1, min(len(data), 5)):
            length |= (data[at] & 0x7F) << shift
            shift += 7
            if data[at] < 0x80:
                end = at + 1 + length
                if end > len(data):
                    return None
                assert data[at] or at == 1, "a remaining length longer than it needs to be"
                self._data = data[end:]
                return reading.read(data[0], data[at + 1 : end], self.version, end)
        assert len(data) < 5, "an endless remaining length"
        return None

    # Packets

    def connect(
        self,
        client: str | bytes = "",
        *,
        clean: bool = True,
        keep: int = 60,
        expiry: int = 0,
        props: bytes = b"",
        will: bytes = b"",
        will_flags: int = 0,
        token: str | None = None,
    ) -> Got:
        """Send CONNECT and return CONNACK. ``will`` is its part of the payload, as bytes."""
        self.send(
            self.connect_bytes(
                client,
                clean=clean,
                keep=keep,
                expiry=expiry,
                props=props,
                will=will,
                will_flags=will_flags,
                token=token,
            )
        )
        return self.expect(reading.CONNACK)

    def connect_bytes(
        self,
        client: str | bytes = "",
        *,
        clean: bool = True,
        keep: int = 60,
        expiry: int = 0,
        props: bytes = b"",
        will: bytes = b"",
        will_flags: int = 0,
        token: str | None = None,
    ) -> bytes:
        token = self.token if token is None else token
        flags = (2 if clean else 0) | (4 | will_flags if will else 0)
        payload = will
        if token:
            flags |= 0xC0
            payload += raw.string("conformance") + raw.string(token)
        if expiry:
            props += b"\x11" + expiry.to_bytes(4, "big")
        return raw.connect(
            client, self.version, flags=flags, keep=keep, props=props, payload=payload
        )

    def expect(self, kind: int, patience: float = PATIENCE) -> Got:
        """Return the next packet, which must be of this kind."""
        got = self.next(patience)
        assert got.kind == kind, f"expected a packet of type {kind}, got {got}"
        return got

    def publish(
        self,
        topic: str | bytes,
        payload: bytes = b"x",
        qos: int = 0,
        *,
        retain: bool = False,
        props: bytes = b"",
    ) -> int:
        """Publish; at QoS 1 and 2 the whole exchange takes place. Returns the reason code."""
        pid = self.pid() if qos else None
        first = 0x30 | qos << 1 | retain
        self.send(raw.publish(topic, payload, self.version, first=first, pid=pid, props=props))
        if not qos:
            self.ping()
            return 0
        got = self.answer(reading.PUBACK if qos == 1 else reading.PUBREC, pid)
        if qos == 2 and got.code < 0x80:
            self.send(raw.ack(0x62, pid))
            self.answer(reading.PUBCOMP, pid)
        return got.code

    def pid(self) -> int:
        self._pid += 1
        return self._pid

    def subscribe(self, *filters: tuple[str, int], props: bytes = b"") -> list[int]:
        """Subscribe and return the reason codes."""
        pid = self.pid()
        self.send(raw.subscribe(*filters, version=self.version, pid=pid, props=props))
        return self.answer(reading.SUBACK, pid).codes

    def unsubscribe(self, *filters: str) -> list[int]:
        """Unsubscribe and return the reason codes."""
        pid = self.pid()
        self.send(raw.unsubscribe(*filters, version=self.version, pid=pid))
        return self.answer(reading.UNSUBACK, pid).codes

    def answer(self, kind: int, pid: int | None) -> Got:
        """Return the answer to a packet; messages that come before it are kept for later."""
        aside = []
        while True:
            got = self.next()
            if got.kind == kind:
                assert got.pid == pid
                self._kept += aside
                return got
            assert got.kind == reading.PUBLISH, f"expected a packet of type {kind}, got {got}"
            aside.append(got)

    def ping(self) -> None:
        """Wait until the server has worked off what was sent so far."""
        self.send(raw.PINGREQ)
        self.answer(reading.PINGRESP, 0)

    def message(self, patience: float = PATIENCE) -> Got:
        """Return the next message, and acknowledge it in full."""
        got = self._kept.pop(0) if self._kept else self.expect(reading.PUBLISH, patience)
        if got.qos == 1:
            self.send(raw.ack(0x40, got.pid))
        elif got.qos == 2:
            self.send(raw.ack(0x50, got.pid))
            assert self.answer(reading.PUBREL, got.pid).code == 0
            self.send(raw.ack(0x70, got.pid))
        return got

    def unread(self) -> Got:
        """Return the next message, without acknowledging it."""
        return self._kept.pop(0) if self._kept else self.expect(reading.PUBLISH)

    def messages(self) -> list[Got]:
        """Return the messages that are there after a ping, acknowledged."""
        self.ping()
        got = []
        while self._kept:
            got.append(self.message())
        if any(one.qos for one in got):
            self.ping()
            assert not self._kept
        return got

    def payloads(self) -> list[bytes]:
        """Return the payloads of the messages that are there after a ping, acknowledged."""
        return [got.payload for got in self.messages()]

    def nothing(self, seconds: float = 0.1) -> None:
        """Fail when anything comes within the time."""
        try:
            got = self.next(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"there came {got}")

    def closed(self) -> int | None:
        """Wait until the server has closed; return what DISCONNECT or CONNACK said, or None."""
        said = None
        while True:
            try:
                got = self.next()
            except Closed:
                return said
            assert said is None, "nothing comes after DISCONNECT [MQTT-3.14.4-1]"
            if got.kind in {reading.DISCONNECT, reading.CONNACK}:
                said = got.code

    def disconnect(self, reason: int = 0, props: bytes = b"") -> None:
        """Send DISCONNECT and wait for the server to close."""
        if self.version == 5 and (reason or props):
            self.send(raw.packet(0xE0, bytes([reason]), raw.properties(props)))
        else:
            self.send(raw.DISCONNECT)
        self.closed()
        self._socket.close()
