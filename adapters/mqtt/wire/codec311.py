"""MQTT 3.1.1 on the wire: what clients send, and what a server answers.

Clauses in brackets are of MQTT 3.1.1. What is wrong has a reason code of MQTT 5.0 too, which only
the log sees: this version closes the connection.
"""

from collections.abc import Callable
from struct import Struct

from adapters.mqtt.wire.fields import Reader, binary, variable
from adapters.mqtt.wire.packets import (
    DISCONNECT,
    FOR_EVER,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    V311,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Malformed,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Reason,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from adapters.mqtt.wire.topics import KNOWN, check_count, check_filter, topic_of

FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
"""The lower half of the first byte, where it is not 0 (both versions, section 2.2.2, 2.1.3)."""
RETURN_CODES = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.UNSPECIFIED_ERROR: 3,
    Reason.IMPLEMENTATION_SPECIFIC_ERROR: 3,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.SERVER_SHUTTING_DOWN: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.USE_ANOTHER_SERVER: 3,
    Reason.SERVER_MOVED: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.BAD_AUTHENTICATION_METHOD: 4,
    Reason.NOT_AUTHORIZED: 5,
    Reason.BANNED: 5,
}
"""Reasons as return codes of CONNACK (section 3.2.2.3); at any other the connection closes."""
FAILURE = 0x80

_HEAD = Struct(">BBH").pack


def publish(data: bytes, first: int, at: int, stop: int) -> Publish:
    """Return the PUBLISH that lies in ``data`` (section 3.3); ``first`` is its first byte."""
    begin = at + 2
    end = begin + (data[at] << 8 | data[at + 1]) if begin <= stop else stop + 1
    if end > stop:
        raise Malformed(Reason.MALFORMED_PACKET, "a topic name reaches beyond the packet's end")
    raw = data[begin:end]
    topic = KNOWN.get(raw)
    if topic is None:
        topic = topic_of(raw)
    if first < 0x32:
        return Publish(topic, data[end:stop], 0, first == 0x31)
    return Publish(topic, data[end + 2 : stop], *delivery(data, first, end, stop))


def delivery(data: bytes, first: int, at: int, stop: int) -> tuple[int, bool, int, bool]:
    """Return QoS, RETAIN, packet identifier and DUP of a PUBLISH of QoS 1 or 2 (both versions)."""
    qos = first >> 1 & 3
    if qos == 3:
        raise Malformed(Reason.MALFORMED_PACKET, "QoS 3 does not exist")  # [MQTT-3.3.1-4]
    if not qos:
        raise Malformed(Reason.MALFORMED_PACKET, "DUP is set at QoS 0")  # [MQTT-3.3.1-2]
    if at + 2 > stop:
        raise Malformed(Reason.MALFORMED_PACKET, "a PUBLISH ends before its packet identifier")
    number = data[at] << 8 | data[at + 1]
    if not number:
        raise Malformed(Reason.PROTOCOL_ERROR, "a packet identifier is 0")  # [MQTT-2.3.1-1]
    return qos, first & 1 == 1, number, first & 8 == 8


def connect(reader: Reader) -> Connect:
    """Read CONNECT after the protocol level (section 3.1.2.3)."""
    flags = reader.byte()
    check_connect_flags(flags)
    if flags & 0x40 and not flags & 0x80:
        raise Malformed(Reason.MALFORMED_PACKET, "a password without a user name")  # [-3.1.2-22]
    clean = bool(flags & 2)
    keep_alive = reader.two()
    client_id = reader.text()
    will = None
    if flags & 4:
        topic = topic_of(reader.binary())
        will = Will(topic, reader.binary(), flags >> 3 & 3, bool(flags & 0x20))
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    reader.end()
    if not client_id and not clean:  # [MQTT-3.1.3-8]
        raise Malformed(Reason.CLIENT_IDENTIFIER_NOT_VALID, "a session needs a client identifier")
    expiry = 0 if clean else FOR_EVER
    return Connect(client_id, V311, clean, keep_alive, username, password, will, expiry)


def check_connect_flags(flags: int) -> None:
    """Refuse connect flags that contradict each other (both versions, section 3.1.2.3)."""
    if flags & 1:
        raise Malformed(Reason.MALFORMED_PACKET, "a reserved connect flag is set")
    if flags & 0x18 == 0x18:
        raise Malformed(Reason.MALFORMED_PACKET, "a will of QoS 3")
    if flags & 0x38 and not flags & 4:
        raise Malformed(Reason.MALFORMED_PACKET, "will flags without a will")


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


def _ack(kind: int, reader: Reader) -> Ack:
    return Ack(kind, reader.packet_id())


def _subscribe(_kind: int, reader: Reader) -> Subscribe:
    number = reader.packet_id()
    filters: list[Filter] = []
    while reader.at < reader.stop:
        check_count(filters)
        text = reader.text()
        check_filter(text)
        qos = reader.byte()
        if qos > 2:
            raise Malformed(Reason.MALFORMED_PACKET, "no such QoS")  # [MQTT-3-8.3-4]
        filters.append(Filter(text, qos))
    if not filters:
        raise Malformed(Reason.PROTOCOL_ERROR, "SUBSCRIBE without a filter")  # [MQTT-3.8.3-3]
    return Subscribe(number, filters)


def _unsubscribe(_kind: int, reader: Reader) -> Unsubscribe:
    number = reader.packet_id()
    filters: list[str] = []
    while reader.at < reader.stop:
        check_count(filters)
        filters.append(reader.text())
        check_filter(filters[-1])
    if not filters:
        raise Malformed(Reason.PROTOCOL_ERROR, "UNSUBSCRIBE without a filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(number, filters)


_READ: dict[int, Callable[[int, Reader], Packet]] = {
    PUBACK: _ack,
    PUBREC: _ack,
    PUBREL: _ack,
    PUBCOMP: _ack,
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: lambda _kind, _reader: Pingreq(),
    DISCONNECT: lambda _kind, _reader: Disconnect(),
}


def encode(packet: Packet) -> bytes:
    """Return a server's packet as bytes, b"" for what this version does not know."""
    match packet:
        case Publish():
            number = packet.packet_id.to_bytes(2, "big") if packet.qos else b""
            topic = binary(packet.topic.encode())
            first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
            size = variable(len(topic) + len(number) + len(packet.payload))
            return b"%c%b%b%b%b" % (first, size, topic, number, packet.payload)
        case Ack():
            return _HEAD(packet.kind << 4 | FLAGS.get(packet.kind, 0), 2, packet.packet_id)
        case Connack():
            code = RETURN_CODES.get(Reason(packet.reason))
            return b"" if code is None else bytes((0x20, 2, packet.session_present, code))
        case Suback():
            codes = bytes([min(reason, FAILURE) for reason in packet.reasons])
            return b"\x90%b%b%b" % (
                variable(2 + len(codes)),
                packet.packet_id.to_bytes(2, "big"),
                codes,
            )
        case Unsuback():
            return _HEAD(0xB0, 2, packet.packet_id)
        case Pingresp():
            return b"\xd0\0"
        case _:
            return b""
