"""One event channel at work: who listens, the fan-out, and what it retains in memory."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal

from gateway.message import Event, EventId, Refusal, Status, Unsynced
from gateway.ring import Account, Ring
from gateway.session_port import SessionStore
from gateway.subscriptions import Subscription
from gateway.view import Route
from registry.model import EventChannel

_new_id = partial(tuple.__new__, EventId)  # half the time of its constructor
PATIENCE = 1.0
"""Seconds that a publisher waits at most for subscribers of a ``block`` channel (design 6)."""


class Topic:
    """The live state of one channel; what it retains is a RingTopic's or a DurableTopic's."""

    durable = False

    def __init__(self, route: Route, patience: float, keeper: SessionStore | None = None) -> None:
        self.route = route
        self.incarnation = ""
        self.last = 0
        self.newest: Event | None = None
        self.everyone: dict[Subscription, None] = {}
        self._patience = patience
        self._keeper = keeper
        self._written = False
        self.stale: Callable[[Topic], None] | None = None
        """Decides anew who may listen: policies have changed since that was last decided."""
        self._bound: dict[Subscription, None] = {}
        self._plain: dict[Subscription, None] = {}
        self._all: tuple[Subscription, ...] | None = None
        """Who gets every event; made anew when somebody came or went."""
        self._groups: dict[str, dict[Subscription, None]] = {}
        self._full: dict[Subscription, None] = {}
        self._waiters: list[tuple[asyncio.Future[EventId], EventId]] = []

    def use(self, route: Route) -> None:
        """Go on with what the channel is now."""
        self.route = route

    def forget(self) -> None:
        """The channel is gone: hold nothing of it."""

    @property
    def settings(self) -> EventChannel:
        """What the manifest says of the channel."""
        return self.route.channel or EventChannel()

    @property
    def overflow(self) -> Literal["drop-oldest", "disconnect", "block"]:
        """What happens to a subscriber that is too slow."""
        return self.settings.overflow

    async def opened(self) -> None:
        """Wait until ``incarnation`` and ``last`` are known; raises StoreError."""

    async def read(self, after: int, limit: int) -> list[Event]:
        """Return at most ``limit`` retained events after ``after``, none when there are no more."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Wait until what was published is in its place."""

    def is_unused(self) -> bool:
        """Return whether nobody listens and there is no last value."""
        return not self.everyone and self.newest is None

    # Subscribers

    def join(self, subscription: Subscription) -> None:
        """Deliver live events to a subscription from now on."""
        self._all = None
        if subscription.principal is None:
            members = self._bound
        elif subscription.group:
            members = self._groups.setdefault(subscription.group, {})
        else:
            members = self._plain
        members[subscription] = None

    def leave(self, subscription: Subscription, left: list[Event]) -> None:
        """A subscription ended; the rest of its group gets what it did not take."""
        self._all = None
        self.everyone.pop(subscription, None)
        self._full.pop(subscription, None)
        self._bound.pop(subscription, None)
        shared = bool(subscription.group) or self.route.one_of_group
        members = self._groups.get(subscription.group, {}) if subscription.group else self._plain
        members.pop(subscription, None)
        if shared and members:
            for event in left:
                _dispatch(members, event)
        elif subscription.group:
            self._groups.pop(subscription.group, None)
        self._release()

    def fan_out(self, event: Event) -> None:
        """Give a new event to every subscriber, and to one member of each group.

        The site itself (a bound method) is never in a group: its method shares the load.
        """
        if self.stale is not None:
            self.stale(self)
        keeper, route = self._keeper, self.route
        before = 0 if keeper is None else keeper.writes
        if not route.free:
            self.newest = event
        elif event.retain:
            # An empty retained payload clears a free topic's last value ([MQTT-3.3.1-6]).
            self.newest = event if event.payload else None
        listeners = self._all
        if listeners is None or route.one_of_group:
            listeners = self._listeners(event)
        for subscription in listeners:
            subscription.offer(event)
        if self._groups:
            for members in tuple(self._groups.values()):
                _dispatch(members, event)
        self._written = keeper is not None and keeper.writes != before

    def _listeners(self, event: Event) -> tuple[Subscription, ...]:
        """Return who gets every event; where one of all subscribers does, give it to that one."""
        if not self.route.one_of_group:
            self._all = (*self._plain, *self._bound)
            return self._all
        if self._plain:
            _dispatch(self._plain, event)
        self._all = None
        return tuple(self._bound)

    def end(self, refusal: Refusal) -> None:
        """End every subscription."""
        for subscription in tuple(self.everyone):
            subscription.end(refusal)

    # Publishers of ``block`` channels

    def strained(self, subscription: Subscription) -> None:
        """A subscriber's queue is full: publishers wait for it."""
        self._full[subscription] = None

    def relieved(self, subscription: Subscription) -> None:
        """A subscriber took something out of its queue."""
        if subscription in self._full and not subscription.is_over():
            del self._full[subscription]
            self._release()

    def must_wait(self) -> bool:
        """Return whether the publisher of the event just fanned out has to wait."""
        return self._written or bool(self._full)

    def acknowledge(self, future: asyncio.Future[EventId], event_id: EventId) -> None:
        """Acknowledge the event just fanned out as soon as that is true.

        Durable sessions have it on disk, and no subscriber is full (or patience has run out).
        """
        if self._written and self._keeper is not None:
            synced = self._keeper.synced()
            synced.add_done_callback(partial(self._synced, future, event_id))
        else:
            self._unstrained(future, event_id)

    def _synced(
        self, future: asyncio.Future[EventId], event_id: EventId, synced: asyncio.Future[None]
    ) -> None:
        error = None if synced.cancelled() else synced.exception()
        if error is None:
            self._unstrained(future, event_id)
        elif not future.done():
            detail = f"the event is not stored yet for the sessions that are to get it: {error}"
            future.set_exception(Unsynced(Status.UNAVAILABLE, detail, retry_after=1))

    def _unstrained(self, future: asyncio.Future[EventId], event_id: EventId) -> None:
        if not self._full:
            _settle(future, event_id)
            return
        self._waiters.append((future, event_id))
        asyncio.get_running_loop().call_later(self._patience, self._lose_patience, future)

    def _lose_patience(self, future: asyncio.Future[EventId]) -> None:
        if not future.done():
            full, self._full = self._full, {}
            for subscription in full:
                subscription.trim()
            self._release()

    def _release(self) -> None:
        if self._waiters and not self._full:
            waiters, self._waiters = self._waiters, []
            for future, event_id in waiters:
                _settle(future, event_id)


