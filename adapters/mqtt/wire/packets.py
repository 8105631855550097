"""MQTT packets, one form for versions 3.1.1 and 5.0, and the reason codes.

What a version has no room for has its default after decoding, and is left out by the encoder.
Structs of msgspec, because one is made in a third of a plain class's time; ``kind`` is the packet
type of the fixed header (MQTT 5.0 table 2-1), so that a session can dispatch on it.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar

from msgspec import Struct

V311 = 4
V5 = 5
"""Protocol levels (MQTT 3.1.1 and 5.0, section 3.1.2.2)."""

CONNECT, CONNACK, PUBLISH = 1, 2, 3
PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT, AUTH = 12, 13, 14, 15

FOR_EVER = 0xFFFF_FFFF
"""A session expiry interval that never ends (section 3.1.2.11.2)."""
RECEIVE_MAXIMUM = 65_535
"""What a Receive Maximum is when a packet says nothing (section 3.1.2.11.3)."""

Attributes = tuple[tuple[str, str], ...]
"""User properties, in their order."""


class Reason(IntEnum):
    """Reason codes (MQTT 5.0 table 2-6); 0 is also "granted QoS 0" and "normal disconnection"."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


class Properties(Struct, frozen=True, gc=False):
    """What a message of MQTT 5.0 says beyond topic and payload (section 3.3.2.3).

    ``expiry`` in seconds (None: never), ``text``: the payload is UTF-8; ``alias`` 0: none.
    Frozen, for the decoder gives the same ones to many messages.
    """

    content_type: str = ""
    response_topic: str = ""
    correlation: bytes | None = None
    expiry: int | None = None
    text: bool = False
    attributes: Attributes = ()
    subscription_ids: tuple[int, ...] = ()
    alias: int = 0


class Publish(Struct, gc=False):
    """An application message (section 3.3). ``packet_id`` is 0 at QoS 0."""

    kind: ClassVar[int] = PUBLISH

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    packet_id: int = 0
    dup: bool = False
    properties: Properties | None = None


class Ack(Struct, gc=False):
    """PUBACK, PUBREC, PUBREL or PUBCOMP, as ``kind`` says (sections 3.4 to 3.7).

    ``why`` is the Reason String, here and in the other packets ("": none).
    """

    kind: int
    packet_id: int
    reason: int = 0
    why: str = ""
    attributes: Attributes = ()


class Will(Struct):
    """What the server publishes when the client is gone (section 3.1.2.5); ``delay`` in seconds."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    delay: int = 0
    properties: Properties | None = None


class Connect(Struct):
    """A client asks for a session (section 3.1).

    ``version`` is the protocol level. ``expiry`` is the Session Expiry Interval in seconds; a
    3.1.1 session without Clean Session has ``FOR_EVER``. ``maximum_packet`` 0: no limit.
    ``wants_why``: Request Problem Information, ``wants_response_info``: Request Response
    Information.
    """

    kind: ClassVar[int] = CONNECT

    client_id: str
    version: int = V5
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    expiry: int = 0
    receive_maximum: int = RECEIVE_MAXIMUM
    maximum_packet: int = 0
    alias_maximum: int = 0
    wants_why: bool = True
    wants_response_info: bool = False
    attributes: Attributes = ()
    authentication_method: str | None = None
    authentication_data: bytes | None = None

    def __repr__(self) -> str:
        """Never the password: a packet may be logged."""
        return f"Connect(client_id={self.client_id!r}, version={self.version})"


class Connack(Struct):
    """The answer to CONNECT (section 3.2). ``reason`` is of MQTT 5.0 for both versions.

    None stands for "not said": then the client's own session expiry and keep-alive are in force.
    """

    kind: ClassVar[int] = CONNACK

    reason: int = 0
    session_present: bool = False
    why: str = ""
    attributes: Attributes = ()
    expiry: int | None = None
    receive_maximum: int = RECEIVE_MAXIMUM
    maximum_qos: int = 2
    retain_available: bool = True
    maximum_packet: int = 0
    assigned_client_id: str = ""
    alias_maximum: int = 0
    wildcards_available: bool = True
    ids_available: bool = True
    shared_available: bool = True
    keep_alive: int | None = None
    response_info: str = ""
    server_reference: str = ""
    authentication_method: str | None = None
    authentication_data: bytes | None = None


class Filter(Struct, frozen=True):
    """One subscription of a SUBSCRIBE packet (section 3.8.3.1).

    ``retain_handling``: 0 send retained messages, 1 if the subscription is new, 2 never.
    """

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(Struct):
    """SUBSCRIBE (section 3.8); ``subscription_id`` 0: none."""

    kind: ClassVar[int] = SUBSCRIBE

    packet_id: int
    filters: Sequence[Filter]
    subscription_id: int = 0
    attributes: Attributes = ()


class Suback(Struct):
    """SUBACK (section 3.9): one reason code per filter; 3.1.1 knows 0x80 as the only failure."""

    kind: ClassVar[int] = SUBACK

    packet_id: int
    reasons: Sequence[int]
    why: str = ""
    attributes: Attributes = ()


class Unsubscribe(Struct):
    """UNSUBSCRIBE (section 3.10)."""

    kind: ClassVar[int] = UNSUBSCRIBE

    packet_id: int
    filters: Sequence[str]
    attributes: Attributes = ()


class Unsuback(Struct):
    """UNSUBACK (section 3.11): one reason code per filter; 3.1.1 carries none."""

    kind: ClassVar[int] = UNSUBACK

    packet_id: int
    reasons: Sequence[int] = ()
    why: str = ""
    attributes: Attributes = ()


class Pingreq(Struct):
    """PINGREQ (section 3.12)."""

    kind: ClassVar[int] = PINGREQ


class Pingresp(Struct):
    """PINGRESP (section 3.13)."""

    kind: ClassVar[int] = PINGRESP


class Disconnect(Struct):
    """DISCONNECT (section 3.14); ``expiry`` None: the session's expiry stays as it is."""

    kind: ClassVar[int] = DISCONNECT

    reason: int = 0
    why: str = ""
    attributes: Attributes = ()
    expiry: int | None = None
    server_reference: str = ""


class Auth(Struct):
    """AUTH (section 3.15), of MQTT 5.0 only."""

    kind: ClassVar[int] = AUTH

    reason: int = 0
    method: str | None = None
    data: bytes | None = None
    why: str = ""
    attributes: Attributes = ()


Packet = (
    Connect
    | Connack
    | Publish
    | Ack
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)


class Malformed(Exception):
    """Bytes that are no packet, or a packet that breaks the protocol; the connection ends.

    ``reason`` is what DISCONNECT (or CONNACK, when no CONNECT was accepted yet) is to carry.
    """

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
