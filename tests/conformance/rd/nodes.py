"""A site whose anonymous devices may use the resource directory, and a device with resources."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from adapters.coap.wire.codec import ACK, Message, code_of, code_text, decode, encode
from adapters.coap.wire.formats import LINKS
from adapters.coap.wire.options import BLOCK2, CONTENT_FORMAT, ECHO, Options, uint, uint_value
from gateway.settings import Coap
from tests.adapters.coap_site import Device
from tests.adapters.live import LiveSite, live_site

LINK_FORMAT = (CONTENT_FORMAT, uint_value(LINKS))
SENSORS = b'</sensors/temp>;rt="temperature-c";if="core.s";obs,</light>;rt="light";ct=41'
METHODS = ("rd-register", "rd-update", "rd-remove", "rd-endpoints", "rd-resources")


class Node(asyncio.DatagramProtocol):
    """A device: it answers its links, and any other GET with its path."""

    def __init__(self, links: bytes = SENSORS) -> None:
        self.links = links
        self.asked: list[str] = []
        self.transport: Any = None
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: Any) -> None:
        message = decode(data)
        if message.code >> 5:
            return
        path = "/".join(value.decode() for number, value in message.options if number == 11)
        self.asked.append(path)
        core = path == ".well-known/core"
        options: Options = [LINK_FORMAT] if core else []
        body = self.links if core else f"this is {path}".encode()
        answer = Message(ACK, code_of("2.05"), message.message_id, message.token, options, body)
        self.transport.sendto(encode(answer), address)


@contextlib.asynccontextmanager
async def node(links: bytes = SENSORS) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    transport, running = await loop.create_datagram_endpoint(
        lambda: Node(links), local_addr=("127.0.0.1", 0)
    )
    try:
        yield running
    finally:
        transport.close()
        await asyncio.sleep(0)


class Registrant(Device):
    """A client of the directory that shows where it is when it is asked to."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        # One site hears all tests of a module, and a port may come again: its IDs must not.
        self._next = secrets.randbelow(60_000)

    async def rd(self, verb: str, path: str, body: bytes = b"", *options: Any) -> Message:
        code = {"GET": 1, "POST": 2, "PUT": 3, "DELETE": 4}[verb]
        answer = await self.ask(code, path, body, *options)
        echo = answer.value(ECHO)
        if echo is not None:
            answer = await self.ask(code, path, body, *options, (ECHO, echo))
        return await self._whole(code, path, answer)

    async def _whole(self, code: int, path: str, first: Message) -> Message:
        """Fetch the other blocks of an answer."""
        payload, answer = first.payload, first
        while (value := uint(answer.value(BLOCK2) or b"")) & 8:
            block = (BLOCK2, uint_value((value & ~15) + 16 | value & 7))
            answer = await self.ask(code, path, b"", block)
            payload += answer.payload
        return first._replace(payload=payload)

    async def register(self, query: str, links: bytes = SENSORS) -> str:
        """Register, and return the location."""
        answer = await self.rd("POST", f"rd?{query}", links, LINK_FORMAT)
        assert code_text(answer.code) == "2.01", answer
        path = [value.decode() for number, value in answer.options if number == 8]
        return "/".join(path)

    async def lookup(self, kind: str, query: str = "") -> str:
        """Return what a lookup finds, however many blocks it takes."""
        answer = await self.rd("GET", f"rd-lookup/{kind}?{query}")
        assert code_text(answer.code) == "2.05", answer
        assert LINK_FORMAT in answer.options
        return answer.payload.decode()


async def open_directory(site: LiveSite) -> None:
    """Let everybody register and look up."""
    for method in METHODS:
        await site.allow(method, "call", names=f"$site/registry/{method}")
    for number, names in enumerate(("endpoints/**", "sectors/**")):
        await site.allow(f"rd{number}", "register bind describe call subscribe", names=names)


@contextlib.asynccontextmanager
async def directory(state: Path) -> AsyncIterator[LiveSite]:
    coap = Coap(host="127.0.0.1", port=0, anonymous=True)
    async with live_site(state, coap=coap) as site:
        await open_directory(site)
        yield site


def is_live(site: LiveSite, name: str) -> bool:
    """Return whether an endpoint's registration has not ended."""
    registrations = site.application.site.catalog.registrations.values()
    return any(r.live for r in registrations if r.endpoint and r.endpoint.name == name)
