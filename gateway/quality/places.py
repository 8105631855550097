"""Places and rates as exchanges see them: a ticket is what a call must hold to be sent.

Nothing here knows principals or names; ``admission`` says which limits are whose.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from gateway.message import Refusal, Status
from policy.model import QualityPolicy
from policy.quality.breaker import RetryBudget
from policy.quality.concurrency import ConcurrencyLimit, Waiter
from policy.quality.limits import Limiter, retry_after

Metered: TypeAlias = list[tuple[str, Limiter]]
"""Limiters, each with the name of its policy."""


class Quality(NamedTuple):
    """A QualityPolicy in force."""

    name: str
    revision: int
    spec: QualityPolicy


class Waiting(Protocol):
    """What waits for a place: an exchange."""

    def admitted(self) -> None:
        """There is a place now."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """It waited for too long, or somebody else was more urgent."""
        ...


class Throttled(Refusal):
    """More than a policy allows; ``wait`` is in how many seconds it is not, exactly."""

    def __init__(self, detail: str, wait: float) -> None:
        super().__init__(Status.THROTTLED, detail, retry_after=retry_after(wait))
        self.wait = wait


class State:
    """What one policy remembers of one flow; ``gone`` when nobody may use it any more."""

    __slots__ = ("budget", "gone", "limit", "limiter", "quality")

    def __init__(self, quality: Quality) -> None:
        spec = quality.spec
        rated = spec.messages is not None or spec.bytes is not None
        self.quality = quality
        self.limiter = Limiter(spec.messages, spec.bytes, spec.reserve) if rated else None
        concurrency = spec.concurrency
        self.limit = None if concurrency is None else ConcurrencyLimit(concurrency, spec.reserve)
        self.budget = None if spec.retries is None else RetryBudget(spec.retries)
        self.gone = False

    def is_idle(self, now: float) -> bool:
        """Return whether it is as good as new."""
        return (
            (self.limiter is None or self.limiter.is_idle(now))
            and (self.limit is None or self.limit.is_idle())
            and (self.budget is None or self.budget.is_idle(now))
        )


def metered(states: Iterable[State]) -> Metered:
    """Return those of some states that limit rates."""
    return [(s.quality.name, s.limiter) for s in states if s.limiter is not None]


class Places:
    """Who waits for a place, and who has one now; ``clock`` is the loop's time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.throttled: dict[str, int] = {}
        """How often each policy refused, by its name."""
        self.queues: dict[ConcurrencyLimit, None] = {}
        self._granted: deque[Waiter] = deque()
        self._letting_in = False

    def throttle(self, metered: Metered, size: int, *, urgent: bool) -> Throttled | None:
        """Commit a message to every limiter, or to none and say for how long."""
        now = self.clock()
        for policy, limiter in metered:
            wait = limiter.wait(now, size, urgent)
            if wait:
                return self.refusal(policy, wait)
        for _, limiter in metered:
            limiter.take(now, size)
        return None

    def refusal(self, policy: str, wait: float) -> Throttled:
        """Refuse a message; a stranger need not know what the policy is called."""
        self.count(policy)
        return Throttled("more messages or bytes a second than a quality policy allows", wait)

    def count(self, policy: str) -> None:
        """Count a message that a policy refused or slowed down."""
        self.throttled[policy] = self.throttled.get(policy, 0) + 1

    def let_in(self, waiters: Iterable[Waiter]) -> None:
        """Tell who has a place now, one after the other: no call stack grows with a queue."""
        self._granted.extend(waiters)
        if self._letting_in:
            return
        self._letting_in = True
        try:
            while self._granted:
                waiter = self._granted.popleft()
                assert isinstance(waiter, Ticket)
                waiter.granted()
        finally:
            self._letting_in = False

    def sweep(self, now: float) -> None:
        """Refuse who has waited long enough for a place."""
        for limit in tuple(self.queues):
            for waiter in limit.overdue(now):
                assert isinstance(waiter, Ticket)
                waiter.end()
                detail = "no place became free in time: as many calls as a quality policy allows"
                waiter.waiting.refused(Throttled(detail, limit.seconds))
            if not limit.waits:
                del self.queues[limit]


class Ticket(Waiter):
    """The places that a call has, or waits for; ``ready`` when it has them all."""

    __slots__ = ("_held", "_limits", "_places", "_since", "ready", "waiting")

    def __init__(
        self, places: Places, limits: Sequence[ConcurrencyLimit], priority: int, waiting: Waiting
    ) -> None:
        super().__init__(priority, 0.0)
        self._places = places
        self._limits = limits
        self._held = 0
        self._since = 0.0
        self.waiting = waiting
        self.ready = False

    def enter(self) -> Throttled | None:
        """Take the places in the limits' order, which everybody keeps: so nobody blocks another.

        Then this is ``ready`` or in a queue; or it is refused, and has no place.
        """
        limits, places = self._limits, self._places
        while self._held < len(limits):
            limit = limits[self._held]
            if not limit.enter(self.priority):
                self.until = places.clock() + limit.seconds
                loser = limit.wait(self)
                places.queues[limit] = None
                if loser is not None:
                    assert isinstance(loser, Ticket)
                    refusal = Throttled("too many calls wait already", limit.seconds)
                    loser.end()
                    if loser is self:
                        return refusal
                    loser.waiting.refused(refusal)
                return None
            self._held += 1
        self.ready = True
        self._since = places.clock()
        return None

    def granted(self) -> None:
        """A place became free for this: go on to the next limit."""
        self._held += 1
        refusal = self.enter()
        if refusal is not None:
            self.waiting.refused(refusal)
        elif self.ready:
            self.waiting.admitted()

    def end(self, *, learn: bool = False) -> None:
        """Give all places back, or wait no more; ``learn``: the latency says something."""
        if self.place is not None:
            self.place.withdraw(self)
        limits, held, self._held = self._limits, self._held, 0
        seconds = self._places.clock() - self._since if learn and self.ready else -1.0
        self.ready = False
        for number in range(held):
            self._places.let_in(limits[number].leave(seconds))


class Held:
    """Places at one endpoint."""

    __slots__ = ("_limits", "_places", "_since")

    def __init__(self, places: Places, limits: Sequence[ConcurrencyLimit]) -> None:
        self._places = places
        self._limits = limits
        self._since = places.clock()

    def end(self, *, learn: bool = False) -> None:
        """Give them back."""
        limits, self._limits = self._limits, ()
        seconds = self._places.clock() - self._since if learn else -1.0
        for limit in limits:
            self._places.let_in(limit.leave(seconds))
