"""One client's session: packets in, packets out (MQTT 5.0 section 4.1)."""

import asyncio
from collections.abc import Callable
from functools import partial

from adapters.mqtt.sessions.aliases import Aliases, resolve
from adapters.mqtt.sessions.engine import Engine, Wire
from adapters.mqtt.sessions.incoming import Incoming
from adapters.mqtt.sessions.outgoing import Outgoing
from adapters.mqtt.sessions.ports import Answer, Desk, Shared
from adapters.mqtt.wire.codec import encode
from adapters.mqtt.wire.encoding import text
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    V5,
    Ack,
    Connect,
    Malformed,
    Packet,
    Publish,
    Reason,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.message import Event
from gateway.session_port import StoredSession
from policy.model import Principal


class Session:
    """The engine's part of ``ports.Session``, for one client."""

    __slots__ = (
        "_ended",
        "_in",
        "_out",
        "_topics",
        "_wants_why",
        "_window",
        "aliases",
        "client_id",
        "desk",
        "durable",
        "engine",
        "expiry",
        "id",
        "key",
        "limit",
        "principal",
        "slow",
        "version",
        "wire",
    )

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        *,
        key: str,
        client_id: str,
        principal: Principal,
        number: int,
        durable: bool = False,
        expiry: int = 0,
        version: int = V5,
    ) -> None:
        self.engine = engine
        self.desk = desk
        self.key = key
        self.client_id = client_id
        self.id = f"mqtt-{number}"
        self.principal = principal
        self.version = version
        self.durable = durable
        self.expiry = expiry
        self.wire: Wire | None = None
        self.limit = 0
        """The largest packet that the client takes, in bytes; 0: any."""
        self.slow = False
        self.aliases: Aliases | None = None
        self._topics: dict[int, str] | None = None
        self._wants_why = True
        self._window = engine.settings.window
        self._ended = False
        self._in: Incoming | None = None
        self._out: Outgoing | None = None

    # What the desk sees

    @property
    def connected(self) -> bool:
        """Whether the client is there."""
        return self.wire is not None

    @property
    def load(self) -> int:
        """How many messages the client has not acknowledged, or not been sent yet."""
        return 0 if self._out is None else len(self._out.messages)

    def deliver(
        self,
        event: Event,
        topic: str,
        qos: int,
        retain: bool = False,
        ids: tuple[int, ...] = (),
        shared: Shared | None = None,
    ) -> None:
        """Send an event at a QoS that is granted, or queue it."""
        if qos:
            if self.wire is not None or (self.durable and not self._ended):
                (self._out or self._outgoing()).add(event, topic, qos, retain, ids, shared)
            elif shared is not None:
                shared.settled(event)
            return
        wire = self.wire
        if wire is None:
            return
        if wire.full:
            self.engine.counters.slow += 1
            return
        encoder = self.engine.encoder
        if event.extras is not None and encoder.has_expired(event):
            self.engine.counters.expired += 1
            return
        first = 0x31 if retain else 0x30
        if self.aliases is None:
            data = encoder.parts(event, topic, self.version, first, ids)[0]
        else:
            spelled, alias = self.aliases.spell(topic)
            data = encoder.render(event, spelled, self.version, first, ids, alias)[0]
        if self.limit and len(data) > self.limit:
            self.unspell(topic)
            self.engine.counters.too_large += 1
            return
        wire.write(data)

    def send(self, packet: Publish) -> bool:
        """Send a message at QoS 0 at once; False when the client does not take it."""
        wire = self.wire
        if wire is None or wire.full:
            return False
        try:
            data = encode(packet, self.version, self.limit)
        except Malformed:
            return False
        if data:
            wire.write(data)
        return bool(data)

    def unacknowledged(self, shared: Shared | None = None) -> list[Event]:
        """Return the events that the client has not acknowledged."""
        return [] if self._out is None else self._out.events(shared)

    def restore(self, stored: StoredSession) -> None:
        """Take over what waited for the client, and its marks, before the site restarted."""
        for message in stored.messages:
            self._outgoing().restore(message)
        for packet_id in stored.marks:
            self._incoming().restore(packet_id)

    def disconnect(self, reason: int, why: str = "") -> None:
        """Say DISCONNECT and close, without a word to the desk."""
        wire = self.wire
        if wire is not None:
            self._detach()
            wire.part(reason, why)

    def rest(self, seconds: float) -> None:
        """Take nothing from the client for a while."""
        if self.wire is not None:
            self.wire.rest(seconds)

    def end(self) -> None:
        """The session is over: nothing is sent, queued or stored any more."""
        self._ended = True
        self.durable = False
        if self._out is not None:
            self._out.uncount()
        self._out = None
        self._in = None

    # What the connection says

    def open(self, wire: Wire, packet: Connect) -> None:
        """The client is there; CONNACK is about to be written."""
        settings = self.engine.settings
        self.version = packet.version
        self.wire = wire
        self.limit = packet.maximum_packet
        self._wants_why = packet.wants_why
        maximum = min(packet.alias_maximum, settings.alias_maximum)
        self.aliases = Aliases(maximum) if maximum else None
        self._window = min(packet.receive_maximum, settings.window)

    def begin(self) -> None:
        """CONNACK is written: send again what is in flight, and go on."""
        if self._in is not None:
            self._in.opened(self.engine.settings.receive_maximum)
        if self._out is not None:
            self._out.opened(self._window)
        self.desk.connected(self)

    def publish(self, packet: Publish) -> None:
        """Take a message; raises Malformed when the client breaks the protocol."""
        if packet.properties is not None and packet.properties.alias:
            if self._topics is None:
                self._topics = {}
            resolve(packet, self._topics, self.engine.settings.alias_maximum)
        if packet.qos:
            (self._in or self._incoming()).publish(packet)
        else:
            self.desk.publish(self, packet, None)

    def acknowledge(self, packet: Ack) -> None:
        """Take PUBACK, PUBREC, PUBREL or PUBCOMP; raises Malformed."""
        kind = packet.kind
        if kind == PUBACK:
            (self._out or self._outgoing()).puback(packet)
        elif kind == PUBREL:
            self._incoming().pubrel(packet)
        elif kind == PUBREC:
            self._outgoing().pubrec(packet)
        elif kind == PUBCOMP:
            self._outgoing().pubcomp(packet)

    def subscribe(self, packet: Subscribe) -> None:
        """Take SUBSCRIBE; its acknowledgement waits for what the desk opens and writes."""
        before = self.engine.store.writes
        answer = self.desk.subscribe(self, packet)
        done = partial(self._subscribed, packet, answer.reasons, answer.why)
        self._when_settled(answer, before, done)

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Take UNSUBSCRIBE."""
        before = self.engine.store.writes
        answer = self.desk.unsubscribe(self, packet)
        unsuback = Unsuback(packet.packet_id, answer.reasons)
        self._when_settled(answer, before, partial(self.say, unsuback))

    def hold(self) -> Callable[[], None]:
        """Take no more packets from the client until what this returns is called, once."""
        wire = self.wire
        if wire is None:
            return _nothing
        wire.hold()
        return wire.go_on

    def closed(self, reason: int, expiry: int | None) -> None:
        """The connection is gone (``Desk.disconnected``)."""
        if self.wire is not None:
            self._detach()
            self.desk.disconnected(self, reason, expiry)

    def filled(self) -> None:
        """The client leaves more unread than it may."""
        self.pause()

    def emptied(self) -> None:
        """The client has read what was written."""
        if self._out is not None:
            self._out.pump()
        if self.slow:
            self.resume()

    # What its parts need

    @property
    def writable(self) -> bool:
        """Whether the client is there and reads what it is sent."""
        return self.wire is not None and not self.wire.full

    def say(self, packet: Packet) -> None:
        """Send a packet, without its reason string if the client does not want that."""
        wire = self.wire
        if wire is None:
            return
        if not self._wants_why and isinstance(packet, Ack | Suback | Unsuback):
            packet.why = ""  # [MQTT-3.1.2-29]
        wire.write(encode(packet, self.version, self.limit))

    def spell(self, topic: str) -> tuple[bytes, int]:
        """Return a topic as it is to be sent, and its alias (0: none)."""
        return (text(topic), 0) if self.aliases is None else self.aliases.spell(topic)

    def unspell(self, topic: str) -> None:
        """The packet that ``spell`` was called for is not sent."""
        if self.aliases is not None:
            self.aliases.undo(topic)

    def pause(self) -> None:
        """The client is slow."""
        if not self.slow and self.wire is not None:
            self.slow = True
            self.desk.paused(self)

    def resume(self) -> None:
        """Go on, if the client has caught up."""
        if self.writable and (self._out is None or self._out.is_eased):
            self.slow = False
            self.desk.resumed(self)

    # Inside

    def _outgoing(self) -> Outgoing:
        out = self._out
        if out is None:
            out = self._out = Outgoing(self, self._window)
        return out

    def _incoming(self) -> Incoming:
        incoming = self._in
        if incoming is None:
            incoming = self._in = Incoming(self, self.engine.settings.receive_maximum)
        return incoming

    def _detach(self) -> None:
        self.wire = None
        self.slow = False
        self.aliases = None
        self._topics = None
        if self._in is not None:
            self._in.closed()

    def _when_settled(self, answer: Answer, before: int, do: Callable[[], None]) -> None:
        """Do something when all that a packet asks for is done, and on disk."""
        wire = self.wire
        if answer.settling is None or wire is None:
            self._when_written(before, do)
        else:
            # Who asks for much work does not ask for more meanwhile.
            wire.hold()
            settled = partial(self._settled, wire, before, do)
            answer.settling.add_done_callback(settled)

    def _settled(
        self, wire: Wire, before: int, do: Callable[[], None], _: asyncio.Future[None]
    ) -> None:
        if self.wire is wire:
            self._when_written(before, do)
            wire.go_on()

    def _when_written(self, before: int, do: Callable[[], None]) -> None:
        """Do something when what was written since ``before`` is on disk."""
        engine, wire = self.engine, self.wire
        if engine.store.writes == before:
            do()
        else:
            engine.disk.after(partial(self._written, wire, do))

    def _written(self, wire: Wire | None, do: Callable[[], None], ok: bool) -> None:
        if wire is None or self.wire is not wire:
            return
        if ok:
            do()
        else:
            wire.fail(Reason.UNSPECIFIED_ERROR, "the session could not be written")

    def _subscribed(self, packet: Subscribe, reasons: list[int], why: str) -> None:
        self.say(Suback(packet.packet_id, reasons, why))
        self.desk.subscribed(self, packet, reasons)


def _nothing() -> None:
    pass
