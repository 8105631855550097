"""The site: change log -> catalog -> View, and what holds while it lives (design 5).

It is handed its ports. Traffic never waits for it: a Route is compiled beside the one in use
and put in its place in one step.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from functools import partial
from random import random
from typing import NamedTuple

from gateway.accounts import Accounts
from gateway.exchange import Plane
from gateway.facts import NameFacts
from gateway.free_topics import FreeTopics
from gateway.identity.credentials import CredentialBook, withdrawn, withdrawn_principal
from gateway.identity.identity import Authentication
from gateway.installer import Installer
from gateway.introspection import Introspection
from gateway.ledger import Entered, Ledger, Plan
from gateway.message import Status, Unwritten
from gateway.policies import DECIDING, PolicyBook, is_deny
from gateway.policy_expiry import PolicyExpiry, withdrawal
from gateway.ports import Provider, Store
from gateway.sessions import Sessions
from gateway.view import Compiler, Route, View
from gateway.watchers import Watchers
from policy.model import Action, Principal
from registry.catalog import Catalog
from registry.changes import (
    Change,
    Expired,
    PolicyApplied,
    PolicyDeleted,
)
from registry.model import PolicyRecord, Registration, RegistrationId
from registry.names import Name, Pattern

log = logging.getLogger("hilum.site")

AT_ONCE = 100
"""Expiries that are written as one entry."""
DECISION_SECONDS = 60.0
"""How old a cached decision grows: what is asked all the time shows up among recent questions."""
FREE = "$free"
"""The microservice that free topics are counted under."""
SYSTEM = "site:system"
"""The actor of what the site does by itself."""


class Identity(NamedTuple):
    """How the site is called."""

    authority: str
    aliases: frozenset[str] = frozenset()
    remotes: frozenset[str] = frozenset()


class Clocks(NamedTuple):
    """``loop`` is monotonic seconds, ``unix`` Unix time in seconds.

    ``offset`` is how many seconds local time is ahead of UTC at a Unix time.
    """

    loop: Callable[[], float]
    unix: Callable[[], float]
    offset: Callable[[float], int] = lambda _: 0


class Site:
    """One site: its state, what traffic is decided on, and its leases."""

    def __init__(
        self,
        identity: Identity,
        store: Store,
        local: Provider,
        clocks: Clocks,
        snapshot_every: int = 10_000,
    ) -> None:
        self.authority = identity.authority
        self.aliases = identity.aliases
        self.remotes = identity.remotes
        self.time = clocks.unix
        self._clock = clocks.loop
        self.offset = clocks.offset
        self._store = store
        self.ledger = Ledger(store, lambda: int(clocks.unix() * 1000), snapshot_every)
        self.catalog = self.ledger.catalog
        self.facts = NameFacts(self.catalog)
        self.policies = PolicyBook(*identity, clocks.loop, self.facts.of)
        self.dynamic = PolicyExpiry(self.policies, clocks.unix)
        self.identity = Authentication(clocks.unix, clocks.loop)
        self.facts.principal_of = self.identity.known
        self.view = View()
        self.plane = Plane(self.view, self.policies.access, local)
        self.admission = self.policies.admission(clocks.loop, random)
        self.plane.admission, self.accounts = self.admission, Accounts(clocks.unix)
        self.sessions = Sessions(self._session_changed)
        self.watchers = Watchers()
        self.ready = False
        self.draining = False
        self._own: dict[Name, Route] = {}
        self._compiler = Compiler(
            self.catalog,
            self.view,
            self.policies.resolution_of,
            self.policies.static_of,
            self.sessions.of,
            self.admission,
        )
        self._installer = Installer(self.view, self._compiler, self._channel_gone)
        self._introspection = Introspection(self.authority, self.catalog, self.view.meter_of)
        self._free = FreeTopics(self.policies.spaces, self.view.meter_of(FREE), self.admission)
        self.view.implicit = self._implicit
        self._leases: dict[RegistrationId, float] = {}
        self._credentials = CredentialBook(self.identity)
        self._decided_since = clocks.loop()
        self._tasks: list[asyncio.Task[None]] = []

    def own(self, routes: Iterable[Route]) -> None:
        """Add the site's own objects; they are no part of the catalog."""
        self._own.update({route.name: route for route in routes})

    async def start(self) -> None:
        """Replay the log, compile everything, then follow."""
        await self.ledger.replay(await self._store.head())
        for record in self.catalog.policies.values():
            self.dynamic.put(record)
        self._credentials.load(self.catalog)
        self.tick()
        for id_ in self.catalog.registrations:
            self._registered(id_)
        self.admission.forget(self._own.values())
        self.view.install(dict(self._own))
        await self._refresh(dict.fromkeys([*self.catalog.names, *self.policies.static_names()]))
        self._tasks = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self.ledger.pay()),
        ]
        self.ready = True

    async def stop(self) -> None:
        """Stop following; what was acknowledged is in the store."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ledger.close()

    def allowed(self, principal: Principal, action: Action, name: Name) -> bool:
        """Decide about a name as it is now."""
        route = self.view.routes.get(name)
        owner = route.owner if route is not None else ""
        return self.plane.access.check(principal, action, name, owner).allowed

    def registrations_of(self, microservice: str) -> list[Registration]:
        """Return the registrations of a microservice, given as a segment of a name."""
        return self._introspection.registrations_of(microservice)

    # Leases

    def look_at_clock(self) -> None:
        """Let exchanges know what time it is: calls that are answered here may have waited."""
        self.plane.now = self._clock()

    def renew(self, id_: RegistrationId) -> int | None:
        """Begin a registration's lease anew; return its period in seconds, None if not live."""
        registration = self.catalog.registrations.get(id_)
        if registration is None or not registration.live or id_ in self._compiler.dead:
            return None
        if registration.lease:
            self._leases[id_] = self._clock() + registration.lease
        return registration.lease

    def due(self, now: float) -> list[Expired]:
        """Return the leases that have run out; they are withdrawn by ``expire``."""
        ended = [id_ for id_, end in self._leases.items() if end <= now]
        changes = []
        for id_ in ended:
            del self._leases[id_]
            changes.append(Expired(id_, self.catalog.registrations[id_].generation))
        return changes

    async def expire(self, changes: Sequence[Expired]) -> None:
        """Take expired bindings out of the View now; the log hears of it as soon as it can."""
        names: set[Name] = set()
        for id_, generation in ((c.id, c.generation) for c in changes):
            registration = self.catalog.registrations.get(id_)
            if registration is not None and registration.generation == generation:
                self._compiler.dead.add(id_)
                names |= {m for o in registration.everything() for m, _ in o.members()}
                log.info("the lease of %s ran out", id_)
        for start in range(0, len(changes), AT_ONCE):
            some = tuple(changes[start : start + AT_ONCE])
            key = ("leases", str(some[0].id), some[0].generation)
            self.ledger.owe(key, SYSTEM, partial(_still_live, some))
        await self._refresh(names)

    # Credentials

    async def revoke(self, actor: str, *ids: str) -> bool:
        """End credentials and all that is open with them now; return whether that is durable."""
        self.end_open(self._credentials.end(ids))
        return await self.ledger.withdraw(("ids", *ids), actor, partial(withdrawn, ids))

    async def revoke_principal(self, actor: str, principal: str) -> bool:
        """The same for whatever was issued to a principal until now, by whomever."""
        at = int(self.time())
        self.end_open(self._credentials.end_principal(self.catalog, principal, at))
        plan = partial(withdrawn_principal, principal, at)
        return await self.ledger.withdraw(("principal", principal), actor, plan)

    async def sweep_tokens(self) -> None:
        """Once a second: end what is open with expired credentials, forget those long expired."""
        now = self.time()
        self.end_open(self._credentials.expired(now))
        old = self._credentials.forgotten(now)
        for start in range(0, len(old), AT_ONCE):
            some = tuple(old[start : start + AT_ONCE])
            self.ledger.owe(("ids", some[0]), SYSTEM, partial(withdrawn, some))
        if self._clock() - self._decided_since >= DECISION_SECONDS:
            self._decided_since = self._clock()
            self.policies.access.forget()

    # Policies

    async def enact(self, actor: str, plan: Plan) -> bool:
        """Change policies; return whether that is durable yet.

        Denies are in force at once, and stay so when the store cannot write: then they are
        written as soon as it can. Anything else comes into force when it is written; it raises
        Unwritten, as ``Ledger.change`` does.
        """
        denies = _denies(changes := plan(self.ledger.draft))
        if not denies:
            await self.ledger.change(actor, plan)
            return True
        lift = self._deny(denies)
        try:
            await self.ledger.change(actor, plan)
        except Unwritten as refusal:
            key = ("policies", *sorted(f"{r.kind}/{r.name}" for r in denies))
            self.ledger.owe(key, actor, lambda catalog: _only_denies(plan(catalog)), lift)
            if len(denies) == len(changes):
                log.warning("a deny is in force but not yet durable: %s", refusal.detail)
                return False
            detail = f"only the policies that deny are in force: {refusal.detail}"
            raise Unwritten(Status.UNAVAILABLE, detail, retry_after=5) from refusal
        except BaseException:
            lift()
            raise
        lift()
        return True

    async def withdraw(self, actor: str, keys: Sequence[tuple[str, str]]) -> bool:
        """Take policies (kind, name) out of force now; return whether that is durable yet."""
        plan = withdrawal(self.catalog, keys)
        await self._decided_anew({kind for kind, _ in keys}, self.dynamic.take_out(keys))
        return not keys or await self.ledger.withdraw(("policies", *keys), actor, plan)

    async def sweep_policies(self) -> None:
        """Once a second: take out what has ended; the log hears of it as soon as it can."""
        while due := self.dynamic.due(AT_ONCE):
            self.ledger.owe(("policies", *due), SYSTEM, withdrawal(self.catalog, due))
            await self._decided_anew({kind for kind, _ in due}, self.dynamic.take_out(due))

    def tick(self) -> None:
        """Let conditions see what time it is; what is open follows."""
        now = self.time()
        if self.policies.access.tick(now, self.offset(now)):
            self.redecide()

    def redecide(self) -> None:
        """Have everything that is open decided anew."""
        self._tell(self.watchers.access)

    def _deny(self, records: Sequence[PolicyRecord]) -> Callable[[], None]:
        lift = self.policies.deny(records)
        self._tell(self.watchers.access)
        return lift

    # Following the log

    async def _follow(self) -> None:
        try:
            await self.ledger.run(self._applied)
        except asyncio.CancelledError:
            raise
        except Exception:
            self.ready = False
            log.exception("the change log cannot be followed any further: the site is not ready")
            raise

    async def _applied(self, entered: Sequence[Entered]) -> None:
        """Put in force what was entered into the catalog."""
        names: dict[Name, None] = {}
        gone: set[Name] = set()
        patterns: dict[Pattern, None] = {}
        kinds: set[str] = set()
        for change, touched, went in entered:
            names.update(dict.fromkeys(touched.names))
            gone |= went
            patterns.update(dict.fromkeys(self._react(change)))
            kinds |= {kind for kind, _ in touched.policies}
            for id_ in touched.registrations:
                self._registered(id_)
        for tell in self.watchers.entered:
            tell(entered)
        await self._decided_anew(kinds, patterns, names, gone)

    async def _decided_anew(
        self,
        kinds: set[str],
        patterns: Iterable[Pattern],
        names: Iterable[Name] = (),
        gone: Container[Name] = (),
    ) -> None:
        """Let traffic follow policies of these kinds, and names, that have changed."""
        touched = dict.fromkeys(names)
        if self.policies.access.changed(touched) or kinds & DECIDING:
            self._tell(self.watchers.access)
        if kinds & {"QualityPolicy", "Role"}:
            self.admission.forget(self._own.values())
        if kinds & {"TopicSpace", "QualityPolicy"}:
            self._free.forget()
            self._tell(self.watchers.spaces)
        touched.update(await self._installer.matching(patterns))
        await self._refresh(touched, gone)
        if "Binding" in kinds:
            self._tell(self.watchers.deliveries)

    def _react(self, change: Change) -> list[Pattern]:
        match change:
            case PolicyApplied(record):
                return self.dynamic.put(record)
            case PolicyDeleted(kind, name):
                return self.dynamic.remove(kind, name)
            case _:
                self.end_open(self._credentials.react(change))
        return []

    def _registered(self, id_: RegistrationId) -> None:
        """A lease began or ended."""
        registration = self.catalog.registrations.get(id_)
        self._compiler.dead.discard(id_)
        if registration is None or not registration.live or not registration.lease:
            self._leases.pop(id_, None)
        else:
            self._leases[id_] = self._clock() + registration.lease
        self._introspection.update(id_)
        for tell in self.watchers.registrations:
            tell(id_)

    def end_open(self, credentials: Collection[str]) -> None:
        """End what is open with credentials that count no longer."""
        if not credentials:
            return
        ended = frozenset(credentials)
        self.plane.end_of(ended)
        for tell in self.watchers.credential:
            tell(ended)

    def _implicit(self, name: Name) -> Route | None:
        return self._introspection.find(name) or self._free.find(name)

    def _session_changed(self, name: Name) -> None:
        self._installer.now(name)

    def _channel_gone(self, name: Name) -> None:
        for tell in self.watchers.gone:
            tell(name)

    def _tell(self, watchers: Iterable[Callable[[], None]]) -> None:
        for tell in watchers:
            tell()

    async def _refresh(self, names: Iterable[Name], gone: Container[Name] = ()) -> None:
        own = self._own
        await self._installer.refresh([name for name in names if name not in own], gone)


def _still_live(changes: Iterable[Expired], catalog: Catalog) -> list[Expired]:
    """Return the expiries that nothing has overtaken."""
    known = catalog.registrations
    return [
        c
        for c in changes
        if c.id in known and known[c.id].live and known[c.id].generation == c.generation
    ]


def _denies(changes: Iterable[Change]) -> list[PolicyRecord]:
    return [c.policy for c in changes if isinstance(c, PolicyApplied) and is_deny(c.policy)]


def _only_denies(changes: Iterable[Change]) -> list[Change]:
    return [c for c in changes if _denies([c])]
