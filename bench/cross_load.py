"""Callers over HTTP and MQTT 5 with one call under way each, and a provider over MQTT 5."""

import socket
import struct

from bench.asking import SILENCE
from bench.mqtt_wire import Client, properties_of, publish, split, text

RESPONSE_TOPIC, CORRELATION_DATA = 0x08, 0x09
_ENDLESS = 1 << 60
_READ = 1 << 16


class HttpCaller:
    """Calls over a connection that is kept."""

    most = _ENDLESS

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        patience = struct.pack("ll", int(SILENCE), 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.number = 0
        self._request = request
        self._rest = b""

    def ask(self) -> None:
        self.socket.sendall(self._request)

    def answered(self) -> bool:
        data = self._rest + self.socket.recv(_READ)
        head = data.find(b"\r\n\r\n")
        at = data.lower().find(b"content-length: ", 0, head)
        length = int(data[at + 16 : data.index(b"\r", at)]) if at > 0 else 0
        if head < 0 or len(data) < head + 4 + length:
            self._rest = data
            return False
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a call was answered by {data!r}")
        self._rest = b""
        self.number += 1
        return True


class MqttCaller:
    """Calls by publishing with a Response Topic, and waits for what comes back."""

    most = _ENDLESS

    def __init__(self, client: Client, name: str, payload: bytes) -> None:
        self.socket = client.socket
        self.number = 0
        asked = bytes((RESPONSE_TOPIC,)) + text("reply") + bytes((CORRELATION_DATA,)) + text("1234")
        self._call = publish(5, name, payload, 0, properties=asked)
        self._rest = b""

    def ask(self) -> None:
        self.socket.sendall(self._call)

    def answered(self) -> bool:
        data = self._rest + self.socket.recv(_READ)
        for at, begin, end in split(data):
            if data[at] != 0x30 or b"\x00\x0chilum-status\x00\x02ok" not in data[begin:end]:
                raise RuntimeError(f"a call was answered by {data!r}")
            self._rest = data[end:]
            self.number += 1
            return True
        self._rest = data
        return False


class MqttProvider:
    """Offers a method, and answers each call with the same payload."""

    def __init__(self, client: Client, name: str, payload: bytes) -> None:
        self.socket = client.socket
        client.subscribe(name, 0)
        self._payload = payload
        self._rest = b""

    def ready(self) -> None:
        data = self._rest + self.socket.recv(_READ)
        answers, done = [], 0
        for at, begin, end in split(data):
            if data[at] != 0x30:
                raise RuntimeError(f"a provider got {data[at:end]!r}")
            topic = 2 + (data[begin] << 8 | data[begin + 1])
            call = properties_of(data, begin + topic)
            correlation = bytes((CORRELATION_DATA,)) + text(call[CORRELATION_DATA])
            reply = call[RESPONSE_TOPIC].decode()
            answers.append(publish(5, reply, self._payload, 0, properties=correlation))
            done = end
        self._rest = data[done:]
        self.socket.sendall(b"".join(answers))
