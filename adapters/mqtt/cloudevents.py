"""CloudEvents attributes as user properties (CloudEvents 1.0.2, MQTT binding, binary mode)."""

from datetime import UTC, datetime
from functools import lru_cache

from adapters.mqtt.fields import binary
from gateway.message import Event

TYPE = "hilum.event"
_USER = b"\x26"


def attributes(event: Event) -> bytes:
    """Return an event's attributes as encoded properties; b"" when its publisher gave some."""
    extras = event.extras
    if extras is not None and any(name == "specversion" for name, _ in extras.attributes):
        return b""
    incarnation, sequence = event.id
    return b"".join(
        (
            _constant(event.channel),
            _USER,
            b"\0\x02id",
            binary(b"%b-%d" % (incarnation.encode(), sequence)),
            _time(event.time),
        )
    )


@lru_cache(4096)
def _constant(channel: str) -> bytes:
    """Return what all events of a channel have in common: identity is (source, id)."""
    return b"".join(
        _USER + binary(name) + binary(value.encode())
        for name, value in (
            (b"specversion", "1.0"),
            (b"type", TYPE),
            (b"source", f"urn:hilum:{channel}"),
        )
    )


@lru_cache(64)
def _time(milliseconds: int) -> bytes:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _USER + b"\0\x04time" + binary(text.encode())
