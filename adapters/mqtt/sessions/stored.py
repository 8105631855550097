"""Messages as the SessionStore keeps them while they wait for a client."""

import msgspec
from msgspec import Struct

from gateway.message import Event, EventId, Extras
from registry.names import Name


class Said(Struct, array_like=True):
    """An event's Extras. (In the compiled form msgspec cannot see what their types are.)"""

    attributes: tuple[tuple[str, str], ...]
    expires: int
    text: bool
    response_topic: str
    correlation: bytes | None


class Body(Struct, array_like=True):
    """A message in the spelling of its subscriptions, and the event that it came from."""

    topic: str
    retain: bool
    ids: tuple[int, ...]
    channel: str
    incarnation: str
    sequence: int
    time: int
    source: str
    content_type: str
    payload: bytes
    qos: int
    said: Said | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


def body_of(event: Event, topic: str, retain: bool, ids: tuple[int, ...]) -> bytes:
    """Return a message's body."""
    return _encode(
        Body(
            topic,
            retain,
            ids,
            event.channel,
            event.id.incarnation,
            event.id.sequence,
            event.time,
            event.source,
            event.content_type,
            event.payload,
            event.qos,
            None if event.extras is None else Said(*event.extras),
        )
    )


def read_body(data: bytes) -> tuple[Event, str, bool, tuple[int, ...]]:
    """Return event, topic, RETAIN and subscription identifiers; raises msgspec.MsgspecError."""
    body = _decode(data)
    said = body.said
    extras = None
    if said is not None:
        extras = Extras(
            said.attributes, said.expires, said.text, said.response_topic, said.correlation
        )
    event = Event(
        Name(body.channel),
        EventId(body.incarnation, body.sequence),
        body.time,
        body.source,
        body.content_type,
        body.payload,
        body.qos,
        body.retain,
        extras,
    )
    return event, body.topic, body.retain, body.ids


class Bodies:
    """Encodes a message once for all sessions that queue it in the same spelling.

    The same object then goes to ``SessionStore.keep``, which can tell by that.
    """

    __slots__ = ("_event", "_known")

    def __init__(self) -> None:
        self._event: Event | None = None
        self._known: dict[tuple[str, bool, tuple[int, ...]], bytes] = {}

    def of(self, event: Event, topic: str, retain: bool, ids: tuple[int, ...]) -> bytes:
        """Return a message's body; those of the last event are remembered."""
        if event is not self._event:
            self._event = event
            self._known.clear()
        key = (topic, retain, ids)
        body = self._known.get(key)
        if body is None:
            body = self._known[key] = body_of(event, topic, retain, ids)
        return body
