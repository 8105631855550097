"""Who looks at a site's traffic now: rates by name, and calls and denials as they happen.

Nothing is counted by name, and nothing is remembered, while nobody watches: this joins the plane
when somebody begins and leaves it some time after the last question.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from gateway.exchange import Exchange
from gateway.message import Refusal, Status
from gateway.plane import Plane
from gateway.view import BUCKETS
from policy.decision import Decision
from policy.model import Action, Principal
from registry.names import Name, Pattern

WINDOWS: Final = 10
"""Rates are those of so many seconds."""
NAMES: Final = 1000
"""Names that are told apart in one second; the others are counted together."""
OTHERS: Final = Name("_others")
OWN: Final = "/$site/observe/"
"""Watching is not shown: each look at a tail would be its next item."""
LINGER: Final = 30.0
"""Seconds that is gone on after the last question."""
TAILS: Final = 16
"""Tails at the same time."""
KEPT: Final = 1000
"""What one tail remembers between two questions; older ones are counted as lost."""
REFUSED: Final = (Status.DENIED, Status.UNAUTHENTICATED, Status.THROTTLED)
FAULTS: Final = (Status.UNAVAILABLE, Status.TIMEOUT, Status.PROVIDER_ERROR, Status.INTERNAL)


class Tally:
    """What happened to one name within a while."""

    __slots__ = ("buckets", "calls", "faults", "refused")

    def __init__(self) -> None:
        self.calls = self.faults = self.refused = 0
        self.buckets = [0] * (len(BUCKETS) + 1)

    def add(self, status: Status, seconds: float) -> None:
        """Count an exchange that ended."""
        self.calls += 1
        if status in REFUSED:
            self.refused += 1
            return
        if status in FAULTS:
            self.faults += 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def merge(self, other: "Tally") -> None:
        """Add what another counted."""
        self.calls += other.calls
        self.faults += other.faults
        self.refused += other.refused
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def quantile(self, share: float) -> float:
        """Return the upper bound in seconds of so many of the calls; -1.0 when there are none."""
        total = sum(self.buckets)
        if not total:
            return -1.0
        seen = 0
        for bound, number in zip(BUCKETS, self.buckets, strict=False):
            seen += number
            if seen >= share * total:
                return bound
        return BUCKETS[-1]


class Filter(NamedTuple):
    """What a tail shows: None and "" mean everything."""

    pattern: Pattern | None = None
    principal: str = ""
    decision: str = ""


class Tail:
    """Calls and denials that fit a filter, until somebody asks for them."""

    def __init__(self, wanted: Filter, asked: float) -> None:
        self.asked = asked
        self.lost = 0
        self._wanted = wanted
        self._items: deque[dict[str, object]] = deque()
        self._came = asyncio.Event()

    def takes(self, principal: Principal, name: Name, decision: str) -> bool:
        """Return whether it shows such a one."""
        wanted = self._wanted
        return (
            wanted.decision in ("", decision)
            and wanted.principal in ("", principal.id)
            and (wanted.pattern is None or wanted.pattern.matches(name))
        )

    def add(self, item: dict[str, object]) -> None:
        """Remember one."""
        if len(self._items) >= KEPT:
            self._items.popleft()
            self.lost += 1
        self._items.append(item)
        self._came.set()

    async def take(self, seconds: float) -> list[dict[str, object]]:
        """Return what came, waiting for the first for so long at most."""
        if not self._items:
            self._came.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), seconds)
        found = list(self._items)
        self._items.clear()
        return found


class Watching:
    """The watchers of one plane; ``clock`` is the loop's time, ``unix`` Unix time in seconds."""

    def __init__(self, plane: Plane, clock: Callable[[], float], unix: Callable[[], float]) -> None:
        self.tails: dict[str, Tail] = {}
        self._plane = plane
        self._clock = clock
        self._unix = unix
        self._before: Callable[[Exchange, Status, float], None] | None = None
        self._watches = False
        self._counts = 0.0
        self._since = 0.0
        self._second = 0
        self._names: dict[Name, Tally] = {}
        self._windows: deque[dict[Name, Tally]] = deque(maxlen=WINDOWS)

    # Rates

    def top(self) -> tuple[dict[Name, Tally], float]:
        """Return what happened to each name lately, and within how many seconds.

        The first question begins the counting: it finds nothing yet.
        """
        now = self._clock()
        if not self._counts:
            self._since = now
            self._second = int(now)
            self._windows.clear()
            self._names = {}
        self._counts = now
        self._join()
        self._turn(now)
        found: dict[Name, Tally] = {}
        for window in (*self._windows, self._names):
            for name, tally in window.items():
                found.setdefault(name, Tally()).merge(tally)
        return found, max(min(now - self._since, WINDOWS + now % 1.0), 0.001)

    def open_calls(self) -> dict[Name, int]:
        """Return how many calls of each name are under way."""
        found: dict[Name, int] = {}
        for exchange in self._plane.live:
            name = exchange.call.name
            found[name] = found.get(name, 0) + 1
        return found

    # Tails

    def begin(self, id_: str, wanted: Filter) -> Tail:
        """Begin a tail; raises Refusal when there are too many."""
        self.sweep()
        if len(self.tails) >= TAILS:
            raise Refusal(Status.THROTTLED, f"{TAILS} others watch already", retry_after=30)
        tail = self.tails[id_] = Tail(wanted, self._clock())
        self._join()
        return tail

    def denied(self, principal: Principal, action: Action, name: Name, decision: Decision) -> None:
        """Show a denial to those who want to see it."""
        for tail in self._takers(principal, name, "denied"):
            said = self._item(principal, action, name)
            tail.add(said | {"reasons": [str(reason) for reason in decision.reasons]})

    def sweep(self) -> None:
        """Once a second: forget who does not ask any more."""
        now = self._clock()
        self.tails = {k: tail for k, tail in self.tails.items() if now - tail.asked < LINGER}
        if self._counts and now - self._counts >= LINGER:
            self._counts = 0.0
            self._windows.clear()
            self._names = {}
        if not self.tails and not self._counts:
            self._leave()

    def asked(self, tail: Tail) -> None:
        """Somebody still wants a tail."""
        tail.asked = self._clock()

    # Inside

    def _join(self) -> None:
        if not self._watches:
            self._watches = True
            self._before = self._plane.ended
            self._plane.ended = self._ended

    def _leave(self) -> None:
        if self._watches:
            self._watches = False
            self._plane.ended = self._before

    def _ended(self, exchange: Exchange, status: Status, seconds: float) -> None:
        if self._before is not None:
            self._before(exchange, status, seconds)
        call = exchange.call
        if OWN in call.name:
            return
        if self._counts:
            self._turn(self._plane.now)
            names = self._names
            tally = names.get(call.name)
            if tally is None:
                name = call.name if len(names) < NAMES else OTHERS
                tally = names.setdefault(name, Tally())
            tally.add(status, seconds)
        if self.tails and status not in (Status.DENIED, Status.UNAUTHENTICATED):
            for tail in self._takers(call.principal, call.name, "allowed"):
                tail.add(self._call(exchange, status, seconds))

    def _turn(self, now: float) -> None:
        """Begin a new second; those in which nothing happened count too."""
        passed = int(now) - self._second
        if passed > 0:
            self._second = int(now)
            self._windows.append(self._names)
            self._names = {}
            for _ in range(min(passed - 1, WINDOWS)):
                self._windows.append({})

    def _takers(self, principal: Principal, name: Name, decision: str) -> Iterator[Tail]:
        return (t for t in tuple(self.tails.values()) if t.takes(principal, name, decision))

    def _call(self, exchange: Exchange, status: Status, seconds: float) -> dict[str, object]:
        call, target = exchange.call, exchange.target
        said = self._item(call.principal, call.action, call.name)
        said |= {"status": status.slug, "ms": round(seconds * 1000, 3)}
        said |= {"received": exchange.received, "sent": exchange.sent, "peer": call.peer}
        if target is not None:
            said["provider"] = target.provider
        if call.span is not None:
            said["trace"] = call.span.trace_id.decode()
        return said

    def _item(self, principal: Principal, action: Action, name: Name) -> dict[str, object]:
        time = round(self._unix() * 1000)
        return {"time": time, "principal": principal.id, "action": str(action), "name": name}


def busiest(found: dict[Name, Tally], key: str, most: int) -> Iterable[tuple[Name, Tally]]:
    """Return the names with most of something: ``calls``, ``faults``, ``refused`` or ``p99``."""

    def weight(item: tuple[Name, Tally]) -> tuple[float, str]:
        tally = item[1]
        value = tally.quantile(0.99) if key == "p99" else getattr(tally, key)
        return (-float(value), item[0])

    return sorted(found.items(), key=weight)[:most]
