"""Bytes of a connection into packets and back, whichever version its client speaks."""

from adapters.mqtt.wire import codec5, codec311, decode5
from adapters.mqtt.wire.fields import Reader
from adapters.mqtt.wire.packets import (
    CONNECT,
    V5,
    V311,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Malformed,
    Packet,
    Reason,
    Suback,
    Unsuback,
)

PINGRESP_BYTES = b"\xd0\0"
CONNECT_LIMIT = 64 * 1024 + 8 * 1024
"""The largest CONNECT, in bytes: a will may fill a field, but whoever sends it is not known yet."""
OTHER_LIMIT = 72 * 1024
"""The largest packet that is neither CONNECT nor PUBLISH, in bytes: it is read at once."""

_CONNECT = {V311: codec311.connect, V5: decode5.connect}
_PUBLISH = {V311: codec311.publish, V5: decode5.publish}
_OTHER = {V311: codec311.decode, V5: decode5.decode}
_LARGE = {0x10, 0x30}
_PLAIN = {0x40, 0x50, 0x62, 0x70}
"""First bytes of the acknowledgements, which mostly say nothing but what they acknowledge."""
_Spoken = Ack | Connack | Suback | Unsuback | Disconnect


class Decoder:
    """What a client sends, packet by packet. ``limit`` is its largest whole packet, in bytes.

    ``version`` is 0 until CONNECT said which it is, then 4 or 5; ``level`` is what CONNECT asked
    for, served or not; ``held`` is what came of a packet that is not all there. An
    ``error`` is final: what is fed after it is not looked at.
    """

    __slots__ = ("_connected", "_needed", "error", "held", "level", "limit", "version")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.level = 0
        self.version = 0
        self.error: Malformed | None = None
        self._connected = False
        self.held: bytearray | None = None
        self._needed = 0

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that are complete now, those before an error included."""
        packets: list[Packet] = []
        if self.error is not None:
            return packets
        if self.held is not None:
            self.held += data
            if len(self.held) < self._needed:
                return packets
            data = bytes(self.held)
            self.held = None
        try:
            at = self._parse(data, packets)
        except Malformed as error:
            self.error = error
        else:
            if at < len(data):
                self.held = bytearray(memoryview(data)[at:])
        return packets

    def _parse(self, data: bytes, packets: list[Packet]) -> int:
        """Append the complete packets in ``data``; return where the incomplete rest begins."""
        at, end = 0, len(data)
        publish = _PUBLISH[self.version] if self._connected else None
        limit = self.limit if publish is not None else min(self.limit, CONNECT_LIMIT)
        while end - at >= 2:
            first, length = data[at], data[at + 1]
            start = at + 2
            if publish is None and first != CONNECT << 4:
                raise Malformed(Reason.PROTOCOL_ERROR, "the first packet is not CONNECT")
            if length >= 0x80:
                start, length = _length(data, at + 1, end)
                if not start:
                    self._needed = end - at + 1
                    return at
            stop = start + length
            if stop - at > limit:
                raise Malformed(Reason.PACKET_TOO_LARGE, f"a packet of {stop - at} bytes")
            if stop - at > OTHER_LIMIT and first & 0xF0 not in _LARGE:
                raise Malformed(Reason.QUOTA_EXCEEDED, f"more than {OTHER_LIMIT} bytes at once")
            if stop > end:
                self._needed = stop - at
                return at
            if publish is None:
                packets.append(self._connect(data[start:stop]))
                publish, limit = _PUBLISH[self.version], self.limit
            elif first & 0xF0 == 0x30:
                packets.append(publish(data, first, start, stop))
            else:
                packets.append(self._other(first, data[start:stop]))
            at = stop
        self._needed = 2
        return at

    def _connect(self, body: bytes) -> Connect:
        """Read the first packet: its protocol level says which version follows (3.1.2.2)."""
        reader = Reader(body)
        name = reader.binary()
        self.level = reader.byte()
        if name != b"MQTT" or self.level not in _CONNECT:
            raise Malformed(Reason.UNSUPPORTED_PROTOCOL_VERSION, "neither MQTT 3.1.1 nor MQTT 5.0")
        self.version = self.level
        packet = _CONNECT[self.version](reader)
        self._connected = True
        return packet

    def _other(self, first: int, body: bytes) -> Packet:
        if first in _PLAIN and len(body) == 2 and body != b"\0\0":
            return Ack(first >> 4, body[0] << 8 | body[1])
        if first >> 4 == CONNECT:  # [MQTT-3.1.0-2]
            raise Malformed(Reason.PROTOCOL_ERROR, "a second CONNECT")
        return _OTHER[self.version](first, body)


def _length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return where the fixed header ends and the remaining length; 0 when more bytes must come."""
    reader = Reader(data, at, min(end, at + 4))
    if all(byte >= 0x80 for byte in data[at : reader.stop]) and reader.stop < at + 4:
        return 0, 0
    length = reader.variable()
    return reader.at, length


def encode(packet: Packet, version: int, limit: int = 0) -> bytes:
    """Return a server's packet as bytes, b"" when the version has no such packet.

    ``limit`` is the client's Maximum Packet Size, 0 for none: what explains (the reason string,
    user properties) is left out where it does not fit ([MQTT-3.2.2-19], -20 and their likes in
    every section). b"" too when it does not fit even so, as it must not be sent [MQTT-3.1.2-24].
    """
    if version == V311:
        encoded = codec311.encode(packet)
    else:
        encoded = codec5.encode(packet)
    if not limit or len(encoded) <= limit:
        return encoded
    if isinstance(packet, _Spoken) and (packet.why or packet.attributes):
        why, attributes = packet.why, packet.attributes
        packet.why, packet.attributes = "", ()
        encoded = codec5.encode(packet)
        packet.why, packet.attributes = why, attributes
    return encoded if len(encoded) <= limit else b""
