"""One call's life: route, decide, resolve, admit, send, answer (design 4).

An exchange has no task, future or await: adapters call it and it calls back through the ports.
Its deadline is an attribute that ``Plane.sweep`` looks at.
"""

from typing import Final

from gateway.message import Call, Refusal, Reply, Status
from gateway.plane import Plane as Plane  # noqa: PLC0414 - what exchanges happen on
from gateway.ports import Caller, Permit, Sink
from gateway.quality.admission import Gate, Lane
from gateway.quality.places import Throttled
from gateway.quality.terms import ATTEMPTS, FAULTS, Terms
from gateway.refusals import denial, no_endpoint
from gateway.validity import CHECKED, carries_payload, refuse_invalid, too_large
from gateway.view import Route
from policy.access.index import UNDECIDED
from policy.decision import Decision
from policy.model import Action
from policy.resolution import Target
from registry.validation import Validator

HELD = CHECKED
"""A request of at most this many bytes is kept, so that it can be sent again (design 4)."""
FAIR_SECONDS = 1.0
"""A deadline sooner than this says nothing about the endpoint that missed it."""
CALL: Final = Action.CALL
NEVER = float("inf")
RETRIED = (*FAULTS, Status.THROTTLED)


class Exchange:
    """One call between its caller and a provider; see the ports for who calls what.

    It is answered exactly once, by a whole reply, ``refuse`` or ``abort``, unless it is cancelled.
    ``received`` and ``sent`` count payload bytes; ``target`` is who was asked last, if anybody.
    """

    __slots__ = (
        "_body_paused",
        "_caller",
        "_decision",
        "_ended",
        "_full",
        "_head",
        "_held",
        "_lane",
        "_plane",
        "_reply_paused",
        "_sent",
        "_sink",
        "_size",
        "_started",
        "_terms",
        "_tried",
        "_waiting",
        "call",
        "deadline",
        "done",
        "received",
        "route",
        "sent",
        "target",
    )

    def __init__(self, plane: Plane, call: Call, route: Route, caller: Caller) -> None:
        self._plane = plane
        self.call = call
        self.route = route
        self._caller = caller
        self.deadline = call.deadline
        self._started = self._sent = plane.now
        self._sink: Sink | None = None
        self._tried: tuple[Target, ...] = ()
        self.target: Target | None = None
        self._held: bytes | None = b""
        self._head: Reply | None = None
        self._ended = self._body_paused = self._reply_paused = self.done = False
        self._lane: Lane | None = None
        self._terms: Terms | None = None
        self._full: Throttled | None = None
        self._waiting: bytes | None = None
        self.received = self.sent = 0

    # What the caller's adapter calls

    def begin(self, body: bytes, end: bool) -> None:
        """Decide and send; called first, and once. What is wrong is answered by ``refuse``."""
        call, route, plane = self.call, self.route, self._plane
        if plane.tracer is not None:
            plane.tracer.begin(call)
        decision = plane.access.check(call.principal, call.action, call.name, route.owner)
        self._ended = end
        if decision.allowed:
            plane.live.add(self)
            self._permit(decision, body)
        elif decision is not UNDECIDED or not self._hold(body):
            self._refuse(denial(plane.access, call, route, decision))

    def body(self, data: bytes, end: bool) -> None:
        """Take more of the request's payload."""
        sink = self._sink
        if self.done:
            return
        self._ended = end
        self.received += len(data)
        if self._waiting is not None:
            self._waiting += data
        elif sink is None:
            self._collect(data)
        else:
            held = self._held
            if held is not None:
                self._held = held + data if len(held) + len(data) <= HELD else None
            sink.body(data, end)

    def cancel(self) -> None:
        """The caller is gone: stop the provider's work and say nothing more."""
        if not self.done:
            self._body_paused = False
            self._finish(Status.CANCELLED)
            if self._sink is not None:
                self._sink.cancel()

    def pause_reply(self) -> None:
        """The caller takes no more reply payload for now."""
        self._reply_paused = True
        if self._sink is not None and not self.done:
            self._sink.pause()

    def resume_reply(self) -> None:
        """The caller takes reply payload again."""
        self._reply_paused = False
        if self._sink is not None and not self.done:
            self._sink.resume()

    # What the plane, first use and admission call; they call ``refused`` too

    def expire(self) -> None:
        """The deadline has passed without a reply."""
        if not self.done:
            if self.target is not None and self._plane.now - self._sent >= FAIR_SECONDS:
                self._blame(self.target)
            self._stop(Refusal(Status.TIMEOUT, "no reply before the deadline"))

    def revoke(self, refusal: Refusal) -> None:
        """The caller may not do this any longer."""
        if not self.done:
            self._stop(refusal)

    def decided(self, decision: Decision) -> None:
        """A first use has been asked about."""
        waiting, self._waiting = self._waiting, None
        if self.done or waiting is None:
            return
        if decision.allowed:
            self._let_go()
            self._permit(decision, waiting)
        else:
            self._refuse(denial(self._plane.access, self.call, self.route, decision))

    def admitted(self) -> None:
        """There is a place for the call now."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not self.done:
            self._held = waiting if len(waiting) <= HELD else None
            self._sent = self._plane.now
            self._let_go()
            self._go(waiting)

    # What the provider's adapter calls

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The provider's reply began: the deadline has been met."""
        if self.done or self._head is not None:
            return
        self._head = head
        self.deadline = NEVER
        self.sent = len(body)
        if self.target is not None:
            self._judge(self.target, head)
        if end:
            self._finish(head.status)
        self._caller.reply(head, body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The provider's reply goes on."""
        if self.done or self._head is None:
            return
        self.sent += len(data)
        if end:
            self._finish(self._head.status)
        self._caller.reply_body(data, end)

    def failed(self, status: Status, why: str, *, written: bool) -> None:
        """The provider failed: try another endpoint if that is safe, else say so."""
        if self.done:
            return
        self._sink = None
        if self.target is not None and status in FAULTS:
            self._blame(self.target)
        if self._head is not None:
            self._finish(status)
            self._caller.abort()
        elif not (self._may_retry(status, written=written) and self._retry()):
            self._refuse(Refusal(status, why, retry_after=int(status is Status.UNAVAILABLE)))

    def refused(self, refusal: Refusal) -> None:
        """The gateway's own object refuses the call."""
        if not self.done:
            self._refuse(refusal)

    def pause_body(self) -> None:
        """The provider takes no more request payload for now."""
        if not self.done:
            self._body_paused = True
            self._caller.pause()

    def resume_body(self) -> None:
        """The provider takes request payload again."""
        if not self.done:
            self._body_paused = False
            self._caller.resume()

    # Inside

    def _hold(self, body: bytes) -> bool:
        """Wait for a decision about a first use (design 7); False: nobody is asked."""
        try:
            held = self._plane.hold(self)
        except Refusal as refusal:
            self._refuse(refusal)
            return True
        if held:
            self._wait(body)
        return held

    def _permit(self, decision: Decision, body: bytes) -> None:
        """Go on with a call that is allowed."""
        self._decision, self.received = decision, len(body)
        if decision.obligations is not None:
            self._caller = self._plane.oblige(self, self._caller, decision.obligations)
        self._held = body if self.received <= HELD else None
        if self.route.gate is None or self._admit(self.route.gate, body):
            self._go(body)

    def _wait(self, body: bytes) -> None:
        """Keep what came, and take no more."""
        self._waiting = body
        if not self._ended:
            self._body_paused = True
            self._caller.pause()

    def _admit(self, gate: Gate, body: bytes) -> bool:
        """Ask what quality policies let pass; False: refused, or it waits for a place."""
        call, now = self.call, self._plane.now
        lane = self._lane = gate.lane(call.principal)
        size = self._size = max(call.length, len(body))
        if lane.only_rates:
            refusal = lane.throttle(size)
        else:
            self._terms = Terms(lane, size)
            refusal = self._terms.enter(self, now)
        if refusal is not None:
            self._refuse(refusal)
            return False
        if lane.timeout:
            self.deadline = min(self.deadline, now + lane.timeout)
        waits = self._terms is not None and self._terms.waits
        if waits:
            self._wait(body)
        return not waits

    def _go(self, body: bytes) -> None:
        """Send what may be sent, once it is known to be valid."""
        validator = self.route.validator
        if validator is not None and carries_payload(self.call):
            self._check(validator, body)
        else:
            self._send_or_refuse(body)

    def _check(self, validator: Validator, payload: bytes) -> None:
        """Send a payload once it is whole and fits its schema."""
        if self._held is None:
            self._refuse(too_large())
        elif self._ended:
            refusal = refuse_invalid(validator, payload)
            self.call.length = len(payload)
            if refusal is not None:
                self._refuse(refusal)
            else:
                self._send_or_refuse(payload)

    def _collect(self, data: bytes) -> None:
        """Take payload that has to be whole before anything is sent."""
        validator, held = self.route.validator, self._held
        if validator is None or held is None:
            return
        held += data
        self._held = held if len(held) <= HELD else None
        self._check(validator, held)

    def _send_or_refuse(self, body: bytes) -> None:
        if not self._send(body):
            self._refuse(self._full or no_endpoint(self.route, self._plane.now))

    def _send(self, body: bytes) -> bool:
        """Resolve, admit and send; return False when no endpoint is left."""
        call, route, plane = self.call, self.route, self._plane
        selection = route.selection
        if call.action is not CALL or selection is None:
            target, provider = None, plane.local
        else:
            terms = self._terms
            if terms is None or not terms.lane.bound:
                target = selection.pick(plane.now, call.sticky, self._tried)
            else:
                picked = terms.pick(selection, plane.now, call.sticky, self._tried)
                target, self._tried, self._full = picked
            if target is None:
                return False
            self.target, guard = target, target.guard
            self._tried = (*self._tried, target)
            if guard is not None and not guard.calm and self._lane is not None:
                self._terms = terms or Terms(self._lane, self._size)
                self._terms.begin(guard, plane.now)
            provider = plane.providers[target.provider]
        permit = Permit(call, route, self._decision, target)
        sink = self._sink = provider.send(permit, self, body, self._ended)
        if self._reply_paused:
            sink.pause()
        return True

    def _may_retry(self, status: Status, *, written: bool) -> bool:
        method, terms, tries = self.route.method, self._terms, len(self._tried)
        if status not in RETRIED or method is None or self._held is None or not tries:
            return False
        if written and not (method.safe or method.idempotent):
            return False
        return tries < ATTEMPTS if terms is None else terms.may_retry(tries, self._plane.now)

    def _retry(self) -> bool:
        """Send what is held once more; return False when no other endpoint is left."""
        self._sent = self._plane.now
        self._let_go()
        if self._terms is not None:
            self._terms.leave(answered=False)
        return self._send(self._held or b"")

    def _stop(self, refusal: Refusal) -> None:
        if self._sink is not None:
            self._sink.cancel()
        if self._head is not None:
            self._finish(refusal.status)
            self._caller.abort()
        else:
            self._refuse(refusal)

    def _judge(self, target: Target, head: Reply) -> None:
        """A provider's 5xx counts against it (RFC 9110 section 15.6), anything else for it."""
        health, guard = target.health, target.guard
        if head.code >= 500:
            self._blame(target)
        elif health.failures or health.ejected_until or (guard is not None and not guard.calm):
            if self._terms is not None:
                self._terms.judged()
            target.succeeded(self._plane.now)

    def _blame(self, target: Target) -> None:
        if self._terms is not None:
            self._terms.judged()
        target.failed(self._plane.now)

    def _refuse(self, refusal: Refusal) -> None:
        self._finish(refusal.status)
        self._caller.refuse(refusal)

    def _finish(self, status: Status) -> None:
        self.done = True
        plane, call, lane = self._plane, self.call, self._lane
        plane.live.discard(self)
        if self._body_paused:
            self._let_go()
        seconds = plane.now - self._started
        self.route.meter.observe(call.action, status, seconds)
        if plane.ended is not None:
            plane.ended(self, status, seconds)
        if call.span is not None:
            plane.traced(self, call.span, status)
        if self._terms is not None:
            self._terms.end(self.received, self.sent, status, answered=self._head is not None)
        elif lane is not None and lane.weighs:
            lane.settle(self._size, self.received, self.sent)

    def _let_go(self) -> None:
        """Take payload again that a provider which is not asked any more did not want."""
        if self._body_paused:
            self._body_paused = False
            self._caller.resume()
