"""A site with an MQTT listener on real sockets, in the test's own process; real clients for it."""

import asyncio
import contextlib
import json
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from adapters.mqtt.server import MqttServer
from adapters.store.changelog import open_store
from adapters.store.eventlog import open_event_log
from gateway.channels import Channels, refuse_subscription
from gateway.deliveries import Deliveries
from gateway.objects.local import LocalProvider
from gateway.objects.serve import serve_objects
from gateway.settings import Limits, Mqtt
from gateway.site import Clocks, Identity, Site
from policy.identity.tokens import new_token
from policy.language import ManifestDoc, to_record
from policy.model import AccessPolicy, Action, Policy, Subject, TopicSpace
from registry.changes import (
    Change,
    Deregistered,
    PolicyApplied,
    PolicyDeleted,
    Registered,
    TokenIssued,
    TokenRevoked,
)
from registry.model import EventChannel, Method, Registration, RegistrationId, VirtualObject
from tests.adapters.relay import random_bytes

AUTHORITY = "snac.asu.edu"
BAND = f"{AUTHORITY}/Band"
CHANNELS = {
    "steps": EventChannel(),
    "heart": EventChannel(),
    "kept": EventChannel(durable=True),
    "typed": EventChannel(schema={"type": "object", "required": ["n"]}),
}
CONFIG = Mqtt(port=0)
METHODS = {"add": Method(), "slow": Method(timeout=300), "echo": Method()}


class MqttSite:
    """What a test needs of a running site with an MQTT listener."""

    def __init__(self, site: Site, channels: Channels, server: MqttServer, folder: Path) -> None:
        self.site = site
        self.channels = channels
        self.server = server
        self.broker = server.broker
        self.folder = folder
        self.port = 0
        self.token = ""
        self.ahead = 0.0
        self.generation = 0
        self.clients: list[Client] = []

    async def change(self, *changes: Change) -> None:
        await self.site.ledger.change("site:test", lambda _: changes)

    async def policy(self, name: str, spec: Policy) -> None:
        document = ManifestDoc(type(spec).__name__, name, {}, 0, spec)
        await self.change(PolicyApplied(to_record(document, owner="site:test", revision=1)))

    async def allow(
        self, name: str, who: str, actions: str, *names: str, effect: str = "allow", **more: Any
    ) -> None:
        acts = tuple(map(Action, actions.split()))
        rule = AccessPolicy(effect, (Subject(who),), acts, names or ("**",), **more)
        await self.policy(name, rule)

    async def forget_policy(self, name: str, kind: str = "AccessPolicy") -> None:
        await self.change(PolicyDeleted(kind, name))

    async def space(self, *names: str) -> None:
        await self.policy("space", TopicSpace(names))

    async def issue(self, principal: str, kind: str = "device", lifetime: int = 3600) -> str:
        secret, record = new_token(
            random_bytes, principal=principal, kind=kind, now=self.time(), lifetime=lifetime
        )
        await self.change(TokenIssued(record))
        return secret

    async def revoke(self, token: str) -> None:
        await self.change(TokenRevoked(token.split("_")[1]))

    async def revoke_principal(self, principal: str) -> None:
        await self.site.revoke_principal("site:test", principal)

    async def register(
        self,
        name: str = "Band",
        channels: dict[str, EventChannel] | None = None,
        methods: dict[str, Method] | None = None,
        instance: str = "a",
        owner: str = "site:service",
    ) -> None:
        self.generation += 1
        virtual = VirtualObject(
            f"{AUTHORITY}/{name}",
            methods=METHODS if methods is None else methods,
            channels=CHANNELS if channels is None else channels,
        )
        id_ = RegistrationId(name.replace("/", "-"), "1.0.0", instance)
        await self.change(
            Registered(Registration(id_, owner, "127.0.0.1", 3600, self.generation, (virtual,)))
        )

    async def deregister(self, name: str = "Band", instance: str = "a") -> None:
        await self.change(Deregistered(RegistrationId(name, "1.0.0", instance)))

    def time(self) -> float:
        return time.time() + self.ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass for sessions and wills."""
        self.ahead += seconds
        self.broker.sweep(self.time())

    async def client(self, client_id: str = "", **how: Any) -> "Client":
        """Connect a client of paho's; it must be accepted."""
        client = Client(self, client_id, **how)
        code = await client.connect()
        assert code == 0, code
        return client

    async def refused(self, client_id: str = "", **how: Any) -> int:
        """Connect a client that must be refused; return the reason code."""
        client = Client(self, client_id, **how)
        code = await client.connect()
        assert code >= 0x80, code
        return code


