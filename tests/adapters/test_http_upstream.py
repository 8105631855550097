"""Endpoints that refuse, hang, close early or answer garbage: a clear error, nobody else's harm.

Also the smuggling table in the other direction: what a hostile service may not make us believe.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from gateway.settings import Upstream
from policy.model import Passive, ResolutionPolicy
from registry.model import Endpoint
from tests.adapters.relay import Relay, echo, read_request, running_relay, service
from tests.adapters.wire import Answer, chunked, connected, problem_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# One site for all tests of this file: they are many, and what one breaks must not harm the next.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Relay]:
    folder = tmp_path_factory.mktemp("upstream")
    async with running_relay(folder, upstream=Upstream(connect=0.5, stall=0.4)) as running:
        # Ejections would make one test's fault the next one's.
        patient = ResolutionPolicy(("**",), passive=Passive(1000, 0))
        await running.policy("patient", patient)
        yield running


def saying(
    *pieces: bytes, close: bool = True
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A service that reads a request and says just this, a piece at a time."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await read_request(reader))[0]:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.02)
            if close:
                return

    return talk


async def ask(relay: Relay, url: str, **traits: bool | int) -> Answer:
    """Call a method whose endpoint is there, by a client that stays."""
    await relay.method("Bad/say", f"{url}/", **traits)
    async with connected(relay.port) as client:
        return await client.ask(relay.request("/Bad/say", b"x", close=False))


async def test_nobody_listens(relay: Relay):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    answer = await ask(relay, f"http://127.0.0.1:{port}")
    assert answer.code == 503
    assert answer.get(b"retry-after") == b"1"
    assert f"cannot connect to 127.0.0.1:{port}" in str(problem_of(answer)["detail"])


async def test_a_host_that_does_not_exist(relay: Relay):
    answer = await ask(relay, "http://does-not-exist.invalid:80")
    assert answer.code == 503
    assert "cannot connect to does-not-exist.invalid:80" in str(problem_of(answer)["detail"])


async def test_a_connection_that_is_never_accepted(relay: Relay):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        answer = await ask(relay, f"http://127.0.0.1:{port}")
        for filler in fillers:
            filler.close()
    assert answer.code == 503
    assert "did not answer the connection in time" in str(problem_of(answer)["detail"])


async def test_a_name_with_two_addresses_is_reached_at_the_one_that_answers(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
):
    async with service(echo()) as url:
        port = int(url.rpartition(":")[2])

        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def resolving(host: str, *args: object, **options: object) -> object:
            if host != "twice.example":
                return await resolve(host, *args, **options)
            return [(0, 0, 0, "", (address, port)) for address in ("::1", "127.0.0.1")]

        monkeypatch.setattr(loop, "getaddrinfo", resolving)
        answer = await ask(relay, f"http://twice.example:{port}")
    assert answer.code == 200


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((b"",), "closed the connection before its reply"),
        ((b"HTTP/1.1 20",), "closed the connection before its reply"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), "closed the connection before its reply"),
        ((b"HTTP/1.1 200 OK\r\n\r",), "closed the connection before its reply"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), "closed the connection before its reply"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "not HTTP/1.1"),
        ((b"\x16\x03\x01\x00\xff garbage",), "not HTTP/1.1"),
        ((b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",), "another version"),
        ((b"HTTP/0.9 200 OK\r\n\r\nok",), "another version"),
        ((b"HTTP/1.2 200 OK\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/2.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",), "version"),
        ((b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",), "no status code 99"),
        ((b"HTTP/1.1 700 OK\r\nContent-Length: 2\r\n\r\nok",), "no status code 700"),
        ((b"HTTP/1.1 2000 OK\r\n\r\n",), "not HTTP/1.1"),
        ((b"HTTP/1.1 abc OK\r\n\r\n",), "not HTTP/1.1"),
        ((b"HTTP/1.1 101 Switching Protocols\r\n\r\n",), "not HTTP/1.1"),
        (
            (b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",),
            "switches protocols",
        ),
        ((b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\nok",), "too large a head"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000, b"y" * 40_000), "too large a head"),
        ((b"HTTP/1.1 102 Wait\r\n\r\n" * 3_000, b"HTTP/1.1 103 W\r\n\r\n" * 3_000), "too large"),
        # What two readers could understand in two ways
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",), "not HTTP/1.1"),
        (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",),
            "not HTTP/1.1",
        ),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",),
            "not HTTP/1.1",
        ),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",), "transfer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",), "transfer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",), "transfer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",), "transfer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n",), "transfer"),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",),
            "transfer",
        ),
        ((b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nX y: a\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX",), "not HTTP/1.1"),
    ],
)
async def test_what_is_no_reply(relay: Relay, said: tuple[bytes, ...], why: str):
    """502 with the reason; the client's connection lives on, the endpoint's does not."""
    async with service(saying(*said)) as bad, service(echo()) as good:
        await relay.method("Bad/say", f"{bad}/")
        await relay.method("Good/say", f"{good}/")
        async with connected(relay.port) as client:
            answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
            assert answer.code == 502
            assert why in str(problem_of(answer)["detail"])
            assert (await client.ask(relay.request("/Good/say", b"y", close=False))).body == b"y"
    assert relay.http.connections() <= 1


@pytest.mark.parametrize(
    "rest",
    [
        (b"Content-Length: 5\r\n\r\nok",),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"zz\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"5\r\nok"),
        (
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            b"0\r\nX: " + b"t" * 70_000,
            b"t" * 70_000,
        ),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"1;" + b"e" * 70_000, b"e" * 70_000),
    ],
)
async def test_a_reply_that_breaks_off_is_seen_to_break_off(relay: Relay, rest: tuple[bytes, ...]):
    """The client must not take half a reply for a whole one: its connection is reset."""
    async with service(saying(b"HTTP/1.1 200 OK\r\n", *rest)) as url:
        await relay.method("Bad/say", f"{url}/")
        async with connected(relay.port) as client:
            client.send(relay.request("/Bad/say", b"x", close=False))
            code, _ = await client.head()
            assert code == 200
            got = await client.ended()
    assert not got.endswith(b"0\r\n\r\n")
    assert len(got) < 20


async def test_an_endpoint_that_stops_in_the_middle(relay: Relay):
    """Neither bytes nor an end: given up after [upstream] stall."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"

    async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)
        await reader.read()

    async with service(stop) as url, connected(relay.port) as client:
        await relay.method("Bad/say", f"{url}/")
        client.send(relay.request("/Bad/say", b"x", close=False))
        await client.head()
        start = asyncio.get_running_loop().time()
        assert await client.ended() == b"ok"
        assert 0.3 < asyncio.get_running_loop().time() - start < 2


