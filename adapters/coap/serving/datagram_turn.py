"""One request that came as a datagram, and its answer (RFC 7252 section 5.2)."""

from typing import TYPE_CHECKING, Final

from adapters.coap.serving.asked import Asked
from adapters.coap.serving.observations import Observation
from adapters.coap.serving.peers import FAR, LARGEST, Confirmable, Peer
from adapters.coap.serving.turn import CHANGED, CONTENT, UNAUTHORIZED, Turn, etag_of
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import (
    ACK,
    CON,
    FETCH,
    GET,
    MARKER,
    NON,
    POST,
    Message,
    empty,
    encode,
)
from adapters.coap.wire.formats import TYPES
from adapters.coap.wire.options import Options, one_option, option_bytes, ordered, uint_value
from gateway.message import Event, Reply, Status

if TYPE_CHECKING:
    from adapters.coap.serving.datagrams import Messages

AMPLIFICATION: Final = 3
"""How many times a request's size may be sent to where it seems to come from (RFC 9175)."""
HEADER: Final = 5
"""Bytes of an answer beside token, options and payload: the header and the payload marker."""
_OK: Final = Status.OK


def _tails(code: int) -> dict[bytes, bytes]:
    """Return what stands between a request's token and its answer's payload, by media type."""
    fresh = b"" if code == CHANGED else one_option(o.MAX_AGE - o.CONTENT_FORMAT, b"")
    bare = b"" if code == CHANGED else one_option(o.MAX_AGE, b"")
    tails = {
        media_type: one_option(o.CONTENT_FORMAT, uint_value(number)) + fresh + MARKER
        for number, media_type in TYPES.items()
    }
    return {**tails, b"": bare + MARKER}


_ETAG: Final = one_option(o.ETAG, bytes(8))[:1]
_VALUE_TAILS: Final = {
    media_type.decode(): one_option(o.CONTENT_FORMAT - o.ETAG, uint_value(number))
    + one_option(o.MAX_AGE - o.CONTENT_FORMAT, b"")
    + MARKER
    for number, media_type in TYPES.items()
}
_FIRST: Final = [bytes((first,)) for first in range(256)]
_TAILS: Final = {POST: _tails(CHANGED), GET: _tails(CONTENT), FETCH: _tails(CONTENT)}
_CODE: Final = {
    POST: bytes((CHANGED,)),
    GET: bytes((CONTENT,)),
    FETCH: bytes((CONTENT,)),
}


