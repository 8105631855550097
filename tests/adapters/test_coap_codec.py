"""CoAP messages, options and forms: what is read, what is refused, and nothing else."""

import contextlib
import json

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.coap.serving.echo import LIFETIME, Echoes
from adapters.coap.wire import formats
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import (
    ACK,
    CON,
    NON,
    RST,
    FormatError,
    Message,
    code_of,
    code_text,
    decode,
    empty,
    encode,
)
from gateway.message import WIRE, Refusal, Status

options = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=300)), max_size=20).map(
    o.ordered
)
codes = st.integers(1, 255).filter(lambda code: code >> 5 not in (1, 6, 7))
messages = st.builds(
    Message,
    st.integers(0, 3),
    codes,
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    options,
    st.binary(max_size=50),
)


@given(messages)
def test_what_is_written_is_read_again(message):
    assert decode(encode(message)) == message


@given(st.binary(max_size=80))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_a_format_error(data):
    try:
        message = decode(data)
    except FormatError:
        return
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_a_message_that_is_cut_off_is_a_shorter_one_or_an_error(message, data):
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decode(cut)
    except FormatError:
        return
    assert len(cut) >= 4


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "version 1"),
        ("400100", "version 1"),
        ("80010001", "version 1"),
        ("00010001", "version 1"),
        *((f"4{size:x}010001" + "00" * size, "at most 8 bytes") for size in range(9, 16)),
        ("4401000161", "cut off"),
        ("40000001ff61", "empty message"),
        ("410000017a", "empty message"),
        ("40200001", "1.00 is reserved"),
        ("40c00001", "6.00 is reserved"),
        ("40ff0001", "7.31 is reserved"),
        ("40010001ff", "no payload"),
        ("40010001f0", "15 is reserved"),
        ("40010001f1", "15 is reserved"),
        ("400100010f", "15 is reserved"),
        ("40010001d0", "cut off"),
        ("40010001e000", "cut off"),
        ("400100010d", "cut off"),
        ("400100010eff", "cut off"),
        ("40010001b561", "too large"),
        ("400100010effff", "too large"),
        ("40010001e0fff0e0ff00", "too large"),
        ("40010001" + "00" * 129, "more options"),
    ],
)
def test_what_is_malformed_is_refused(data, why):
    with pytest.raises(FormatError, match=why):
        decode(bytes.fromhex(data))


def test_a_format_error_says_what_can_be_reset():
    with pytest.raises(FormatError) as caught:
        decode(bytes.fromhex("40011234ff"))
    assert (caught.value.kind, caught.value.message_id) == (CON, 0x1234)
    with pytest.raises(FormatError) as caught:
        decode(bytes.fromhex("c0011234"))
    assert caught.value.kind == -1


def test_empty_messages_and_codes_have_their_usual_forms():
    assert empty(RST, 0x1234) == bytes.fromhex("70001234")
    assert decode(empty(ACK, 7)) == Message(ACK, 0, 7)
    assert code_text(code_of("4.04")) == "4.04"
    assert encode(Message(NON, 0x45, 1, b"", [(12, b"")], b"x")) == bytes.fromhex("50450001c0ff78")


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_as_short_as_they_can_be(number):
    value = o.uint_value(number)
    assert o.uint(value) == number
    assert not value.startswith(b"\0")


@pytest.mark.parametrize(
    ("option", "unknown"),
    [
        ([(9999, b"")], 9999),
        ([(9998, b"")], None),
        ([(o.URI_HOST, b"")], o.URI_HOST),
        ([(o.URI_HOST, b"a" * 256)], o.URI_HOST),
        ([(o.ACCEPT, b"abc")], o.ACCEPT),
        ([(o.ACCEPT, b""), (o.ACCEPT, b"")], o.ACCEPT),
        ([(o.URI_PATH, b"a"), (o.URI_PATH, b"b")], None),
        ([(o.CONTENT_FORMAT, b"abc")], None),
        ([(o.CONTENT_FORMAT, b""), (o.CONTENT_FORMAT, b"2")], None),
    ],
)
def test_options_that_do_not_fit_their_definition_count_as_unknown(option, unknown):
    found = o.recognised(option)[1]
    assert (found and found.number) == unknown


def test_of_an_elective_option_that_stands_twice_the_first_counts():
    kept, _ = o.recognised([(o.CONTENT_FORMAT, b""), (o.CONTENT_FORMAT, b"2")])
    assert kept == [(o.CONTENT_FORMAT, b"")]


def test_content_formats_are_translated_both_ways():
    for number, media_type in formats.TYPES.items():
        assert formats.format_of(media_type) == number
        assert formats.content_type_of(number) == media_type
    assert formats.format_of(b"text/plain") == formats.TEXT
    assert formats.format_of(b"Application/JSON") == formats.JSON
    assert formats.format_of(b"text/html") == -1
    assert formats.content_type_of(65_000) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_json_becomes_cbor_and_json_again(value):
    text = json.dumps(value).encode()
    assert json.loads(formats.to_json(formats.to_cbor(text))) == value


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_any_bytes_are_cbor_that_json_holds_or_untranslatable(data):
    for translate in (formats.to_json, formats.to_cbor):
        with contextlib.suppress(formats.Untranslatable):
            translate(data)


@pytest.mark.parametrize(
    "data", ["f97e00", "4161", "c101", "a10102", "81" * 40, "f7", "a2616101616102"]
)
def test_what_json_cannot_hold_is_refused(data):
    with pytest.raises(formats.Untranslatable):
        formats.to_json(bytes.fromhex(data))


def test_a_document_that_is_nested_deeply_is_not_translated():
    with pytest.raises(formats.Untranslatable):
        formats.to_cbor(b"[" * 40 + b"]" * 40)


@pytest.mark.parametrize("status", list(Status)[1:])
def test_a_refusal_is_told_in_problem_details(status):
    refusal = Refusal(status, "not today", extra={"reasons": ["a", {"b"}], "near": []})
    document = cbor2.loads(formats.problem_details(refusal))
    assert document[-1] == WIRE[status].title
    assert document[-2] == "not today"
    assert code_text(document[-4]) == WIRE[status].coap
    assert document[f"urn:hilum:problem:{status.slug}"]["near"] == []
    assert (
        formats.read_problem(formats.problem_details(refusal)) == f"{WIRE[status].title}: not today"
    )


@given(st.binary(max_size=40))
def test_any_bytes_may_be_problem_details(data):
    assert isinstance(formats.read_problem(data), str)


def test_an_echo_value_is_one_clients_and_of_one_moment():
    echoes = Echoes(b"key")
    value = echoes.make(("127.0.0.1", 1), 1000.9)
    assert echoes.check(value, ("127.0.0.1", 1), 1000.0)
    assert echoes.check(value, ("127.0.0.1", 1), 1000.0 + LIFETIME)
    assert not echoes.check(value, ("127.0.0.1", 1), 1001.0 + LIFETIME)
    assert not echoes.check(value, ("127.0.0.1", 1), 999.0)
    assert not echoes.check(value, ("127.0.0.1", 2), 1000.0)
    assert not echoes.check(value[:-1], ("127.0.0.1", 1), 1000.0)
    assert not echoes.check(bytes(4) + value[4:], ("127.0.0.1", 1), 1000.0)
    assert not Echoes(b"other").check(value, ("127.0.0.1", 1), 1000.0)
