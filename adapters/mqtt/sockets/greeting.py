"""What a client is told at first: CONNACK (MQTT 5.0 section 3.2)."""

from typing import Final

from adapters.mqtt.sessions.ports import Admission, Settings
from adapters.mqtt.wire.packets import V5, V311, Connack, Connect

BRIDGE: Final = 0x80
"""What bridges of mosquitto add to the level: refused in 3.1.1, they come again without it."""


def nearest(level: int) -> int:
    """Return the version in which a client of another one may understand that it is refused."""
    return V311 if level & ~BRIDGE <= V311 else V5


def welcome(
    answer: Admission, packet: Connect, settings: Settings, keep_alive: int | None
) -> Connack:
    """Return what an accepted client is told; ``keep_alive`` None: its own is in force."""
    return Connack(
        0,
        answer.present,
        expiry=answer.expiry,
        receive_maximum=settings.receive_maximum,
        maximum_packet=settings.maximum_packet,
        assigned_client_id=answer.assigned_client_id,
        alias_maximum=settings.alias_maximum,
        keep_alive=keep_alive,
        authentication_method=packet.authentication_method,
        response_info=answer.response_info if packet.wants_response_info else "",
    )


def keep_alive_of(packet: Connect, settings: Settings) -> int:
    """Return the keep-alive in seconds: in 5.0 the server may say another (section 3.1.2.10)."""
    most = settings.keep_alive
    if packet.version == V5 and most:
        return min(packet.keep_alive or most, most)
    return packet.keep_alive
