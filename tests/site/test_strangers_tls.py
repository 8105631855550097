"""Strangers where there is TLS and DTLS: who is nobody gets nothing, who is slow no place."""

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
from importlib.util import find_spec
from unittest import mock
from urllib.parse import urlsplit

import pytest

from tests.running import Gateway, hilum
from tests.site.test_strangers import PATIENCE, PLAN, drip
from tests.support import require_dtls

TLS = """
tls_certificate = "{0}/listener.pem"
tls_key = "{0}/listener.key"
"""
CONFIG = """
[http]
{tls}
[control]
{tls}
[mqtt]
connect_seconds = 1.0
websocket_port = 0
{tls}
[coap]
tls_port = 0
{dtls}
{tls}
[limits]
head_seconds = 1.0
idle_seconds = 2.0
connections = 50
"""
DTLS = "dtls_port = 0" if find_spec("mbedtls") else ""
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20)
"""The beginning of a ClientHello, the rest of which never comes."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secured")
    state = str(folder / "state")
    assert hilum("ca", "init", "--state", state).returncode == 0
    hosts = ("--host", "localhost", "--host", "127.0.0.1")
    made = hilum("ca", "issue", *hosts, "--state", state, "--out", f"{folder}/listener")
    assert made.returncode == 0, made.stderr
    config = CONFIG.format(tls=TLS.format(folder), dtls=DTLS)
    authority = folder / "state/ca/ca.pem"
    with (
        mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(authority)}),
        Gateway(folder, config=config) as running,
    ):
        running.register(PLAN)
        running.authority = authority
        yield running


def address(site: Gateway, listener: str) -> tuple[str, int]:
    parts = urlsplit(site.ready[listener])
    return str(parts.hostname), int(parts.port or 0)


def said(site: Gateway, listener: str, data: bytes, protocol: str) -> bytes:
    """Return what a listener says to a client over TLS until it closes, or says nothing more."""
    context = ssl.create_default_context(cafile=site.authority)
    context.set_alpn_protocols([protocol])
    heard = b""
    with (
        socket.create_connection(address(site, listener), 5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as client,
    ):
        client.sendall(data)
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while part := client.recv(4096):
                heard += part
    return heard


STRANGERS = {
    "http": (b"GET /plan/goal HTTP/1.1\r\nHost: localhost\r\n\r\n", "http/1.1", b"HTTP/1.1 401"),
    "control": (
        b"GET /api/v1/policies HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "http/1.1",
        b"HTTP/1.1 401",
    ),
    "mqtt": (b"\x10\x0e\0\4MQTT\x05\x02\0\x3c\0\0\1x", "mqtt", b"\x87"),
    "coap_tls": (b"\x00\xe1\xa1\x01\x42\xb4plan\x04goal", "coap", b"\x81\x42"),
}


@pytest.mark.parametrize("listener", STRANGERS)
def test_who_is_nobody_gets_nothing(site, listener):
    data, protocol, refusal = STRANGERS[listener]
    assert refusal in said(site, listener, data, protocol)


@pytest.mark.parametrize("listener", [*STRANGERS, "mqtt_websocket"])
def test_who_speaks_without_tls_learns_nothing(site, listener):
    with socket.create_connection(address(site, listener), 5) as client:
        client.sendall(STRANGERS.get(listener, STRANGERS["http"])[0])
        client.settimeout(5)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(4096):
                heard += part
    assert heard[:1] in (b"", b"\x15"), "a TLS alert at most"


SLOW = {"silent": b"", "half a hello": HELLO}


async def test_handshakes_that_are_never_finished_are_left(site):
    """All listeners at once; beside them, calls are answered."""
    listeners = [*STRANGERS, "mqtt_websocket"]
    cases = [(listener, how) for listener in listeners for how in SLOW]
    drips = [drip(site.ready[listener], SLOW[how]) for listener, how in cases]
    lasted = dict(zip(cases, await asyncio.gather(*drips), strict=True))
    assert {case for case, seconds in lasted.items() if seconds >= PATIENCE} == set(), lasted


def files(site: Gateway) -> int:
    assert site.process is not None
    return len(os.listdir(f"/proc/{site.process.pid}/fd"))


async def test_a_flood_of_handshakes_that_do_not_begin_holds_up_nobody(site):
    """They are not counted as connections; each is given up after ``head_seconds``."""
    before = files(site)
    where = address(site, "http")
    clients = [await asyncio.open_connection(*where) for _ in range(300)]
    for _ in range(3):
        assert "items" in await asyncio.to_thread(site.ask, "registry/list", {"limit": 1})
    for _ in range(100):
        if (held := files(site)) <= before + 50:
            break
        await asyncio.sleep(0.1)
    assert held <= before + 50
    for _, writer in clients:
        writer.transport.abort()


def record(body: bytes) -> bytes:
    """Return a handshake record of DTLS 1.2 (RFC 6347 section 4.1)."""
    return b"\x16\xfe\xfd" + bytes(8) + struct.pack("!H", len(body)) + body


def client_hello(noise: random.Random) -> bytes:
    """Return a ClientHello without a cookie, for a pre-shared key (RFC 6347 section 4.2.2)."""
    suites = b"\x00\xa8\xc0\xa4"
    body = b"\xfe\xfd" + noise.randbytes(32) + b"\0\0" + b"\0\x04" + suites + b"\x01\0"
    size = len(body).to_bytes(3, "big")
    return record(b"\x01" + size + bytes(2) + bytes(3) + size + body)


def test_datagrams_without_a_handshake_get_no_service(site):
    require_dtls()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.sendto(b"\x40\x01\0\x4d\xb4plan\x04goal", address(site, "coap_dtls"))
        with pytest.raises(TimeoutError):
            client.recv(1500)


def test_a_flood_of_hellos_is_answered_with_cookies_no_longer_than_three_times(site):
    """Nothing is kept of who has not shown that he is there, and nothing is amplified."""
    require_dtls()
    noise = random.Random(11)
    where = address(site, "coap_dtls")
    sent = got = answers = 0
    for _ in range(300):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            hello = client_hello(noise)
            sent += client.sendto(hello, where)
            answer = client.recv(4096)
            assert (answer[0], answer[13]) == (22, 3), "a HelloVerifyRequest"
            got, answers = got + len(answer), answers + 1
    assert answers == 300
    assert got <= 3 * sent
    for _ in range(300):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(record(noise.randbytes(noise.randrange(1, 60))), where)
    assert "items" in site.ask("registry/list", {"limit": 1})
