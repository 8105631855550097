"""Observing a channel: each event is a notification (RFC 7641).

An event of QoS 1 is a confirmable notification, and the next one waits until that is
acknowledged (in the subscription's bounded queue); others are not, but for one now and then that
shows whether the client is still there.
"""

from typing import TYPE_CHECKING, Final

from adapters.coap.serving.turn import CONTENT, Turn, etag_of
from adapters.coap.wire import options as o
from adapters.coap.wire.formats import format_of
from adapters.coap.wire.options import Options, uint_value
from gateway.message import Event, Refusal
from gateway.subscriptions import Gap, Subscription

if TYPE_CHECKING:
    from adapters.coap.serving.service import Service

OBSERVED: Final = 256
"""What one client may observe at the same time."""
UNCONFIRMED: Final = 16
UNCONFIRMED_SECONDS: Final = 30.0
"""After so many notifications, or so long, the next one is confirmable (section 4.5)."""
IDLE_SECONDS: Final = 3600.0
"""After so long without an event the client is asked whether it is still there."""
_NUMBERS: Final = 1 << 24


class Observation:
    """One client's interest in one channel; the subscriber of its events."""

    __slots__ = (
        "_after",
        "_confirmed_at",
        "_event",
        "_incarnation",
        "_number",
        "_service",
        "_since",
        "_turn",
        "_unacked",
        "subscription",
    )

    def __init__(self, service: "Service", turn: Turn) -> None:
        self._service = service
        self._turn = turn
        self.subscription: Subscription | None = None
        self._number = 1
        self._since = 0
        self._confirmed_at = service.plane.now
        self._event: Event | None = None
        self._unacked = False
        self._incarnation, self._after = "", 0

    @property
    def turn(self) -> Turn:
        """The request that registered it."""
        return self._turn

    def begin(self, event: Event | None) -> None:
        """Answer the registration with the last value, if there is one, then go on with events."""
        self._event = event
        if event is not None and not (self.subscription and self.subscription.group):
            self._incarnation, self._after = event.id
        turn = self._turn
        options: Options = [(o.OBSERVE, uint_value(self._number))]
        if event is None:
            turn.respond(CONTENT, options, b"")
        else:
            turn.last_value(event, options)
        if self.subscription is not None:
            self.subscription.resume()

    # The subscriber of the channel

    def deliver(self, event: Event) -> None:
        """Send an event."""
        if event.id.sequence <= self._after and event.id.incarnation == self._incarnation:
            return  # the answer to the registration was this one, or a later one
        now = self._service.plane.now
        self._event = event
        self._since += 1
        due = self._since >= UNCONFIRMED or now - self._confirmed_at >= UNCONFIRMED_SECONDS
        self._notify(event, confirmable=event.qos > 0 or due)

    def gap(self, gap: Gap) -> None:
        """An observer follows a state: that it missed some states is what it agreed to."""

    def ended(self, refusal: Refusal) -> None:
        """Say why there will be no more notifications (section 4.2)."""
        self._forget()
        self._turn.farewell(refusal)

    # What the transport calls

    def acknowledged(self) -> None:
        """The client has a confirmable notification."""
        self._since = 0
        self._confirmed_at = self._service.plane.now
        self._unacked = False
        if self.subscription is not None:
            self.subscription.load = 0
            self.subscription.resume()

    def rejected(self) -> None:
        """The client does not want notifications (any more), or is gone (section 4.5)."""
        self.close()

    def pause(self) -> None:
        """The connection is slow: events wait in the subscription's queue."""
        if self.subscription is not None:
            self.subscription.pause()

    def resume(self) -> None:
        """The connection takes events again."""
        if self.subscription is not None:
            self.subscription.resume()

    # What the service calls

    def probe(self, now: float) -> None:
        """Find out whether a client is still there that nothing was sent to for long."""
        if not self._unacked and now - self._confirmed_at >= IDLE_SECONDS:
            self._notify(self._event, confirmable=True)

    def end(self, refusal: Refusal) -> None:
        """End it from this side, and say why."""
        if self.subscription is not None:
            self.subscription.end(refusal)

    def close(self) -> None:
        """End it; what the client has not acknowledged goes to other members of its group."""
        self._forget()
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            unacked = self._unacked and self._event is not None
            subscription.close([self._event] if unacked and self._event else ())

    def _notify(self, event: Event | None, *, confirmable: bool) -> None:
        turn = self._turn
        self._number = (self._number + 1) % _NUMBERS
        options: Options = [(o.OBSERVE, uint_value(self._number))]
        payload = b""
        if event is not None:
            payload = event.payload
            options.append((o.ETAG, etag_of(event)))
            content_format = format_of(event.content_type.encode("latin-1"))
            if payload and turn.asked.accept not in (-1, content_format):
                self.close()
                turn.unacceptable(event)  # section 4.2
                return
            if content_format >= 0 and payload:
                options.append((o.CONTENT_FORMAT, uint_value(content_format)))
        if confirmable and turn.confirms:
            self._unacked = True
            if self.subscription is not None:
                self.subscription.load = 1
                self.subscription.pause()
        turn.update(options, payload, self, confirmable=confirmable)

    def _forget(self) -> None:
        self._service.events.forget(self._turn)
