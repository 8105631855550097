"""A hostile client in a process of its own: ``python -m tests.site.attacker NAME URL SECONDS``.

It presents the token in ``ATTACKER_TOKEN``, if any. Each attack once made everybody else wait.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from urllib.parse import urlsplit

from wsproto.events import TextMessage

from tests.adapters import sockets
from tests.site.wire import Place

TOKEN = os.environ.get("ATTACKER_TOKEN", "")
HEAD = b"Host: localhost\r\n"
if TOKEN:
    HEAD += f"Authorization: Bearer {TOKEN}\r\n".encode()


def tiny_chunks() -> Iterator[bytes]:
    yield b"POST /x HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\nx\r\n" * 20_000


def tiny_requests() -> Iterator[bytes]:
    while True:
        yield b"GET /x HTTP/1.1\r\nHost:localhost\r\n\r\n" * 4_000


def tiny_fields() -> Iterator[bytes]:
    yield b"GET /x HTTP/1.1\r\n" + HEAD
    while True:
        yield b"a:b\r\n" * 20_000


def strange_names() -> Iterator[bytes]:
    while True:
        segments = (f"%{random.randrange(97, 123):02x}" * 80 for _ in range(12))
        yield b"GET /%b HTTP/1.1\r\n%b\r\n" % ("/".join(segments).encode(), HEAD) * 20


def strange_hosts() -> Iterator[bytes]:
    while True:
        yield b"GET /x HTTP/1.1\r\nHost: localhost:%d%b\r\n\r\n" % (
            random.getrandbits(64),
            b"0" * 30_000,
        )


def spelled_tokens() -> Iterator[bytes]:
    while True:
        for number in range(30_000):
            spaces = b" " * number
            yield b"GET /x HTTP/1.1\r\n" + HEAD.removesuffix(b"\r\n") + spaces + b"\r\n\r\n"


def large_documents() -> Iterator[bytes]:
    objects = [
        {"name": f"evil/{i}", "channels": {str(j): {} for j in range(200)}} for i in range(200)
    ]
    manifest = {"apiVersion": "hilum/v1", "microservice": "Evil", "version": "1"}
    documents = [
        b'{"a":1,' * 100_000,
        b"[" + b"1," * 400_000 + b"1]",
        b"{" + b",".join(b'"k%d":1' % i for i in range(60_000)) + b"}",
        json.dumps({**manifest, "objects": objects}).encode(),
        json.dumps({**manifest, "objects": objects[:45]}).encode(),
    ]
    start = b"POST /$site/registry/register HTTP/1.1\r\n" + HEAD
    while True:
        for document in documents:
            yield start + b"Content-Length: %d\r\n\r\n%b" % (len(document), document)


async def send(url: str, parts: Callable[[], Iterator[bytes]], *, reads: bool) -> None:
    """Send as fast as it is taken; connect anew whenever that ends."""
    netloc = urlsplit(url)
    while True:
        reader, writer = await asyncio.open_connection(netloc.hostname, netloc.port)
        reading = asyncio.create_task(swallow(reader)) if reads else None
        await flood(writer, parts())
        if reading is not None:
            reading.cancel()
        writer.close()


async def flood(writer: asyncio.StreamWriter, parts: Iterator[bytes]) -> None:
    with contextlib.suppress(OSError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
            if writer.is_closing():
                break


async def swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


async def deaf_socket(url: str, text: str, *, finished: bool) -> None:
    """Say the same over and over on a WebSocket, and read nothing."""
    while True:
        client = await sockets.Client.open(Place(url, TOKEN), TOKEN)
        client.writer.transport.pause_reading()
        message = TextMessage(text, message_finished=finished)
        client.writer.write(client.connection.send(message))
        # The next ones differ where this one is not finished: only the first names its kind.
        again = b"".join(client.connection.send(message) for _ in range(100))
        await flood(client.writer, repeat(again))
        client.gone()


ASKED = json.dumps({"op": "get", "id": 1, "name": "nothing/" + "x" * 500})
ATTACKS = {
    "tiny-chunks": (50, lambda url: send(url, tiny_chunks, reads=True)),
    "tiny-requests": (20, lambda url: send(url, tiny_requests, reads=True)),
    "tiny-fields": (50, lambda url: send(url, tiny_fields, reads=True)),
    "strange-names": (8, lambda url: send(url, strange_names, reads=True)),
    "strange-hosts": (4, lambda url: send(url, strange_hosts, reads=True)),
    "spelled-tokens": (4, lambda url: send(url, spelled_tokens, reads=True)),
    "large-documents": (8, lambda url: send(url, large_documents, reads=True)),
    "unread-answers": (50, lambda url: send(url, tiny_requests, reads=False)),
    "deaf-sockets": (100, lambda url: deaf_socket(url, ASKED, finished=True)),
    "tiny-frames": (50, lambda url: deaf_socket(url, "x", finished=False)),
}


async def attack(name: str, url: str, seconds: float) -> None:
    count, start = ATTACKS[name]
    tasks = [asyncio.create_task(start(url)) for _ in range(count)]
    print("attacking", flush=True)
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    os._exit(0)
