"""Discovery by multicast: who asks the whole network is answered in its own time (RFC 7252
section 8).

Only ``GET /.well-known/core`` is answered, only with links that anybody may see, never with an
error, and after a random part of the leisure, so that not all servers answer at once.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

from adapters.coap.serving.asked import Bad, read_options
from adapters.coap.serving.datagram_turn import AMPLIFICATION, HEADER
from adapters.coap.serving.peers import LARGEST, Address
from adapters.coap.serving.turn import ERROR, Client, Turn
from adapters.coap.wire.codec import GET, NON, FormatError, Message, decode, encode
from adapters.coap.wire.options import Options, option_bytes, ordered, recognised

if TYPE_CHECKING:
    from adapters.coap.serving.asked import Asked
    from adapters.coap.serving.service import Service

GROUPS: Final = {4: "224.0.1.187", 6: "ff02::fd"}
"""All CoAP nodes (RFC 7252 section 12.8); of IPv6 those on the link."""
LEISURE: Final = 5.0
"""Seconds (section 8.2)."""
WAITING: Final = 64
"""Answers that may wait; further questions are not answered."""


class GroupTurn(Turn):
    """One question to everybody."""

    __slots__ = ("_allowance", "_message_id", "_send_later")

    def __init__(
        self,
        service: "Service",
        address: str,
        message: Message,
        asked: "Asked",
        size: int,
        send_later: Callable[[bytes], None],
        message_id: int,
    ) -> None:
        client = Client(address, service.stranger, LARGEST)
        super().__init__(service, client, message.code, message.token, asked)
        self._allowance = AMPLIFICATION * size
        self._send_later = send_later
        self._message_id = message_id

    def room(self, options: Options) -> int:
        """Return how many bytes of payload may go to where the question seems to come from."""
        head = HEADER + len(self.token) + len(option_bytes(ordered(options)))
        return max(0, min(LARGEST, self._allowance - head))

    def send(self, code: int, options: Options, payload: bytes) -> None:
        """Send the answer after a while, unless it is an error or says nothing."""
        if code < ERROR and payload:
            message = Message(NON, code, self._message_id, self.token, options, payload)
            self._send_later(encode(message))

    def suppress(self) -> None:
        """Send nothing."""

    def challenge(self) -> None:
        """Send nothing: errors are not for groups."""


class Group:
    """The socket of a group (asyncio.DatagramProtocol by its methods); ``send`` is the listener's.

    ``random`` is as random.random.
    """

    def __init__(
        self,
        service: "Service",
        send: Callable[[bytes, Address], None],
        random: Callable[[], float],
        leisure: float = LEISURE,
    ) -> None:
        self._service = service
        self._send = send
        self._random = random
        self._leisure = leisure
        self._timers: set[asyncio.TimerHandle] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        """The socket is open."""
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        """The socket is closed."""
        for timer in self._timers:
            timer.cancel()

    def error_received(self, _exc: Exception) -> None:
        """Nothing is ever sent from here."""

    def datagram_received(self, data: bytes, address: Address) -> None:
        """Take a question (sections 8.1 and 8.2); everything else is ignored."""
        service = self._service
        try:
            message = decode(data)
            if message.kind != NON or message.code != GET or recognised(message.options)[1]:
                return
            asked = read_options(service.site, message.options)
        except (FormatError, Bad):
            return
        if asked.name or asked.oscore is not None or len(self._timers) >= WAITING:
            return

        def later(answer: bytes) -> None:
            self._later(answer, address)

        number = int(self._random() * 65536)
        turn = GroupTurn(service, address[0], message, asked, len(data), later, number)
        service.plane.now = asyncio.get_running_loop().time()
        service.start(turn, b"")

    def close(self) -> None:
        """Leave the group."""
        if self._transport is not None:
            self._transport.close()

    def _later(self, answer: bytes, address: Address) -> None:
        def send() -> None:
            self._timers.discard(timer)
            self._send(answer, address)

        delay = self._leisure * self._random()
        timer = asyncio.get_running_loop().call_later(delay, send)
        self._timers.add(timer)


async def join(group: Group, host: str, port: int) -> None:
    """Join the group of a listener's address on its interface; raises OSError."""
    version = ip_address(host).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 4:
            member = socket.inet_aton(GROUPS[4]) + socket.inet_aton(host)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            member = socket.inet_pton(family, GROUPS[6]) + struct.pack("@I", 0)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        opened.bind((GROUPS[version], port))
        opened.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: cast("Any", group), sock=opened)
    except OSError:
        opened.close()
        raise
