"""Plays with one session: packets in, packets out."""

import pytest

from adapters.mqtt.sessions.ports import Settings
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Filter,
    Malformed,
    Properties,
    Publish,
    Subscribe,
    Unsubscribe,
)
from gateway.message import Extras
from tests.adapters.mqtt_plays import LATER, Play, ack, publish


def kinds(packets):
    return [packet.kind for packet in packets]


def ids(packets):
    return [packet.packet_id for packet in packets]


# From the client


@pytest.mark.parametrize("version", [4, 5])
def test_qos_0_is_published_and_not_acknowledged(version):
    play = Play()
    session, wire = play.connect(version=version)
    session.publish(publish())
    assert len(play.desk.published) == 1
    assert wire.read() == []


@pytest.mark.parametrize("version", [4, 5])
def test_qos_1_is_acknowledged(version):
    play = Play()
    session, wire = play.connect(version=version)
    session.publish(publish(qos=1, packet_id=7))
    assert [(got.kind, got.packet_id, got.reason) for got in wire.read()] == [(PUBACK, 7, 0)]


def test_acknowledgements_are_in_the_order_of_the_messages():
    play = Play()
    session, wire = play.connect()
    play.desk.answers["late"] = LATER
    session.publish(publish("late", qos=1, packet_id=1))
    session.publish(publish("t", qos=1, packet_id=2))
    session.publish(publish("late", qos=2, packet_id=3))
    session.publish(publish("t", qos=1, packet_id=4))
    assert wire.read() == []
    play.desk.answer(at=1)
    assert wire.read() == []
    play.desk.answer(0x10)
    got = wire.read()
    assert [(each.kind, each.packet_id) for each in got] == [
        (PUBACK, 1),
        (PUBACK, 2),
        (PUBREC, 3),
        (PUBACK, 4),
    ]
    assert got[0].reason == 0x10


def test_a_qos_2_message_is_taken_once():
    play = Play()
    session, wire = play.connect()
    session.publish(publish(qos=2, packet_id=5))
    session.publish(publish(qos=2, packet_id=5, dup=True))
    assert len(play.desk.published) == 1
    assert kinds(wire.read()) == [PUBREC, PUBREC]
    session.acknowledge(ack(PUBREL, 5))
    assert kinds(wire.read()) == [PUBCOMP]
    session.publish(publish(qos=2, packet_id=5))
    assert len(play.desk.published) == 2


def test_pubrel_of_what_is_not_known_is_answered_so():
    play = Play()
    session, wire = play.connect()
    session.acknowledge(ack(PUBREL, 9))
    got = wire.read()[0]
    assert (got.kind, got.reason) == (PUBCOMP, 0x92)


def test_pubrel_before_pubrec_breaks_the_protocol():
    play = Play()
    session, _wire = play.connect()
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=2, packet_id=1))
    with pytest.raises(Malformed) as caught:
        session.acknowledge(ack(PUBREL, 1))
    assert caught.value.reason == 0x82


def test_a_refused_message_frees_its_packet_identifier():
    play = Play()
    session, wire = play.connect()
    play.desk.answers["t"] = 0x87
    session.publish(publish(qos=2, packet_id=1))
    assert [(got.kind, got.reason) for got in wire.read()] == [(PUBREC, 0x87)]
    session.publish(publish(qos=2, packet_id=1))
    assert len(play.desk.published) == 2


def test_version_311_is_disconnected_instead_of_refused():
    play = Play()
    session, wire = play.connect(version=4)
    play.desk.answers["t"] = 0x87
    session.publish(publish(qos=1, packet_id=1))
    assert wire.read() == []
    assert wire.ended[0] == 0x87
    assert play.desk.gone == [(session, 0x87, None)]


def test_more_than_the_receive_maximum_breaks_the_protocol():
    play = Play(Settings(receive_maximum=2))
    session, wire = play.connect()
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=1, packet_id=1))
    session.publish(publish(qos=2, packet_id=2))
    with pytest.raises(Malformed) as caught:
        session.publish(publish(qos=1, packet_id=3))
    assert caught.value.reason == 0x93
    assert wire.read() == []