class RingTopic(Topic):
    """A channel in memory: a restart begins a new incarnation."""

    def __init__(
        self,
        route: Route,
        patience: float,
        incarnation: str,
        time_ms: Callable[[], int],
        keeper: SessionStore | None = None,
        account: Account | None = None,
    ) -> None:
        super().__init__(route, patience, keeper)
        self.incarnation = incarnation
        self._time_ms = time_ms
        self._ring = Ring(self.settings.retain, account)

    def use(self, route: Route) -> None:
        """Go on with what the channel is now."""
        self.route = route
        self._ring.resize(self.settings.retain, self._time_ms())

    def forget(self) -> None:
        """The channel is gone: hold nothing of it."""
        self._ring.forget()

    def publish(self, event: Event) -> EventId:
        """Append an event, which gets its id and time here, and fan it out."""
        sequence = self.last = self.last + 1
        event_id = event.id = _new_id((self.incarnation, sequence))
        now = event.time = self._time_ms()
        self._ring.add(event, now)
        self.fan_out(event)
        return event_id

    async def read(self, after: int, limit: int) -> list[Event]:
        """Return at most ``limit`` retained events after ``after``."""
        return self._ring.read(after, limit, self._time_ms())


def _dispatch(members: dict[Subscription, None], event: Event) -> None:
    """Give an event to the least busy member; among equals, to the one served longest ago."""
    chosen = min(members, key=_load)
    if len(members) > 1:
        del members[chosen]
        members[chosen] = None
    chosen.offer(event)


def _load(subscription: Subscription) -> int:
    return subscription.unacknowledged


def _settle(future: asyncio.Future[EventId], event_id: EventId) -> None:
    if not future.done():
        future.set_result(event_id)
