"""The server's side of RFC 7252, section by section."""

import asyncio

import pytest

from adapters.coap.wire.codec import (
    ACK,
    CON,
    DELETE,
    FETCH,
    GET,
    IPATCH,
    NON,
    PATCH,
    POST,
    PUT,
    RST,
    Message,
    code_text,
    encode,
)
from adapters.coap.wire.formats import CBOR, JSON, LINKS, OCTETS, PROBLEM, TEXT, read_problem
from adapters.coap.wire.options import (
    ACCEPT,
    CONTENT_FORMAT,
    ECHO,
    ETAG,
    HILUM_ORIGIN,
    HOP_LIMIT,
    IF_MATCH,
    IF_NONE_MATCH,
    MAX_AGE,
    NO_RESPONSE,
    PROXY_SCHEME,
    PROXY_URI,
    URI_HOST,
    URI_PORT,
    uint,
    uint_value,
)
from policy.model import Action
from registry.changes import Expired
from registry.model import RegistrationId
from tests.adapters.coap_site import PLAN, Device
from tests.conformance.clauses import clause

MAKE, SHOW, NEWS = f"{PLAN}/make", f"{PLAN}/show", f"{PLAN}/news"
JSON_FORM = (CONTENT_FORMAT, uint_value(JSON))


def code(message):
    return code_text(message.code)


@clause("RFC7252-3")
@pytest.mark.parametrize("token", [b"", b"a", b"abcdefgh"])
async def test_tokens_of_all_lengths(device, token):
    answer = await device.ask(GET, SHOW, token=token)
    assert (code(answer), answer.token) == ("2.05", token)


@clause("RFC7252-3")
@pytest.mark.parametrize("data", ["80017d3400", "00017d34", "c0017d34", "4001", "40"])
async def test_another_version_and_what_is_too_short_are_ignored(device, data):
    device.raw(bytes.fromhex(data))
    assert await device.silent()


@clause("RFC7252-3", "RFC7252-3.1", "RFC7252-4.2")
@pytest.mark.parametrize(
    "data",
    [
        "49017d34" + "00" * 9,
        "4f017d34" + "00" * 15,
        "40017d34ff",
        "40017d34f0",
        "40017d340f",
        "42017d34aa",
    ],
)
async def test_a_malformed_confirmable_message_is_rejected_with_a_reset(device, data):
    device.raw(bytes.fromhex(data))
    answer = await device.hear()
    assert (answer.kind, answer.code, answer.message_id) == (RST, 0, 0x7D34)


@clause("RFC7252-4.1")
@pytest.mark.parametrize("data", ["41007d34aa", "40007d34ff00", "40007d34b161"])
async def test_an_empty_message_has_nothing_but_its_header(device, data):
    device.raw(bytes.fromhex(data))
    assert (await device.hear()).kind == RST


@clause("RFC7252-4.2")
async def test_a_ping_is_answered_with_a_reset(device):
    device.raw(bytes.fromhex("40007d34"))
    assert await device.hear() == Message(RST, 0, 0x7D34)


@clause("RFC7252-4.2")
@pytest.mark.parametrize("data", ["40457d34", "40207d34", "40c07d34", "40e07d34"])
async def test_a_response_nobody_asked_for_and_reserved_classes_are_rejected(device, data):
    device.raw(bytes.fromhex(data))
    assert (await device.hear()).kind == RST


@clause("RFC7252-4.2", "RFC7252-5.2.1")
async def test_an_acknowledgement_echoes_the_message_id_and_the_token(device):
    sent = device.send(POST, MAKE, b"{}", JSON_FORM)
    answer = await device.hear()
    assert (answer.kind, answer.message_id, answer.token) == (ACK, sent.message_id, sent.token)


@clause("RFC7252-4.2", "RFC7252-5.2.2")
async def test_a_slow_answer_is_acknowledged_at_once_and_comes_separately(site, device):
    sent = device.send(POST, f"{PLAN}/late", b"x" * 30)
    empty = await device.hear(0.5)
    assert (empty.kind, empty.code, empty.message_id) == (ACK, 0, sent.message_id)
    assert (empty.token, empty.options) == (b"", [])
    site.responder.gate.set()
    answer = await device.hear()
    assert (answer.kind, code(answer), answer.token) == (CON, "2.04", sent.token)
    device.raw(encode(Message(ACK, 0, answer.message_id)))
    await asyncio.sleep(0.05)
    assert not site.listener.sockets[0].messages.outgoing.flying


