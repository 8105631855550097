"""All devices come back at once: ``make bench ARGS=reconnect``.

10,000 MQTT clients connect in one moment, with device secrets and then with chosen passwords
(Argon2id), while somebody else makes a call fifty times a second. How long until all are in, and
what does the storm cost the calls beside it?
"""

import asyncio
import http.client
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from adapters.descriptors import allow_descriptors
from adapters.store.changelog import open_store
from bench.hilum import Hilum
from bench.options import Options
from bench.results import Section, Target
from policy.identity.credentials import new_secret
from policy.identity.passwords import hash_password
from registry.changes import Batch, CredentialIssued, encode
from registry.model import CredentialRecord

DEVICES = 10_000
CALLS = 50
"""A second, beside the storm."""
WAIT = 1.0
"""Seconds until a client that was sent away comes again; twice as long each time, at most 8."""
BACKLOG = 500
"""Connections that are being made at the same time: a kernel's queue is not what is measured."""
PASSWORD = "correct horse"


@dataclass(slots=True)
class Found:
    """What a storm did. Seconds; ``calls`` are the latencies of the calls beside it, sorted."""

    all_in: float
    refused: int
    calls: list[float] = field(default_factory=list)

    def late(self, share: float = 0.99) -> float:
        """Return the latency that a share of the calls stays below."""
        return self.calls[min(int(len(self.calls) * share), len(self.calls) - 1)]


async def enrol(state: Path, count: int, *, passwords: bool) -> list[str]:
    """Write devices' credentials into the log of a site that is not running; return the secrets.

    Passwords are the same for all: to hash each by itself would take longer than the storm.
    """
    verifier = hash_password(PASSWORD, bytes(16))
    made = [(PASSWORD, verifier) if passwords else new_secret(secrets.token_bytes)] * count
    if not passwords:
        made = [new_secret(secrets.token_bytes) for _ in range(count)]
    method = "password" if passwords else "secret"
    changes = [
        CredentialIssued(
            CredentialRecord(
                f"{method}-{number}",
                "password" if passwords else "secret",
                f"{method}-d{number}",
                check,
                f"device:{method}-d{number}",
                "device",
                int(time.time()),
            )
        )
        for number, (_, check) in enumerate(made)
    ]
    store = await open_store(state / "changes.db")
    for start in range(0, count, 500):
        some = tuple(changes[start : start + 500])
        batch = Batch(int(time.time() * 1000), "site:bench", some)
        await store.append(await store.head(), [encode(batch)])
    await store.close()
    return [secret for secret, _ in made]


