"""Event channels: append, last value, fan-out, groups, resume without loss (design 6)."""

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Iterator
from functools import partial
from typing import Any

from gateway.accounts import Accounts
from gateway.calls import MAX_MESSAGE
from gateway.durable import DurableTopic
from gateway.exchange import Plane
from gateway.masking import mask_of
from gateway.message import Call, Event, EventId, Extras, Mark, Refusal, Status
from gateway.ports import EventLog, StoreError
from gateway.refusals import denial, unknown
from gateway.ring import Account
from gateway.rota import in_slices
from gateway.seeing.sight import MaskedSubscriber, MaskOf, Sight
from gateway.session_port import SessionStore
from gateway.subscriptions import OLDEST, Bounds, Subscriber, Subscription, parse_event_id
from gateway.topics import PATIENCE, RingTopic, Topic
from gateway.view import Route
from policy.decision import Decision, Question
from policy.model import Action, Principal
from registry.model import Kind
from registry.names import Name

FREE_BYTES = 256 * 1024 * 1024
"""Payload bytes that all free topics may hold together."""
FREE_TOPICS = 100_000
"""Topics that may be in use although nobody registered them (policy ``TopicSpace``)."""
NO_ID = EventId("", 0)
"""Until its topic gives an event its own."""
DROPS = 16
"""Destroyed channels that are deleted from the event log at the same time."""

_log = logging.getLogger(__name__)


def refuse_subscription(
    plane: Plane, principal: Principal, name: Name, group: str = ""
) -> Refusal | None:
    """Decide whether a principal may subscribe to a name (in a group); None means yes."""
    call = Call(Action.SUBSCRIBE, name, principal, 0.0)
    route = plane.view.find(name)
    if route is None:
        return unknown(plane.access, plane.view, call)
    decision = _decide(plane, principal, route, group)
    if not decision.allowed:
        return denial(plane.access, call, route, decision)
    if route.kind is not Kind.CHANNEL:
        return Refusal(Status.BAD_REQUEST, f"{name} is a {route.kind}, not an event channel")
    return None


def masks(plane: Plane) -> MaskOf:
    """Return what says which members of events policies mask."""
    return lambda principal, route, group: mask_of(_decide(plane, principal, route, group))


def _decide(plane: Plane, principal: Principal, route: Route, group: str) -> Decision:
    if group:
        question = Question(principal, Action.SUBSCRIBE, route.name, route.owner, group=group)
        return plane.access.decide(question)
    return plane.access.check(principal, Action.SUBSCRIBE, route.name, route.owner)


