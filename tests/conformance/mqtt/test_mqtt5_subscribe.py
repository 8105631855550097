"""MQTT 5.0 sections 3.8 to 3.11, 4.7 and 4.8: subscriptions, filters, shared subscriptions."""

import pytest

from tests.adapters import mqtt_bytes as raw
from tests.conformance.clauses import clause
from tests.conformance.mqtt import reading

NO_LOCAL = 0x04


@clause("MQTT-3.8.3-2", "MQTT-3.10.3-2")
@pytest.mark.parametrize("packet", [raw.subscribe(), raw.unsubscribe()])
def test_a_request_without_a_filter(connected, packet):
    client = connected()
    client.send(packet)
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.8.3-3")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_local(connected, topic, qos):
    client, other = connected(), connected()
    client.subscribe((topic, qos | NO_LOCAL), (f"{topic}/back", qos))
    client.publish(topic, b"own", qos)
    client.publish(f"{topic}/back", b"wanted back", qos)
    other.publish(topic, b"other", qos)
    assert client.payloads() == [b"wanted back", b"other"]


@clause("MQTT-3.8.3-3")
def test_no_local_under_a_wildcard_and_for_a_resumed_session(connected, opened, client_id, topic):
    first = connected(client_id, expiry=60)
    first.subscribe((f"{topic}/#", 1 | NO_LOCAL))
    first.publish(f"{topic}/a", b"own", 1)
    first.disconnect()
    second = opened()
    second.connect(client_id, clean=False)
    second.publish(f"{topic}/a", b"own", 1)
    assert second.messages() == []


@clause("MQTT-3.8.3-4")
def test_no_local_on_a_shared_subscription(connected, topic):
    client = connected()
    client.send(raw.subscribe((f"$share/g/{topic}", NO_LOCAL)))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.8.3-5")
@pytest.mark.parametrize("options", [0x40, 0x80, 0xC0, 0x03, 0x30])
def test_subscription_options_that_there_are_not(connected, topic, options):
    client = connected()
    client.send(raw.subscribe((topic, options)))
    assert client.closed() in {0x81, 0x82}


@clause("MQTT-3.8.4-3")
def test_a_subscription_to_the_same_filter_replaces_the_first(connected, topic):
    client, publisher = connected(), connected()
    for wanted in (topic, f"{topic}/#"):
        for qos in (2, 0, 1):
            assert client.subscribe((wanted, qos)) == [qos]
            publisher.publish(topic, qos=2)
            got = client.messages()
            assert [one.qos for one in got] == [qos]
        client.unsubscribe(wanted)


@clause("MQTT-3.8.4-4")
def test_no_message_is_lost_while_a_subscription_is_replaced(connected, topic):
    client, publisher = connected(), connected()
    client.subscribe((topic, 1))
    for at in range(10):
        publisher.send(raw.publish(topic, b"%d" % at, first=0x32, pid=at + 1))
        client.send(raw.subscribe((topic, 1), pid=client.pid()))
    for at in range(10):
        publisher.answer(reading.PUBACK, at + 1)
    got = []
    while len(got) < 10:
        packet = client.next()
        if packet.kind == reading.PUBLISH:
            client.send(raw.ack(0x40, packet.pid))
            got.append(packet.payload)
    assert got == [b"%d" % at for at in range(10)]


@clause("MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2")
def test_many_filters_in_one_packet(connected, topic):
    client = connected()
    wanted = [(f"{topic}/{at}", at % 3) for at in range(30)]
    wanted.insert(10, ("closed/a", 1))
    codes = client.subscribe(*wanted)
    assert codes[10] >= 0x80
    del codes[10]
    assert codes == [at % 3 for at in range(30)]
    for at in range(30):
        client.publish(f"{topic}/{at}", b"%d" % at)
    assert client.payloads() == [b"%d" % at for at in range(30)]


@clause("MQTT-3.8.4-5", "MQTT-3.8.4-3")
def test_the_same_filter_twice_in_one_packet(connected, topic):
    client = connected()
    assert client.subscribe((topic, 2), (topic, 0)) == [2, 0]
    client.publish(topic, qos=1)
    assert [got.qos for got in client.messages()] == [0]


@clause("MQTT-3.8.4-7", "MQTT-3.9.3-2")
@pytest.mark.parametrize("wanted", ["closed/a", "nowhere", "$SYS/nothing", "$other/#", "/", " "])
def test_reason_codes_of_subscriptions(connected, wanted):
    """The reader knows which codes there are."""
    (code,) = connected().subscribe((wanted, 0))
    assert code in {0, 0x80, 0x83, 0x87, 0x8F}


