"""CoAP over datagrams: from bytes to requests and back (RFC 7252 section 4).

``received`` is the fast path: equal options of many requests are read once, nothing is copied
twice, and an answer that fits one datagram is one join. No task, no timer, no await.
"""

from collections.abc import Callable
from typing import Final

from adapters.coap.serving.asked import Asked, Bad, read_options
from adapters.coap.serving.datagram_turn import AMPLIFICATION, DatagramTurn
from adapters.coap.serving.echo import Echoes
from adapters.coap.serving.peers import (
    EXCHANGE_LIFETIME,
    FAR,
    REMEMBERED,
    REMEMBERED_IN_ALL,
    VERIFIED,
    Address,
    Outgoing,
    Peer,
    Send,
)
from adapters.coap.serving.service import Service
from adapters.coap.serving.turn import NOT_ALLOWED
from adapters.coap.wire.codec import (
    ACK,
    CON,
    EMPTY,
    MARKER,
    MAX_TOKEN,
    METHODS,
    NON,
    RST,
    FormatError,
    decode,
    empty,
)
from adapters.coap.wire.options import recognised
from gateway.message import Refusal, Status
from policy.model import Principal

SOON: Final = 0.05
"""Seconds after which a request whose answer is not there yet is acknowledged (section 5.2.2)."""
KNOWN: Final = 4096
KNOWN_BYTES: Final = 512
"""Options that are remembered with what they mean: how many, and how long at most."""
OPEN: Final = 64
"""Requests of one peer that wait for their answers."""
EVICTED: Final = 64
NO_OPTIONS: Final = Asked()
Proved = Callable[[Address], Principal | None]
"""Returns who has proved to be at an address, None for nobody."""


