"""A site with a CoAP listener on real sockets, and a CoAP client that sends what a test says."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

from adapters.coap.serving.listener import CoapListener, CoapSettings
from adapters.coap.wire.codec import ACK, CON, EMPTY, Message, decode, encode
from adapters.coap.wire.options import Options, ordered
from adapters.store import open_event_log, open_store
from gateway.channels import Channels, refuse_subscription
from gateway.message import Origin, Reply, Status
from gateway.objects.channel import ChannelObject
from gateway.objects.describe import DescribeObject
from gateway.objects.local import LocalProvider
from gateway.ports import Answer, Permit, Sink
from gateway.settings import Limits
from gateway.site import Clocks, Identity, Site
from policy.language import ManifestDoc, to_record
from policy.model import AccessPolicy, Action, Policy, Subject
from registry.changes import Change, PolicyApplied, PolicyDeleted, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Registration,
    RegistrationId,
    VirtualObject,
)

AUTHORITY = "snac.asu.edu"
PLAN = "Plan"
METHODS = {
    "make": Method(),
    "show": Method(safe=True, output={"type": "object"}),
    "late": Method(),
    "large": Method(safe=True),
    "b": Method(safe=True),
    "type": Method(safe=True),
    "fail": Method(),
    "checked": Method(input={"type": "object", "required": ["a"]}),
}
CHANNELS = {
    "news": EventChannel(),
    "diary": EventChannel(durable=True),
    "typed": EventChannel(schema={"type": "object", "required": ["a"]}),
}


class Responder:
    """A provider in this process: answers each method in its own way, a turn of the loop later."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, bytes]] = []
        self.peers: set[str] = set()
        self.gate = asyncio.Event()

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        assert end
        call = permit.call
        self.peers.add(call.peer)
        self.calls.append((call.name.rpartition("/")[2], body, call.query))
        asyncio.get_running_loop().call_soon(self._answer, permit, answer, body)
        return Still()

    def _answer(self, permit: Permit, answer: Answer, body: bytes) -> None:
        call = permit.call
        kind = call.content_type or b"application/json"
        member = call.name.rpartition("/")[2]
        if member == "late":
            asyncio.get_running_loop().create_task(self._late(answer, body))
        elif member in ("large", "b"):
            size = int(call.query or b"5000")
            self._reply(answer, bytes(n % 251 for n in range(size)), b"application/octet-stream")
        elif member == "type":
            self._reply(answer, b"x", call.query)
        elif member == "fail":
            code = int(body or b"404")
            head = Reply(Status.OK, Origin.PROVIDER, code, b"text/plain")
            answer.reply(head, b"no such goal", end=True)
        elif call.verb == b"GET":
            self._reply(answer, b'{"asked": "' + call.query + b'"}', b"application/json")
        else:
            self._reply(answer, body, kind)

    async def _late(self, answer: Answer, body: bytes) -> None:
        await self.gate.wait()
        self._reply(answer, body, b"text/plain")

    def _reply(self, answer: Answer, body: bytes, kind: bytes) -> None:
        answer.reply(Reply(Status.OK, Origin.PROVIDER, 200, kind, len(body)), body, end=True)


class Still:
    """An open call that is answered whatever happens."""

    def body(self, data: bytes, end: bool) -> None:
        raise AssertionError

    def cancel(self) -> None:
        pass

    pause = resume = cancel


class CoapSite:
    """What a test needs of a running site."""

    def __init__(self, site: Site, listener: CoapListener, channels: Channels) -> None:
        self.site = site
        self.listener = listener
        self.channels = channels
        self.responder = Responder()
        self.troubles: list[str] = []
        self.port = 0
        self._revision = 0

    async def change(self, *changes: Change) -> None:
        await self.site.ledger.change("site:test", lambda _: changes)

    def applied(self, name: str, spec: Policy) -> Change:
        self._revision += 1
        document = ManifestDoc(type(spec).__name__, name, {}, self._revision - 1, spec)
        return PolicyApplied(to_record(document, owner="site:test", revision=self._revision))

    def rule(
        self,
        name: str,
        effect: str,
        who: Subject,
        actions: tuple[Action, ...],
        names: str = "**",
    ) -> Change:
        return self.applied(name, AccessPolicy(effect, (who,), actions, (names,)))

    async def policy(self, name: str, spec: Policy) -> None:
        await self.change(self.applied(name, spec))

    async def allow(self, name: str, *actions: Action, names: str = "**", who: str = "*") -> None:
        await self.change(self.rule(name, "allow", Subject(who), actions, names))

    async def deny(self, name: str, *actions: Action, names: str = "**") -> None:
        await self.change(self.rule(name, "deny", Subject(), actions, names))

    async def withdraw(self, name: str) -> None:
        await self.change(PolicyDeleted("AccessPolicy", name))

    def registration(self) -> Change:
        methods = {
            name: Method(
                safe=method.safe,
                input=method.input,
                output=method.output,
                endpoints=(Endpoint(f"http://127.0.0.1:9/{name}"),),
            )
            for name, method in METHODS.items()
        }
        plan = VirtualObject(f"{AUTHORITY}/{PLAN}", methods=methods, channels=CHANNELS)
        id_ = RegistrationId("Planner", "1.0.0", "a")
        return Registered(Registration(id_, "site:planner", "127.0.0.1", 60, 1, (plan,)))

    def news(self, member: str = "news") -> object:
        return self.site.view.find(f"{AUTHORITY}/{PLAN}/{member}")

    def publish(self, payload: bytes, member: str = "news", qos: int = 1, kind: str = "") -> object:
        route = self.news(member)
        self.site.plane.now = asyncio.get_running_loop().time()
        return self.channels.append(route, "site:test", kind or "text/plain", payload, qos=qos)


