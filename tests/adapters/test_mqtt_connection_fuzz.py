"""Whatever a client sends, in whatever order, only its own connection can suffer."""

import logging

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mqtt.sessions.ports import LATER, Settings
from adapters.mqtt.sockets.connection import Connection
from adapters.mqtt.sockets.listener import MqttListener
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_plays import Play, read_all

IDS = st.integers(1, 4)
QOS = st.integers(0, 2)
TOPICS = st.sampled_from(["t", "t", "t", "t", "late", "late", "bad", "", "a/+", "$x"])
EXPIRED = b"\x02\0\0\0\0"
VERSIONS = st.sampled_from([4, 5])


def publishes(version):
    alias = st.sampled_from([b"", b"", b"\x23\0\1", b"\x23\0\2", b"\x23\0\x63", EXPIRED])

    def make(topic, qos, pid, dup, props):
        first = 0x30 | qos << 1 | (dup and qos > 0) << 3
        return wire.publish(
            topic, b"p", version, first=first, pid=pid if qos else None, props=props
        )

    return st.builds(make, TOPICS, QOS, IDS, st.booleans(), alias)


def packets(version):
    acks = st.builds(wire.ack, st.sampled_from([0x40, 0x50, 0x62, 0x70]), IDS)
    subscribes = st.builds(
        lambda topic, qos: wire.subscribe((topic, qos), version=version),
        st.sampled_from(["t", "#", "+/x"]),
        QOS,
    )
    gone = st.builds(lambda topic: wire.unsubscribe(topic, version=version), st.just("t"))
    rest = st.sampled_from([wire.PINGREQ, wire.DISCONNECT, wire.connect("c", version), b"\0"])
    more = publishes(version)
    return st.one_of(more, more, more, acks, acks, acks, acks, subscribes, gone, rest)


MOVES = st.sampled_from(["commit", "fail", "answer", "refuse", "flush", "lose", "full", "empty"])
PLAYS = VERSIONS.flatmap(
    lambda version: st.tuples(
        st.just(version),
        st.booleans(),
        st.lists(st.one_of(packets(version), packets(version), MOVES), min_size=30, max_size=60),
    )
)


class Rota:
    """Gives turns at once."""

    def add(self, worker):
        while worker.work():
            pass


class Later:
    """Collects who has something to send."""

    def __init__(self):
        self.dirty = []

    def add(self, connection):
        self.dirty.append(connection)

    def flush(self):
        dirty, self.dirty = self.dirty, []
        for connection in dirty:
            connection.flush()


class Socket:
    """A transport in memory."""

    def __init__(self):
        self.data = b""
        self.closing = False
        self.reading = True

    def write(self, data):
        assert not self.closing
        self.data += data

    def is_closing(self):
        return self.closing

    def is_reading(self):
        return self.reading

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def get_extra_info(self, name, default=None):
        return default

    def can_write_eof(self):
        return True

    def write_eof(self):
        pass

    def close(self):
        self.closing = True

    abort = close


class Client:
    def __init__(self, listener, version, durable):
        self.listener = listener
        self.version = version
        expiry = b"\x11\0\0\1\0" if durable and version == 5 else b""
        flags = 0 if durable else 2
        self.hello = wire.connect("c", version, flags=flags, props=expiry)
        self.connect()

    def connect(self):
        self.socket = Socket()
        self.connection = Connection(self.listener)
        self.connection.connection_made(self.socket)
        self.connection.data_received(self.hello)
        self.connection.data_received(wire.subscribe(("t", 2), version=self.version))

    def lose(self):
        self.listener.flusher.flush()
        read_all(self.socket.data, self.version)
        self.connection.connection_lost(None)
        self.connect()

    def move(self, play, move):
        if self.connection._closed:
            self.lose()
        if isinstance(move, bytes):
            self.connection.data_received(move)
        elif move in {"commit", "fail"}:
            getattr(play.store, move)()
        elif move in {"answer", "refuse"}:
            if play.desk.later:
                play.desk.answer(0x97 if move == "refuse" else 0)
        elif move == "flush":
            self.listener.flusher.flush()
        elif move == "lose":
            self.lose()
        elif move == "full":
            self.connection.pause_writing()
        else:
            self.connection.resume_writing()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(PLAYS)
def test_any_order_of_packets(caplog, plays):
    version, durable, moves = plays
    caplog.clear()
    play = Play(Settings(cloudevents=False, alias_maximum=2, window=3, receive_maximum=3))
    play.desk.answers = {"late": LATER, "bad": 0x87}
    listener = MqttListener(play.engine, play.desk, lambda: 0.0)
    listener.rota, listener.flusher = Rota(), Later()
    client = Client(listener, version, durable)
    with caplog.at_level(logging.WARNING):
        for move in moves:
            client.move(play, move)
        play.store.settle()
        client.lose()
    # A fault of ours would have been logged, and what we say can be read.
    assert not [record for record in caplog.records if record.exc_info]
    for session in play.desk.sessions.values():
        assert session.load == len(session.unacknowledged()) + _in_flight(session)


def _in_flight(session):
    """Return how many QoS 2 messages were sent."""
    out = session._out
    if out is None:
        return 0
    return sum(each.qos == 2 and (each.state > 0 or each.again) for each in out.messages.values())
