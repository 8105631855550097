"""node-wot, the reference implementation of a Web of Things client, through the gateway.

It finds a description in the directory, and uses the forms of one protocol: those of an HTTP device
that was registered with its own description, and those of a manifest's channel.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.settings import Coap
from tests.adapters.live import LiveSite, live_site, until
from tests.npm import installed
from tests.support import require_program

LAMP = "urn:example:lamp"
ROOM = "urn:hilum:localhost/room"
PROTOCOLS = ("http", "coap", "mqtt")


class Lamp:
    """An HTTP device: its status is read, and what it is told to do is noted."""

    def __init__(self) -> None:
        self.status = "off"
        self.done: list[Any] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = await reader.readexactly(length)
        if head.startswith("post /set"):
            asked = json.loads(body)
            self.done.append(asked)
            self.status = asked["to"]
        said = json.dumps(self.status).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(said), said)
        )
        writer.close()

    def description(self) -> dict[str, Any]:
        text = {"type": "string"}
        to = {"type": "object", "properties": {"to": text}, "required": ["to"]}
        return {
            "@context": "https://www.w3.org/2022/wot/td/v1.1",
            "id": LAMP,
            "title": "Lamp",
            "base": f"http://127.0.0.1:{self.port}/",
            "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
            "security": "nosec_sc",
            "properties": {"status": {**text, "readOnly": True, "forms": [{"href": "status"}]}},
            "actions": {"set": {"input": to, "output": text, "forms": [{"href": "set"}]}},
        }


class Client:
    """node-wot in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.observed: list[float] = []

    async def hear(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "node-wot has ended"
        return json.loads(line)

    async def do(self, what: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        while "observed" in (said := await self.hear()):
            self.observed.append(said["observed"])
        assert "answer" in said, said
        return said["answer"]

    async def observe_until(self, value: float) -> None:
        while not self.observed or self.observed[-1] != value:
            said = await self.hear()
            assert "observed" in said, said
            self.observed.append(said["observed"])


@pytest.fixture(scope="module")
def program() -> list[str]:
    folder = installed(Path(__file__).parent)
    return [require_program("node"), str(folder / "client.mjs")]


@contextlib.asynccontextmanager
async def node_wot(
    program: list[str], site: LiveSite, protocol: str, thing: str
) -> AsyncIterator[Client]:
    directory = f"http://127.0.0.1:{site.application.control_port}"
    process = await asyncio.create_subprocess_exec(
        *(*program, protocol, directory, site.token, thing),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client = Client(process)
    try:
        assert await client.hear() == {"ready": True}
        yield client
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lamp() -> AsyncIterator[Lamp]:
    made = Lamp()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, lamp: Lamp) -> AsyncIterator[LiveSite]:
    # node-wot's CoAP knows no Echo (RFC 9175), without which nobody observes by datagrams.
    coap = Coap(host="127.0.0.1", port=0, anonymous=True, unspoofable=("127.0.0.0/8",))
    async with live_site(tmp_path_factory.mktemp("wot"), coap=coap) as running:
        await running.call("registry/put-thing", lamp.description())
        objects = [{"name": "room", "channels": {"warmth": {"schema": {"type": "number"}}}}]
        await running.register(microservice="Room", objects=objects)
        await running.allow("all", "call describe subscribe publish")
        await running.allow("self", "describe", names=".well-known/wot")
        yield running


async def publish(site: LiveSite, value: float) -> None:
    body = json.dumps(value).encode()
    answer = await site.ask("POST", "/room/warmth", body, "Content-Type: application/json")
    assert answer.status == 200, answer


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_invokes_an_action_and_reads_a_property(program, site, lamp, protocol):
    async with node_wot(program, site, protocol, LAMP) as client:
        answer = await client.do("invoke", name="set", input={"to": f"on by {protocol}"})
        await until(lambda: {"to": f"on by {protocol}"} in lamp.done)
        if protocol != "mqtt":  # its binding asks for no answer, and reads no method
            assert answer == f"on by {protocol}"
            assert await client.do("read", name="status") == f"on by {protocol}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_reads_and_observes_a_property(program, site, protocol):
    await publish(site, 20.5)
    async with node_wot(program, site, protocol, ROOM) as client:
        assert await client.do("read", name="warmth") == 20.5
        await client.do("observe", name="warmth")
        for value in (21.0, 22.0, 23.0):
            await publish(site, value)
            await client.observe_until(value)
