"""One client's connection: packets off the socket and onto it, its limits in time and space."""

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, cast

from adapters.mqtt.sessions.ports import Admission
from adapters.mqtt.sessions.session import Session
from adapters.mqtt.sockets.entrance import Entrance
from adapters.mqtt.sockets.greeting import keep_alive_of, nearest, welcome
from adapters.mqtt.sockets.output import Output
from adapters.mqtt.wire.codec import PINGRESP_BYTES, Decoder, encode
from adapters.mqtt.wire.packets import (
    V5,
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Malformed,
    Packet,
    Pingreq,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from gateway.egress import NOBODY
from gateway.message import Refusal
from gateway.rota import TURN
from gateway.unfinished import LEAST
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.mqtt.sockets.listener import MqttListener

SLICE = 8192
"""Bytes that are decoded and worked off at once."""
LINGER = 2.0
"""Seconds in which a client may read why it was disconnected: what it sends then is dropped.

Closing at once could destroy that: unread data makes the kernel reset the connection.
"""
STALLED = 60.0
"""Seconds that a client may leave its output full."""

_log = logging.getLogger("hilum.mqtt")


class Connection(Output):
    """A connection over TCP, TLS or WebSocket: an ``asyncio.Protocol``, and its session's Wire."""

    __slots__ = (
        "_at",
        "_closed",
        "_decoder",
        "_entrance",
        "_expiry",
        "_grace",
        "_heard",
        "_held",
        "_large",
        "_packets",
        "_received",
        "_session",
        "_since",
        "_waits",
        "certified",
        "peer",
        "secure",
    )

    def __init__(self, listener: "MqttListener") -> None:
        super().__init__(listener)
        self.peer = ""
        self.secure = False
        self.certified: Principal | None = None
        self._decoder = Decoder(listener.settings.maximum_packet)
        self._entrance = Entrance(self, listener)
        self._session: Session | None = None
        self._expiry = 0
        # What was received and not decoded yet, how far it is done; then what was not worked off.
        self._received = b""
        self._at = 0
        self._packets: list[Packet] = []
        self._large = False
        self._waits = False
        self._held = 0
        self._closed = False
        self._heard = False
        self._since = 0.0
        self._grace = listener.settings.connect_seconds

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is connected, and a stranger until it has sent CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._backlog)
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else NOBODY
        self.secure = transport.get_extra_info("sslcontext") is not None
        self._since = self._listener.clock()
        self._listener.opened(self)
        try:
            self.certified = self._listener.identify(transport)
        except Refusal:  # the log says why
            self._closed = True
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent: at once when it is little, else in turns."""
        self._heard = True
        if self._closed:
            return
        if self._received or self._packets or self._held:
            self._received = self._received[self._at :] + data
            self._at = 0
            self._regulate()
        elif len(data) <= SLICE:
            self._take(data, perf_counter() + TURN)
            if self._packets:
                self._begin()
        else:
            self._received = data
            self._begin()

    def eof_received(self) -> None:
        """The client says no more: the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone."""
        self._closed = True
        self._transport = None
        self._forget()
        self._out.clear()
        self._listener.closed(self)
        self._leave(Reason.UNSPECIFIED_ERROR, None)

    def pause_writing(self) -> None:
        """The client leaves unread what it is sent."""
        self._paused = True
        self._since = self._listener.clock()
        self._fill()
        self._regulate()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._paused = False
        self._empty()
        self._begin()

    # The wire: the session's side

    def fail(self, reason: int, why: str) -> None:
        """End the connection and tell the session."""
        self.part(reason, why)
        self._leave(reason, None)

    def part(self, reason: int, why: str) -> None:
        """End the connection; a client of 5.0 is told why [MQTT-3.14.0-1]."""
        if self._closed:
            return
        _log.debug("%s: disconnected with 0x%02x %s", self.peer, reason, why)
        version = self._decoder.version
        if self._session is not None:
            if version == V5:
                self.write(encode(Disconnect(reason, why), V5, self._session.limit))
        elif self._decoder.level:
            self.write(encode(Connack(reason, why=why), version or nearest(self._decoder.level)))
        self._close(lingers=True)

    def hold(self) -> None:
        """Take no packets from the client until ``go_on`` was called as often."""
        self._held += 1
        self._regulate()

    def go_on(self) -> None:
        """Take packets again."""
        self._held -= 1
        asyncio.get_running_loop().call_soon(self._begin)

    def rest(self, seconds: float) -> None:
        """Take no packets from the client for ``seconds``."""
        self.hold()
        asyncio.get_running_loop().call_later(seconds, self.go_on)

    # The listener's side

    def work(self) -> bool:
        """Work off a little of what was received; return whether there is more to do now."""
        end = perf_counter() + TURN
        while self._has_work():
            if self._packets:
                packets, self._packets = self._packets, []
                self._process(packets, end)
            else:
                at = self._at
                piece = self._received[at : at + SLICE]
                self._at = at + SLICE
                if self._at >= len(self._received):
                    self._received = b""
                    self._at = 0
                self._take(piece, end)
            if perf_counter() >= end:
                break
        self._waits = self._has_work()
        self._regulate()
        return self._waits

    def sweep(self, now: float) -> None:
        """Look at the time: the first packet, keep-alive, a client that does not read."""
        if self._closed:
            if now - self._since > LINGER:
                self.abort()
        elif self._paused:
            if now - self._since > STALLED:
                self.abort()
        elif self._entrance.waits or (
            self._session is not None
            and (self._heard or self._held or self._received or self._packets)
        ):
            # Who is not listened to cannot be heard.
            self._heard = False
            self._since = now
        elif self._grace and now - self._since > self._grace:
            # [MQTT-3.1.2-22]; a stranger is not told anything.
            if self._session is None:
                self.abort()
            else:
                self.fail(Reason.KEEP_ALIVE_TIMEOUT, "the client was silent for too long")

    # Inside

    def _has_work(self) -> bool:
        waits = self._held or self._paused or self._closed
        return not waits and bool(self._received or self._packets)

    def _begin(self) -> None:
        if not self._waits and self.work():
            self._listener.rota.add(self)

    def _regulate(self) -> None:
        """Read on only when what came is done, and the client reads what it is sent."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        held = self._received or self._packets or self._held
        if self._entrance.waits:  # only who is listened to can be heard to leave
            held = len(self._received) > SLICE
        if not self._closed and (held or self._paused):
            transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _take(self, data: bytes, end: float) -> None:
        """Decode a piece and do what its packets say."""
        packets = self._decoder.feed(data)
        counters = self._listener.engine.counters
        counters.received += len(packets)
        counters.bytes_received += len(data)
        held = self._decoder.held
        if self._large or (held is not None and len(held) > LEAST):
            self._large = self._listener.unfinished.note(
                self, len(held or b""), fresh=bool(packets)
            )
        self._process(packets, end)

    def _process(self, packets: list[Packet], end: float) -> None:
        """Do what packets say, and end the connection if they may not say that."""
        error: Malformed | None = None
        try:
            if self._does_all(packets, end):
                error = self._decoder.error
        except Malformed as broken:
            error = broken
        except Exception:
            _log.exception("a packet of %s could not be processed", self.peer)
            self.fail(Reason.UNSPECIFIED_ERROR, "the site failed; its log says why")
        if error is not None:
            self._listener.engine.counters.errors += 1
            self.fail(error.reason, error.why)

    def _does_all(self, packets: list[Packet], end: float) -> bool:
        """Do what packets say until a moment of ``perf_counter``; the rest is for another turn."""
        for done, packet in enumerate(packets, 1):
            session = self._session
            if session is None:
                if isinstance(packet, Connect):  # the decoder lets nothing else be the first
                    self._entrance.connect(packet)
            elif isinstance(packet, Publish):
                session.publish(packet)
            elif isinstance(packet, Ack):
                session.acknowledge(packet)
            else:
                self._do(session, packet)
            if self._closed:
                return False
            if self._held or (not done & 7 and perf_counter() >= end):
                self._packets = packets[done:]
                if self._packets:
                    return False
        return True

    def _do(self, session: Session, packet: Packet) -> None:
        if isinstance(packet, Pingreq):
            self.write(PINGRESP_BYTES)
        elif isinstance(packet, Subscribe):
            session.subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            session.unsubscribe(packet)
        elif isinstance(packet, Disconnect):
            self._disconnect(packet)
        elif isinstance(packet, Auth):
            self._entrance.authenticate(session, packet)

    def admit(self, packet: Connect, answer: Admission | Connack) -> None:
        """Answer CONNECT (section 3.1.4)."""
        listener, settings = self._listener, self._listener.settings
        if self._closed:
            return
        if isinstance(answer, Connack):
            listener.engine.counters.refused += 1
            if listener.engine.may_warn():
                client = ascii(packet.client_id[:64])
                _log.info("%s: client %s is not let in: %s", self.peer, client, answer.why)
            self.write(encode(answer, packet.version, packet.maximum_packet))
            self._close(lingers=True)
            return
        session = cast("Session", answer.session)
        self._session = session
        self._expiry = packet.expiry
        keep_alive = keep_alive_of(packet, settings)
        self._grace = keep_alive * 1.5
        self._heard = True
        session.open(self, packet)
        listener.admitted(self)
        said = keep_alive if keep_alive != packet.keep_alive else None
        connack = welcome(answer, packet, settings, said)
        data = encode(connack, packet.version, packet.maximum_packet)
        if data:
            self.write(data)
            session.begin()
        else:  # [MQTT-3.1.2-24]
            self.write(encode(Connack(Reason.PACKET_TOO_LARGE), V5, packet.maximum_packet))
            self._close(lingers=True)
            self._leave(Reason.SUCCESS, None)

    def _disconnect(self, packet: Disconnect) -> None:
        if packet.expiry and not self._expiry:  # section 3.14.2.2.2
            why = "a session that ends with its connection cannot be prolonged"
            raise Malformed(Reason.PROTOCOL_ERROR, why)
        self._close(lingers=False)
        self._leave(packet.reason, packet.expiry)

    def _leave(self, reason: int, expiry: int | None) -> None:
        session, self._session = self._session, None
        if session is not None and session.wire is self:
            session.closed(reason, expiry)

    def _close(self, *, lingers: bool) -> None:
        transport = self._transport
        self._closed = True
        self._forget()
        self._since = self._listener.clock()
        if transport is None or transport.is_closing():
            return
        self.flush()
        if lingers and transport.can_write_eof():
            try:
                transport.write_eof()
            except OSError:  # the client is gone already
                transport.abort()
            self._regulate()
        else:
            transport.close()

    def _forget(self) -> None:
        """Drop what came and was not worked off."""
        self._entrance.close()
        self._received = b""
        self._packets = []
        self._decoder.held = None
        if self._large:
            self._large = self._listener.unfinished.note(self, 0)

    def _fill(self) -> None:
        self.full = True
        if self._session is not None:
            self._session.filled()

    def _empty(self) -> None:
        self.full = False
        if self._session is not None:
            self._session.emptied()
