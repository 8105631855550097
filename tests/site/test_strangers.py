"""Who does not say who he is gets nothing, at any listener, unless an operator lets him in.

And who is slow on purpose holds no place for long (slowloris).
"""

import asyncio
import json
import socket
import struct
import time
from urllib.parse import urlsplit

import pytest

from tests.running import Gateway

PLAN = {
    "microservice": "Plan",
    "instance": "a",
    "objects": [
        {
            "name": "plan",
            "methods": {"goal": {"safe": True, "endpoints": [{"url": "http://127.0.0.1:9/"}]}},
            "channels": {"news": {}},
        }
    ],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site with every listener open and no other setting but its patience."""
    port = free_port()
    config = f"""
[mqtt]
websocket_port = 0
connect_seconds = 1.0

[coap]
tcp = true
websocket_port = {port}

[limits]
head_seconds = 1.0
idle_seconds = 2.0
"""
    with Gateway(tmp_path_factory.mktemp("strangers"), config=config) as running:
        running.coap_websocket = f"ws://127.0.0.1:{port}"
        running.register(PLAN)
        yield running


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.mark.parametrize("path", ["/plan/goal", "/plan/news", "/plan", "/$site/registry/list"])
def test_http(site, path):
    reply = site.http("GET", path, token="")
    if path.endswith("list"):
        assert reply.status in (401, 403)
    else:
        assert reply.status == 401
        assert reply.fields["WWW-Authenticate"].startswith("Bearer")
    assert b"127.0.0.1:9" not in reply.body


@pytest.mark.parametrize("path", ["/api/v1/policies", "/api/v1/tokens", "/api/v1/names"])
def test_the_control_api(site, path):
    reply = site.http("GET", path, token="", control=True)
    assert reply.status in (401, 403)
    assert b"plan" not in reply.body


@pytest.mark.parametrize("op", ["call", "subscribe", "publish", "get", "describe", "provide"])
def test_a_websocket(site, op):
    """It opens, because a browser can only authenticate afterwards; nothing is served on it."""
    request = (
        b"GET /$site/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    name = "plan/goal" if op in ("call", "provide") else "plan/news"
    asked = json.dumps({"op": op, "id": "1", "name": name}).encode()
    with socket.create_connection(address(site.url), 5) as client:
        client.sendall(request + bytes([0x81, 0x80 | len(asked)]) + bytes(4) + asked)
        said = b""
        while not said.rstrip().endswith(b"}"):
            part = client.recv(4096)
            assert part, said
            said += part
    answer = json.loads(said[said.index(b"{") :])
    assert answer["status"] in ("unauthenticated", "denied"), answer


@pytest.mark.parametrize("level", [4, 5])
def test_mqtt(site, level):
    with socket.create_connection(address(site.mqtt), 5) as client:
        properties = b"\0" if level == 5 else b""
        body = b"\0\4MQTT" + bytes([level, 2]) + b"\0\x3c" + properties + b"\0\1x"
        client.sendall(b"\x10" + bytes([len(body)]) + body)
        answer = client.recv(100)
        assert answer[:1] == b"\x20"
        assert answer[3] == (0x87 if level == 5 else 5)
        assert client.recv(100) == b""


def test_coap_datagrams(site):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        path = b"\xb4plan\x04goal"
        client.sendto(struct.pack("!BBH", 0x40, 1, 77) + path, address(site.coap))
        answer = client.recv(1500)
    assert answer[1] == 0x81, "4.01 Unauthorized"


def test_coap_over_tcp(site):
    with socket.create_connection(address(site.coap), 5) as client:
        client.sendall(b"\x00\xe1" + b"\xa1\x01\x42" + b"\xb4plan\x04goal")
        client.settimeout(5)
        said = b""
        while b"\x81\x42" not in said:
            part = client.recv(1500)
            assert part, f"closed after {said!r}"
            said += part


LISTENERS = {
    "http": ("url", b"GET / HTTP/1.1\r\nX:"),
    "http, silent": ("url", b""),
    "control": ("control", b"GET / HTTP/1.1\r\nX:"),
    "mqtt": ("mqtt", b"\x10"),
    "mqtt, silent": ("mqtt", b""),
    "mqtt over websocket": ("mqtt_websocket", b"GET /mqtt HTTP/1.1\r\nX:"),
    "coap over tcp": ("coap", b"\x00"),
    "coap over websocket": ("coap_websocket", b"GET /.well-known/coap HTTP/1.1\r\nX:"),
}
# What is looked at every ten seconds may last nearly twenty, and a moment more on a busy machine.
PATIENCE = 25.0


async def drip(url: str, begin: bytes) -> float:
    """Return how long a client is borne that sends one byte now and then and never gets done."""
    reader, writer = await asyncio.open_connection(*address(url))
    started = time.monotonic()
    writer.write(begin)
    try:
        while time.monotonic() - started < PATIENCE:
            try:
                async with asyncio.timeout(0.2):
                    if not await reader.read(1000):
                        break
            except TimeoutError:
                if begin:
                    writer.write(b"x" if begin.startswith(b"GET") else b"\x80")
    except OSError:
        pass
    writer.close()
    return time.monotonic() - started


async def test_slow_clients_are_left(site):
    """All listeners at once; beside them, calls are answered."""
    drips = [drip(getattr(site, where), begin) for where, begin in LISTENERS.values()]
    lasted = dict(zip(LISTENERS, await asyncio.gather(*drips), strict=True))
    assert {name for name, seconds in lasted.items() if seconds >= PATIENCE} == set(), lasted