def test_the_receive_maximum_counts_a_qos_2_message_until_pubcomp():
    play = Play(Settings(receive_maximum=1))
    session, wire = play.connect()
    session.publish(publish(qos=2, packet_id=1))
    with pytest.raises(Malformed):
        session.publish(publish(qos=1, packet_id=2))
    session.acknowledge(ack(PUBREL, 1))
    session.publish(publish(qos=1, packet_id=2))
    assert kinds(wire.read()) == [PUBREC, PUBCOMP, PUBACK]


def test_a_311_client_that_runs_ahead_is_not_read_from():
    play = Play()
    session, wire = play.connect(version=4)
    play.desk.answers["t"] = LATER
    for number in range(1, 1101):
        session.publish(publish(qos=1, packet_id=number))
    assert wire.held
    for _ in range(1100):
        play.desk.answer()
    assert not wire.held
    assert ids(wire.read()) == list(range(1, 1101))


def test_topic_aliases_of_the_client():
    play = Play(Settings(alias_maximum=2))
    session, _wire = play.connect()
    session.publish(Publish("a/b", b"1", properties=Properties(alias=1)))
    session.publish(Publish("", b"2", properties=Properties(alias=1)))
    session.publish(Publish("c", b"3", properties=Properties(alias=1)))
    session.publish(Publish("", b"4", properties=Properties(alias=1)))
    assert [each.topic for each in play.desk.published] == ["a/b", "a/b", "c", "c"]
    with pytest.raises(Malformed) as unknown:
        session.publish(Publish("", b"", properties=Properties(alias=2)))
    assert unknown.value.reason == 0x82
    with pytest.raises(Malformed) as too_high:
        session.publish(Publish("a", b"", properties=Properties(alias=3)))
    assert too_high.value.reason == 0x94


def test_subscriptions_are_acknowledged():
    play = Play()
    session, wire = play.connect()
    session.subscribe(Subscribe(3, [Filter("a/+", 1), Filter("b", 2)]))
    session.unsubscribe(Unsubscribe(4, ["a/+", "x"]))
    suback, unsuback = wire.read()
    assert (suback.kind, suback.packet_id, suback.reasons) == (SUBACK, 3, (1, 2))
    assert (unsuback.kind, unsuback.packet_id, unsuback.reasons) == (UNSUBACK, 4, (0, 0x11))


# To the client


def test_a_message_is_sent_at_each_qos():
    play = Play()
    session, wire = play.connect()
    for qos in range(3):
        session.deliver(play.desk.event("t", b"p"), "t", qos, retain=qos == 1, ids=(1, 300))
    got = wire.read()
    assert [each.qos for each in got] == [0, 1, 2]
    assert [each.retain for each in got] == [False, True, False]
    assert ids(got) == [0, 1, 2]
    assert all(each.properties[0x0B] == [1, 300] for each in got)
    assert session.load == 2
    session.acknowledge(ack(PUBACK, 1))
    session.acknowledge(ack(PUBREC, 2))
    assert [(each.kind, each.packet_id) for each in wire.read()] == [(PUBREL, 2)]
    session.acknowledge(ack(PUBCOMP, 2))
    assert session.load == 0


def test_the_client_window_holds():
    play = Play()
    session, wire = play.connect(receive_maximum=2)
    for number in range(5):
        session.deliver(play.desk.event("t", b"%d" % number), "t", 1)
    assert ids(wire.read()) == [1, 2]
    assert session.slow
    assert play.desk.calls[-1] == ("paused", session)
    session.acknowledge(ack(PUBACK, 2))
    assert ids(wire.read()) == [3]
    for number in (1, 3, 4, 5):
        session.acknowledge(ack(PUBACK, number))
    assert ids(wire.read()) == [4, 5]
    assert not session.slow
    assert play.desk.calls[-1] == ("resumed", session)


def test_a_refused_qos_2_message_is_done_with():
    play = Play()
    session, wire = play.connect()
    session.deliver(play.desk.event("t"), "t", 2)
    session.acknowledge(ack(PUBREC, 1, 0x80))
    assert session.load == 0
    assert kinds(wire.read()) == [PUBLISH]


def test_pubrec_of_what_is_not_known():
    play = Play()
    session, wire = play.connect()
    session.acknowledge(ack(PUBREC, 3))
    got = wire.read()[0]
    assert (got.kind, got.packet_id, got.reason) == (PUBREL, 3, 0x92)
    session.acknowledge(ack(PUBACK, 3))
    session.acknowledge(ack(PUBCOMP, 3))
    assert wire.read() == []


