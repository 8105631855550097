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
"""Calls that took about as long, after which all before count half."""
ENOUGH: Final = 20
"""Calls that tell something."""
MOST: Final = 65_536
"""Methods that are followed; beyond, those followed longest are forgotten."""
SHARE: Final = 0.95
# Looked up for every call: a name of the module costs less than a member of an enumeration.
_OK, _TIMEOUT, _CALL = Status.OK, Status.TIMEOUT, Action.CALL


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
            exchange.target is not None
            and (status is _OK or status is _TIMEOUT)
            and call.action is _CALL
        ):
            counts = self._counts.get(call.name) or self._begin(call.name)
            bucket = bisect_left(BOUNDS, seconds)
            count = counts[bucket] = counts[bucket] + 1
            if count >= RECENT:
                _age(counts)

    def of(self, name: Name) -> Observed | None:
        """Return what was observed of a method, None when its calls are too few to tell."""
        counts = self._counts.get(name)
        calls = 0 if counts is None else sum(counts)
        if counts is None or calls < ENOUGH:
            return None
        rank = bisect_left(list(accumulate(counts)), ceil(calls * SHARE))
        bound = BOUNDS[min(rank, len(BOUNDS) - 1)]
        return Observed(round(bound * 1000, 3), calls)

    def forget(self, name: Name) -> None:
        """Forget a method that is gone."""
        self._counts.pop(name, None)

    def _begin(self, name: Name) -> "array[int]":
        if len(self._counts) >= MOST:
            for old in list(self._counts)[: MOST // 8]:
                del self._counts[old]
        # One count for each bound, and one for what took longer.
        counts = self._counts[name] = array("H", bytes(2 * (len(BOUNDS) + 1)))
        return counts


def _age(counts: "array[int]") -> None:
    for index, count in enumerate(counts):
        counts[index] = count // 2
