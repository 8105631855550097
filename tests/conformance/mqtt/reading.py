"""What a server sends, read strictly: a packet that breaks the specification fails the test.

It shares nothing with the site's own codec.
"""

from dataclasses import dataclass, field
from typing import Any

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 2, 3, 4, 5, 6, 7
SUBACK, UNSUBACK, PINGRESP, DISCONNECT, AUTH = 9, 11, 13, 14, 15

CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, IDENTIFIER = 0x03, 0x08, 0x09, 0x0B
FORMAT, EXPIRY, SESSION_EXPIRY, ASSIGNED, KEEP_ALIVE = 0x01, 0x02, 0x11, 0x12, 0x13
METHOD, RESPONSE_INFO, WHY, RECEIVE_MAXIMUM = 0x15, 0x1A, 0x1F, 0x21
ALIAS_MAXIMUM, ALIAS, MAXIMUM_QOS, RETAIN_AVAILABLE, USER = 0x22, 0x23, 0x24, 0x25, 0x26
MAXIMUM_PACKET, WILDCARDS, IDENTIFIERS, SHARED = 0x27, 0x28, 0x29, 0x2A

# Section 2.2.2.2: the type of each property.
_TYPES = {
    FORMAT: "byte", EXPIRY: "four", CONTENT_TYPE: "text", RESPONSE_TOPIC: "text",
    CORRELATION: "binary", IDENTIFIER: "variable", SESSION_EXPIRY: "four", ASSIGNED: "text",
    KEEP_ALIVE: "two", METHOD: "text", 0x16: "binary", RESPONSE_INFO: "text", 0x1C: "text",
    WHY: "text", RECEIVE_MAXIMUM: "two", ALIAS_MAXIMUM: "two", ALIAS: "two", MAXIMUM_QOS: "byte",
    RETAIN_AVAILABLE: "byte", USER: "pair", MAXIMUM_PACKET: "four", WILDCARDS: "byte",
    IDENTIFIERS: "byte", SHARED: "byte",
}  # fmt: skip
_SAID = {WHY, USER}
# Table 2-4: the properties that a server may send in each packet.
_ALLOWED = {
    CONNACK: _SAID | {SESSION_EXPIRY, ASSIGNED, KEEP_ALIVE, METHOD, 0x16, RESPONSE_INFO, 0x1C}
    | {RECEIVE_MAXIMUM, ALIAS_MAXIMUM, MAXIMUM_QOS, RETAIN_AVAILABLE, MAXIMUM_PACKET, WILDCARDS}
    | {IDENTIFIERS, SHARED},
    PUBLISH: {FORMAT, EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, IDENTIFIER, ALIAS, USER},
    PUBACK: _SAID, PUBREC: _SAID, PUBREL: _SAID, PUBCOMP: _SAID, SUBACK: _SAID, UNSUBACK: _SAID,
    DISCONNECT: _SAID | {0x1C},
    AUTH: _SAID | {METHOD, 0x16},
}  # fmt: skip
_DELIVERED = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
_CODES = {
    CONNACK: {0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: _DELIVERED, PUBREC: _DELIVERED, PUBREL: {0, 0x92}, PUBCOMP: {0, 0x92},
    SUBACK: {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90}
    | set(range(0x93, 0xA3)),
    AUTH: {0, 0x18, 0x19},
}  # fmt: skip


@dataclass
class Got:
    """One packet of a server; ``props`` has a list of values by property identifier."""

    kind: int
    flags: int
    size: int
    pid: int = 0
    code: int = 0
    codes: list[int] = field(default_factory=list)
    present: bool = False
    topic: str = ""
    payload: bytes = b""
    props: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def qos(self) -> int:
        return self.flags >> 1 & 3

    @property
    def retain(self) -> bool:
        return bool(self.flags & 1)

    @property
    def dup(self) -> bool:
        return bool(self.flags & 8)

    def prop(self, number: int) -> Any:
        """Return a property's only value, None when it is not there."""
        return self.props.get(number, [None])[0]


class _Body:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data), "a field reaches beyond the packet's end"
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def two(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def four(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        value, shift, byte = 0, 0, 0x80
        while byte & 0x80:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
        assert shift <= 28
        assert byte or shift == 7, "a length that is longer than it needs to be [MQTT-1.5.5-1]"
        return value

    def binary(self) -> bytes:
        return self.take(self.two())

    def text(self) -> str:
        text = self.binary().decode()
        assert "\0" not in text
        return text

    def pair(self) -> tuple[str, str]:
        return self.text(), self.text()

    def properties(self, allowed: set[int]) -> dict[int, list[Any]]:
        end = self.variable()
        end += self.at
        found: dict[int, list[Any]] = {}
        while self.at < end:
            number = self.variable()
            assert number in allowed, f"property {number:#x} does not belong there"
            found.setdefault(number, []).append(getattr(self, _TYPES[number])())
        assert self.at == end, "properties end where they say"
        twice = {number for number, values in found.items() if len(values) > 1}
        assert twice <= {USER, IDENTIFIER}, "a property is there twice"
        return found


def read(first: int, data: bytes, version: int, size: int) -> Got:
    """Return a packet; ``data`` is what follows the fixed header."""
    body, got = _Body(data), Got(first >> 4, first & 15, size)
    five = version == 5
    match got.kind:
        case 2:
            _read_connack(body, got, five)
        case 3:
            _read_publish(body, got, five)
        case 4 | 5 | 6 | 7:
            assert got.flags == (2 if got.kind == PUBREL else 0)
            got.pid = body.two()
            _read_code(body, got, five)
        case 9 | 11:
            _read_codes(body, got, five)
        case 13:
            assert got.flags == 0
        case 14 | 15:
            assert five, "a server of MQTT 3.1.1 sends no such packet"
            assert got.flags == 0
            _read_code(body, got, five)
        case _:
            raise AssertionError(f"a server sends no packet of type {got.kind}")
    assert body.at == len(data), "the packet is longer than its fields"
    assert got.kind in {CONNACK, PUBLISH, PINGRESP, DISCONNECT, AUTH} or got.pid
    return got


def _read_connack(body: _Body, got: Got, five: bool) -> None:
    flags = body.byte()
    assert got.flags == 0
    assert flags <= 1, "[MQTT-3.2.2-1]"
    got.present, got.code = bool(flags), body.byte()
    assert got.code in (_CODES[CONNACK] if five else range(6)), "[MQTT-3.2.2-8]"
    if five:
        got.props = body.properties(_ALLOWED[CONNACK])


def _read_publish(body: _Body, got: Got, five: bool) -> None:
    assert got.qos < 3
    got.topic = body.text()
    assert not {"+", "#"} & set(got.topic)
    if got.qos:
        got.pid = body.two()
        assert got.pid, "[MQTT-2.2.1-4]"
    else:
        assert not got.dup, "[MQTT-3.3.1-2]"
    if five:
        got.props = body.properties(_ALLOWED[PUBLISH])
    assert got.topic or got.prop(ALIAS)
    got.payload = body.take(len(body.data) - body.at)


def _read_code(body: _Body, got: Got, five: bool) -> None:
    if not five or body.at == len(body.data):
        return
    got.code = body.byte()
    assert got.code in _CODES[got.kind], f"{got.code:#x} in a packet of type {got.kind}"
    if body.at < len(body.data):
        got.props = body.properties(_ALLOWED[got.kind])


def _read_codes(body: _Body, got: Got, five: bool) -> None:
    assert got.flags == 0
    got.pid = body.two()
    if five:
        got.props = body.properties(_ALLOWED[got.kind])
    got.codes = list(body.take(len(body.data) - body.at))
    if got.kind == UNSUBACK and not five:
        assert not got.codes
    assert set(got.codes) <= (_CODES[got.kind] if five else {0, 1, 2, 0x80})
