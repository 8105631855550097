"""Plays with durable sessions: what is promised to a client is on disk first."""

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
    Subscribe,
    Unsubscribe,
)
from gateway.message import Extras
from tests.adapters.mqtt_plays import LATER, Play, ack, key_of, publish

KEY = key_of()


def durable(play, **said):
    return play.connect(expiry=1000, clean_start=False, **said)


def brief(packets):
    return [(packet.kind, packet.packet_id) for packet in packets]


def away(session):
    session.closed(0x80, None)


# From the client


def test_pubrec_waits_for_the_mark_and_pubcomp_for_its_end():
    play = Play()
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5))
    assert wire.read() == []
    play.store.commit()
    assert brief(wire.read()) == [(PUBREC, 5)]
    assert play.store.marks[KEY] == {5}
    session.acknowledge(ack(PUBREL, 5))
    assert wire.read() == []
    play.store.commit()
    assert brief(wire.read()) == [(PUBCOMP, 5)]
    assert play.store.marks[KEY] == set()


def test_whoever_takes_the_mark_stores_it():
    play = Play()
    session, wire = durable(play)
    play.desk.takes_marks = True
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=2, packet_id=5))
    assert play.store.writes == 1
    play.store.commit()
    assert wire.read() == []
    play.desk.answer()
    assert brief(wire.read()) == [(PUBREC, 5)]


def test_a_refusal_takes_the_mark_back():
    play = Play()
    session, wire = durable(play)
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=2, packet_id=5))
    play.store.commit()
    play.desk.answer(0x97)
    assert wire.read() == []  # or else a crash could leave the mark for another message
    play.store.commit()
    got = wire.read()[0]
    assert (got.kind, got.reason) == (PUBREC, 0x97)
    assert play.store.marks[KEY] == set()


def test_a_refusal_takes_the_mark_back_although_the_client_is_gone():
    play = Play()
    session, _wire = durable(play)
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=2, packet_id=5))
    play.store.commit()
    away(session)
    play.desk.answer(0x97)
    play.store.commit()
    assert play.store.marks[KEY] == set()
    session, _wire = durable(play)
    session.publish(publish(qos=2, packet_id=5, dup=True))
    assert len(play.desk.published) == 2


def test_the_desk_may_answer_at_once():
    play = Play()
    session, wire = durable(play)
    publish_first = play.desk.publish

    def answers(session, packet, receipt):
        publish_first(session, packet, receipt)
        receipt.done(0x97 if packet.topic == "bad" else 0)
        return LATER

    play.desk.publish = answers
    session.publish(publish("bad", qos=2, packet_id=5))
    session.publish(publish("bad", qos=1, packet_id=6))
    session.publish(publish("good", qos=1, packet_id=7))
    assert brief(wire.read()) == [(PUBREC, 5), (PUBACK, 6), (PUBACK, 7)]
    assert play.store.writes == 0


def test_a_mark_that_cannot_be_written_is_not_acknowledged_but_known():
    play = Play()
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5))
    play.store.fail()
    assert wire.read() == []
    assert wire.ended[0] == 0x80
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5, dup=True))
    assert len(play.desk.published) == 1
    play.store.commit()
    assert brief(wire.read()) == [(PUBREC, 5)]


def test_a_mark_whose_end_cannot_be_written_stays():
    play = Play()
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5))
    play.store.commit()
    session.acknowledge(ack(PUBREL, 5))
    play.store.fail()
    assert brief(wire.read()) == [(PUBREC, 5)]
    assert wire.ended[0] == 0x80
    session, wire = durable(play)
    session.acknowledge(ack(PUBREL, 5))
    play.store.commit()
    assert brief(wire.read()) == [(PUBCOMP, 5)]


def test_a_duplicate_is_filtered_after_a_restart():
    play = Play()
    session, _wire = durable(play)
    session.publish(publish(qos=2, packet_id=5))
    play.store.commit()
    play.restart(KEY)
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5, dup=True))
    assert play.desk.published == []
    assert brief(wire.read()) == [(PUBREC, 5)]
    session.acknowledge(ack(PUBREL, 5))
    play.store.commit()
    assert brief(wire.read()) == [(PUBCOMP, 5)]


