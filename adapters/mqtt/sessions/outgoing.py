"""QoS 1 and 2 towards a client: packet identifiers, the window, the queue, and sending again."""

import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from adapters.mqtt.sessions.flight import DROPPED, QUEUED, RELEASED, RELEASING, SENT, Message
from adapters.mqtt.sessions.ports import Shared
from adapters.mqtt.sessions.stored import read_body
from adapters.mqtt.wire.packets import PUBREL, Ack, Reason
from gateway.message import Event
from gateway.session_port import StoredMessage

if TYPE_CHECKING:
    from adapters.mqtt.sessions.session import Session

IDS = 65_535
OVERHEAD = 256
"""Bytes that a message takes beside its payload."""
MOST = 60_000
"""Messages that wait for one client, whatever the settings say: each has a packet identifier."""

_log = logging.getLogger("hilum.mqtt")


class Outgoing:
    """What one session sends at QoS 1 and 2, and has not finished."""

    __slots__ = (
        "_bytes",
        "_last_id",
        "_owner",
        "_quota",
        "_told",
        "_waiting",
        "_window",
        "messages",
    )

    def __init__(self, owner: "Session", window: int) -> None:
        self._owner = owner
        self.messages: dict[int, Message] = {}
        """By packet identifier, in the order of their sending."""
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._last_id = 0
        self._window = self._quota = window
        self._told = False

    def add(
        self,
        event: Event,
        topic: str,
        qos: int,
        retain: bool,
        ids: tuple[int, ...],
        shared: Shared | None,
    ) -> None:
        """Send a message as soon as it may be sent."""
        messages, number = self.messages, self._last_id + 1
        if number > IDS or number in messages:
            number = self._free_id()
        self._last_id = number
        message = messages[number] = Message(event, topic, qos, retain, ids, number, shared)
        owner = self._owner
        if owner.durable:
            self._store(message, event)
        wire = owner.wire
        if self._quota and not self._waiting and message.ready and wire and not wire.full:
            self._send(message)
            return
        self._waiting.append(message)
        self._count(event, 1)
        self._trim()
        if len(self._waiting) * 2 >= self._window or not owner.writable:
            owner.pause()

    # The client's answers

    def puback(self, packet: Ack) -> None:
        """The client has a QoS 1 message."""
        message = self.messages.get(packet.packet_id)
        if message is None or message.qos != 1 or message.state != SENT:
            return
        self._remove(message)
        owner = self._owner
        if self._waiting:
            self.pump()
        if owner.slow:
            owner.resume()

    def pubrec(self, packet: Ack) -> None:
        """The client has a QoS 2 message, or refuses it (MQTT 5.0 section 4.3.3)."""
        message = self.messages.get(packet.packet_id)
        if message is None or message.qos != 2 or message.state == QUEUED:
            if packet.reason < Reason.UNSPECIFIED_ERROR:
                reason = Reason.PACKET_IDENTIFIER_NOT_FOUND
                self._owner.say(Ack(PUBREL, packet.packet_id, reason))
        elif message.state == SENT and packet.reason >= Reason.UNSPECIFIED_ERROR:
            self._finish(message)
        elif message.state != RELEASING:
            self._release(message)

    def pubcomp(self, packet: Ack) -> None:
        """The client has released a QoS 2 message's packet identifier."""
        message = self.messages.get(packet.packet_id)
        if message is not None and message.state == RELEASED:
            self._finish(message)

    # The connection's side

    def opened(self, window: int) -> None:
        """Send again what the client may not have got, in order [MQTT-4.4.0-1]."""
        self._window = self._quota = window
        self.uncount()
        for message in list(self.messages.values()):
            message.counted = False
            if message.state in (QUEUED, SENT):
                message.again = message.again or message.state == SENT
                message.state = QUEUED
                self._waiting.append(message)
                if message.event is not None:
                    self._count(message.event, 1)
            else:
                self._release(message)
        self.pump()

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        waiting, owner = self._waiting, self._owner
        while waiting and self._quota and owner.writable and waiting[0].ready:
            message = waiting.popleft()
            if message.state == QUEUED and message.event is not None:
                self._count(message.event, -1)
                self._send(message)

    @property
    def is_eased(self) -> bool:
        """Whether so little waits that more may come."""
        return len(self._waiting) * 4 <= self._window and self._quota > 0

    # A session's end and beginning

    def events(self, shared: Shared | None) -> list[Event]:
        """Return the events of a shared subscription's member that another one may get.

        Not what was sent at QoS 2: the client may have it [MQTT-4.8.2-5].
        """
        return [
            message.event
            for message in self.messages.values()
            if message.shared is shared
            and message.event is not None
            and (message.qos == 1 or (message.state == QUEUED and not message.again))
        ]

    def uncount(self) -> None:
        """Nothing waits any more."""
        size = self._bytes + len(self._waiting) * OVERHEAD
        self._owner.engine.queued.add(self._owner.principal.id, -size)
        self._waiting.clear()
        self._bytes = 0

    def restore(self, stored: StoredMessage) -> None:
        """Queue a message from the disk; a damaged one is left out."""
        number = stored.packet_id
        if stored.released:
            self.messages[number] = Message(None, "", 2, False, (), number, state=RELEASED)
        else:
            try:
                event, topic, retain, ids = read_body(stored.body)
            except msgspec.MsgspecError as error:
                _log.warning("a message of %s cannot be read: %s", self._owner.key, error)
                self._owner.engine.store.acknowledge(self._owner.key, number)
                return
            # Whether it was sent before the restart nobody knows: DUP says that it may have been.
            message = Message(event, topic, stored.qos, retain, ids, number, again=True)
            self.messages[number] = message
            self._waiting.append(message)
            self._count(event, 1)
        self._last_id = number

    # Inside

    def _count(self, event: Event, sign: int) -> None:
        """Note that one message more, or less, waits."""
        size = len(event.payload)
        self._bytes += sign * size
        self._owner.engine.queued.add(self._owner.principal.id, sign * (size + OVERHEAD))

    def _free_id(self) -> int:
        number = self._last_id
        while True:
            number = number + 1 if number < IDS else 1
            if number not in self.messages:
                return number

    def _store(self, message: Message, event: Event) -> None:
        owner = self._owner
        engine = owner.engine
        body = engine.bodies.of(event, message.topic, message.retain, message.ids)
        engine.store.enqueue(owner.key, message.packet_id, message.qos, engine.store.keep(body))
        if message.qos == 2:
            # Its identifier must be on disk before the client sees it: or else after a restart
            # another message could have it, and the client would take that for the same one.
            message.ready = False
            engine.disk.after(partial(self._stored, message))

    def _stored(self, message: Message, ok: bool) -> None:
        if ok or message.state != QUEUED:
            message.ready = True
            self.pump()
        else:  # not yet
            self._owner.engine.disk.after(partial(self._stored, message))

    def _send(self, message: Message) -> None:
        owner, event, wire = self._owner, message.event, self._owner.wire
        if event is None or wire is None:
            return
        encoder = owner.engine.encoder
        if event.extras is not None and not message.again and encoder.has_expired(event):
            owner.engine.counters.expired += 1
            self._remove(message)
            return
        first = 0x30 | message.qos << 1 | message.retain
        if message.again or owner.aliases is not None:
            topic, alias = owner.spell(message.topic)
            first |= message.again << 3
            head, rest = encoder.render(event, topic, owner.version, first, message.ids, alias)
        else:
            head, rest = encoder.parts(event, message.topic, owner.version, first, message.ids)
        if owner.limit and len(head) + 2 + len(rest) > owner.limit:
            owner.engine.counters.too_large += 1
            owner.unspell(message.topic)
            self._remove(message)  # [MQTT-3.1.2-25]
            return
        message.state = SENT
        message.counted = True
        self._quota -= 1
        wire.write_parts(head, message.packet_id.to_bytes(2, "big"), rest)

    def _release(self, message: Message) -> None:
        """Send PUBREL, as soon as it is on disk that the client has the message."""
        owner = self._owner
        self._settle(message)
        if message.state == RELEASED or not owner.durable:
            self._pubrel(message)
            return
        message.state = RELEASING
        owner.engine.store.release(owner.key, message.packet_id)
        owner.engine.disk.after(partial(self._released, message, owner.wire))

    def _released(self, message: Message, wire: object, ok: bool) -> None:
        owner = self._owner
        if owner.wire is None or wire is not owner.wire:
            return  # It is released again when the client is there again.
        if ok:
            self._pubrel(message)
        else:
            owner.wire.fail(Reason.UNSPECIFIED_ERROR, "the session could not be written")

    def _pubrel(self, message: Message) -> None:
        message.state = RELEASED
        self._owner.say(Ack(PUBREL, message.packet_id))

    def _finish(self, message: Message) -> None:
        self._remove(message)
        owner = self._owner
        if self._waiting:
            self.pump()
        if owner.slow:
            owner.resume()

    def _remove(self, message: Message) -> None:
        owner = self._owner
        del self.messages[message.packet_id]
        message.state = DROPPED
        if owner.durable:
            owner.engine.store.acknowledge(owner.key, message.packet_id)
        if message.counted:
            self._quota += 1
        if message.shared is not None:
            self._settle(message)

    def _settle(self, message: Message) -> None:
        event, shared = message.event, message.shared
        message.event = message.shared = None
        if event is not None and shared is not None:
            shared.settled(event)

    def _drop(self, message: Message) -> None:
        """Forget a message that waits."""
        if message.event is not None:
            self._count(message.event, -1)
        self._waiting.remove(message)
        self._remove(message)

    def _trim(self) -> None:
        """Drop the oldest that are not in flight until the rest is within the bounds."""
        waiting, settings = self._waiting, self._owner.engine.settings
        most = min(settings.queue_messages, MOST)
        owner = self._owner
        shares, whose = owner.engine.queued, owner.principal.id
        while waiting and (
            len(waiting) > most
            or (self._bytes > settings.queue_bytes and len(waiting) > 1)
            or shares.is_over(whose)
        ):
            oldest = next((each for each in waiting if not each.again), None)
            if oldest is None:
                return
            self._owner.engine.counters.overflow += 1
            self._drop(oldest)
            if not self._told:
                self._told = True
                level = logging.WARNING if self._owner.engine.may_warn() else logging.DEBUG
                _log.log(level, "%s has too much waiting: the oldest is dropped", self._owner.id)