class Storm:
    """Many devices that connect until they are let in, and stay."""

    def __init__(self, port: int, method: str, passwords: Sequence[str]) -> None:
        self._port = port
        self._method = method
        self._passwords = passwords
        self._entering = asyncio.Semaphore(BACKLOG)
        self._writers: list[asyncio.StreamWriter] = []
        self.refused = 0

    async def run(self) -> float:
        """Let all come at once; return how long it takes until the last one is in."""
        begin = time.monotonic()
        await asyncio.gather(*(self._enter(number) for number in range(len(self._passwords))))
        return time.monotonic() - begin

    def close(self) -> None:
        """Let all go."""
        for writer in self._writers:
            writer.transport.abort()

    async def _enter(self, number: int) -> None:
        wait = WAIT
        while not await self._try(number):
            self.refused += 1
            await asyncio.sleep(random.uniform(wait / 2, wait))
            wait = min(wait * 2, 8.0)

    async def _try(self, number: int) -> bool:
        writer = None
        try:
            async with self._entering:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            user = f"{self._method}-d{number}"
            writer.write(_connect(user, self._passwords[number]))
            said = await asyncio.wait_for(reader.readexactly(4), 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            said = b""
        if said[:1] == b"\x20" and said[3:4] == b"\0" and writer is not None:
            self._writers.append(writer)
            return True
        if writer is not None:
            writer.transport.abort()
        return False


class Beside(threading.Thread):
    """Makes calls at a steady pace in a thread, and notes how long each takes."""

    def __init__(self, port: int, token: str, path: str = "/$site/registry/list") -> None:
        super().__init__(daemon=True)
        self._port = port
        self._path = path
        self._fields = {"Authorization": f"Bearer {token}"}
        self._over = threading.Event()
        self.taken: list[float] = []

    def run(self) -> None:
        """Call until ``stop``; a call that is late delays those after it, which count from then."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            due = time.monotonic()
            while not self._over.is_set():
                connection.request("GET", self._path, headers=self._fields)
                reply = connection.getresponse()
                reply.read()
                if reply.status != 200:
                    raise RuntimeError(f"a call was answered {reply.status}")
                self.taken.append(time.monotonic() - due)
                due = max(due + 1 / CALLS, time.monotonic() - 5.0)
                time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> list[float]:
        """Return how long the calls took, sorted."""
        self._over.set()
        self.join()
        return sorted(self.taken)


def blow(
    mqtt_port: int, http_port: int, token: str, method: str, passwords: Sequence[str]
) -> Found:
    """Let a storm blow over a running site."""
    allow_descriptors(len(passwords) + 1000)

    async def storm() -> tuple[float, int]:
        blowing = Storm(mqtt_port, method, passwords)
        took = await blowing.run()
        blowing.close()
        await asyncio.sleep(0.5)
        return took, blowing.refused

    beside = Beside(http_port, token)
    beside.start()
    try:
        took, refused = asyncio.run(storm())
    finally:
        calls = beside.stop()
    return Found(took, refused, calls)


def calm(http_port: int, token: str, seconds: float) -> Found:
    """Make the same calls while nothing else happens."""
    beside = Beside(http_port, token)
    beside.start()
    time.sleep(seconds)
    return Found(0.0, 0, beside.stop())


def measure(options: Options) -> Section:
    """Measure both storms."""
    section = Section("reconnect", "Reconnect storm: all MQTT devices come back in one moment")
    devices = 1_000 if options.quick else DEVICES
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Hilum(folder / "site").stop()
        made: dict[str, list[str]] = {}
        for method in ("secret", "password"):
            enrolling = enrol(folder / "site" / "state", devices, passwords=method == "password")
            made[method] = asyncio.run(enrolling)
        site = Hilum(folder / "site")
        try:
            found["nothing"] = calm(site.port, site.token, 3.0)
            for method, passwords in made.items():
                found[method] = blow(site.mqtt_port, site.port, site.token, method, passwords)
        finally:
            site.stop()
    _report(section, devices, found)
    return section


def _report(section: Section, devices: int, found: dict[str, Found]) -> None:
    told: list[tuple[str, Callable[[Found], str]]] = [
        ("all in after", lambda one: f"{one.all_in:.1f} s" if one.all_in else ""),
        ("sent away, and came again", lambda one: f"{one.refused:,}" if one.all_in else ""),
        ("calls beside it", lambda one: f"{len(one.calls):,}"),
        ("a call, median", lambda one: f"{one.late(0.5) * 1e3:.1f} ms"),
        ("the slowest of 100", lambda one: f"{one.late() * 1e3:.1f} ms"),
        ("the slowest", lambda one: f"{one.calls[-1] * 1e3:.0f} ms"),
    ]
    section.table(
        [f"{devices:,} devices", "no storm", "device secrets", "chosen passwords"],
        [[what, *(say(one) for one in found.values())] for what, say in told],
    )
    section.notes = ["A call that is late delays the next: latencies count from when it was due."]
    section.targets = [
        Target("secrets: the slowest call, in seconds", found["secret"].calls[-1], 1.0),
        Target("passwords: the slowest call of 100, in seconds", found["password"].late(), 0.25),
    ]


def _connect(user: str, password: str) -> bytes:
    """Return a CONNECT of MQTT 3.1.1 with a user and a password (section 3.1)."""
    texts = (user.encode(), user.encode(), password.encode())
    payload = b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    body = b"\0\4MQTT\4\xc2\0\0" + payload
    return b"\x10" + _length(len(body)) + body


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])
