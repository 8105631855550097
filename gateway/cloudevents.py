"""CloudEvents 1.0: the attributes that events carry wherever a protocol has room for them.

A publisher's own attributes win: then the event is its CloudEvent, and Hilum adds nothing to it.
"""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from gateway.message import Event, Extras, Fields
from registry.names import Name, urn

VERSION: Final = "1.0"
TYPE: Final = "hilum.event"
MAX_ATTRIBUTES: Final = 32
MAX_BYTES: Final = 8192
"""Of a publisher's own attributes, names and values together."""

_NAME = re.compile("[a-z0-9]{1,20}")
# What no String of CloudEvents holds (section 3.1.1), and no string of MQTT should.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PREFIX = b"ce-"
# Printable ASCII but space, double quote and percent (HTTP binding, section 3.1.3.2).
_PLAIN = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")


def moment(time_ms: int) -> str:
    """Return Unix time in milliseconds as an RFC 3339 timestamp."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def attributes_of(channel: str, event_id: str, time_ms: int) -> dict[str, str]:
    """Return the attributes that Hilum gives an event."""
    return {
        "specversion": VERSION,
        "type": TYPE,
        "id": event_id,
        "source": urn(Name(channel)),
        "time": moment(time_ms),
    }


def attributes(event: Event) -> dict[str, str]:
    """Return an event's attributes: its publisher's own, or Hilum's with what that one added."""
    said = {} if event.extras is None else dict(event.extras.attributes)
    own = {name: value for name, value in said.items() if _NAME.fullmatch(name)}
    if "specversion" in own:
        return own
    return {**own, **attributes_of(event.channel, str(event.id), event.time)}


def http_fields(said: dict[str, str]) -> Fields:
    """Return attributes as header fields (HTTP binding, binary mode)."""
    flat: Fields = []
    for name, value in said.items():
        flat += (_PREFIX + name.encode(), b": ", quote(value, safe=_PLAIN).encode(), b"\r\n")
    return flat


def extras_of(fields: Fields) -> Extras | None:
    """Return what a publisher said in ``ce-`` fields; raises ValueError for what cannot be."""
    found: dict[str, str] = {}
    size = 0
    for at in range(0, len(fields), 4):
        raw = fields[at].lower()
        if raw.startswith(_PREFIX):
            name = raw[3:].decode("latin-1")
            value = unquote(fields[at + 2].decode("latin-1").strip().strip('"'))
            size += len(name) + len(value)
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"ce-{name[:40]}: use at most 20 lower-case letters and digits")
            if _UNFIT.search(value):
                raise ValueError(f"ce-{name}: control characters cannot be part of an attribute")
            found[name] = value
    if len(found) > MAX_ATTRIBUTES or size > MAX_BYTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} ce- fields with {MAX_BYTES} bytes in all")
    return Extras(attributes=tuple(found.items())) if found else None
