"""What plays with the MQTT engine need: a desk, a store that can be slow or fail, a wire."""

import asyncio
from types import MappingProxyType
from typing import NamedTuple

from adapters.mqtt.sessions.engine import Engine
from adapters.mqtt.sessions.ports import LATER, Admission, Answer, Settings
from adapters.mqtt.sessions.session import Session
from adapters.mqtt.wire.fields import Reader
from adapters.mqtt.wire.packets import (
    AUTH,
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    SUBACK,
    UNSUBACK,
    V5,
    Ack,
    Connack,
    Connect,
    Publish,
)
from gateway.identity.identity import Pending
from gateway.message import Event, EventId, Extras
from gateway.ports import StoreError
from gateway.session_port import Mark, StoredMessage, StoredSession
from policy.model import Principal
from registry.names import Name
from tests.adapters.mqtt_bytes import matches

SOMEBODY = Principal("site:somebody", "service")
PROPERTIES = {0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1}
PROPERTIES |= {0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}


class Got(NamedTuple):
    """A packet from the server, taken apart."""

    kind: int
    packet_id: int = 0
    reason: int = 0
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    dup: bool = False
    retain: bool = False
    reasons: tuple[int, ...] = ()
    properties: dict = MappingProxyType({})
    present: bool = False

    @property
    def why(self):
        return self.properties.get(0x1F, "")


def properties_of(reader, version):
    """Return the properties; what may come several times is a list."""
    found = {}
    if version != V5 or reader.at == reader.stop:
        return found
    size = reader.variable()
    end = reader.at + size
    while reader.at < end:
        number = reader.byte()
        if number in PROPERTIES:
            found[number] = int.from_bytes(reader.take(PROPERTIES[number]), "big")
        elif number == 0x26:
            found.setdefault(number, []).append((reader.text(), reader.text()))
        elif number == 0x0B:
            found.setdefault(number, []).append(reader.variable())
        elif number in (0x09, 0x16):
            found[number] = reader.binary()
        else:
            found[number] = reader.text()
    assert reader.at == end
    return found


def read_one(data, version):
    """Return the first packet and the rest of the bytes; None when it is not complete."""
    if len(data) < 2:
        return None, data
    reader = Reader(data)
    first = reader.byte()
    at, size, shift = 1, 0, 0
    while True:
        if at >= len(data):
            return None, data
        byte = data[at]
        size |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            break
    if at + size > len(data):
        return None, data
    return _packet(first, Reader(data, at, at + size), version), data[at + size :]


def _packet(first, reader, version):
    kind = first >> 4
    if kind == PUBLISH:
        qos = first >> 1 & 3
        topic = reader.text()
        number = reader.two() if qos else 0
        found = properties_of(reader, version)
        payload = reader.take(reader.stop - reader.at)
        flags = bool(first & 8), bool(first & 1)
        return Got(kind, number, 0, topic, payload, qos, *flags, properties=found)
    if kind == CONNACK:
        present, reason = reader.byte(), reader.byte()
        found = properties_of(reader, version)
        return Got(kind, reason=reason, present=bool(present), properties=found)
    if PUBACK <= kind <= PUBCOMP:
        number = reader.two()
        reason = reader.byte() if reader.at < reader.stop else 0
        return Got(kind, number, reason, properties=properties_of(reader, version))
    if kind in (SUBACK, UNSUBACK):
        number = reader.two()
        found = properties_of(reader, version)
        reasons = tuple(reader.take(reader.stop - reader.at))
        return Got(kind, number, reasons=reasons, properties=found)
    if kind in (DISCONNECT, AUTH):
        reason = reader.byte() if reader.at < reader.stop else 0
        return Got(kind, reason=reason, properties=properties_of(reader, version))
    assert reader.at == reader.stop
    return Got(kind)


def read_all(data, version=V5):
    got = []
    while data:
        packet, data = read_one(data, version)
        assert packet is not None, data
        got.append(packet)
    return got


