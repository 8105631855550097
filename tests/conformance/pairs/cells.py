"""One cell of the table: a client, and the provider or the other client that it meets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from typing import Any

from gateway.message import Status
from tests.conformance.pairs.coap import CoapClient, CoapEndpoint
from tests.conformance.pairs.http import HttpClient, HttpEndpoint
from tests.conformance.pairs.model import LIMIT, Client, Place, Provider, Service
from tests.conformance.pairs.mqtt import V5, V311, MqttClient, MqttProvider
from tests.conformance.pairs.outbound import BrokerPublisher, BrokerService
from tests.conformance.pairs.websocket import SocketClient, SocketProvider
from tests.running import Gateway

CONFIG = f"""
[limits]
message = {LIMIT}

[coap]
anonymous = true
"""
DEADLINE = 1000
"""Milliseconds that the manifest gives the method ``slow``."""

# Who has a token is device:pairs, a CoAP client without OSCORE is anonymous:coap: both may use
# what is Open, and nobody may use what is Closed. The service owns it all.
POLICIES = """
apiVersion: hilum/v1
kind: LifecyclePolicy
metadata: {name: pairs-service}
spec:
  effect: allow
  subjects: [{principal: "device:pairs"}]
  actions: [bind]
  names: ["Open/**"]
---
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: pairs-open}
spec:
  effect: allow
  subjects: [{principal: "device:pairs"}, {principal: "anonymous:coap"}]
  actions: [call, publish, subscribe, describe]
  names: ["Open/**"]
  groups: ["*"]
"""


ENCODED = "gr%C3%BC%C3%9Fe"
"""A member's name that is not ASCII."""


class Ground:
    """The site that all cells of a worker run against, and the broker beside it."""

    def __init__(self, gateway: Gateway, context: object) -> None:
        self.gateway = gateway
        self.context = context
        self.broker = 0
        """The port of a broker beside it, when there is one."""
        gateway.apply(POLICIES)
        self.place = Place(
            _port(gateway.url),
            _port(getattr(gateway, "mqtt", "")),
            _port(getattr(gateway, "coap", "")),
            gateway.token_for("device:pairs", "device"),
        )
        self._keys = count(1)

    def client(
        self, protocol: str, key: str, *, lasting: bool = False, administrator: bool = False
    ) -> Client:
        """Return a client that is not connected yet; a ``lasting`` one can resume."""
        place = self.place
        if administrator:
            place = place._replace(token=self.gateway.token)
        match protocol:
            case "http":
                return HttpClient(place, key)
            case "websocket":
                return SocketClient(place, key)
            case "coap":
                return CoapClient(place, key)
            case "coap-oscore":
                return CoapClient(place._replace(context=self.context), key)
        version = V5 if protocol == "mqtt5" else V311
        return MqttClient(place, key, version=version, lasting=lasting)

    def provider(self, protocol: str, key: str, service: Service) -> Provider:
        """Return a provider that does not serve yet."""
        match protocol:
            case "http":
                return HttpEndpoint(self.place, key, service)
            case "websocket":
                return SocketProvider(self.place, key, service)
            case "coap":
                return CoapEndpoint(self.place, key, service)
            case "outbound":
                return BrokerService(self.place, key, service, port=self.broker)
        version = V5 if protocol == "mqtt5" else V311
        return MqttProvider(self.place, key, service, version=version)

    @contextlib.contextmanager
    def policy(self, kind: str, name: str, /, **spec: object) -> Iterator[None]:
        """Let a policy be in force for a while."""
        metadata = {"name": name}
        document = {"apiVersion": "hilum/v1", "kind": kind, "metadata": metadata, "spec": spec}
        self.gateway.apply(json.dumps(document))
        try:
            yield
        finally:
            self.gateway.ask("policy/delete", {"kind": kind, "name": name})

    def key(self) -> str:
        """Return a new name for a cell."""
        return f"c{next(self._keys)}"

    def register(self, key: str, methods: dict[str, Any], channels: dict[str, Any]) -> None:
        """Register a cell's objects: one that clients may use, and one that they may not."""
        members = {"methods": methods, "channels": channels}
        objects = [{"name": f"{area}/{key}", **members} for area in ("Open", "Closed")]
        self.gateway.register({"microservice": key, "instance": "a", "objects": objects})


