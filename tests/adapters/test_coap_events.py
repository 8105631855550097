"""Channels over CoAP: what is published arrives as what it is; and how a site ends."""

import asyncio

import pytest

from adapters.coap.serving.asked import read_options
from adapters.coap.serving.turn import Turn
from adapters.coap.wire.codec import ACK, CON, GET, NON, POST, PUT, code_text, empty
from adapters.coap.wire.formats import read_problem
from adapters.coap.wire.options import CONTENT_FORMAT, OBSERVE
from policy.model import Action
from tests.adapters.coap_site import PLAN, Device, path_options, running_coap

NEWS, DIARY, TYPED = f"{PLAN}/news", f"{PLAN}/diary", f"{PLAN}/typed"


@pytest.fixture
async def site(tmp_path):
    async with running_coap(tmp_path) as running:
        yield running


@pytest.fixture
def device(site):
    with Device(site.port) as client:
        yield client


def code(message):
    return code_text(message.code)


@pytest.mark.parametrize(("kind", "qos"), [(CON, 1), (NON, 0)])
async def test_the_kind_of_message_is_the_quality_of_service(site, device, kind, qos):
    await device.ask(PUT, NEWS, b"{}", (CONTENT_FORMAT, b"\x32"), kind=kind)
    event = await site.channels.last(site.news())
    assert (event.qos, event.source, event.content_type, event.payload) == (
        qos,
        "anonymous:coap",
        "application/json",
        b"{}",
    )


async def test_an_event_without_a_form_is_bytes_and_may_be_empty(site, device):
    assert code(await device.ask(POST, NEWS)) == "2.04"
    event = await site.channels.last(site.news())
    assert (event.content_type, event.payload) == ("application/octet-stream", b"")
    assert (await device.ask(GET, NEWS)).payload == b""


async def test_a_durable_event_is_acknowledged_when_it_is_on_disk(site, device):
    answer = await device.ask(PUT, DIARY, b"dear diary")
    assert code(answer) == "2.04"
    stored = await site.channels.history(site.news("diary"))
    assert [event.payload for event in stored] == [b"dear diary"]
    assert (await device.ask(GET, DIARY)).payload == b"dear diary"


async def test_a_payload_has_to_fit_the_channels_schema(device):
    await device.verified()
    wrong = await device.ask(PUT, TYPED, b'{"b": 1}')
    assert code(wrong) == "4.22"
    assert "does not fit its schema" in read_problem(wrong.payload)
    assert code(await device.ask(PUT, TYPED, b"no JSON")) == "4.00"
    assert code(await device.ask(PUT, TYPED, b'{"a": 1}')) == "2.04"
    assert code(await device.ask(POST, f"{PLAN}/checked", b'{"b": 1}')) == "4.22"


async def test_publishing_and_reading_are_decided_apart(tmp_path):
    async with running_coap(tmp_path, everything=False) as site:
        await site.allow("writers", Action.PUBLISH)
        with Device(site.port) as device:
            assert code(await device.ask(PUT, NEWS, b"x")) == "2.04"
            assert code(await device.ask(GET, NEWS)) == "4.01"
            await site.withdraw("writers")
            assert code(await device.ask(PUT, NEWS, b"x")) == "4.01"


async def test_calls_and_events_are_counted(site, device):
    await device.ask(PUT, NEWS, b"x")
    await device.ask(GET, NEWS)
    await device.ask(POST, f"{PLAN}/make", b"x")
    meter = site.news().meter
    counted = {str(action): count for (action, _), count in meter.counts.items()}
    assert counted == {"publish": 1, "subscribe": 1, "call": 1}
    assert site.listener.peers == 1
    assert site.listener.datagrams == 3


async def test_a_wrong_group_is_a_bad_request(device):
    assert code(await device.ask(GET, f"{NEWS}?group=a\x01")) == "4.00"
    assert code(await device.ask(GET, f"{NEWS}?group=g")) in ("4.01", "4.03")


async def test_observers_and_callers_are_not_left_alone_when_the_site_ends(tmp_path):
    async with running_coap(tmp_path) as site:
        with Device(site.port) as observer, Device(site.port) as caller:
            await observer.verified()
            await observer.ask(GET, NEWS, b"", (OBSERVE, b""))
            assert site.listener.observations == 1
            caller.send(POST, f"{PLAN}/late", b"x" * 20)
            assert (await caller.hear()).code == 0
            ending = asyncio.create_task(site.listener.drain())
            farewell = await observer.hear()
            assert (code(farewell), farewell.value(OBSERVE)) == ("5.03", None)
            observer.raw(empty(ACK, farewell.message_id))
            assert code(await observer.ask(GET, NEWS)) == "5.03"
            site.responder.gate.set()
            answer = await caller.hear()
            assert (code(answer), answer.payload) == ("2.04", b"x" * 20)
            caller.raw(empty(ACK, answer.message_id))
            await asyncio.wait_for(ending, 1)


async def test_an_address_that_may_be_made_up_binds_nothing(site, device):
    """The site's own methods let a caller bind endpoints at its own address."""
    service = site.listener.service
    await device.ask(GET, NEWS)
    (peer,) = site.listener.sockets[0].messages.peers.values()
    for path, stranger in (("$site/registry/register", "0.0.0.0"), (f"{PLAN}/make", "127.0.0.1")):
        turn = Turn(service, peer, POST, b"", read_options(site.site, path_options(path)))
        peer.verified = 0.0
        assert service.call(turn, None).peer == stranger
        peer.verified = float("inf")
        assert service.call(turn, None).peer == "127.0.0.1"
