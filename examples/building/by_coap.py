"""A device that speaks CoAP under OSCORE, with nothing but aiocoap."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from aiocoap import POST, Context, Message
from aiocoap.oscore import FilesystemSecurityContext

JSON = 50


class CoapDevice:
    """One security context and one socket; ``folder`` holds the context's keys."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._secret: FilesystemSecurityContext | None = None
        self._context: Context | None = None

    async def __aenter__(self) -> "CoapDevice":
        self._context = await Context.create_client_context(transports=["oscore", "simple6"])
        self._secret = FilesystemSecurityContext(str(self._folder))
        self._context.client_credentials[f"{self._url}/*"] = self._secret
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        assert self._context is not None
        self._context.client_credentials.clear()
        await self._context.shutdown()
        if self._secret is not None:
            self._secret._destroy()  # noqa: SLF001 (it writes the sequence numbers)

    async def call(self, name: str, document: object) -> Any:
        """Call a method of the site; raises RuntimeError with what it answered."""
        assert self._context is not None
        payload = json.dumps(document).encode()
        uri = f"{self._url}/{name}"
        asked = Message(code=POST, uri=uri, payload=payload, content_format=JSON)
        answer = await self._context.request(asked).response
        if not answer.code.is_successful():
            raise RuntimeError(f"{name}: {answer.code} {answer.payload[:200]!r}")
        return json.loads(answer.payload or b"null")

    async def publish(self, channel: str, value: object) -> None:
        """Publish a measurement."""
        await self.call(channel, value)
