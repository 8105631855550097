"""Events as PUBLISH packets: what many clients get is encoded once (MQTT 5.0 section 3.3)."""

from collections.abc import Callable
from functools import lru_cache

from adapters.mqtt import cloudevents
from adapters.mqtt.fields import binary, variable
from adapters.mqtt.packets import V5
from gateway.message import Event, Extras

_BYTE = [bytes((number,)) for number in range(256)]
_NO_PROPERTIES = b"\0"

Ids = tuple[int, ...]
_Key = tuple[str, int, bool, Ids]


class Encoder:
    """Encodes deliveries. ``time_ms`` is Unix time in milliseconds, for events that expire."""

    __slots__ = ("_cloudevents", "_common", "_event", "_known", "_parts", "_time_ms")

    def __init__(self, time_ms: Callable[[], int], *, with_cloudevents: bool) -> None:
        self._time_ms = time_ms
        self._cloudevents = with_cloudevents
        self._event: Event | None = None
        self._common: bytes | None = None
        self._known: dict[_Key, bytes] = {}
        self._parts: dict[tuple[_Key, int], tuple[bytes, bytes]] = {}

    def has_expired(self, event: Event) -> bool:
        """Return whether nobody wants an event any more."""
        extras = event.extras
        return extras is not None and 0 < extras.expires <= self._time_ms()

    def whole(self, event: Event, topic: str, version: int, retain: bool, ids: Ids) -> bytes:
        """Return a PUBLISH at QoS 0; the last event's are remembered."""
        if event is not self._event:
            self._begin(event)
        key = (topic, version, retain, ids)
        data = self._known.get(key)
        if data is None:
            head, rest = self.render(event, text(topic), version, 0x30 | retain, ids)
            data = head + rest
            if not expires(event):
                self._known[key] = data
        return data

    def parts(
        self, event: Event, topic: str, version: int, qos: int, retain: bool, ids: Ids
    ) -> tuple[bytes, bytes]:
        """Return a PUBLISH before and behind its packet identifier; remembered as well."""
        if event is not self._event:
            self._begin(event)
        key = ((topic, version, retain, ids), qos)
        found = self._parts.get(key)
        if found is None:
            first = 0x30 | qos << 1 | retain
            found = self.render(event, text(topic), version, first, ids)
            if not expires(event):
                self._parts[key] = found
        return found

    def render(
        self, event: Event, topic: bytes, version: int, first: int, ids: Ids, alias: int = 0
    ) -> tuple[bytes, bytes]:
        """Return a PUBLISH before and behind its packet identifier, which only QoS 1 and 2 have.

        ``first`` is the first byte; ``topic`` is encoded, and empty where ``alias`` stands for it.
        """
        rest = event.payload
        if version == V5:
            rest = self._properties(event, ids, alias) + rest
        size = len(topic) + len(rest)
        if first & 6:
            size += 2
        length = _BYTE[size] if size < 0x80 else variable(size)
        return b"".join((_BYTE[first], length, topic)), rest

    def _begin(self, event: Event) -> None:
        self._event = event
        self._common = None
        if self._known:
            self._known.clear()
        if self._parts:
            self._parts.clear()

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
        size = len(common)
        return (_BYTE[size] if size < 0x80 else variable(size)) + common


def expires(event: Event) -> bool:
    """Return whether an event will expire."""
    return event.extras is not None and event.extras.expires > 0


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
        said += b"\x08" + text(extras.response_topic)
    if extras.correlation is not None:
        said += b"\x09" + binary(extras.correlation)
    for name, value in extras.attributes:
        said += b"\x26" + binary(name.encode()) + binary(value.encode())
    return said
