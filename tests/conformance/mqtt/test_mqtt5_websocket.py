"""MQTT 5.0 chapter 6: MQTT over WebSocket, with frames made by hand."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading
from tests.conformance.mqtt.client import Client
from tests.conformance.mqtt.websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WebSocket,
    frame,
)


@pytest.fixture
def web(target):
    made = []

    def make(protocols: str = "mqtt") -> WebSocket:
        made.append(WebSocket(target.websocket, protocols))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hello(target):
    user = raw.string("conformance") + raw.string(target.token)
    return raw.connect("", flags=0xC2, payload=user)


@clause("MQTT-6.0.0-1", "MQTT-4.2-1")
def test_packets_come_and_go_in_binary_frames(web, hello):
    socket_ = web()
    socket_.send(frame(hello))
    assert socket_.frame()[0] == BINARY
    socket_.send(frame(b"x", PING))
    assert socket_.frame() == (PONG, b"x")
    socket_.send(frame(raw.PINGREQ))
    assert socket_.frame() == (BINARY, b"\xd0\0")


@clause("MQTT-6.0.0-1")
@pytest.mark.parametrize("accepted", [False, True])
def test_a_text_frame_ends_the_connection(web, hello, accepted):
    socket_ = web()
    if accepted:
        socket_.send(frame(hello))
        assert socket_.frame()[0] == BINARY
    socket_.send(frame(b"\xc0\0", TEXT))
    assert socket_.closed()


@clause("MQTT-6.0.0-2")
def test_frames_are_not_packets(target, topic):
    socket_ = WebSocket(target.websocket)
    client = Client(socket_, target.token)
    packets = [raw.subscribe((topic, 0), pid=1), raw.publish(topic, b"split"), raw.PINGREQ]
    data = client.connect_bytes() + b"".join(packets)
    pieces = [data[at : at + 3] for at in range(0, len(data) - 12, 3)]
    rest = data[3 * len(pieces) :]
    socket_.send(*map(frame, pieces), frame(rest[:4], final=False), frame(rest[4:], CONTINUATION))
    kinds = [client.next().kind for _ in range(4)]
    assert kinds[0] == reading.CONNACK
    assert set(kinds[1:]) == {reading.SUBACK, reading.PUBLISH, reading.PINGRESP}
    socket_.send(frame(raw.PINGREQ * 3))
    assert [client.next().kind for _ in range(3)] == [reading.PINGRESP] * 3
    client.cut()


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
