"""CloudEvents attributes as user properties (CloudEvents 1.0.2, MQTT binding, binary mode)."""

from functools import lru_cache

from adapters.mqtt.wire.fields import binary
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
    before, log = _constant(event.channel, incarnation)
    identity = b"%b-%d" % (log, sequence)
    return b"".join((before, len(identity).to_bytes(2, "big"), identity, _time(event.time)))


@lru_cache(4096)
def _constant(channel: Name, incarnation: str) -> tuple[bytes, bytes]:
    """Return what the events of a channel have in common: identity is (source, id)."""
    said = ((b"specversion", VERSION), (b"type", TYPE), (b"source", urn(channel)))
    encoded = b"".join(_USER + binary(name) + binary(value.encode()) for name, value in said)
    return encoded + _USER + binary(b"id"), incarnation.encode()


@lru_cache(64)
def _time(milliseconds: int) -> bytes:
    return _USER + binary(b"time") + binary(moment(milliseconds).encode())