class Channels:
    """All channels of a site that are in use. ``time_ms`` is Unix time in milliseconds.

    ``incarnation`` returns a new random text of letters and digits each time, ``limit`` is how
    many bytes an event may have.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        time_ms: Callable[[], int],
        incarnation: Callable[[], str],
        bounds: Bounds = Bounds(),  # noqa: B008
        patience: float = PATIENCE,
        keeper: SessionStore | None = None,
        free_topics: int = FREE_TOPICS,
        free_bytes: int = FREE_BYTES,
        limit: int = MAX_MESSAGE,
    ) -> None:
        self._log = log
        self._limit = limit
        self._keeper = keeper
        self._free_topics = free_topics
        self._free = 0
        self._free_bytes = free_bytes
        self._held = Account()
        self._time_ms = time_ms
        self._incarnation = incarnation
        self._bounds = bounds
        self._patience = patience
        self.sight = Sight(lambda _, __, ___: ())
        self.accounts: Accounts | None = None
        self.appeared: list[Callable[[Route], None]] = []
        """Who is told when a channel comes into use, before its first event."""
        self._topics: dict[Name, Topic] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropping: dict[Name, asyncio.Task[None]] = {}
        self._drops = asyncio.Semaphore(DROPS)

    async def publish(
        self,
        route: Route,
        source: str,
        content_type: str,
        payload: bytes,
        extras: Extras | None = None,
    ) -> EventId:
        """Append an event, fan it out and return its id: its acknowledgement. Raises Refusal.

        A durable channel's event is acknowledged when it is synced to disk, that of a ``block``
        channel when no subscriber's queue is full (or after a second).
        """
        result = self.append(route, source, content_type, payload, extras=extras)
        return result if isinstance(result, EventId) else await result

    def append(
        self,
        route: Route,
        source: str,
        content_type: str,
        payload: bytes,
        qos: int = 1,
        retain: bool = True,
        extras: Extras | None = None,
        origin: str = "",
        mark: Mark | None = None,
    ) -> EventId | asyncio.Future[EventId]:
        """Publish without a task: return the event's id, or a future when there is a wait.

        The future fails with Refusal; so does this when there are too many free topics, or more
        bytes than a message may have. ``mark`` is for durable channels: it is stored in one step
        with the event.
        """
        if len(payload) > self._limit:
            raise Refusal(Status.TOO_LARGE, f"an event may have at most {self._limit} bytes")
        topic = self._topics.get(route.name)
        if topic is None or topic.route is not route:
            topic = self._topic(route)
            topic.use(route)
        if route.free and self._held.bytes + len(payload) > self._free_bytes:
            self._make_room(len(payload))
            topic = self._topic(route)
        event = Event(
            route.name, NO_ID, 0, source, content_type, payload, qos, retain, extras, origin
        )
        if isinstance(topic, DurableTopic):
            return topic.publish(event, mark)
        assert isinstance(topic, RingTopic)
        event_id = topic.publish(event)
        if not topic.must_wait():
            return event_id
        future: asyncio.Future[EventId] = asyncio.get_running_loop().create_future()
        topic.acknowledge(future, event_id)
        return future

    async def last(self, route: Route, principal: Principal | None = None) -> Event | None:
        """Return the last value as a principal sees it (None: the site), None before the first.

        Raises Refusal.
        """
        return self.sight.whole(await self._last(route), principal, route)

    async def _last(self, route: Route) -> Event | None:
        topic = self._topic(route)
        if topic.newest is not None or not topic.durable:
            return topic.newest
        try:
            await topic.opened()
            found = await topic.read(topic.last - 1, 1)
        except StoreError as error:
            raise _unreadable(error) from error
        return topic.newest or (found[0] if found else None)

    async def history(self, route: Route, after: str = OLDEST, limit: int = 100) -> list[Event]:
        """Return at most ``limit`` retained events after an event id, the oldest first.

        An id that the channel does not know means: from the oldest. Raises Refusal.
        """
        topic = self._topic(route)
        known = parse_event_id(after)
        try:
            await topic.opened()
            if known is None or known.incarnation != topic.incarnation:
                return await topic.read(0, limit)
            return await topic.read(known.sequence, limit)
        except StoreError as error:
            raise _unreadable(error) from error

    async def position(self, route: Route) -> EventId:
        """Return the id of the newest event, with sequence number 0 before the first one."""
        topic = self._topic(route)
        try:
            await topic.opened()
        except StoreError as error:
            raise _unreadable(error) from error
        return EventId(topic.incarnation, topic.last)

    def newest(self, route: Route, principal: Principal | None = None) -> Event | None:
        """Return a channel's last value as far as it is in memory; ``last`` also reads.

        Raises Refusal when the principal may not see what cannot be masked.
        """
        topic = self._topics.get(route.name)
        return None if topic is None else self.sight.whole(topic.newest, principal, route)

    def in_use(self) -> Iterator[Route]:
        """Yield the Routes of the channels that have been used before this was asked."""
        for topic in tuple(self._topics.values()):
            yield topic.route

    def activity(self) -> Iterator[tuple[Name, int, int]]:
        """Yield each used channel, the number of its last event and how many subscribe to it."""
        for name, topic in tuple(self._topics.items()):
            yield name, topic.last, len(topic.everyone)

    def subscribe(
        self,
        route: Route,
        principal: Principal | None,
        subscriber: Subscriber,
        *,
        after: str = "",
        group: str = "",
    ) -> Subscription:
        """Subscribe somebody who may (see ``refuse_subscription``); the site itself is None.

        ``after`` is the event id to resume after (``oldest``: everything retained); an unknown or
        evicted one gives a gap. One of the members of a ``group`` gets each event: with others
        on the channel, where one left off says nothing, so that a group does not resume.
        """
        topic = self._topic(route)
        subscription = Subscription(topic, principal, subscriber, group, self._bounds)
        if principal is not None and self.accounts is not None:
            subscription.account = self.accounts.of("principal", principal.id)
        topic.everyone[subscription] = None
        self._look(subscription, route)
        if after and not group and not route.one_of_group:
            self._spawn(self._catch_up(subscription, after))
        else:
            topic.join(subscription)
        return subscription

    # What the site calls

    def redecide(self, check: Callable[[Principal, Name, str], Refusal | None]) -> None:
        """End what is no longer allowed; ``check`` gets principal, name and group.

        A channel's next event waits for that. Channels where nothing happens have their turn
        soon, some at once, so that many of them do not hold up everybody else.
        """

        def decide(topic: Topic) -> None:
            if topic.stale is not decide:
                return
            topic.stale = None
            for subscription in tuple(topic.everyone):
                if subscription.principal is None:
                    continue
                refusal = check(subscription.principal, topic.route.name, subscription.group)
                if refusal is not None:
                    subscription.end(refusal)
                else:
                    self._look(subscription, topic.route)

        heard = [topic for topic in self._topics.values() if topic.everyone]
        for topic in heard:
            topic.stale = decide
        in_slices(heard, decide)

    def end_of(self, credentials: Container[str]) -> None:
        """End the subscriptions of credentials that are revoked or have expired."""
        refusal = Refusal(Status.UNAUTHENTICATED, "the credential is no longer valid")
        for topic in tuple(self._topics.values()):
            for subscription in tuple(topic.everyone):
                principal = subscription.principal
                if principal is not None and principal.credential in credentials:
                    subscription.end(refusal)

    def look_at_spaces(self, find: Callable[[Name], Route | None]) -> None:
        """End the free topics whose space was closed; ``find`` says what a name is now."""
        for name, topic in tuple(self._topics.items()):
            if topic.route.free:
                route = find(name)
                if route is None:
                    self.forget(name)
                else:
                    topic.use(route)

    def forget(self, name: Name) -> None:
        """A channel was destroyed: end its subscriptions and delete what it retained."""
        topic = self._topics.pop(name, None)
        if topic is not None:
            self._free -= topic.route.free
            topic.forget()
            topic.end(Refusal(Status.NOT_FOUND, f"{name} was destroyed"))
        before = self._dropping.get(name)
        self._dropping[name] = self._spawn(self._drop(name, before))

    async def close(self) -> None:
        """Finish what is on its way to the disk, then end every subscription."""
        for topic in tuple(self._topics.values()):
            await topic.settled()
            topic.end(Refusal(Status.UNAVAILABLE, "the site shuts down", retry_after=1))
        await asyncio.gather(*self._tasks)

    # Inside

    def _look(self, subscription: Subscription, route: Route) -> None:
        """Let a subscriber see of the events what policies let it see."""
        principal, sight = subscription.principal, self.sight
        mask = () if principal is None else sight.mask_of(principal, route, subscription.group)
        subscription.see(partial(MaskedSubscriber, mask=mask, sight=sight) if mask else None)

    def _topic(self, route: Route) -> Topic:
        topic = self._topics.get(route.name)
        durable = route.channel is not None and route.channel.durable
        if topic is None or topic.durable != durable:
            if topic is not None:
                why = f"{route.name} changed where it keeps its events; subscribe again"
                topic.end(Refusal(Status.UNAVAILABLE, why, retry_after=1))
            elif route.free:
                self._make_room()
                self._free += 1
            topic = self._topics[route.name] = self._new_topic(route, durable=durable)
            for tell in self.appeared:
                tell(route)
        return topic

    def _new_topic(self, route: Route, *, durable: bool) -> Topic:
        if durable:
            ground = self._dropping.get(route.name)
            return DurableTopic(
                route, self._patience, self._log, self._time_ms, ground, self._keeper
            )
        account = self._held if route.free else None
        incarnation = self._incarnation()
        return RingTopic(route, self._patience, incarnation, self._time_ms, self._keeper, account)

    def _make_room(self, size: int = 0) -> None:
        """Forget free topics that nobody uses when all hold too much; raises Refusal.

        ``size`` are the bytes that come; 0: a topic does.
        """
        if not self._is_full(size):
            return
        unused = [n for n, t in self._topics.items() if t.route.free and t.is_unused()]
        for name in unused:
            self._topics.pop(name).forget()
        self._free -= len(unused)
        if self._is_full(size):
            held = f"{self._free} free topics hold {self._held.bytes} bytes"
            raise Refusal(Status.THROTTLED, f"{held}, as much as may be", retry_after=60)

    def _is_full(self, size: int) -> bool:
        if size:
            return self._held.bytes + size > self._free_bytes
        return self._free >= self._free_topics

    async def _catch_up(self, subscription: Subscription, after: str) -> None:
        try:
            await subscription.catch_up(after)
        except StoreError as error:
            subscription.end(_unreadable(error))

    async def _drop(self, name: Name, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        try:
            async with self._drops:
                await self._log.drop(name)
        except StoreError as error:
            _log.warning("the events of %s could not be deleted: %s", name, error)
        if self._dropping.get(name) is asyncio.current_task():
            del self._dropping[name]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _unreadable(error: StoreError) -> Refusal:
    detail = f"the event log cannot be read now: {error}"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=1)
