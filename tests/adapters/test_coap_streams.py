"""CoAP over TCP and WebSocket (RFC 8323): our own bytes, and the clients that people use."""

import asyncio
import contextlib
import logging

import aiocoap
import pytest
from aiocoap.numbers.codes import Code
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    RejectConnection,
    Request,
)

from adapters.coap.wire.codec import GET, POST, PUT, code_text
from adapters.coap.wire.frames import (
    ABORT,
    BLOCK_WISE,
    CSM,
    MAX_MESSAGE_SIZE,
    PING,
    PONG,
    RELEASE,
    Frame,
    FrameError,
    Frames,
    frame_bytes,
    message_bytes,
    read_message,
)
from adapters.coap.wire.options import BLOCK1, BLOCK2, OBSERVE, ordered, uint, uint_value
from policy.model import Action
from tests.adapters.coap_site import PLAN, CoapSettings, path_options, running_coap
from tests.adapters.test_coap_codec import options
from tests.support import require_program

SETTINGS = CoapSettings(anonymous=True, tcp=True, websocket_port=0)
frames = st.builds(
    Frame, st.integers(0, 255), st.binary(max_size=8), options, st.binary(max_size=300)
)


@given(st.lists(frames, max_size=4), st.integers(1, 50))
def test_frames_are_read_as_they_were_written_however_they_come(sent, size):
    data = b"".join(map(frame_bytes, sent))
    reader, seen = Frames(100_000), []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while (frame := reader.next()) is not None:
            seen.append(frame)
    assert seen == sent


@pytest.mark.parametrize("size", [0, 12, 13, 268, 269, 65_804, 65_805, 70_000])
def test_lengths_have_their_forms(size):
    payload = b"x" * max(size - 1, 0)
    reader = Frames(100_000)
    reader.feed(frame_bytes(Frame(GET, b"t", [], payload)))
    frame = reader.next()
    assert frame is not None
    assert frame.payload == payload


@given(frames)
def test_a_websocket_message_is_one_message(frame):
    assert read_message(message_bytes(frame)) == frame


@given(st.binary(max_size=60))
@settings(max_examples=500)
def test_any_bytes_are_messages_or_an_error(data):
    with contextlib.suppress(FrameError):
        read_message(data)
    reader = Frames(1000)
    reader.feed(data)
    with contextlib.suppress(FrameError):
        while reader.next() is not None:
            pass


@pytest.fixture
async def site(tmp_path):
    async with running_coap(tmp_path, SETTINGS) as running:
        yield running


class Tcp:
    """A connection that says what a test wants."""

    def __init__(self, site):
        self._site = site
        self._frames = Frames(1 << 24)

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._site.port)
        greeting = await self.hear()
        assert greeting.code == CSM
        self.limit = uint(dict(greeting.options)[MAX_MESSAGE_SIZE])
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def greet(self, *greeting):
        self.say(Frame(CSM, b"", ordered(greeting)))
        return self

    def say(self, *sent):
        self._writer.write(b"".join(map(frame_bytes, sent)))

    def raw(self, data):
        self._writer.write(data)

    async def hear(self, within=2.0):
        """Return the next message, None at the end."""
        async with asyncio.timeout(within):
            while (frame := self._frames.next()) is None:
                data = await self._reader.read(65_536)
                if not data:
                    return None
                self._frames.feed(data)
            return frame

    async def ask(self, code, path, payload=b"", *more, token=b"tk"):
        self.say(Frame(code, token, ordered([*path_options(path), *more]), payload))
        answer = await self.hear()
        assert answer.token == token
        return answer


