"""Events as PUBLISH packets: what many clients get is encoded once (MQTT 5.0 section 3.3)."""

from collections.abc import Callable
from functools import lru_cache

from adapters.mqtt.wire import cloudevents
from adapters.mqtt.wire.fields import binary, variable
from adapters.mqtt.wire.packets import V5
from gateway.message import Event, Extras

_BYTE = [bytes((number,)) for number in range(256)]
_length = lru_cache(4096)(variable)

Ids = tuple[int, ...]
_Parts = tuple[bytes, bytes]


class Encoder:
    """Encodes deliveries. ``time_ms`` is Unix time in milliseconds, for events that expire.

    All that was made of the last event is remembered, and what was made last of all is found
    without a search: mostly it is wanted again, or never.
    """

    __slots__ = (
        "_cloudevents",
        "_common",
        "_event",
        "_first",
        "_ids",
        "_known",
        "_parts",
        "_time_ms",
        "_topic",
        "_version",
    )

    def __init__(self, time_ms: Callable[[], int], *, with_cloudevents: bool) -> None:
        self._time_ms = time_ms
        self._cloudevents = with_cloudevents
        self._event: Event | None = None
        self._common: bytes | None = None
        self._topic = ""
        self._version = 0
        self._first = 0
        self._ids: Ids = ()
        self._parts: _Parts = (b"", b"")
        self._known: dict[tuple[str, int, int, Ids], _Parts] = {}

    def has_expired(self, event: Event) -> bool:
        """Return whether nobody wants an event any more."""
        extras = event.extras
        return extras is not None and 0 < extras.expires <= self._time_ms()

    def parts(self, event: Event, topic: str, version: int, first: int, ids: Ids) -> _Parts:
        """Return a PUBLISH before and behind its packet identifier, at QoS 0 whole and b"".

        ``first`` is the first byte: QoS and RETAIN.
        """
        if event is not self._event:
            self._event = event
            self._common = None
            self._first = 0
            if self._known:
                self._known.clear()
            found = None
        elif (
            first == self._first
            and topic == self._topic
            and version == self._version
            and ids == self._ids
        ):
            return self._parts
        else:
            found = self._known.get((topic, version, first, ids))
        if found is None:
            found = self.render(event, text(topic), version, first, ids)
            if event.extras is not None and event.extras.expires:
                self._first = 0
                return found
            if self._first:
                self._known[self._topic, self._version, self._first, self._ids] = self._parts
        self._topic, self._version, self._first, self._ids = topic, version, first, ids
        self._parts = found
        return found

    def render(
        self, event: Event, topic: bytes, version: int, first: int, ids: Ids, alias: int = 0
    ) -> _Parts:
        """Return a PUBLISH before and behind its packet identifier, at QoS 0 whole and b"".

        ``topic`` is encoded, and empty where ``alias`` stands for it.
        """
        payload = event.payload
        properties = b"" if version != V5 else self._properties(event, ids, alias)
        size = len(topic) + len(properties) + len(payload)
        if first & 6:
            head = b"".join((_BYTE[first], _length(size + 2), topic))
            return head, properties + payload if properties else payload
        return b"".join((_BYTE[first], _length(size), topic, properties, payload)), b""

    def _begin(self, event: Event) -> None:
        self._event = event
        self._common = None
        self._first = 0
        if self._known:
            self._known.clear()

    def _properties(self, event: Event, ids: Ids, alias: int) -> bytes:
        if event is not self._event:
            self._begin(event)
        common = self._common
        if common is None:
            common = _said(event)
            if self._cloudevents:
                common += cloudevents.attributes(event)
            self._common = common
        if ids:
            common += b"".join(b"\x0b" + variable(number) for number in ids)
        if alias:
            common += b"\x23" + alias.to_bytes(2, "big")
        if event.extras is not None and event.extras.expires:
            left = max(0, event.extras.expires - self._time_ms())
            common += b"\x02" + (-(-left // 1000)).to_bytes(4, "big")
        return _length(len(common)) + common


@lru_cache(4096)
def text(value: str) -> bytes:
    """Return a UTF-8 Encoded String (section 1.5.4)."""
    return binary(value.encode())


def _said(event: Event) -> bytes:
    """Return what the publisher said beyond the payload, as properties (section 3.3.2.3)."""
    if event.extras is None:
        return b"\x03" + text(event.content_type) if event.content_type else b""
    extras: Extras = event.extras
    said = b"\x01\x01" if extras.text else b""
    if event.content_type:
        said += b"\x03" + text(event.content_type)
    if extras.response_topic:
        said += b"\x08" + binary(extras.response_topic.encode())  # too long to be remembered
    if extras.correlation is not None:
        said += b"\x09" + binary(extras.correlation)
    for name, value in extras.attributes:
        said += b"\x26" + binary(name.encode()) + binary(value.encode())
    return said
