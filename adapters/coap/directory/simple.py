"""Fetches the links of a device that registers simply (RFC 9176 section 5.1)."""

import asyncio
from typing import Final

from adapters.coap.upstream.blocks import Fetch
from adapters.coap.upstream.line import Request
from adapters.coap.upstream.pool import Unreachable, open_line
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import GET, Message, code_of, code_text
from adapters.coap.wire.formats import LINKS
from adapters.coap.wire.options import uint, uint_value
from gateway.egress import Egress, Origin
from registry.link_format import MAX_BYTES

SECONDS: Final = 10.0
CONTENT: Final = code_of("2.05")
REQUEST: Final = Request(
    GET,
    [(o.URI_PATH, b".well-known"), (o.URI_PATH, b"core"), (o.ACCEPT, uint_value(LINKS))],
)


class LinkFetcher:
    """Asks devices for ``/.well-known/core``, where the egress rules let it."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def fetch(self, host: str, port: int) -> bytes:
        """Return a device's links; raises OSError with a text for people."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def done(message: Message) -> None:
            if not future.done():
                future.set_result(message)

        def lost(why: str, _written: bool) -> None:
            if not future.done():
                future.set_exception(OSError(why))

        try:
            line = await open_line(self._egress, Origin("coap", host, port, host))
        except Unreachable as error:
            raise OSError(str(error)) from error
        fetch = Fetch(line, REQUEST, MAX_BYTES, done, lost)
        try:
            async with asyncio.timeout(SECONDS):
                fetch.begin()
                message = await future
        except TimeoutError:
            raise OSError("no answer in time") from None
        finally:
            line.close()
        kind = message.value(o.CONTENT_FORMAT)
        if message.code != CONTENT or (kind is not None and uint(kind) != LINKS):
            raise OSError(f"/.well-known/core answered {code_text(message.code)}, not links")
        return message.payload
