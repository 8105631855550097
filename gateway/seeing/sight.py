"""Who sees which members of a channel's events."""

from collections.abc import Callable

from gateway.masking import NO_JSON, Mask, masked
from gateway.message import Event, Refusal, Status
from gateway.subscriptions import Subscriber
from gateway.view import Route
from policy.model import Principal

MaskOf = Callable[[Principal, Route, str], Mask]
"""What policies mask of a channel's events for a principal (in a group)."""


class Sight:
    """Who sees which members of events; ``mask_of`` asks the policies.

    The last event that was masked is kept: many subscribers see it alike.
    """

    def __init__(self, mask_of: MaskOf) -> None:
        self.mask_of = mask_of
        self._last: tuple[Event, Mask, Event | None] | None = None

    def of(self, event: Event, mask: Mask) -> Event | None:
        """Return an event as it is seen through a mask; None when it is no JSON."""
        last = self._last
        if last is not None and last[0] is event and last[1] == mask:
            return last[2]
        content_type = event.content_type.encode("latin-1", "replace")
        payload = masked(event.payload, content_type, mask)
        seen = None if payload is None else event.with_payload(payload)
        self._last = (event, mask, seen)
        return seen

    def payload(
        self, payload: bytes, content_type: str, principal: Principal, route: Route
    ) -> bytes:
        """Return an event's payload as a principal sees it. Raises Refusal as ``whole`` does."""
        mask = self.mask_of(principal, route, "")
        if not mask:
            return payload
        seen = masked(payload, content_type.encode("latin-1", "replace"), mask)
        if seen is None:
            raise Refusal(Status.DENIED, NO_JSON)
        return seen

    def whole(self, event: Event | None, principal: Principal | None, route: Route) -> Event | None:
        """Return an event as a principal sees it. Raises Refusal when it cannot be masked."""
        mask = () if principal is None else self.mask_of(principal, route, "")
        if not mask or event is None:
            return event
        seen = self.of(event, mask)
        if seen is None:
            raise Refusal(Status.DENIED, NO_JSON)
        return seen


class MaskedSubscriber:
    """Stands before a subscriber: what cannot be masked is not delivered."""

    def __init__(self, subscriber: Subscriber, mask: Mask, sight: Sight) -> None:
        self.mask = mask
        self._subscriber = subscriber
        self._sight = sight
        self.gap = subscriber.gap
        self.ended = subscriber.ended

    def deliver(self, event: Event) -> None:
        """Deliver the event with members masked."""
        seen = self._sight.of(event, self.mask)
        if seen is not None:
            self._subscriber.deliver(seen)
