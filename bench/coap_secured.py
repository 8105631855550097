"""Requests under OSCORE (RFC 8613): protected beforehand by aiocoap, sent like any others."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import aiocoap
from aiocoap.oscore import FilesystemSecurityContext

from bench.coap_load import CON, GET, POST, Client, Request, option

PRINCIPAL = "device:bench"
KIND = "device"
_OSCORE = 9
_CHANGED = 0x44


def make_context(site: Path, client: Path) -> None:
    """Write both sides of a security context."""
    secret = json.dumps({"secret_hex": secrets.token_hex(16), "salt_hex": secrets.token_hex(8)})
    for folder, sender, recipient in ((site, "00", "01"), (client, "01", "00")):
        folder.mkdir(parents=True)
        ids = {"sender-id_hex": sender, "recipient-id_hex": recipient}
        settings = {**ids, "algorithm": "AES-CCM-16-64-128"}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "secret.json").write_text(secret)
    (site / "principal.json").write_text(json.dumps({"principal": PRINCIPAL, "kind": KIND}))


class Secured:
    """One side of a security context: protects requests for one name."""

    def __init__(self, folder: Path, port: int, name: str) -> None:
        self._context = FilesystemSecurityContext(str(folder), 1_000_000)
        self._uri = f"coap://127.0.0.1:{port}/{name}"
        # A restarted site asks whether the first request is fresh, which aiocoap answers.
        asyncio.run(self._ask())

    def requests(self, count: int) -> Iterator[bytes]:
        """Yield what follows the tokens of so many requests, in the order they have to go in."""
        made = []
        for _ in range(count):
            message, _ = self._context.protect(aiocoap.Message(code=GET, uri=self._uri))
            value = message.opt.oscore
            made.append(option(_OSCORE, value) + b"\xff" + message.payload)
        return iter(made)

    def close(self) -> None:
        """Give the context back to the disk."""
        self._context._destroy()  # noqa: SLF001 - only its destructor does that

    async def _ask(self) -> None:
        client = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
        client.client_credentials[self._uri.rpartition("/")[0] + "/*"] = self._context
        client.client_credentials[self._uri] = self._context
        answer = await client.request(aiocoap.Message(code=GET, uri=self._uri)).response
        if not answer.code.is_successful():
            raise RuntimeError(f"a protected request was answered by {answer.code}")
        client.client_credentials.clear()
        await client.shutdown()


class SecuredClient(Client):
    """A client whose requests are protected; ``requests`` is shared with the other ones."""

    def __init__(self, port: int, requests: Iterator[bytes], most: int) -> None:
        super().__init__(port, Request(POST, "", expected=_CHANGED), CON)
        self.most = most
        head = bytes((0x42 | CON << 4, POST))
        self._make = lambda number: head + number.to_bytes(2, "big") * 2 + next(requests)
        self._first = self._make
