"""Any bytes, from clients and from services: an answer or an end, and the next is served.

The site runs in a thread of its own. What its services get is judged by a small strict reader
that shares nothing with the gateway's.
"""

import asyncio
import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.settings import Limits, Upstream
from tests.adapters.relay import Relay, running_relay, service

# With the profile of ``make test-full`` a long round takes twenty times as many examples.
ROUNDS = pytest.mark.parametrize("rounds", ["short", pytest.param("long", marks=pytest.mark.full)])
QUIET = 0.012
PATIENCE = 3.0


class Site:
    """A running site and two services: one echoes, one says what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[bytes] = []
        self.wrong: list[str] = []
        self.replies: list[bytes] = []
        self.stay = False
        self.relay: Relay | None = None
        self._folder = folder
        self._ready = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()

    async def _run(self) -> None:
        limits = Limits(head=4_096, message=50_000)
        sizes = Upstream(connections=8, connect=1, stall=0.15)
        async with (
            running_relay(self._folder, limits, sizes) as relay,
            service(self._echo) as echoing,
            service(self._say) as saying,
        ):
            await relay.method("Echo/say", f"{echoing}/say", safe=True)
            await relay.method("Odd/say", f"{saying}/say")
            self.relay = relay
            self._ready.set()
            await self._end.wait()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                body = await self._body(head, reader)
            except asyncio.IncompleteReadError as error:
                if error.partial and len(error.partial) > 100_000:
                    self.wrong.append("a head without end")
                return
            except ValueError as error:
                self.wrong.append(f"{error}: {head!r}")
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def _body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """Read a payload as strictly as can be."""
        lines = head[:-4].split(b"\r\n")
        if not re.fullmatch(rb"[A-Z]+ /[!-~]* HTTP/1\.1", lines[0]):
            raise ValueError("request line")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines[1:]:
            match = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)", line)
            if match is None:
                raise ValueError("field line")
            fields.setdefault(match[1].lower(), []).append(match[2])
        framing = fields.get(b"content-length", []) + fields.get(b"transfer-encoding", [])
        if len(framing) != 1 or len(fields[b"host"]) != 1 or b"authorization" in fields:
            raise ValueError("framing or credentials")
        if framing != [b"chunked"]:
            return await reader.readexactly(int(framing[0]))
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("chunk")
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("trailers")
        return body

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in self.replies:
            if not writer.is_closing():
                writer.write(piece)
            await asyncio.sleep(0.001)
        if self.stay:
            await reader.read(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("fuzz"))
    yield running
    running.close()


class Errors(logging.Handler):
    """What was logged as an error, by us or by the loop."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@pytest.fixture(scope="module", autouse=True)
def errors() -> Iterator[Errors]:
    handler = Errors()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def exchange(site: Site, *pieces: bytes) -> bytes:
    """Send pieces, wait until nothing more comes, close our side; return all that came."""
    assert site.relay is not None
    received = b""
    with socket.create_connection(("127.0.0.1", site.relay.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.001)
                client.sendall(piece)
            client.settimeout(QUIET)
            with contextlib.suppress(TimeoutError):
                while data := client.recv(65_536):
                    received += data
            with contextlib.suppress(OSError):  # it may have ended already
                client.shutdown(socket.SHUT_WR)
            client.settimeout(PATIENCE)  # then it must end: a hang fails the test
            while data := client.recv(65_536):
                received += data
    return received


def ask(site: Site, request: bytes) -> bytes:
    """Send a request that closes the connection; return all that came."""
    assert site.relay is not None
    received = b""
    with socket.create_connection(("127.0.0.1", site.relay.port), timeout=PATIENCE) as client:
        client.sendall(request)
        with contextlib.suppress(ConnectionError):
            while data := client.recv(65_536):
                received += data
    return received


def healthy(site: Site, errors: Errors) -> None:
    """Fail if anything went wrong unseen, or if the next client is not served."""
    assert site.relay is not None
    assert ask(site, site.relay.request("/Echo/say", b"fine")).endswith(b"\r\n\r\nfine")
    assert not site.relay.troubles
    assert not site.wrong
    assert not errors.records


def behind_chunks(received: bytes) -> bytes:
    """Return what follows a chunked payload, b"" when it is cut off."""
    while received:
        size, _, received = received.partition(b"\r\n")
        assert re.fullmatch(rb"0|[1-9a-f][0-9a-f]*", size)
        received = received[int(size, 16) :]
        assert received[:2] in (b"\r\n", b"\r", b"")
        received = received[2:]
        if size == b"0":
            break
    return received


def well_formed(received: bytes) -> None:
    """Fail unless this is a sequence of replies, the last of which may be cut off."""
    while received:
        head, mark, rest = received.partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 [1-5][0-9]{2} [ -~]*", lines[0])
        fields = [re.fullmatch(rb"([!-~]+): ([\t -~\x80-\xff]*)", line) for line in lines[1:]]
        assert all(fields)
        known = {m[1].lower(): m[2] for m in fields if m is not None}
        assert not (b"content-length" in known and b"transfer-encoding" in known)
        if b"transfer-encoding" in known:
            received = behind_chunks(rest)
        elif rest.startswith(b"HTTP/1.1 "):  # the reply to a HEAD
            received = rest
        else:
            received = rest[int(known.get(b"content-length", b"0")) :]


TOKEN = b"Bearer @TOKEN@"
VALID = (
    b"POST /Echo/say?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /Echo/say HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Authorization: Bearer @TOKEN@\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"GET /Echo/say HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer @TOKEN@\r\n\r\n",
    b"POST /Echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 31\r\n"
    b'Authorization: Bearer @TOKEN@\r\n\r\n{"method": "say", "args": [1,2]}',
    b"HEAD /Echo/say HTTP/1.1\r\nHost: snac.asu.edu\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
    b"POST http://localhost/Echo/say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
    b"Authorization: Bearer @TOKEN@\r\nHilum-Timeout: 500\r\nHilum-Hops: 1\r\n\r\n",
    b"POST /Echo/say HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n"
    b"Authorization: Bearer @TOKEN@\r\n\r\nok",
    b"POST /Echo/say HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    b"Authorization: Bearer @TOKEN@\r\nContent-Length: 3\r\n\r\nabc",
    b"DELETE /Echo/say HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer @TOKEN@\r\n\r\n",
)
REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nETag: 1\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 500 No\r\nContent-Length: 2\r\nConnection: close, X-A\r\nX-A: 1\r\n\r\nno",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
)
SPECIAL = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"chunked",
    b"\xff",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 1\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"GET /Echo/say HTTP/1.1\r\n",
    b"a" * 5_000,
)