@contextlib.asynccontextmanager
async def running_coap(
    folder: Path,
    settings: CoapSettings = CoapSettings(anonymous=True),  # noqa: B008
    limits: Limits = Limits(),  # noqa: B008
    *,
    everything: bool = True,
) -> AsyncIterator[CoapSite]:
    """Run a site whose anonymous callers may do everything, unless said otherwise."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    store = await open_store(folder / "changes.db")
    log = await open_event_log(folder / "events.db")
    local = LocalProvider(limits.message)
    site = Site(
        Identity(AUTHORITY, frozenset({"plans.test"})), store, local, Clocks(loop.time, time.time)
    )
    channels = Channels(
        log, time_ms=lambda: time.time_ns() // 1_000_000, incarnation=lambda: "abcd1234"
    )
    channel = ChannelObject(site, channels, log, None)
    local.serve_action(Action.PUBLISH, channel.publish)
    local.serve_action(Action.SUBSCRIBE, channel.last)
    local.serve_action(Action.DESCRIBE, DescribeObject(site).describe)
    listener = CoapListener(site, channels, settings, limits)
    made = CoapSite(site, listener, channels)
    site.plane.providers["http"] = made.responder
    loop.set_exception_handler(lambda _, context: made.troubles.append(str(context)))
    site.watchers.gone.append(channels.forget)
    site.watchers.access.append(
        lambda: channels.redecide(lambda *who: refuse_subscription(site.plane, *who))
    )
    site.watchers.access.append(listener.redecide)
    site.watchers.credential.append(channels.end_of)
    await site.start()
    begin = [made.registration()]
    if everything:
        begin.append(made.rule("everything", "allow", Subject(), tuple(Action)))
    await made.change(*begin)
    made.port = await listener.listen("127.0.0.1", 0)
    sweeping = loop.create_task(_sweep(site, listener, loop))
    try:
        yield made
    finally:
        await listener.drain(0.1)
        sweeping.cancel()
        await channels.close()
        await site.stop()
        await store.close()
        await log.close()
        await asyncio.sleep(0)
    assert not made.troubles, made.troubles[0]


async def _sweep(site: Site, listener: CoapListener, loop: asyncio.AbstractEventLoop) -> None:
    while True:
        await asyncio.sleep(0.02)
        site.plane.sweep(loop.time())
        listener.sweep(loop.time())


class Device:
    """A client that sends the datagrams that a test wants, and shows what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))
        self._next = 1000

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def new_id(self) -> int:
        self._next += 1
        return self._next

    def raw(self, data: bytes) -> None:
        self._socket.send(data)

    async def datagram(self, within: float = 2.0) -> bytes:
        async with asyncio.timeout(within):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65_536)

    async def hear(self, within: float = 2.0) -> Message:
        return decode(await self.datagram(within))

    async def silent(self, seconds: float = 0.08) -> bool:
        """Return whether nothing comes for a while."""
        try:
            await self.datagram(seconds)
        except TimeoutError:
            return True
        return False

    def send(
        self,
        code: int,
        path: str = "",
        payload: bytes = b"",
        *options: tuple[int, bytes],
        kind: int = CON,
        token: bytes = b"tk",
        message_id: int = -1,
    ) -> Message:
        message_id = self.new_id() if message_id < 0 else message_id
        message = Message(
            kind, code, message_id, token, ordered([*path_options(path), *options]), payload
        )
        self.raw(encode(message))
        return message

    async def ask(
        self,
        code: int,
        path: str = "",
        payload: bytes = b"",
        *options: tuple[int, bytes],
        kind: int = CON,
        token: bytes = b"tk",
    ) -> Message:
        """Send a request and return its answer; one that comes separately is acknowledged."""
        sent = self.send(code, path, payload, *options, kind=kind, token=token)
        answer = await self.hear()
        if answer.kind == ACK and answer.code == EMPTY:
            assert answer.message_id == sent.message_id
            answer = await self.hear()
        if answer.kind == CON:
            self.raw(encode(Message(ACK, EMPTY, answer.message_id)))
        assert answer.token == token
        return answer

    async def verified(self) -> "Device":
        """Show that this client is where its datagrams come from."""
        answer = await self.ask(1, f"{PLAN}/news", b"", (6, b""), token=b"echo")
        echo = answer.value(252)
        assert echo is not None
        answer = await self.ask(1, f"{PLAN}/diary", b"", (252, echo))
        assert answer.code == 0x84, "nothing has been published yet"
        return self


def path_options(path: str) -> Options:
    """Return a path (and a query) as options; segments are not decoded."""
    path, _, query = path.partition("?")
    options: Options = [(11, part.encode()) for part in path.split("/")] if path else []
    return options + [(15, part.encode()) for part in query.split("&") if query]
