"""How much may be under way at once, and who is next. Pure: nothing here knows what waits."""

from collections import OrderedDict
from math import sqrt
from typing import Final

from mypy_extensions import mypyc_attr

from policy.quality_rules import Concurrency

NORMAL: Final = 5
"""The priority of who has no other; only a higher one may use what is reserved."""
PRIORITIES: Final = 11

SMOOTHING: Final = 0.2
"""How much of a new estimate an adaptive limit takes over at once."""
TOLERANCE: Final = 1.5
"""How many times its usual latency a provider may take before the limit sinks."""
LONG: Final = 600
SHORT: Final = 10
"""Samples over which the usual and the present latency are averaged."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Waiter:
    """Something that waits for a place, until ``until`` at most; ``place`` is the limit's."""

    __slots__ = ("place", "priority", "until")

    def __init__(self, priority: int, until: float) -> None:
        self.priority = priority
        self.until = until
        self.place: ConcurrencyLimit | None = None


class Gradient:
    """An adaptive limit: it follows the ratio of the usual latency to the present one.

    After the "gradient2" limit of Netflix' concurrency-limits: below the tolerance it grows by
    the root of itself, above it sinks by the ratio, by half at most at once.
    """

    __slots__ = ("_long", "_maximum", "_minimum", "_short", "limit")

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = float(minimum)
        self._maximum = float(maximum)
        self._long = 0.0
        self._short = 0.0
        self.limit = max(self._minimum, min(self._maximum, 20.0))

    def observe(self, seconds: float, busy: int) -> None:
        """Take the latency of one call that ended while ``busy`` were under way."""
        if self._long == 0.0:
            self._long = self._short = seconds
        self._short += (seconds - self._short) / SHORT
        self._long += (seconds - self._long) / LONG
        if self._long > 2.0 * self._short:  # it was slow for long: believe the better times
            self._long *= 0.95
        if 2 * busy < self.limit:  # what is not used says nothing about what is possible
            return
        ratio = TOLERANCE * self._long / self._short if self._short > 0.0 else 1.0
        wanted = self.limit * max(0.5, min(1.0, ratio)) + sqrt(self.limit)
        limit = self.limit + SMOOTHING * (wanted - self.limit)
        self.limit = max(self._minimum, min(self._maximum, limit))


class ConcurrencyLimit:
    """Places for what is under way, and a bounded queue: by priority, then first come.

    ``reserve`` is the share of the places that only a priority above ``NORMAL`` may take.
    """

    __slots__ = (
        "_gradient",
        "_ordinary",
        "_queue",
        "_reserve",
        "_waiting",
        "busy",
        "limit",
        "seconds",
        "waits",
    )

    def __init__(self, rule: Concurrency, reserve: float = 0.0) -> None:
        self._gradient = Gradient(rule.minimum, rule.limit) if rule.adaptive else None
        self._queue = rule.queue
        self._reserve = reserve
        self._waiting: list[OrderedDict[Waiter, None] | None] = [None] * PRIORITIES
        self.limit = int(self._gradient.limit) if self._gradient is not None else rule.limit
        self._ordinary = self._for_ordinary()
        self.seconds = rule.wait
        self.busy = 0
        self.waits = 0

    def enter(self, priority: int) -> bool:
        """Take a place if one is free; ``leave`` it.

        Nobody with as good a claim waits then: ``leave`` has let in all that there was room for.
        """
        if self.busy >= (self.limit if priority > NORMAL else self._ordinary):
            return False
        self.busy += 1
        return True

    def wait(self, waiter: Waiter) -> Waiter | None:
        """Queue up; return who has to give way: the least and latest, maybe ``waiter`` itself."""
        loser: Waiter | None = None
        if self.waits >= self._queue:
            loser = self._last_below(waiter.priority)
            if loser is None:
                return waiter
            self.withdraw(loser)
        queue = self._waiting[waiter.priority]
        if queue is None:
            queue = self._waiting[waiter.priority] = OrderedDict()
        queue[waiter] = None
        waiter.place = self
        self.waits += 1
        return loser

    def withdraw(self, waiter: Waiter) -> None:
        """Somebody waits no more."""
        queue = self._waiting[waiter.priority]
        if waiter.place is self and queue is not None:
            del queue[waiter]
            waiter.place = None
            self.waits -= 1

    def leave(self, seconds: float = -1.0) -> list[Waiter]:
        """Give a place back; return who has one now.

        ``seconds`` is the latency that an adaptive limit learns from, below 0 nothing.
        """
        if self._gradient is not None and seconds >= 0.0:
            self._gradient.observe(seconds, self.busy)
            self.limit = int(self._gradient.limit)
            self._ordinary = self._for_ordinary()
        self.busy -= 1
        return self._next() if self.waits else []

    def overdue(self, now: float) -> list[Waiter]:
        """Take out who has waited long enough; as all wait equally long, the first ones have."""
        found: list[Waiter] = []
        for queue in self._waiting:
            while queue:
                waiter = next(iter(queue))
                if waiter.until > now:
                    break
                self.withdraw(waiter)
                found.append(waiter)
        return found

    def is_idle(self) -> bool:
        """Return whether nobody uses it."""
        return not self.busy and not self.waits

    @property
    def adaptive(self) -> bool:
        """Whether it learns from latencies."""
        return self._gradient is not None

    def _for_ordinary(self) -> int:
        """Return how many places there are for who may not use the reserve."""
        return max(1, self.limit - int(self.limit * self._reserve))

    def _last_below(self, priority: int) -> Waiter | None:
        for queue in self._waiting[:priority]:
            if queue:
                return next(reversed(queue))
        return None

    def _next(self) -> list[Waiter]:
        """Let in as many as there are places for, the best claims first."""
        found: list[Waiter] = []
        for priority in range(PRIORITIES - 1, -1, -1):
            queue = self._waiting[priority]
            open_to = self.limit if priority > NORMAL else self._ordinary
            while queue and self.busy < open_to:
                waiter, _ = queue.popitem(last=False)
                waiter.place = None
                self.waits -= 1
                self.busy += 1
                found.append(waiter)
        return found
