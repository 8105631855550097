"""One subscriber of an event channel: its bounded queue, its flow control, what it missed."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from gateway.accounts import Account, Used
from gateway.message import Event, EventId, Refusal, Status
from policy.model import Principal
from registry.names import Name

if TYPE_CHECKING:
    from gateway.topics import Topic

Refuse = Callable[[Principal, Name, str], Refusal | None]
"""Says why a principal may not subscribe to a name in a group; None: it may."""
OLDEST = "oldest"
"""Resuming after this means: from the oldest event that is retained."""
REPLAYED = 64
"""Events that are read from what is retained at once."""

NOBODYS = Account(Used())

_log = logging.getLogger(__name__)


class Gap(NamedTuple):
    """Events that a subscriber did not get and will not get, in the place where they would be.

    ``after`` is the id that it had seen last, ``until`` the id of the last missing event (so that
    resuming after it repeats nothing, this gap included), ``lost`` their number, -1 when unknown.
    """

    reason: Literal["evicted", "foreign", "overflow"]
    after: str
    until: EventId
    lost: int


class Bounds(NamedTuple):
    """How much waits for one slow subscriber: events, and bytes of their payloads."""

    events: int = 1000
    size: int = 1024 * 1024


class Subscriber(Protocol):
    """The adapter's side of a subscription."""

    def deliver(self, event: Event) -> None:
        """Send an event. Never called while the subscription is paused."""
        ...

    def gap(self, gap: Gap) -> None:
        """Tell the subscriber that events are missing here."""
        ...

    def ended(self, refusal: Refusal) -> None:
        """The subscription ended although the subscriber did not ask for it."""
        ...


def parse_event_id(text: str) -> EventId | None:
    """Return the event id that ``incarnation-sequence`` spells, None when it cannot be one."""
    incarnation, _, number = text.rpartition("-")
    if not 0 < len(incarnation) <= 64 or not 0 < len(number) <= 18:
        return None
    if not (incarnation.isascii() and incarnation.isalnum()):
        return None
    return EventId(incarnation, int(number)) if number.isascii() and number.isdigit() else None


