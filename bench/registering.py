"""Registering by the directory API: how many a second, how soon found, how long one takes."""

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.hilum import Hilum
from bench.options import Options
from bench.process import LOAD_CORE, on_core
from bench.results import Section, Target
from bench.store import bare_connection, summary

CLIENTS = 16
SIZE = 2000
"""Bytes of a description."""
TD = "application/td+json"
TYPE = "urn:bench:registered#"
"""Every description has a type of its own, to be found by."""
CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"


def description(number: int, *, extended: bool = False) -> bytes:
    """Return a description of 2 kB, with terms of another vocabulary or without."""
    brick = {"brick": "https://brickschema.org/schema/Brick#"}
    made: dict[str, Any] = {
        "@context": [CONTEXT, brick] if extended else CONTEXT,
        "@type": f"{TYPE}{number}",
        "id": f"urn:uuid:00000000-0000-4000-8000-{number:012x}",
        "title": f"Sensor {number}",
        **({"brick:isPartOf": {"@id": f"urn:bench:floor{number % 40}"}} if extended else {}),
        "base": "http://127.0.0.1:9/",
        "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
        "security": "nosec_sc",
        "properties": {
            key: {
                "type": "number",
                "unit": "degree Celsius",
                "readOnly": True,
                "minimum": -40,
                "maximum": 120,
                "forms": [{"href": f"properties/{key}", "contentType": "application/json"}],
            }
            for key in ("temperature", "target", "mean")
        },
        "actions": {
            key: {"input": {"type": "number"}, "forms": [{"href": f"actions/{key}"}]}
            for key in ("calibrate", "reset")
        },
        "description": "",
    }
    missing = SIZE - len(json.dumps(made))
    return json.dumps({**made, "description": "A sensor. " * (missing // 10)}).encode()


class Connection:
    """One kept connection of HTTP/1.1, as lean as can be: the client is no part of what counts."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._head = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n"

    async def ask(self, verb: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and payload."""
        length = f"Content-Type: {TD}\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{verb} {path} HTTP/1.1\r\n{self._head}{length}\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        size = 0
        for line in answer.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line[15:])
        payload = await self._reader.readexactly(size) if size else b""
        return int(answer[9:12]), payload

    async def register(self, number: int, *, extended: bool = False) -> None:
        """Register a description; raises when it is refused."""
        body = description(number, extended=extended)
        status, said = await self.ask("PUT", f"/things/{json.loads(body)['id']}", body)
        if status not in (201, 204):
            raise RuntimeError(f"{status}: {said!r}")

    async def found(self, number: int) -> bool:
        """Return whether typed discovery finds that one."""
        asked = urlencode({"type": f"{TYPE}{number}"})
        status, said = await self.ask("GET", f"/discover?{asked}")
        return status == 200 and said.count(b'"id":') == 1


@contextlib.asynccontextmanager
async def connected(url: str, token: str, number: int) -> AsyncIterator[list[Connection]]:
    """Open connections."""
    address = urlsplit(url)
    pairs = [await asyncio.open_connection(address.hostname, address.port) for _ in range(number)]
    try:
        yield [Connection(reader, writer, token) for reader, writer in pairs]
    finally:
        for _, writer in pairs:
            writer.close()


async def rate(
    connections: list[Connection],
    numbers: Callable[[], int],
    seconds: float,
    *,
    look: bool = False,
    extended: bool = False,
) -> tuple[float, int]:
    """Return registrations a second, and how many were not found once acknowledged."""
    done = missed = 0
    end = time.perf_counter() + seconds

    async def client(connection: Connection) -> None:
        nonlocal done, missed
        while time.perf_counter() < end:
            number = numbers()
            await connection.register(number, extended=extended)
            done += 1
            if look and not await connection.found(number):
                missed += 1

    begin = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    return done / (time.perf_counter() - begin), missed


async def one_by_one(
    connection: Connection, bare: sqlite3.Connection, numbers: Callable[[], int], rounds: int
) -> tuple[list[float], list[float]]:
    """Return seconds of registrations and of bare commits of as many bytes, in turns."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        number = numbers()
        body = description(number)
        begin = time.perf_counter()
        await connection.register(number)
        middle = time.perf_counter()
        bare.execute("INSERT INTO entries VALUES (?,?,?)", (number, body, bytes(16)))
        ours.append(middle - begin)
        theirs.append(time.perf_counter() - middle)
    return ours, theirs


async def _measure(site: Hilum, folder: Path, section: Section, options: Options) -> None:
    count = iter(range(1, 1 << 40))
    numbers = count.__next__
    seconds = 2.0 if options.quick else 10.0
    bare = bare_connection(folder / "bare.db")
    async with connected(site.control, site.token, CLIENTS) as connections:
        await rate(connections, numbers, 1.0)
        alone, _ = await rate(connections, numbers, seconds)
        looked, missed = await rate(connections, numbers, seconds, look=True)
        rounds = 200 if options.quick else 1000
        ours, theirs = await one_by_one(connections[0], bare, numbers, rounds)
    # The others have idled too long by now: the site has closed them.
    async with connected(site.control, site.token, CLIENTS) as connections:
        more, _ = await rate(connections, numbers, seconds, extended=True)
    bare.close()
    (median, p95), (bare_median, bare_p95) = summary(ours), summary(theirs)
    rows = [
        [f"{CLIENTS} clients, registering", f"{alone:,.0f}", ""],
        [f"{CLIENTS} clients, each found before the next", f"{looked:,.0f}", f"{missed} missed"],
        [f"{CLIENTS} clients, with terms that JSON-LD expands later", f"{more:,.0f}", ""],
    ]
    section.table(("descriptions of 2 kB by PUT /things", "a second", ""), rows)
    section.table(
        ("one at a time", "p50 µs", "p95 µs"),
        [
            ["a bare SQLite commit", f"{bare_median:,.0f}", f"{bare_p95:,.0f}"],
            ["a registration", f"{median:,.0f}", f"{p95:,.0f}"],
        ],
    )
    section.targets += [
        Target("seconds of 500 registrations from 16 clients", 500 / alone, 1, " s"),
        Target("descriptions not found once acknowledged", missed, 0),
        Target("a registration beside a bare commit, p50", median / bare_median, 1.3, " x"),
    ]


def measure(section: Section, options: Options) -> None:
    """Add what registering costs."""
    with tempfile.TemporaryDirectory() as name, on_core(LOAD_CORE):
        folder = Path(name)
        site = Hilum(folder / "site")
        try:
            asyncio.run(_measure(site, folder, section, options))
        finally:
            site.stop()
