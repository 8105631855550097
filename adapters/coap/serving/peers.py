"""The message layer's view of one address: its Message IDs and what is on its way to it.

RFC 7252 sections 4.2 (retransmission), 4.5 (de-duplication) and 4.7 (congestion control). Pure.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from adapters.coap.serving.turn import Client
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.coap.serving.datagram_turn import DatagramTurn

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
Send: TypeAlias = Callable[[bytes, Address], None]

ACK_TIMEOUT: Final = 2.0
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 4
EXCHANGE_LIFETIME: Final = 247.0
VERIFIED: Final = 600.0
"""Seconds for which a client that has shown where it is needs not to show it again."""
LARGEST: Final = 1024
"""Bytes of payload in one datagram (RFC 7252 section 4.6)."""
REMEMBERED: Final = 256
"""Requests of one peer whose answers are kept for duplicates; up to twice as many for a while."""
REMEMBERED_IN_ALL = 200_000
"""Of all peers together: some 60 MB. Who was there first is forgotten first."""
QUEUED: Final = 64
"""Confirmable messages that wait for their turn with one peer."""
FAR: Final = 1 << 30
"""More bytes than any answer has: the allowance of who has shown where it is."""


class Watch(Protocol):
    """Who wants to know what becomes of a message."""

    def acknowledged(self) -> None:
        """The peer has it."""
        ...

    def rejected(self) -> None:
        """The peer reset it, or never acknowledged it."""
        ...


class Peer(Client):
    """One address."""

    __slots__ = (
        "at",
        "in_flight",
        "next_id",
        "pending",
        "recent",
        "seen",
        "unconfirmed",
        "verified",
        "waiting",
    )

    def __init__(self, at: Address, principal: Principal, first_id: int) -> None:
        super().__init__(at[0], principal, LARGEST)
        self.at = at
        self.recent: dict[bytes, tuple[float, bytes]] = {}
        """By Message ID, as it is on the wire: when the last requests came, and their answers."""
        self.pending: dict[bytes, DatagramTurn] = {}
        """Requests that wait for their answers, by Message ID."""
        self.next_id = first_id
        self.seen = 0.0
        self.verified = 0.0
        """Until when the client is known to be there; on the loop's clock."""
        self.in_flight: Confirmable | None = None
        self.waiting: deque[Confirmable] = deque()
        self.unconfirmed: dict[int, Watch] = {}
        """The last non-confirmable notifications: a reset of one ends its observation."""

    def is_verified(self, now: float) -> bool:
        """Return whether it has shown that it is where its datagrams come from."""
        return now < self.verified

    def new_id(self) -> int:
        """Return a Message ID that was not used for long."""
        self.next_id = message_id = (self.next_id + 1) & 0xFFFF
        return message_id

    def is_idle(self, now: float) -> bool:
        """Return whether nothing would be lost with it."""
        return (
            not self.observations
            and self.in_flight is None
            and not self.open
            and self.seen + EXCHANGE_LIFETIME <= now
        )

    def remember(self, message_id: int, watch: Watch) -> None:
        """Note a non-confirmable message that the peer may reset."""
        if len(self.unconfirmed) >= QUEUED:
            del self.unconfirmed[next(iter(self.unconfirmed))]
        self.unconfirmed[message_id] = watch


class Confirmable:
    """A message that is sent again until it is acknowledged (RFC 7252 section 4.2).

    ``allowance`` is how many bytes may go to an address that did not show that it is there.
    """

    __slots__ = ("allowance", "attempts", "data", "due", "message_id", "peer", "timeout", "watch")

    def __init__(
        self, peer: Peer, data: bytes, message_id: int, watch: Watch | None, allowance: int
    ) -> None:
        self.peer = peer
        self.data = data
        self.message_id = message_id
        self.watch = watch
        self.allowance = allowance
        self.attempts = 0
        self.due = self.timeout = 0.0


class Outgoing:
    """The confirmable messages of a listener: one on its way to each peer (NSTART = 1)."""

    def __init__(self, send: Send, random: Callable[[], float]) -> None:
        self.send = send
        self._random = random
        self.flying: dict[Confirmable, None] = {}

    def add(self, message: Confirmable, now: float) -> None:
        """Send a message, or let it wait until those before it are acknowledged."""
        peer = message.peer
        if peer.in_flight is None:
            self._begin(message, now)
        elif len(peer.waiting) < QUEUED:
            peer.waiting.append(message)
        elif message.watch is not None:
            message.watch.rejected()

    def acknowledged(self, peer: Peer, message_id: int, now: float) -> None:
        """The peer acknowledged a message."""
        message = peer.in_flight
        if message is not None and message.message_id == message_id:
            self._end(message, now)
            if message.watch is not None:
                message.watch.acknowledged()

    def reset(self, peer: Peer, message_id: int, now: float) -> None:
        """The peer does not know what a message is about, or wants no more of it."""
        message = peer.in_flight
        watch = peer.unconfirmed.pop(message_id, None)
        if message is not None and message.message_id == message_id:
            watch = message.watch
            self._end(message, now)
        if watch is not None:
            watch.rejected()

    def sweep(self, now: float) -> None:
        """Send again what is due; give up what was sent often enough."""
        for message in [one for one in self.flying if one.due <= now]:
            if message.attempts > MAX_RETRANSMIT:
                self._end(message, now)
                if message.watch is not None:
                    message.watch.rejected()
            else:
                self._transmit(message, now)

    def forget(self, peer: Peer) -> None:
        """Give up everything that is on its way to a peer."""
        if peer.in_flight is not None:
            del self.flying[peer.in_flight]
            peer.in_flight = None
        peer.waiting.clear()

    def _begin(self, message: Confirmable, now: float) -> None:
        message.peer.in_flight = message
        self.flying[message] = None
        message.timeout = ACK_TIMEOUT * (1 + (ACK_RANDOM_FACTOR - 1) * self._random())
        self._transmit(message, now)

    def _transmit(self, message: Confirmable, now: float) -> None:
        message.attempts += 1
        message.due = now + message.timeout
        message.timeout *= 2
        message.allowance -= len(message.data)
        if message.allowance >= 0:
            self.send(message.data, message.peer.at)

    def _end(self, message: Confirmable, now: float) -> None:
        peer = message.peer
        del self.flying[message]
        peer.in_flight = None
        if peer.waiting:
            self._begin(peer.waiting.popleft(), now)
