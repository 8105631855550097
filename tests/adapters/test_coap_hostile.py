"""Hostile datagrams against a site on a real socket: it goes on serving, and holds little."""

import asyncio
import contextlib
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.coap.serving.asked import Bad, read_options
from adapters.coap.wire.codec import GET, PUT, Message, code_text, encode
from adapters.coap.wire.options import DEFINITIONS, ordered
from tests.adapters.coap_site import PLAN, CoapSettings, Device, path_options, running_coap
from tests.adapters.test_coap_codec import messages
from tests.support import Replaceable

numbers = st.sampled_from(sorted(DEFINITIONS))
known = st.lists(st.tuples(numbers, st.binary(max_size=12)), max_size=8).map(ordered)
AGAIN = settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture
async def site(tmp_path):
    async with running_coap(tmp_path) as running:
        yield running


async def alive(site):
    with Device(site.port) as device:
        answer = await device.ask(PUT, f"{PLAN}/news", b"still here")
    assert code_text(answer.code) == "2.04"


async def test_options_of_any_kind_are_read_or_refused(site):
    @given(known)
    @settings(max_examples=500)
    def check(options):
        with contextlib.suppress(Bad):
            assert len(read_options(site.site, options).name) <= 1024

    check()


async def test_any_message_leaves_the_listener_in_order(site):
    layer = site.listener.sockets[0].messages

    @given(st.lists(st.one_of(messages.map(encode), st.binary(max_size=60)), max_size=12))
    @AGAIN
    def check(datagrams):
        for data in datagrams:
            layer.received(data, ("127.0.0.1", 9))

    check()
    layer.sweep(site.site.plane.now)
    await asyncio.sleep(0.05)
    await alive(site)


@pytest.mark.full
async def test_any_message_leaves_the_listener_in_order_for_long(site):
    layer = site.listener.sockets[0].messages
    datagram = st.one_of(messages.map(encode), st.binary(max_size=200))

    @given(st.lists(datagram, max_size=20), st.integers(1, 50))
    @settings(AGAIN, max_examples=10_000)
    def check(datagrams, port):
        for data in datagrams:
            layer.received(data, ("127.0.0.1", port))

    check()
    await alive(site)


async def test_any_request_for_a_name_is_answered_by_the_rules(site):
    layer = site.listener.sockets[0].messages
    paths = st.sampled_from(
        [f"{PLAN}/make", f"{PLAN}/news", f"{PLAN}/show", PLAN, ".well-known/core"]
    )
    layer.send = lambda data, _: seen.append(data)
    seen: list[bytes] = []

    @given(st.integers(1, 9), paths, known, st.binary(max_size=40), st.integers(0, 0xFFFF))
    @AGAIN
    def check(code, path, options, payload, message_id):
        seen.clear()
        everything = ordered([*path_options(path), *options])
        data = encode(Message(0, code, message_id, b"t", everything, payload))
        layer.received(data, ("127.0.0.1", 9))
        assert sum(map(len, seen)) <= 3 * len(data)

    check()


async def test_a_storm_of_noise_ends_in_silence_and_service(site):
    noise = random.Random(7)
    with Device(site.port) as device:
        for _ in range(2000):
            device.raw(noise.randbytes(noise.randrange(1, 60)))
            if noise.random() < 0.02:
                await asyncio.sleep(0.001)  # or its buffer is full
    await alive(site)


async def test_datagrams_that_take_long_leave_others_their_turn(site):
    """64 of them at once made everybody else wait for as long as all of them take."""
    done, passes = [], []
    datagrams = site.listener.sockets[0]
    received = datagrams.messages.received

    def slowly(data, address):
        done.append(len(passes))
        time.sleep(0.002)
        received(data, address)

    datagrams.messages = Replaceable(datagrams.messages)
    datagrams.messages.received = slowly
    with Device(site.port) as device:
        for number in range(12):
            device.raw(encode(Message(1, GET, number, b"t", path_options(f"{PLAN}/late"))))
        while len(done) < 12:
            passes.append(None)
            await asyncio.sleep(0)
    assert max(done.count(each) for each in done) <= 3


async def test_many_peers_hold_little(tmp_path):
    async with running_coap(tmp_path, CoapSettings(anonymous=True, peers=200)) as site:
        layer = site.listener.sockets[0].messages
        data = encode(Message(0, GET, 1, b"t", path_options(f"{PLAN}/late")))
        for number in range(5000):
            layer.received(data, (f"10.0.{number >> 8}.{number & 255}", 5683))
        assert len(layer.peers) <= 200
        assert len(layer.known) <= 10
        await alive(site)


async def test_options_that_never_repeat_are_not_remembered_for_ever(site):
    layer = site.listener.sockets[0].messages
    for number in range(10_000):
        path = f"{PLAN}/n{number}"
        data = encode(Message(1, GET, number & 0xFFFF, b"t", path_options(path)))
        layer.received(data, ("127.0.0.1", 9))
    assert len(layer.known) <= 4096


async def test_nothing_is_served_unless_anonymous_callers_are_let_in(tmp_path):
    async with running_coap(tmp_path, CoapSettings()) as site:
        with Device(site.port) as device:
            for path in (f"{PLAN}/make", f"{PLAN}/news", ".well-known/core", "none"):
                assert code_text((await device.ask(GET, path)).code) == "4.01"
        assert not site.responder.calls


async def test_being_let_in_is_not_being_allowed(tmp_path):
    async with running_coap(tmp_path, everything=False) as site:
        with Device(site.port) as device:
            for path in (f"{PLAN}/make", f"{PLAN}/news", "none"):
                assert code_text((await device.ask(2, path)).code) == "4.01"
            assert (await device.ask(GET, ".well-known/core")).payload == b""
        assert not site.responder.calls
