"""One call's life: route, decide, resolve, admit, send, answer (design 4).

An exchange has no task, future or await: adapters call it and it calls back through the ports.
Its deadline is an attribute that ``Plane.sweep`` looks at.
"""

from typing import Final

from gateway.message import Call, Refusal, Reply, Status
from gateway.ports import Caller, Permit, Provider, Sink
from gateway.refusals import denial, no_endpoint
from gateway.validity import CHECKED, carries_payload, refuse_invalid, too_large
from gateway.view import Route, View
from policy.access import AccessIndex
from policy.decision import Decision
from policy.model import Action
from policy.resolution import Target
from registry.validation import Validator

HELD = CHECKED
"""A request of at most this many bytes is kept, so that it can be sent again (design 4)."""
ATTEMPTS = 3
FAIR_SECONDS = 1.0
"""A deadline sooner than this says nothing about the endpoint that missed it."""
CALL: Final = Action.CALL
NEVER = float("inf")
FAULTS = (Status.UNAVAILABLE, Status.PROVIDER_ERROR, Status.TIMEOUT)
"""Failures that count against an endpoint's health."""
RETRIED = (*FAULTS, Status.THROTTLED)


class Plane:
    """What every exchange decides on; ``now`` is the loop's time in seconds."""

    def __init__(self, view: View, access: AccessIndex, local: Provider) -> None:
        self.view = view
        self.access = access
        self.local = local
        self.providers: dict[str, Provider] = {}
        self.live: set[Exchange] = set()
        self.now = 0.0

    def sweep(self, now: float) -> None:
        """End every exchange whose deadline has passed."""
        self.now = now
        for exchange in [e for e in self.live if e.deadline <= now]:
            exchange.expire()

    def end_of(self, credential: str) -> None:
        """End every exchange of a credential that is no longer valid."""
        for exchange in [e for e in self.live if e.call.principal.credential == credential]:
            exchange.revoke()