async def test_calls_and_events_over_tcp(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        assert (await tcp.ask(POST, f"{PLAN}/make", b"hello")).payload == b"hello"
        assert code_text((await tcp.ask(PUT, f"{PLAN}/news", b"hi")).code) == "2.04"
        assert (await tcp.ask(GET, f"{PLAN}/news", token=b"")).payload == b"hi"
        assert code_text((await tcp.ask(GET, "none")).code) == "4.04"
        assert code_text((await tcp.ask(9, "none")).code) == "4.05"
        assert code_text((await tcp.ask(GET, "none", b"", (2049, b""))).code) == "4.02"


async def test_the_first_message_is_a_csm(site):
    async with Tcp(site) as tcp:
        tcp.say(Frame(GET, b"t", path_options(f"{PLAN}/show")))
        assert (await tcp.hear()).code == ABORT
        assert await tcp.hear() is None


async def test_a_stranger_has_nothing_large_to_say(site):
    async with Tcp(site) as tcp:
        tcp.raw(frame_bytes(Frame(POST, b"t", [], bytes(2000)))[:200])
        assert (await tcp.hear()).code == ABORT
        assert await tcp.hear() is None
    async with Ws(site) as client:
        client.say(BytesMessage(bytes(2000), message_finished=False))
        assert (await client.hear()).code == CSM
        assert (await client.hear()).code == 1009


async def test_who_leaves_messages_unfinished_makes_room_for_others(tmp_path):
    settings = CoapSettings(anonymous=True, tcp=True, websocket_port=0, unfinished=50_000)
    large = frame_bytes(Frame(POST, b"t", path_options(f"{PLAN}/make"), bytes(30_000)))
    async with running_coap(tmp_path, settings) as site, Tcp(site) as first, Tcp(site) as second:
        async with Ws(site) as third:
            for each in (first, second):
                each.greet().raw(large[:20_000])
                await asyncio.sleep(0.05)
            third.say(Frame(CSM))
            third.say(BytesMessage(bytes(20_000), message_finished=False))
            with contextlib.suppress(ConnectionError):
                assert await first.hear() is None
            second.raw(large[20_000:])
            assert code_text((await second.hear()).code) == "2.04"
            assert site.listener.unfinished.held > 10_000
        await asyncio.sleep(0.05)
        assert site.listener.unfinished.held == 0


async def test_a_ping_is_answered_by_a_pong_with_its_token(site):
    async with Tcp(site) as tcp:
        tcp.greet().say(Frame(PING, b"12"))
        assert await tcp.hear() == Frame(PONG, b"12")


@pytest.mark.parametrize("code", [CSM, PING, PONG, RELEASE, ABORT])
async def test_a_critical_option_of_a_signal_that_is_unknown_aborts(site, code):
    async with Tcp(site) as tcp:
        tcp.greet((BLOCK_WISE, b"")).say(Frame(code, b"", [(9, b"")]))
        answer = await tcp.hear()
        assert (answer.code, answer.options) == (ABORT, [(2, b"\x09")])
        assert await tcp.hear() is None


async def test_empty_messages_and_responses_are_ignored(site):
    async with Tcp(site) as tcp:
        tcp.greet().say(Frame(0), Frame(0x45, b"zz", [], b"what"))
        assert (await tcp.ask(POST, f"{PLAN}/make", b"x")).payload == b"x"


async def test_what_is_released_is_answered_first_and_then_closed(site):
    async with Tcp(site) as tcp:
        tcp.greet().say(Frame(POST, b"t", path_options(f"{PLAN}/late"), b"x"), Frame(RELEASE))
        await asyncio.sleep(0.05)
        site.responder.gate.set()
        assert (await tcp.hear()).payload == b"x"
        assert await tcp.hear() is None


@pytest.mark.parametrize("data", ["0f01", "f0ffffffff01", "1001ff", "1901" + "00" * 9, "1001f0"])
async def test_what_is_malformed_aborts_the_connection(site, data):
    async with Tcp(site) as tcp:
        tcp.greet().raw(bytes.fromhex(data) + bytes(20))
        assert (await tcp.hear()).code == ABORT
        assert await tcp.hear() is None


async def test_large_messages_need_no_blocks(site):
    async with Tcp(site) as tcp:
        data = bytes(n % 251 for n in range(1 << 20))
        tcp.greet((MAX_MESSAGE_SIZE, uint_value(1 << 21)))
        assert tcp.limit > len(data)
        assert (await tcp.ask(POST, f"{PLAN}/make", data)).payload == data


async def test_who_takes_little_gets_blocks(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        answer = await tcp.ask(GET, f"{PLAN}/large")
        assert len(answer.payload) == 1024
        assert uint(dict(answer.options)[BLOCK2]) & 8
        second = await tcp.ask(GET, f"{PLAN}/large", b"", (BLOCK2, uint_value(1 << 4 | 6)))
        assert len(second.payload) == 1024


async def test_blocks_are_taken_too(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        one = await tcp.ask(POST, f"{PLAN}/make", b"x" * 16, (BLOCK1, b"\x08"))
        assert code_text(one.code) == "2.31"
        assert (await tcp.ask(POST, f"{PLAN}/make", b"y", (BLOCK1, b"\x10"))).payload == (
            b"x" * 16 + b"y"
        )


async def test_observing_over_tcp(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        first = await tcp.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""), token=b"ob")
        assert OBSERVE in dict(first.options)
        for number in range(100):
            site.publish(b"%d" % number)
        assert [(await tcp.hear()).payload for _ in range(100)] == [b"%d" % n for n in range(100)]
        await tcp.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b"\x01"), token=b"ob")
        assert not site.listener.service.events.observing