@pytest.mark.full  # it waits two seconds; tests/adapters/test_coap_messages.py plays it
@clause("RFC7252-4.2")
async def test_what_is_not_acknowledged_is_sent_again(site, device):
    device.send(POST, f"{PLAN}/late", b"x" * 30)
    await device.hear()
    site.responder.gate.set()
    answer = await device.hear()
    assert await device.hear(4.0) == answer
    device.raw(encode(Message(ACK, 0, answer.message_id)))
    assert await device.silent(4.5)


@clause("RFC7252-4.3", "RFC7252-5.2.3")
async def test_a_non_confirmable_request_gets_a_non_confirmable_answer(device):
    sent = device.send(POST, MAKE, b"{}", kind=NON)
    answer = await device.hear()
    assert (answer.kind, answer.token) == (NON, sent.token)


@clause("RFC7252-4.3")
@pytest.mark.parametrize(
    "data", ["50007d34", "50457d34", "50207d34", "59017d34" + "00" * 9, "50017d34ff"]
)
async def test_a_non_confirmable_message_without_a_meaning_is_ignored(device, data):
    device.raw(bytes.fromhex(data))
    assert await device.silent()


@clause("RFC7252-4.2")
@pytest.mark.parametrize("data", ["60007d34", "70007d34", "60457d34", "61007d34aa", "70017d34"])
async def test_acknowledgements_and_resets_are_never_answered(device, data):
    device.raw(bytes.fromhex(data))
    assert await device.silent()


@clause("RFC7252-4.5")
async def test_a_duplicate_is_acknowledged_again_and_served_once(site, device):
    sent = device.send(POST, MAKE, b"{}", JSON_FORM)
    first = await device.datagram()
    for _ in range(3):
        device.raw(encode(sent))
        assert await device.datagram() == first
    assert len(site.responder.calls) == 1


@clause("RFC7252-4.5")
async def test_a_non_confirmable_duplicate_is_ignored(site, device):
    sent = device.send(POST, MAKE, b"{}", kind=NON)
    await device.hear()
    device.raw(encode(sent))
    assert await device.silent()
    assert len(site.responder.calls) == 1


@clause("RFC7252-4.4")
async def test_message_ids_of_ours_differ(device):
    seen = {(await device.ask(POST, MAKE, b"{}", kind=NON)).message_id for _ in range(20)}
    assert len(seen) == 20


@clause("RFC7252-5.3.1")
async def test_requests_with_one_token_from_two_clients_are_two(site, device):
    with Device(site.port) as other:
        answers = await asyncio.gather(
            device.ask(POST, MAKE, b"one"), other.ask(POST, MAKE, b"two")
        )
    assert [answer.payload for answer in answers] == [b"one", b"two"]


@clause("RFC7252-5.4.1")
async def test_an_unknown_critical_option_is_a_bad_option(verified):
    answer = await verified.ask(GET, SHOW, b"", (2049, b""))
    assert code(answer) == "4.02"
    assert "2049" in read_problem(answer.payload)


@clause("RFC7252-5.4.1")
async def test_a_non_confirmable_message_with_an_unknown_critical_option_is_rejected(device):
    device.send(GET, SHOW, b"", (2049, b""), kind=NON)
    assert await device.silent()


@clause("RFC7252-5.4.1")
async def test_an_unknown_elective_option_is_ignored(device):
    assert code(await device.ask(GET, SHOW, b"", (2048, b"abc"))) == "2.05"


@clause("RFC7252-5.4.3", "RFC7252-5.4.4", "RFC7252-5.4.5")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([(URI_PORT, b"abc")], "4.02"),
        ([(ACCEPT, b"abc")], "4.02"),
        ([(URI_HOST, b"localhost"), (URI_HOST, b"localhost")], "4.02"),
        ([(IF_NONE_MATCH, b"x")], "4.02"),
        ([(CONTENT_FORMAT, b"abc")], "2.05"),
        ([(MAX_AGE, b"12345")], "2.05"),
        ([(ETAG, b"")], "2.05"),
    ],
)
async def test_an_option_of_a_wrong_length_or_once_too_many_is_unknown(device, options, expected):
    assert code(await device.ask(GET, SHOW, b"", *options)) == expected


@clause("RFC7252-5.5.2")
async def test_an_error_says_what_is_wrong(verified):
    answer = await verified.ask(GET, "Plan/nothing")
    assert uint(answer.value(CONTENT_FORMAT)) == PROBLEM
    assert "nothing is not registered here" in read_problem(answer.payload)