class Exchange:
    """One call between its caller and a provider; see the ports for who calls what.

    It is answered exactly once, by a whole reply, ``refuse`` or ``abort``, unless it is cancelled.
    """

    __slots__ = (
        "_body_paused",
        "_caller",
        "_decision",
        "_ended",
        "_head",
        "_held",
        "_plane",
        "_reply_paused",
        "_route",
        "_sent",
        "_sink",
        "_started",
        "_tried",
        "call",
        "deadline",
        "done",
    )

    def __init__(self, plane: Plane, call: Call, route: Route, caller: Caller) -> None:
        self._plane = plane
        self.call = call
        self._route = route
        self._caller = caller
        self.deadline = call.deadline
        self._started = self._sent = plane.now
        self._decision: Decision
        self._sink: Sink | None = None
        self._tried: tuple[Target, ...] = ()
        self._held: bytes | None = b""
        self._head: Reply | None = None
        self._ended = False
        self._body_paused = False
        self._reply_paused = False
        self.done = False

    # What the caller's adapter calls

    def begin(self, body: bytes, end: bool) -> None:
        """Decide and send; called first, and once. What is wrong is answered by ``refuse``."""
        call, route, plane = self.call, self._route, self._plane
        decision = plane.access.check(call.principal, call.action, call.name, route.owner)
        if not decision.allowed:
            self._refuse(denial(plane.access, call, route, decision))
            return
        self._decision = decision
        self._held = body if len(body) <= HELD else None
        self._ended = end
        plane.live.add(self)
        if route.validator is not None and carries_payload(call):
            self._check(route.validator, body)
        elif not self._send(body):
            self._refuse(no_endpoint(route))

    def body(self, data: bytes, end: bool) -> None:
        """Take more of the request's payload."""
        sink = self._sink
        if self.done:
            return
        self._ended = end
        if sink is None:
            self._collect(data)
            return
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

    # What the provider's adapter calls

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The provider's reply began: the deadline has been met."""
        if self.done or self._head is not None:
            return
        self._head = head
        self.deadline = NEVER
        if self._tried:
            self._judge(self._tried[-1], head)
        if end:
            self._finish(head.status)
        self._caller.reply(head, body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The provider's reply goes on."""
        if self.done or self._head is None:
            return
        if end:
            self._finish(self._head.status)
        self._caller.reply_body(data, end)

    def failed(self, status: Status, why: str, *, written: bool) -> None:
        """The provider failed: try another endpoint if that is safe, else say so."""
        if self.done:
            return
        self._sink = None
        if self._tried and status in FAULTS:
            self._blame(self._tried[-1])
        if self._head is not None:
            self._break_off(status)
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

    # What the plane calls

    def expire(self) -> None:
        """The deadline has passed without a reply."""
        if self.done:
            return
        if self._tried and self._plane.now - self._sent >= FAIR_SECONDS:
            self._blame(self._tried[-1])
        self._stop(Refusal(Status.TIMEOUT, "no reply before the deadline"))

    def revoke(self) -> None:
        """The caller's credential is no longer valid."""
        if not self.done:
            self._stop(Refusal(Status.UNAUTHENTICATED, "the credential is no longer valid"))

    # Inside

    def _check(self, validator: Validator, payload: bytes) -> None:
        """Send a payload once it is whole and fits its schema."""
        if self._held is None:
            self._refuse(too_large())
        elif self._ended:
            refusal = refuse_invalid(validator, payload)
            self.call.length = len(payload)
            if refusal is not None:
                self._refuse(refusal)
            elif not self._send(payload):
                self._refuse(no_endpoint(self._route))

    def _collect(self, data: bytes) -> None:
        """Take payload that has to be whole before anything is sent."""
        validator, held = self._route.validator, self._held
        if validator is None or held is None:
            return
        held += data
        self._held = held if len(held) <= HELD else None
        self._check(validator, held)

    def _send(self, body: bytes) -> bool:
        """Resolve, admit and send; return False when no endpoint is left."""
        call, route, plane = self.call, self._route, self._plane
        selection = route.selection
        if call.action is not CALL or selection is None:
            target, provider = None, plane.local
        else:
            target = selection.pick(plane.now, call.sticky, self._tried)
            if target is None:
                return False
            self._tried = (*self._tried, target)
            provider = plane.providers[target.provider]
        permit = Permit(call, route, self._decision, target)
        sink = self._sink = provider.send(permit, self, body, self._ended)
        if self._reply_paused:
            sink.pause()
        return True

    def _may_retry(self, status: Status, *, written: bool) -> bool:
        method = self._route.method
        if status not in RETRIED or method is None or self._held is None:
            return False
        if not 0 < len(self._tried) < ATTEMPTS:
            return False
        return not written or method.safe or method.idempotent

    def _retry(self) -> bool:
        """Send what is held once more; return False when no other endpoint is left."""
        self._sent = self._plane.now
        self._let_go()
        return self._send(self._held or b"")

    def _stop(self, refusal: Refusal) -> None:
        if self._sink is not None:
            self._sink.cancel()
        if self._head is not None:
            self._break_off(refusal.status)
        else:
            self._refuse(refusal)

    def _judge(self, target: Target, head: Reply) -> None:
        """A provider's 5xx counts against it (RFC 9110 section 15.6), anything else for it."""
        if head.code >= 500:
            self._blame(target)
        elif target.health.failures or target.health.ejected_until:
            target.health.succeeded()

    def _blame(self, target: Target) -> None:
        target.health.failed(self._plane.now, target.passive)

    def _break_off(self, status: Status) -> None:
        self._finish(status)
        self._caller.abort()

    def _refuse(self, refusal: Refusal) -> None:
        self._finish(refusal.status)
        self._caller.refuse(refusal)

    def _finish(self, status: Status) -> None:
        self.done = True
        plane = self._plane
        plane.live.discard(self)
        if self._body_paused:
            self._let_go()
        self._route.meter.observe(self.call.action, status, plane.now - self._started)

    def _let_go(self) -> None:
        """Take payload again that a provider which is not asked any more did not want."""
        if self._body_paused:
            self._body_paused = False
            self._caller.resume()
