"""The caller of an exchange that wants a whole reply: WebSocket, MQTT and CoAP clients."""

from collections.abc import Callable

from gateway.exchange import Exchange
from gateway.message import Refusal, Reply, Status
from policy.model import Principal


class Asking:
    """Collects a reply of at most ``limit`` bytes, then tells ``done`` or ``refused`` once."""

    __slots__ = ("_done", "_exchange", "_head", "_limit", "_parts", "_refused", "_size")

    def __init__(
        self,
        limit: int,
        done: Callable[[Reply, bytes], None],
        refused: Callable[[Refusal], None],
    ) -> None:
        self._limit = limit
        self._done = done
        self._refused = refused
        self._exchange: Exchange | None = None
        self._head: Reply | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, exchange: Exchange, payload: bytes) -> None:
        """Start the exchange that this is the caller of; too large a payload is refused."""
        if len(payload) > self._limit:
            detail = f"a message may have at most {self._limit} bytes, this one has {len(payload)}"
            self._refused(Refusal(Status.TOO_LARGE, detail))
            return
        self._exchange = exchange
        exchange.begin(payload, end=True)

    def act_as(self, principal: Principal) -> None:
        """The client has authenticated again: the call is its new credential's."""
        if self._exchange is not None:
            self._exchange.call.principal = principal

    def cancel(self) -> None:
        """The client is gone."""
        if self._exchange is not None:
            self._exchange.cancel()

    # The Caller port

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The reply began."""
        self._head = head
        self.reply_body(body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The reply goes on."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self.cancel()
            detail = f"the reply is larger than {self._limit} bytes, ask for it over HTTP"
            self._refused(Refusal(Status.TOO_LARGE, detail))
        elif end and self._head is not None:
            self._done(self._head, b"".join(self._parts))

    def refuse(self, refusal: Refusal) -> None:
        """The gateway refuses."""
        self._refused(refusal)

    def abort(self) -> None:
        """The reply broke off."""
        self._refused(Refusal(Status.PROVIDER_ERROR, "the reply broke off"))

    def pause(self) -> None:
        """The payload was given in one piece."""

    def resume(self) -> None:
        """The payload was given in one piece."""
