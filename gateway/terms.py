"""The terms of one call: what quality policies let it do, what it holds, and gives back.

An exchange has terms only when a policy covers its name.
"""

from typing import Final

from gateway.admission import Lane
from gateway.message import Status
from gateway.places import Held, Throttled, Ticket, Waiting
from policy.resolution import Selection, Target

ATTEMPTS: Final = 3
"""How often one call is tried at most, when no policy says so."""
FAULTS: Final = (Status.UNAVAILABLE, Status.PROVIDER_ERROR, Status.TIMEOUT)
"""Failures that count against an endpoint's health."""
_FAILED: Final = (*FAULTS, Status.INTERNAL)


class Terms:
    """One call's terms; ``size`` is what is known of its payload's length, in bytes."""

    __slots__ = ("_began", "_bound", "_lane", "_size", "_ticket", "_unjudged")

    def __init__(self, lane: Lane, size: int) -> None:
        self._lane = lane
        self._size = size
        self._began = 0.0
        self._ticket: Ticket | None = None
        self._bound: Held | None = None
        self._unjudged: Target | None = None

    def enter(self, waiting: Waiting, now: float) -> Throttled | None:
        """Ask for admission: then it is admitted, ``waits``, or is refused for what is returned."""
        lane = self._lane
        refusal = lane.throttle(self._size)
        if refusal is None and lane.limits:
            ticket = self._ticket = lane.ticket(waiting)
            refusal = ticket.enter()
        if refusal is None and lane.budget is not None:
            lane.budget.called(now)
        return refusal

    @property
    def waits(self) -> bool:
        """Whether the call has to wait for a place."""
        return self._ticket is not None and not self._ticket.ready

    def deadline(self, deadline: float, now: float) -> float:
        """Return when the call must be answered, which a policy may bring forward."""
        timeout = self._lane.timeout
        return min(deadline, now + timeout) if timeout else deadline

    def pick(
        self, selection: Selection, now: float, key: bytes, tried: tuple[Target, ...]
    ) -> tuple[Target | None, tuple[Target, ...], Throttled | None]:
        """Return the endpoint that the call goes to, and what has been tried with it.

        Endpoints that are full by a policy are passed over; if they are why there is none, the
        refusal is returned too.
        """
        refusal: Throttled | None = None
        while (target := selection.pick(now, key, tried)) is not None:
            tried = (*tried, target)
            if self._lane.bound:
                held = self._lane.bind(target, str(target), self._size)
                if isinstance(held, Throttled):
                    refusal = held
                    continue
                self._bound = held
            if self._lane.watches:
                self._began = self._lane.clock()
            if target.guard is not None:
                target.guard.begin(now)
                self._unjudged = target
            return target, tried, None
        return None, tried, refusal

    def may_retry(self, tries: int, now: float) -> bool:
        """Return whether the call may be tried again, and take that from the budget."""
        budget = self._lane.budget
        if budget is None:
            return tries < ATTEMPTS
        return tries < budget.rule.attempts and budget.retry(now)

    def judged(self) -> None:
        """What became of the call at its endpoint is known."""
        self._unjudged = None

    def leave(self, *, answered: bool) -> None:
        """Give back what the call had at one endpoint, of which nothing more will be known."""
        target, self._unjudged = self._unjudged, None
        if target is not None and target.guard is not None:
            target.guard.dropped()
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.end(learn=answered)

    def end(self, received: int, sent: int, status: Status, *, answered: bool) -> None:
        """The call ended: give everything back, and pay for bytes that were not known before."""
        self.leave(answered=answered)
        if self._began:
            self._lane.observe(self._lane.clock() - self._began, failed=status in _FAILED)
        more = sent + max(received - self._size, 0)
        if more:
            self._lane.owe(more)
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.end(learn=answered)
