"""A real mosquitto, a plane whose methods live on it, and clients that play their services."""

import asyncio
import contextlib
import getpass
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.mqtt.outbound.brokers import Brokers
from adapters.mqtt.outbound.calls import BrokerProvider
from gateway.calls import Answered, ask
from gateway.egress import Egress
from gateway.exchange import Plane
from gateway.message import Call
from gateway.objects.local import LocalProvider
from gateway.view import Meter, Route, View
from policy.access.index import AccessIndex
from policy.model import AccessPolicy, Action, Principal, ResolutionPolicy, Subject
from policy.resolution import STATIC, Source, compile_selection
from registry.model import Endpoint, Kind, Method
from registry.names import Name
from tests.support import free_port, require_program

ANN = Principal("user:ann", "user")


class Mosquitto:
    """A broker's process; it may be killed and started again with what it had saved."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.program = require_program("mosquitto")
        self.port = free_port()
        self.folder = folder
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            "\n".join(
                [
                    f"listener {self.port} 127.0.0.1",
                    f"user {getpass.getuser()}",  # else it could not write here, as root
                    *(settings or ["allow_anonymous true"]),
                    "set_tcp_nodelay true",
                    "persistence true",
                    f"persistence_location {folder}/",
                    "autosave_interval 1",
                    "autosave_on_changes true",
                    "max_queued_messages 0",
                ]
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.config), "-v"], stdout=log, stderr=log
            )
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, (self.folder / "mosquitto.log").read_text()
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Calls:
    """A plane with methods at endpoints on brokers."""

    def __init__(self, accounts=(), allow=(), **how) -> None:  # type: ignore[no-untyped-def]
        self.loop = asyncio.get_running_loop()
        self.view = View()
        access = AccessIndex("s")
        access.put("AccessPolicy", "all", AccessPolicy("allow", (Subject(),), (*Action,), ("**",)))
        self.plane = Plane(self.view, access, LocalProvider())
        self.brokers = Brokers(Egress(allow), accounts, "5173abcd")
        self.provider = BrokerProvider(self.plane, self.brokers, **how)
        self.plane.providers["broker"] = self.provider

    def method(self, name: str, *urls: str, peer: str = "", **traits: bool) -> None:
        route = Route(Name(name), Kind.METHOD, "", Meter("m"))
        route.method = Method(**traits)
        sources = [Source(STATIC, Endpoint(url), peer) for url in urls]
        policy = ResolutionPolicy(("**",))
        route.selection = compile_selection(Name(name), sources, policy, self.view.health_of)
        self.view.install({Name(name): route})

    async def ask(self, name: str, payload: bytes = b"", within: float = 5.0, **how) -> Answered:  # type: ignore[no-untyped-def]
        self.plane.now = self.loop.time()
        call = Call(Action.CALL, Name(name), ANN, self.plane.now + within, **how)
        return await ask(self.plane, call, payload)

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.plane.sweep(self.loop.time())


@contextlib.asynccontextmanager
async def calls(**how: object) -> AsyncIterator[Calls]:
    world = Calls(**how)
    sweeping = asyncio.create_task(world.sweep())
    try:
        yield world
    finally:
        sweeping.cancel()
        await world.provider.close()


Responder = Callable[[aiomqtt.Client, aiomqtt.Message], "asyncio.Future[None]"]


def properties(packet: int, **values: object) -> Properties:
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@contextlib.asynccontextmanager
async def service(
    port: int, topic: str, respond: Responder
) -> AsyncIterator[list[aiomqtt.Message]]:
    """A service that subscribes to a topic; yields what it heard."""
    heard: list[aiomqtt.Message] = []
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(topic, qos=2)

        async def serve() -> None:
            async for message in client.messages:
                heard.append(message)
                await respond(client, message)

        serving = asyncio.create_task(serve())
        try:
            yield heard
        finally:
            while not serving.done():  # aiomqtt may swallow one, until Python 3.12
                serving.cancel()
                await asyncio.wait([serving], timeout=0.1)


async def answer(
    client: aiomqtt.Client, message: aiomqtt.Message, payload: bytes, **values: object
) -> None:
    """Reply as MQTT 5.0 section 4.10 says."""
    asked = message.properties
    made = properties(PacketTypes.PUBLISH, **values)
    if hasattr(asked, "CorrelationData") and not hasattr(made, "CorrelationData"):
        made.CorrelationData = asked.CorrelationData
    await client.publish(asked.ResponseTopic, payload, qos=1, properties=made)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (any condition, not only an event)
            await asyncio.sleep(0.01)
