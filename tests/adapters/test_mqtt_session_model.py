"""Random plays: durable sessions, lost connections, a disk that is slow or fails, a killed site.

QoS 2 arrives exactly once, QoS 1 at least once, and in order.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.mqtt.sessions.ports import LATER, Settings
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    Connect,
    Malformed,
)
from tests.adapters.mqtt_plays import Desk, Play, Wire, ack, key_of, publish

TOPIC = "t"


class WaitingDesk(Desk):
    """A desk whose answers wait for the disk when a durable session queued the message."""

    def publish(self, session, packet, receipt):
        store = self.engine.store
        before = store.writes
        self.fan_out(packet)
        if store.writes == before:
            return 0
        store.after(lambda ok: receipt.done(0) if ok else receipt.unsynced(0x97, "full"))
        return LATER


class Peer:
    """A client that keeps to the protocol; what it has not read is lost with its connection."""

    def __init__(self, name, window=65_535):
        self.name = name
        self.window = window
        self.session = None
        self.wire = None
        self.inbox = []

    def connect(self, play):
        packet = Connect(self.name, expiry=1000, clean_start=False, receive_maximum=self.window)
        self.session = play.desk.connect(packet, None).session
        self.wire = Wire()
        self.wire.session = self.session
        self.inbox = []
        self.session.open(self.wire, packet)
        self.session.begin()

    def is_connected(self):
        return self.wire is not None and self.wire.ended is None

    def lose(self):
        if self.is_connected():
            self.session.closed(0x80, None)
        self.wire = None
        self.inbox = []

    def take(self):
        """Handle one packet of the server; return whether there was one."""
        if not self.is_connected():
            return False
        self.inbox += self.wire.read()
        if not self.inbox:
            return False
        self.handle(self.inbox.pop(0))
        return True

    def say(self, packet):
        try:
            self.session.acknowledge(packet)
        except Malformed as error:
            raise AssertionError(error.why) from error


class Publisher(Peer):
    def __init__(self):
        super().__init__("p")
        self.unfinished = {}  # packet id -> (qos, payload), or (0, payload) when PUBREL is sent
        self.done = {1: [], 2: []}
        self.last_id = 0
        self.asked = {1: [], 2: []}
        self.failed = set()

    def has_room(self):
        """Our Receive Maximum is 64."""
        return len(self.unfinished) < 64

    def publish(self, qos):
        self.last_id += 1
        payload = b"%d" % self.last_id
        self.unfinished[self.last_id] = (qos, payload)
        self.asked[qos].append(payload)
        self.session.publish(publish(TOPIC, payload, qos, self.last_id))

    def connect(self, play):
        super().connect(play)
        for number, (qos, payload) in list(self.unfinished.items()):
            if not self.is_connected():
                return
            if qos:
                self.session.publish(publish(TOPIC, payload, qos, number, dup=True))
            else:
                self.say(ack(PUBREL, number))

    def handle(self, got):
        known = self.unfinished.get(got.packet_id)
        assert known is not None, got
        qos, payload = known
        if got.kind == PUBREC and got.reason < 0x80:
            self.unfinished[got.packet_id] = (0, payload)
            self.say(ack(PUBREL, got.packet_id))
            return
        assert got.kind == {0: PUBCOMP, 1: PUBACK, 2: PUBREC}[qos]
        del self.unfinished[got.packet_id]
        if got.reason >= 0x80 and got.kind != PUBCOMP:  # 0x92: the PUBCOMP before was lost
            self.failed.add(payload)
        else:
            self.done[2 if qos == 0 else 1].append(payload)


class Subscriber(Peer):
    def __init__(self, window):
        super().__init__("s", window)
        self.received = {1: [], 2: []}
        self.open = {}
        self.inflight = set()

    def connect(self, play):
        self.inflight = set()
        super().connect(play)

    def handle(self, got):
        number = got.packet_id
        if got.kind == PUBREL:
            self.open.pop(number, None)
            self.inflight.discard(number)
            self.say(ack(PUBCOMP, number))
            return
        assert got.kind == PUBLISH
        assert number not in self.inflight
        self.inflight.add(number)
        assert len(self.inflight) <= self.window
        if got.qos == 1:
            self.received[1].append(got.payload)
            self.inflight.discard(number)
            self.say(ack(PUBACK, number))
            return
        if number in self.open:
            assert got.dup
            assert self.open[number] == got.payload
        else:
            self.received[2].append(got.payload)
            self.open[number] = got.payload
        self.say(ack(PUBREC, number))


class Flows(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.play = Play(Settings(cloudevents=False, window=3))
        self.renew_desk(self.play.desk)
        self.publisher = Publisher()
        self.subscriber = Subscriber(2)
        self.publisher.connect(self.play)
        self.subscriber.connect(self.play)
        self.subscribe()

    def renew_desk(self, old):
        desk = WaitingDesk()
        desk.engine = self.play.engine
        desk.sessions = old.sessions
        desk.subscriptions = old.subscriptions
        for session in desk.sessions.values():
            session.desk = desk
        self.play.desk = desk

    def subscribe(self):
        self.play.desk.subscriptions[self.subscriber.session][TOPIC] = (2, 0)

    @precondition(lambda self: self.publisher.is_connected() and self.publisher.has_room())
    @rule(qos=st.sampled_from([1, 2]))
    def publish(self, qos):
        self.publisher.publish(qos)

    @rule(who=st.sampled_from(["publisher", "subscriber"]), count=st.integers(1, 4))
    def take(self, who, count):
        for _ in range(count):
            getattr(self, who).take()

    @rule(who=st.sampled_from(["publisher", "subscriber"]))
    def lose(self, who):
        getattr(self, who).lose()

    @rule(who=st.sampled_from(["publisher", "subscriber"]))
    def connect(self, who):
        if not getattr(self, who).is_connected():
            getattr(self, who).connect(self.play)

    @rule()
    def commit(self):
        self.play.store.commit()

    @rule()
    def fail(self):
        """What is not written yet is not acknowledged: QoS 1 is refused, but may come."""
        self.play.store.fail()

    @rule()
    def kill(self):
        """Kill the site and start it again."""
        play = self.play
        store = play.store
        store.crash()
        desks = play.desk
        play.restart(key_of("p"))
        publisher = play.desk.sessions["p"]
        self.play.restart(key_of("s"))
        play.desk.sessions["p"] = publisher
        play.desk.subscriptions[publisher] = {}
        play.desk.sequence = desks.sequence
        self.renew_desk(play.desk)
        for session in play.desk.sessions.values():
            session.engine = play.engine
        play.desk.engine = play.engine
        for peer in (self.publisher, self.subscriber):
            peer.wire = None
            peer.session = play.desk.sessions[peer.name]
        self.subscribe()

    @invariant()
    def qos_2_is_never_taken_twice(self):
        got = self.subscriber.received[2]
        assert len(got) == len(set(got))

    def teardown(self):
        peers = (self.publisher, self.subscriber)
        for _ in range(10_000):
            busy = False
            for peer in peers:
                if not peer.is_connected():
                    peer.lose()
                    peer.connect(self.play)
                    busy = True
                while peer.take():
                    busy = True
            if self.play.store.pending or self.play.store.waiting:
                self.play.store.commit()
                busy = True
            if not busy:
                break
        publisher, subscriber = self.publisher, self.subscriber
        assert not publisher.unfinished
        assert not subscriber.open
        assert subscriber.session.load == 0
        assert not self.play.store.messages.get(key_of("s"))
        assert not self.play.store.marks.get(key_of("p"))
        for qos in (1, 2):
            got, asked = subscriber.received[qos], publisher.asked[qos]
            assert set(got) >= set(asked) - publisher.failed
            first = list(dict.fromkeys(got))
            assert first == [each for each in asked if each in first]
        assert not publisher.failed & set(publisher.asked[2])
        self.qos_2_is_never_taken_twice()


TestFlows = Flows.TestCase
TestFlows.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.full
class TestManyFlows(Flows.TestCase):
    settings = settings(max_examples=1500, stateful_step_count=60, deadline=None)
