"""CoAP: aiocoap as caller, publisher and observer, and its server as the endpoint.

Without a security context a client is anonymous; with one (OSCORE) it is whose that is.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiocoap
from aiocoap import resource
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.optiontypes import OpaqueOption
from aiocoap.oscore import FilesystemSecurityContext

from gateway.message import Status
from tests.conformance.pairs.model import WITHIN, Answering, Asked, Outcome, Place, Received
from tests.support import free_port

FORMATS = {
    "text/plain;charset=utf-8": 0,
    "text/plain": 0,
    "application/octet-stream": 42,
    "application/json": 50,
    "application/cbor": 60,
    "application/concise-problem-details+cbor": 257,
}
_TYPES = {number: text for text, number in FORMATS.items()}
_CODES = {f"{code >> 5}.{code & 31:02}": code for code in Code}
ORIGIN = OptionNumber(65_000)
"""Hilum's own option: the provider made this error, not the gateway."""
TRACEPARENT = OptionNumber(65_020)
"""Hilum's own option, too: a traceparent as bytes."""


class CoapClient:
    """Calls and publishes with POST, reads with GET, subscribes by observing."""

    protocol = "coap"

    def __init__(self, place: Place, key: str, *, lasting: bool = False) -> None:
        self._base = f"coap://127.0.0.1:{place.coap}"
        self._secret = place.context
        self.refused = Status.UNAUTHENTICATED if self._secret is None else Status.DENIED
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._observing: asyncio.Task[None] | None = None
        self._name = ""

    async def open(self) -> None:
        transports = ["udp6"] if self._secret is None else ["oscore", "udp6"]
        self._context = await aiocoap.Context.create_client_context(transports=transports)
        if self._secret is not None:
            self._context.client_credentials[f"{self._base}/*"] = self._secret

    async def close(self) -> None:
        await self.leave()
        await self._context.shutdown()

    async def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "",
        *,
        within: float = 0.0,
        trace: str = "",
    ) -> Outcome:
        return await self._ask(Code.POST, name, payload, content_type, trace=trace)

    async def calls(self, name: str, payloads: Sequence[bytes]) -> list[Outcome]:
        """Non-confirmable, because aiocoap sends one confirmable message at a time (NSTART)."""
        more = {"transport_tuning": aiocoap.Unreliable}
        asked = (self._ask(Code.POST, name, one, **more) for one in payloads)
        return await asyncio.gather(*asked)

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        return await self._ask(Code.POST, name, payload, content_type)

    async def last(self, name: str) -> Outcome | None:
        return await self._ask(Code.GET, name)

    async def subscribe(self, name: str, group: str = "", *, attributes: bool = False) -> Outcome:
        self._name = name
        query = f"?group={group}" if group else ""
        more = {"code": Code.GET, "uri": f"{self._base}/{name}{query}", "observe": 0}
        request, response = await self._send(**more)
        if response.opt.observe is None:
            return _outcome(response)
        self._observing = asyncio.create_task(self._observe(request))
        return _outcome(response)

    async def next(self, within: float = WITHIN) -> Received:
        return await asyncio.wait_for(self._events.get(), within)

    async def leave(self) -> None:
        if self._observing is not None:
            self._observing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._observing
            self._observing = None

    async def vanish(self) -> None:
        await self.close()

    async def resume(self) -> None:
        """Observe again: what was missed is lost (RFC 7641 promises the state, not each event)."""
        await self.open()
        assert (await self.subscribe(self._name)).means(Status.OK)

    def sleep(self) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        raise NotImplementedError

    async def _observe(self, request: Any) -> None:
        async for response in request.observation:
            if not response.code.is_successful():
                self._events.put_nowait(Received(b"", end=_outcome(response)))
                return
            kind = _TYPES.get(response.opt.content_format, "")
            self._events.put_nowait(Received(response.payload, kind))

    async def _ask(
        self, code: Code, name: str, payload: bytes = b"", content_type: str = "", **more: Any
    ) -> Outcome:
        if content_type:
            more["content_format"] = FORMATS[content_type]
        more |= {"code": code, "uri": f"{self._base}/{name}", "payload": payload}
        return _outcome((await self._send(**more))[1])

    async def _send(self, trace: str = "", **what: Any) -> tuple[Any, Any]:
        """Send a request, and once more with the Echo that is asked for (RFC 9175 section 2.3)."""
        request = self._context.request(_message(trace, **what))
        response = await asyncio.wait_for(request.response, WITHIN)
        if response.code == Code.UNAUTHORIZED and response.opt.echo:
            request = self._context.request(_message(trace, **what, echo=response.opt.echo))
            response = await asyncio.wait_for(request.response, WITHIN)
        return request, response


