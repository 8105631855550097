"""Load for CoAP servers over UDP: each client has one request under way (RFC 7252, NSTART = 1).

A client takes a new port for each run and ends it before its message ids come again, because an id
that comes again within EXCHANGE_LIFETIME is a duplicate that a server need not work for.
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bench.asking import SILENCE

GET, POST, PUT = 1, 2, 3
CON, NON, ACK = 0, 1, 2
URI_PATH, CONTENT_FORMAT = 11, 12
JSON = 50
_MOST = 65_000
"""Requests of one client in one run."""
_NUMBERS = [number.to_bytes(2, "big") for number in range(_MOST)]

Next = Callable[[int], bytes]
"""Makes the request with a number, which is its message id and its token."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and the code of the answer that is expected."""

    code: int
    path: str
    payload: bytes = b""
    expected: int = 0x45

    def next(self, kind: int) -> Next:
        """Return what makes the datagrams."""
        head = bytes((0x42 | kind << 4, self.code))
        rest, numbers = self.rest(), _NUMBERS
        return lambda number: head + numbers[number] + numbers[number] + rest

    def rest(self) -> bytes:
        """Return what follows the token."""
        out, last = b"", 0
        options = [(URI_PATH, part.encode()) for part in self.path.split("/")]
        if self.payload:
            options.append((CONTENT_FORMAT, bytes((JSON,))))
        for number, value in options:
            out += _option(number - last, value)
            last = number
        return out + (b"\xff" + self.payload if self.payload else b"")


class Client:
    """One client at a port of its own."""

    most = _MOST

    def __init__(self, port: int, make: Next, expected: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        patience = struct.pack("ll", int(SILENCE), 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._make = make
        self._expected = expected
        self.number = 0

    def ask(self) -> None:
        """Send the next request."""
        self.socket.send(self._make(self.number))

    def answered(self) -> bool:
        """Read a datagram; return whether it is the answer."""
        data = self.socket.recv(2048)
        if data[1] == 0 and data[0] >> 4 & 3 == ACK:
            return False  # The answer comes by itself.
        if data[1] != self._expected or data[4:6] != _NUMBERS[self.number]:
            raise RuntimeError(f"request {self.number} was answered by {data!r}")
        if data[0] >> 4 & 3 == CON:
            self.socket.send(bytes((0x60, 0)) + data[2:4])
        self.number += 1
        return True


def _option(delta: int, value: bytes) -> bytes:
    """Return an option with a small delta (RFC 7252, 3.1)."""
    if len(value) < 13:
        return bytes((delta << 4 | len(value),)) + value
    return bytes((delta << 4 | 13, len(value) - 13)) + value
