"""Channels fed from outside: topics of a broker, CoAP resources (design 6).

Registrations declare sources in their manifests, operators in bindings. Each event is published in
the name of who declared it, decided anew. A source that may not be published is not opened.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from gateway.channels import Channels
from gateway.exchange import Plane
from gateway.message import Call, EventId, Extras, Refusal, Status
from gateway.refusals import denial, unknown
from gateway.rota import in_slices
from gateway.validity import CHECKED, refuse_invalid, too_large
from gateway.view import Route
from policy.model import Action, Binding, Principal
from registry.model import Kind, Registration, RegistrationId
from registry.names import Name
from registry.urls import scheme_of

HELD = 1024
"""Events of one source that wait because the site cannot store them now."""
AGAIN_SECONDS = 1.0
TRANSIENT = (Status.UNAVAILABLE, Status.THROTTLED)

log = logging.getLogger("hilum.sources")


class Arrival(NamedTuple):
    """An event that came from outside."""

    content_type: str
    payload: bytes
    qos: int = 1
    retain: bool = True
    extras: Extras | None = None


Take = Callable[[Arrival], "asyncio.Future[None] | None"]
"""Hands an event over. None: it was taken (or refused for good); else the future is done when it
is, and never fails: acknowledge it only then."""


class OpenSource(Protocol):
    """A source that gives events."""

    def close(self) -> None:
        """Give no more, for good."""
        ...


class SourceOpener(Protocol):
    """An adapter that sources of one scheme come from."""

    def open(self, url: str, peer: str, take: Take) -> OpenSource:
        """Begin to give events, now and after every interruption.

        ``peer`` is the address of who declared the source, "" for an operator (``Egress``).
        """
        ...

    async def close(self) -> None:
        """Stop, but let peers keep what comes meanwhile."""
        ...


class Feed(NamedTuple):
    """A source of a channel, in whose name its events are published."""

    channel: Name
    url: str
    owner: str


class Sources:
    """Runs what is declared. ``openers`` are by scheme.

    ``principal_of`` returns the principal that an owner is now, None if there is none.
    """

    def __init__(
        self,
        plane: Plane,
        channels: Channels,
        openers: Mapping[str, SourceOpener],
        *,
        principal_of: Callable[[str], Principal | None],
    ) -> None:
        self._plane = plane
        self._channels = channels
        self._openers = openers
        self._principal_of = principal_of
        self._declared: dict[str, dict[Feed, str]] = {}
        self._running: dict[Feed, _Running] = {}

    def registered(self, id_: RegistrationId, registration: Registration | None) -> None:
        """A registration is this now; one that is not live declares nothing."""
        feeds: dict[Feed, str] = {}
        if registration is not None and registration.live:
            for obj in registration.everything():
                for member, channel in obj.channels.items():
                    for url in channel.sources:
                        name = Name(f"{obj.name}/{member}")
                        feeds[Feed(name, url, registration.owner)] = registration.peer
        self._declare(f"registration {id_}", feeds)

    def reconcile(self, bindings: Mapping[str, tuple[str, Binding]]) -> None:
        """These are the operators' bindings now: policy name to owner and Binding."""
        wanted = {f"binding {name}": (owner, b) for name, (owner, b) in bindings.items()}
        gone = [w for w in self._declared if w.startswith("binding ") and w not in wanted]
        for who in gone:
            self._declare(who, {})
        for who, (owner, binding) in wanted.items():
            self._declare(who, {Feed(Name(binding.name), binding.source, owner): ""})

    def look(self) -> None:
        """Once a second: open what may be open now, close what may not."""
        in_slices(list(self._running.values()), _Running.look)

    def state(self) -> dict[Feed, str]:
        """Return each source and why it is not open, "" if it is."""
        return {feed: running.why for feed, running in self._running.items()}

    async def close(self) -> None:
        """Stop; brokers keep what is published meanwhile."""
        await asyncio.gather(*(opener.close() for opener in set(self._openers.values())))
        for running in self._running.values():
            running.halt()
        self._running.clear()

    def _declare(self, who: str, feeds: Mapping[Feed, str]) -> None:
        before = self._declared.pop(who, {})
        if feeds:
            self._declared[who] = dict(feeds)
        for feed, peer in feeds.items():
            running = self._running.get(feed)
            if running is None:
                opener = self._openers.get(scheme_of(feed.url))
                running = self._running[feed] = _Running(self, feed, opener)
            running.declare(who, peer)
        for feed in before:
            if feed not in feeds and self._running[feed].withdraw(who):
                del self._running[feed]

    def refuse(self, feed: Feed) -> Refusal | None:
        """Decide whether a source may be published now."""
        found = self._find(feed)
        return found if isinstance(found, Refusal) else None

    def append(self, feed: Feed, arrival: Arrival) -> "EventId | asyncio.Future[EventId]":
        """Publish an event; raises Refusal, or the future fails with it."""
        route = self._find(feed)
        if isinstance(route, Refusal):
            raise route
        if route.validator is not None:
            payload = arrival.payload
            refusal = (
                too_large() if len(payload) > CHECKED else refuse_invalid(route.validator, payload)
            )
            if refusal is not None:
                raise refusal
        content_type = arrival.content_type or "application/octet-stream"
        result = self._channels.append(
            route,
            feed.owner,
            content_type,
            arrival.payload,
            qos=arrival.qos,
            retain=arrival.retain,
            extras=arrival.extras,
        )
        route.meter.observe(Action.PUBLISH, Status.OK, 0.0)
        return result

    def _find(self, feed: Feed) -> Route | Refusal:
        principal, plane = self._principal_of(feed.owner), self._plane
        if principal is None:
            return Refusal(Status.UNAUTHENTICATED, f"{feed.owner} has no valid credential")
        call = Call(Action.PUBLISH, feed.channel, principal, 0.0)
        route = plane.view.find(feed.channel)
        if route is None:
            return unknown(plane.access, plane.view, call)
        decision = plane.access.check(principal, Action.PUBLISH, feed.channel, route.owner)
        if not decision.allowed:
            return denial(plane.access, call, route, decision)
        if route.kind is not Kind.CHANNEL:
            detail = f"{feed.channel} is a {route.kind}, not an event channel"
            return Refusal(Status.BAD_REQUEST, detail)
        return route


