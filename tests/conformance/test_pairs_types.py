"""A content type that one protocol takes and another cannot carry harms nobody."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import pytest

from gateway.message import Status, portable_type
from tests.adapters.wire import connected
from tests.conformance.pairs.model import Place
from tests.conformance.pairs.mqtt import V5, MqttClient

OBJECT = {"name": "Types", "channels": {"ring": {}}}


@contextlib.asynccontextmanager
async def subscriber(site, key):
    client = MqttClient(Place(0, urlsplit(site.mqtt).port, 0, site.token), key, version=V5)
    await client.open()
    try:
        assert (await client.subscribe("Types/ring")).means(Status.OK)
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        (b"text/x; a=" + b"\xe9" * 50_000, "application/octet-stream"),
        (b"text/x; a=" + b"e" * 50_000, "application/octet-stream"),
        (b"text/x; a=\xe9", "application/octet-stream"),
        (b"text/x; a=e", "text/x; a=e"),
    ],
    ids=["not ASCII and long", "long", "not ASCII", "ordinary"],
)
async def test_a_publisher_over_http_does_not_end_subscriptions_over_mqtt(
    running_site, told, heard
):
    objects = {"microservice": "Types", "instance": "a", "objects": [OBJECT]}
    await asyncio.to_thread(running_site.register, objects)
    async with subscriber(running_site, "types") as client:
        for payload in (b"1", b"2"):
            async with connected(urlsplit(running_site.url).port) as http:
                http.send(b"POST /Types/ring HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n")
                http.send(b"Authorization: Bearer %b\r\n" % running_site.token.encode())
                answer = await http.ask(b"Content-Type: %b\r\n\r\n%b" % (told, payload))
                assert answer.code == 200
            received = await client.next()
            assert (received.payload, received.content_type) == (payload, heard)


def test_a_type_is_portable_or_not_told():
    assert portable_type(b"text/plain; charset=utf-8") == b"text/plain; charset=utf-8"
    assert portable_type(b"") == portable_type(b"\xff") == portable_type(b"a/" + b"b" * 511) == b""
