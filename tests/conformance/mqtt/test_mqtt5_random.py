"""Random plays of publishers and subscribers that vanish, come back and acknowledge when they like.

What a model expects of QoS 1 and 2 (MQTT 5.0 section 4.3): nothing acknowledged is lost, nothing
of QoS 2 comes twice, the order holds, no window is exceeded.
"""

import random
from collections import defaultdict

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading
from tests.conformance.mqtt.reading import Got

SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 30))]
TOPICS = ("a", "b")
FILTERS = ("a", "b", "+", "#")


def matches(wanted: str, topic: str) -> bool:
    return wanted in {"+", "#", topic}


class Publisher:
    """Publishes numbers; a message of QoS 2 may be sent several times before its PUBREL."""

    def __init__(self, play: "Play", name: str) -> None:
        self.play = play
        self.name = name
        self.client = play.connected(name, expiry=60)
        self.pid = 0

    def publish(self) -> None:
        play = self.play
        topic, qos = play.random.choice(TOPICS), play.random.choice((0, 1, 1, 2, 2))
        payload = f"{self.name} {play.number()}".encode()
        self.pid = self.pid % 60_000 + 1
        first = 0x30 | qos << 1
        packet = raw.publish(
            f"{play.topic}/{topic}", payload, first=first, pid=self.pid if qos else None
        )
        self.client.send(packet)
        if qos == 0:
            self.client.ping()
        elif qos == 1:
            self.client.answer(reading.PUBACK, self.pid)
        play.published(topic, qos, payload)
        if qos == 2:
            self.hand_over(packet)

    def hand_over(self, packet: bytes) -> None:
        again = bytes([packet[0] | 8]) + packet[1:]
        for _ in range(self.play.random.choice((0, 0, 1, 2))):
            if self.play.random.random() < 0.5:
                self.client.cut()
                self.client = self.play.opened()
                assert self.client.connect(self.name, clean=False, expiry=60).present
            self.client.send(again)
            self.client.answer(reading.PUBREC, self.pid)
        if self.client.received[-1].kind != reading.PUBREC:
            self.client.answer(reading.PUBREC, self.pid)
        self.client.send(raw.ack(0x62, self.pid))
        while self.client.next().kind != reading.PUBCOMP:
            pass


