"""One call's life: route, decide, resolve, admit, send, answer (design 4).

An exchange has no task, future or await: adapters call it and it calls back through the ports.
Its deadline is an attribute that ``Plane.sweep`` looks at.
"""

from gateway.message import Call, Refusal, Reply, Status
from gateway.ports import Caller, Permit, Provider, Sink
from gateway.refusals import denial, no_endpoint
from gateway.view import Route, View
from policy.access import AccessIndex
from policy.decision import Decision
from policy.model import Action
from policy.resolution import Target

HELD = 64 * 1024
"""A request of at most this many bytes is kept, so that it can be sent again (design 4)."""
ATTEMPTS = 3
NEVER = float("inf")
UNDECIDED = Decision(allowed=False, reasons=())
RETRIED = (Status.UNAVAILABLE, Status.PROVIDER_ERROR, Status.TIMEOUT)


class Plane:
    """What every exchange decides on; ``clock`` is the loop's time in seconds."""

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
        """Cancel every exchange of a revoked credential."""
        for exchange in [e for e in self.live if e.call.principal.credential == credential]:
            exchange.revoke()


class Exchange:
    """One call between its caller and a provider; see the ports for who calls what."""

    __slots__ = (
        "_attempts",
        "_caller",
        "_decision",
        "_ended",
        "_held",
        "_plane",
        "_replied",
        "_route",
        "_sink",
        "_started",
        "_target",
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
        self._started = plane.now
        self._decision = UNDECIDED
        self._sink: Sink | None = None
        self._target: Target | None = None
        self._tried: tuple[Target, ...] = ()
        self._attempts = 0
        self._held: bytes | None = b""
        self._ended = False
        self._replied = False
        self.done = False

    # What the caller's adapter calls

    def begin(self, body: bytes, end: bool) -> None:
        """Decide and send. Whatever is wrong is answered through the caller's ``refuse``."""
        call, route, plane = self.call, self._route, self._plane
        decision = plane.access.check(call.principal, call.action, call.name, route.owner)
        self._decision = decision
        if not decision.allowed:
            self._refuse(denial(plane.access, call, route, decision))
            return
        if len(body) <= HELD:
            self._held = body
        else:
            self._held = None
        self._ended = end
        plane.live.add(self)
        self._send(body)

    def body(self, data: bytes, end: bool) -> None:
        """Take more of the request's payload."""
        if self.done:
            return
        self._ended = end
        held = self._held
        if held is not None:
            self._held = held + data if len(held) + len(data) <= HELD else None
        if self._sink is not None:
            self._sink.body(data, end)

    def cancel(self) -> None:
        """The caller is gone: stop the provider's work."""
        if not self.done:
            self._finish(Status.CANCELLED)
            if self._sink is not None:
                self._sink.cancel()

    def pause_reply(self) -> None:
        """The caller takes no more reply payload for now."""
        if self._sink is not None and not self.done:
            self._sink.pause()

    def resume_reply(self) -> None:
        """The caller takes reply payload again."""
        if self._sink is not None and not self.done:
            self._sink.resume()

    # What the provider's adapter calls

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The provider's reply began: the deadline has been met."""
        if self.done:
            return
        self._replied = True
        self.deadline = NEVER
        if self._target is not None:
            self._judge(self._target, head)
        if end:
            self._finish(head.status)
        self._caller.reply(head, body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The provider's reply goes on."""
        if self.done:
            return
        if end:
            self._finish(Status.OK)
        self._caller.reply_body(data, end)

    def failed(self, status: Status, why: str, *, written: bool) -> None:
        """The provider failed: try another endpoint if that is safe, else say so."""
        if self.done:
            return
        target = self._target
        if target is not None and status in RETRIED:
            target.health.failed(self._plane.now, target.passive)
        self._sink = None
        if self._replied:
            self._finish(status)
            self._caller.abort()
        elif status in RETRIED and self._may_retry(written=written):
            self._send(self._held or b"")
        else:
            self._refuse(Refusal(status, why, retry_after=status is Status.UNAVAILABLE))

    def refused(self, refusal: Refusal) -> None:
        """The gateway's own object refuses the call."""
        if not self.done:
            self._refuse(refusal)

    def pause_body(self) -> None:
        """The provider takes no more request payload for now."""
        if not self.done:
            self._caller.pause()

    def resume_body(self) -> None:
        """The provider takes request payload again."""
        if not self.done:
            self._caller.resume()

    # What the plane calls

    def expire(self) -> None:
        """The deadline has passed without a reply."""
        self._stop(Refusal(Status.TIMEOUT, "no reply before the deadline"))

    def revoke(self) -> None:
        """The caller's credential is no longer valid."""
        self._stop(Refusal(Status.UNAUTHENTICATED, "the credential was revoked"))

    def _stop(self, refusal: Refusal) -> None:
        if self._sink is not None:
            self._sink.cancel()
        if self._replied:
            self._finish(refusal.status)
            self._caller.abort()
        else:
            self._refuse(refusal)

    def _send(self, body: bytes) -> None:
        """Resolve, admit and send, or refuse when no endpoint is left."""
        call, route, plane = self.call, self._route, self._plane
        decision = self._decision
        selection = route.selection
        if call.action is not Action.CALL or selection is None:
            permit = Permit(call, route, decision, None)
            self._sink = plane.local.send(permit, self, body, self._ended)
            return
        target = selection.pick(plane.now, call.sticky, self._tried)
        if target is None:
            self._refuse(no_endpoint(route, self._tried))
            return
        self._target = target
        self._attempts += 1
        self._tried = (*self._tried, target)
        provider = plane.providers["session" if target.session else "http"]
        self._sink = provider.send(Permit(call, route, decision, target), self, body, self._ended)

    def _may_retry(self, *, written: bool) -> bool:
        method = self._route.method
        if self._held is None or method is None or self._attempts >= ATTEMPTS:
            return False
        return not written or method.safe or method.idempotent

    def _judge(self, target: Target, head: Reply) -> None:
        """A provider's 5xx counts against it (RFC 9110 section 15.6), anything else for it."""
        if head.code >= 500:
            target.health.failed(self._plane.now, target.passive)
        elif target.health.failures or target.health.ejected_until:
            target.health.succeeded()

    def _refuse(self, refusal: Refusal) -> None:
        self._finish(refusal.status)
        self._caller.refuse(refusal)

    def _finish(self, status: Status) -> None:
        self.done = True
        plane = self._plane
        plane.live.discard(self)
        self._route.meter.observe(self.call.action, status, plane.now - self._started)
