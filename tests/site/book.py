"""What a crashing site must still know: every acknowledged change and event, and nothing else."""

import asyncio
import contextlib
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.running import Gateway
from tests.site.wire import Service, Wire, stream

CHANNELS = ("a", "b")
OBJECTS = 3
RETAIN = {"count": 1_000_000, "bytes": 1 << 30}


class Cell:
    """One thing that one client changes: its acknowledged value, and what may be instead."""

    def __init__(self) -> None:
        self.known: Any = None
        self.maybe: list[Any] = []

    def settle(self, found: Any, what: object) -> None:
        """Take for known what a restarted site says, if it may say that."""
        allowed = [self.known, *self.maybe]
        assert found in allowed, f"{what} is {found!r}, acknowledged or on its way: {allowed}"
        self.known, self.maybe = found, []


class Book:
    """The clients of one site that crashes, and what was acknowledged to them."""

    def __init__(self, site: Gateway, service: Service) -> None:
        self.site = site
        self.service = service
        self.cells: dict[tuple[str, str], Cell] = defaultdict(Cell)
        self.secrets: dict[str, str] = {}
        self.guest = ""
        self.published: dict[str, dict[str, str]] = {channel: {} for channel in CHANNELS}
        self.unsure: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
        self.heard: dict[str, list[tuple[str, str]]] = {channel: [] for channel in CHANNELS}
        self.counts: dict[str, int] = defaultdict(int)
        self.numbers: dict[str, int] = defaultdict(int)
        self.down = False

    def wire(self, token: str | None = None) -> Wire:
        return Wire(self.site.url, self.site.token if token is None else token)

    async def set_up(self) -> None:
        """Register what is published to and called, and let a guest call it."""
        channel = {"durable": True, "retain": RETAIN}
        echo = {"endpoints": [{"url": self.service.url}]}
        secret = {f"secret{i}": echo for i in range(3)}
        manifest = {
            **_manifest("World", "world"),
            "objects": [
                {"name": "log", "channels": dict.fromkeys(CHANNELS, channel)},
                {"name": "calls", "methods": {"echo": echo, **secret}},
            ],
        }
        async with self.wire() as wire:
            await _ok(wire.call("registry/register", manifest))
            await _ok(wire.call("registry/register", _manifest("Factory", "factory")))
            rule = _rule("guests", "allow", "calls/**", "", "user:guest")
            await _ok(wire.call("policy/apply", rule))
            asked = {"principal": "user:guest", "kind": "user"}
            self.guest = (await _ok(wire.call("token/issue", asked)))["token"]

    # Load

    async def load(self, seconds: float) -> None:
        """Let all clients work for a while, then kill the site under them."""
        self.down = False
        work = [self.register(f"r{i}") for i in range(3)]
        work += [self.apply(f"p{i}") for i in range(2)]
        work += [self.deny(f"d{i}", f"calls/secret{i}") for i in range(3)]
        work += [self.issue(f"t{i}") for i in range(2)]
        work += [self.create(f"o{i}") for i in range(2)]
        work += [self.publish(f"c{i}", channel) for i in range(3) for channel in CHANNELS]
        work += [self.call(f"g{i}") for i in range(3)]
        work += [self.listen(channel) for channel in CHANNELS]
        tasks = [asyncio.create_task(self.until_the_end(one)) for one in work]
        await asyncio.sleep(seconds)
        self.down = True
        await asyncio.to_thread(self.site.kill)
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)

    async def until_the_end(self, work: Any) -> None:
        try:
            await work
        except ConnectionError:
            assert self.down, "a request failed though the site was up"

    async def change(self, kind: str, key: str, value: Any, asking: Any) -> Any:
        """Make one change: until it is acknowledged nobody knows."""
        cell = self.cells[kind, key]
        cell.maybe = [value]
        answer = await _ok(asking)
        cell.known, cell.maybe = value, []
        self.counts[kind] += 1
        return answer

    def next(self, key: str) -> int:
        self.numbers[key] += 1
        return self.numbers[key]

    async def register(self, key: str) -> None:
        async with self.wire() as wire:
            while True:
                for _ in range(random.randint(1, 4)):
                    n = self.next(key)
                    manifest = _manifest(key, str(n))
                    echo = {"endpoints": [{"url": f"{self.service.url}/{n}"}]}
                    manifest["objects"] = [
                        {"name": f"{key}/{i}", "description": str(n), "methods": {"m": echo}}
                        for i in range(OBJECTS)
                    ]
                    asking = wire.call("registry/register", manifest)
                    await self.change("registration", key, n, asking)
                id_ = {"microservice": key, "version": "1"}
                asking = wire.call("registry/deregister", id_)
                await self.change("registration", key, None, asking)

    async def apply(self, key: str) -> None:
        async with self.wire() as wire:
            while True:
                for _ in range(random.randint(1, 4)):
                    n = self.next(key)
                    both = [_rule(f"{key}-{i}", "allow", f"x/{n}", str(n)) for i in range(2)]
                    asking = wire.call("policy/apply", both)
                    await self.change("policies", key, (n, n), asking)
                for i in range(2):
                    which = {"kind": "AccessPolicy", "name": f"{key}-{i}"}
                    left = (None, n) if i == 0 else (None, None)
                    await self.change("policies", key, left, wire.call("policy/delete", which))

    async def deny(self, key: str, name: str) -> None:
        async with self.wire() as wire, self.wire(self.guest) as guest:
            while True:
                rule = _rule(key, "deny", name, str(n := self.next(key)), "user:guest")
                await self.change("deny", key, n, wire.call("policy/apply", rule))
                assert (await guest.ask("POST", f"/{name}", b"1")).status == 403
                which = {"kind": "AccessPolicy", "name": key}
                await self.change("deny", key, None, wire.call("policy/delete", which))
                assert (await guest.ask("POST", f"/{name}", b"1")).status == 200

    async def issue(self, key: str) -> None:
        async with self.wire() as wire:
            while True:
                note = f"{key}-{self.next(key)}"
                asked = {"principal": f"user:{key}", "kind": "user", "note": note}
                asking = wire.call("token/issue", asked)
                issued = await self.change("token", note, True, asking)
                self.secrets[note] = issued["token"]
                if random.random() < 0.5:
                    asking = wire.call("token/revoke", {"id": issued["id"]})
                    await self.change("token", note, None, asking)

    async def create(self, key: str) -> None:
        creation = {"microservice": "Factory", "version": "1"}
        async with self.wire() as wire:
            while True:
                n = self.next(key)
                made = {**creation, "object": {"name": f"made/{key}", "description": str(n)}}
                await self.change("object", key, n, wire.call("registry/create", made))
                asking = wire.call("registry/destroy", {"name": f"made/{key}"})
                await self.change("object", key, None, asking)

    async def publish(self, key: str, channel: str) -> None:
        async with self.wire() as wire:
            while True:
                text = f"{key}:{self.next(key + channel)}"
                self.unsure[channel].add(text)
                answer = await _ok(wire.ask("POST", f"/log/{channel}", text.encode()))
                self.unsure[channel].discard(text)
                self.published[channel][answer["id"]] = text
                self.counts["event"] += 1

    async def call(self, key: str) -> None:
        async with self.wire(self.guest) as wire:
            while True:
                text = f"{key}:{self.next(key)}"
                answer = await _ok(wire.ask("POST", "/calls/echo", text.encode()))
                assert answer["got"] == text
                self.counts["call"] += 1

    async def listen(self, channel: str) -> None:
        """Hear a channel, resuming where the last crash ended."""
        heard = self.heard[channel]
        last = heard[-1][0] if heard else ""
        async with self.wire() as wire:
            path = f"/log/{channel}" if last else f"/log/{channel}?after=oldest"
            async for event in stream(wire, path, last):
                assert event.kind == "", event
                heard.append((event.id, event.data))
        assert self.down

    # After a restart

    async def check(self) -> None:
        """Compare what the site knows with what was acknowledged."""
        async with self.wire() as wire:
            await self.check_registrations(wire)
            await self.check_policies(wire)
            await self.check_tokens(wire)
            for channel in CHANNELS:
                await self.check_events(wire, channel)

    def settle(self, kind: str, found: dict[str, Any]) -> None:
        unknown = found.keys() - {key for what, key in self.cells if what == kind}
        assert not unknown, f"{kind} nobody made: {unknown}"
        for (what, key), cell in self.cells.items():
            if what == kind:
                cell.settle(found.get(key), (kind, key))

    async def check_registrations(self, wire: Wire) -> None:
        found = await _ok(wire.call("registry/registrations", {"limit": 1000}))
        live = {item["microservice"]: item for item in found["items"]}
        assert live.pop("World")["objects"] == 2
        assert live.pop("Factory")["objects"] == sum(
            [await _exists(wire, f"made/o{i}") for i in range(2)]
        )
        for item in live.values():
            assert item["live"]
            assert item["objects"] == OBJECTS
        self.settle("registration", {k: int(item["description"]) for k, item in live.items()})
        for key, item in live.items():
            for i in range(OBJECTS):
                described = (await wire.ask("GET", f"/{key}/{i}")).json()
                assert described["description"] == item["description"], "torn"
                (target,) = described["methods"]["m"]["bindings"]
                assert target["target"].endswith(f"/{item['description']}")
        for key in {key for kind, key in self.cells if kind == "registration"} - live.keys():
            assert not await _exists(wire, f"{key}/0")
        made = {}
        for key in [key for kind, key in self.cells if kind == "object"]:
            answer = await wire.ask("GET", f"/made/{key}")
            if answer.status == 200:
                made[key] = int(answer.json()["description"])
        self.settle("object", made)

    async def check_policies(self, wire: Wire) -> None:
        items = (await _ok(wire.call("policy/get", {"kind": "AccessPolicy"})))["items"]
        found = {item["metadata"]["name"]: item["spec"].get("description", "") for item in items}
        for name in ("administrators", "self-service", "provisioning", "guests"):
            del found[name]
        numbers = {name: int(text) for name, text in found.items()}
        self.settle("deny", {k: n for k, n in numbers.items() if k.startswith("d")})
        pairs = {key for kind, key in self.cells if kind == "policies"}
        for key in pairs:
            cell = self.cells["policies", key]
            both = (numbers.get(f"{key}-0"), numbers.get(f"{key}-1"))
            cell.settle(None if cell.known is None and both == (None, None) else both, key)
        async with self.wire(self.guest) as guest:
            for i in range(3):
                status = (await guest.ask("POST", f"/calls/secret{i}", b"1")).status
                denied = self.cells["deny", f"d{i}"].known is not None
                assert status == (403 if denied else 200)

    async def check_tokens(self, wire: Wire) -> None:
        items = (await _ok(wire.call("token/list", {})))["items"]
        found = {item["note"]: True for item in items if item["principal"].startswith("user:t")}
        self.settle("token", found)
        for note in random.sample(sorted(self.secrets), min(100, len(self.secrets))):
            async with self.wire(self.secrets[note]) as bearer:
                status = (await bearer.ask("GET", "/log/a")).status
            # Whoever presents so many that are void is told to wait; a valid one still gets in.
            assert status in ((403,) if found.get(note) else (401, 429)), note

    async def check_events(self, wire: Wire, channel: str) -> None:
        """The log is whole and in order, it goes on where it was, and so do its subscribers."""
        events = await self.history(wire, channel)
        assert [int(id_.rpartition("-")[2]) for id_, _ in events] == [*range(1, len(events) + 1)]
        assert len({id_.rpartition("-")[0] for id_, _ in events}) <= 1
        stored = dict(events)
        for id_, text in self.published[channel].items():
            assert stored.get(id_) == text, f"{channel}: {id_} {text} was acknowledged"
        extra = {text for id_, text in events if id_ not in self.published[channel]}
        assert extra <= self.unsure[channel]
        assert len(set(stored.values())) == len(events), "an event is there twice"
        self.published[channel] = stored
        orders = defaultdict(list)
        for _, text in events:
            client, _, n = text.partition(":")
            orders[client].append(int(n))
        for order in orders.values():
            assert order == sorted(order)
        assert self.heard[channel] == events[: len(self.heard[channel])]

    async def history(self, wire: Wire, channel: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while True:
            asked = {
                "name": f"log/{channel}",
                "limit": 1000,
                "after": found[-1][0] if found else "",
            }
            items = (await _ok(wire.call("channel/history", asked)))["items"]
            found += [(item["id"], item["payload"]) for item in items]
            if len(items) < 1000:
                return found


async def run(directory: Path, rounds: int, longest: float) -> Book:
    """Crash a site some times under load, and look after each restart."""
    site = Gateway(directory, config="[store]\nkeep_entries = 100\nsnapshot_every = 50\n")
    async with Service() as service:
        await asyncio.to_thread(site.start)
        try:
            book = Book(site, service)
            await book.set_up()
            for _ in range(rounds):
                await book.load(random.uniform(0.02, longest))
                await crash_and_start(site)
                await book.check()
            code = await asyncio.to_thread(site.stop)
        finally:
            await asyncio.to_thread(site.kill)
    assert code == 0
    assert "Traceback" not in site.logged()
    return book


async def crash_and_start(site: Gateway) -> None:
    """Start a site again; one time in four it crashes while it does."""
    loop = asyncio.get_running_loop()
    if random.random() < 0.25:
        starting = asyncio.create_task(asyncio.to_thread(site.start))
        await asyncio.sleep(random.uniform(0.2, 0.6))
        if site.process is not None:
            site.process.kill()
        with contextlib.suppress(AssertionError, AttributeError):
            await starting
        await asyncio.to_thread(site.kill)
    begin = loop.time()
    await asyncio.to_thread(site.start)
    assert loop.time() - begin < 10, "the site is not ready again quickly"


def _manifest(microservice: str, description: str) -> dict[str, Any]:
    return {
        "apiVersion": "hilum/v1",
        "microservice": microservice,
        "version": "1",
        "lease": 3600,
        "description": description,
    }


def _rule(name: str, effect: str, names: str, description: str, who: str = "user:x") -> Any:
    spec = {"effect": effect, "subjects": [{"principal": who}], "actions": ["call"]}
    return {
        "apiVersion": "hilum/v1",
        "kind": "AccessPolicy",
        "metadata": {"name": name},
        "spec": {**spec, "names": [names], "description": description},
    }


async def _ok(asking: Any) -> Any:
    answer = await asking
    assert answer.status == 200, answer
    return answer.json()


async def _exists(wire: Wire, path: str) -> bool:
    return (await wire.ask("GET", f"/{path}")).status == 200