@clause("RFC7252-5.7.2", "RFC7252-5.10.2")
@pytest.mark.parametrize("option", [(PROXY_URI, b"coap://other/x"), (PROXY_SCHEME, b"coap")])
async def test_this_is_no_forward_proxy(device, option):
    assert code(await device.ask(GET, SHOW, b"", option)) == "5.05"


@clause("RFC7252-5.8")
@pytest.mark.parametrize("unknown", [8, 9, 31])
async def test_an_unknown_method_is_not_allowed(device, unknown):
    assert code(await device.ask(unknown, SHOW)) == "4.05"


@clause("RFC7252-5.8")
@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        (GET, MAKE, "4.05"),
        (PUT, MAKE, "4.05"),
        (DELETE, MAKE, "4.05"),
        (PATCH, MAKE, "4.05"),
        (IPATCH, MAKE, "4.05"),
        (POST, MAKE, "2.04"),
        (GET, SHOW, "2.05"),
        (FETCH, SHOW, "2.05"),
        (POST, SHOW, "2.04"),
        (DELETE, NEWS, "4.05"),
        (POST, NEWS, "2.04"),
        (PUT, NEWS, "2.04"),
        (POST, PLAN, "4.05"),
        (POST, ".well-known/core", "4.05"),
    ],
)
async def test_methods_do_what_they_are_for(device, method, path, expected):
    assert code(await device.ask(method, path)) == expected


@clause("RFC7252-5.8.1")
async def test_a_get_changes_nothing_and_returns_what_there_is(site, device):
    assert code(await device.ask(GET, NEWS)) == "4.04"
    await device.ask(PUT, NEWS, b"hello", (CONTENT_FORMAT, b""))
    answer = await device.ask(GET, NEWS)
    assert (code(answer), answer.payload) == ("2.05", b"hello")
    assert uint(answer.value(CONTENT_FORMAT)) == TEXT
    assert (await site.channels.position(site.news())).sequence == 1


@clause("RFC7252-5.9.1.3", "RFC7252-5.10.6")
async def test_a_value_that_the_client_has_is_valid(device):
    await device.ask(PUT, NEWS, b"hello")
    etag = (await device.ask(GET, NEWS)).value(ETAG)
    answer = await device.ask(GET, NEWS, b"", (ETAG, b"other"), (ETAG, etag))
    assert (code(answer), answer.payload, answer.value(ETAG)) == ("2.03", b"", etag)
    await device.ask(PUT, NEWS, b"hello again")
    assert code(await device.ask(GET, NEWS, b"", (ETAG, etag))) == "2.05"


@clause("RFC7252-5.9.2.1")
@pytest.mark.parametrize("path", ["Plan//make", "Plan/make/", "Plan/../make", "Plan/@x"])
async def test_what_is_no_name_is_a_bad_request(device, path):
    assert code(await device.ask(GET, path)) == "4.00"


@clause("RFC7252-5.10.1")
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"snac.asu.edu", "2.05"),
        (b"SNAC.asu.edu", "2.05"),
        (b"plans.test", "2.05"),
        (b"localhost", "2.05"),
        (b"127.0.0.1", "2.05"),
        (b"[::1]", "2.05"),
        (b"evil.test", "4.04"),
        (b"\xff", "4.00"),
    ],
)
async def test_a_host_must_be_this_site(device, host, expected):
    answer = await device.ask(GET, SHOW, b"", (URI_HOST, host), (URI_PORT, b"\x16\x33"))
    assert code(answer) == expected


@clause("RFC7252-5.10.1", "RFC7252-6.5")
async def test_paths_and_queries_are_decoded_once(site, device):
    answer = await device.ask(GET, "Plan/show?a=1&b=x y&c=1+1&d=%26")
    assert b'"a=1&b=x%20y&c=1%2B1&d=%2526"' in answer.payload
    assert code(await device.ask(GET, "Plan/sh%6fw")) == "4.04", "a percent sign is itself"


@clause("RFC7252-5.10.3")
async def test_an_unsupported_content_format_is_refused(device):
    answer = await device.ask(POST, MAKE, b"x", (CONTENT_FORMAT, uint_value(64_999)))
    assert code(answer) == "4.15"