async def test_a_connection_that_is_gone_observes_no_more(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        await tcp.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    await asyncio.sleep(0.05)
    assert not site.listener.service.events.observing
    assert not site.listener.connections


async def test_a_client_that_never_reads_is_sent_no_more_than_fits(site):
    async with Tcp(site) as tcp:
        tcp.greet((MAX_MESSAGE_SIZE, uint_value(1 << 20)))
        await tcp.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
        (connection,) = site.listener.connections
        for _ in range(300):
            site.publish(b"x" * 65_536)
            await asyncio.sleep(0)
        assert connection._transport.get_write_buffer_size() < 2 * 1024 * 1024
        seen = 0
        with contextlib.suppress(TimeoutError):
            while await tcp.hear(0.3) is not None:
                seen += 1
        assert 0 < seen < 300


async def test_many_requests_at_once_are_answered_and_bounded(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        tokens = [n.to_bytes(2) for n in range(400)]
        tcp.say(*(Frame(POST, t, path_options(f"{PLAN}/late"), b"x") for t in tokens))
        refused = [await tcp.hear() for _ in range(400 - 256)]
        assert {code_text(frame.code) for frame in refused} == {"4.29"}
        site.responder.gate.set()
        answered = [await tcp.hear() for _ in range(256)]
        assert {code_text(frame.code) for frame in answered} == {"2.04"}


async def test_connections_are_bounded_and_idle_ones_end(tmp_path):
    few = CoapSettings(anonymous=True, tcp=True, connections=1)
    async with running_coap(tmp_path, few) as site, Tcp(site) as tcp:
        tcp.greet()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        assert b"too many connections" in await reader.read(1000)
        writer.close()
        await tcp.ask(POST, f"{PLAN}/make", b"x")
        (connection,) = site.listener.connections
        now = site.site.plane.now
        assert not connection.conversation.is_idle(now + 299)
        assert connection.conversation.is_idle(now + 301)


async def test_anonymous_callers_need_leave_over_tcp_too(tmp_path):
    async with running_coap(tmp_path, CoapSettings(tcp=True)) as site, Tcp(site) as tcp:
        tcp.greet()
        assert code_text((await tcp.ask(POST, f"{PLAN}/make", b"x")).code) == "4.01"


async def test_a_revoked_permission_ends_an_observation_over_tcp(site):
    async with Tcp(site) as tcp:
        tcp.greet()
        await tcp.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
        await site.deny("closed", Action.SUBSCRIBE)
        assert code_text((await tcp.hear()).code) in ("4.01", "4.03")


async def test_peers_are_told_when_the_site_shuts_down(tmp_path):
    async with running_coap(tmp_path, SETTINGS) as site, Tcp(site) as tcp:
        tcp.greet()
        await tcp.ask(POST, f"{PLAN}/make", b"x")
        ending = asyncio.create_task(site.listener.drain())
        assert (await tcp.hear()).code == RELEASE
        assert await tcp.hear() is None
        await ending


async def test_coap_client_speaks_tcp(site):
    program = require_program("coap-client-notls")
    process = await asyncio.create_subprocess_exec(
        program,
        *("-B", "5", "-m", "post", "-e", "hello", f"coap+tcp://127.0.0.1:{site.port}/{PLAN}/make"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert out.strip() == b"hello"


async def test_aiocoap_speaks_tcp(site):
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    context = await aiocoap.Context.create_client_context(transports=["tcpclient"])
    uri = f"coap+tcp://127.0.0.1:{site.port}/{PLAN}/make"
    message = aiocoap.Message(code=Code.POST, uri=uri, payload=b"hello")
    answer = await asyncio.wait_for(context.request(message).response, 5)
    assert answer.payload == b"hello"
    await context.shutdown()


class Ws:
    """A WebSocket that says what a test wants."""

    def __init__(self, site, path="/.well-known/coap", protocols=("coap",)):
        self._site = site
        self._wanted = (path, list(protocols))
        self._events = []
        self._ws = WSConnection(ConnectionType.CLIENT)

    async def __aenter__(self):
        port = self._site.listener.websocket_port
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        path, protocols = self._wanted
        self.raw(self._ws.send(Request(host="localhost", target=path, subprotocols=protocols)))
        self.greeting = await self.event()
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def raw(self, data):
        self._writer.write(data)

    def say(self, data):
        self.raw(
            self._ws.send(
                data if not isinstance(data, Frame) else BytesMessage(message_bytes(data))
            )
        )

    async def event(self):
        async with asyncio.timeout(2):
            while not self._events:
                data = await self._reader.read(65_536)
                if not data:
                    raise EOFError
                self._ws.receive_data(data)
                self._events += self._ws.events()
            return self._events.pop(0)

    async def hear(self):
        parts = b""
        while isinstance(event := await self.event(), BytesMessage):
            parts += event.data
            if event.message_finished:
                return read_message(parts)
        return event


async def test_calls_and_observing_over_a_websocket(site):
    async with Ws(site) as ws:
        assert isinstance(ws.greeting, AcceptConnection)
        assert ws.greeting.subprotocol == "coap"
        assert (await ws.hear()).code == CSM
        ws.say(Frame(CSM))
        ws.say(Frame(POST, b"t", path_options(f"{PLAN}/make"), b"hello"))
        assert await ws.hear() == Frame(0x44, b"t", [(12, b"2")], b"hello")
        ws.say(Frame(GET, b"ob", ordered([*path_options(f"{PLAN}/news"), (OBSERVE, b"")])))
        assert (await ws.hear()).token == b"ob"
        site.publish(b"news")
        assert (await ws.hear()).payload == b"news"
    await asyncio.sleep(0.05)
    assert not site.listener.service.events.observing


@pytest.mark.parametrize(
    ("path", "protocols"), [("/other", ["coap"]), ("/.well-known/coap", ["mqtt"])]
)
async def test_other_websockets_are_rejected(site, path, protocols):
    async with Ws(site, path, protocols) as ws:
        assert isinstance(ws.greeting, RejectConnection)


async def test_what_is_no_message_ends_the_websocket(site):
    for said, expected in ((BytesMessage(b"\xf0\x01"), ABORT), (BytesMessage(b"\x00"), ABORT)):
        async with Ws(site) as ws:
            assert (await ws.hear()).code == CSM
            ws.say(Frame(CSM))
            ws.say(said)
            assert (await ws.hear()).code == expected
            assert isinstance(await ws.hear(), CloseConnection)


async def test_noise_on_a_websocket_ends_it(site):
    async with Ws(site) as ws:
        await ws.hear()
        ws.raw(b"\xff\xff\xff\xff" * 10)
        with contextlib.suppress(Exception):
            while True:
                await ws.event()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.listener.websocket_port)
    writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    async with asyncio.timeout(3):
        await reader.read()
    writer.close()
    await asyncio.sleep(0.05)
    assert not site.listener.connections