def test_a_duplicate_waits_for_the_first_one_over_a_reconnect():
    play = Play()
    play.desk.answers["t"] = LATER
    session, _first = durable(play)
    session.publish(publish(qos=2, packet_id=5))
    session.publish(publish(qos=1, packet_id=6))
    away(session)
    session, wire = durable(play)
    session.publish(publish(qos=2, packet_id=5, dup=True))
    session.publish(publish(qos=1, packet_id=6, dup=True))
    play.store.commit()
    play.desk.answer()
    play.desk.answer()
    assert brief(wire.read()) == [(PUBREC, 5)]  # not PUBACK for what the old connection carried
    play.desk.answer()
    assert brief(wire.read()) == [(PUBACK, 6)]


def test_suback_waits_for_the_disk():
    play = Play()
    session, wire = durable(play)
    session.subscribe(Subscribe(1, [Filter("t", 1)]))
    assert wire.read() == []
    assert ("subscribed", session) not in play.desk.calls
    play.store.commit()
    assert brief(wire.read()) == [(SUBACK, 1)]
    assert ("subscribed", session) in play.desk.calls
    session.unsubscribe(Unsubscribe(2, ["t"]))
    assert brief(wire.read()) == [(UNSUBACK, 2)]  # this desk writes nothing then
    session.subscribe(Subscribe(3, [Filter("t", 1)]))
    play.store.fail()
    assert wire.read() == []
    assert wire.ended[0] == 0x80


# To the client


def test_what_is_not_acknowledged_is_sent_again_in_order():
    play = Play()
    session, wire = durable(play)
    for number in range(4):
        session.deliver(play.desk.event("t", b"%d" % number), "t", 1 + number % 2)
        play.store.settle()
    assert [each.payload for each in wire.read()] == [b"0", b"1", b"2", b"3"]
    session.acknowledge(ack(PUBREC, 2))
    play.store.commit()
    assert brief(wire.read()) == [(PUBREL, 2)]
    away(session)
    session.deliver(play.desk.event("t", b"4"), "t", 1)
    session.deliver(play.desk.event("t", b"lost"), "t", 0)
    session, wire = durable(play)
    got = wire.read()
    assert brief(got) == [(PUBREL, 2), (PUBLISH, 1), (PUBLISH, 3), (PUBLISH, 4), (PUBLISH, 5)]
    assert [each.dup for each in got[1:]] == [True, True, True, False]


def test_a_smaller_window_after_a_reconnect():
    play = Play()
    session, wire = durable(play)
    for number in range(4):
        session.deliver(play.desk.event("t", b"%d" % number), "t", 1)
    assert len(wire.read()) == 4
    away(session)
    session, wire = durable(play, receive_maximum=2)
    got = wire.read()
    for number in range(1, 5):
        session.acknowledge(ack(PUBACK, number))
        got += wire.read()
    assert brief(got) == [(PUBLISH, 1), (PUBLISH, 2), (PUBLISH, 3), (PUBLISH, 4)]
    assert all(each.dup for each in got)


def test_qos_2_is_sent_when_its_identifier_is_on_disk_and_released_when_that_is():
    play = Play()
    session, wire = durable(play)
    session.deliver(play.desk.event("t"), "t", 2)
    session.deliver(play.desk.event("t"), "t", 1)
    assert wire.read() == []
    play.store.commit()
    assert brief(wire.read()) == [(PUBLISH, 1), (PUBLISH, 2)]
    session.acknowledge(ack(PUBREC, 1))
    session.acknowledge(ack(PUBACK, 2))
    assert wire.read() == []
    play.store.commit()
    assert brief(wire.read()) == [(PUBREL, 1)]
    play.restart(KEY)
    session, wire = durable(play)
    assert brief(wire.read()) == [(PUBREL, 1)]
    session.acknowledge(ack(PUBCOMP, 1))
    play.store.commit()
    assert play.store.messages[KEY] == {}
    assert session.load == 0


def test_a_qos_2_message_that_is_not_written_yet_is_not_sent_yet():
    play = Play()
    session, wire = durable(play)
    session.deliver(play.desk.event("t", b"first"), "t", 2)
    play.store.fail()
    session.deliver(play.desk.event("t", b"second"), "t", 2)
    play.store.fail()
    assert wire.read() == []
    play.store.commit()
    assert [each.payload for each in wire.read()] == [b"first", b"second"]


def test_a_release_that_could_not_be_written_ends_the_connection():
    play = Play()
    session, wire = durable(play)
    session.deliver(play.desk.event("t"), "t", 2)
    play.store.commit()
    session.acknowledge(ack(PUBREC, 1))
    play.store.fail()
    assert brief(wire.read()) == [(PUBLISH, 1)]
    assert wire.ended[0] == 0x80
    session, wire = durable(play)
    play.store.commit()
    assert brief(wire.read()) == [(PUBREL, 1)]