async def test_an_endpoint_that_never_begins_its_reply(tmp_path):
    """Given up after [upstream] first_byte, long before the call's own deadline."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    sizes = Upstream(first_byte=0.3)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(listen) as url:
        await relay.method("Bad/say", f"{url}/")
        code, _, body = await relay.ask("/Bad/say", b"x")
    assert code == 504
    assert b"did not begin its reply" in body


async def test_interim_replies_are_dropped_with_all_they_say(relay: Relay):
    early = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\nContent-Type: a/b\r\n"
        b"Connection: X-Keep\r\n\r\n"
    )
    final = b"HTTP/1.1 200 OK\r\nX-Keep: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    cases = [
        (early + b"HTTP/1.1 100 Continue\r\n\r\n" + final + chunked(b"ok"),),
        (early, b"HTTP/1.1 100 C\r\n\r\n", final, chunked(b"ok")),
        (early[:30], early[30:] + final[:20], final[20:] + chunked(b"ok")),
    ]
    for case in cases:
        async with service(saying(*case, close=False)) as url, connected(relay.port) as client:
            await relay.method("Bad/say", f"{url}/")
            for _ in range(2):
                answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
                assert (answer.code, answer.body) == (200, b"ok")
                assert answer.get(b"x-keep") == b"1"
                assert not answer.get(b"link")
                assert not answer.get(b"content-type")
                assert answer.get(b"content-length") in (b"", b"2")


@pytest.mark.parametrize("code", [204, 304])
async def test_replies_without_payload_keep_the_connection(relay: Relay, code: int):
    head = b"HTTP/1.1 %d X\r\nETag: 1\r\n\r\n" % code
    async with service(saying(head, close=False)) as url, connected(relay.port) as client:
        await relay.method("Bad/say", f"{url}/")
        for _ in range(3):
            answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
            assert (answer.code, answer.body, answer.get(b"etag")) == (code, b"", b"1")
            assert not answer.get(b"content-length")
            assert not answer.get(b"transfer-encoding")
        assert relay.http.connections() == 1


async def test_a_reply_that_ends_with_its_connection(relay: Relay):
    for version in (b"1.1", b"1.0"):
        said = (b"HTTP/" + version + b" 200 OK\r\n\r\n", b"one", b"two")
        async with service(saying(*said)) as url, connected(relay.port) as client:
            await relay.method("Bad/say", f"{url}/")
            for _ in range(2):
                answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
                assert (answer.code, answer.body) == (200, b"onetwo")


async def test_http_1_0_endpoints(relay: Relay):
    said = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    async with service(saying(said, close=False)) as url, connected(relay.port) as client:
        await relay.method("Bad/say", f"{url}/")
        for _ in range(3):
            answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
            assert (answer.code, answer.body) == (200, b"ok")
        assert relay.http.connections() == 1


async def test_redirects_are_passed_on_not_followed(relay: Relay):
    followed: list[tuple[bytes, bytes]] = []
    async with service(echo(followed)) as target:
        said = (
            b"HTTP/1.1 307 Go\r\nLocation: " + target.encode() + b"/\r\nContent-Length: 0\r\n\r\n"
        )
        async with service(saying(said)) as url:
            answer = await ask(relay, url, safe=True, idempotent=True)
    assert answer.code == 307
    assert answer.get(b"location") == target.encode() + b"/"
    assert not followed


# Nothing of one reply may reach another call


async def test_what_comes_behind_a_reply_reaches_nobody(relay: Relay):
    """The extra bytes look like the reply to the next request: they must not become it."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for said in (
        (OK + evil,),
        (OK + evil[:10],),
        (OK + b"x",),
        (OK, evil),
        (b"HTTP/1.1 204 X\r\nContent-Length: 4\r\n\r\nevil",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ok") + evil,),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok" + evil,),
    ):
        async with service(saying(*said, close=False)) as url:
            await relay.method("Bad/say", f"{url}/")
            async with connected(relay.port) as one, connected(relay.port) as two:
                for client in (one, two, one):
                    answer = await client.ask(relay.request("/Bad/say", b"x", close=False))
                    assert answer.code in (200, 204)
                    assert answer.body in (b"ok", b"")
                    await asyncio.sleep(0.05)