class Client:
    """A client of paho's, in a thread of its own, as awaitable operations."""

    def __init__(
        self,
        site: MqttSite,
        client_id: str = "",
        *,
        version: int = 5,
        token: str | None = None,
        clean: bool = True,
        expiry: int = 0,
        will: tuple[Any, ...] | None = None,
        will_delay: int = 0,
        port: int = 0,
        **properties: Any,
    ) -> None:
        self.site = site
        self.loop = asyncio.get_running_loop()
        self.version = version
        self.messages: deque[Any] = deque()
        self.arrived = asyncio.Event()
        self.gone: asyncio.Future[int] = self.loop.create_future()
        self._done: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._clean, self._port = clean, port or site.port
        kind = {"clean_session": clean} if version == 4 else {}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            reconnect_on_failure=False,
            **kind,
        )
        token = site.token if token is None else token
        if token:
            self.paho.username_pw_set("token", token)
        self.connected: asyncio.Future[Any] = self.loop.create_future()
        self._properties = None
        if version == 5:
            self._properties = properties_of(
                PacketTypes.CONNECT, SessionExpiryInterval=expiry, **properties
            )
        if will is not None:
            said = None
            if version == 5 and will_delay:
                said = properties_of(PacketTypes.WILLMESSAGE, WillDelayInterval=will_delay)
            self.paho.will_set(*will, properties=said)
        self._watch()
        site.clients.append(self)

    def _watch(self) -> None:
        client = self.paho
        client.on_connect = lambda _c, _u, flags, code, said: self._tell(
            self._connected, flags, code, said
        )
        client.on_message = lambda _c, _u, message: self._tell(self._message, message)
        client.on_disconnect = lambda _c, _u, _f, code, _p: self._tell(self._gone, code.value)
        client.on_publish = lambda _c, _u, mid, code, said: self._tell(
            self._finish, "publish", mid, (code.value, said)
        )
        client.on_subscribe = lambda _c, _u, mid, codes, said: self._tell(
            self._finish, "subscribe", mid, ([code.value for code in codes], said)
        )
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._tell(
            self._finish, "unsubscribe", mid, [code.value for code in codes]
        )

    def _tell(self, do: Any, *what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(do, *what)

    def _connected(self, flags: Any, code: Any, said: Any) -> None:
        if not self.connected.done():
            self.present = flags.session_present
            self.connack = said
            self.connected.set_result(code.value)

    def _message(self, message: Any) -> None:
        self.messages.append(Message(message))
        self.arrived.set()

    def _gone(self, code: int) -> None:
        if not self.gone.done():
            self.gone.set_result(code)

    def _finish(self, what: str, mid: int, result: Any) -> None:
        future = self._done.setdefault((what, mid), self.loop.create_future())
        if not future.done():
            future.set_result(result)

    def _wait(self, what: str, mid: int) -> Any:
        future = self._done.setdefault((what, mid), self.loop.create_future())
        return asyncio.wait_for(future, 5)

    async def connect(self) -> int:
        start = {"clean_start": self._clean} if self.version == 5 else {}
        await asyncio.to_thread(
            self.paho.connect, "127.0.0.1", self._port, 60, properties=self._properties, **start
        )
        self.paho.loop_start()
        code = int(await asyncio.wait_for(self.connected, 5))
        if code:  # paho would try again and again
            await self.stop()
        return code

    async def stop(self) -> None:
        await asyncio.to_thread(self.paho.loop_stop)
        self.paho._reset_sockets()  # else they are closed by the garbage collector, in any order

    async def disconnect(self, **properties: Any) -> None:
        """Say DISCONNECT, and wait until that is done."""
        said = None
        if self.version == 5 and properties:
            said = properties_of(PacketTypes.DISCONNECT, **properties)
        self.paho.disconnect(properties=said)
        await asyncio.wait_for(asyncio.shield(self.gone), 5)
        await self.stop()
        await settle(self.site)

    async def vanish(self) -> None:
        """Be gone without a word."""
        self.paho.socket().shutdown(socket.SHUT_RDWR)
        await self.stop()
        await settle(self.site)

    async def publish(
        self, topic: str, payload: Any = b"", qos: int = 1, retain: bool = False, **said: Any
    ) -> int:
        """Publish; return the reason code of its acknowledgement."""
        code, self.why = await self._publish(topic, payload, qos, retain, said)
        return code

    async def _publish(
        self, topic: str, payload: Any, qos: int, retain: bool, said: dict[str, Any]
    ) -> tuple[int, str]:
        properties = properties_of(PacketTypes.PUBLISH, **said) if said else None
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        info = self.paho.publish(topic, payload, qos, retain, properties=properties)
        code, answer = await self._wait("publish", info.mid)
        return code, getattr(answer, "ReasonString", "")

    async def subscribe(
        self, *filters: Any, qos: int = 1, id_: int = 0, attributes: Any = (), **options: Any
    ) -> list[int]:
        """Subscribe; return the reason codes."""
        properties = None
        if self.version == 5:
            wanted = [(f, SubscribeOptions(qos=qos, **options)) for f in filters]
            properties = properties_of(PacketTypes.SUBSCRIBE)
            if id_:
                properties.SubscriptionIdentifier = id_
            if attributes:
                properties.UserProperty = list(attributes)
        else:
            wanted = [(f, qos) for f in filters]
        _, mid = self.paho.subscribe(wanted, properties=properties)
        codes, answer = await self._wait("subscribe", mid)
        self.why = getattr(answer, "ReasonString", "")
        return codes

    async def unsubscribe(self, *filters: str) -> list[int]:
        _, mid = self.paho.unsubscribe(list(filters))
        return await self._wait("unsubscribe", mid)

    async def hear(self, seconds: float = 5.0) -> "Message":
        """Return the next message."""
        async with asyncio.timeout(seconds):
            while not self.messages:
                self.arrived.clear()
                await self.arrived.wait()
        return self.messages.popleft()

    async def silent(self, seconds: float = 0.06) -> bool:
        """Return whether nothing comes."""
        await asyncio.sleep(seconds)
        return not self.messages


class Message:
    """A message as a client gets it."""

    def __init__(self, message: Any) -> None:
        said = getattr(message, "properties", None)
        self.topic = message.topic
        self.payload = message.payload
        self.qos, self.retain = message.qos, bool(message.retain)
        self.content_type = getattr(said, "ContentType", "")
        self.response_topic = getattr(said, "ResponseTopic", "")
        self.correlation = getattr(said, "CorrelationData", None)
        self.expiry = getattr(said, "MessageExpiryInterval", None)
        self.attributes = dict(getattr(said, "UserProperty", ()))
        self.ids = getattr(said, "SubscriptionIdentifier", [])

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {self.payload!r}, {self.qos}, {self.retain})"

    def json(self) -> Any:
        return json.loads(self.payload)