def test_a_message_comes_back_from_the_disk_as_it_was():
    play = Play()
    session, _wire = durable(play)
    away(session)
    extras = Extras((("a", "b"),), play.desk.now_ms + 9000, True, "r", b"c")
    event = play.desk.event("t/u", b"\xff\0", 2, extras, "x/y")
    session.deliver(event, "t/u", 1, retain=True, ids=(3, 4))
    play.store.commit()
    play.restart(KEY)
    play.desk.now_ms += 2000
    _session, wire = durable(play)
    got = wire.read()[0]
    assert (got.topic, got.payload, got.qos, got.retain) == ("t/u", b"\xff\0", 1, True)
    assert got.properties == {
        0x01: 1,
        0x02: 7,
        0x03: "x/y",
        0x08: "r",
        0x09: b"c",
        0x0B: [3, 4],
        0x26: [("a", "b")],
    }


def test_a_damaged_message_is_left_out():
    play = Play()
    session, _wire = durable(play)
    away(session)
    session.deliver(play.desk.event("t", b"1"), "t", 1)
    session.deliver(play.desk.event("t", b"2"), "t", 1)
    play.store.commit()
    first = play.store.messages[KEY][1]
    play.store.messages[KEY][1] = first._replace(body=b"\x93\0")
    play.restart(KEY)
    _session, wire = durable(play)
    assert [each.payload for each in wire.read()] == [b"2"]
    play.store.commit()
    assert list(play.store.messages[KEY]) == [2]


@pytest.mark.parametrize(
    "settings", [Settings(queue_messages=3), Settings(queue_bytes=30, queue_messages=100)]
)
def test_the_queue_of_an_absent_client_is_bounded(settings):
    play = Play(settings)
    session, _wire = durable(play)
    session.deliver(play.desk.event("t", b"flight"), "t", 1)
    away(session)
    for number in range(10):
        session.deliver(play.desk.event("t", b"%010d" % number), "t", 1)
    play.store.commit()
    assert session.load == 4
    assert len(play.store.messages[KEY]) == 4
    assert play.engine.counters.overflow == 7
    _session, wire = durable(play)
    assert [int(each.payload) for each in wire.read()[1:]] == [7, 8, 9]


def test_a_body_is_encoded_once_for_all_sessions():
    play = Play()
    sessions = [play.connect(str(number), expiry=9)[0] for number in range(3)]
    bodies = []
    play.store.keep = lambda body: bodies.append(body) or 0
    play.store.enqueue = lambda *_: None
    event = play.desk.event("t")
    for session in sessions:
        session.deliver(event, "t", 1)
    assert bodies[0] is bodies[1]
    assert bodies[1] is bodies[2]


def test_packet_identifiers_are_used_again_and_never_twice_at_once():
    play = Play()
    session, wire = play.connect(receive_maximum=65_535)
    session.deliver(play.desk.event("t"), "t", 1)
    for _ in range(65_540):
        session.deliver(play.desk.event("t"), "t", 1)
        session.acknowledge(ack(PUBACK, wire.read()[-1].packet_id))
    assert list(session._out.messages) == [1]


def test_a_shared_subscription_hears_what_its_member_has_taken():
    play = Play()
    session, _wire = play.connect(receive_maximum=1)

    class Member:
        def __init__(self):
            self.events = []

        def settled(self, event):
            self.events.append(event)

    member = Member()
    events = [play.desk.event("t") for _ in range(3)]
    for event in events:
        session.deliver(event, "t", 2, shared=member)
    session.deliver(play.desk.event("t"), "t", 2)
    # What was sent at QoS 2 nobody else may get.
    assert session.unacknowledged(member) == events[1:]
    assert len(session.unacknowledged()) == 1
    session.acknowledge(ack(PUBREC, 1))
    assert member.events == events[:1]
    assert session.unacknowledged(member) == events[1:]
    session.acknowledge(ack(PUBCOMP, 1))
    assert member.events == events[:1]


def test_an_ended_session_does_nothing():
    play = Play()
    session, _wire = durable(play)
    play.desk.answers["t"] = LATER
    session.publish(publish(qos=2, packet_id=1))
    session.deliver(play.desk.event("t"), "t", 2)
    away(session)
    session.end()
    writes = play.store.writes
    play.store.commit()
    play.desk.answer()
    session.deliver(play.desk.event("t"), "t", 1)
    session.deliver(play.desk.event("t"), "t", 0)
    assert play.store.writes == writes
    assert session.load == 0
    assert session.unacknowledged() == []
