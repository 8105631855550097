"""What clients of MQTT 5.0 send, read and checked.

Not by the ``mqtt5`` library, which prints a stack trace for every string that is not UTF-8 and
takes much that the specification forbids: decision 0017.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from adapters.mqtt.wire.codec311 import FLAGS, check_connect_flags, delivery
from adapters.mqtt.wire.fields import Reader
from adapters.mqtt.wire.packets import (
    AUTH,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    V5,
    Ack,
    Auth,
    Connect,
    Disconnect,
    Filter,
    Malformed,
    Packet,
    Pingreq,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Will,
)
from adapters.mqtt.wire.topics import KNOWN, SHARE, check_count, check_filter, check_topic, topic_of


class _Property(NamedTuple):
    """How a property is read, and what its value must satisfy (section 2.2.2.2)."""

    field: str
    read: Callable[[Reader], object]
    valid: Callable[[Any], bool] | None = None
    reason: Reason = Reason.PROTOCOL_ERROR


def _flag(reader: Reader) -> bool:
    byte = reader.byte()
    if byte > 1:
        raise Malformed(Reason.PROTOCOL_ERROR, f"a property that is 0 or 1 is {byte}")
    return byte == 1


def _response_topic(reader: Reader) -> str:
    topic = reader.text()
    check_topic(topic)
    return topic


_EXPIRY = {0x11: _Property("expiry", Reader.four)}
_WHY = {0x1F: _Property("why", Reader.text)}
_AUTHENTICATION = {
    0x15: _Property("authentication_method", Reader.text),
    0x16: _Property("authentication_data", Reader.binary),
}
_MESSAGE = {
    0x01: _Property("text", _flag),
    0x02: _Property("expiry", Reader.four),
    0x03: _Property("content_type", Reader.text),
    0x08: _Property("response_topic", _response_topic),
    0x09: _Property("correlation", Reader.binary),
}
_PUBLISH = _MESSAGE | {0x23: _Property("alias", Reader.two, bool, Reason.TOPIC_ALIAS_INVALID)}
_WILL = _MESSAGE | {0x18: _Property("delay", Reader.four)}
_CONNECT = (
    _EXPIRY
    | _AUTHENTICATION
    | {
        0x17: _Property("wants_why", _flag),
        0x19: _Property("wants_response_info", _flag),
        0x21: _Property("receive_maximum", Reader.two, bool),
        0x22: _Property("alias_maximum", Reader.two),
        0x27: _Property("maximum_packet", Reader.four, bool),
    }
)
_SUBSCRIBE = {0x0B: _Property("subscription_id", Reader.variable, bool)}
_DISCONNECT = _EXPIRY | _WHY | {0x1C: _Property("server_reference", Reader.text)}
_AUTH = {
    0x15: _Property("method", Reader.text),
    0x16: _Property("data", Reader.binary),
} | _WHY
_NONE: dict[int, _Property] = {}
_USER = 0x26
_SUBSCRIPTION_ID = 0x0B

_DELIVERED = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
_RELEASED = {0x00, 0x92}
_REASONS = {PUBACK: _DELIVERED, PUBREC: _DELIVERED, PUBREL: _RELEASED, PUBCOMP: _RELEASED}
_GOODBYES = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, *range(0x93, 0x9A)}
"""Reason codes that a client may use in DISCONNECT (table 3-10)."""
_AUTHENTICATING = {0x18, 0x19}

USER_PROPERTIES = 1000
"""User properties that one packet may have: they are read at once, while others wait."""
KNOWN_BYTES = 0x7F
KNOWN_SECTIONS = 1024
"""How many sections of properties, of at most how many bytes, are known by their bytes."""
_KNOWN: dict[bytes, Properties] = {}


def _properties(reader: Reader, known: Mapping[int, _Property]) -> dict[str, Any]:
    """Return a packet's properties as its fields; nothing twice, nothing that is not its own."""
    length = reader.variable()
    if not length:
        return {}
    stop, reader.stop = reader.stop, reader.at + length
    if reader.stop > stop:
        raise Malformed(Reason.MALFORMED_PACKET, "the properties reach beyond the packet's end")
    values: dict[str, Any] = {}
    attributes: list[tuple[str, str]] = []
    while reader.at < reader.stop:
        number = reader.byte()
        if number == _USER:
            if len(attributes) >= USER_PROPERTIES:
                why = f"a packet has more than {USER_PROPERTIES} user properties"
                raise Malformed(Reason.QUOTA_EXCEEDED, why)
            attributes.append((reader.text(), reader.text()))
            continue
        found = known.get(number)
        if found is None:
            raise _misplaced(number, known)
        value = found.read(reader)
        if found.field in values:
            raise Malformed(Reason.PROTOCOL_ERROR, f"{found.field} is there twice")
        if found.valid is not None and not found.valid(value):
            raise Malformed(found.reason, f"{found.field} is {value}")
        values[found.field] = value
    if attributes:
        values["attributes"] = tuple(attributes)
    reader.stop = stop
    return values