async def test_what_comes_behind_the_reply_to_a_head_reaches_nobody(relay: Relay):
    async with service(saying(OK, close=False)) as url, connected(relay.port) as client:
        get = Endpoint(f"{url}/", method="GET")
        await relay.method("Bad/get", endpoints=[get], safe=True)
        for _ in range(2):
            raw = relay.request("/Bad/get", verb="HEAD", close=False)
            answer = await client.ask(raw, head=True)
            assert answer.get(b"content-length") == b"2"
            answer = await client.ask(relay.request("/Bad/get", verb="GET", close=False))
            assert answer.body == b"ok"


async def test_an_early_reply_closes_the_endpoint_s_connection(relay: Relay):
    """The rest of the payload would be taken for the next request there (reproduced)."""
    heads: list[bytes] = []

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(5)
        writer.write(OK)
        assert not await reader.read(65_536) or len(heads) == 0

    async with service(early) as url, connected(relay.port) as client:
        await relay.method("Bad/say", f"{url}/")
        raw = relay.request("/Bad/say", b"x" * 300_000, close=False)
        client.send(raw[: -300_000 + 5])
        assert (await client.answer()).body == b"ok"
        client.send(raw[-300_000 + 5 :])
        client.send(relay.request("/Bad/say", b"12345", close=False))
        assert (await client.answer()).body == b"ok"
    assert len(heads) == 2


async def test_a_client_that_goes_on_after_an_early_reply(relay: Relay):
    """Too much unwanted payload: the connection ends, but the reply was there to read."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    async with service(early) as url, connected(relay.port) as client:
        await relay.method("Bad/say", f"{url}/")
        answer = await client.ask(relay.request("/Bad/say", b"x" * 5_000_000))
        assert (answer.code, answer.body) in ((413, b"no"), (502, answer.body))
