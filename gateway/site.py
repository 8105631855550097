"""The site: change log -> catalog -> View, and what holds while it lives (design 5).

It is handed its ports. Traffic never waits for it: a Route is compiled beside the one in use
and put in its place in one step.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.exchange import Plane
from gateway.ledger import Entered, Ledger
from gateway.policies import PolicyBook
from gateway.ports import Provider, Store
from gateway.sessions import Sessions
from gateway.view import Compiler, Route, View
from policy.identity import Credentials
from policy.model import Action, Principal
from registry.changes import (
    Change,
    Expired,
    PolicyApplied,
    PolicyDeleted,
    TokenIssued,
    TokenRevoked,
)
from registry.model import Kind, Method, Registration, RegistrationId
from registry.names import Name, Pattern, decoded

log = logging.getLogger("hilum.site")

SLICE = 500
"""Routes that are compiled before others may run."""
SYSTEM = "site:system"
"""The actor of what the site does by itself."""


class Identity(NamedTuple):
    """How the site is called."""

    authority: str
    aliases: frozenset[str] = frozenset()
    remotes: frozenset[str] = frozenset()


class Clocks(NamedTuple):
    """``loop`` is monotonic seconds, ``unix`` Unix time in seconds."""

    loop: Callable[[], float]
    unix: Callable[[], float]


class Watchers:
    """Who is told when something in force changes; adapters and channels add themselves."""

    def __init__(self) -> None:
        self.gone: list[Callable[[Name], None]] = []
        """A name exists no more."""
        self.access: list[Callable[[], None]] = []
        """Access rules changed: what is open must be decided again."""
        self.credential: list[Callable[[str], None]] = []
        """A credential is no longer valid."""
        self.deliveries: list[Callable[[], None]] = []
        """Bindings of channels to methods changed."""


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
        self._store = store
        self.ledger = Ledger(store, lambda: int(clocks.unix() * 1000), snapshot_every)
        self.catalog = self.ledger.catalog
        self.policies = PolicyBook(identity.authority, identity.aliases)
        self.credentials = Credentials()
        self.view = View()
        self.plane = Plane(self.view, self.policies.access, local)
        self.sessions = Sessions(self._recompile)
        self.watchers = Watchers()
        self.ready = False
        self._own: dict[Name, Route] = {}
        self._compiler = Compiler(
            self.catalog,
            self.view,
            self.policies.resolution_of,
            self.policies.static_of,
            self.sessions.of,
        )
        self._leases: dict[RegistrationId, float] = {}
        self._microservices: dict[str, set[RegistrationId]] = {}
        self.view.implicit = self._introspection
        self._tasks: list[asyncio.Task[None]] = []

    def own(self, routes: Iterable[Route]) -> None:
        """Add the site's own objects; they are no part of the catalog."""
        self._own.update({route.name: route for route in routes})

    async def start(self) -> None:
        """Replay the log, compile everything, then follow."""
        await self.ledger.replay(await self._store.head())
        now = self._clock()
        for record in self.catalog.policies.values():
            self.policies.put(record)
        for token in self.catalog.tokens.values():
            self.credentials.put(token)
        for id_, registration in self.catalog.registrations.items():
            self._microservices.setdefault(id_.microservice, set()).add(id_)
            if registration.live:
                self._leases[id_] = now + registration.lease
        self.view.install(dict(self._own))
        await self._compile(set(self.catalog.names) | self.policies.static_names())
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

    def renew(self, id_: RegistrationId) -> int | None:
        """Begin a registration's lease anew; return its period in seconds, None if not live."""
        registration = self.catalog.registrations.get(id_)
        if registration is None or not registration.live:
            return None
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

    async def expire(self, changes: list[Expired]) -> None:
        """Take expired bindings out of the View now, then write it down."""
        for change in changes:
            self._compiler.dead.add(change.id)
            registration = self.catalog.registrations[change.id]
            names = {m for o in registration.everything() for m, _ in o.members()}
            self.view.install(self._compiler.compile(names))
            log.info("the lease of %s ran out", change.id)
        await self.ledger.withdraw(SYSTEM, lambda _: changes)

    async def revoke(self, actor: str, token: str) -> bool:
        """End a token and all that is open with it now; return whether that is durable yet."""
        self._end_credential(token)
        return await self.ledger.withdraw(actor, lambda _: [TokenRevoked(token)])

    async def sweep_tokens(self) -> None:
        """End what is open with expired tokens, and forget them."""
        now = self.time()
        expired = [t.id for t in self.catalog.tokens.values() if t.expires <= now]
        for token in expired:
            await self.revoke(SYSTEM, token)

    def registrations_of(self, microservice: str) -> list[Registration]:
        """Return the registrations of a microservice, all versions and instances."""
        registrations = self.catalog.registrations
        return [registrations[id_] for id_ in sorted(self._microservices.get(microservice, ()))]

    def allowed(self, principal: Principal, action: Action, name: Name) -> bool:
        """Decide about a name as it is now."""
        route = self.view.routes.get(name)
        owner = route.owner if route is not None else ""
        return self.plane.access.check(principal, action, name, owner).allowed

    async def _follow(self) -> None:
        try:
            await self.ledger.run(self._applied)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.ready = False
            self.ledger.give_up(error)
            log.exception("the change log cannot be followed any further: the site is not ready")
            raise

    async def _applied(self, entered: Entered) -> None:
        """Put in force what was entered into the catalog."""
        names: set[Name] = set()
        patterns: list[Pattern] = []
        for batch, touched in entered:
            for change, marks in zip(batch.changes, touched, strict=True):
                names |= marks.names
                patterns += self._react(change)
                for id_ in marks.registrations:
                    self._lease(id_)
        for pattern in patterns:
            names |= self._matching(pattern)
        await self._compile(names)

    def _react(self, change: Change) -> list[Pattern]:
        match change:
            case PolicyApplied(record):
                touched = self.policies.put(record)
                self._policy_changed(record.kind)
                return touched
            case PolicyDeleted(kind, name):
                touched = self.policies.remove(kind, name)
                self._policy_changed(kind)
                return touched
            case TokenIssued(token):
                self.credentials.put(token)
            case TokenRevoked(token_id):
                self._end_credential(token_id)
            case _:
                pass
        return []

    def _policy_changed(self, kind: str) -> None:
        if kind == "Binding":
            for tell in self.watchers.deliveries:
                tell()
        elif kind != "ResolutionPolicy":
            for tell in self.watchers.access:
                tell()

    def _end_credential(self, token: str) -> None:
        self.credentials.remove(token)
        self.plane.end_of(token)
        for tell in self.watchers.credential:
            tell(token)

    def _lease(self, id_: RegistrationId) -> None:
        registration = self.catalog.registrations.get(id_)
        self._compiler.dead.discard(id_)
        self._count(id_, exists=registration is not None)
        if registration is None or not registration.live:
            self._leases.pop(id_, None)
        else:
            self._leases[id_] = self._clock() + registration.lease

    def _count(self, id_: RegistrationId, *, exists: bool) -> None:
        ids = self._microservices.setdefault(id_.microservice, set())
        if exists:
            ids.add(id_)
        else:
            ids.discard(id_)
        if not ids:
            del self._microservices[id_.microservice]

    def _introspection(self, name: Name) -> Route | None:
        """Every microservice answers ``introspect`` without registering it (S3 III-D)."""
        authority, _, rest = name.partition("/")
        microservice, _, method = rest.partition("/")
        if method != "introspect" or authority != self.authority:
            return None
        if decoded(microservice) not in self._microservices:
            return None
        route = Route(name, Kind.METHOD, "", self.view.meter_of("$site"))
        route.method = Method(safe=True)
        route.action = Action.DESCRIBE
        return route

    def _matching(self, pattern: Pattern) -> set[Name]:
        if pattern.literal:
            return {Name(pattern.text)}
        prefix = Name(pattern.prefix)
        return {n for n in (prefix, *self.view.under(prefix)) if pattern.matches(n)}

    async def _compile(self, names: set[Name]) -> None:
        """Compile in slices, so that traffic goes on; install all of it in one step."""
        routes: dict[Name, Route | None] = {}
        todo = [name for name in names if name not in self._own]
        for start in range(0, len(todo), SLICE):
            routes.update(self._compiler.compile(todo[start : start + SLICE]))
            if len(todo) > SLICE:
                await asyncio.sleep(0)
        gone = [n for n, route in routes.items() if route is None and n in self.view.routes]
        self.view.install(routes)
        for name in gone:
            for tell in self.watchers.gone:
                tell(name)

    def _recompile(self, name: Name) -> None:
        self.view.install(self._compiler.compile([name]))
