"""What every exchange decides on, and who looks after those that are under way."""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from gateway.masking import obliged
from gateway.message import Refusal, Status
from gateway.ports import Caller, FirstUses, Provider
from gateway.quality.admission import Admission
from gateway.tracing import Span, Tracer
from gateway.view import View
from policy.access.index import AccessIndex
from policy.model import Obligations
from registry.names import Name

if TYPE_CHECKING:
    from gateway.exchange import Exchange

MAX_MASKED = 1 << 20


class Plane:
    """What every exchange decides on; ``now`` is the loop's time in seconds."""

    def __init__(self, view: View, access: AccessIndex, local: Provider) -> None:
        self.view = view
        self.access = access
        self.local = local
        self.providers: dict[str, Provider] = {}
        self.live: set[Exchange] = set()
        self.now = 0.0
        self.limit = MAX_MASKED
        """Bytes of a reply that may be held to be masked."""
        self.admission: Admission | None = None
        self.first_use: FirstUses | None = None
        self.tracer: Tracer | None = None
        self.ended: Callable[[Exchange, Status, float], None] | None = None
        """Is told of every exchange that ends: how, and after how many seconds."""

    def hold(self, exchange: "Exchange") -> bool:
        """Hold an exchange that no rule decides about; False: nobody is to be asked.

        Raises Refusal when too many are held already.
        """
        first_use, call, owner = self.first_use, exchange.call, exchange.route.owner
        if first_use is None:
            return False
        then = exchange.decided
        held = first_use.hold(call.principal, call.action, call.name, owner, then)
        if held:
            self.live.add(exchange)
        return held

    def oblige(self, exchange: "Exchange", caller: Caller, duties: Obligations) -> Caller:
        """Do what an allowing policy obliges to; return who gets the call's reply."""
        return obliged(exchange.call, duties, caller, exchange, self.limit)

    def traced(self, exchange: "Exchange", span: Span, status: Status) -> None:
        """End the span of an exchange that ended."""
        target = exchange.target
        span.microservice = exchange.route.meter.microservice
        span.provider = "" if target is None else target.provider
        if self.tracer is not None:
            self.tracer.end(span, status)

    def observe(self, tell: Callable[["Exchange", Status, float], None]) -> None:
        """Let ``ended`` tell one more."""
        if self.ended is None:
            self.ended = tell
            return
        before = self.ended

        def both(exchange: "Exchange", status: Status, seconds: float) -> None:
            before(exchange, status, seconds)
            tell(exchange, status, seconds)

        self.ended = both

    def sweep(self, now: float) -> None:
        """End every exchange whose deadline has passed."""
        self.now = now
        if self.admission is not None:
            self.admission.sweep(now)
        for exchange in [e for e in self.live if e.deadline <= now]:
            exchange.expire()

    def end_of(self, credentials: Container[str]) -> None:
        """End every exchange of credentials that are no longer valid."""
        for exchange in [e for e in self.live if e.call.principal.credential in credentials]:
            exchange.revoke(_VOID)

    def redecide(self, principal: str, covers: Callable[[Name], bool]) -> None:
        """End what a principal has under way with names, as far as it is not allowed any more."""
        refusal = Refusal(Status.DENIED, "the right to do this was taken back")
        check = self.access.check
        for exchange in tuple(self.live):
            call, owner = exchange.call, exchange.route.owner
            if call.principal.id != principal or not covers(call.name):
                continue
            if not check(call.principal, call.action, call.name, owner).allowed:
                exchange.revoke(refusal)


_VOID = Refusal(Status.UNAUTHENTICATED, "the credential is no longer valid")
