"""A request whose client is not known yet: it is authenticated, and waits if that takes time."""

from typing import TYPE_CHECKING

from adapters.http.serving.inbound import Inbound
from gateway.identity.identity import Authentication, Pending
from gateway.message import Refusal
from policy.model import Principal
from registry.names import Name

if TYPE_CHECKING:
    from adapters.http.serving.dispatch import Dispatcher


def identify(
    dispatcher: "Dispatcher", identity: Authentication, inbound: Inbound, name: Name, query: bytes
) -> None:
    """Find out who sends a request with an Authorization field, and go on with it or refuse it."""
    held = Unidentified(dispatcher, inbound, name, query)
    found = identity.header(inbound.head.authorization, inbound.owner.peer, held.told)
    if isinstance(found, Pending):
        held.wait(found)
    else:
        held.told(found)


class Unidentified:
    """A request whose client is being authenticated: nothing of its payload is read meanwhile."""

    def __init__(
        self, dispatcher: "Dispatcher", inbound: Inbound, name: Name, query: bytes
    ) -> None:
        self._dispatcher = dispatcher
        self._inbound = inbound
        self._name = name
        self._query = query
        self._pending: Pending | None = None

    def wait(self, pending: Pending) -> None:
        """Stand in for the exchange until the answer is there."""
        self._pending = pending
        self._inbound.relay = self
        self._inbound.pause()

    def told(self, found: Principal | Refusal) -> None:
        """Go on as who it is, or refuse."""
        inbound = self._inbound
        if self._pending is not None:
            inbound.relay = None
            inbound.resume()
        if isinstance(found, Refusal):
            inbound.refuse(found)
        else:
            self._dispatcher.go_on(inbound, self._name, self._query, found)

    def body(self, data: bytes, end: bool) -> None:  # noqa: ARG002 (the request knows its end)
        """Keep what had been read already."""
        self._inbound.parts.append(data)

    def cancel(self) -> None:
        """The client is gone."""
        if self._pending is not None:
            self._pending.cancel()

    def pause_reply(self) -> None:
        """Nothing is on its way."""

    def resume_reply(self) -> None:
        """Nothing is on its way."""