class Store:
    """A SessionStore in memory: writes are in force when ``commit`` is called, and may fail.

    It is the engine's Disk too, so that plays need no loop.
    """

    def __init__(self, *, automatic=False):
        self.writes = 0
        self.pending = []
        self.waiting = []
        self.messages = {}
        self.marks = {}
        self.bodies = {}
        self.kept = 0
        self.automatic = automatic

    # SessionStore

    async def load(self):
        return [self.stored(key) for key in {*self.messages, *self.marks}]

    def put(self, key, record):
        self._write(lambda: None)

    def drop(self, key):
        self._write(lambda: (self.messages.pop(key, None), self.marks.pop(key, None)))

    def keep(self, body):
        self.kept += 1
        self.bodies[self.kept] = body
        return self.kept

    def enqueue(self, key, packet_id, qos, body):
        def write():
            queue = self.messages.setdefault(key, {})
            assert packet_id not in queue
            queue[packet_id] = StoredMessage(packet_id, qos, self.bodies[body], False)

        self._write(write)

    def position(self, key, channel, event_id):
        self._write(lambda: None)

    def forget_position(self, key, channel):
        self._write(lambda: None)

    def release(self, key, packet_id):
        def write():
            queue = self.messages.get(key, {})
            if packet_id in queue:
                queue[packet_id] = StoredMessage(packet_id, 2, b"", True)

        self._write(write)

    def acknowledge(self, key, packet_id):
        self._write(lambda: self.messages.get(key, {}).pop(packet_id, None))

    def mark(self, mark):
        self._write(lambda: self.marks.setdefault(mark.session, set()).add(mark.packet_id))

    def unmark(self, mark):
        self._write(lambda: self.marks.get(mark.session, set()).discard(mark.packet_id))

    def synced(self):
        future = asyncio.get_running_loop().create_future()
        self.after(lambda ok: self._settle(future, ok))
        return future

    # Disk

    def after(self, done):
        self.waiting.append(done)
        if self.automatic:
            asyncio.get_running_loop().call_soon(self.commit)

    # The play's side

    def commit(self):
        """Everything so far is on disk."""
        pending, self.pending = self.pending, []
        waiting, self.waiting = self.waiting, []
        for write in pending:
            write()
        for done in waiting:
            done(True)

    def settle(self):
        """Commit until nothing waits."""
        while self.pending or self.waiting:
            self.commit()

    def fail(self):
        """What was written since the last commit is not on disk yet."""
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done(False)

    def crash(self):
        """The site is killed: what was not committed is gone."""
        self.pending = []
        self.waiting = []

    def stored(self, key):
        messages = list(self.messages.get(key, {}).values())
        return StoredSession(key, b"", messages, sorted(self.marks.get(key, ())), ())

    def _write(self, write):
        self.writes += 1
        self.pending.append(write)

    def _settle(self, future, ok):
        if not future.done():
            future.set_result(None) if ok else future.set_exception(StoreError("the disk is full"))


class Wire:
    """The connection of a play: what was written can be read."""

    def __init__(self, version=V5):
        self.full = False
        self.version = version
        self.data = bytearray()
        self.ended = None
        self.held = False
        self.session = None

    def write(self, data):
        assert self.ended is None
        self.data += data

    def write_parts(self, head, middle, rest):
        self.write(head + middle + rest)

    def fail(self, reason, why):
        if self.ended is None:
            self.part(reason, why)
            self.session.closed(reason, None)

    def part(self, reason, why):
        self.ended = (reason, why)

    def hold(self):
        self.held = True

    def go_on(self):
        self.held = False

    def rest(self, seconds):
        self.held = True

    def read(self):
        """Return the packets that were written since the last time."""
        data = bytes(self.data)
        self.data.clear()
        return read_all(data, self.version)


