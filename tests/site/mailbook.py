"""MQTT clients of a crashing site, and what each was promised and was given.

A client remembers what MQTT says that a client remembers (MQTT 5.0 section 4.1), across every
crash: publishers send again under the same packet identifiers, subscribers know what they have.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.adapters import mqtt_bytes as raw
from tests.running import Gateway
from tests.site.book import crash_and_start
from tests.site.wire import Wire

TOPICS = ("memory/a", "log/a", "free/a")
FILTERS = ("memory/a", "log/a", "free/#")
WINDOW = 16
CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, DISCONNECT = 2, 3, 4, 5, 6, 7, 9, 14
CONFIG = "[mqtt]\nqueue = 60000\nqueue_bytes = 100000000\n"
SPACE = """
apiVersion: hilum/v1
kind: TopicSpace
metadata: {name: free}
spec: {names: ["free/**"]}
"""


class Link:
    """One connection to the site's MQTT listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def packet(self) -> tuple[int, bytes]:
        """Return a packet's first byte and the rest after its length."""
        try:
            first = (await self.reader.readexactly(1))[0]
            length, shift = 0, 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = await self.reader.readexactly(length)
        except (OSError, EOFError) as error:
            raise ConnectionError from error
        if first >> 4 == DISCONNECT:
            raise ConnectionError(f"DISCONNECT {body.hex()}")
        return first, body


class Client:
    """A client with a session that outlives its connection; ``kept`` once the site said so."""

    def __init__(self, site: Gateway, name: str, version: int) -> None:
        self.site = site
        self.name = name
        self.version = version
        self.kept = False

    @contextlib.asynccontextmanager
    async def connected(self) -> Any:
        url = urlsplit(self.site.mqtt)
        try:
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
        except OSError as error:
            raise ConnectionError from error
        link = Link(reader, writer)
        try:
            secret = raw.string("device") + raw.string(self.site.token)
            expiry = b"\x11" + (3600).to_bytes(4, "big")
            link.send(
                raw.connect(self.name, self.version, flags=0xC0, props=expiry, payload=secret)
            )
            first, body = await link.packet()
            assert (first >> 4, body[1]) == (CONNACK, 0), body
            assert body[0] or not self.kept, f"{self.name}: the session is lost"
            yield link
        finally:
            writer.close()

    def read_publish(self, first: int, body: bytes) -> tuple[str, int, str]:
        """Return topic, packet identifier (0: none) and payload."""
        length = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        packet_id = 0
        if first & 6:
            packet_id, rest = int.from_bytes(rest[:2], "big"), rest[2:]
        if self.version == 5:
            length, used = rest[0], 1
            if length >= 0x80:
                length, used = length - 0x80 + rest[1] * 128, 2
            rest = rest[used + length :]
        return topic, packet_id, rest.decode()


class Publisher(Client):
    """Sends messages to one topic, each until the site has answered for it."""

    def __init__(self, site: Gateway, name: str, version: int, topic: str, qos: int) -> None:
        super().__init__(site, name, version)
        self.topic = topic
        self.qos = qos
        self.sent = 0
        self.acknowledged: set[int] = set()
        # Packet identifier -> number of the message, in the order of sending.
        self.pending: dict[int, int] = {}
        self.released: dict[int, int] = {}
        self.last_id = 0

    async def work(self, *, finish: bool = False) -> None:
        """Publish until the site is gone, or ``finish`` what is pending."""
        while self.pending or self.released or not finish:
            await self.work_once(finish=finish)

    async def work_once(self, *, finish: bool) -> None:
        """Publish, and break the connection at any moment."""
        async with self.connected() as link:
            for packet_id, number in self.pending.items():
                link.send(self.publish(packet_id, number, again=True))
            for packet_id in self.released:
                link.send(raw.ack(PUBREL << 4 | 2, packet_id))
            for _ in range(random.randint(1, 500)):
                if finish and not self.pending and not self.released:
                    return
                while not finish and len(self.pending) + len(self.released) < WINDOW:
                    self.sent += 1
                    packet_id = self.free_id()
                    self.pending[packet_id] = self.sent
                    link.send(self.publish(packet_id, self.sent))
                await link.writer.drain()
                self.take(link, *await link.packet())

    def publish(self, packet_id: int, number: int, *, again: bool = False) -> bytes:
        first = PUBLISH << 4 | again << 3 | self.qos << 1
        payload = f"{self.name}:{number}".encode()
        return raw.publish(self.topic, payload, self.version, first=first, pid=packet_id)

    def take(self, link: Link, first: int, body: bytes) -> None:
        packet_id, reason = int.from_bytes(body[:2], "big"), body[2:3]
        kind = first >> 4
        # 0x92: the site knew that PUBREL had come, and the crash took its PUBCOMP.
        fine = (b"", b"\0", b"\x10", b"\x92" if kind == PUBCOMP else b"")
        assert reason in fine, (self.name, first, body)
        if kind == PUBCOMP:
            del self.released[packet_id]
            self.kept = True
            return
        number = self.pending.pop(packet_id)
        self.acknowledged.add(number)
        if kind == PUBREC:
            self.released[packet_id] = number
            link.send(raw.ack(PUBREL << 4 | 2, packet_id))
        else:
            assert kind == PUBACK

    def free_id(self) -> int:
        while True:
            self.last_id = self.last_id % 200 + 1  # so that they are soon used again
            if self.last_id not in self.pending and self.last_id not in self.released:
                return self.last_id


