"""From a revocation to the last message: ``make bench ARGS=revocation``.

10,000 MQTT sessions, each with a token of its own, are subscribed; a hundred of them to a topic
that carries fifty messages a second. One after the other their tokens are revoked. Measured is the
time from the asking until each got its last message (none after the asking counts as 0), and until
its connection was closed. Beside it, under the same load, small requests are asked for something
that is not there: an answer takes one turn of the loop at least, and the median is what "one loop
iteration" means here.
"""

import asyncio
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapters.client import Client
from adapters.descriptors import allow_descriptors
from bench.hilum import Hilum
from bench.options import Options
from bench.results import Section, Target

SESSIONS, QUICK_SESSIONS = 10_000, 1_000
VICTIMS = 100
RATE = 50
"""Messages a second on the victims' topic."""
PAUSE = 0.05
LIMIT = 20.0
"""Loop iterations, at the 99th percentile."""
AT_ONCE = 200


class Session(asyncio.Protocol):
    """One subscriber: remembers when it last got something, and when it was ended."""

    def __init__(self, token: str, number: int, topic: str) -> None:
        self._token = token
        self._number = number
        self._topic = topic
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last = self.ended = 0.0
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        name, token = f"s{self._number}".encode(), self._token.encode()
        body = b"\0\4MQTT\4\xc2\0\0" + _text(name) + _text(b"x") + _text(token)
        topic = self._topic.encode()
        subscribe = b"\0\1" + _text(topic) + b"\0"
        transport.write(b"\x10" + _length(body) + body + b"\x82" + _length(subscribe) + subscribe)

    def data_received(self, data: bytes) -> None:
        self.last = time.monotonic()
        if not self.ready.done():
            self._seen += data
            if len(self._seen) >= 4 and self._seen[3] != 0:
                self.ready.set_exception(RuntimeError(f"refused: {self._seen!r}"))
            elif len(self._seen) >= 9:
                self.ready.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        self.ended = time.monotonic()
        if not self.ready.done():
            self.ready.set_exception(RuntimeError("closed"))


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _length(body: bytes) -> bytes:
    low, high = len(body) & 0x7F, len(body) >> 7
    return bytes([low | 0x80, high]) if high else bytes([low])


async def connect(site: Hilum, tokens: list[str]) -> list[Session]:
    """Open all sessions; the first ones are the victims."""
    loop = asyncio.get_running_loop()
    sessions: list[Session] = []
    for begin in range(0, len(tokens), AT_ONCE):
        part = []
        for number in range(begin, min(begin + AT_ONCE, len(tokens))):
            topic = "bench/hot" if number < VICTIMS else f"bench/quiet{number % 100}"
            made = Session(tokens[number], number, topic)
            await loop.create_connection(lambda made=made: made, "127.0.0.1", site.mqtt_port)
            part.append(made)
        await asyncio.gather(*(one.ready for one in part))
        sessions += part
    return sessions


async def publish(site: Hilum, stop: asyncio.Event) -> None:
    """Publish to the victims' topic at a steady rate, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    request = _request("POST", "/bench/hot", site.token, b"x" * 64)
    while not stop.is_set():
        begun = time.monotonic()
        writer.write(request)
        await _answer(reader)
        await asyncio.sleep(max(0.0, 1 / RATE - (time.monotonic() - begun)))
    writer.close()


async def knock(site: Hilum, stop: asyncio.Event) -> list[float]:
    """Return how long answers take that cost the site nothing but a turn of its loop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    request = _request("GET", "/nothing/here", site.token, b"")
    found = []
    while not stop.is_set():
        begun = time.monotonic()
        writer.write(request)
        await _answer(reader)
        found.append(time.monotonic() - begun)
        await asyncio.sleep(0.01)
    writer.close()
    return found


async def revoke(
    site: Hilum, ids: list[str], sessions: list[Session]
) -> tuple[list[float], list[float]]:
    """Revoke the victims one by one; return the seconds until the last message and the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    asked = []
    for id_, session in zip(ids, sessions, strict=False):
        body = json.dumps({"id": id_}).encode()
        asked.append((session, time.monotonic()))
        writer.write(_request("POST", "/$site/token/revoke", site.token, body))
        answer = await _answer(reader)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        await asyncio.sleep(PAUSE)
    await asyncio.sleep(1.0)
    writer.close()
    if not all(session.ended for session, _ in asked):
        raise RuntimeError("a session outlived its token")
    last = [max(0.0, session.last - when) for session, when in asked]
    return last, [session.ended - when for session, when in asked]


def _request(verb: str, path: str, token: str, body: bytes) -> bytes:
    return (
        f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return head


async def run(
    site: Hilum, issued: list[dict[str, str]]
) -> tuple[list[float], list[float], list[float]]:
    """Return the times until the last message, until the end, and of one turn of the loop."""
    sessions = await connect(site, [one["token"] for one in issued])
    stop = asyncio.Event()
    publishing = asyncio.create_task(publish(site, stop))
    knocking = asyncio.create_task(knock(site, stop))
    await asyncio.sleep(2.0)
    last, ended = await revoke(site, [one["id"] for one in issued[:VICTIMS]], sessions)
    stop.set()
    await publishing
    turns = await knocking
    for session in sessions:
        session.transport.abort()
    return last, ended, turns


def issue(site: Hilum, count: int) -> list[dict[str, str]]:
    """Return as many tokens, each for a device of its own."""

    def some(numbers: range) -> list[dict[str, str]]:
        client = Client(site.url, site.token)
        asked = ({"principal": f"device:d{n}", "kind": "device", "ttl": 7200} for n in numbers)
        found = [client.ask("token/issue", one) for one in asked]
        client.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        return [one for part in pool.map(some, _parts(count)) for one in part]


def _parts(count: int) -> list[range]:
    return [range(begin, min(begin + 250, count)) for begin in range(0, count, 250)]


def spread(seconds: list[float]) -> str:
    """Return median, 99th percentile and maximum in milliseconds."""
    p99 = statistics.quantiles(seconds, n=100)[98]
    figures = (statistics.median(seconds), p99, max(seconds))
    return " / ".join(f"{1000 * figure:.2f}" for figure in figures)


def measure(options: Options) -> Section:
    """Measure revocations."""
    section = Section("revocation", "From a revocation to the last message")
    count = QUICK_SESSIONS if options.quick else SESSIONS
    allow_descriptors(count + 100)
    rows = []
    for compiled in (False, True) if options.compiled else (False,):
        name = "Hilum, compiled" if compiled else "Hilum"
        with tempfile.TemporaryDirectory() as folder:
            site = Hilum(Path(folder), name, compiled=compiled)
            try:
                site.apply("TopicSpace", "bench", {"names": ["bench/**"]})
                allow = {
                    "effect": "allow",
                    "subjects": [{"kind": "device"}],
                    "actions": ["subscribe"],
                    "names": ["bench/**"],
                }
                site.apply("AccessPolicy", "bench", allow)
                last, ended, turns = asyncio.run(run(site, issue(site, count)))
            finally:
                site.stop()
        turn = statistics.median(turns)
        rows.append([name, f"{count:,}", spread(last), spread(ended), f"{1000 * turn:.2f}"])
        p99 = statistics.quantiles(last, n=100)[98]
        what = f"{name}: p99 until the last message, in loop iterations"
        section.targets.append(Target(what, p99 / turn, LIMIT, " x"))
    header = ["ms: p50 / p99 / longest", "sessions", "last message", "closed", "loop iteration"]
    section.table(header, rows)
    return section
