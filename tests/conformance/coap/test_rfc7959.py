"""The server's side of RFC 7959 (block-wise transfers), section by section."""

import pytest

from adapters.coap.serving.blockwise import LIFETIME, TRANSFERS
from adapters.coap.wire.codec import FETCH, GET, NON, POST, PUT, code_text
from adapters.coap.wire.options import (
    BLOCK1,
    BLOCK2,
    CONTENT_FORMAT,
    ETAG,
    REQUEST_TAG,
    SIZE1,
    SIZE2,
    URI_QUERY,
    uint,
    uint_value,
)
from gateway.settings import Limits
from policy.model import Action
from tests.adapters.coap_site import PLAN, Device, running_coap
from tests.conformance.clauses import clause

MAKE, LARGE = f"{PLAN}/make", f"{PLAN}/large"
DATA = bytes(n % 251 for n in range(5000))


def code(message):
    return code_text(message.code)


def block(option, number, more=False, exponent=6):
    return option, uint_value(number << 4 | more << 3 | exponent)


def read(message, option):
    value = uint(message.value(option))
    return value >> 4, bool(value & 8), value & 7


async def fetch(device, path, exponent=6, method=GET, payload=b""):
    """Fetch an answer block by block."""
    body, number = b"", 0
    while True:
        answer = await device.ask(method, path, payload, block(BLOCK2, number, exponent=exponent))
        assert read(answer, BLOCK2)[0] == number
        body += answer.payload
        if not read(answer, BLOCK2)[1]:
            return body
        number, payload = number + 1, b""


async def upload(device, path, data, exponent=6, method=POST, *options):
    """Send a payload block by block; return the last answer."""
    size = 1 << (exponent + 4)
    for number in range(0, max(len(data), 1), size):
        more = number + size < len(data)
        piece = data[number : number + size]
        option = block(BLOCK1, number // size, more, exponent)
        answer = await device.ask(method, path, piece, option, *options)
        if more and code(answer) != "2.31":
            return answer
    return answer


@clause("RFC7959-2.2")
@pytest.mark.parametrize("option", [BLOCK1, BLOCK2])
async def test_the_size_exponent_7_is_a_bad_request(device, option):
    assert code(await device.ask(GET, LARGE, b"", (option, b"\x07"))) == "4.00"


@clause("RFC7959-2.1")
@pytest.mark.parametrize("option", [BLOCK1, BLOCK2])
async def test_block_options_are_critical_and_not_repeatable(device, option):
    assert code(await device.ask(GET, LARGE, b"", (option, b""), (option, b""))) == "4.02"
    assert code(await device.ask(GET, LARGE, b"", (option, b"long"))) == "4.02"


@clause("RFC7959-2.3", "RFC7959-2.4")
async def test_a_large_answer_comes_in_blocks_although_nobody_asked(site, verified):
    answer = await verified.ask(GET, LARGE)
    assert (code(answer), answer.payload, read(answer, BLOCK2)) == (
        "2.05",
        DATA[:1024],
        (0, True, 6),
    )
    assert uint(answer.value(SIZE2)) == 5000
    second = await verified.ask(GET, LARGE, b"", block(BLOCK2, 1))
    assert (second.payload, second.value(ETAG)) == (DATA[1024:2048], answer.value(ETAG))
    assert uint(second.value(CONTENT_FORMAT)) == 42
    assert len(site.responder.calls) == 1


@clause("RFC7959-2.4")
@pytest.mark.parametrize("exponent", [0, 3, 6])
async def test_the_size_that_the_client_wants_is_used(verified, exponent):
    path = f"{LARGE}?700"
    assert await fetch(verified, path, exponent) == DATA[:700]


@clause("RFC7959-2.4")
async def test_a_client_may_ask_for_smaller_blocks_later(verified):
    await verified.ask(GET, LARGE)
    answer = await verified.ask(GET, LARGE, b"", block(BLOCK2, 4, exponent=4))
    assert (answer.payload, read(answer, BLOCK2)) == (DATA[1024:1280], (4, True, 4))


@clause("RFC7959-2.4")
async def test_a_block_beyond_the_end_is_a_bad_request(verified):
    await verified.ask(GET, LARGE)
    assert code(await verified.ask(GET, LARGE, b"", block(BLOCK2, 5))) == "4.00"


@clause("RFC7959-2.4")
async def test_an_answer_of_exactly_one_block_says_that_there_are_no_more(verified):
    answer = await verified.ask(GET, f"{LARGE}?64", b"", block(BLOCK2, 0, exponent=2))
    assert (len(answer.payload), read(answer, BLOCK2)) == (64, (0, False, 2))


@clause("RFC7959-2.4")
async def test_blocks_of_two_clients_are_not_mixed(site, verified):
    with Device(site.port) as other:
        await other.verified()
        await verified.ask(GET, f"{LARGE}?2000")
        await other.ask(GET, f"{LARGE}?3000")
        mine = await verified.ask(GET, f"{LARGE}?2000", b"", block(BLOCK2, 1))
        theirs = await other.ask(GET, f"{LARGE}?3000", b"", block(BLOCK2, 2))
    assert (len(mine.payload), len(theirs.payload)) == (976, 952)


@clause("RFC7959-2.5")
@pytest.mark.parametrize("exponent", [2, 6])
async def test_a_large_request_comes_in_blocks_and_takes_effect_once(site, verified, exponent):
    data = DATA[:1000] if exponent == 2 else DATA
    answer = await upload(verified, MAKE, data, exponent)
    assert code(answer) == "2.04"
    assert [body for _, body, _ in site.responder.calls] == [data]


@clause("RFC7959-2.3", "RFC7959-2.9.1")
async def test_each_block_but_the_last_is_answered_with_continue(device):
    answer = await device.ask(POST, MAKE, DATA[:64], block(BLOCK1, 0, True, 2))
    assert (code(answer), read(answer, BLOCK1), answer.payload) == ("2.31", (0, True, 2), b"")
    answer = await device.ask(POST, MAKE, DATA[64:100], block(BLOCK1, 1, False, 2))
    assert (code(answer), read(answer, BLOCK1)) == ("2.04", (1, False, 2))


@clause("RFC7959-2.5", "RFC7959-2.9.2")
async def test_a_block_that_does_not_follow_is_incomplete(site, device):
    assert code(await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 1, True, 2))) == "4.08"
    await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 0, True, 2))
    assert code(await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 2, True, 2))) == "4.08"
    assert not site.responder.calls


