"""CoAP servers as peers: aiocoap and libcoap in processes of their own, and a scripted one."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from adapters.coap.upstream.provider import CoapProvider
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
from tests.support import ROOT, free_port, require_program

ANN = Principal("user:ann", "user")
CHILD = Path(__file__).with_name("coap_device.py")


class Device:
    """An aiocoap server; it may be killed and started again."""

    def __init__(self, max_age: int = 60) -> None:
        self.port = free_port()
        self.max_age = max_age
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, path: str, scheme: str = "coap") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    def start(self) -> None:
        command = [sys.executable, str(CHILD), str(self.port), str(self.max_age)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self.process is not None:
            assert self.process.stdout is not None
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def __enter__(self) -> "Device":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextlib.contextmanager
def libcoap():  # type: ignore[no-untyped-def]
    """libcoap's example server; yields its port."""
    program, port = require_program("coap-server-notls"), free_port()
    command = [program, "-A", "127.0.0.1", "-p", str(port), "-d", "10"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            probe.connect(("127.0.0.1", port))
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    probe.send(b"\x40\x00\x12\x34")  # a ping
                    probe.recv(100)
                    break
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


class Calls:
    """A plane with methods at CoAP servers."""

    def __init__(self, allow: tuple[str, ...] = (), **how: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.view = View()
        access = AccessIndex("s")
        access.put("AccessPolicy", "all", AccessPolicy("allow", (Subject(),), (*Action,), ("**",)))
        self.plane = Plane(self.view, access, LocalProvider())
        self.provider = CoapProvider(self.plane, Egress(allow), **how)
        self.plane.providers["coap"] = self.provider

    def method(
        self, name: str, url: str, verb: str = "POST", peer: str = "", **traits: bool
    ) -> None:
        route = Route(Name(name), Kind.METHOD, "", Meter("m"))
        route.method = Method(**traits)
        sources = [Source(STATIC, Endpoint(url, verb), peer)]
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
            self.provider.sweep(self.loop.time())


@contextlib.asynccontextmanager
async def calls(**how: object) -> AsyncIterator[Calls]:
    world = Calls(**how)  # type: ignore[arg-type]
    sweeping = asyncio.create_task(world.sweep())
    try:
        yield world
    finally:
        sweeping.cancel()
        world.provider.close()
        await asyncio.sleep(0)


class Scripted(asyncio.DatagramProtocol):
    """A server whose every datagram a test decides on."""

    def __init__(self, react: Callable[["Scripted", bytes, object], None]) -> None:
        self.react = react
        self.seen: list[bytes] = []

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.seen.append(data)
        self.react(self, data, addr)


@contextlib.asynccontextmanager
async def scripted(react: Callable[[Scripted, bytes, object], None]) -> AsyncIterator[Scripted]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Scripted(react), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)