class Subscriber(Client):
    """Takes what comes, sometimes slowly, and breaks the connection now and then."""

    def __init__(self, site: Gateway, name: str, version: int, qos: int) -> None:
        super().__init__(site, name, version)
        self.qos = qos
        self.got: list[tuple[str, str]] = []
        self.received: set[int] = set()

    async def work(self) -> None:
        while True:
            async with self.connected() as link:
                if not self.kept:
                    wanted = [(one, self.qos) for one in FILTERS]
                    link.send(raw.subscribe(*wanted, version=self.version, pid=7))
                for number in range(random.randint(50, 2_000)):
                    if number % 500 == 499:
                        await asyncio.sleep(random.uniform(0, 0.01))
                    self.take(link, *await link.packet())

    async def subscribed(self) -> None:
        """Subscribe, and go again."""
        working = asyncio.create_task(self.work())
        while not self.kept:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    def take(self, link: Link, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == PUBLISH:
            topic, packet_id, text = self.read_publish(first, body)
            qos = first >> 1 & 3
            if qos == 2 and packet_id not in self.received:
                self.received.add(packet_id)
                self.got.append((topic, text))
            elif qos == 1:
                self.got.append((topic, text))
            link.send(raw.ack((PUBREC if qos == 2 else PUBACK) << 4, packet_id))
        elif kind == PUBREL:
            packet_id = int.from_bytes(body[:2], "big")
            self.received.discard(packet_id)
            link.send(raw.ack(PUBCOMP << 4, packet_id))
        else:
            granted = body[-len(FILTERS) :]
            assert (kind, granted) == (SUBACK, bytes([self.qos] * len(FILTERS))), body
            self.kept = True


class Poster:
    """Publishes over HTTP, and sends nothing twice."""

    def __init__(self, site: Gateway, name: str, topic: str) -> None:
        self.site = site
        self.name = name
        self.topic = topic
        self.qos = 1
        self.sent = 0
        self.acknowledged: set[int] = set()

    async def work(self) -> None:
        async with Wire(self.site.url, self.site.token) as wire:
            while True:
                self.sent += 1
                text = f"{self.name}:{self.sent}".encode()
                answer = await wire.ask("POST", f"/{self.topic}", text)
                if answer.status == 503:
                    raise ConnectionError(answer)
                assert answer.status == 200, answer
                self.acknowledged.add(self.sent)


class Mailbook:
    """All clients of one site."""

    publisher = Publisher

    def __init__(self, site: Gateway) -> None:
        self.site = site
        self.publishers = [
            self.publisher(site, f"p{qos}v{version}{topic[0]}", version, topic, qos)
            for topic in TOPICS
            for qos, version in ((1, 4), (2, 5), (2, 4))
        ]
        self.posters = [Poster(site, f"h{topic[0]}", topic) for topic in TOPICS]
        self.subscribers = [
            Subscriber(site, f"s{qos}v{version}", version, qos)
            for qos, version in ((1, 4), (2, 5), (2, 4))
        ]
        self.down = False

    async def set_up(self) -> None:
        """Make the channels, subscribe for good, and let every session get into the store."""
        retain = {"count": 1_000_000, "bytes": 1 << 30}
        channels = [
            {"name": "memory", "channels": {"a": {}}},
            {"name": "log", "channels": {"a": {"durable": True, "retain": retain}}},
        ]
        await asyncio.to_thread(self.site.register, {"microservice": "Mail", "objects": channels})
        await asyncio.to_thread(self.site.apply, SPACE)
        for subscriber in self.subscribers:
            await subscriber.subscribed()

    async def load(self, seconds: float) -> None:
        """Let clients work for a while, some subscribers being away, then kill the site.

        One time in five it is asked to end instead.
        """
        self.down = False
        here = random.sample(self.subscribers, random.randint(1, len(self.subscribers)))
        tasks = [
            asyncio.create_task(self.until_the_end(one))
            for one in (*self.publishers, *self.posters, *here)
        ]
        await asyncio.sleep(seconds)
        self.down = True
        await asyncio.to_thread(self.site.stop if random.random() < 0.2 else self.site.kill)
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)

    async def until_the_end(self, client: "Publisher | Subscriber | Poster") -> None:
        try:
            await client.work()
        except ConnectionError:
            assert self.down, "a connection broke though the site was up"

    async def finish(self) -> None:
        """Send what is still to be sent, and receive what is still to come."""
        async with asyncio.timeout(60):
            await asyncio.gather(*(one.work(finish=True) for one in self.publishers))
        working = [asyncio.create_task(one.work()) for one in self.subscribers]
        end = asyncio.get_running_loop().time() + 60
        while not all(self.has_all(one) for one in self.subscribers):
            if any(task.done() for task in working) or end < asyncio.get_running_loop().time():
                break  # what is missing, the check says
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)  # for what must not come
        for task in working:
            task.cancel()
        ended = await asyncio.gather(*working, return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError] * len(ended), ended

    def has_all(self, subscriber: Subscriber) -> bool:
        got = {text for _, text in subscriber.got}
        return not any(self.missing(one, got) for one in (*self.publishers, *self.posters))

    def missing(self, source: Publisher | Poster, got: set[str]) -> list[str]:
        wanted = (f"{source.name}:{number}" for number in sorted(source.acknowledged))
        return [text for text in wanted if text not in got]

    def check(self) -> None:
        """Compare what each subscriber got with what was acknowledged."""
        for subscriber in self.subscribers:
            for source in (*self.publishers, *self.posters):
                got = [
                    int(text.partition(":")[2])
                    for topic, text in subscriber.got
                    if text.startswith(source.name + ":") and topic == source.topic
                ]
                who = (subscriber.name, source.name)
                assert not source.acknowledged - set(got), who
                assert set(got) <= set(range(1, source.sent + 1)), who
                first = list(dict.fromkeys(got))
                assert first == sorted(first), who
                if min(subscriber.qos, source.qos) == 2:
                    twice = [number for number, times in Counter(got).items() if times > 1]
                    assert got == list(range(1, source.sent + 1)), (who, twice)
            assert len(subscriber.got) == sum(
                text.partition(":")[0] in self.names() for _, text in subscriber.got
            )

    def names(self) -> set[str]:
        return {one.name for one in (*self.publishers, *self.posters)}

    async def check_log(self) -> None:
        """The durable channel has each QoS 2 message once: the mark came with the event."""
        texts = await self.history()
        for source in self.publishers:
            if source.topic == "log/a":
                got = [int(t.partition(":")[2]) for t in texts if t.startswith(source.name + ":")]
                if source.qos == 2:
                    assert got == list(range(1, source.sent + 1)), source.name
                assert set(got) == set(range(1, source.sent + 1)), source.name

    def check_store(self) -> None:
        """All is done with: nothing is left of it in the store."""
        with contextlib.closing(sqlite3.connect(self.site.state / "events.db")) as connection:
            for table in ("queued", "bodies", "marks"):
                (left,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert left == 0, table

    async def history(self) -> list[str]:
        found: list[str] = []
        after = ""
        async with Wire(self.site.url, self.site.token) as wire:
            while True:
                asked = {"name": "log/a", "limit": 1000, "after": after}
                answer = await wire.call("channel/history", asked)
                assert answer.status == 200, answer
                items = answer.json()["items"]
                found += [item["payload"] for item in items]
                if len(items) < 1000:
                    return found
                after = items[-1]["id"]


async def run(
    directory: Path, rounds: int, longest: float, kind: type[Mailbook] = Mailbook
) -> Mailbook:
    """Crash a site some times under load, then see that all came as it was promised."""
    site = Gateway(directory, config=CONFIG)
    await asyncio.to_thread(site.start)
    try:
        book = kind(site)
        await book.set_up()
        for _ in range(rounds):
            await book.load(random.uniform(0.1, longest))
            await crash_and_start(site)
        await book.finish()
        book.check()
        await book.check_log()
        code = await asyncio.to_thread(site.stop)
        book.check_store()
    finally:
        await asyncio.to_thread(site.kill)
    assert code == 0
    assert "Traceback" not in site.logged()
    return book