@clause("RFC7959-2.5")
@pytest.mark.parametrize(("size", "more"), [(63, True), (65, True), (65, False)])
async def test_a_block_of_a_wrong_size_is_incomplete(device, size, more):
    assert code(await device.ask(POST, MAKE, b"x" * size, block(BLOCK1, 0, more, 2))) == "4.08"


@clause("RFC7959-2.5")
async def test_another_form_is_another_transfer(device):
    await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 0, True, 2), (CONTENT_FORMAT, b"\x32"))
    other = (CONTENT_FORMAT, b"\x3c")
    answer = await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 1, False, 2), other)
    assert code(answer) == "4.08"


@clause("RFC7959-2.5")
async def test_beginning_again_drops_what_came_before(site, device):
    await device.ask(POST, MAKE, b"a" * 64, block(BLOCK1, 0, True, 2))
    await device.ask(POST, MAKE, b"b" * 64, block(BLOCK1, 0, True, 2))
    await device.ask(POST, MAKE, b"c", block(BLOCK1, 1, False, 2))
    assert site.responder.calls == [("make", b"b" * 64 + b"c", b"")]


@clause("RFC9175-3.3")
async def test_request_tags_keep_transfers_apart(site, device):
    one, two = (REQUEST_TAG, b"1"), (REQUEST_TAG, b"2")
    await device.ask(POST, MAKE, b"a" * 64, block(BLOCK1, 0, True, 2), one)
    await device.ask(POST, MAKE, b"b" * 64, block(BLOCK1, 0, True, 2), two)
    await device.ask(POST, MAKE, b"A", block(BLOCK1, 1, False, 2), one)
    await device.ask(POST, MAKE, b"B", block(BLOCK1, 1, False, 2), two)
    assert [body for _, body, _ in site.responder.calls] == [b"a" * 64 + b"A", b"b" * 64 + b"B"]


