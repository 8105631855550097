"""Request smuggling: what two readers could understand in two ways (RFC 9112 section 11.2).

Each entry hides a second request. It is answered once with an error, the connection closes, and no
service sees anything of it. ``test_http_upstream.py`` has the same table for replies.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.settings import Limits
from tests.adapters.relay import Relay, echo, running_relay, service
from tests.adapters.wire import connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIDDEN = b"POST /Hide/hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


class Site:
    """A site, and everything that its service was asked."""

    def __init__(self, relay: Relay, seen: list[tuple[bytes, bytes]]) -> None:
        self.relay = relay
        self.seen = seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    seen: list[tuple[bytes, bytes]] = []
    limits = Limits(head=16_384, fields=50)
    folder = tmp_path_factory.mktemp("smuggling")
    async with running_relay(folder, limits) as relay, service(echo(seen)) as url:
        await relay.method("Echo/say", f"{url}/say", safe=True)
        await relay.method("Hide/hidden", f"{url}/hidden", safe=True)
        relay.token = await relay.issue("site:phone")
        yield Site(relay, seen)


def post(*lines: bytes, line: bytes = b"POST /Echo/say HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: localhost", *lines)) + b"\r\n\r\n"


def length(size: int) -> bytes:
    return b"Content-Length: %d" % size


ZERO = b"0\r\n\r\n" + HIDDEN

REFUSED = {
    # Two lengths
    "CL and TE": post(length(5), CHUNKED) + ZERO,
    "TE and CL": post(CHUNKED, length(5)) + ZERO,
    "CL and TE, HTTP/1.0": post(length(5), CHUNKED, line=b"POST /Echo/say HTTP/1.0") + ZERO,
    "CL and TE in other letters": post(b"cOnTeNt-LeNgTh: 5", b"tRANSFER-eNCODING: CHUNKED") + ZERO,
    "TE between two CL": post(length(5), CHUNKED, length(5)) + ZERO,
    "two CL that differ": post(length(0), length(len(HIDDEN))) + HIDDEN,
    "two CL that agree": post(length(0), length(0)) + HIDDEN,
    "CL list": post(b"Content-Length: 0, 0") + HIDDEN,
    "CL list that differs": post(b"Content-Length: 0, 70") + HIDDEN,
    "CL with sign": post(b"Content-Length: +0") + HIDDEN,
    "CL negative": post(b"Content-Length: -1") + HIDDEN,
    "CL hexadecimal": post(b"Content-Length: 0x0") + HIDDEN,
    "CL with point": post(b"Content-Length: 0.0") + HIDDEN,
    "CL with exponent": post(b"Content-Length: 0e1") + HIDDEN,
    "CL with underscore": post(b"Content-Length: 0_0") + HIDDEN,
    "CL with two numbers": post(b"Content-Length: 0 70") + HIDDEN,
    "CL in quotes": post(b'Content-Length: "0"') + HIDDEN,
    "CL empty": post(b"Content-Length:") + HIDDEN,
    "CL blank": post(b"Content-Length: \t ") + HIDDEN,
    "CL with white space behind": post(b"Content-Length: 0 ") + HIDDEN,
    "CL not ASCII": post("Content-Length: \u0660".encode()) + HIDDEN,
    "CL too long": post(b"Content-Length: " + b"0" * 19 + b"1") + HIDDEN,
    "CL beyond 64 bits": post(b"Content-Length: 18446744073709551617") + b"x" + HIDDEN,
    # Other transfer codings
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked") + ZERO,
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity") + ZERO,
    "TE identity": post(b"Transfer-Encoding: identity") + HIDDEN,
    "TE chunked twice": post(b"Transfer-Encoding: chunked, chunked") + ZERO,
    "two TE": post(CHUNKED, CHUNKED) + ZERO,
    "TE gzip then TE chunked": post(b"Transfer-Encoding: gzip", CHUNKED) + ZERO,
    "TE chunked then TE gzip": post(CHUNKED, b"Transfer-Encoding: gzip") + ZERO,
    "TE space colon": post(b"Transfer-Encoding : chunked") + ZERO,
    "TE tab colon": post(b"Transfer-Encoding\t: chunked") + ZERO,
    "TE xchunked": post(b"Transfer-Encoding: xchunked") + ZERO,
    "TE chunkedx": post(b"Transfer-Encoding: chunkedx") + ZERO,
    "TE in quotes": post(b'Transfer-Encoding: "chunked"') + ZERO,
    "TE with parameter": post(b"Transfer-Encoding: chunked;q=1") + ZERO,
    "TE empty": post(b"Transfer-Encoding:") + ZERO,
    "TE comma": post(b"Transfer-Encoding: ,chunked") + ZERO,
    "TE with white space behind": post(b"Transfer-Encoding: chunked ") + ZERO,
    "TE vertical tab": post(b"Transfer-Encoding: \x0bchunked") + ZERO,
    "TE no-break space": post(b"Transfer-Encoding: \xa0chunked") + ZERO,
    "TE folded": post(b"Transfer-Encoding:\r\n chunked") + ZERO,
    "TE in HTTP/1.0": post(CHUNKED, line=b"POST /Echo/say HTTP/1.0") + ZERO,
    # Lines and fields
    "obs-fold": post(b"X: a\r\n b", length(0)) + HIDDEN,
    "obs-fold with tab": post(b"X: a\r\n\tContent-Length: 70", length(0)) + HIDDEN,
    "obs-fold first": b"POST /Echo/say HTTP/1.1\r\n X: a\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "bare LF behind the request line": b"POST /Echo/say HTTP/1.1\nHost: localhost\r\n\r\n" + HIDDEN,
    "bare LF behind a field": post(b"X: a\nContent-Length: 0") + HIDDEN,
    "bare LF everywhere": b"POST /Echo/say HTTP/1.1\nHost: localhost\n\n" + HIDDEN,
    "bare LF at the end": b"POST /Echo/say HTTP/1.1\r\nHost: localhost\r\n\n" + HIDDEN,
    "bare CR in a value": post(b"X: a\rContent-Length: 70", length(0)) + HIDDEN,
    "bare CR as line end": b"POST /Echo/say HTTP/1.1\rHost: localhost\r\r" + HIDDEN,
    "CR CR LF": post(b"X: a\r", length(0)) + HIDDEN,
    "NUL in a value": post(b"X: a\0b", length(0)) + HIDDEN,
    "NUL in a name": post(b"X\0: a", length(0)) + HIDDEN,
    "control character in a value": post(b"X: a\x01b", length(0)) + HIDDEN,
    "DEL in a value": post(b"X: a\x7fb", length(0)) + HIDDEN,
    "control character in a name": post(b"X\x08: a", length(0)) + HIDDEN,
    "name not ASCII": post(b"X\xe9: a", length(0)) + HIDDEN,
    "space in a name": post(b"Content Length: 70", length(0)) + HIDDEN,
    "space before a colon": post(b"X : a", length(0)) + HIDDEN,
    "no colon": post(b"X", length(0)) + HIDDEN,
    "no name": post(b": a", length(0)) + HIDDEN,
    "brackets in a name": post(b"X[1]: a", length(0)) + HIDDEN,
    # Chunks
    "chunk size 0x": post(CHUNKED) + b"0x1\r\na\r\n" + ZERO,
    "chunk size +": post(CHUNKED) + b"+1\r\na\r\n" + ZERO,
    "chunk size -": post(CHUNKED) + b"-1\r\na\r\n" + ZERO,
    "chunk size too large": post(CHUNKED) + b"10000000000000001\r\na\r\n" + ZERO,
    "chunk size empty": post(CHUNKED) + b"\r\na\r\n" + ZERO,
    "chunk size only an extension": post(CHUNKED) + b";x\r\na\r\n" + ZERO,
    "chunk size behind a space": post(CHUNKED) + b" 1\r\na\r\n" + ZERO,
    "chunk size before a space": post(CHUNKED) + b"1 \r\na\r\n" + ZERO,
    "chunk size no number": post(CHUNKED) + b"g\r\na\r\n" + ZERO,
    "chunk size underscore": post(CHUNKED) + b"1_0\r\na\r\n" + ZERO,
    "chunk bare LF behind size": post(CHUNKED) + b"1\na\r\n" + ZERO,
    "chunk bare CR behind size": post(CHUNKED) + b"1\ra\r\n" + ZERO,
    "chunk bare LF behind data": post(CHUNKED) + b"1\r\na\n" + ZERO,
    "chunk without CRLF": post(CHUNKED) + b"1\r\na" + ZERO,
    "chunk longer than said": post(CHUNKED) + b"1\r\nab\r\n" + ZERO,
    "chunk extension with LF": post(CHUNKED) + b"1;x\na\r\n" + ZERO,
    "chunk extension with NUL": post(CHUNKED) + b"1;x\0\r\na\r\n" + ZERO,
    "chunk extension in open quotes": post(CHUNKED) + b'1;x="a\r\na\r\n' + ZERO,
    "last chunk bare LF": post(CHUNKED) + b"1\r\na\r\n0\n\n" + HIDDEN,
    "trailer CL": post(CHUNKED) + b"0\r\nContent-Length: 9\r\n\r\n" + HIDDEN,
    "trailer TE": post(CHUNKED) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
    "trailer folded": post(CHUNKED) + b"0\r\nX: a\r\n b\r\n\r\n" + HIDDEN,
    "trailer too large": post(CHUNKED) + b"0\r\nX: " + b"a" * 300_000 + b"\r\n\r\n" + HIDDEN,
    # Request lines
    "HTTP/0.9": b"GET /Echo/say\r\n\r\n" + HIDDEN,
    "HTTP/0.9 with fields": b"GET /Echo/say\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "version 0.9": post(line=b"GET /Echo/say HTTP/0.9") + HIDDEN,
    "version 1.2": post(line=b"GET /Echo/say HTTP/1.2") + HIDDEN,
    "version 1.10": post(line=b"GET /Echo/say HTTP/1.10") + HIDDEN,
    "version 2.0": post(line=b"GET /Echo/say HTTP/2.0") + HIDDEN,
    "version 3": post(line=b"GET /Echo/say HTTP/3") + HIDDEN,
    "version in small letters": post(line=b"GET /Echo/say http/1.1") + HIDDEN,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "other protocol": post(line=b"GET /Echo/say RTSP/1.0") + HIDDEN,
    "Icecast": post(line=b"SOURCE /Echo/say ICE/1.0") + HIDDEN,
    "no version": post(line=b"GET /Echo/say ") + HIDDEN,
    "method in small letters": post(line=b"post /Echo/say HTTP/1.1") + HIDDEN,
    "method unknown": post(line=b"SMUGGLE /Echo/say HTTP/1.1") + HIDDEN,
    "method CONNECT": post(line=b"CONNECT localhost:80 HTTP/1.1") + HIDDEN,
    "method TRACE": post(line=b"TRACE /Echo/say HTTP/1.1") + HIDDEN,
    "method of WebDAV": post(line=b"PROPFIND /Echo/say HTTP/1.1") + HIDDEN,
    "two spaces behind the method": post(line=b"GET  /Echo/say HTTP/1.1") + HIDDEN,
    "two spaces before the version": post(line=b"GET /Echo/say  HTTP/1.1") + HIDDEN,
    "space behind the version": post(line=b"GET /Echo/say HTTP/1.1 ") + HIDDEN,
    "space before the method": post(line=b" GET /Echo/say HTTP/1.1") + HIDDEN,
    "tab behind the method": post(line=b"GET\t/Echo/say HTTP/1.1") + HIDDEN,
    "tab before the version": post(line=b"GET /Echo/say\tHTTP/1.1") + HIDDEN,
    "space in the target": post(line=b"GET /Echo/say x HTTP/1.1") + HIDDEN,
    "target not ASCII": post(line=b"GET /Echo/s\xe4y HTTP/1.1") + HIDDEN,
    "target with NUL": post(line=b"GET /Echo/say\0 HTTP/1.1") + HIDDEN,
    "target relative": post(line=b"GET Echo/say HTTP/1.1") + HIDDEN,
    "target empty": post(line=b"GET  HTTP/1.1") + HIDDEN,
    # Hosts
    "no Host": b"POST /Echo/say HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "two Hosts": post(b"Host: localhost", length(0)) + HIDDEN,
    "two Hosts that differ": post(b"hOST: evil.example", length(0)) + HIDDEN,
    # Too much
    "head too large": post(b"X: " + b"a" * 16_384, length(0)) + HIDDEN,
    "head too large for one read": post(b"X: " + b"a" * 600_000, length(0)) + HIDDEN,
    "target too large": post(line=b"GET /Echo/say?" + b"a" * 17_000 + b" HTTP/1.1") + HIDDEN,
    "too many fields": post(*[b"X: a"] * 60, length(0)) + HIDDEN,
    # Upgrades
    "upgrade with chunks": post(b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED) + ZERO,
    "WebSocket with payload": post(b"Connection: Upgrade", b"Upgrade: websocket", length(3))
    + b"abc"
    + HIDDEN,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_refused(site: Site, data: bytes):
    site.seen.clear()
    relay = site.relay
    authorization = b"\r\nAuthorization: Bearer " + relay.token.encode() + b"\r\n"
    # Only where a Host line is, so that the request line and the framing stay as they are.
    data = data.replace(b"\r\nHost: localhost\r\n", b"\r\nHost: localhost" + authorization)
    async with connected(relay.port) as client:
        client.send(data)
        answer = await client.answer()
        assert answer.code in (400, 408, 431, 501, 505), answer
        assert answer.get(b"connection") == b"close"
        assert await client.ended() == b""
    await asyncio.sleep(0)
    assert not [head for head, _ in site.seen if b"hidden" in head]
    # A first chunk may have been on its way before the second turned out malformed.
    assert all(b"chunked" in head for head, _ in site.seen)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_refused_behind_a_good_request(site: Site, data: bytes):
    """The good one is answered first; what is hidden behind the bad one stays hidden."""
    site.seen.clear()
    good = site.relay.request("/Echo/say", b"good", close=False)
    async with connected(site.relay.port) as client:
        client.send(good + data)
        answer = await client.answer()
        assert (answer.code, answer.body) == (200, b"good")
        answer = await client.answer()
        assert 400 <= answer.code < 600
        await client.ended()
    assert not [head for head, _ in site.seen if b"hidden" in head]


HARMLESS = {
    # Legal, and framed anew by us, so that no one behind us can read it in another way
    "TE behind a tab": (post(b"Transfer-Encoding:\tchunked") + b"1\r\na\r\n0\r\n\r\n", b"a"),
    "TE in capitals": (post(b"Transfer-Encoding: CHUNKED") + b"1\r\na\r\n0\r\n\r\n", b"a"),
    "chunk extension": (post(CHUNKED) + b'1;x=y;z="\\"a"\r\na\r\n0\r\n\r\n', b"a"),
    "chunk size with zeros": (post(CHUNKED) + b"0001\r\na\r\n000\r\n\r\n", b"a"),
    "trailers": (post(CHUNKED) + b"1\r\na\r\n0\r\nX: y\r\nHost: evil\r\n\r\n", b"a"),
    "empty lines before": (b"\r\n\r\n" + post(length(1)) + b"a", b"a"),
    "CL in other letters": (post(b"CONTENT-length:1") + b"a", b"a"),
    "upgrade ignored": (
        post(b"Connection: Upgrade", b"Upgrade: h2c", length(4)) + b"POST",
        b"POST",
    ),
    "a GET with payload": (post(length(1), line=b"GET /Echo/say HTTP/1.1") + b"a", b"a"),
}


@pytest.mark.parametrize(("data", "body"), HARMLESS.values(), ids=HARMLESS)
async def test_legal_but_strange(site: Site, data: bytes, body: bytes):
    """One request, one call, and the next request on the connection is the next request."""
    site.seen.clear()
    token = b"\r\nHost: localhost\r\nAuthorization: Bearer " + site.relay.token.encode() + b"\r\n"
    data = data.replace(b"\r\nHost: localhost\r\n", token)
    async with connected(site.relay.port) as client:
        for _ in range(3):
            answer = await client.ask(data)
            assert (answer.code, answer.body) == (200, body)
        client.send(site.relay.request("/Echo/say", b"next"))
        assert (await client.answer()).body == b"next"
        assert await client.ended() == b""
    assert [got for _, got in site.seen] == [body, body, body, b"next"]
    for head, _ in site.seen:
        assert head.count(b"Content-Length") == 1
        assert b"Transfer-Encoding" not in head
        assert b"evil" not in head


async def test_nobody_speaks_with_another_s_head(site: Site):
    """A head that is known by its bytes is known only from its first byte on."""
    site.seen.clear()
    strange = b"\r\n\r\n" + site.relay.request("/Echo/say", b"12345", close=False)
    for _ in range(3):
        assert b"12345" in await site.relay.raw(strange, until=b"12345")
    answer = await site.relay.raw(b"\r\n\r\n54321")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(site.seen) == 3


async def test_any_byte_in_a_target_or_a_field(site: Site):
    """Whatever passes arrives as it was, in one place; the rest is refused."""
    relay = site.relay
    for byte in range(256):
        for template in (b"/Echo/say?a%bz", b"/Echo/say%b", b"/Echo/say"):
            odd = bytes([byte])
            target = template % odd if b"%b" in template else template
            raw = relay.request("/target/", b"x", "X-Odd: here", close=True)
            raw = raw.replace(b"/target/", target).replace(b"here", b"a%bz" % odd)
            site.seen.clear()
            answer = await relay.raw(raw)
            assert answer.count(b"\r\nConnection: close\r\n") == 1
            if answer.startswith(b"HTTP/1.1 200"):
                ((head, _),) = site.seen
                assert b"\r\nX-Odd: a%bz\r\n" % odd in head
                assert head.split(b"\r\n")[0].count(b" ") == 2
                assert odd not in (b"\0", b"\r", b"\n", b"\x0b", b"\x7f")
            else:
                assert not site.seen