@clause("MQTT-3.8.4-8", "MQTT-4.8.2-3")
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("share", ["", "$share/g/"])
def test_the_qos_of_a_message_is_the_smaller_one(connected, topic, granted, sent, share):
    client, publisher = connected(), connected()
    assert client.subscribe((f"{share}{topic}", granted)) == [granted]
    publisher.publish(topic, qos=sent)
    assert client.message().qos == min(granted, sent)


@clause("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.11.3-1", "MQTT-3.11.3-2", "MQTT-3.10.4-6")
def test_unsubscribe_compares_filters_character_by_character(connected, topic):
    client = connected()
    filters = [topic, f"{topic}/+", f"{topic}/#"]
    client.subscribe(*((one, 0) for one in filters))
    assert client.unsubscribe(f"{topic}/a", f"{topic.upper()}", topic, f"{topic}/#") == [
        0x11,
        0x11,
        0,
        0,
    ]
    client.publish(topic)
    client.publish(f"{topic}/a/b")
    assert client.messages() == []
    client.publish(f"{topic}/a", b"by +")
    assert client.payloads() == [b"by +"]
    assert client.unsubscribe(f"{topic}/+", f"{topic}/+") == [0, 0x11]
    client.publish(f"{topic}/a")
    assert client.messages() == []