def test_what_is_too_large_for_the_client_is_dropped():
    play = Play()
    session, wire = play.connect(maximum_packet=40)
    for qos in range(3):
        session.deliver(play.desk.event("t", bytes(40)), "t", qos)
        session.deliver(play.desk.event("t", b"x"), "t", qos)
    assert [each.payload for each in wire.read()] == [b"x"] * 3
    assert play.engine.counters.too_large == 3
    assert session.load == 2


def test_what_has_expired_is_dropped_and_the_rest_of_the_interval_is_passed_on():
    play = Play()
    session, wire = play.connect(receive_maximum=1)
    event = play.desk.event("t", extras=Extras(expires=play.desk.now_ms + 10_000))
    for qos in (0, 1, 1):
        session.deliver(event, "t", qos)
    play.desk.now_ms += 4_000
    session.deliver(event, "t", 0)
    session.acknowledge(ack(PUBACK, 1))
    assert [each.properties[0x02] for each in wire.read()] == [10, 10, 6, 6]
    session.deliver(event, "t", 1)
    play.desk.now_ms += 6_000
    session.deliver(event, "t", 0)
    session.acknowledge(ack(PUBACK, 2))
    assert wire.read() == []
    assert play.engine.counters.expired == 2
    assert session.load == 0


def test_properties_are_passed_on():
    play = Play()
    session, wire = play.connect()
    extras = Extras((("a", "1"), ("a", "2")), 0, True, "reply/to", b"\0id")
    session.deliver(play.desk.event("t", extras=extras, content_type="text/plain"), "t", 1)
    assert wire.read()[0].properties == {
        0x01: 1,
        0x03: "text/plain",
        0x08: "reply/to",
        0x09: b"\0id",
        0x26: [("a", "1"), ("a", "2")],
    }


def test_events_carry_cloudevents_attributes_unless_they_have_their_own():
    play = Play(Settings(cloudevents=True))
    session, wire = play.connect()
    play.desk.now_ms = 1_700_000_000_123
    session.deliver(play.desk.event("room/heat"), "room/heat", 0)
    own = (("specversion", "1.0"), ("id", "7"))
    session.deliver(play.desk.event("room/heat", extras=Extras(own)), "room/heat", 0)
    first, second = wire.read()
    assert dict(first.properties[0x26]) == {
        "specversion": "1.0",
        "id": "i-1",
        "source": "urn:hilum:localhost/room/heat",
        "type": "hilum.event",
        "time": "2023-11-14T22:13:20.123Z",
    }
    assert tuple(second.properties[0x26]) == own


def test_topic_aliases_towards_the_client():
    play = Play()
    session, wire = play.connect(alias_maximum=1, maximum_packet=60)
    for payload in (b"1", bytes(60), b"2", b"3"):
        session.deliver(play.desk.event("a/b", payload), "a/b", 0)
    session.deliver(play.desk.event("a/b", b"4"), "a/b", 1)
    session.deliver(play.desk.event("c", b"5"), "c", 0)
    session.deliver(play.desk.event("c", b"6"), "c", 0)
    got = wire.read()
    spelled = [(each.topic, each.properties.get(0x23), each.payload) for each in got]
    assert spelled == [
        ("a/b", None, b"1"),
        ("a/b", None, b"2"),
        ("a/b", 1, b"3"),
        ("", 1, b"4"),
        ("c", None, b"5"),
        ("c", None, b"6"),
    ]


def test_a_slow_client_gets_no_qos_0_and_the_rest_later():
    play = Play()
    session, wire = play.connect()
    wire.full = True
    session.filled()
    assert session.slow
    session.deliver(play.desk.event("t", b"0"), "t", 0)
    session.deliver(play.desk.event("t", b"1"), "t", 1)
    assert not session.send(Publish("r", b""))
    assert wire.read() == []
    assert play.engine.counters.slow == 1
    wire.full = False
    session.emptied()
    assert [each.payload for each in wire.read()] == [b"1"]
    assert not session.slow
    assert session.send(Publish("r", b"now"))
    assert wire.read()[0].payload == b"now"
