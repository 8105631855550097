"""The terms of one call: what quality policies let it do, what it holds, and gives back.

An exchange has terms only when a policy covers its name and asks more of it than a rate, or when
something is amiss at its endpoint.
"""

from typing import Final

from gateway.message import Status
from gateway.quality.admission import Lane
from gateway.quality.places import Held, Throttled, Ticket, Waiting
from policy.quality.breaker import Guard
from policy.quality.concurrency import ConcurrencyLimit
from policy.resolution import Selection, Target

ATTEMPTS: Final = 3
"""How often one call is tried at most, when no policy says so."""
FAULTS: Final = (Status.UNAVAILABLE, Status.PROVIDER_ERROR, Status.TIMEOUT)
"""Failures that count against an endpoint's health."""
_FAILED: Final = (*FAULTS, Status.INTERNAL)


class Terms:
    """One call's terms; ``size`` is what is known of its payload's length, in bytes.

    ``waits``: it has to wait for a place, and its exchange is told when there is one.
    """

    __slots__ = ("_began", "_bound", "_guard", "_place", "_size", "_ticket", "lane", "waits")

    def __init__(self, lane: Lane, size: int) -> None:
        self.lane = lane
        self.waits = False
        self._size = size
        self._began = 0.0
        self._place: ConcurrencyLimit | None = None
        self._ticket: Ticket | None = None
        self._bound: Held | None = None
        self._guard: Guard | None = None

    def enter(self, waiting: Waiting, now: float) -> Throttled | None:
        """Ask for admission: then it is admitted, ``waits``, or is refused for what is returned."""
        lane = self.lane
        refusal = lane.throttle(self._size)
        if refusal is not None:
            return refusal
        if lane.timed:
            self._began = lane.clock()
        if lane.limits:
            only = lane.only
            if only is not None and only.enter(lane.priority):
                self._place = only
            else:
                ticket = self._ticket = lane.ticket(waiting)
                refusal = ticket.enter()
                self.waits = not ticket.ready
        if lane.budget is not None:
            lane.budget.called(now)
        return refusal

    def pick(
        self, selection: Selection, now: float, key: bytes, tried: tuple[Target, ...]
    ) -> tuple[Target | None, tuple[Target, ...], Throttled | None]:
        """Return an endpoint with room for the call by limits of its own, and what not to try.

        Full ones are passed over; if they are why there is none, the refusal is returned too.
        """
        refusal: Throttled | None = None
        while (target := selection.pick(now, key, tried)) is not None:
            held = self.lane.bind(target, str(target), self._size)
            if isinstance(held, Held):
                self._bound = held
                return target, tried, None
            tried = (*tried, target)
            refusal = held
        return None, tried, refusal

    def begin(self, guard: Guard, now: float) -> None:
        """The call goes to an endpoint where something is amiss: say what became of it."""
        guard.begin(now)
        self._guard = guard

    def may_retry(self, tries: int, now: float) -> bool:
        """Return whether the call may be tried again, and take that from the budget."""
        budget = self.lane.budget
        if budget is None:
            return tries < ATTEMPTS
        return tries < budget.rule.attempts and budget.retry(now)

    def judged(self) -> None:
        """What became of the call at its endpoint is known."""
        self._guard = None

    def leave(self, *, answered: bool) -> None:
        """Give back what the call had at one endpoint, of which nothing more will be known."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dropped()
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.end(learn=answered)

    def end(self, received: int, sent: int, status: Status, *, answered: bool) -> None:
        """The call ended: give everything back, and pay for bytes that were not known before."""
        lane = self.lane
        if self._guard is not None or self._bound is not None:
            self.leave(answered=answered)
        seconds = lane.clock() - self._began if self._began else -1.0
        if lane.watches and self._began:
            lane.observe(seconds, failed=status in _FAILED)
        if lane.weighs:
            lane.settle(self._size, received, sent)
        if self._place is not None:
            lane.leave(self._place, seconds if answered else -1.0)
        elif self._ticket is not None:
            self._ticket.end(learn=answered)
