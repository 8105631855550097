"""Fan-out of one publisher to many event streams: ``python -m bench.fanout``.

Hilum's CPU time per delivery (server-sent events, authenticated and authorised) beside that of a
bare uvloop server that writes the same bytes to as many connections: alternated in one run, each
on the same core, with the subscribers in this process on the other one.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.process import GATEWAY_CORE, LOAD_CORE, Process, free_port, wait_for_port

SUBSCRIBERS = 1_000
EVENTS = 200
ROUNDS = 5
MARK = b"|"
"""Once in each event, so that events can be counted in any piece of the stream."""
PAYLOAD = json.dumps({"steps": 8421, "note": MARK.decode() + "x" * 150}).encode()
CHANNEL = "Bench/fanout"


@dataclass(frozen=True, slots=True)
class Fanout:
    """CPU µs per delivery of each round, and the size of an event on the wire in bytes."""

    hilum: list[float]
    bare: list[float]
    size: int

    @property
    def ratio(self) -> float:
        """How many times the bare writes' CPU Hilum takes, by medians."""
        return statistics.median(self.hilum) / statistics.median(self.bare)


class Subscriber(asyncio.Protocol):
    """One subscriber: it asks, then counts events."""

    received = 0
    wanted = 0
    reached: asyncio.Future[None] | None = None
    first = b""

    def __init__(self, ask: bytes) -> None:
        self.ask = ask

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self.ask)

    def data_received(self, data: bytes) -> None:
        count = data.count(MARK)
        if count:
            if not Subscriber.first:
                Subscriber.first = data
            Subscriber.received += count
            if Subscriber.received >= Subscriber.wanted and Subscriber.reached is not None:
                Subscriber.reached.set_result(None)
                Subscriber.reached = None


class Bare(asyncio.Protocol):
    """The server to compare with: it writes fixed bytes to everybody for each byte ``P``."""

    transports: list[asyncio.WriteTransport] = []  # noqa: RUF012 - shared by all on purpose
    data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if data == b"S":
            self.transports.append(self.transport)
            return
        for transport in self.transports:
            transport.write(self.data)
        self.transport.write(b"K")


async def serve_bare(port: int) -> None:
    """Run the bare server for ever."""
    server = await asyncio.get_running_loop().create_server(
        Bare, "127.0.0.1", port, backlog=SUBSCRIBERS
    )
    await server.serve_forever()


class Target:
    """A server under measurement: how to subscribe to it, and how to publish."""

    def __init__(
        self, process: Process, port: int, ask: bytes, publish: Callable[[], Awaitable[None]]
    ) -> None:
        self.process = process
        self.port = port
        self.ask = ask
        self.publish = publish

    async def subscribe(self, count: int) -> None:
        """Open all subscriptions and see that they hear an event."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            await loop.create_connection(lambda: Subscriber(self.ask), "127.0.0.1", self.port)
        await asyncio.sleep(1.0)
        await self.round(count, 1)

    async def round(self, subscribers: int, events: int) -> float:
        """Publish events one after the other; return CPU µs per delivery."""
        before = self.process.cpu()
        loop = asyncio.get_running_loop()
        for _ in range(events):
            Subscriber.received, Subscriber.wanted = 0, subscribers
            reached = Subscriber.reached = loop.create_future()
            await self.publish()
            await asyncio.wait_for(reached, 30)
        return (self.process.cpu() - before) / (subscribers * events) * 1e6


async def hilum(folder: Path) -> Target:
    """Start a site with one channel that may be subscribed to."""
    port, control = free_port(), free_port()
    listen = ("--http", f"127.0.0.1:{port}", "--control", f"127.0.0.1:{control}")
    listen = (*listen, "--mqtt", "off", "--coap", "off")
    command = [sys.executable, "-m", "gateway", "serve", "--state", str(folder / "state"), *listen]
    process = Process("hilum", command, GATEWAY_CORE, folder / "hilum.log")
    wait_for_port(process, port)
    token = (folder / "state" / "admin.token").read_text().strip()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    common = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"

    async def post(path: str, body: bytes) -> None:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(f"POST {path} {common}{kind}".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {head.decode()}{answer.decode()}")

    name, _, member = CHANNEL.partition("/")
    manifest = {
        "apiVersion": "hilum/v1",
        "microservice": "Bench",
        "version": "1.0.0",
        "instance": "a",
        "lease": 3600,
        "objects": [{"name": name, "channels": {member: {}}}],
    }
    await post("/$site/registry/register", json.dumps(manifest).encode())
    ask = f"GET /{CHANNEL} {common}Accept: text/event-stream\r\n\r\n".encode()
    return Target(process, port, ask, lambda: post(f"/{CHANNEL}", PAYLOAD))


async def bare(folder: Path, data: bytes) -> Target:
    """Start the bare server; it writes ``data``."""
    (folder / "data").write_bytes(data)
    port = free_port()
    command = [sys.executable, "-m", "bench.fanout", "--bare", str(port), str(folder / "data")]
    process = Process("bare", command, GATEWAY_CORE, folder / "bare.log")
    wait_for_port(process, port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def publish() -> None:
        writer.write(b"P")
        await reader.readexactly(1)

    return Target(process, port, b"S", publish)


async def measure(
    subscribers: int = SUBSCRIBERS, events: int = EVENTS, rounds: int = ROUNDS
) -> Fanout:
    """Measure both in turn."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        targets = [await hilum(folder)]
        try:
            await targets[0].subscribe(subscribers)
            block = Subscriber.first
            targets.append(await bare(folder, block))
            await targets[1].subscribe(subscribers)
            figures: list[list[float]] = [[], []]
            for _ in range(rounds):
                for target, found in zip(targets, figures, strict=True):
                    found.append(await target.round(subscribers, events))
            return Fanout(figures[0], figures[1], len(block))
        finally:
            for target in targets:
                target.process.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=SUBSCRIBERS)
    parser.add_argument("--events", type=int, default=EVENTS, help="events in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--bare", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.bare:
        Bare.data = Path(options.bare[1]).read_bytes()
        uvloop.run(serve_bare(int(options.bare[0])))
        return
    if (os.cpu_count() or 1) > LOAD_CORE:
        os.sched_setaffinity(0, {LOAD_CORE})
    result = uvloop.run(measure(options.subscribers, options.events, options.rounds))
    for name, figures in (("hilum", result.hilum), ("bare writes", result.bare)):
        each = "  ".join(f"{figure:5.2f}" for figure in figures)
        print(f"{name:12} {statistics.median(figures):5.2f} µs CPU per delivery   ({each})")
    print(
        f"ratio        {result.ratio:5.2f}   ({options.subscribers} subscribers,"
        f" {result.size} bytes an event)"
    )


if __name__ == "__main__":
    main()