def _misplaced(number: int, known: Mapping[int, _Property]) -> Malformed:
    if number == _SUBSCRIPTION_ID and known is _PUBLISH:  # [MQTT-3.3.4-6]
        return Malformed(Reason.PROTOCOL_ERROR, "a client publishes with a subscription identifier")
    return Malformed(Reason.MALFORMED_PACKET, f"property {number:#x} does not belong there")


def _check_text(payload: bytes) -> None:
    """Refuse what says that it is text and is not (section 3.3.2.3.2)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Malformed(Reason.PAYLOAD_FORMAT_INVALID, "a payload is not UTF-8") from None


def publish(data: bytes, first: int, at: int, stop: int) -> Publish:
    """Return the PUBLISH that lies in ``data`` (section 3.3); ``first`` is its first byte."""
    begin = at + 2
    end = begin + (data[at] << 8 | data[at + 1]) if begin <= stop else stop
    if end >= stop:
        raise Malformed(Reason.MALFORMED_PACKET, "a PUBLISH ends before its properties")
    raw = data[begin:end]
    topic = KNOWN.get(raw)
    if topic is None and raw:
        topic = topic_of(raw)
    if first < 0x32:
        if topic is not None and not data[end]:
            return Publish(topic, data[end + 1 : stop], 0, first == 0x31)
        how = 0, first == 0x31, 0, False
    else:
        how = delivery(data, first, end, stop)
        end += 2
        if topic is not None and end < stop and not data[end]:
            return Publish(topic, data[end + 1 : stop], *how)
    reader = Reader(data, end, stop)
    properties = _message(reader)
    if topic is None:
        if properties is None or not properties.alias:
            raise Malformed(Reason.PROTOCOL_ERROR, "neither a topic name nor a topic alias")
        topic = ""
    payload = data[reader.at : stop]
    if properties is not None and properties.text:
        _check_text(payload)
    return Publish(topic, payload, *how, properties)


def _message(reader: Reader) -> Properties | None:
    """Return a message's properties; mostly the same ones come again, and are known then."""
    length = reader.data[reader.at] if reader.at < reader.stop else 0
    end = reader.at + 1 + length
    raw = b""
    if length <= KNOWN_BYTES and end <= reader.stop:
        raw = reader.data[reader.at : end]
        known = _KNOWN.get(raw)
        if known is not None:
            reader.at = end
            return known
    values = _properties(reader, _PUBLISH)
    if not values:
        return None
    properties = Properties(**values)
    if raw and properties.correlation is None:
        if len(_KNOWN) >= KNOWN_SECTIONS:
            _KNOWN.clear()
        _KNOWN[raw] = properties
    return properties


def connect(reader: Reader) -> Connect:
    """Read CONNECT after the protocol level (section 3.1.2.3)."""
    flags = reader.byte()
    check_connect_flags(flags)
    keep_alive = reader.two()
    values = _properties(reader, _CONNECT)
    if "authentication_data" in values and "authentication_method" not in values:
        raise Malformed(Reason.PROTOCOL_ERROR, "authentication data without a method")
    client_id = reader.text()
    will = _will(reader, flags) if flags & 4 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    reader.end()
    clean = bool(flags & 2)
    return Connect(client_id, V5, clean, keep_alive, username, password, will, **values)


