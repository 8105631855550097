"""A site with an HTTP listener on real sockets, for tests of the relay."""

import asyncio
import contextlib
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from unittest.mock import patch

from adapters.http.serving.listener import Listener, Takeovers
from adapters.http.upstream.provider import HttpProvider
from adapters.store.changelog import open_store
from gateway import farewell
from gateway.egress import Egress
from gateway.objects.local import LocalProvider
from gateway.settings import Limits, Upstream
from gateway.site import Clocks, Identity, Site
from policy.identity.tokens import new_token
from policy.language import ManifestDoc, to_record
from policy.model import AccessPolicy, Action, Policy, Subject
from registry.changes import Change, PolicyApplied, Registered, TokenIssued
from registry.model import Endpoint, Method, Registration, RegistrationId, VirtualObject

AUTHORITY = "snac.asu.edu"
SITE_KEY = b"k" * 32
LIMITS = Limits()
UPSTREAM = Upstream()
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def no_takeover(*_: object) -> None:
    """Tests of the relay open neither event streams nor WebSockets."""
    raise AssertionError


class Relay:
    """What a test needs of a running site."""

    def __init__(self, site: Site, listener: Listener, http: HttpProvider, egress: Egress) -> None:
        self.troubles: list[str] = []
        """What went wrong without anybody noticing: callbacks and tasks that raised."""
        self.site = site
        self.listener = listener
        self.http = http
        self.egress = egress
        self.port = 0
        self.token = ""
        self._generation = 0

    async def change(self, *changes: Change) -> None:
        await self.site.ledger.change("site:test", lambda _: changes)

    async def policy(self, name: str, spec: Policy) -> None:
        document = ManifestDoc(type(spec).__name__, name, {}, 0, spec)
        await self.change(PolicyApplied(to_record(document, owner="site:test", revision=1)))

    async def welcome(self) -> None:
        """Let everybody do everything, as a new principal."""
        everything = AccessPolicy("allow", (Subject(),), tuple(Action), ("**",))
        await self.policy("everything", everything)
        self.token = await self.issue("site:phone")

    async def issue(self, principal: str, kind: str = "service", lifetime: int = 3600) -> str:
        secret, record = new_token(
            random_bytes, principal=principal, kind=kind, now=time.time(), lifetime=lifetime
        )
        await self.change(TokenIssued(record))
        return secret

    async def method(
        self,
        name: str,
        *urls: str,
        peer: str = "127.0.0.1",
        instance: str = "a",
        version: str = "1.0.0",
        endpoints: Iterable[Endpoint] = (),
        authority: str = AUTHORITY,
        **traits: bool | int,
    ) -> None:
        """Register ``Object/method`` with endpoints at ``urls``."""
        obj, member = name.split("/")
        self._generation += 1
        method = Method(endpoints=(*map(Endpoint, urls), *endpoints), **traits)
        virtual = VirtualObject(f"{authority}/{obj}", methods={member: method})
        await self.change(
            Registered(
                Registration(
                    RegistrationId(obj, version, instance),
                    "site:service",
                    peer,
                    60,
                    self._generation,
                    (virtual,),
                )
            )
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, data: bytes, *, until: bytes = b"", within: float = 5.0) -> bytes:
        """Send bytes on a new connection; return what comes until ``until`` or the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(within):
                return await _read(reader, until)
        finally:
            writer.close()

    def request(
        self, target: str, body: bytes = b"", *lines: str, verb: str = "POST", close: bool = True
    ) -> bytes:
        head = [f"{verb} {target} HTTP/1.1", "Host: localhost", *lines]
        if body or verb in ("POST", "PUT"):
            head.append(f"Content-Length: {len(body)}")
        if self.token and not any(line.lower().startswith("authorization") for line in lines):
            head.append(f"Authorization: Bearer {self.token}")
        if close:
            head.append("Connection: close")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    async def ask(
        self, target: str, body: bytes = b"", *lines: str, verb: str = "POST"
    ) -> tuple[int, bytes, bytes]:
        """Return status, head and body of one request on its own connection."""
        answer = await self.raw(self.request(target, body, *lines, verb=verb))
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head, rest


def random_bytes(count: int) -> bytes:
    import os

    return os.urandom(count)


async def _read(reader: asyncio.StreamReader, until: bytes) -> bytes:
    data = b""
    while not until or until not in data:
        with contextlib.suppress(ConnectionResetError):
            more = await reader.read(65536)
            if more:
                data += more
                continue
        break
    return data


@contextlib.asynccontextmanager
async def running_relay(
    folder: Path,
    limits: Limits = LIMITS,
    upstream: Upstream = UPSTREAM,
    *,
    allow: Iterable[str] = (),
    tls: ssl.SSLContext | None = None,
    credentials: Mapping[str, bytes] | None = None,
    authority: str = AUTHORITY,
) -> AsyncIterator[Relay]:
    """Run a site whose test principal may do everything; fails if a callback or task raised."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    store = await open_store(folder / "changes.db")
    local = LocalProvider(limits.message)
    site = Site(Identity(authority), store, local, Clocks(loop.time, time.time))
    egress = Egress(allow)
    http = HttpProvider(
        site.plane, egress, SITE_KEY, time.time, upstream, credentials, limits.message
    )
    site.plane.providers["http"] = http
    listener = Listener(site, limits, Takeovers(no_takeover, no_takeover), loop.time)
    relay = Relay(site, listener, http, egress)
    loop.set_exception_handler(lambda _, context: relay.troubles.append(_trouble(context)))
    await site.start()
    relay.port = await listener.listen("127.0.0.1", 0, tls)
    egress.own(relay.port)
    await relay.welcome()
    sweeping = loop.create_task(_sweep(site, http, loop))
    try:
        yield relay
    finally:
        sweeping.cancel()
        with patch.object(farewell, "SECONDS", 0.0):  # nobody connects any more
            await listener.drain(0.2)
        http.close()
        await site.stop()
        await store.close()
        await asyncio.sleep(0)
    assert not relay.troubles, relay.troubles[0]


def _trouble(context: dict[str, object]) -> str:
    error = context.get("exception")
    if not isinstance(error, BaseException):
        return str(context["message"])
    return f"{context['message']}: " + "".join(traceback.format_exception(error))


async def _sweep(site: Site, http: HttpProvider, loop: asyncio.AbstractEventLoop) -> None:
    while True:
        await asyncio.sleep(0.05)
        site.plane.sweep(loop.time())
        http.sweep(loop.time())


@contextlib.asynccontextmanager
async def service(talk: Talk) -> AsyncIterator[str]:
    """Serve raw TCP with ``talk``; yields the base URL. Broken connections end it in peace."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # asyncio's streams would report a cancelled task as a fault
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request as a naive service would; returns head and body (b"" at the end)."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b"", b""
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return head, body
    if b"content-length:" not in lowered:
        return head, b""
    length = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def echo(seen: list[tuple[bytes, bytes]] | None = None) -> Talk:
    """A service that answers every request with its own body, keeping connections alive."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            if not head:
                break
            if seen is not None:
                seen.append((head, body))
            fields = b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\n" + fields + body)

    return talk