class Subscriber:
    """A session that lasts. ``due``: what must come, ``may``: what may come, by payload."""

    def __init__(self, play: "Play", name: str) -> None:
        self.play = play
        self.name = name
        self.filters: dict[str, int] = {}
        self.due: dict[bytes, int] = {}
        self.may: dict[bytes, int] = {}
        self.seen: dict[bytes, int] = {}
        self.order: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        self.done: set[bytes] = set()
        self.client = None
        self.connect()

    def connect(self, *, clean: bool = False) -> None:
        if self.client is not None:
            self.client.cut()
        self.window = self.play.random.randint(1, 5)
        self.client = self.play.opened()
        props = b"\x21" + self.window.to_bytes(2, "big")
        self.client.connect(self.name, clean=clean, expiry=60, props=props)
        self.unacknowledged: dict[int, Got] = {}
        self.released: set[int] = set()
        if clean:
            self.filters = {}
            self.due, self.may, self.done = {}, {}, set()
            self.order.clear()
            self.seen = {}

    def published(self, topic: str, qos: int, payload: bytes) -> None:
        granted = [at for wanted, at in self.filters.items() if matches(wanted, topic)]
        if granted:
            got = min(qos, max(granted))
            (self.due if got else self.may)[payload] = got

    def subscribe(self) -> None:
        wanted, qos = self.play.random.choice(FILTERS), self.play.random.randint(0, 2)
        pid = self.client.pid()
        text = f"{self.play.topic}/{wanted}"
        self.client.send(raw.subscribe((text, qos), pid=pid))
        assert self.answer(reading.SUBACK, pid).codes == [qos]
        self.filters[wanted] = qos

    def unsubscribe(self) -> None:
        if self.filters:
            wanted = self.play.random.choice(sorted(self.filters))
            pid = self.client.pid()
            self.client.send(raw.unsubscribe(f"{self.play.topic}/{wanted}", pid=pid))
            assert self.answer(reading.UNSUBACK, pid).codes == [0]
            del self.filters[wanted]
            self.may |= self.due
            self.due = {}

    def answer(self, kind: int, pid: int) -> Got:
        while True:
            got = self.client.next()
            if got.kind == kind:
                assert got.pid == pid
                return got
            self.take(got)

    def take(self, got: Got) -> None:
        """Note what came, without acknowledging it."""
        if got.kind == reading.PUBREL:
            self.released.add(got.pid)
            return
        assert got.kind == reading.PUBLISH, got
        payload = got.payload
        assert payload in self.due or payload in self.may or payload in self.done, payload
        if got.qos:
            assert got.pid not in self.unacknowledged, "the identifier is in use"
            self.unacknowledged[got.pid] = got
            assert len(self.unacknowledged) <= self.window
            assert not (got.qos == 2 and payload in self.done), "QoS 2 came twice"
        qos = self.due.get(payload, self.may.get(payload, got.qos))
        assert got.qos == qos
        if payload not in self.seen:
            self.seen[payload] = got.qos
            publisher, number = payload.decode().split()
            order = self.order[publisher, got.topic, got.qos]
            assert not order or order[-1] < int(number), "out of order"
            order.append(int(number))

    def read(self) -> None:
        """Take what is there."""
        pid = self.client.pid()
        self.client.send(raw.unsubscribe("free/never", pid=pid))
        self.answer(reading.UNSUBACK, pid)

    def acknowledge(self) -> None:
        """Acknowledge some of what was taken, in its order."""
        for pid in list(self.released):
            self.client.send(raw.ack(0x70, pid))
            self.released.discard(pid)
            self.unacknowledged.pop(pid, None)
        for pid, got in list(self.unacknowledged.items()):
            if self.play.random.random() < 0.3:
                break
            if got.payload not in self.done:
                self.done.add(got.payload)
                self.due.pop(got.payload, None)
                self.may.pop(got.payload, None)
            if got.qos == 1:
                self.client.send(raw.ack(0x40, pid))
                del self.unacknowledged[pid]
            else:
                self.client.send(raw.ack(0x50, pid))

    def finish(self) -> None:
        """Take everything that is due."""
        self.connect()
        for _ in range(400):
            self.read()
            self.acknowledge()
            if not self.due and not self.unacknowledged:
                break
        assert not self.due, f"lost: {sorted(self.due)}"


class Play:
    def __init__(self, seed: int, opened, connected, topic: str, client_id: str) -> None:
        self.random = random.Random(seed)
        self.opened = opened
        self.connected = connected
        self.topic = topic
        self._number = 0
        self.publishers = [Publisher(self, f"{client_id}-p{at}") for at in range(2)]
        self.subscribers: list[Subscriber] = []
        self.subscribers = [Subscriber(self, f"{client_id}-s{at}") for at in range(3)]

    def number(self) -> int:
        self._number += 1
        return self._number

    def published(self, topic: str, qos: int, payload: bytes) -> None:
        for subscriber in self.subscribers:
            subscriber.published(topic, qos, payload)

    def step(self) -> None:
        subscriber = self.random.choice(self.subscribers)
        action = self.random.choices(
            ("publish", "subscribe", "unsubscribe", "read", "acknowledge", "back", "clean"),
            (30, 6, 2, 12, 12, 4, 0.5),
        )[0]
        match action:
            case "publish":
                self.random.choice(self.publishers).publish()
            case "back":
                subscriber.connect()
            case "clean":
                subscriber.connect(clean=True)
            case _:
                getattr(subscriber, action)()


@clause("MQTT-4.4.0-1", "MQTT-4.5.0-1", "MQTT-4.6.0-5", "MQTT-4.9.0-2", "MQTT-4.3.3-10")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_play(opened, connected, topic, client_id, seed):
    play = Play(seed, opened, connected, topic, client_id)
    for _ in range(250):
        play.step()
    for subscriber in play.subscribers:
        subscriber.finish()
