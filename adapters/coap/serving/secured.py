"""Requests inside requests: what is served and answered under OSCORE (RFC 8613 section 8)."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from adapters.coap.serving.asked import Asked, Bad, read_options
from adapters.coap.serving.oscore import Challenged, Contexts, Sealed, SecureClient, Unprotectable
from adapters.coap.serving.turn import Turn
from adapters.coap.wire import options as o
from adapters.coap.wire.options import Options
from gateway.message import Refusal, Status
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.coap.serving.observations import Observation
    from adapters.coap.serving.service import Service

log = logging.getLogger("hilum.coap")

OPEN: Final = 64
"""Requests of one security context that wait for their answers."""


class SecuredTurn(Turn):
    """One request that came protected in another one."""

    __slots__ = ("_binding", "_secure", "_waiting", "outer")

    def __init__(
        self, outer: Turn, client: SecureClient, code: int, asked: Asked, binding: Any
    ) -> None:
        super().__init__(outer.service, client, code, outer.token, asked)
        self.confirms = outer.confirms
        self.reliable = outer.reliable
        self._secure = client
        self.outer = outer
        self._binding = binding
        self._waiting = True
        client.open += 1

    def send(self, code: int, options: Options, payload: bytes) -> None:
        """Send the answer, protected."""
        self._ended()
        try:
            sealed = self._secure.seal(code, options, payload, self._binding)
        except ValueError as error:  # the context is gone, or used up
            self.outer.refuse(Refusal(Status.UNAUTHENTICATED, str(error)))
            return
        self.outer.answered = True
        self.outer.send(*sealed)

    def suppress(self) -> None:
        """Send nothing."""
        self._ended()
        self.outer.answered = True
        self.outer.suppress()

    def notify(
        self,
        code: int,
        options: Options,
        payload: bytes,
        watch: "Observation | None",
        *,
        confirmable: bool,
    ) -> None:
        """Send a notification, protected."""
        try:
            sealed = self._secure.seal(code, options, payload, self._binding)
        except ValueError:
            if watch is not None:
                watch.close()
            return
        outer_code, outer_options, ciphertext = sealed
        self.outer.notify(
            outer_code, outer_options, ciphertext, watch, confirmable=confirmable or code >= 0x80
        )

    def _ended(self) -> None:
        if self._waiting:
            self._waiting = False
            self._secure.open -= 1


class Security:
    """Opens protected requests and has them served."""

    def __init__(self, service: "Service", contexts: Contexts) -> None:
        self._service = service
        self._contexts = contexts

    def serve(self, outer: Turn, payload: bytes) -> None:
        """Answer a protected request."""
        asked = outer.asked
        try:
            opened = self._contexts.open(outer.code, asked.oscore or b"", asked.observe, payload)
        except Unprotectable as error:
            outer.fault(error.code, error.detail)
            return
        except Challenged as challenged:
            _send(outer, challenged.sealed)
            return
        outer.trust()
        client = opened.client
        client.address = outer.client.address
        inner = SecuredTurn(outer, client, opened.code, Asked(), opened.binding)
        try:
            inner.asked = read_options(self._service.site, opened.options)
        except Bad as bad:
            inner.fault(bad.code, bad.detail)
            return
        if inner.asked.oscore is not None:
            inner.fault(0x82, f"the option {o.OSCORE} stands there twice")
        elif client.open > OPEN:
            inner.refuse(Refusal(Status.THROTTLED, "too many requests at once", retry_after=1))
        else:
            self._service.start(inner, opened.payload)

    def refresh(self) -> None:
        """Look for new contexts, and end what those have open that are gone."""
        for client in self._contexts.refresh():
            log.info("the OSCORE context %s is gone", client.name)
            self._end(client)

    def end_of(self, credentials: Collection[str]) -> None:
        """End the contexts whose credentials are over."""
        for credential in credentials:
            method, _, name = credential.partition(":")
            client = self._contexts.drop(name) if method == "oscore" else None
            if client is not None:
                self._end(client)

    def known(self, principal: str) -> Principal | None:
        """Return who this principal is by one of its contexts, None if it has none."""
        return self._contexts.known(principal)

    def _end(self, client: SecureClient) -> None:
        refusal = Refusal(Status.UNAUTHENTICATED, "the security context is gone")
        self._service.transfers.forget(client)
        self._service.plane.end_of(frozenset({client.principal.credential}))
        for observation in tuple(client.observations.values()):
            observation.end(refusal)

    def close(self) -> None:
        """Give the contexts back to the disk."""
        self._contexts.close()


def _send(outer: Turn, sealed: Sealed) -> None:
    outer.answered = True
    outer.send(*sealed)
