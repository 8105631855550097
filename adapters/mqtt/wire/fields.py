"""The data types of MQTT packets (MQTT 5.0 section 1.5), read from bytes of unknown origin."""

from adapters.mqtt.wire.packets import Malformed, Reason

LARGEST = 268_435_455
"""The largest Variable Byte Integer (section 1.5.5)."""


class Reader:
    """Takes fields off a packet's bytes; whatever is not there or not valid raises Malformed."""

    __slots__ = ("at", "data", "stop")

    def __init__(self, data: bytes, at: int = 0, stop: int | None = None) -> None:
        self.data = data
        self.at = at
        self.stop = len(data) if stop is None else stop

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        at = self.at
        self.at = end = at + count
        if end > self.stop:
            raise Malformed(Reason.MALFORMED_PACKET, "a field reaches beyond the packet's end")
        return self.data[at:end]

    def byte(self) -> int:
        """Return the next byte."""
        at = self.at
        if at >= self.stop:
            raise Malformed(Reason.MALFORMED_PACKET, "the packet ends before a field")
        self.at = at + 1
        return self.data[at]

    def two(self) -> int:
        """Return a Two Byte Integer."""
        at = self.at
        self.at = end = at + 2
        if end > self.stop:
            raise Malformed(Reason.MALFORMED_PACKET, "the packet ends before a field")
        return self.data[at] << 8 | self.data[at + 1]

    def four(self) -> int:
        """Return a Four Byte Integer."""
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        """Return a Variable Byte Integer; the shortest form only [MQTT-1.5.5-1]."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise Malformed(Reason.MALFORMED_PACKET, "a length has more than four bytes")
        if not byte and shift:
            raise Malformed(Reason.MALFORMED_PACKET, "a length is longer than it needs to be")
        return value

    def binary(self) -> bytes:
        """Return Binary Data."""
        return self.take(self.two())

    def text(self) -> str:
        """Return a UTF-8 Encoded String; written out, for messages are full of them."""
        at, data = self.at, self.data
        begin = at + 2
        end = begin + (data[at] << 8 | data[at + 1]) if begin <= self.stop else begin
        if end > self.stop:
            raise Malformed(Reason.MALFORMED_PACKET, "a string reaches beyond the packet's end")
        self.at = end
        return utf8(data[begin:end])

    def packet_id(self) -> int:
        """Return a Packet Identifier, which is never 0 [MQTT-2.2.1-3]."""
        number = self.two()
        if not number:
            raise Malformed(Reason.PROTOCOL_ERROR, "a packet identifier is 0")
        return number

    def end(self) -> None:
        """Refuse what follows the last field."""
        if self.at != self.stop:
            raise Malformed(Reason.MALFORMED_PACKET, "the packet is longer than its fields")


def utf8(raw: bytes) -> str:
    """Return a string: well-formed UTF-8 without NUL [MQTT-1.5.4-1] [MQTT-1.5.4-2].

    A BOM stays in it [MQTT-1.5.4-3].
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Malformed(Reason.MALFORMED_PACKET, "a string is not UTF-8") from None
    if "\0" in text:
        raise Malformed(Reason.MALFORMED_PACKET, "a string contains NUL")
    return text


def variable(value: int) -> bytes:
    """Return a Variable Byte Integer."""
    if value < 0x80:
        return bytes((value,))
    if value > LARGEST:
        raise Malformed(Reason.PACKET_TOO_LARGE, "no MQTT packet can be that large")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def binary(raw: bytes) -> bytes:
    """Return Binary Data, or a string that is encoded already."""
    if len(raw) > 0xFFFF:
        raise Malformed(Reason.PACKET_TOO_LARGE, "a field is longer than 65,535 bytes")
    return len(raw).to_bytes(2, "big") + raw