@clause("RFC7252-5.10.3")
@pytest.mark.parametrize("form", [TEXT, LINKS, OCTETS, JSON, CBOR, 110, 11_542])
async def test_payloads_and_their_forms_pass_untouched(device, form):
    payload = bytes(range(20))
    answer = await device.ask(POST, MAKE, payload, (CONTENT_FORMAT, uint_value(form)))
    assert (uint(answer.value(CONTENT_FORMAT)), answer.payload) == (form, payload)


@clause("RFC7252-5.10.4")
async def test_an_answer_of_another_form_is_not_acceptable(verified):
    accept = (ACCEPT, uint_value(CBOR))
    assert code(await verified.ask(GET, "Plan/type?text/plain", b"", accept)) == "4.06"
    assert code(await verified.ask(GET, "Plan/type?application/cbor", b"", accept)) == "2.05"
    await verified.ask(PUT, NEWS, b"x", (CONTENT_FORMAT, b""))
    assert code(await verified.ask(GET, NEWS, b"", accept)) == "4.06"
    assert code(await verified.ask(GET, NEWS, b"", (ACCEPT, b""))) == "2.05"


@clause("RFC7252-5.10.4")
async def test_what_the_gateway_says_itself_is_cbor_for_who_asks(verified):
    answer = await verified.ask(GET, PLAN, b"", (ACCEPT, uint_value(CBOR)))
    assert uint(answer.value(CONTENT_FORMAT)) == CBOR


@clause("RFC7252-5.10.5")
async def test_answers_that_may_change_are_not_fresh_for_a_minute(device):
    await device.ask(PUT, NEWS, b"x")
    for path in (SHOW, NEWS, "Plan/nothing"):
        assert uint((await device.ask(GET, path)).value(MAX_AGE)) == 0


@clause("RFC7252-5.10.8.1")
async def test_a_value_is_replaced_only_if_it_is_the_one_named(device):
    assert code(await device.ask(PUT, NEWS, b"x", (IF_MATCH, b""))) == "4.12"
    await device.ask(PUT, NEWS, b"one")
    etag = (await device.ask(GET, NEWS)).value(ETAG)
    assert code(await device.ask(PUT, NEWS, b"x", (IF_MATCH, b"other"))) == "4.12"
    assert (
        code(await device.ask(PUT, NEWS, b"two", (IF_MATCH, b"other"), (IF_MATCH, etag))) == "2.04"
    )
    assert code(await device.ask(PUT, NEWS, b"x", (IF_MATCH, etag))) == "4.12"
    assert code(await device.ask(PUT, NEWS, b"three", (IF_MATCH, b""))) == "2.04"
    assert (await device.ask(GET, NEWS)).payload == b"three"


@clause("RFC7252-5.10.8.1", "RFC7252-5.10.8.2")
async def test_a_precondition_that_fails_keeps_a_method_from_being_called(site, device):
    assert code(await device.ask(POST, MAKE, b"x", (IF_NONE_MATCH, b""))) == "4.12"
    assert code(await device.ask(POST, MAKE, b"x", (IF_MATCH, b"tag"))) == "4.12"
    assert code(await device.ask(PUT, NEWS, b"x", (IF_NONE_MATCH, b""))) == "4.12"
    assert not site.responder.calls
    assert code(await device.ask(POST, MAKE, b"x", (IF_MATCH, b""))) == "2.04"


@clause("RFC7252-7.1")
async def test_discovery_has_its_own_form(verified):
    answer = await verified.ask(GET, ".well-known/core")
    assert uint(answer.value(CONTENT_FORMAT)) == LINKS
    assert b"</Plan/make>" in answer.payload


@clause("RFC7252-11.3", "RFC9175-2.4")
async def test_nobody_gets_more_than_three_times_what_it_sent_unless_it_is_there(site, device):
    for size in (10, 40, 200, 1000, 60_000):
        sent = device.send(GET, f"Plan/large?{size}")
        answer = await device.datagram()
        assert len(answer) <= 3 * len(encode(sent))
    await device.verified()
    assert len((await device.ask(GET, "Plan/large?1000")).payload) == 1000


@clause("RFC9175-2.3")
async def test_a_call_that_was_challenged_is_not_made_twice(site, device):
    challenged = await device.ask(POST, "Plan/b", token=b"")
    assert (code(challenged), len(site.responder.calls)) == ("4.01", 1)
    echo = (ECHO, challenged.value(ECHO))
    answer = await device.ask(POST, "Plan/b", b"", echo, token=b"")
    assert (code(answer), len(answer.payload), len(site.responder.calls)) == ("2.04", 1024, 1)
    await device.ask(POST, "Plan/b", token=b"")
    assert len(site.responder.calls) == 2, "another request is another call"