class DatagramTurn(Turn):
    """One request that came as a datagram, and its answer, kept for duplicates."""

    __slots__ = (
        "acknowledged",
        "allowance",
        "begun",
        "first",
        "message_id",
        "messages",
        "peer",
        "sent",
        "waiting",
    )

    def __init__(
        self,
        messages: "Messages",
        peer: Peer,
        data: bytes,
        message_id: bytes,
        token: bytes,
        asked: Asked,
    ) -> None:
        self.messages = messages
        self.service = messages.service
        self.client = self.peer = peer
        self.first = data[0]
        self.code = data[1]
        self.message_id = message_id
        self.token = token
        self.asked = asked
        self.begun = now = messages.now
        self.allowance = FAR if now < peer.verified else AMPLIFICATION * len(data)
        self.reliable = self.first < 0x50
        self.confirms = True
        self.payload = self.sent = b""
        self.answered = self.acknowledged = self.waiting = False
        self.exchange = None

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The reply began; most are all there, and fit one datagram."""
        tail = _TAILS[self.code].get(head.content_type)
        if (
            not end
            or tail is None
            or head.status is not _OK
            or head.code not in (0, 200)
            or not self._quickly(_CODE[self.code], tail if body else tail[:-1], body)
        ):
            super().reply(head, body, end)

    def changed(self) -> None:
        """Answer that an event is published."""
        if not self._quickly(_CODE[POST], b"", b""):
            super().changed()

    def last_value(self, event: Event, options: Options) -> None:
        """Answer with a channel's last value."""
        body = event.payload
        tail = _VALUE_TAILS.get(event.content_type)
        if tail is None or not body or not self.asked.plain:
            super().last_value(event, options)
            return
        if not self._quickly(_CODE[GET], b"".join((_ETAG, etag_of(event), tail)), body):
            super().last_value(event, options)

    def _quickly(self, code: bytes, tail: bytes, body: bytes) -> bool:
        """Send an answer that fits one datagram; return whether it was as simple as that."""
        first, message_id = self.first, self.message_id
        if self.acknowledged or not self.asked.plain or len(body) > LARGEST:
            return False
        if first < 0x50:
            first += 0x20  # piggybacked: an acknowledgement of the same ID
        else:
            message_id = self.peer.new_id().to_bytes(2)
        data = b"".join((_FIRST[first], code, message_id, self.token, tail, body))
        if len(data) > self.allowance:
            return False
        self.answered = True
        if self.waiting:
            self._ended()
        messages, peer = self.messages, self.peer
        messages.keep(peer, self.message_id, self.begun, data if self.reliable else b"")
        messages.send(data, peer.at)
        return True

    def _ended(self) -> None:
        """The answer goes out after a wait."""
        self.waiting = False
        self.exchange = None
        self.peer.open -= 1
        del self.peer.pending[self.message_id]
        del self.messages.open[self]

    def room(self, options: Options) -> int:
        """Return how many bytes of payload may go to where the request seems to come from."""
        if self.allowance >= FAR:
            return LARGEST
        head = HEADER + len(self.token) + len(option_bytes(ordered(options)))
        return max(0, min(LARGEST, self.allowance - head))

    def send(self, code: int, options: Options, payload: bytes) -> None:
        """Send the answer: with the acknowledgement, or by itself when that has gone already."""
        if self.waiting:
            self._ended()
        first, messages, peer = self.first, self.messages, self.peer
        separate = self.acknowledged
        if first < 0x50 and not separate:
            kind, message_id = ACK, int.from_bytes(self.message_id)
        else:
            kind, message_id = CON if separate else NON, peer.new_id()
        data = encode(Message(kind, code, message_id, self.token, options, payload))
        if len(data) > self.allowance:
            data = encode(Message(kind, code, message_id, self.token, [], b""))
        if separate:
            messages.keep(peer, self.message_id, self.begun, self.sent)
            messages.outgoing.add(
                Confirmable(peer, data, message_id, None, self.allowance), messages.now
            )
            return
        self.allowance -= len(data)
        messages.keep(peer, self.message_id, self.begun, data if self.reliable else b"")
        messages.send(data, peer.at)

    def suppress(self) -> None:
        """Send nothing but the acknowledgement (RFC 7967 section 2)."""
        if self.waiting:
            self._ended()
        if self.reliable and not self.acknowledged:
            self.acknowledge()
        self.messages.keep(self.peer, self.message_id, self.begun, self.sent)

    def acknowledge(self) -> None:
        """Say that the request is here; its answer will come later (section 5.2.2)."""
        self.acknowledged = True
        self.sent = empty(ACK, int.from_bytes(self.message_id))
        self.allowance -= len(self.sent)
        self.messages.send(self.sent, self.peer.at)

    def challenge(self) -> None:
        """Answer 4.01 with an Echo option, which the client repeats with its request."""
        messages, peer = self.messages, self.peer
        value = messages.echoes.make(peer.at, messages.now)
        self.answered = True
        self.send(UNAUTHORIZED, [(o.MAX_AGE, b""), (o.ECHO, value)], b"")

    def trust(self) -> None:
        """The request proves who sent it: its answer may be as large as it is."""
        self.allowance = FAR

    def notify(
        self,
        code: int,
        options: Options,
        payload: bytes,
        watch: Observation | None,
        *,
        confirmable: bool,
    ) -> None:
        """Send a notification."""
        messages, peer = self.messages, self.peer
        message_id = peer.new_id()
        kind = CON if confirmable else NON
        data = encode(Message(kind, code, message_id, self.token, options, payload))
        if confirmable:
            messages.outgoing.add(Confirmable(peer, data, message_id, watch, FAR), messages.now)
            return
        if watch is not None:
            peer.remember(message_id, watch)
        messages.send(data, peer.at)
