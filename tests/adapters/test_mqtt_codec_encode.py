"""What a server sends: read back by another implementation, in 3.1.1 byte for byte."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.wire.codec import Decoder, encode
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Malformed,
    Pingresp,
    Properties,
    Publish,
    Reason,
    Suback,
    Unsuback,
    Will,
)
from tests.adapters.mqtt_bytes import connect

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
TOPIC = TEXT.filter(lambda text: text and not {"+", "#"} & set(text))
ATTRIBUTES = st.lists(st.tuples(TEXT, TEXT), max_size=3)
BYTES = st.binary(max_size=300)


def read(encoded: bytes):
    packet, length = mqtt5.read(memoryview(encoded))
    assert length == len(encoded)
    return packet


def taken(encoded: bytes, version: int = 5):
    decoder = Decoder(1 << 20)
    _, packet = decoder.feed(connect(version=version) + encoded)
    return packet


@given(
    TOPIC,
    BYTES,
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.builds(
        Properties,
        TEXT,
        st.just("") | TOPIC,
        st.none() | BYTES,
        st.none() | st.integers(0, 0xFFFF_FFFF),
        st.just(False),
        ATTRIBUTES.map(tuple),
        st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple),
        st.integers(0, 65_535),
    ),
)
def test_publish_of_mqtt_5(topic, payload, qos, retain, dup, said):
    dup = dup and qos > 0
    sent = Publish(topic, payload, qos, retain, 77 if qos else 0, dup, said)
    got = read(encode(sent, 5))
    assert (got.topic, got.payload, int(got.qos), got.retain) == (topic, payload, qos, retain)
    assert (got.packet_id, got.duplicate) == (77 if qos else None, dup)
    assert (got.content_type or "", got.response_topic or "") == (
        said.content_type,
        said.response_topic,
    )
    assert (got.correlation_data, got.message_expiry_interval) == (said.correlation, said.expiry)
    assert tuple(got.user_properties) == said.attributes
    assert tuple(got.subscription_ids) == said.subscription_ids
    assert (got.topic_alias or 0) == said.alias


@given(TOPIC, BYTES, st.integers(0, 2), st.booleans(), st.sampled_from([4, 5]))
def test_a_plain_publish_comes_back_as_it_was(topic, payload, qos, retain, version):
    sent = Publish(topic, payload, qos, retain, 258 if qos else 0)
    encoded = encode(sent, version)
    assert taken(encoded, version) == sent
    if version == 5:
        assert read(encoded).topic == topic


@pytest.mark.parametrize("size", [0, 100, 120, 121, 122, 123, 124, 125, 126, 16_380, 70_000])
@pytest.mark.parametrize("said", [None, Properties(text=True)])
@pytest.mark.parametrize("version", [4, 5])
def test_lengths_of_every_size(size, said, version):
    sent = Publish("t", b"x" * size, 1, False, 9, True, said if version == 5 else None)
    assert taken(encode(sent, version), version) == sent


def test_acknowledgements():
    for version in (4, 5):
        assert encode(Ack(PUBACK, 258), version) == b"\x40\2\1\2"
        assert encode(Ack(PUBREC, 258), version) == b"\x50\2\1\2"
        assert encode(Ack(PUBREL, 258), version) == b"\x62\2\1\2"
        assert encode(Ack(PUBCOMP, 258), version) == b"\x70\2\1\2"
    said = Ack(PUBACK, 1, Reason.NOT_AUTHORIZED, "no", (("a", "b"),))
    assert taken(encode(said, 5)) == said
    assert encode(said, 4) == b"\x40\2\0\1"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [(0x10, 0x10), (0x88, 0x83), (0x89, 0x97), (0x95, 0x83), (0x99, 0x99), (0x82, 0x83)],
)
def test_an_acknowledgement_carries_only_codes_of_its_own(reason, sent):
    assert taken(encode(Ack(PUBACK, 1, reason), 5)).reason == sent
    assert taken(encode(Ack(PUBREC, 1, reason), 5)).reason == sent
    assert taken(encode(Ack(PUBCOMP, 1, reason), 5)).reason == 0x92


def test_connack_of_mqtt_5():
    assert encode(Connack(), 5) == b"\x20\3\0\0\0"
    sent = Connack(
        session_present=True,
        why="hello",
        attributes=(("a", "b"),),
        expiry=0,
        receive_maximum=20,
        maximum_qos=1,
        retain_available=False,
        maximum_packet=1000,
        assigned_client_id="x",
        alias_maximum=10,
        wildcards_available=False,
        ids_available=False,
        shared_available=False,
        keep_alive=0,
        response_info="r",
        server_reference="s",
        authentication_method="m",
        authentication_data=b"d",
    )
    got = read(encode(sent, 5))
    assert (got.session_present, int(got.reason_code), got.reason_str) == (True, 0, "hello")
    assert (got.session_expiry_interval, got.server_keep_alive, int(got.max_qos)) == (0, 0, 1)
    assert (got.receive_max, got.topic_alias_max, got.max_packet_size) == (20, 10, 1000)
    assert (got.assigned_client_id, got.response_info, got.server_reference) == ("x", "r", "s")
    assert (got.authentication_method, got.authentication_data) == ("m", b"d")
    assert got.retain_available is got.wildcard_subscription_available is False
    assert got.subscription_id_available is got.shared_subscription_available is False
    assert got.user_properties == [("a", "b")]


@pytest.mark.parametrize("reason", [code for code in Reason if code >= 0x80 or code == 0])
def test_every_reason_to_refuse_a_client(reason):
    assert read(encode(Connack(reason), 5)).reason_code.value in {reason, 0x97, 0x83}
    encoded = encode(Connack(reason), 4)
    assert encoded == b"" or (encoded[:3] == b"\x20\2\0" and encoded[3] <= 5)
    assert (encoded[3:] == b"\0") is (reason == 0)


def test_return_codes_of_mqtt_311():
    assert encode(Connack(session_present=True), 4) == b"\x20\2\1\0"
    assert encode(Connack(Reason.UNSUPPORTED_PROTOCOL_VERSION), 4) == b"\x20\2\0\1"
    assert encode(Connack(Reason.CLIENT_IDENTIFIER_NOT_VALID), 4) == b"\x20\2\0\2"
    assert encode(Connack(Reason.SERVER_BUSY), 4) == b"\x20\2\0\3"
    assert encode(Connack(Reason.BAD_USER_NAME_OR_PASSWORD), 4) == b"\x20\2\0\4"
    assert encode(Connack(Reason.NOT_AUTHORIZED), 4) == b"\x20\2\0\5"
    assert encode(Connack(Reason.MALFORMED_PACKET), 4) == b""


def test_suback_and_unsuback():
    assert encode(Suback(258, [0, 1, 2, 0x87, 0x8F]), 4) == b"\x90\7\1\2\0\1\2\x80\x80"
    assert encode(Unsuback(258, [0, 0x11]), 4) == b"\xb0\2\1\2"
    got = read(encode(Suback(258, [0, 1, 2, 0x87, 0x95], "why"), 5))
    assert [int(code) for code in got.reason_codes] == [0, 1, 2, 0x87, 0x83]
    assert (got.packet_id, got.reason_str) == (258, "why")
    got = read(encode(Unsuback(258, [0, 0x11, 0x8F], attributes=(("a", "b"),)), 5))
    assert [int(code) for code in got.reason_codes] == [0, 0x11, 0x8F]
    assert got.user_properties == [("a", "b")]
    assert len(encode(Suback(1, [0] * 1000), 4)) == 1005


def test_the_rest():
    assert encode(Pingresp(), 4) == encode(Pingresp(), 5) == b"\xd0\0"
    assert encode(Disconnect(), 5) == b"\xe0\0"
    got = read(encode(Disconnect(Reason.SERVER_MOVED, "away", expiry=1, server_reference="s"), 5))
    assert (int(got.reason_code), got.reason_str, got.server_reference) == (0x9D, "away", "s")
    assert encode(Disconnect(Reason.SERVER_MOVED), 4) == b""


def test_what_does_not_fit_a_client_is_explained_less():
    wordy = Ack(PUBACK, 1, 0x87, "because " * 20, (("a", "b"),))
    assert len(encode(wordy, 5)) > 100
    assert encode(wordy, 5, 100) == b"\x40\3\0\1\x87"
    assert (wordy.why, wordy.attributes) == ("because " * 20, (("a", "b"),))
    assert encode(Connack(0x87, why="because " * 20), 5, 10) == b"\x20\3\0\x87\0"
    assert encode(Suback(1, [0] * 10, "because"), 5, 10) == b"", "not even without the reason"


@pytest.mark.parametrize("version", [4, 5])
def test_a_message_that_does_not_fit_is_not_sent(version):
    sent = Publish("a", b"x" * 100)
    size = len(encode(sent, version))
    assert encode(sent, version, size)
    assert encode(sent, version, size - 1) == b""


def test_what_cannot_be_said_in_mqtt():
    with pytest.raises(Malformed, match="65,535"):
        encode(Publish("a" * 65_536, b""), 4)
    with pytest.raises(Malformed, match="65535"):
        encode(Ack(PUBACK, 1, why="a" * 65_536), 5)
    with pytest.raises(Malformed):
        encode(Publish("a", b"", properties=Properties(content_type="\ud800")), 5)
    for version in (4, 5):
        with pytest.raises(Malformed, match="large"):
            encode(Publish("a", bytes(268_435_456)), version)


@given(
    TEXT,
    st.booleans(),
    st.integers(0, 65_535),
    st.none() | TEXT,
    st.none() | BYTES,
    st.integers(0, 0xFFFF_FFFF),
    st.integers(1, 65_535),
    st.none() | st.integers(1, 0xFFFF_FFFF),
    st.none() | st.tuples(TOPIC, BYTES, st.integers(0, 2), st.booleans(), st.integers(0, 9)),
    ATTRIBUTES,
)
def test_connects_of_another_implementation(
    client_id, clean, keep, username, password, expiry, maximum, largest, will, attributes
):
    their_will = our_will = None
    if will is not None:
        topic, payload, qos, retain, delay = will
        their_will = mqtt5.Will(
            topic,
            payload=payload,
            qos=mqtt5.QoS(qos),
            retain=retain,
            will_delay_interval=delay,
            user_properties=attributes,
        )
        said = Properties(attributes=tuple(attributes)) if attributes else None
        our_will = Will(topic, payload, qos, retain, delay, said)
    sent = mqtt5.ConnectPacket(
        client_id,
        username=username,
        password=password,
        clean_start=clean,
        will=their_will,
        keep_alive=keep,
        session_expiry_interval=expiry,
        receive_max=maximum,
        max_packet_size=largest,
        user_properties=attributes,
    ).write()
    decoder = Decoder(1 << 20)
    (got,) = decoder.feed(sent)
    assert got == Connect(
        client_id,
        5,
        clean,
        keep,
        username,
        password,
        our_will,
        expiry,
        maximum,
        largest or 0,
        attributes=tuple(attributes),
    )
