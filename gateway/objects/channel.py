"""Channels' own actions, and ``$site/channel``: history and dead letters (design 6)."""

import base64
from typing import Any

from gateway.channels import Channels
from gateway.cloudevents import attributes, extras_of, http_fields
from gateway.deliveries import Deliveries
from gateway.message import Call, Event, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.ports import DeadLetter, EventLog
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.model import Kind
from registry.names import Name

PAGE = 1000
"""Most entries of one answer."""


class History(Request, frozen=True):
    """A stretch of a channel: after an event id, "" for all that is kept."""

    name: str
    after: str = ""
    limit: int = 100


class Letters(Request, frozen=True):
    """A page of dead letters."""

    after: int = 0
    limit: int = 100


class Letter(Request, frozen=True):
    """One dead letter."""

    id: int


class ChannelObject:
    """The handlers."""

    def __init__(
        self, site: Site, channels: Channels, log: EventLog, deliveries: Deliveries
    ) -> None:
        self._site = site
        self._channels = channels
        self._log = log
        self._deliveries = deliveries

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "history": self.history,
            "deadletters": self.letters,
            "redrive": self.redrive,
            "discard": self.discard,
        }

    async def publish(self, call: Call, route: Route, payload: bytes) -> Result:
        """Publish an event; answers when it is as durable as its channel promises."""
        content_type = call.content_type.decode("latin-1") or "application/octet-stream"
        try:
            extras = extras_of(call.fields)
        except ValueError as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error
        event_id = await self._channels.publish(
            route, call.principal.id, content_type, payload, extras
        )
        return answer({"id": str(event_id)})

    async def last(self, call: Call, route: Route, _: bytes) -> Result:
        """Return a channel's last value as it was published, but for what policies mask."""
        event = await self._channels.last(route, call.principal)
        if event is None:
            raise Refusal(Status.NOT_FOUND, f"nothing has been published to {route.name} yet")
        own = b"Hilum-Event-Id: %b\r\n" % str(event.id).encode()
        fields = (own, b"".join(http_fields(attributes(event))))
        return Result(event.payload, event.content_type.encode("latin-1"), fields=fields)

    async def history(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a stretch of what a channel keeps, oldest first."""
        asked = await read(call, payload, History)
        name = name_of(self._site, asked.name)
        route = self._site.view.find(name)
        require(self._site, call, Action.SUBSCRIBE, name, route.owner if route else "")
        if route is None or route.kind is not Kind.CHANNEL:
            raise Refusal(Status.NOT_FOUND, f"{name} is no channel")
        limit = max(1, min(asked.limit, PAGE))
        events = await self._channels.history(route, asked.after, limit)
        seen = [self._channels.sight.whole(event, call.principal, route) for event in events]
        return answer({"items": [_event(event) for event in seen if event is not None]})

    async def letters(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return events that could not be delivered to a bound method."""
        asked = await read(call, payload, Letters)
        require(self._site, call, Action.ADMINISTER, call.name)
        found = await self._log.letters(asked.after, max(1, min(asked.limit, PAGE)))
        return answer({"items": [_letter(letter) for letter in found]})

    async def redrive(self, call: Call, _: Route, payload: bytes) -> Result:
        """Deliver a dead letter once more; it stays when that fails."""
        letter = await self._letter(call, payload)
        await self._deliveries.redrive(letter)
        return answer({"id": letter.id, "delivered": True})

    async def discard(self, call: Call, _: Route, payload: bytes) -> Result:
        """Delete a dead letter."""
        letter = await self._letter(call, payload)
        await self._log.delete_letter(letter.id)
        return answer({"id": letter.id, "deleted": True})

    async def _letter(self, call: Call, payload: bytes) -> DeadLetter:
        asked = await read(call, payload, Letter)
        require(self._site, call, Action.ADMINISTER, call.name)
        letter = await self._log.letter(asked.id)
        if letter is None:
            raise Refusal(Status.NOT_FOUND, f"there is no dead letter {asked.id}")
        return letter


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "time": event.time,
        "source": event.source,
        "contentType": event.content_type,
        **_payload(event.payload),
    }


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "binding": letter.binding,
        "channel": Name(letter.channel),
        "event": letter.event_id,
        "time": letter.time,
        "attempts": letter.attempts,
        "error": letter.error,
        "contentType": letter.content_type,
        **_payload(letter.payload),
    }


def _payload(payload: bytes) -> dict[str, str]:
    """Return a payload as text, or as base64 when it is none."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload": base64.b64encode(payload).decode(), "encoding": "base64"}