@st.composite
def mutated(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """Some valid messages with a few changes."""
    data = b"".join(draw(st.lists(st.sampled_from(valid), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from((0, 0, 0, 1, 2, 8, 40))))
        inserted = draw(
            st.sampled_from(SPECIAL) | st.binary(max_size=3) | st.just(data[start:stop] * 2)
        )
        data = data[:start] + inserted + data[stop:]
    return data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data at some places."""
    cuts = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(cuts)] or [b""]


PLACES = st.lists(st.integers(0, 1_000), max_size=3)


def with_token(site: Site, data: bytes) -> bytes:
    assert site.relay is not None
    return data.replace(b"@TOKEN@", site.relay.token.encode())


# From clients


@ROUNDS
@given(data=st.binary(max_size=300), places=PLACES)
@example(data=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", places=[])
@example(data=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", places=[])
@example(data=b"\r\n" * 5_000, places=[])
def test_any_bytes_from_a_client(
    site: Site, errors: Errors, rounds: str, data: bytes, places: list[int]
):
    well_formed(exchange(site, *cut(data, places)))
    healthy(site, errors)


@ROUNDS
@given(data=mutated(VALID), places=PLACES)
def test_mutated_requests(site: Site, errors: Errors, rounds: str, data: bytes, places: list[int]):
    well_formed(exchange(site, *cut(with_token(site, data), places)))
    healthy(site, errors)


BAD = (
    b"GET /Echo/odd  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /Echo/say HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    b"POST /Echo/say HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"GET /No/thing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /Echo/say HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 4_100 + b"\r\n\r\n",
)


@ROUNDS
@given(
    messages=st.lists(st.sampled_from(VALID + BAD), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 1_000), min_size=1, max_size=4),
)
def test_requests_mean_the_same_however_they_are_cut(
    site: Site, errors: Errors, rounds: str, messages: list[bytes], places: list[int]
):
    data = with_token(site, b"".join(messages))

    def outcome(*pieces: bytes) -> tuple[list[bytes], bytes]:
        site.requests.clear()
        received = exchange(site, *pieces)
        heads = [re.sub(rb";t=.*|Hilum-Timeout: .*", b"", head) for head in site.requests]
        # Whether the payload had come when the request was passed on decides its framing.
        heads = [re.sub(rb"(Content-Length|Transfer-Encoding): .*\r\n", b"", h) for h in heads]
        return heads, re.sub(rb"Date: .*\r\n", b"", received)

    whole = outcome(data)
    for _ in range(3):
        if outcome(*cut(data, places)) == whole:
            break
        time.sleep(0.1)  # the machine was slow
        whole = outcome(data)
    else:
        pytest.fail(f"{data!r} cut at {places}: {outcome(*cut(data, places))} is not {whole}")
    healthy(site, errors)


# From services


def call(site: Site, *replies: bytes, stay: bool) -> bytes:
    """Call a service that says this; return what the client got until the connection ended."""
    assert site.relay is not None
    site.replies, site.stay = list(replies), stay
    limit = f"Hilum-Timeout: {150 if stay else 5000}"
    return ask(site, site.relay.request("/Odd/say", b"x", limit))


@ROUNDS
@given(data=st.binary(max_size=300), places=PLACES)
@example(data=b"", places=[])
@example(data=b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\0", places=[])
def test_any_bytes_from_a_service(
    site: Site, errors: Errors, rounds: str, data: bytes, places: list[int]
):
    received = call(site, *cut(data, places), stay=False)
    well_formed(received)
    assert received.startswith(b"HTTP/1.1 ")
    healthy(site, errors)


@ROUNDS
@given(data=mutated(REPLIES), places=PLACES, stay=st.sampled_from((False, False, False, True)))
def test_mutated_replies(
    site: Site, errors: Errors, rounds: str, data: bytes, places: list[int], stay: bool
):
    well_formed(call(site, *cut(data, places), stay=stay))
    healthy(site, errors)


@ROUNDS
@given(
    reply=st.sampled_from(REPLIES),
    places=st.lists(st.integers(0, 1_000), min_size=1, max_size=5),
)
def test_replies_mean_the_same_however_they_are_cut(
    site: Site, errors: Errors, rounds: str, reply: bytes, places: list[int]
):
    def outcome(*pieces: bytes) -> tuple[list[bytes], bytes]:
        received = call(site, *pieces, stay=False)
        while received.startswith(b"HTTP/1.1 502"):  # the kept connection closed as we asked
            received = call(site, *pieces, stay=False)
        head, _, body = received.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if b"-Length: " not in line]
        if b"Transfer-Encoding: chunked" in lines:
            lines.remove(b"Transfer-Encoding: chunked")
            body = re.sub(rb"[0-9a-f]+\r\n([a-z ]*)\r\n", rb"\1", body)
        return lines, body

    assert outcome(*cut(reply, places)) == outcome(reply)
    healthy(site, errors)
