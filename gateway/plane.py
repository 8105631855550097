"""What every exchange decides on, and who looks after those that are under way."""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from gateway.admission import Admission
from gateway.message import Status
from gateway.ports import Provider
from gateway.view import View
from policy.access import AccessIndex

if TYPE_CHECKING:
    from gateway.exchange import Exchange


class Plane:
    """What every exchange decides on; ``now`` is the loop's time in seconds."""

    def __init__(self, view: View, access: AccessIndex, local: Provider) -> None:
        self.view = view
        self.access = access
        self.local = local
        self.providers: dict[str, Provider] = {}
        self.live: set[Exchange] = set()
        self.now = 0.0
        self.admission: Admission | None = None
        self.ended: Callable[[Exchange, Status, float], None] | None = None
        """Is told of every exchange that ends: how, and after how many seconds."""

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
            exchange.revoke()