@clause("RFC7967-2")
@pytest.mark.parametrize(
    ("value", "path", "answered"),
    [
        (2, MAKE, False),
        (2, "Plan/none", True),
        (8, "Plan/none", False),
        (26, MAKE, False),
        (0, MAKE, True),
    ],
)
async def test_no_answer_is_sent_to_who_wants_none(device, value, path, answered):
    device.send(POST, path, b"{}", (NO_RESPONSE, uint_value(value)), kind=NON)
    assert await device.silent() is not answered
    if not answered:
        sent = device.send(POST, path, b"{}", (NO_RESPONSE, uint_value(value)))
        assert await device.hear() == Message(ACK, 0, sent.message_id)


@clause("RFC8768-3")
@pytest.mark.parametrize(
    ("hops", "expected"), [(16, "2.05"), (2, "2.05"), (1, "5.08"), (0, "4.00")]
)
async def test_a_request_that_passed_too_many_gateways_ends(device, hops, expected):
    assert code(await device.ask(GET, SHOW, b"", (HOP_LIMIT, bytes((hops,))))) == expected


@clause("RFC8132-2")
async def test_a_fetch_has_a_payload(site, device):
    answer = await device.ask(FETCH, SHOW, b'{"q": 1}', JSON_FORM)
    assert answer.payload == b'{"q": 1}'
    assert site.responder.calls == [("show", b'{"q": 1}', b"")]


async def test_the_errors_of_a_provider_are_told_from_ours(device):
    answer = await device.ask(POST, "Plan/fail", b"404")
    assert (code(answer), answer.payload) == ("4.04", b"no such goal")
    assert answer.value(HILUM_ORIGIN) == b""
    assert (await device.ask(GET, "Plan/none")).value(HILUM_ORIGIN) is None


@clause("RFC7252-3.2")
async def test_numbers_may_have_leading_zeros(device):
    answer = await device.ask(POST, MAKE, b"x", (CONTENT_FORMAT, b"\x00\x32"))
    assert uint(answer.value(CONTENT_FORMAT)) == JSON


@clause("RFC7252-4.7")
async def test_one_confirmable_answer_is_outstanding_at_a_time(site, verified):
    for token in (b"1", b"2", b"3"):
        verified.send(POST, f"{PLAN}/late", b"x", token=token)
    for _ in range(3):
        assert (await verified.hear()).code == 0
    site.responder.gate.set()
    for _ in range(3):
        answer = await verified.hear()
        assert answer.kind == CON
        assert await verified.silent()
        verified.raw(encode(Message(ACK, 0, answer.message_id)))


@clause("RFC7252-5.9.3.4")
async def test_when_to_try_again_is_told(site, verified):
    await site.change(Expired(RegistrationId("Planner", "1.0.0", "a"), 1))
    answer = await verified.ask(POST, MAKE, b"x")
    assert (code(answer), uint(answer.value(MAX_AGE))) == ("5.03", 1)


@clause("RFC7252-7.1", "RFC7252-7.2.1")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("href=/Plan/make", ["/Plan/make"]),
        ("href=/Plan/m*", ["/Plan/make"]),
        ("rt=hilum.object", ["/Plan"]),
        ("rt=hilum.channel", ["/Plan/diary", "/Plan/news", "/Plan/typed"]),
        ("rt=hilum.ch*", ["/Plan/diary", "/Plan/news", "/Plan/typed"]),
        ("obs", ["/Plan/diary", "/Plan/news", "/Plan/typed"]),
        ("if=hilum.safe", ["/Plan/b", "/Plan/large", "/Plan/show", "/Plan/type"]),
        ("ct=60", ["/Plan"]),
        ("ct=50", ["/Plan", "/Plan/show", "/Plan/typed"]),
        ("rt=nothing", []),
        ("unknown=x&href=/Plan/make", ["/Plan/make"]),
    ],
)
async def test_links_are_filtered(verified, query, expected):
    answer = await verified.ask(GET, f".well-known/core?{query}")
    assert uint(answer.value(CONTENT_FORMAT)) == LINKS
    found = [link[1:].partition(">")[0] for link in answer.payload.decode().split(",") if link]
    assert sorted(found) == expected


async def test_links_to_what_a_caller_may_not_describe_are_left_out(site, verified):
    await site.deny("closed", Action.DESCRIBE, names="Plan/make")
    assert b"/Plan/make" not in (await verified.ask(GET, ".well-known/core")).payload