def _will(reader: Reader, flags: int) -> Will:
    values = _properties(reader, _WILL)
    delay = values.pop("delay", 0)
    topic = topic_of(reader.binary())
    payload = reader.binary()
    properties = Properties(**values) if values else None
    if properties is not None and properties.text:
        _check_text(payload)
    return Will(topic, payload, flags >> 3 & 3, bool(flags & 0x20), delay, properties)


def decode(first: int, body: bytes) -> Packet:
    """Return a client's packet other than CONNECT and PUBLISH, from its first byte and the rest."""
    kind = first >> 4
    read = _READ.get(kind)
    if read is None:
        raise Malformed(Reason.PROTOCOL_ERROR, f"a client sends no packet of type {kind}")
    if first & 15 != FLAGS.get(kind, 0):
        raise Malformed(Reason.MALFORMED_PACKET, "reserved flags of a fixed header")
    reader = Reader(body)
    packet = read(kind, reader)
    reader.end()
    return packet


def _reasoned(
    reader: Reader, allowed: set[int], known: Mapping[int, _Property]
) -> tuple[int, dict[str, Any]]:
    """Return a reason code and the properties behind it; both may be left out at the end."""
    if reader.at == reader.stop:
        return 0, {}
    reason = reader.byte()
    if reason not in allowed:
        raise Malformed(Reason.PROTOCOL_ERROR, f"reason code {reason:#04x} does not belong there")
    return reason, _properties(reader, known) if reader.at < reader.stop else {}


def _ack(kind: int, reader: Reader) -> Ack:
    number = reader.packet_id()
    reason, values = _reasoned(reader, _REASONS[kind], _WHY)
    return Ack(kind, number, reason, **values)


def _subscribe(_kind: int, reader: Reader) -> Subscribe:
    number = reader.packet_id()
    values = _properties(reader, _SUBSCRIBE)
    filters: list[Filter] = []
    while reader.at < reader.stop:
        check_count(filters)
        filters.append(_filter(reader.text(), reader.byte()))
    if not filters:
        raise Malformed(Reason.PROTOCOL_ERROR, "SUBSCRIBE without a filter")  # [MQTT-3.8.3-2]
    return Subscribe(number, filters, **values)


def _filter(text: str, options: int) -> Filter:
    """Return one subscription with its options (section 3.8.3.1)."""
    check_filter(text)
    if options & 0xC0:
        raise Malformed(Reason.MALFORMED_PACKET, "reserved subscription options")  # [-3.8.3-5]
    no_local = bool(options & 4)
    if options & 3 == 3 or options & 0x30 == 0x30:
        raise Malformed(Reason.PROTOCOL_ERROR, "no such QoS or retain handling")
    if no_local and text.startswith(SHARE):
        raise Malformed(Reason.PROTOCOL_ERROR, "No Local is set on a shared subscription")
    return Filter(text, options & 3, no_local, bool(options & 8), options >> 4)


def _unsubscribe(_kind: int, reader: Reader) -> Unsubscribe:
    number = reader.packet_id()
    values = _properties(reader, _NONE)
    filters: list[str] = []
    while reader.at < reader.stop:
        check_count(filters)
        filters.append(reader.text())
        check_filter(filters[-1])
    if not filters:
        raise Malformed(Reason.PROTOCOL_ERROR, "UNSUBSCRIBE without a filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(number, filters, **values)


def _disconnect(_kind: int, reader: Reader) -> Disconnect:
    reason, values = _reasoned(reader, _GOODBYES, _DISCONNECT)
    return Disconnect(reason, **values)


def _auth(_kind: int, reader: Reader) -> Auth:
    reason, values = _reasoned(reader, _AUTHENTICATING, _AUTH)
    if "method" not in values:
        raise Malformed(Reason.PROTOCOL_ERROR, "AUTH without an authentication method")
    return Auth(reason, **values)


_READ: dict[int, Callable[[int, Reader], Packet]] = {
    PUBACK: _ack,
    PUBREC: _ack,
    PUBREL: _ack,
    PUBCOMP: _ack,
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: lambda _kind, _reader: Pingreq(),
    DISCONNECT: _disconnect,
    AUTH: _auth,
}
