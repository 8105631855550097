"""MQTT 5.0 sections 3.4 to 3.7, 4.3, 4.4 and 4.6: acknowledgements, resending, order."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading


@clause("MQTT-3.4.2-1", "MQTT-3.5.2-1")
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("topic", ["closed/a", "nowhere", "/", "$SYS/a", "$other/a", "free/ /a"])
def test_reason_codes_of_what_is_not_taken(connected, topic, qos):
    """The reader knows which codes there are."""
    client = connected()
    assert client.publish(topic, qos=qos) in {0x80, 0x83, 0x87, 0x90} | (
        {0} if topic == "free/ /a" else set()
    )
    client.ping()


@clause(
    *("MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3", "MQTT-3.7.2-2"),
    *("MQTT-3.7.2-3", "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2"),
)
@pytest.mark.parametrize("size", [16, 20, 40])
def test_reasons_that_do_not_fit_the_client_are_left_out(connected, size):
    client = connected(props=b"\x27" + size.to_bytes(4, "big"))
    for qos in (1, 2):
        assert client.publish("closed/a", qos=qos) >= 0x80
    assert client.subscribe(("closed/a", 0))[0] >= 0x80
    assert len(client.unsubscribe("closed/a")) == 1
    client.send(raw.ack(0x62, 999))
    assert client.expect(reading.PUBCOMP).code == 0x92
    assert all(got.size <= size for got in client.received[1:])


@clause("MQTT-3.6.2-1", "MQTT-3.7.2-1")
def test_reason_codes_of_pubrel_and_pubcomp(connected, topic):
    client = connected()
    client.send(raw.ack(0x62, 7))
    assert client.expect(reading.PUBCOMP).code == 0x92
    client.send(raw.ack(0x50, 7))
    got = client.expect(reading.PUBREL)
    assert (got.pid, got.code) == (7, 0x92)


@clause("MQTT-3.6.2-2", "MQTT-3.6.2-3")
def test_pubrel_fits_the_client(connected):
    client = connected(props=b"\x27\0\0\0\x10")
    client.send(raw.ack(0x50, 7))
    assert client.expect(reading.PUBREL).size <= 16


@clause("MQTT-4.3.2-5")
def test_after_puback_the_same_identifier_is_a_new_message(connected, topic):
    client = connected()
    client.subscribe((topic, 0))
    for first in (0x32, 0x32, 0x3A):
        client.send(raw.publish(topic, first=first, pid=5))
        client.answer(reading.PUBACK, 5)
    assert len(client.messages()) == 3


@clause("MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.4.0-1")
def test_pubrel_is_sent_again_and_publish_is_not(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 2))
    connected().publish(topic, qos=2)
    pid = first.unread().pid
    first.send(raw.ack(0x50, pid))
    assert first.expect(reading.PUBREL).pid == pid
    first.cut()
    for _ in range(2):
        client = opened()
        client.connect(client_id, clean=False, expiry=60)
        assert client.expect(reading.PUBREL).pid == pid
        client.ping()
        client.cut()
    last = opened()
    last.connect(client_id, clean=False, expiry=60)
    last.expect(reading.PUBREL)
    last.send(raw.ack(0x70, pid))
    last.ping()
    last.cut()
    done = opened()
    done.connect(client_id, clean=False, expiry=60)
    assert done.messages() == []


@clause("MQTT-4.3.3-3", "MQTT-4.4.0-1")
def test_publish_is_sent_again_until_pubrec(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((topic, 2))
    connected().publish(topic, b"once", 2)
    pid = first.unread().pid
    first.cut()
    second = opened()
    second.connect(client_id, clean=False)
    got = second.message()
    assert (got.pid, got.dup, got.payload) == (pid, True, b"once")


@clause("MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_sent_again_on_the_same_connection(connected, topic, qos):
    client, publisher = connected(), connected()
    client.subscribe((topic, qos))
    publisher.publish(topic, qos=qos)
    client.unread()
    client.ping()
    client.subscribe((topic, qos | 0x20))
    client.nothing(0.3)


@clause("MQTT-4.4.0-2", "MQTT-4.3.3-4")
@pytest.mark.parametrize(("qos", "first"), [(1, 0x40), (2, 0x50)])
def test_a_refused_message_is_done_with(connected, opened, client_id, topic, qos, first):
    client = connected(client_id, expiry=60)
    client.subscribe((topic, qos))
    connected().publish(topic, qos=qos)
    client.send(raw.ack(first, client.unread().pid, b"\x80"))
    client.ping()
    client.cut()
    again = opened()
    again.connect(client_id, clean=False)
    assert again.messages() == []


@clause("MQTT-4.3.3-9")
def test_a_refused_message_of_qos_2_leaves_its_identifier_free(connected, topic):
    client = connected()
    client.subscribe((topic, 2))
    client.send(raw.publish("closed/a", first=0x34, pid=9))
    assert client.expect(reading.PUBREC).code >= 0x80
    client.send(raw.publish(topic, b"new", first=0x34, pid=9))
    assert client.answer(reading.PUBREC, 9).code == 0
    assert client.message().payload == b"new"


@clause("MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-12")
def test_a_message_of_qos_2_is_delivered_once(connected, opened, client_id, topic):
    watcher = connected()
    watcher.subscribe((topic, 2))
    first = connected(client_id, expiry=60)
    for flags in (0x34, 0x3C, 0x3C):
        first.send(raw.publish(topic, b"once", first=flags, pid=9))
        assert first.expect(reading.PUBREC).code in {0, 0x10}
    first.cut()
    second = opened()
    second.connect(client_id, clean=False)
    second.send(raw.publish(topic, b"once", first=0x3C, pid=9))
    second.expect(reading.PUBREC)
    second.send(raw.ack(0x62, 9))
    second.expect(reading.PUBCOMP)
    assert watcher.payloads() == [b"once"]
    second.send(raw.publish(topic, b"new", first=0x34, pid=9))
    second.expect(reading.PUBREC)
    assert watcher.payloads() == [b"new"]


@clause("MQTT-4.3.3-11")
def test_every_pubrel_is_answered(connected, topic):
    client = connected()
    client.send(raw.publish(topic, first=0x34, pid=9))
    client.expect(reading.PUBREC)
    for code in (0, 0x92):
        client.send(raw.ack(0x62, 9))
        got = client.expect(reading.PUBCOMP)
        assert (got.pid, got.code) == (9, code)


@clause("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-3.3.4-9")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_keep_their_order(connected, topic, qos):
    client, publisher = connected(props=b"\x21\0\3"), connected()
    client.subscribe((topic, qos))
    publisher.send(
        *(raw.publish(topic, b"%d" % at, first=0x30 | qos << 1, pid=at + 1 if qos else None)
          for at in range(20))
    )  # fmt: skip
    got = [client.message().payload for _ in range(20)]
    assert got == [b"%d" % at for at in range(20)]


@clause("MQTT-4.6.0-5", "MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_keep_their_order_when_they_are_sent_again(
    connected, opened, client_id, topic, qos
):
    first = connected(client_id, expiry=60, props=b"\x21\0\4")
    first.subscribe((topic, qos))
    publisher = connected()
    for at in range(8):
        publisher.publish(topic, b"%d" % at, qos)
    for _ in range(4):
        first.unread()
    first.cut()
    second = opened()
    second.connect(client_id, clean=False, props=b"\x21\0\2")
    got = [second.message() for _ in range(8)]
    assert [one.payload for one in got] == [b"%d" % at for at in range(8)]
    assert [one.dup for one in got] == [True] * 4 + [False] * 4


@clause("MQTT-4.6.0-5")
@pytest.mark.parametrize(("first", "kind"), [(0x32, reading.PUBACK), (0x34, reading.PUBREC)])
def test_acknowledgements_come_in_order(connected, topic, first, kind):
    """The specification asks clients for it; a server that does it too is easier to use."""
    client = connected()
    client.send(*(raw.publish(topic, first=first, pid=pid) for pid in range(1, 30)))
    assert [client.expect(kind).pid for _ in range(1, 30)] == list(range(1, 30))


@clause("MQTT-4.3.2-3", "MQTT-4.1.0-1")
def test_acknowledgements_of_nothing_do_no_harm(connected, topic):
    client = connected()
    client.subscribe((topic, 1))
    client.send(raw.ack(0x40, 77), raw.ack(0x70, 77))
    client.publish(topic, qos=1)
    assert client.message().qos == 1


@clause("MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-2.2.1-5")
@pytest.mark.parametrize(("qos", "first"), [(2, 0x40), (2, 0x70), (1, 0x50), (1, 0x70)])
def test_only_its_own_acknowledgement_ends_a_message(
    connected, opened, client_id, topic, qos, first
):
    client = connected(client_id, expiry=60)
    client.subscribe((topic, qos))
    connected().publish(topic, b"once", qos)
    pid = client.unread().pid
    client.send(raw.ack(first, pid))
    client.cut()
    again = opened()
    again.connect(client_id, clean=False)
    got = again.message()
    assert (got.pid, got.payload, got.qos) == (pid, b"once", qos)


@clause("MQTT-4.6.0-5")
@pytest.mark.parametrize(("first", "kind"), [(0x32, reading.PUBACK), (0x34, reading.PUBREC)])
def test_refusals_wait_for_what_is_written_before_them(connected, client_id, topic, first, kind):
    client = connected(client_id, expiry=60)
    topics = [topic, "closed/a"] * 10
    client.send(*(raw.publish(one, first=first, pid=pid + 1) for pid, one in enumerate(topics)))
    got = [client.expect(kind) for _ in topics]
    assert [one.pid for one in got] == list(range(1, 21))
    assert [one.code >= 0x80 for one in got] == [False, True] * 10
