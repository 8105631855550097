"""How soon methods answer: a bounded histogram for each, of its recent calls."""

from array import array
from bisect import bisect_left
from itertools import accumulate
from math import ceil
from typing import Final, NamedTuple

from gateway.exchange import Exchange
from gateway.message import Status
from policy.model import Action
from registry.names import Name

BOUNDS: Final = tuple(0.0001 * 1.2**n for n in range(74))
"""Upper bounds of the histogram in seconds: 0.1 ms to a minute, in steps of a fifth."""
RECENT: Final = 1024
"""Calls after which older ones count half."""
ENOUGH: Final = 20
"""Calls that tell something."""
MOST: Final = 65_536
"""Methods that are followed; beyond, those followed longest are forgotten."""
SHARE: Final = 0.95


class Observed(NamedTuple):
    """The 95th percentile in milliseconds, at most a fifth too high, and of how many calls."""

    milliseconds: float
    calls: int


class Latencies:
    """Is told of every exchange that ends (``Plane.observe``)."""

    def __init__(self) -> None:
        self._counts: dict[Name, array[int]] = {}

    def ended(self, exchange: Exchange, status: Status, seconds: float) -> None:
        """Count a call that a provider answered, or did not in time."""
        call = exchange.call
        if (
            call.action is Action.CALL
            and exchange.target is not None
            and (status is Status.OK or status is Status.TIMEOUT)
        ):
            counts = self._counts.get(call.name)
            if counts is None:
                counts = self._begin(call.name)
            counts[bisect_left(BOUNDS, seconds)] += 1
            counts[-1] += 1
            if counts[-1] >= RECENT:
                _age(counts)

    def of(self, name: Name) -> Observed | None:
        """Return what was observed of a method, None when its calls are too few to tell."""
        counts = self._counts.get(name)
        if counts is None or counts[-1] < ENOUGH:
            return None
        calls = counts[-1]
        rank = bisect_left(list(accumulate(counts[:-1])), ceil(calls * SHARE))
        bound = BOUNDS[min(rank, len(BOUNDS) - 1)]
        return Observed(round(bound * 1000, 3), calls)

    def forget(self, name: Name) -> None:
        """Forget a method that is gone."""
        self._counts.pop(name, None)

    def _begin(self, name: Name) -> "array[int]":
        if len(self._counts) >= MOST:
            for old in list(self._counts)[: MOST // 8]:
                del self._counts[old]
        # One count for each bound, one for what took longer, and their sum.
        counts = self._counts[name] = array("H", bytes(2 * (len(BOUNDS) + 2)))
        return counts


def _age(counts: "array[int]") -> None:
    for index in range(len(counts) - 1):
        counts[index] //= 2
    counts[-1] = sum(counts[:-1])