class Messages:
    """The message layer of one socket. ``clock`` is the loop's, ``random`` as random.random.

    ``proved`` returns who has proved to be at an address, where a layer below asks for that.
    """

    def __init__(
        self,
        service: Service,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        send: Send,
        key: bytes,
        peers: int,
        proved: Proved | None = None,
    ) -> None:
        self.service = service
        self.send = send
        self.now = 0.0
        self.echoes = Echoes(key)
        self.outgoing = Outgoing(send, random)
        self.peers: dict[Address, Peer] = {}
        self.received_count = 0
        self.kept = 0
        """Answers that are kept for duplicates, of all peers."""
        self._clock = clock
        self._random = random
        self._most = peers
        self._proved = proved
        self._plane = service.plane
        self.known: dict[bytes, Asked] = {}
        """What options mean that came before, by their bytes."""
        self.open: dict[DatagramTurn, None] = {}
        """Requests that wait for their answers, the oldest first."""

    def received(self, data: bytes, address: Address) -> None:
        """Take a datagram."""
        self.now = self._plane.now = now = self._clock()
        self.received_count += 1
        if len(data) < 4:
            return
        first, code = data[0], data[1]
        if not (0x40 <= first < 0x60 and 0 < code < 32 and first & 15 <= MAX_TOKEN):
            self._other(data, address)
            return
        peer = self.peers.get(address)
        if peer is None:
            peer = self._new_peer(address)
        message_id = data[2:4]
        known = peer.recent.get(message_id)
        if known is not None and now < known[0] + EXCHANGE_LIFETIME:
            self._again(peer, known[1], data)
            return
        if peer.pending and message_id in peer.pending:
            self._again(peer, peer.pending[message_id].sent, data)
            return
        peer.seen = now
        self._request(data, peer, message_id, 4 + (first & 15))

    def _request(self, data: bytes, peer: Peer, message_id: bytes, start: int) -> None:
        """Take a request that is no duplicate."""
        end = data.find(MARKER, start)
        if 0 <= end < len(data) - 1:
            options, payload = data[start:end], data[end + 1 :]
        else:
            options, payload = data[start:], b""
        asked = self.known.get(options)
        turn = DatagramTurn(self, peer, data, message_id, data[4:start], asked or NO_OPTIONS)
        if asked is None:
            read = self._read(turn, data)
            if read is None:
                return
            payload = read
            if turn.answered:
                return
        if peer.open >= OPEN:
            turn.refuse(Refusal(Status.THROTTLED, "too many requests at once", retry_after=1))
            return
        self.service.start(turn, payload)
        if not turn.answered:
            turn.waiting = True
            peer.open += 1
            peer.pending[message_id] = turn
            self.open[turn] = None

    def keep(self, peer: Peer, message_id: bytes, began: float, answer: bytes) -> None:
        """Keep a request's answer for its duplicates; the oldest ones give way."""
        recent = peer.recent
        recent[message_id] = (began, answer)
        self.kept += 1
        if len(recent) > 2 * REMEMBERED:
            for each in tuple(recent)[:REMEMBERED]:
                del recent[each]
            self.kept -= REMEMBERED
        if self.kept > REMEMBERED_IN_ALL:
            self._forget_answers()

    def sweep(self, now: float) -> None:
        """Acknowledge what takes longer, send again what was not acknowledged, forget the idle."""
        self.now = now
        for turn in tuple(self.open):
            if now - turn.begun < SOON:
                break  # those behind it are younger
            if turn.reliable and not turn.acknowledged:
                turn.acknowledge()
        self.outgoing.sweep(now)

    def forget_idle(self, now: float) -> None:
        """Forget peers that nothing is known of any longer that matters."""
        for peer in [one for one in self.peers.values() if one.is_idle(now)]:
            self._forget(peer)
        # An ID that comes again after its time was counted twice.
        self.kept = sum(len(peer.recent) for peer in self.peers.values())

    def forget(self, address: Address) -> None:
        """Forget an address, and what it has open."""
        peer = self.peers.get(address)
        if peer is not None:
            self._forget(peer)

    # Inside

    def _forget_answers(self) -> None:
        """Forget answers of the peers that were there first; they are the last ones then."""
        for address in tuple(self.peers):
            if self.kept <= REMEMBERED_IN_ALL * 3 // 4:
                return
            peer = self.peers[address] = self.peers.pop(address)
            self.kept -= len(peer.recent)
            peer.recent.clear()

    def _again(self, peer: Peer, sent: bytes, data: bytes) -> None:
        """A request came once more: send the same again (section 4.5)."""
        if data[0] >= 0x50 or not sent:
            return
        if self.now < peer.verified or len(sent) <= AMPLIFICATION * len(data):
            self.send(sent, peer.at)

    def _read(self, turn: DatagramTurn, data: bytes) -> bytes | None:
        """Read a request whose options are new; returns its payload, None if there is no request.

        What is wrong with the options is answered.
        """
        try:
            message = decode(data)
        except FormatError as error:
            if error.kind == CON:
                self.send(empty(RST, error.message_id), turn.peer.at)
            return None
        unknown = recognised(message.options)[1]
        if unknown is not None and message.kind == NON:
            return None  # rejected, as section 5.4.1 says
        if message.code not in METHODS:
            turn.fault(NOT_ALLOWED, f"there is no method {message.code}")
            return b""
        try:
            turn.asked = asked = read_options(self.service.site, message.options)
        except Bad as bad:
            turn.fault(bad.code, bad.detail)
            return b""
        if asked.lasting:
            self._remember(data, 4 + len(message.token), len(message.payload), asked)
        if asked.echo and self.echoes.check(asked.echo, turn.peer.at, self.now):
            turn.peer.verified = self.now + VERIFIED
            turn.allowance = FAR
        return message.payload

    def _remember(self, data: bytes, start: int, payload: int, asked: Asked) -> None:
        """Remember what options mean; what they are is all before the first 0xFF, or nothing is."""
        end = len(data) - payload - bool(payload)
        options = data[start:end]
        if MARKER in options or len(options) > KNOWN_BYTES:
            return
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[options] = asked

    def _other(self, data: bytes, address: Address) -> None:
        """Take what is no request: acknowledgements, resets, pings, and what nobody asked for."""
        try:
            message = decode(data)
        except FormatError as error:
            if error.kind == CON:
                self.send(empty(RST, error.message_id), address)
            return
        peer = self.peers.get(address)
        if message.kind == CON:
            # A ping (section 4.3), a response to nothing, or a class that does not exist.
            self.send(empty(RST, message.message_id), address)
        elif peer is None or message.kind == NON:
            return
        elif message.kind == RST and message.code == EMPTY:
            self.outgoing.reset(peer, message.message_id, self.now)
        elif message.kind == ACK and message.code == EMPTY:
            self.outgoing.acknowledged(peer, message.message_id, self.now)

    def _new_peer(self, address: Address) -> Peer:
        if len(self.peers) >= self._most:
            self._make_room()
        principal = self._proved(address) if self._proved is not None else None
        peer = Peer(address, principal or self.service.stranger, int(self._random() * 65536))
        if principal is not None:
            peer.verified = float("inf")
        if len(self.peers) < self._most:
            self.peers[address] = peer
        return peer

    def _make_room(self) -> None:
        """Forget some peers; who has shown that it is there, or observes, is asked last."""
        for address in tuple(self.peers)[:EVICTED]:
            peer = self.peers.pop(address)
            if peer.observations or peer.is_verified(self.now):
                self.peers[address] = peer
            else:
                self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self.peers.pop(peer.at, None)
        self.kept -= len(peer.recent)
        self.outgoing.forget(peer)
        self.service.transfers.forget(peer)
        for observation in tuple(peer.observations.values()):
            observation.close()