@clause("RFC7959-2.9.3", "RFC7959-4")
async def test_what_is_too_large_is_refused_with_the_limit(tmp_path):
    async with running_coap(tmp_path, limits=Limits(message=2000)) as site:
        with Device(site.port) as device:
            declared = (SIZE1, uint_value(2001))
            answer = await device.ask(POST, MAKE, b"x" * 1024, block(BLOCK1, 0, True), declared)
            assert (code(answer), uint(answer.value(SIZE1))) == ("4.13", 2000)
            answer = await upload(device, MAKE, b"x" * 2001)
            assert (code(answer), uint(answer.value(SIZE1))) == ("4.13", 2000)
            assert not site.responder.calls
            assert code(await upload(device, MAKE, b"x" * 2000)) in ("2.04", "4.01")
            assert site.listener.service.transfers.held <= 2000


async def test_a_reply_that_is_too_large_is_refused_even_if_it_comes_in_one_piece(tmp_path):
    async with running_coap(tmp_path, limits=Limits(message=2000)) as site:
        with Device(site.port) as device:
            answer = await device.ask(GET, "Plan/large", b"", (URI_QUERY, b"2001"))
            assert code(answer) == "4.13"
            answer = await device.ask(GET, "Plan/large", b"", (URI_QUERY, b"2000"))
            assert code(answer) in ("2.05", "4.01")


@clause("RFC7959-3.3")
async def test_both_directions_in_one_exchange(site, verified):
    answer = await upload(verified, MAKE, DATA, 6, POST, (CONTENT_FORMAT, b"\x2a"))
    assert (code(answer), read(answer, BLOCK1)) == ("2.04", (4, False, 6))
    assert read(answer, BLOCK2) == (0, True, 6)
    body, form = answer.payload, (CONTENT_FORMAT, b"\x2a")
    for number in range(1, 5):
        body += (await verified.ask(POST, MAKE, b"", block(BLOCK2, number), form)).payload
    assert body == DATA
    assert len(site.responder.calls) == 1


@clause("RFC7959-2.4")
async def test_the_answer_of_a_post_is_not_made_again_for_its_blocks(site, verified):
    answer = await verified.ask(POST, MAKE, b"", block(BLOCK2, 1))
    assert code(answer) == "4.08"
    assert not site.responder.calls


@clause("RFC8132-2")
async def test_a_fetch_is_answered_in_blocks(site, verified):
    assert await fetch(verified, LARGE, method=FETCH, payload=b"what") == DATA
    assert len(site.responder.calls) == 1


@clause("RFC7959-2.5")
async def test_an_event_is_published_in_blocks(site, verified):
    assert code(await upload(verified, f"{PLAN}/news", DATA, 6, PUT)) == "2.04"
    assert await fetch(verified, f"{PLAN}/news") == DATA


@clause("RFC7959-2.5")
async def test_nothing_is_kept_for_who_will_be_denied(site, device):
    await site.deny("closed", Action.CALL)
    answer = await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 0, True, 2))
    assert code(answer) in ("4.01", "4.03")
    assert site.listener.service.transfers.held == 0


@clause("RFC7959-7")
async def test_transfers_are_bounded_and_forgotten(site, device):
    for number in range(3 * TRANSFERS):
        tag = (REQUEST_TAG, bytes((number,)))
        await device.ask(POST, MAKE, b"x" * 64, block(BLOCK1, 0, True, 2), tag)
    transfers = site.listener.service.transfers
    assert transfers.held == TRANSFERS * 64
    transfers.sweep(site.site.plane.now + LIFETIME + 1)
    assert transfers.held == 0


@clause("RFC7959-7")
async def test_answers_are_dropped_when_policy_changes(site, verified):
    await verified.ask(GET, LARGE)
    await site.deny("closed", Action.CALL)
    answer = await verified.ask(GET, LARGE, b"", block(BLOCK2, 1))
    assert answer.code >> 5 == 4
    assert DATA[1024:1100] not in answer.payload


@clause("RFC7959-2.4")
async def test_a_stranger_gets_blocks_that_are_no_amplification(device):
    answer = await device.ask(GET, LARGE + "?2000", kind=NON)
    number, more, exponent = read(answer, BLOCK2)
    assert (number, more) == (0, True)
    assert len(answer.payload) == 1 << (exponent + 4) <= 64
    body = answer.payload
    while more:
        number += 1
        option = block(BLOCK2, number, exponent=exponent)
        answer = await device.ask(GET, LARGE + "?2000", b"", option, kind=NON)
        _, more, got = read(answer, BLOCK2)
        assert got == exponent
        body += answer.payload
    assert body == DATA[:2000]
