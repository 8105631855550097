"""MQTT 5.0 on the wire: what a server sends, through the ``mqtt5`` library (its only importer).

What clients send is read by ``decode5``: the library is not made for bytes of unknown origin.
"""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any, TypeVar

import mqtt5

from adapters.mqtt.wire.fields import binary, variable
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Auth,
    Connack,
    Disconnect,
    Malformed,
    Packet,
    Pingresp,
    Publish,
    Reason,
    Suback,
    Unsuback,
)

Code = TypeVar("Code", bound=IntEnum)

_HEAD = Struct(">BBH").pack
_QOS = (mqtt5.QoS(0), mqtt5.QoS(1), mqtt5.QoS(2))
_NEAREST: dict[int, int] = {
    Reason.SERVER_BUSY: Reason.QUOTA_EXCEEDED,
    Reason.BAD_USER_NAME_OR_PASSWORD: Reason.NOT_AUTHORIZED,
}
"""Reasons that a packet has no room for, and the nearest that most packets have."""
_ACKS: dict[int, tuple[Callable[..., Any], Callable[[int], IntEnum]]] = {
    PUBACK: (mqtt5.PubAckPacket, mqtt5.PubAckReasonCode),
    PUBREC: (mqtt5.PubRecPacket, mqtt5.PubRecReasonCode),
    PUBREL: (mqtt5.PubRelPacket, mqtt5.PubRelReasonCode),
    PUBCOMP: (mqtt5.PubCompPacket, mqtt5.PubCompReasonCode),
}


def _code(codes: Callable[[int], Code], reason: int) -> Code:
    """Return a reason code that the packet may carry: its own, the nearest, or a general one."""
    for wanted in (reason, _NEAREST.get(reason, reason), 0x83, 0x80):
        try:
            return codes(wanted)
        except ValueError:
            continue
    return codes(Reason.PACKET_IDENTIFIER_NOT_FOUND)


def encode(packet: Packet) -> bytes:
    """Return a server's packet as bytes; Malformed when one of its fields does not fit."""
    try:
        return _encode(packet)
    except (ValueError, OverflowError) as error:
        raise Malformed(Reason.PACKET_TOO_LARGE, f"cannot be sent: {error}") from None


def _encode(packet: Packet) -> bytes:
    match packet:
        case Publish():
            return _publish(packet)
        case Ack():
            return _ack(packet)
        case Connack():
            return _connack(packet)
        case Suback():
            codes = [_code(mqtt5.SubAckReasonCode, reason) for reason in packet.reasons]
            return mqtt5.SubAckPacket(packet.packet_id, codes, **_said(packet)).write()
        case Unsuback():
            gone = [_code(mqtt5.UnsubAckReasonCode, reason) for reason in packet.reasons]
            return mqtt5.UnsubAckPacket(packet.packet_id, gone, **_said(packet)).write()
        case Pingresp():
            return b"\xd0\0"
        case Disconnect():
            return mqtt5.DisconnectPacket(
                reason_code=_code(mqtt5.DisconnectReasonCode, packet.reason),
                session_expiry_interval=packet.expiry,
                server_reference=packet.server_reference or None,
                **_said(packet),
            ).write()
        case Auth():
            return mqtt5.AuthPacket(
                reason_code=_code(mqtt5.AuthReasonCode, packet.reason),
                authentication_method=packet.method,
                authentication_data=packet.data,
                **_said(packet),
            ).write()
        case _:
            raise ValueError(f"a server sends no {type(packet).__name__}")


def _said(packet: Ack | Auth | Connack | Suback | Unsuback | Disconnect) -> dict[str, Any]:
    return {"reason_str": packet.why or None, "user_properties": list(packet.attributes) or None}


def _ack(packet: Ack) -> bytes:
    kind = packet.kind
    if not (packet.reason or packet.why or packet.attributes):
        return _HEAD(kind << 4 | 2 if kind == PUBREL else kind << 4, 2, packet.packet_id)
    make, codes = _ACKS[kind]
    reason_code = _code(codes, packet.reason)
    encoded: bytes = make(packet.packet_id, reason_code=reason_code, **_said(packet)).write()
    return encoded


def _connack(packet: Connack) -> bytes:
    return mqtt5.ConnAckPacket(
        session_present=packet.session_present,
        reason_code=_code(mqtt5.ConnAckReasonCode, packet.reason),
        session_expiry_interval=packet.expiry,
        assigned_client_id=packet.assigned_client_id or None,
        server_keep_alive=packet.keep_alive,
        authentication_method=packet.authentication_method,
        authentication_data=packet.authentication_data,
        response_info=packet.response_info or None,
        server_reference=packet.server_reference or None,
        receive_max=packet.receive_maximum,
        topic_alias_max=packet.alias_maximum,
        max_qos=_QOS[packet.maximum_qos],
        retain_available=packet.retain_available,
        max_packet_size=packet.maximum_packet or None,
        wildcard_subscription_available=packet.wildcards_available,
        subscription_id_available=packet.ids_available,
        shared_subscription_available=packet.shared_available,
        **_said(packet),
    ).write()


def _publish(packet: Publish) -> bytes:
    raw = packet.topic.encode()
    said = packet.properties
    if said is None:
        number = packet.packet_id.to_bytes(2, "big") if packet.qos else b""
        first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
        size = variable(len(raw) + len(number) + 3 + len(packet.payload))
        return b"%c%b%b%b\0%b" % (first, size, binary(raw), number, packet.payload)
    return mqtt5.PublishPacket(
        packet.topic,
        packet.payload,
        qos=_QOS[packet.qos],
        retain=packet.retain,
        duplicate=packet.dup,
        packet_id=packet.packet_id or None,
        payload_format_indicator=said.text,
        message_expiry_interval=said.expiry,
        content_type=said.content_type or None,
        response_topic=said.response_topic or None,
        correlation_data=said.correlation,
        subscription_ids=list(said.subscription_ids) or None,
        topic_alias=said.alias or None,
        user_properties=list(said.attributes) or None,
    ).write()