def _message(trace: str, **what: Any) -> Any:
    message = aiocoap.Message(**what)
    if trace:
        value = bytes.fromhex(trace.replace("-", ""))
        message.opt.add_option(OpaqueOption(TRACEPARENT, value))
    return message


def _trace_of(request: Any) -> str:
    """Return what a request says of its trace, as a traceparent."""
    for option in request.opt.get_option(TRACEPARENT) or ():
        text = option.value.hex()
        return "-".join((text[:2], text[2:34], text[34:50], text[50:]))
    return ""


def security_context(server: Path, client: Path, principal: str) -> FilesystemSecurityContext:
    """Make both sides of a security context; return the client's."""
    secret = {"secret_hex": secrets.token_hex(16), "salt_hex": "9e7c"}
    for folder, own, other in ((server, "01", "02"), (client, "02", "01")):
        folder.mkdir(parents=True)
        ids = {"sender-id_hex": own, "recipient-id_hex": other, "algorithm": "AES-CCM-16-64-128"}
        (folder / "settings.json").write_text(json.dumps(ids))
        (folder / "secret.json").write_text(json.dumps(secret))
    said = {"principal": principal, "kind": "device"}
    (server / "principal.json").write_text(json.dumps(said))
    return FilesystemSecurityContext(str(client))


class CoapEndpoint(resource.Site):
    """A service with a CoAP server of its own."""

    def __init__(self, place: Place, key: str, answer: Answering) -> None:
        super().__init__()
        self._answer = answer
        self._port = free_port()
        self._context: aiocoap.Context | None = None

    def endpoint(self, method: str) -> str:
        return f"coap://127.0.0.1:{self._port}/{method}"

    async def open(self, names: Mapping[str, str]) -> None:
        for method in names:
            self.add_resource([unquote(method)], _Method(method, self._answer))
        bind = ("127.0.0.1", self._port)
        self._context = await aiocoap.Context.create_server_context(self, bind, transports=["udp6"])

    async def vanish(self) -> None:
        assert self._context is not None
        await self._context.shutdown()
        self._context = None

    async def close(self) -> None:
        if self._context is not None:
            await self.vanish()


class _Method(resource.Resource):
    """One method of the service."""

    def __init__(self, method: str, answer: Answering) -> None:
        super().__init__()
        self._method = method
        self._answer = answer

    async def render_post(self, request: Any) -> Any:
        """Answer a call."""
        kind = _TYPES.get(request.opt.content_format, "")
        asked = Asked(request.payload, kind, trace=_trace_of(request))
        status, payload, kind = await self._answer(self._method, asked)
        code = Code.CHANGED if status is Status.OK else _CODES[status.wire.coap]
        answer = aiocoap.Message(code=code, payload=payload)
        if kind:
            answer.opt.content_format = FORMATS[kind]
        return answer


def _outcome(response: Any) -> Outcome:
    kind = _TYPES.get(response.opt.content_format, "")
    code = int(response.code)
    origin = "provider" if response.opt.get_option(ORIGIN) else "gateway"
    return Outcome("coap", f"{code >> 5}.{code & 31:02}", "", response.payload, kind, origin)
