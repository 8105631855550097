"""Which endpoint gets a call while traffic flows, with services in processes of their own."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.http.upstream import probe
from adapters.http.upstream.probe import Prober
from policy.model import Choice, HealthCheck, Passive, ResolutionPolicy
from tests.adapters.relay import Relay, echo, running_relay, service
from tests.adapters.wire import connected, until

CHILD = Path(__file__).with_name("upstream_child.py")


class Process:
    """One running service."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-I", str(CHILD), name]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    async def tell(self, what: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def permanent() -> Iterator[list[Process]]:
    """Services that no test kills."""
    processes = [Process(name) for name in "abc"]
    yield processes
    for process in processes:
        process.kill()


@pytest.fixture
def mortal() -> Iterator[list[Process]]:
    """Services of one test."""
    processes: list[Process] = [Process(name) for name in "ab"]
    yield processes
    for process in processes:
        process.kill()


async def bind(relay: Relay, processes: list[Process], **traits: bool) -> None:
    """Bind ``Who/am`` to one instance in each process."""
    for process in processes:
        await relay.method("Who/am", process.url, instance=process.name, **traits)


async def policy(relay: Relay, *choices: Choice, **rest: object) -> None:
    await relay.policy("who", ResolutionPolicy(("Who/**",), choices=choices, **rest))  # type: ignore[arg-type]


async def count(relay: Relay, calls: int, *lines: str) -> Counter[str]:
    """Call many times on one connection; return who answered how often (or which code)."""
    answers: Counter[str] = Counter()
    async with connected(relay.port) as client:
        for _ in range(calls):
            answer = await client.ask(relay.request("/Who/am", b"x", *lines, close=False))
            answers[answer.body.decode() if answer.code == 200 else str(answer.code)] += 1
    return answers


async def test_instances_share_calls_evenly(relay: Relay, permanent: list[Process]):
    await bind(relay, permanent)
    answers = await count(relay, 60)
    assert set(answers) == set("abc")
    assert all(15 <= n <= 25 for n in answers.values())


async def test_weights(relay: Relay, permanent: list[Process]):
    await bind(relay, permanent)
    await policy(
        relay,
        Choice(instance="a", weight=3),
        Choice(instance="b", weight=1),
        Choice(instance="c", weight=0),
    )
    answers = await count(relay, 128)
    assert set(answers) == {"a", "b"}
    assert 90 <= answers["a"] <= 102


async def test_sticky_by_header_and_by_principal(relay: Relay, permanent: list[Process]):
    await bind(relay, permanent)
    await policy(relay, sticky="header:X-Session")
    chosen = set()
    for session in range(30):
        answers = await count(relay, 4, f"x-session: {session}")
        assert len(answers) == 1
        chosen |= set(answers)
    assert chosen == set("abc")
    assert len(await count(relay, 12)) == 3
    await policy(relay, sticky="principal")
    first = await count(relay, 12)
    assert len(first) == 1
    assert await count(relay, 12) == first
    chosen = set()
    for number in range(30):
        relay.token = await relay.issue(f"site:phone{number}")
        chosen |= set(await count(relay, 2))
    assert chosen == set("abc")


async def test_failover_when_a_process_dies(relay: Relay, mortal: list[Process]):
    """Idempotent calls do not fail at all; the dead one is left alone for a while, then asked."""
    a, b = mortal
    await bind(relay, mortal, idempotent=True)
    await policy(
        relay,
        Choice(instance="a", order=0),
        Choice(instance="b", order=1),
        passive=Passive(failures=2, seconds=0.5),
    )
    assert await count(relay, 20) == {"a": 20}
    a.kill()
    assert await count(relay, 50) == {"b": 50}
    fresh = Process("a")
    mortal.append(fresh)
    await relay.method("Who/am", fresh.url, instance="a", idempotent=True)
    await asyncio.sleep(0.6)
    assert await count(relay, 20) == {"a": 20}
    b.kill()
    assert await count(relay, 20) == {"a": 20}


async def test_nothing_is_left(relay: Relay, mortal: list[Process]):
    await bind(relay, mortal)
    for process in mortal:
        process.kill()
    answers = await count(relay, 5)
    assert set(answers) <= {"502", "503"}
    code, head, body = await relay.ask("/Who/am", b"x")
    assert code == 503
    assert b"Retry-After: 1\r\n" in head
    assert b"cannot connect" in body


async def test_passive_ejection_by_5xx(relay: Relay, permanent: list[Process]):
    """A service that fails is given a rest; with nobody else left it is asked all the same."""
    a, b, _ = permanent
    await bind(relay, permanent[:2])
    await policy(relay, passive=Passive(failures=2, seconds=1))
    await a.tell("break")
    try:
        answers = await count(relay, 40)
        assert 2 <= answers["500"] <= 6  # twice, and again when its rest is over
        assert answers["b"] == 40 - answers["500"]
        await b.tell("break")
        answers = await count(relay, 20)
        assert answers == {"500": 20}
    finally:
        await a.tell("mend")
        await b.tell("mend")
    await asyncio.sleep(1.1)
    assert set(await count(relay, 20)) == {"a", "b"}


async def test_active_probes(relay: Relay, mortal: list[Process], monkeypatch: pytest.MonkeyPatch):
    """A service that says that it is not well gets nothing, until it is well again or dies."""
    monkeypatch.setattr(probe, "TICK_SECONDS", 0.02)
    check = HealthCheck("/health", interval=0.1, timeout=0.5, healthy=2, unhealthy=2)
    a, b = mortal
    await bind(relay, mortal)
    await policy(relay, health=check, passive=Passive(1000, 0))
    probing = asyncio.ensure_future(Prober(relay.site.view, relay.egress).run())
    try:

        def down() -> list[str]:
            probed = list(relay.site.view.probed())
            return sorted(t.registration.instance for t, _ in probed if t.health.down)

        await asyncio.sleep(0.3)
        assert not down()
        await a.tell("sick")
        await until(lambda: down() == ["a"])
        assert await count(relay, 10) == {"b": 10}
        b.kill()
        await until(lambda: down() == ["a", "b"])
        code, _, body = await relay.ask("/Who/am", b"x")
        assert code == 503
        assert b"fails its health checks" in body
        await a.tell("well")
        await until(lambda: down() == ["b"])
        assert await count(relay, 10) == {"a": 10}
    finally:
        probing.cancel()


async def test_a_probe_takes_whatever_comes(relay: Relay, monkeypatch: pytest.MonkeyPatch):
    """Garbage, silence and floods mean not well; the prober goes on."""
    monkeypatch.setattr(probe, "TICK_SECONDS", 0.02)

    def saying(data: bytes, *, stay: bool = False):
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
            if stay:
                await asyncio.sleep(5)

        return talk

    async with (
        service(saying(b"")) as empty,
        service(saying(b"SSH-2.0\r\n")) as garbage,
        service(saying(b"HTTP/1.1 200", stay=True)) as half,
        service(saying(b"x" * 1_000_000)) as flood,
        service(saying(b"HTTP/1.1 500 No\r\n\r\n")) as failing,
        service(saying(b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:9/\r\n\r\n")) as well,
    ):
        urls = {"empty": empty, "garbage": garbage, "half": half, "flood": flood}
        urls |= {"failing": failing, "well": well, "refuses": "http://127.0.0.1:9"}
        for name, url in urls.items():
            await relay.method("Who/am", f"{url}/", instance=name)
        check = HealthCheck("/health", interval=0.1, timeout=0.2, healthy=1, unhealthy=1)
        await policy(relay, health=check)
        probing = asyncio.ensure_future(Prober(relay.site.view, relay.egress).run())
        await asyncio.sleep(0.8)
        assert not probing.done()
        probing.cancel()
        health = {t.registration.instance: t.health.down for t, _ in relay.site.view.probed()}
    assert health == {name: name != "well" for name in urls}


# Another site


async def test_redirect_to_another_site(tmp_path: Path):
    """The call goes on there with our token, the caller's verb and query, and one more hop."""
    seen: list[tuple[bytes, bytes]] = []
    credentials: dict[str, bytes] = {}
    async with (
        running_relay(tmp_path / "far", authority="far.example") as far,
        running_relay(tmp_path / "near", credentials=credentials) as near,
        service(echo(seen)) as url,
    ):
        await far.method("Who/am", f"{url}/x", safe=True, authority="far.example")
        token = await far.issue("site:near", kind="gateway")
        credentials[far.url] = f"Authorization: Bearer {token}\r\n".encode()
        away = ResolutionPolicy(("Who/**",), choices=(Choice(site=far.url),))
        await near.method("Who/am", "http://127.0.0.1:9/", safe=True)
        await near.policy("away", away)
        code, head, body = await near.ask("/Who/am?q=1", b"hello")
        assert (code, body) == (200, b"hello")
        assert b"Hilum-Origin" not in head
        code, _, _ = await near.ask("/Who/am?q=2", verb="GET")
        assert code == 200
        code, head, _ = await near.ask("/Who/other")
        assert code == 404
        first, second = (head for head, _ in seen)
        assert first.startswith(b"POST /x?q=1 HTTP/1.1\r\n")
        assert b"Hilum-Hops: 2\r\n" in first
        assert b"Hilum-Principal: site:near;kind=gateway;" in first
        assert second.startswith(b"POST /x?q=2 HTTP/1.1\r\n")
        # A refusal there is not one of ours.
        await far.policy("who", ResolutionPolicy(("Who/**",), choices=(Choice(instance="gone"),)))
        code, head, _ = await near.ask("/Who/am", b"x")
        assert code == 503
        assert b"Hilum-Origin: provider\r\n" in head


async def test_two_sites_that_point_at_each_other(tmp_path: Path):
    """A call goes to and fro until it has passed eight gateways, and no further."""
    credentials: dict[str, bytes] = {}
    async with (
        running_relay(tmp_path / "one", credentials=credentials) as one,
        running_relay(tmp_path / "two", credentials=credentials) as two,
    ):
        for relay, other in ((one, two), (two, one)):
            token = await other.issue("site:neighbour", kind="gateway")
            credentials[other.url] = f"Authorization: Bearer {token}\r\n".encode()
            await relay.method("Who/am", "http://127.0.0.1:9/")
            away = ResolutionPolicy(("Who/**",), choices=(Choice(site=other.url),))
            await relay.policy("away", away)
        code, _, body = await one.ask("/Who/am", b"x")
        assert code == 508
        assert b"8 gateways: a loop" in body
        assert not one.site.plane.live
        assert not two.site.plane.live


async def test_a_version_is_switched_in_mid_stream(relay: Relay, permanent: list[Process]):
    """Under load, with no failed call, and to the new version only afterwards."""
    a, b, _ = permanent
    await relay.method("Who/am", a.url, version="1.0.0", instance="a")
    await relay.method("Who/am", b.url, version="2.0.0", instance="b")
    answers: Counter[str] = Counter()
    ended = asyncio.Event()

    async def load() -> None:
        async with connected(relay.port) as client:
            while not ended.is_set():
                answer = await client.ask(relay.request("/Who/am", b"x", close=False))
                answers[answer.body.decode() if answer.code == 200 else str(answer.code)] += 1

    loads = [asyncio.ensure_future(load()) for _ in range(4)]
    await asyncio.sleep(0.2)
    assert set(answers) == {"a"}
    for turn in range(10):
        await policy(relay, Choice(version="2.0.0" if turn % 2 else "1.0.0"))
        await asyncio.sleep(0.02)
    answers.clear()
    await asyncio.sleep(0.2)
    assert set(answers) == {"b"}
    ended.set()
    await asyncio.gather(*loads)
    assert set(answers) == {"b"}
