"""Load for CoAP servers over UDP: each client has one request under way (RFC 7252, NSTART = 1).

A client takes a port of its own for each run and ends before its message ids come again, because an
id that comes again within EXCHANGE_LIFETIME is a duplicate that a server need not work for.
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from adapters.coap.wire.codec import decode
from bench.asking import SILENCE

GET, POST, PUT = 1, 2, 3
CON, NON, ACK = 0, 1, 2
URI_PATH, CONTENT_FORMAT, ECHO = 11, 12, 252
UNAUTHORIZED = 0x81
JSON = 50
_MOST = 65_000
"""Requests of one client in one run."""
_NUMBERS = [number.to_bytes(2, "big") for number in range(_MOST)]
_HAD: set[tuple[int, int]] = set()
"""Ports of servers, and those that their clients have had."""

Next = Callable[[int], bytes]
"""Makes the request with a number, which is its message id and its token."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and the answer that is expected: its code, and how its payload ends."""

    code: int
    path: str
    payload: bytes = b""
    expected: int = 0x45
    answer: bytes = b""

    def next(self, kind: int, echo: bytes = b"") -> Next:
        """Return what makes the datagrams; ``echo`` shows the server that its answers arrive."""
        head = bytes((0x42 | kind << 4, self.code))
        rest, numbers = self._rest(echo), _NUMBERS
        return lambda number: head + numbers[number] + numbers[number] + rest

    def _rest(self, echo: bytes) -> bytes:
        """Return what follows the token."""
        out, last = b"", 0
        options = [(URI_PATH, part.encode()) for part in self.path.split("/")]
        if self.payload:
            options.append((CONTENT_FORMAT, bytes((JSON,))))
        if echo:
            options.append((ECHO, echo))
        for number, value in options:
            out += option(number - last, value)
            last = number
        return out + (b"\xff" + self.payload if self.payload else b"")


class Client:
    """One client at a port of its own."""

    most = _MOST - 1

    def __init__(self, port: int, request: Request, kind: int) -> None:
        self.socket = _new_socket(port)
        patience = struct.pack("ll", int(SILENCE), 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._request = request
        self._kind = kind
        self._make = request.next(kind)
        self._first = request.next(kind, b"?")
        self._expected = request.expected
        self._answer = request.answer
        self.number = 0

    def ask(self) -> None:
        """Send the next request; the first says that this client knows what an Echo is."""
        make = self._make if self.number else self._first
        self.socket.send(make(self.number))

    def answered(self) -> bool:
        """Read a datagram; return whether it is the answer."""
        data = self.socket.recv(2048)
        if data[1] == 0 and data[0] >> 4 & 3 == ACK:
            return False  # The answer comes by itself.
        if data[1] == UNAUTHORIZED and not self.number:
            return self._prove(data)
        if (
            data[1] != self._expected
            or data[4:6] != _NUMBERS[self.number]
            or not data.endswith(self._answer)
        ):
            raise RuntimeError(f"request {self.number} was answered by {data!r}")
        if data[0] >> 4 & 3 == CON:
            self.socket.send(bytes((0x60, 0)) + data[2:4])
        self.number += 1
        return True

    def _prove(self, data: bytes) -> bool:
        """Ask again with the Echo option that a server wants from a new address (RFC 9175)."""
        echo = decode(data).value(ECHO)
        if echo is None:
            raise RuntimeError(f"the first request was answered by {data!r}")
        again = self._request.next(self._kind, echo)(_MOST - 1)
        # A message id of its own, and the token of the request.
        self.socket.send(again[:4] + _NUMBERS[0] + again[6:])
        return False


def _new_socket(port: int) -> socket.socket:
    """Return a socket at a port that no client of this server has had before."""
    unwanted = []
    while True:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(("127.0.0.1", port))
        mine = made.getsockname()[1]
        if (port, mine) not in _HAD:
            break
        unwanted.append(made)
    for each in unwanted:
        each.close()
    _HAD.add((port, mine))
    return made


def ask_once(port: int, request: Request) -> None:
    """Ask one client's one request."""
    client = Client(port, request, CON)
    client.ask()
    while not client.answered():
        pass
    client.socket.close()


def option(delta: int, value: bytes) -> bytes:
    """Return an option (RFC 7252, 3.1)."""
    extended = b"" if delta < 13 else bytes((delta - 13,))
    if len(value) < 13:
        return bytes((min(delta, 13) << 4 | len(value),)) + extended + value
    return bytes((min(delta, 13) << 4 | 13,)) + extended + bytes((len(value) - 13,)) + value
