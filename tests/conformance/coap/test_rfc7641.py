"""The server's side of RFC 7641 (observing), section by section."""

import asyncio
import contextlib

import pytest

from adapters.coap.serving.observations import OBSERVED, UNCONFIRMED
from adapters.coap.wire.codec import ACK, CON, GET, NON, RST, Message, code_text, empty, encode
from adapters.coap.wire.formats import JSON
from adapters.coap.wire.options import (
    ACCEPT,
    BLOCK2,
    CONTENT_FORMAT,
    ETAG,
    OBSERVE,
    uint,
    uint_value,
)
from policy.model import AccessPolicy, Action, Subject
from tests.adapters.coap_site import AUTHORITY, PLAN, Device
from tests.conformance.clauses import clause

NEWS = f"{PLAN}/news"
REGISTER = (OBSERVE, b"")
DEREGISTER = (OBSERVE, b"\x01")


def code(message):
    return code_text(message.code)


async def observe(device, path=NEWS, token=b"ob"):
    answer = await device.ask(GET, path, b"", REGISTER, token=token)
    assert code(answer) in ("2.05", "2.03")
    return answer


async def heard(device):
    """Return the next notification, acknowledged."""
    message = await device.hear()
    if message.kind == CON:
        device.raw(empty(ACK, message.message_id))
    return message


def observing(site):
    return site.listener.service.events.observing


@clause("RFC7641-3.1", "RFC7641-4.1")
async def test_registering_is_answered_with_the_current_state(site, verified):
    site.publish(b"hello")
    answer = await observe(verified)
    assert (answer.payload, answer.value(OBSERVE) is not None) == (b"hello", True)
    assert len(observing(site)) == 1


@clause("RFC7641-4.1")
async def test_a_channel_without_a_value_can_be_observed(site, verified):
    assert (await observe(verified)).payload == b""
    site.publish(b"first")
    assert (await heard(verified)).payload == b"first"


@clause("RFC7641-3.2", "RFC7641-4.2")
async def test_notifications_repeat_the_token_and_come_in_order(site, verified):
    first = await observe(verified, token=b"\x01\x02\x03")
    numbers = [uint(first.value(OBSERVE))]
    for number in range(5):
        site.publish(b"%d" % number, kind="application/json")
        message = await heard(verified)
        assert (code(message), message.token) == ("2.05", b"\x01\x02\x03")
        assert message.payload == b"%d" % number
        assert uint(message.value(CONTENT_FORMAT)) == JSON
        numbers.append(uint(message.value(OBSERVE)))
    assert numbers == sorted(set(numbers)), "section 3.4: newer ones have larger numbers"


@clause("RFC7641-4.1")
async def test_registering_again_with_the_same_token_replaces(site, verified):
    await observe(verified)
    await observe(verified)
    assert len(observing(site)) == 1
    site.publish(b"once")
    assert (await heard(verified)).payload == b"once"
    assert await verified.silent()


@clause("RFC7641-4.1")
async def test_two_tokens_are_two_observations(site, verified):
    await observe(verified, token=b"a")
    await observe(verified, token=b"b")
    site.publish(b"both", qos=0)
    assert {(await heard(verified)).token, (await heard(verified)).token} == {b"a", b"b"}


@clause("RFC7641-3.6", "RFC7641-4.1")
async def test_deregistering_ends_it(site, verified):
    await observe(verified)
    answer = await verified.ask(GET, NEWS, b"", DEREGISTER, token=b"ob")
    assert answer.value(OBSERVE) is None
    assert not observing(site)
    site.publish(b"nobody")
    assert await verified.silent()


@clause("RFC7641-4.1")
async def test_deregistering_what_is_not_observed_is_an_ordinary_get(site, verified):
    site.publish(b"hello")
    answer = await verified.ask(GET, NEWS, b"", DEREGISTER, token=b"xx")
    assert (answer.payload, answer.value(OBSERVE)) == (b"hello", None)