class Desk:
    """A small broker: publishes at once, or when the play says so, to whoever subscribed."""

    def __init__(self):
        self.engine = None
        self.sessions = {}
        self.subscriptions = {}
        self.published = []
        self.answers = {}
        self.later = []
        self.gone = []
        self.calls = []
        self.takes_marks = False
        self.refuses = None
        self.slow = False
        self.waiting = None
        self.sequence = 0
        self.numbers = 0
        self.now_ms = 1_000_000

    def event(self, topic, payload=b"x", qos=1, extras=None, content_type=""):
        self.sequence += 1
        identity = EventId("i", self.sequence)
        name = Name(f"localhost/{topic}")
        return Event(name, identity, self.now_ms, "s", content_type, payload, qos, True, extras)

    # The Desk port

    def identify(self, packet, link, then):
        if self.slow:
            self.waiting = Pending(then)
            return self.waiting
        return SOMEBODY

    def identify_again(self, packet, link, then):
        return self.identify(packet, link, then)

    def renew(self, session, principal):
        session.principal = principal

    def connect(self, packet, link, principal=SOMEBODY):
        if self.refuses is not None:
            return Connack(self.refuses, why="not today")
        session = self.sessions.get(packet.client_id)
        present = False
        if session is not None:
            session.disconnect(0x8E, "taken over")
            if session.durable and not packet.clean_start:
                present = True
            else:
                session.end()
        if not present:
            self.numbers += 1
            session = self.sessions[packet.client_id] = Session(
                self.engine,
                self,
                key=key_of(packet.client_id),
                client_id=packet.client_id,
                principal=SOMEBODY,
                number=self.numbers,
                durable=packet.expiry > 0,
                expiry=packet.expiry,
            )
            self.subscriptions[session] = {}
        return Admission(session, present)

    def connected(self, session):
        self.calls.append(("connected", session))

    def publish(self, session, packet, receipt):
        self.published.append(packet)
        answer = self.answers.get(packet.topic, 0)
        if receipt is not None and self.takes_marks:
            mark = receipt.take_mark()
            if mark is not None:
                self.engine.store.mark(mark)
        if answer == LATER:
            self.later.append((session, packet, receipt))
            return LATER
        if answer < 0x80:
            self.fan_out(packet)
        return answer

    def subscribe(self, session, packet):
        for each in packet.filters:
            self.subscriptions[session][each.filter] = (each.qos, packet.subscription_id)
        if session.durable:
            self.engine.store.put(session.key, b"")
        return Answer([each.qos for each in packet.filters])

    def subscribed(self, session, packet, reasons):
        self.calls.append(("subscribed", session))

    def unsubscribe(self, session, packet):
        known = self.subscriptions[session]
        return Answer([0 if known.pop(f, None) is not None else 0x11 for f in packet.filters])

    def disconnected(self, session, reason, expiry):
        self.gone.append((session, reason, expiry))
        if not session.durable:
            session.end()
            self.sessions.pop(session.client_id, None)
            self.subscriptions.pop(session, None)

    def paused(self, session):
        self.calls.append(("paused", session))

    def resumed(self, session):
        self.calls.append(("resumed", session))

    # The play's side

    def fan_out(self, packet):
        said = packet.properties
        extras = None
        if said is not None:
            expires = 0 if said.expiry is None else self.now_ms + said.expiry * 1000
            extras = Extras(
                said.attributes, expires, said.text, said.response_topic, said.correlation
            )
        event = self.event(
            packet.topic, packet.payload, packet.qos, extras, said.content_type if said else ""
        )
        for session, filters in list(self.subscriptions.items()):
            for text, (qos, number) in filters.items():
                if matches(text, packet.topic):
                    ids = (number,) if number else ()
                    session.deliver(event, packet.topic, min(qos, packet.qos), False, ids)

    def answer(self, reason=0, why="", at=0):
        """Answer a message that waits for it."""
        _session, packet, receipt = self.later.pop(at)
        if reason < 0x80:
            self.fan_out(packet)
        if receipt is not None:
            receipt.done(reason, why)


class Play:
    """One engine with a desk and a store; clients come and go on wires."""

    def __init__(self, settings=Settings(cloudevents=False), store=None):  # noqa: B008
        self.desk = Desk()
        self.store = Store() if store is None else store
        self.engine = Engine(settings, lambda: self.desk.now_ms, self.store, self.store)
        self.desk.engine = self.engine

    def connect(self, client="c", version=V5, **said):
        """Return a session and its wire; CONNACK is the connection's."""
        packet = Connect(client, version, **said)
        session = self.desk.connect(packet, None).session
        wire = Wire(version)
        wire.session = session
        session.open(wire, packet)
        session.begin()
        return session, wire

    def restart(self, key, **said):
        """Kill the site and start it again: return the session as the disk knows it."""
        self.store.crash()
        desk, self.desk = self.desk, Desk()
        self.desk.now_ms = desk.now_ms
        self.engine = Engine(self.engine.settings, lambda: self.desk.now_ms, self.store, self.store)
        self.desk.engine = self.engine
        client = key.partition(" ")[2]
        session = Session(
            self.engine,
            self.desk,
            key=key,
            client_id=client,
            principal=SOMEBODY,
            number=1,
            durable=True,
            expiry=1000,
            **said,
        )
        session.restore(self.store.stored(key))
        self.desk.sessions[client] = session
        self.desk.subscriptions[session] = {}
        return session


def key_of(client="c"):
    return f"{SOMEBODY.id} {client}"


def ack(kind, packet_id, reason=0):
    return Ack(kind, packet_id, reason)


def publish(topic="t", payload=b"x", qos=0, packet_id=0, **said):
    return Publish(topic, payload, qos, False, packet_id, **said)


__all__ = ["LATER", "Desk", "Got", "Mark", "Play", "Store", "Wire", "ack", "publish", "read_all"]
