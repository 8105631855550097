"""A whole site in the test's own process, so that a test can look inside and make time pass.

Starting it takes longer than most tests: those of a module share one, each with its own object.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from adapters.main import Application
from gateway.settings import Coap, Config, Control, Limits, Listen, Mqtt, Site
from registry.names import Name

CHANNELS = {
    "steps": {},
    "kept": {"durable": True},
    "short": {"retain": {"count": 3}},
    "strict": {"overflow": "disconnect"},
}
METHODS = {"add": {}, "sum": {"idempotent": True}}


class Answer(NamedTuple):
    status: int
    head: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class LiveSite:
    """The application, one object in it, and how a client on a raw socket talks to it."""

    def __init__(self, application: Application, state: Path, name: str = "Band") -> None:
        self.application = application
        self.state = state
        self.object = name
        self.token = (state / "admin.token").read_text().strip()
        self.writers: list[asyncio.StreamWriter] = []
        self._policies: list[dict[str, str]] = []

    async def begin(self) -> None:
        """Register the object."""
        await self.register()

    async def end(self) -> None:
        """Take back what the test applied and close what it left open."""
        for policy in self._policies:
            await self.call("policy/delete", policy)
        await self.close()

    async def close(self) -> None:
        """Close the test's connections."""
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0)

    @property
    def port(self) -> int:
        return self.application.http_port

    @property
    def streams(self) -> Any:
        return self.application.takeovers.stream.__self__  # type: ignore[attr-defined]

    def path(self, member: str) -> str:
        return f"/{self.object}/{member}"

    def name(self, member: str) -> Name:
        return Name(f"localhost/{self.object}/{member}")

    @property
    def channels(self) -> Any:
        return self.application.channels

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; the site's end closes what the test does not."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    def head(self, verb: str, path: str, *lines: str, token: str | None = None) -> str:
        """Return a request's head; ``/Band/`` in a path stands for the test's own object."""
        token = self.token if token is None else token
        path = path.replace("/Band/", f"/{self.object}/", 1)
        fields = [f"{verb} {path} HTTP/1.1", "Host: localhost", *lines]
        if token:
            fields.append(f"Authorization: Bearer {token}")
        return "\r\n".join(fields) + "\r\n"

    async def ask(
        self, verb: str, path: str, body: bytes = b"", *lines: str, token: str | None = None
    ) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = self.head(verb, path, *lines, token=token)
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        return Answer(int(top[9:12]), top.decode(), rest)

    async def call(self, method: str, document: Any) -> Any:
        answer = await self.ask(
            "POST",
            f"/$site/{method}",
            json.dumps(document).encode(),
            "Content-Type: application/json",
        )
        assert answer.status == 200, answer
        return answer.json()

    async def register(self, **manifest: Any) -> None:
        document = {
            "apiVersion": "hilum/v1",
            "microservice": self.object,
            "version": "1.0.0",
            "instance": "a",
            "lease": 3600,
            "objects": [{"name": self.object, "channels": CHANNELS, "methods": METHODS}],
        }
        await self.call("registry/register", {**document, **manifest})

    async def publish(self, member: str, *texts: str, kind: str = "text/plain") -> list[str]:
        ids = []
        for text in texts:
            answer = await self.ask(
                "POST", self.path(member), text.encode(), f"Content-Type: {kind}"
            )
            assert answer.status == 200, answer
            ids.append(answer.json()["id"])
        return ids

    async def token_for(self, principal: str, kind: str = "user", ttl: int = 3600) -> str:
        issued = await self.call("token/issue", {"principal": principal, "kind": kind, "ttl": ttl})
        return str(issued["token"])

    async def allow(
        self, name: str, actions: str, principal: str = "*", names: str = "**", **more: Any
    ) -> None:
        await self.apply(
            "AccessPolicy",
            name,
            {
                "effect": "allow",
                "subjects": [{"principal": principal}],
                "actions": actions.split(),
                "names": [names],
                **more,
            },
        )

    async def delete(self, name: str) -> None:
        """Delete a policy of this test."""
        policy = next(p for p in self._policies if p["name"] == f"{self.object}-{name}".lower())
        self._policies.remove(policy)
        await self.call("policy/delete", policy)

    async def apply(self, kind: str, name: str, spec: Any) -> None:
        name = f"{self.object}-{name}".lower()
        self._policies.append({"kind": kind, "name": name})
        await self.call(
            "policy/apply",
            {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": name}, "spec": spec},
        )


LIMITS = Limits(drain_seconds=1.0)


@contextlib.asynccontextmanager
async def live_site(
    state: Path,
    limits: Limits = LIMITS,
    *,
    clients_stay: bool = False,
    authority: str = "localhost",
    coap: Coap = Coap(port=0),  # noqa: B008 (it cannot change)
    **more: Any,
) -> AsyncIterator[LiveSite]:
    """Run a site with one registered object; ``limits`` are the listener's, ``more`` settings.

    The test's connections are closed before the site stops, unless ``clients_stay``.
    """
    config = Config(
        site=Site(state=state, authority=authority),
        http=Listen(port=0),
        control=Control(port=0),
        mqtt=Mqtt(port=0),
        coap=coap,
        limits=limits,
        **more,
    )
    application = Application(config)
    await application.start()
    site = LiveSite(application, state)
    try:
        await site.begin()
        yield site
    finally:
        if not clients_stay:
            await site.close()
        await application.stop()
        await site.close()


def parse_events(text: str) -> list[dict[str, str]]:
    """Read blocks as the HTML standard says (section 9.2.6), with comments under ``:``."""
    blocks = []
    for part in text.split("\n\n")[:-1]:
        block: dict[str, str] = {}
        for line in part.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            block[name or ":"] = f"{block[name]}\n{value}" if name in block else value
        blocks.append(block)
    return blocks


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait until something is so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, "it did not happen"
        await asyncio.sleep(0.005)


def small_socket(port: int) -> socket.socket:
    """Return a connected socket whose receive buffer is full soon."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client