@clause("RFC7641-3.6", "RFC7641-4.5")
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_reset_ends_it(site, verified, qos):
    await observe(verified)
    site.publish(b"one", qos=qos)
    message = await verified.hear()
    assert message.kind == (CON if qos else NON)
    verified.raw(encode(Message(RST, 0, message.message_id)))
    await asyncio.sleep(0.05)
    assert not observing(site)
    site.publish(b"two", qos=qos)
    assert await verified.silent()


@clause("RFC7641-4.1")
@pytest.mark.parametrize("path", [f"{PLAN}/show", PLAN, ".well-known/core"])
async def test_what_cannot_be_observed_is_answered_without_the_option(site, verified, path):
    answer = await verified.ask(GET, path, b"", REGISTER)
    assert (code(answer), answer.value(OBSERVE)) == ("2.05", None)
    assert not observing(site)


@clause("RFC7641-4.1")
async def test_when_there_are_too_many_the_answer_has_no_observe_option(site, verified):
    site.publish(b"hello")
    for number in range(OBSERVED):
        await observe(verified, token=number.to_bytes(2))
    answer = await verified.ask(GET, NEWS, b"", REGISTER)
    assert (answer.payload, answer.value(OBSERVE)) == (b"hello", None)


@clause("RFC7641-4.2")
async def test_an_error_ends_the_observation_and_has_no_observe_option(site, verified):
    await observe(verified)
    await site.deny("closed", Action.SUBSCRIBE)
    message = await heard(verified)
    assert code(message) in ("4.01", "4.03")
    assert message.value(OBSERVE) is None
    assert not observing(site)


@clause("RFC7641-4.2")
async def test_a_channel_that_is_no_more_says_so(site, verified):
    await observe(verified)
    site.channels.forget(f"{AUTHORITY}/{NEWS}")
    message = await heard(verified)
    assert message.code >> 5 in (4, 5)
    assert not observing(site)


@clause("RFC7641-4.2")
async def test_who_may_not_subscribe_may_not_observe(site, verified):
    await site.deny("closed", Action.SUBSCRIBE)
    answer = await verified.ask(GET, NEWS, b"", REGISTER)
    assert (code(answer), answer.value(OBSERVE)) == ("4.03", None) or code(answer) == "4.01"
    assert not observing(site)


@clause("RFC7641-4.3.2")
async def test_notifications_carry_entity_tags_that_validate(site, verified):
    site.publish(b"hello")
    etag = (await observe(verified)).value(ETAG)
    again = await verified.ask(GET, NEWS, b"", REGISTER, (ETAG, etag), token=b"ob")
    assert (code(again), again.payload) == ("2.03", b"")
    assert again.value(OBSERVE) is not None
    site.publish(b"next")
    message = await heard(verified)
    assert message.value(ETAG) != etag
    assert code(await verified.ask(GET, NEWS, b"", (ETAG, message.value(ETAG)))) == "2.03"


@clause("RFC7641-4.4")
async def test_numbers_stay_within_24_bits(site, verified):
    await observe(verified)
    (observation,) = observing(site).values()
    observation._number = (1 << 24) - 2
    numbers = []
    for _ in range(3):
        site.publish(b"x")
        numbers.append(uint((await heard(verified)).value(OBSERVE)))
    assert numbers == [(1 << 24) - 1, 0, 1]


@clause("RFC7641-4.5")
async def test_notifications_are_confirmable_now_and_then(site, verified):
    await observe(verified)
    kinds = []
    for number in range(2 * UNCONFIRMED):
        site.publish(b"%d" % number, qos=0)
        kinds.append((await heard(verified)).kind)
    assert kinds.count(CON) == 2


@clause("RFC7641-4.5.1", "RFC7252-4.7")
async def test_one_confirmable_notification_is_outstanding_at_a_time(site, verified):
    await observe(verified, token=b"a")
    await observe(verified, f"{PLAN}/typed", token=b"b")
    for number in range(3):
        site.publish(b"%d" % number)
    site.publish(b'{"a": 1}', "typed")
    first = await verified.hear()
    assert await verified.silent(0.3)
    verified.raw(empty(ACK, first.message_id))
    assert (await verified.hear()).kind == CON