def properties_of(kind: int, **values: Any) -> Any:
    """Return properties of a packet for paho."""
    properties = Properties(kind)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


async def settle(site: MqttSite) -> None:
    """Wait until the site has noticed what clients did."""
    for _ in range(5):
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def mqtt_site(
    folder: Path, config: Mqtt = CONFIG, *, welcome: bool = True
) -> AsyncIterator[MqttSite]:
    """Run a site with one object, whose test principal may do everything if ``welcome``."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    store = await open_store(folder / "changes.db")
    log = await open_event_log(folder / "events.db")
    local = LocalProvider()
    late = SimpleNamespace(site=None)
    site = Site(
        Identity(AUTHORITY, frozenset({"localhost", "127.0.0.1"})),
        store,
        local,
        Clocks(loop.time, lambda: late.site.time() if late.site else time.time()),
    )
    channels = Channels(
        log,
        time_ms=lambda: int(time.time() * 1000),
        incarnation=lambda: random_bytes(4).hex(),
        keeper=log.sessions,
    )
    deliveries = Deliveries(site.plane, channels, log, principal_of=lambda _: None, random=float)
    serve_objects(
        site,
        local,
        channels,
        log,
        deliveries,
        check_endpoint=_anywhere,
        service_key=lambda *_: "",
        random=random_bytes,
    )
    server = MqttServer(site, channels, log.sessions, config, Limits(), loop.time)
    made = late.site = MqttSite(site, channels, server, folder)
    site.watchers.gone.append(channels.forget)
    site.watchers.credential.insert(0, channels.end_of)
    site.watchers.access.insert(
        0, lambda: channels.redecide(lambda p, n, g: refuse_subscription(site.plane, p, n, g))
    )
    site.watchers.spaces.insert(0, lambda: channels.look_at_spaces(site.view.find))
    await site.start()
    await server.start()
    made.port = await server.listen()
    if welcome:
        everything = AccessPolicy("allow", (Subject("site:phone"),), tuple(Action), ("**",))
        await made.policy("everything", everything)
        made.token = await made.issue("site:phone")
        await made.register()
    sweeping = loop.create_task(_sweep(made))
    try:
        yield made
    finally:
        sweeping.cancel()
        for client in made.clients:
            client.paho.disconnect()
            await client.stop()
        await server.drain(1.0)
        await channels.close()
        await site.stop()
        await store.close()
        await log.close()


async def _sweep(made: MqttSite) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(0.05)
        made.site.plane.sweep(loop.time())


async def _anywhere(*_: object) -> None:
    return None