@clause("MQTT-3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_in_flight_is_delivered_after_unsubscribe(connected, opened, client_id, topic, qos):
    client = connected(client_id, expiry=60)
    client.subscribe((topic, qos))
    connected().publish(topic, b"in flight", qos)
    sent = client.unread()
    client.unsubscribe(topic)
    if qos == 2:
        client.send(raw.ack(0x50, sent.pid))
        assert client.expect(reading.PUBREL).pid == sent.pid
        client.cut()
        again = opened()
        again.connect(client_id, clean=False)
        assert again.expect(reading.PUBREL).pid == sent.pid
    else:
        client.cut()
        again = opened()
        again.connect(client_id, clean=False)
        assert again.message().pid == sent.pid


@clause("MQTT-3.10.4-4", "MQTT-3.10.4-5")
def test_unsubscribe_is_answered_even_when_there_was_nothing(connected, topic):
    assert connected().unsubscribe(topic, "nowhere") == [0x11, 0x11]


# Topics and filters


@clause("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1")
@pytest.mark.parametrize(
    "wrong", ["", "free/a#", "free/#/a", "#a", "free/+a", "free/a+/b", "++", "free/a+"]
)
@pytest.mark.parametrize("make", [lambda one: raw.subscribe((one, 0)), raw.unsubscribe])
def test_filters_that_are_none(connected, wrong, make):
    client = connected()
    client.send(make(wrong))
    assert client.closed() in {0x81, 0x82, 0x8F}


@clause("MQTT-4.7.1-2", "MQTT-3.3.2-3")
def test_a_plus_may_be_any_level(connected, topic):
    client = connected()
    level = topic.removeprefix("free/")
    for wanted in (f"+/{level}/b", f"free/{level}/+", f"+/{level}/+"):
        client.subscribe((wanted, 0))
        client.publish(f"{topic}/b")
        assert [got.topic for got in client.messages()] == [f"{topic}/b"]
        client.unsubscribe(wanted)


@clause("MQTT-4.7.2-1")
@pytest.mark.parametrize("wild", ["#", "+/#", "+/broker/#", "+/broker/version"])
def test_no_leading_wildcard_matches_a_dollar(connected, topic, wild):
    client = connected()
    client.subscribe((wild, 0))
    client.publish(topic)
    got = {one.topic for one in client.messages()}
    assert not any(one.startswith("$") for one in got)


@clause("MQTT-4.7.3-3")
def test_the_longest_topic_filter(connected):
    client = connected()
    longest = "free/" + "x" * (65_535 - 5)
    assert client.subscribe((longest, 0))[0] in {0, 0x80, 0x83, 0x87, 0x8F, 0x97}
    assert client.publish(longest, qos=1) in {0, 0x80, 0x83, 0x87, 0x90, 0x97}


@clause("MQTT-4.7.3-4")
def test_topics_are_compared_as_they_are(connected, topic):
    client = connected()
    spellings = ["a", "A", "\u00e9", "e\u0301", "ﬁ", "fi", "ß", "ss"]
    for one in spellings:
        client.subscribe((f"{topic}/{one}", 0))
    for one in spellings:
        client.publish(f"{topic}/{one}", one.encode())
        got = client.message()
        assert (got.topic, got.payload) == (f"{topic}/{one}", one.encode())
    assert client.messages() == []


# Shared subscriptions


@clause("MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize(
    "wrong",
    ["$share/", "$share//free/a", "$share/g", "$share/g/", "$share/+/free/a", "$share/g#/free/a"],
)
def test_shared_filters_that_are_none(connected, wrong):
    client = connected()
    client.send(raw.subscribe((wrong, 0)))
    assert client.closed() in {0x81, 0x82, 0x8F}


@clause("MQTT-4.8.2-1", "MQTT-4.8.2-2")
def test_a_message_goes_to_one_of_each_group(connected, topic):
    one, two, three, alone = connected(), connected(), connected(), connected()
    for client, group in ((one, "g"), (two, "g"), (three, "h")):
        assert client.subscribe((f"$share/{group}/{topic}", 1)) == [1]
    alone.subscribe((topic, 1))
    for at in range(10):
        alone.publish(topic, b"%d" % at, 1)
    every = {b"%d" % at for at in range(10)}
    first, second = one.payloads(), two.payloads()
    assert {*first, *second} == every
    assert len(first) + len(second) == 10
    assert set(three.payloads()) == set(alone.payloads()) == every


@clause("MQTT-3.3.1-9", "MQTT-4.8.2-3")
def test_no_retained_messages_for_a_shared_subscription(connected, topic):
    """Section 4.8: a Retain Handling of any value sends none."""
    client = connected()
    client.publish(topic, b"kept", 1, retain=True)
    client.subscribe((f"$share/g/{topic}", 1))
    assert client.messages() == []


@clause("MQTT-4.8.2-4", "MQTT-4.8.2-5")
def test_a_shared_message_of_qos_2_stays_with_the_client_it_was_sent_to(
    connected, opened, client_id, topic
):
    first, second = connected(client_id, expiry=60), connected()
    first.subscribe((f"$share/g/{topic}", 2))
    connected().publish(topic, b"once", 2)
    sent = first.unread()
    second.subscribe((f"$share/g/{topic}", 2))
    first.cut()
    assert second.messages() == []
    again = opened()
    again.connect(client_id, clean=False)
    got = again.message()
    assert (got.pid, got.dup, got.payload) == (sent.pid, True, b"once")


@clause("MQTT-4.8.2-5")
def test_a_shared_message_of_qos_2_dies_with_the_session_it_was_sent_to(connected, topic):
    first, second = connected(), connected()
    first.subscribe((f"$share/g/{topic}", 2))
    connected().publish(topic, b"once", 2)
    first.unread()
    second.subscribe((f"$share/g/{topic}", 2))
    first.cut()
    second.nothing()


@clause("MQTT-4.8.2-6")
@pytest.mark.parametrize(("qos", "first"), [(1, 0x40), (2, 0x50)])
def test_a_shared_message_that_is_refused_goes_to_nobody_else(connected, topic, qos, first):
    one, two = connected(), connected()
    one.subscribe((f"$share/g/{topic}", qos))
    connected().publish(topic, qos=qos)
    got = one.unread()
    two.subscribe((f"$share/g/{topic}", qos))
    one.send(raw.ack(first, got.pid, b"\x83"))
    one.ping()
    one.cut()
    assert two.messages() == []


@clause("MQTT-4.8.2-3")
def test_leaving_a_shared_subscription(connected, topic):
    client = connected()
    client.subscribe((f"$share/g/{topic}", 0), (topic, 0))
    assert client.unsubscribe(f"$share/g/{topic}") == [0]
    client.publish(topic)
    assert len(client.messages()) == 1


@clause("MQTT-4.8.2-3")
def test_shared_and_own_subscriptions_stand_beside_each_other(connected, topic):
    client, publisher = connected(), connected()
    client.subscribe((f"$share/g/{topic}", 1), (f"$share/h/{topic}", 2), (topic, 0))
    publisher.publish(topic, qos=2)
    assert sorted(got.qos for got in client.messages()) == [0, 1, 2]


@clause("MQTT-4.8.2-1", "MQTT-4.8.2-2")
def test_a_shared_subscription_with_a_wildcard(connected, topic):
    clients = [connected() for _ in range(2)]
    for client in clients:
        client.subscribe((f"$share/g/{topic}/#", 1))
    publisher = connected()
    for at in range(10):
        publisher.publish(f"{topic}/{at % 3}", b"%d" % at, 1)
    got = [client.payloads() for client in clients]
    assert sorted(got[0] + got[1]) == sorted(b"%d" % at for at in range(10))