@clause("RFC7641-4.5.2")
async def test_no_event_is_lost_while_one_is_outstanding(site, verified):
    await observe(verified)
    for number in range(50):
        site.publish(b"%d" % number)
    payloads = [(await heard(verified)).payload for _ in range(50)]
    assert payloads == [b"%d" % number for number in range(50)]


@clause("RFC7641-4.5.2")
async def test_a_reset_of_an_older_notification_ends_it_too(site, verified):
    await observe(verified)
    messages = []
    for number in range(3):
        site.publish(b"%d" % number, qos=0)
        messages.append(await verified.hear())
    verified.raw(encode(Message(RST, 0, messages[0].message_id)))
    await asyncio.sleep(0.05)
    assert not observing(site)


@clause("RFC7641-7")
async def test_strangers_are_not_flooded_with_notifications(site, device):
    answer = await device.ask(GET, NEWS, b"", REGISTER)
    assert code(answer) == "4.01"
    assert not observing(site)


@clause("RFC7959-2.6")
async def test_of_a_large_state_the_first_block_is_notified(site, verified):
    await observe(verified)
    value = bytes(n % 251 for n in range(3000))
    site.publish(value, kind="application/octet-stream")
    message = await heard(verified)
    assert message.payload == value[:1024]
    assert uint(message.value(BLOCK2)) & 8
    rest = b""
    for number in (1, 2):
        block = (BLOCK2, uint_value(number << 4 | 6))
        answer = await verified.ask(GET, NEWS, b"", block, token=b"other")
        assert answer.value(ETAG) == message.value(ETAG)
        rest += answer.payload
    assert message.payload + rest == value


async def test_a_group_of_observers_shares_the_events(site, verified):
    rule = AccessPolicy("allow", (Subject(),), (Action.SUBSCRIBE,), ("**",), groups=("g",))
    await site.policy("group", rule)
    with Device(site.port) as other:
        await other.verified()
        await observe(verified, f"{NEWS}?group=g")
        await observe(other, f"{NEWS}?group=g")
        for number in range(4):
            site.publish(b"%d" % number, qos=0)
        seen = []
        for client in (verified, other):
            with contextlib.suppress(TimeoutError):
                while True:
                    seen.append((await client.hear(0.2)).payload)
    assert sorted(seen) == [b"0", b"1", b"2", b"3"]


async def test_what_a_member_of_a_group_did_not_acknowledge_goes_to_another(site, verified):
    rule = AccessPolicy("allow", (Subject(),), (Action.SUBSCRIBE,), ("**",), groups=("g",))
    await site.policy("group", rule)
    with Device(site.port) as other:
        await other.verified()
        await observe(verified, f"{NEWS}?group=g")
        site.publish(b"precious")
        message = await verified.hear()
        await observe(other, f"{NEWS}?group=g", token=b"x")
        verified.raw(encode(Message(RST, 0, message.message_id)))
        assert (await heard(other)).payload == b"precious"


async def test_observers_are_told_that_the_site_shuts_down(site, verified):
    await observe(verified)
    site.listener.service.drain()
    assert code(await heard(verified)) == "5.03"


@clause("RFC7641-4.2")
async def test_an_observer_that_accepts_one_form_gets_no_other(site, verified):
    accept = (ACCEPT, uint_value(JSON))
    answer = await verified.ask(GET, NEWS, b"", REGISTER, accept, token=b"ob")
    assert code(answer) == "2.05"
    site.publish(b"{}", kind="application/json")
    assert (await heard(verified)).payload == b"{}"
    site.publish(b"text")
    message = await heard(verified)
    assert (code(message), message.value(OBSERVE)) == ("4.06", None)
    assert not observing(site)
