"""Sites on a real store, with time in the test's hands and a store that can be told to fail."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from time import thread_time

import msgspec

from adapters.store.changelog import SqliteStore, open_store
from gateway.ports import Entry, Snapshot, StoreConflict, StoreError
from gateway.site import Clocks, Identity, Site
from gateway.view import Route
from policy.model import AccessPolicy, Action, Policy, ResolutionPolicy, Subject
from policy.resolution import Selection
from registry.changes import Change, PolicyApplied, Registered, TokenIssued
from registry.model import (
    Endpoint,
    EventChannel,
    Kind,
    Method,
    PolicyRecord,
    Registration,
    RegistrationId,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name
from tests.gateway.play import ScriptedProvider

A = RegistrationId("Weather", "1", "a")
B = RegistrationId("Weather", "1", "b")
W = Name("s/w")
ASK = Name("s/w/ask")
NEWS = Name("s/w/news")


class Time:
    """The loop's clock and the wall's, moved by the test."""

    def __init__(self) -> None:
        self.loop = 100.0
        self.unix = 1_700_000_000.0

    def pass_by(self, seconds: float) -> None:
        self.loop += seconds
        self.unix += seconds

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.loop, lambda: self.unix)


class Moody:
    """A store whose appends fail while ``fault`` says how, or wait while ``gate`` is shut."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.fault: Callable[[], StoreError] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends = 0

    def break_down(self, why: str = "the disk is full") -> None:
        self.fault = lambda: StoreError(why)

    def recover(self) -> None:
        self.fault = None

    @property
    def findings(self) -> Sequence[str]:
        return self._store.findings

    async def append(self, expected: int, bodies: Sequence[bytes]) -> int:
        self.appends += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault()
        return await self._store.append(expected, bodies)

    def follow(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        return self._store.follow(after)

    async def snapshot(self) -> Snapshot | None:
        return await self._store.snapshot()

    async def save_snapshot(self, seq: int, records: Iterable[bytes]) -> None:
        await self._store.save_snapshot(seq, records)

    async def head(self) -> int:
        return await self._store.head()

    async def close(self) -> None:
        await self._store.close()


@contextlib.asynccontextmanager
async def opened(folder: Path, **how: int) -> AsyncIterator[Moody]:
    store = Moody(await open_store(folder / "changes.db", **how))
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def running(
    store: Moody, time: Time, *, own: Sequence[str] = (), snapshot_every: int = 10_000
) -> AsyncIterator[Site]:
    """A site that serves; ``own`` are names of methods that it answers itself."""
    site = Site(Identity("s"), store, ScriptedProvider([]), time.clocks(), snapshot_every)
    site.plane.now = time.loop
    meter = site.view.meter_of("$site")
    site.own(Route(Name(name), Kind.METHOD, "", meter) for name in own)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()


def registration(
    id_: RegistrationId = A,
    *,
    obj: Name = W,
    owner: str = "svc:w",
    generation: int = 1,
    lease: int = 60,
    methods: Iterable[str] = ("ask",),
    channels: Iterable[str] = ("news",),
) -> Registration:
    url = f"http://{id_.instance}.test/"
    made = VirtualObject(
        obj,
        methods={m: Method(endpoints=(Endpoint(url + m),)) for m in methods},
        channels={c: EventChannel() for c in channels},
    )
    return Registration(id_, owner, "10.0.0.1", lease, generation, (made,))


def registered(id_: RegistrationId = A, **how: object) -> Registered:
    return Registered(registration(id_, **how))  # type: ignore[arg-type]


def record(name: str, policy: Policy, revision: int = 1) -> PolicyRecord:
    spec = msgspec.json.encode(policy).decode()
    return PolicyRecord(type(policy).__name__, name, revision, "site:admin", spec)


def applied(name: str, policy: Policy, revision: int = 1) -> PolicyApplied:
    return PolicyApplied(record(name, policy, revision))


def rule(effect: str, *actions: Action, names: str = "**", who: str = "*") -> AccessPolicy:
    return AccessPolicy(effect, (Subject(who),), actions or tuple(Action), (names,))


def resolution(*names: str, **how: object) -> ResolutionPolicy:
    return ResolutionPolicy(names or ("**",), **how)  # type: ignore[arg-type]


def issued(token: str, principal: str = "user:ann", expires: float = 2e9) -> TokenIssued:
    return TokenIssued(TokenRecord(token, f"digest-{token}", principal, "user", 1, int(expires)))


async def change(site: Site, *changes: Change) -> None:
    await site.ledger.change("site:test", lambda _: changes)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """Note what each pass of the loop costs, in CPU seconds: a busy machine is no excuse.

    Nor is the garbage of other tests, which is kept out of collections meanwhile.
    """
    passes: list[float] = []
    gc.freeze()

    async def watch() -> None:
        while True:
            before = thread_time()
            await asyncio.sleep(0)
            passes.append(thread_time() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield passes
    finally:
        watching.cancel()
        gc.unfreeze()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (any condition, not only an event)
            await asyncio.sleep(0.005)


def shown(site: Site) -> dict[str, object]:
    """What traffic would meet, without the identity of anything."""
    return {
        name: (
            route.kind,
            route.owner,
            route.method,
            route.channel,
            route.one_of_group,
            route.selection and resolved(route.selection),
        )
        for name, route in sorted(site.view.routes.items())
    }


def resolved(selection: Selection) -> object:
    tiers = [sorted((str(t), w) for t, w in tier.weights.items()) for tier in selection.tiers]
    return str(selection.single), tiers, selection.sticky, selection.health_check


def conflict(expected: int = 0, head: int = 0) -> StoreError:
    return StoreConflict(expected, head)
