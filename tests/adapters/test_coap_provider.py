"""Methods at CoAP servers: aiocoap, libcoap, and servers that misbehave."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.coap.serving.asked import Block
from adapters.coap.upstream import line as upstream_line
from adapters.coap.upstream.line import Request
from adapters.coap.upstream.stream import StreamError, frame, parse
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import ACK, CON, NON, RST, Message, code_of, decode, empty, encode
from gateway.message import Refusal, Status
from tests.adapters.devices import Device, calls, libcoap, scripted

SCHEMES = ("coap", "coap+tcp")


@pytest.fixture(scope="module")
def device():
    with Device() as started:
        yield started


def fields(head):
    flat = head.fields
    return {flat[at].lower(): flat[at + 2] for at in range(0, len(flat), 4)}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("verb", ["POST", "PUT", "FETCH", "PATCH", "IPATCH"])
async def test_a_payload_goes_and_comes(device, scheme, verb):
    async with calls() as world:
        world.method("s/m", device.url("echo", scheme), verb)
        head, body = await world.ask("s/m", b"{}", content_type=b"application/json")
        assert (head.status, head.code, body) == (Status.OK, 200, b"{}")
        assert head.content_type == b"application/json"
        assert fields(head)[b"content-type"] == b"application/json"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_path_query_and_accept(device, scheme):
    async with calls() as world:
        world.method("s/m", device.url("echo?a=%C3%A9&b", scheme), "GET", safe=True)
        accept = [b"Accept", b": ", b"application/cbor", b"\r\n"]
        head, body = await world.ask("s/m", query=b"c=1%202", fields=accept)
    said = body.decode()
    assert "('a=é', 'b', 'c=1 2')" in said
    assert "60" in said
    assert head.content_type == b"text/plain;charset=utf-8"


async def test_a_delete(device):
    async with calls() as world:
        world.method("s/m", device.url("echo"), "DELETE")
        head, body = await world.ask("s/m")
        assert (head.status, body, head.content_type) == (Status.OK, b"", b"")
        with pytest.raises(Refusal, match="no payload"):
            await world.ask("s/m", b"x")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [1024, 1025, 10_000, 200_000])
async def test_block_by_block_both_ways(device, scheme, size):
    payload = bytes(at % 251 for at in range(size))
    async with calls() as world:
        world.method("s/up", device.url("echo", scheme))
        world.method("s/down", device.url("large", scheme), "GET")
        assert (await world.ask("s/up", payload)).body == payload
        assert (await world.ask("s/down", query=b"%d" % size)).body == payload


async def test_block_wise_calls_at_once_do_not_mix(device):
    payloads = [bytes([number]) * (3000 + number) for number in range(40)]
    async with calls() as world:
        world.method("s/m", device.url("echo"))
        answers = await asyncio.gather(*(world.ask("s/m", payload) for payload in payloads))
        assert [body for _, body in answers] == payloads
        assert 1 < world.provider.connections() <= 16


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_separate_response(device, scheme):
    async with calls() as world:
        world.method("s/m", device.url("slow", scheme))
        waiting = [world.ask("s/m", b"%.1f" % (0.3 + n / 20)) for n in range(8)]
        assert {body for _, body in await asyncio.gather(*waiting)} == {b"done"}


async def test_the_deadline_cancels(device):
    async with calls() as world:
        world.method("s/m", device.url("slow"))
        with pytest.raises(Refusal) as refused:
            await world.ask("s/m", b"0.6", within=0.2)
        assert refused.value.status is Status.TIMEOUT
        await asyncio.sleep(0.6)  # the late response meets a socket that wants it no more
        assert (await world.ask("s/m", b"0")).body == b"done"


@pytest.mark.parametrize(
    ("code", "status", "http"),
    [
        ("4.00", Status.BAD_REQUEST, 400),
        ("4.01", Status.UNAUTHENTICATED, 401),
        ("4.03", Status.DENIED, 403),
        ("4.04", Status.NOT_FOUND, 404),
        ("4.05", Status.BAD_REQUEST, 405),
        ("4.12", Status.BAD_REQUEST, 412),
        ("4.13", Status.TOO_LARGE, 413),
        ("4.15", Status.UNSUPPORTED_TYPE, 415),
        ("4.29", Status.THROTTLED, 429),
        ("5.00", Status.PROVIDER_ERROR, 500),
        ("5.01", Status.PROVIDER_ERROR, 501),
        ("5.03", Status.UNAVAILABLE, 503),
        ("5.04", Status.TIMEOUT, 504),
    ],
)
async def test_response_codes(device, code, status, http):
    async with calls() as world:
        world.method("s/m", device.url("wrong"), "GET")
        head, body = await world.ask("s/m", query=b"%d" % code_of(code))
    assert (head.status, head.code, body) == (status, http, b"because")
    assert head.content_type == b"text/plain;charset=utf-8"
    assert fields(head).get(b"retry-after") == (b"7" if status is Status.UNAVAILABLE else None)


async def test_an_unknown_content_format_is_bytes(device):
    async with calls() as world:
        world.method("s/m", device.url("fixed"), "GET")
        head, body = await world.ask("s/m")
        assert (body, head.content_type) == (b"fixed", b"application/octet-stream")
        world.method("s/e", device.url("echo"))
        head, body = await world.ask("s/e", b"x", content_type=b"video/unheard-of")
        assert head.content_type == b"application/octet-stream"


async def test_libcoap_as_a_server():
    with libcoap() as port:
        async with calls() as world:
            world.method("s/time", f"coap://127.0.0.1:{port}/time", "GET")
            world.method("s/get", f"coap://127.0.0.1:{port}/example_data", "GET")
            world.method("s/put", f"coap://127.0.0.1:{port}/example_data", "PUT")
            world.method("s/tcp", f"coap+tcp://127.0.0.1:{port}/example_data", "GET")
            world.method("s/gone", f"coap://127.0.0.1:{port}/nothing", "GET")
            assert (await world.ask("s/time")).body
            payload = b"libcoap " * 600
            assert (await world.ask("s/put", payload)).head.status is Status.OK
            assert (await world.ask("s/get")).body == payload
            assert (await world.ask("s/tcp")).body == payload
            assert (await world.ask("s/gone")).head.status is Status.NOT_FOUND


async def test_a_server_that_is_not_there():
    device = Device()
    async with calls() as world:
        for scheme in SCHEMES:
            world.method("s/m", device.url("echo", scheme))
            with pytest.raises(Refusal) as refused:
                await world.ask("s/m", b"x")
            assert refused.value.status is Status.UNAVAILABLE


async def test_a_server_that_is_killed_and_started_again():
    with Device() as device:
        async with calls() as world:
            for scheme in SCHEMES:
                world.method(f"s/{scheme.replace('+', '-')}", device.url("echo", scheme))
            for _ in range(2):
                for name in ("s/coap", "s/coap-tcp"):
                    async with asyncio.timeout(5):
                        while True:
                            with contextlib.suppress(Refusal):
                                assert (await world.ask(name, b"x")).body == b"x"
                                break
                            await asyncio.sleep(0.05)
                device.kill()
                for name in ("s/coap", "s/coap-tcp"):
                    with pytest.raises(Refusal) as refused:
                        await world.ask(name, b"x", within=3.0)
                    assert refused.value.status is Status.UNAVAILABLE
                device.start()


async def test_the_next_address_after_one_where_nobody_listens(device):
    """A name may have an address of each family; a datagram does not tell which is served."""
    async with calls() as world:
        found = ["127.0.0.2", "127.0.0.1"]

        async def resolve(origin):
            return found

        world.provider.egress.resolve = resolve
        world.method("s/m", device.url("echo").replace("127.0.0.1", "device.test"))
        with pytest.raises(Refusal):
            await world.ask("s/m", b"x")
        assert (await world.ask("s/m", b"x")).body == b"x"


async def test_who_may_not_connect_there_does_not(device):
    async with calls() as world:
        world.method("s/m", device.url("echo"), peer="10.1.2.3")
        with pytest.raises(Refusal, match=r"is not the address 10\.1\.2\.3"):
            await world.ask("s/m")


async def test_large_payloads_are_refused(device):
    async with calls(limit=5000) as world:
        world.method("s/up", device.url("echo"))
        world.method("s/down", device.url("large"), "GET")
        with pytest.raises(Refusal, match="5000 bytes") as refused:
            await world.ask("s/up", b"x" * 5001)
        assert refused.value.status is Status.TOO_LARGE
        with pytest.raises(Refusal, match="larger than 5000 bytes") as refused:
            await world.ask("s/down", query=b"5001")
        assert refused.value.status is Status.TOO_LARGE
        assert len((await world.ask("s/down", query=b"5000")).body) == 5000


# Servers that misbehave, and datagrams that get lost


def responding(make):
    """React to each request with what ``make(request)`` returns."""

    def react(server, data, address):
        request = decode(data)
        if 0 < request.code < 32:
            for message in make(request):
                raw = message if isinstance(message, bytes) else encode(message)
                server.transport.sendto(raw, address)

    return react


def content(request, payload=b"ok", kind=ACK, message_id=None, options=(), code="2.05"):
    number = request.message_id if message_id is None else message_id
    return Message(kind, code_of(code), number, request.token, list(options), payload)


async def asked(make, monkeypatch=None, **how):
    async with scripted(responding(make)) as server, calls() as world:
        world.method("s/m", f"coap://127.0.0.1:{server.port}/x", how.pop("verb", "GET"))
        answered = await world.ask("s/m", **how)
        await asyncio.sleep(0.05)
        return answered, [decode(data) for data in server.seen]


async def test_a_lost_request_is_sent_again(monkeypatch):
    monkeypatch.setattr(upstream_line, "ACK_TIMEOUT", 0.05)
    count = []

    def make(request):
        count.append(request)
        return [content(request)] if len(count) == 3 else []

    (_, body), seen = await asked(make)
    assert body == b"ok"
    assert len({message.message_id for message in seen}) == 1


async def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(upstream_line, "ACK_TIMEOUT", 0.01)
    with pytest.raises(Refusal, match="does not answer") as refused:
        await asked(lambda _: [])
    assert refused.value.status is Status.UNAVAILABLE


async def test_a_reset():
    with pytest.raises(Refusal, match="reset the request"):
        await asked(lambda request: [empty(RST, request.message_id)])


async def test_a_separate_response_without_an_acknowledgement():
    """RFC 7252 section 5.2.2: the response itself tells that the request came."""
    (_, body), seen = await asked(lambda request: [content(request, kind=CON, message_id=7)])
    assert body == b"ok"
    assert [(m.kind, m.message_id) for m in seen[1:]] == [(ACK, 7)]


async def test_a_response_that_comes_twice_is_acknowledged_twice():
    def make(request):
        message = content(request, kind=CON, message_id=7)
        return [empty(ACK, request.message_id), message, message]

    (_, body), seen = await asked(make)
    assert body == b"ok"
    assert [(m.kind, m.message_id) for m in seen[1:]] == [(ACK, 7), (ACK, 7)]


async def test_a_response_to_something_else_is_reset():
    def make(request):
        stray = content(request, kind=CON, message_id=9)._replace(token=b"other")
        return [stray, content(request, b"no", message_id=request.message_id ^ 1), content(request)]

    (_, body), seen = await asked(make)
    assert body == b"ok"
    assert [(m.kind, m.message_id) for m in seen[1:]] == [(RST, 9)]


async def test_a_server_that_asks_where_we_are():
    """RFC 9175: an Echo option is shown again."""

    def make(request):
        if request.value(o.ECHO) == b"proof":
            return [content(request, b"yes")]
        return [content(request, b"", options=[(o.ECHO, b"proof")], code="4.01")]

    (_, body), _ = await asked(make)
    assert body == b"yes"


async def test_a_server_that_wants_smaller_blocks():
    parts = []

    def make(request):
        number = int.from_bytes(request.value(o.BLOCK1))
        if number & 7 > 2:
            block = Block(0, False, 2).value()
            return [content(request, b"", options=[(o.BLOCK1, block)], code="4.13")]
        parts.append(request.payload)
        code = "2.31" if number & 8 else "2.04"
        return [content(request, b"", options=[(o.BLOCK1, request.value(o.BLOCK1))], code=code)]

    payload = bytes(at % 251 for at in range(1500))
    (head, _), _ = await asked(make, verb="POST", payload=payload)
    assert head.status is Status.OK
    assert b"".join(parts) == payload
    assert max(map(len, parts)) == 64


def block2(request, number, payload, more=True, exponent=0, etag=b"1"):
    value = Block(number, more, exponent).value()
    return content(request, payload, options=[(o.ETAG, etag), (o.BLOCK2, value)])


@pytest.mark.parametrize(
    "second",
    [
        lambda r: block2(r, 2, b"x" * 16),
        lambda r: block2(r, 1, b"x" * 15),
        lambda r: block2(r, 1, b"x" * 17),
        lambda r: block2(r, 1, b"x" * 16, etag=b"2"),
        lambda r: block2(r, 1, b"x" * 16, exponent=7),
        lambda r: content(r),
        lambda r: content(r, code="4.04"),
    ],
)
async def test_blocks_that_do_not_fit_together(second):
    def make(request):
        if request.value(o.BLOCK2) is None:
            return [block2(request, 0, b"x" * 16)]
        return [second(request)]

    with pytest.raises(Refusal) as refused:
        await asked(make)
    assert refused.value.status is Status.PROVIDER_ERROR


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40), max_size=6))
async def test_any_datagrams(datagrams):
    """Whatever comes, the call that is answered at last is answered."""
    (_, body), _ = await asked(lambda request: [*datagrams, content(request)])
    assert body == b"ok"


@given(st.binary(max_size=200))
def test_any_stream(data):
    try:
        taken = parse(bytearray(data))
    except StreamError:
        return
    assert taken is None or taken[1] <= len(data)


@given(
    st.integers(1, 255),
    st.binary(max_size=8),
    st.one_of(st.binary(max_size=400), st.integers(65_000, 66_500).map(bytes)),
)
def test_a_frame_is_read_as_it_was_written(code, token, payload):
    options = [(o.URI_PATH, b"a"), (o.URI_QUERY, b"b" * 20)]
    raw = frame(Request(code, options, payload), token)
    message, size = parse(bytearray(raw + b"more"))
    assert size == len(raw)
    assert message == Message(NON, code, 0, token, options, payload)
    assert parse(bytearray(raw[:-1])) is None
