"""MQTT 5.0 chapter 6: MQTT over WebSocket, with frames made by hand."""

import os
import socket

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

BINARY, TEXT, CLOSE, PING, PONG = 2, 1, 8, 9, 10


def frame(payload: bytes, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """A client's frame, masked."""
    mask = os.urandom(4)
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class WebSocket:
    def __init__(self, port: int, protocols: str = "mqtt") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 3)
        offer = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
        self.socket.sendall(
            f"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, self.head
            self.head += byte
        self.payload = b""

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def frame(self) -> tuple[int, bytes]:
        first, second = self.take(2)
        assert second < 0x80, "a server does not mask"
        size = second if second < 126 else int.from_bytes(self.take(2), "big")
        return first & 15, self.take(size)

    def packet(self) -> reading.Got:
        while True:
            got = self.parse()
            if got is not None:
                return got
            opcode, payload = self.frame()
            if opcode == CLOSE:
                raise ConnectionError
            assert opcode in {BINARY, 0}, "MQTT packets are in binary frames"
            self.payload += payload

    def parse(self) -> reading.Got | None:
        length, data = 0, self.payload
        for at, byte in enumerate(data[1:5]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                start, end = at + 2, at + 2 + length
                if end > len(data):
                    return None
                self.payload = data[end:]
                return reading.read(data[0], data[start:end], 5, end)
        return None

    def closed(self) -> bool:
        try:
            while True:
                if self.frame()[0] == CLOSE:
                    return True
        except ConnectionError:
            return True


@pytest.fixture
def web(target):
    made = []

    def make(protocols: str = "mqtt") -> WebSocket:
        made.append(WebSocket(target.websocket, protocols))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


@pytest.fixture
def hello(target):
    user = raw.string("conformance") + raw.string(target.token)
    return raw.connect("", flags=0xC2, payload=user)


@clause("MQTT-6.0.0-1", "MQTT-4.2-1")
def test_packets_come_and_go_in_binary_frames(web, hello):
    socket_ = web()
    socket_.send(frame(hello))
    assert socket_.packet().code == 0
    socket_.send(frame(b"x", PING))
    assert socket_.frame() == (PONG, b"x")
    socket_.send(frame(raw.PINGREQ))
    assert socket_.packet().kind == reading.PINGRESP


@clause("MQTT-6.0.0-1")
@pytest.mark.parametrize("accepted", [False, True])
def test_a_text_frame_ends_the_connection(web, hello, accepted):
    socket_ = web()
    if accepted:
        socket_.send(frame(hello))
        assert socket_.packet().code == 0
    socket_.send(frame(b"\xc0\0", TEXT))
    assert socket_.closed()


@clause("MQTT-6.0.0-2")
def test_frames_are_not_packets(web, hello, topic):
    socket_ = web()
    data = hello + raw.subscribe((topic, 0), pid=1) + raw.publish(topic, b"split") + raw.PINGREQ
    socket_.send(*(frame(data[at : at + 3]) for at in range(0, len(data) - 10, 3)))
    at = len(range(0, len(data) - 10, 3)) * 3
    socket_.send(frame(data[at : at + 4], final=False), frame(data[at + 4 :], 0))
    kinds = [socket_.packet().kind for _ in range(4)]
    assert kinds[0] == reading.CONNACK
    assert set(kinds) == {
        reading.CONNACK,
        reading.SUBACK,
        reading.PUBLISH,
        reading.PINGRESP,
    }
    socket_.send(frame(raw.PINGREQ * 3))
    assert [socket_.packet().kind for _ in range(3)] == [reading.PINGRESP] * 3


@clause("MQTT-6.0.0-3", "MQTT-6.0.0-4")
def test_the_subprotocol_is_mqtt(web):
    for offered in ("mqtt", "chat, mqtt", "mqtt,mqttv3.1"):
        head = web(offered).head.lower()
        assert head.startswith(b"http/1.1 101")
        assert b"sec-websocket-protocol: mqtt\r\n" in head


@clause("MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.parametrize("offered", ["", "chat", "mqttv3.1", "MQTT"])
def test_without_the_subprotocol_there_is_no_mqtt(web, offered):
    assert not web(offered).head.startswith(b"HTTP/1.1 101")