class _Running:
    """One source: open while it may be, and what of it waits for the disk."""

    def __init__(self, sources: Sources, feed: Feed, opener: SourceOpener | None) -> None:
        self._sources = sources
        self._feed = feed
        self._opener = opener
        self._peers: dict[str, str] = {}
        self._peer = ""
        self._open: OpenSource | None = None
        self._held: deque[tuple[Arrival, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._said = ""
        self.why = "not looked at yet"

    def declare(self, who: str, peer: str) -> None:
        """Somebody declares the source, from an address."""
        self._peers[who] = peer
        self._choose()

    def withdraw(self, who: str) -> bool:
        """Somebody declares it no more; returns whether nobody does."""
        self._peers.pop(who, None)
        if self._peers:
            self._choose()
            return False
        self.halt()
        self._shut()
        return True

    def look(self) -> None:
        """Open or close the source, as it may be now."""
        if not self._peers:
            return
        refusal = self._sources.refuse(self._feed)
        if self._opener is None:
            self.why = f"the site takes no sources of the scheme {scheme_of(self._feed.url)}"
        else:
            self.why = "" if refusal is None else refusal.detail
        if self.why:
            self._complain(f"is not open: {self.why}")
            self._shut()
        elif self._open is None and self._opener is not None:
            self._said = ""
            log.info("%s is fed from %s", self._feed.channel, self._feed.url)
            self._open = self._opener.open(self._feed.url, self._peer, self.take)

    def take(self, arrival: Arrival) -> "asyncio.Future[None] | None":
        """Publish an event."""
        if self._held:
            return self._hold(arrival, _future())
        try:
            result = self._sources.append(self._feed, arrival)
        except Refusal as refusal:
            if refusal.status in TRANSIENT:
                return self._hold(arrival, _future())
            self._complain(f"gave what was refused: {refusal.detail}")
            return None
        if isinstance(result, EventId):
            return None
        taken = _future()
        result.add_done_callback(partial(self._appended, arrival, taken))
        return taken

    def halt(self) -> None:
        """Publish nothing that waits; whoever sent it has no acknowledgement for it."""
        self._peers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()

    def _choose(self) -> None:
        """Use an address that somebody declares it from."""
        if self._peer not in self._peers.values() or not self._open:
            self._shut()
            self._peer = next(iter(self._peers.values()))

    def _shut(self) -> None:
        source, self._open = self._open, None
        if source is not None:
            source.close()

    def _appended(
        self, arrival: Arrival, taken: "asyncio.Future[None]", result: "asyncio.Future[EventId]"
    ) -> None:
        error = result.exception()
        if isinstance(error, Refusal) and error.status in TRANSIENT:
            self._hold(arrival, taken)
            return
        if error is not None:
            self._complain(f"gave what was refused: {error}")
        if not taken.done():
            taken.set_result(None)

    def _hold(self, arrival: Arrival, taken: "asyncio.Future[None]") -> "asyncio.Future[None]":
        """Keep an event until the site can store it again."""
        if len(self._held) >= HELD:
            self._complain(f"gave more than {HELD} events while the site could not store any")
            taken.set_result(None)
            return taken
        self._held.append((arrival, taken))
        self._retry_later()
        return taken

    def _retry_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(AGAIN_SECONDS, self._retry)

    def _retry(self) -> None:
        """Publish what waits; what fails again waits again, in its order."""
        self._timer = None
        held, self._held = self._held, deque()
        while held:
            arrival, taken = held.popleft()
            again = self.take(arrival)
            if again is None:
                if not taken.done():
                    taken.set_result(None)
            else:
                again.add_done_callback(partial(_pass_on, taken))

    def _complain(self, what: str) -> None:
        """Say what is wrong once, not with every event."""
        if what != self._said:
            self._said = what
            log.warning("the source %s of %s %s", self._feed.url, self._feed.channel, what)


def _pass_on(taken: "asyncio.Future[None]", _: "asyncio.Future[None]") -> None:
    if not taken.done():
        taken.set_result(None)


def _future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()