class Calls:
    """A caller and a provider."""

    def __init__(
        self, ground: Ground, key: str, caller: Client, provider: Provider, service: Service
    ) -> None:
        self.ground = ground
        self.key = key
        self.caller = caller
        self.provider = provider
        self.service = service
        self.names: dict[str, str] = {}

    def name(self, method: str) -> str:
        """Return the name of one of the cell's methods."""
        return f"Open/{self.key}/{method}"


class Events:
    """A publisher, a subscriber, and more subscribers when a scenario asks for them."""

    def __init__(self, ground: Ground, key: str, publisher: Client, subscriber: Client) -> None:
        self.ground = ground
        self.key = key
        self.publisher = publisher
        self.subscriber = subscriber
        self.channel = f"Open/{key}/ring"
        self.closed = f"Closed/{key}/ring"
        self.stack = contextlib.AsyncExitStack()

    async def another(self, protocol: str, *, administrator: bool = False) -> Client:
        """Connect one more client; an administrator may use what is Closed."""
        client = self.ground.client(protocol, f"{self.key}-more", administrator=administrator)
        self.stack.push_async_callback(client.close)
        await client.open()
        return client

    async def followed(self) -> None:
        """Wait until the site follows the sources of the channels; each has an event then."""
        publisher: Any = self.publisher
        reader = await self.another("http")
        for channel in (self.channel, f"Open/{self.key}/{ENCODED}"):
            await publisher.until_followed(channel)
            found = await reader.last(channel)
            while found is None or not found.means(Status.OK):
                await asyncio.sleep(0.01)
                found = await reader.last(channel)


@contextlib.asynccontextmanager
async def calls(
    ground: Ground, caller: str, provider: str, methods: Sequence[str]
) -> AsyncIterator[Calls]:
    """Make a cell of calls: registered, connected and served."""
    key, service = ground.key(), Service()
    serving = ground.provider(provider, key, service)
    manifest: dict[str, Any] = {}
    for method in methods:
        url = serving.endpoint(method)
        manifest[method] = {"endpoints": [{"url": url}]} if url else {}
        if method == "slow":
            manifest[method]["timeout"] = DEADLINE
    ground.register(key, manifest, {"bell": {}})
    client = ground.client(caller, f"{key}-caller")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.01)  # closed transports go with the next round
        cell = Calls(ground, key, client, serving, service)
        cell.names = {method: cell.name(method) for method in methods}
        stack.push_async_callback(serving.close)
        await serving.open(cell.names)
        stack.push_async_callback(client.close)
        await client.open()
        yield cell


@contextlib.asynccontextmanager
async def events(
    ground: Ground, publisher: str, subscriber: str, *, lasting: bool
) -> AsyncIterator[Events]:
    """Make a cell of events: registered, and both sides connected."""
    key = ground.key()
    made: Any
    channels: dict[str, Any] = {"ring": {}, ENCODED: {}}
    if publisher == "broker":
        made = BrokerPublisher(key, port=ground.broker)
        channels = {one: {"sources": [made.source(one)]} for one in channels}
    else:
        made = ground.client(publisher, f"{key}-publisher")
    ground.register(key, {}, channels)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.01)  # closed transports go with the next round
        listening = ground.client(subscriber, f"{key}-subscriber", lasting=lasting)
        for client in (made, listening):
            stack.push_async_callback(client.close)
            await client.open()
        cell = Events(ground, key, made, listening)
        await stack.enter_async_context(cell.stack)
        if publisher == "broker":
            await cell.followed()
        yield cell


def _port(address: str) -> int:
    return int(address.rpartition(":")[2].strip("/") or 0)