class Subscription:
    """What ``Channels.subscribe`` returns. It begins paused: call ``resume`` when ready.

    The adapter calls ``pause``, ``resume`` and ``close``; the topic calls the others.
    """

    __slots__ = (
        "_bounds",
        "_bytes",
        "_paused",
        "_plain",
        "_queue",
        "_ready",
        "_subscriber",
        "_topic",
        "_wake",
        "account",
        "group",
        "load",
        "open",
        "principal",
    )

    def __init__(
        self,
        topic: "Topic",
        principal: Principal | None,
        subscriber: Subscriber,
        group: str,
        bounds: Bounds,
    ) -> None:
        self.principal = principal
        self.group = group
        self.account = NOBODYS
        """What its deliveries are counted on."""
        self.load = 0
        """What the subscriber itself holds and has not acknowledged; its adapter says so."""
        self.open = True
        self._topic = topic
        self._subscriber = self._plain = subscriber
        self._bounds = bounds
        # Most subscribers never let anything wait: only then there is a queue.
        self._queue: deque[Event | Gap] | None = None
        self._bytes = 0
        self._paused = True
        self._ready = False
        self._wake: asyncio.Future[None] | None = None

    # What the adapter calls

    def pause(self) -> None:
        """Deliver nothing for now: events wait in the queue."""
        self._paused = True
        self._ready = False

    def resume(self) -> None:
        """Deliver what waits (within this call), and go on."""
        self._paused = False
        if self.open:
            self._drain()

    def act_as(self, principal: Principal, refuse: Refuse) -> None:
        """The subscriber has authenticated again: decide for its new credential."""
        self.principal = principal
        if self.open:
            refusal = refuse(principal, self._topic.route.name, self.group)
            if refusal is not None:
                self.end(refusal)

    def close(self, left: Iterable[Event] = ()) -> None:
        """End the subscription; what waits for a group's member goes to the other members.

        ``left`` are events that were delivered, but not acknowledged by the subscriber.
        """
        if self.open:
            self._topic.leave(self, [*left, *self._stop()])

    # What the channels call

    def see(self, through: Callable[[Subscriber], Subscriber] | None) -> None:
        """Deliver ``through`` what stands before the subscriber, None: directly."""
        plain = self._plain
        self._subscriber = plain if through is None else through(plain)

    # What the topic calls

    @property
    def unacknowledged(self) -> int:
        """How much this subscriber has not dealt with yet; a paused one counts as one more."""
        return (len(self._queue) if self._queue else 0) + self._paused + self.load

    def offer(self, event: Event) -> None:
        """Deliver an event, or queue it while the subscriber is slow."""
        if self._ready:
            try:
                self.account.sent += len(event.payload)
                self._subscriber.deliver(event)
            except Exception:  # One subscriber's fault must not keep the event from the others.
                _log.exception("a subscriber of %s failed", event.channel)
                self.end(Refusal(Status.INTERNAL, "the site failed to deliver; its log says why"))
        elif self.open:
            self._put(event)
            self._bytes += len(event.payload)
            if self.is_over():
                self._overflow()

    def end(self, refusal: Refusal) -> None:
        """End the subscription from this side and say why."""
        if self.open:
            left = self._stop()
            self._topic.leave(self, left)
            self._subscriber.ended(refusal)

    def is_over(self, times: int = 1) -> bool:
        """Return whether more waits than ``times`` the bounds; one event may always wait."""
        bounds, waiting = self._bounds, len(self._queue or ())
        return waiting > bounds.events * times or (
            self._bytes > bounds.size * times and waiting > 1
        )

    def trim(self) -> None:
        """Drop the oldest events until the queue is within its bounds, and note the gap."""
        queue = self._queue
        gap = None
        while queue and self.is_over():
            oldest = queue.popleft()
            if isinstance(oldest, Gap):
                gap = oldest
                continue
            self._bytes -= len(oldest.payload)
            gap = _widened(gap, oldest)
        if gap is not None and queue is not None:
            queue.appendleft(gap)

    async def catch_up(self, after: str) -> None:
        """Replay what is retained after the event ``after``, then join the live events.

        The end of the replay and the live events meet without an await between, so that nothing
        is lost, doubled or out of order there.
        """
        topic = self._topic
        await topic.opened()
        at, foreign = self._start(after)
        while self.open:
            newest = topic.last
            if at >= newest and not foreign:
                topic.join(self)
                return
            events = await topic.read(max(at, 0), REPLAYED)
            at = self._replay(events, at, newest, after if foreign else None)
            foreign = False
            self._drain()
            await self._emptied()

    # Inside

    def _start(self, after: str) -> tuple[int, bool]:
        """Return the sequence number to go on after (-1: the oldest), and whether it is unknown."""
        if after == OLDEST:
            return -1, False
        known = parse_event_id(after)
        if (
            known is None
            or known.incarnation != self._topic.incarnation
            or known.sequence > self._topic.last
        ):
            return -1, True
        return known.sequence, False

    def _replay(self, events: list[Event], at: int, newest: int, foreign: str | None) -> int:
        """Queue what was read and the gaps in it; return the sequence number reached.

        What is newer than ``newest`` comes as a live event or with the next read.
        """
        replayed = [event for event in events if event.id.sequence <= newest]
        for event in replayed:
            sequence = event.id.sequence
            self._note_missing(at, sequence - 1, foreign)
            foreign = None
            self._put(event)
            self._bytes += len(event.payload)
            at = sequence
        if not replayed:
            # Nothing up to ``newest`` is left to read.
            self._note_missing(at, newest, foreign)
            return newest
        return at

    def _note_missing(self, at: int, until: int, foreign: str | None) -> None:
        """Queue a gap if there is one between the sequence numbers ``at`` and ``until``."""
        incarnation = self._topic.incarnation
        end = EventId(incarnation, until)
        if foreign is not None:
            self._put(Gap("foreign", foreign, end, -1))
        elif 0 <= at < until:
            self._put(Gap("evicted", f"{incarnation}-{at}", end, until - at))

    def _put(self, item: Event | Gap) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(item)

    def _drain(self) -> None:
        queue, subscriber = self._queue, self._subscriber
        while queue and not self._paused:
            item = queue.popleft()
            if isinstance(item, Gap):
                subscriber.gap(item)
            else:
                self._bytes -= len(item.payload)
                self.account.sent += len(item.payload)
                subscriber.deliver(item)
        if not queue and not self._paused:
            if queue is self._queue:
                self._queue = None
            self._ready = self.open
            self._wake_up()
        self._topic.relieved(self)

    async def _emptied(self) -> None:
        """Wait until the subscriber has taken all that was queued."""
        while self.open and (self._queue or self._paused):
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _overflow(self) -> None:
        overflow = self._topic.overflow
        if overflow == "disconnect":
            detail = "the subscriber is too slow for this channel; resume after the last event"
            self.end(Refusal(Status.THROTTLED, detail))
        elif overflow == "block" and not self.is_over(times=2):
            self._topic.strained(self)
        else:
            self.trim()

    def _stop(self) -> list[Event]:
        """Become closed and return the events that were never delivered."""
        self.open = self._ready = False
        left = [item for item in self._queue or () if isinstance(item, Event)]
        if self._queue:
            self._queue.clear()
        self._wake_up()
        return left

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        self._wake = None


def _widened(gap: Gap | None, event: Event) -> Gap:
    """Return the gap with one more event dropped behind it."""
    incarnation, sequence = event.id
    if gap is None:
        return Gap("overflow", f"{incarnation}-{sequence - 1}", event.id, 1)
    lost = gap.lost + 1 if gap.lost >= 0 else -1
    return Gap(gap.reason, gap.after, event.id, lost)
