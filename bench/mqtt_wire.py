"""MQTT packets for load: written once, counted and acknowledged without decoding more than needed.

Versions are the protocol levels of CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5.
"""

import socket
import struct
import time
from collections.abc import Iterator

MARK = b"\xff\xff"
"""Once in each payload. No UTF-8 text holds it, so that messages can be counted in any piece."""
PAYLOAD = b"x" * 31 + MARK + b"x" * 31
PUBACK = 0x40
_ACK = struct.Struct(">BBH")
_WIDTHS = {
    **dict.fromkeys((0x01, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
"""Properties that are numbers, in bytes (MQTT 5, 2.2.2.2)."""
_RECEIVE_MAXIMUM, _SUBSCRIPTION, _USER = 0x21, 0x0B, 0x26
_PATIENCE = 30
"""Seconds without an answer, after which something is wrong."""


def length_of(number: int) -> bytes:
    """Return a variable byte integer."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: str | bytes) -> bytes:
    """Return a string or binary data with its length before it."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def packet(head: int, body: bytes) -> bytes:
    return bytes((head,)) + length_of(len(body)) + body


def connect(version: int, client: str, user: str, password: str) -> bytes:
    """Return a CONNECT with a clean start and no keep-alive."""
    flags = b"\xc2"  # user name, password, clean start
    head = text("MQTT") + bytes((version,)) + flags + b"\0\0" + (b"\0" if version == 5 else b"")
    return packet(0x10, head + text(client) + text(user) + text(password))


def subscribe(version: int, topic: str, qos: int) -> bytes:
    properties = b"\0" if version == 5 else b""
    return packet(0x82, b"\0\x01" + properties + text(topic) + bytes((qos,)))


def publish(
    version: int, topic: str, payload: bytes, qos: int, number: int = 0, properties: bytes = b""
) -> bytes:
    """Return a PUBLISH; ``number`` is its packet identifier where it has one."""
    head = text(topic) + (number.to_bytes(2, "big") if qos else b"")
    if version == 5:
        head += length_of(len(properties)) + properties
    return packet(0x30 | qos << 1, head + payload)


def split(data: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield where whole packets begin, where their variable headers begin, and where they end."""
    at, size = 0, len(data)
    while at + 1 < size:
        begin, length, shift = at + 1, 0, 0
        while begin < size:
            byte = data[begin]
            begin += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        else:
            return
        if begin + length > size:
            return
        yield at, begin, begin + length
        at = begin + length


class Acknowledger:
    """Reads what a subscriber at QoS 1 gets, and writes what it answers."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> tuple[int, bytes]:
        """Return how many messages the bytes hold, and their acknowledgements."""
        if self._rest:
            data = self._rest + data
        acks, end, pack = [], 0, _ACK.pack
        for at, begin, end in split(data):  # noqa: B007 - the last one is used
            if data[at] & 0xF6 == 0x32:
                number = begin + 2 + (data[begin] << 8 | data[begin + 1])
                acks.append(pack(PUBACK, 2, data[number] << 8 | data[number + 1]))
            elif data[at] >> 4 != 13:
                raise RuntimeError(f"a subscriber got {bytes(data[at : at + 20])!r}")
        self._rest = bytes(data[end:])
        return len(acks), b"".join(acks)


class Client:
    """A connected client on a blocking socket; ``window`` is how much the server takes unacked."""

    def __init__(
        self, port: int, version: int, client: str, login: tuple[str, str], source: str = ""
    ) -> None:
        self.version = version
        address = (source, 0) if source else None
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE, address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A time-out of Python's costs a system call for each read; the kernel's does not.
        self.socket.setblocking(True)
        patience = struct.pack("ll", _PATIENCE, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.socket.sendall(connect(version, client, *login))
        connack = self.read()
        _, begin, _ = next(split(connack))
        if connack[0] != 0x20 or connack[begin + 1]:
            raise RuntimeError(f"CONNECT was refused: {connack!r}")
        said = properties_of(connack, begin + 2) if version == 5 else {}
        self.window = int.from_bytes(said.get(_RECEIVE_MAXIMUM, b"\xff\xff"), "big")

    def subscribe(self, topic: str, qos: int, pause: float = 0.05) -> None:
        """Subscribe, and let go of a retained message that comes within ``pause`` seconds."""
        self.socket.sendall(subscribe(self.version, topic, qos))
        answer = self.read()
        if answer[0] != 0x90 or answer[-1] != qos:
            raise RuntimeError(f"SUBSCRIBE was refused: {answer!r}")
        time.sleep(pause)
        self.socket.setblocking(False)
        try:
            retained = self.socket.recv(65_536)
            if retained[0] & 0xF6 == 0x32:
                self.socket.sendall(Acknowledger().take(retained)[1])
        except BlockingIOError:
            pass
        self.socket.setblocking(True)

    def read(self) -> bytes:
        """Return the next packet; only where nothing else follows it."""
        data = b""
        while True:
            piece = self.socket.recv(65_536)
            if not piece:
                raise RuntimeError(f"the server closed the connection after {data!r}")
            data += piece
            for at, _, end in split(data):
                return data[at:end]

    def close(self) -> None:
        self.socket.close()


def properties_of(data: bytes, at: int) -> dict[int, bytes]:
    """Return the properties that begin with their length at ``at``; of user properties the last."""
    length, at = _number(data, at)
    end, found = at + length, {}
    while at < end:
        kind = data[at]
        at += 1
        if kind == _SUBSCRIPTION:
            _, at = _number(data, at)
        elif kind in _WIDTHS:
            found[kind] = data[at : at + _WIDTHS[kind]]
            at += _WIDTHS[kind]
        else:
            # What is no number is a string or binary data, and a user property is two strings.
            for _ in range(2 if kind == _USER else 1):
                size = data[at] << 8 | data[at + 1]
                found[kind] = data[at + 2 : at + 2 + size]
                at += 2 + size
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
