"""CloudEvents attributes as user properties (CloudEvents 1.0.2, MQTT binding, binary mode)."""

from functools import lru_cache

from adapters.mqtt.fields import binary
from gateway.cloudevents import TYPE, VERSION, moment
from gateway.message import Event
from registry.names import Name, urn

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
def _constant(channel: Name) -> bytes:
    """Return what all events of a channel have in common: identity is (source, id)."""
    return b"".join(
        _USER + binary(name) + binary(value.encode())
        for name, value in (
            (b"specversion", VERSION),
            (b"type", TYPE),
            (b"source", urn(channel)),
        )
    )


@lru_cache(64)
def _time(milliseconds: int) -> bytes:
    return _USER + b"\0\x04time" + binary(moment(milliseconds).encode())
