"""The relay on real sockets: order, connections, verbs, header fields (design 4 and 6)."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.settings import Limits
from policy.model import AccessPolicy, Action, Subject
from registry.model import Endpoint
from tests.adapters.relay import AUTHORITY, Relay, echo, read_request, running_relay, service
from tests.adapters.wire import chunked, connected, problem_of
from tests.support import require_program

Seen = list[tuple[bytes, bytes]]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest_asyncio.fixture(loop_scope="module")
async def relay(running: Relay) -> Relay:
    """The site that all tests of this file share, as it is at first."""
    await running.welcome()
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def seen(relay: Relay) -> AsyncIterator[Seen]:
    """What the service behind Echo/say got."""
    requests: Seen = []
    async with service(echo(requests)) as url:
        await relay.method("Echo/say", f"{url}/say")
        await relay.method("Safe/say", f"{url}/say", safe=True, idempotent=True)
        yield requests


def names(head: bytes) -> list[bytes]:
    return [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]


def value(head: bytes, name: bytes) -> bytes:
    found = [
        line.split(b": ", 1)[1]
        for line in head.split(b"\r\n")[1:-2]
        if line.split(b":")[0].lower() == name
    ]
    assert len(found) == 1, (name, found)
    return found[0]


async def test_a_call_and_its_reply_pass_unchanged(relay: Relay, seen: Seen):
    code, head, body = await relay.ask("/Echo/say", b'{"a": 1}', "Content-Type: application/json")
    assert (code, body) == (200, b'{"a": 1}')
    assert seen[0][0].startswith(b"POST /say HTTP/1.1\r\n")
    assert seen[0][1] == b'{"a": 1}'
    assert value(seen[0][0], b"content-type") == b"application/json"
    assert b"Content-Type: text/plain\r\n" in head


async def test_connections_are_kept_alive_on_both_sides(relay: Relay, seen: Seen):
    async with connected(relay.port) as client:
        for number in range(5):
            text = b"%d" % number
            answer = await client.ask(relay.request("/Echo/say", text, close=False))
            assert (answer.code, answer.body) == (200, text)
            assert not answer.get(b"connection")
        last = await client.ask(relay.request("/Echo/say", b"last"))
        assert last.get(b"connection") == b"close"
        assert await client.ended() == b""
    assert len(seen) == 6
    assert relay.http.connections() == 1


async def test_pipelined_requests_are_answered_in_order(relay: Relay, seen: Seen):
    """Refused ones among them; a slow first one does not let the others overtake it."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await read_request(reader))[0]:
            await asyncio.sleep(0.1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")

    async with service(slow) as url, connected(relay.port) as client:
        await relay.method("Slow/say", f"{url}/")
        for target in ("/Slow/say", "/Echo/say", "/No/thing", "/Slow/say", "/Echo/say"):
            client.send(relay.request(target, b"x", close=False))
        client.send(relay.request("/Echo/say", b"end"))
        answers = [await client.answer() for _ in range(6)]
        assert await client.ended() == b""
    assert [a.code for a in answers] == [200, 200, 404, 200, 200, 200]
    assert [a.body for a in answers if a.code == 200] == [b"slow", b"x", b"slow", b"x", b"end"]


@pytest.mark.parametrize("target", ["/Echo/say", "/No/thing"])
async def test_a_thousand_pipelined_requests(relay: Relay, seen: Seen, target: str):
    """Answered in order without recursion; what waits beyond the limit waits in the kernel."""
    limit = relay.listener.limits.pipelined
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            for connection in relay.listener.connections:
                most = max(most, len(connection.waiting))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    async with connected(relay.port) as client:
        for number in range(1000):
            body = b"%03d" % number
            client.send(relay.request(target, body, "X-Filler: " + "f" * 500, close=False))
        for number in range(1000):
            answer = await client.answer()
            assert answer.code == (200 if target == "/Echo/say" else 404)
            if answer.code == 200:
                assert answer.body == b"%03d" % number
    watching.cancel()
    one_read = 256 * 1024 // 600
    assert most <= limit + one_read


async def test_a_chunked_request_with_another_behind_it_ends_once(relay: Relay, seen: Seen):
    """A pipelined request must not make the gateway end the payload before it again."""
    got = b""

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                got += await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    async with service(collect) as url, connected(relay.port) as client:
        await relay.method("Collect/all", f"{url}/")
        lines = ("Transfer-Encoding: chunked",)
        head = relay.request("/Collect/all", b"", *lines, close=False)
        client.send(head.replace(b"Content-Length: 0\r\n", b"") + b"3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        client.send(b"0\r\n\r\n")
        await asyncio.sleep(0.02)
        for _ in range(3):
            client.send(relay.request("/Echo/say", b"next", close=False))
            await asyncio.sleep(0.02)
        assert (await client.answer()).body == b"ok"
        assert [(await client.answer()).body for _ in range(3)] == [b"next"] * 3
    assert got.endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_safe_methods_answer_get_and_head(relay: Relay, seen: Seen):
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await read_request(reader))[0]:
            body = b"" if head.startswith(b"HEAD") else b"hello"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Verb: ")
            writer.write(head.split(b" ")[0] + b"\r\n\r\n" + body)

    async with service(reply) as url, connected(relay.port) as client:
        get = Endpoint(f"{url}/now", method="GET")
        await relay.method("Weather/now", endpoints=[get], safe=True)
        for _ in range(2):
            answer = await client.ask(relay.request("/Weather/now", verb="GET", close=False))
            assert (answer.get(b"x-verb"), answer.body) == (b"GET", b"hello")
            raw = relay.request("/Weather/now", verb="HEAD", close=False)
            answer = await client.ask(raw, head=True)
            assert answer.get(b"x-verb") == b"HEAD"
            assert answer.get(b"content-length") == b"5"
    code, _, _ = await relay.ask("/Safe/say", verb="GET")
    assert code == 200
    assert seen[-1][0].startswith(b"POST ")


async def test_the_head_of_a_refusal_has_no_payload(relay: Relay, seen: Seen):
    async with connected(relay.port) as client:
        answer = await client.ask(relay.request("/Echo/say", verb="HEAD", close=False), head=True)
        assert answer.code == 405
        answer = await client.ask(relay.request("/Echo/say", b"on", close=False))
        assert answer.body == b"on"


async def test_other_verbs_get_405_with_allow(relay: Relay, seen: Seen):
    for target, verb, allow in [
        ("/Echo/say", "GET", b"POST"),
        ("/Echo/say", "DELETE", b"POST"),
        ("/Safe/say", "PUT", b"GET, HEAD, POST"),
        ("/Echo", "PATCH", b"GET, HEAD, POST"),
    ]:
        code, head, _ = await relay.ask(target, verb=verb)
        assert code == 405
        assert b"Allow: %b\r\n" % allow in head
    assert not seen


async def test_who_may_not_know_a_name_learns_nothing(relay: Relay, seen: Seen):
    """405, 413, a POST to an object and a 404 would all tell that there is such a name."""
    relay.token = await relay.issue("site:stranger", kind="stranger")
    everybody_but = AccessPolicy(
        "allow", (Subject(kind="service"),), tuple(Action), ("**",), description=""
    )
    await relay.policy("everything", everybody_but)
    answers = set()
    for verb in ("GET", "HEAD", "DELETE", "POST", "PUT"):
        for known, unknown in (("/Echo/say", "/Nope/say"), ("/Echo", "/Nope")):
            there = await relay.ask(known, b"{", verb=verb)
            absent = await relay.ask(unknown, b"{", verb=verb)
            hidden = absent[2].replace(b"Nope", b"Echo")
            assert (there[0], there[2]) == (absent[0], hidden)
            answers.add(there[0])
    assert answers == {403}
    assert not seen


async def test_http_1_0_closes_unless_asked_to_stay(relay: Relay, seen: Seen):
    line = relay.request("/Echo/say", b"old", close=False).replace(b"HTTP/1.1", b"HTTP/1.0")
    line = line.replace(b"Host: localhost\r\n", b"")
    async with connected(relay.port) as client:
        answer = await client.ask(line)
        assert (answer.code, answer.body) == (200, b"old")
        assert answer.get(b"connection") == b"close"
        assert await client.ended() == b""
    stay = line.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)
    async with connected(relay.port) as client:
        for _ in range(2):
            answer = await client.ask(stay)
            assert answer.get(b"connection") == b"keep-alive"
        answer = await client.ask(line)
        assert answer.get(b"connection") == b"close"
        assert await client.ended() == b""


async def test_http_1_0_gets_no_chunks(relay: Relay):
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + chunked(b"one", b"two"))

    async with service(reply) as url:
        await relay.method("Chunks/get", f"{url}/")
        request = relay.request("/Chunks/get", b"").replace(b"HTTP/1.1", b"HTTP/1.0")
        answer = await relay.raw(request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"onetwo"
    assert b"chunked" not in head
    assert b"Connection: close" in head


async def test_expect_100_continue(relay: Relay, seen: Seen):
    async with connected(relay.port) as client:
        raw = relay.request("/Echo/say", b"later", "Expect: 100-continue", close=False)
        client.send(raw[:-5])
        assert await client.head() == (100, [])
        answer = await client.ask(b"later")
        assert (answer.code, answer.body) == (200, b"later")
        assert b"expect" not in names(seen[0][0])
        # Refused at once: the payload is not asked for, and the connection cannot go on.
        raw = relay.request("/No/thing", b"never", "Expect: 100-continue", close=False)
        answer = await client.ask(raw[:-5])
        assert answer.code == 404
        assert answer.get(b"connection") == b"close"
    old = raw.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"/No/thing", b"/Echo/say")
    assert b"100 Continue" not in await relay.raw(old)
    code, _, body = await relay.ask("/Echo/say", b"x", "Expect: the-spanish-inquisition")
    assert code == 417
    assert b"100-continue" in body


async def test_curl_sends_what_it_likes(relay: Relay, seen: Seen, tmp_path: Path):
    curl = require_program("curl")
    body = tmp_path / "body"
    body.write_bytes(b"c" * 2_000_000)
    common = [curl, "-sS", "--max-time", "10", "-H", f"Authorization: Bearer {relay.token}"]
    url = f"{relay.url}/Echo/say"
    for extra in (
        ["-H", "Expect: 100-continue"],
        ["-H", "Transfer-Encoding: chunked"],
        ["--http1.0"],
        ["--http2"],
    ):
        command = [*common, *extra, "--data-binary", f"@{body}", "-o", str(tmp_path / "out"), url]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        _, error = await process.communicate()
        assert process.returncode == 0, error
        assert (tmp_path / "out").read_bytes() == body.read_bytes()


async def test_hop_by_hop_fields_end_here(relay: Relay, seen: Seen):
    await relay.ask(
        "/Echo/say",
        b"x",
        "Connection: X-Secret, keep-alive",
        "Connection: X-Other",
        "X-Secret: 1",
        "x-other: 2",
        "X-Public: 3",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: trailers",
        "Trailer: X-Sum",
        "Upgrade: h2c",
    )
    found = set(names(seen[0][0]))
    assert b"x-public" in found
    gone = b"connection x-secret x-other keep-alive proxy-connection proxy-authorization te trailer"
    assert not found & set(gone.split())
    assert b"upgrade" not in found


async def test_the_caller_s_own_fields_pass(relay: Relay, seen: Seen):
    fields = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=1",
        "Accept-Language": "de",
        "Cookie": "a=1; b=2",
        "X-Empty": "",
        "X-Spaces": "a  b",
        "X-High": "h\u00e9",
    }
    head = relay.request("/Echo/say?q=1&r=%20;#", b"x", *[f"{n}: {v}" for n, v in fields.items()])
    head = head.replace("h\u00e9".encode(), b"h\xe9").replace(b"#", b"")
    await relay.raw(head)
    assert seen[0][0].startswith(b"POST /say?q=1&r=%20; HTTP/1.1\r\n")
    for name, text in fields.items():
        assert value(seen[0][0], name.lower().encode()) == text.encode("latin-1")


async def test_logins_at_the_control_plane_do_not_reach_services(relay: Relay, seen: Seen):
    """Browsers send cookies to every port of a host."""
    cookies = "a=1; hilum-session=s;__Host-Hilum-session=t; b=hilum-; =hilum-login=u; c"
    await relay.raw(relay.request("/Echo/say", b"x", f"Cookie: {cookies}"))
    await relay.raw(relay.request("/Echo/say", b"x", "Cookie: hilum-session=s"))
    assert value(seen[0][0], b"cookie") == b"a=1; b=hilum-; c"
    assert b"cookie" not in names(seen[1][0])


async def test_who_says_who_it_is_is_not_believed(relay: Relay, seen: Seen):
    """Credentials end here; Hilum-*, Forwarded and names with underscores cannot be forged."""
    forged = [
        "Hilum-Principal: site:admin;kind=administrator",
        "hilum-principal: site:admin",
        "Hilum_Principal: site:admin",
        "HILUM-HOPS: 2",
        "Hilum-Anything: 1",
        "X_Forwarded_For: 10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Real-IP: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "Via: 1.1 elsewhere",
    ]
    await relay.ask("/Echo/say", b"x", *forged)
    head = seen[0][0]
    found = names(head)
    assert b"authorization" not in found
    assert relay.token.encode() not in head
    assert value(head, b"hilum-principal").startswith(b"site:phone;kind=service;t=")
    assert value(head, b"hilum-hops") == b"3"
    assert value(head, b"forwarded") == b"for=127.0.0.1"
    assert value(head, b"via") == b"1.1 hilum"
    assert {n for n in found if n.startswith(b"hilum")} == {
        b"hilum-principal",
        b"hilum-hops",
        b"hilum-timeout",
    }
    assert not [n for n in found if b"_" in n or n.startswith(b"x-")]


async def test_a_service_cannot_speak_for_the_gateway(relay: Relay):
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await read_request(reader))[0]:
            writer.write(
                b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\nHilum-Origin: gateway\r\n"
                b"hilum-principal: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
                b"Proxy-Authenticate: Basic\r\nVia: 1.1 mine\r\nSet-Cookie: a=1\r\n"
                b"set-cookie: hilum-session=x\r\nSet-Cookie: =__HOST-hilum-session=x\r\n"
                b"Set-Cookie: b=2\r\nUpgrade: h2c\r\n\r\n"
            )

    async with service(reply) as url, connected(relay.port) as client:
        await relay.method("Liar/say", f"{url}/")
        answer = await client.ask(relay.request("/Liar/say", b"", close=False))
    assert answer.code == 404
    assert answer.get(b"hilum-origin") == b"provider"
    kept = [name for name, _ in answer.fields]
    wanted = [b"via", b"set-cookie", b"set-cookie", b"via", b"hilum-origin", b"content-length"]
    assert kept == wanted


async def test_a_loop_ends_at_the_eighth_gateway(relay: Relay, seen: Seen):
    async with connected(relay.port) as client:
        raw = relay.request("/Echo/say", b"", "Hilum-Hops: 7", close=False)
        assert (await client.ask(raw)).code == 200
        assert value(seen[0][0], b"hilum-hops") == b"8"
        answer = await client.ask(relay.request("/Echo/say", b"", "Hilum-Hops: 8", close=False))
        assert problem_of(answer)["detail"] == "the call has passed 8 gateways: a loop"
        for wrong in ("-1", "x", "1.0", "", "9" * 30):
            code, _, _ = await relay.ask("/Echo/say", b"", f"Hilum-Hops: {wrong}")
            assert code == (508 if wrong[:1] == "9" and len(wrong) < 10 else 400)
    assert len(seen) == 1


async def test_only_this_site_s_hosts_are_served(relay: Relay, seen: Seen):
    def request(*lines: str, target: str = "/Echo/say") -> bytes:
        raw = relay.request(target, b"x", close=False)
        return raw.replace(b"Host: localhost", "\r\n".join(lines).encode())

    async with connected(relay.port) as client:
        for host in ("localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:80", AUTHORITY, "[::1]"):
            assert (await client.ask(request(f"Host: {host}"))).code == 200
        for host in (
            "evil.example",
            "",
            "localhost:x",
            "localhost@evil",
            "a" * 300,
            "[::1",
            "\xff",
        ):
            answer = await client.ask(request(f"Host: {host}"))
            assert answer.code == 421, host
        absolute = f"http://{AUTHORITY}:8080/Echo/say?x=1"
        answer = await client.ask(request(f"Host: {AUTHORITY}:8080", target=absolute))
        assert answer.code == 200
        assert seen[-1][0].startswith(b"POST /say?x=1 HTTP/1.1\r\n")
        other = request("Host: evil.example", target="http://evil.example/Echo/say")
        assert (await client.ask(other)).code == 421
        answer = await client.ask(request("Host: localhost", target=absolute))
        assert "different hosts" in str(problem_of(answer)["detail"])


async def test_the_authority_can_be_part_of_the_path(relay: Relay, seen: Seen):
    code, _, _ = await relay.ask(f"/{AUTHORITY}/Echo/say", b"x")
    assert code == 200
    code, _, _ = await relay.ask("/Echo/%73ay", b"x")
    assert code == 200


BAD_TARGETS = (
    "/Echo/say#x /Echo/say?a#x /Echo//say /Echo/../Echo/say /Echo/%2e%2e/Echo/say /Echo/a%2fb "
    "/Echo/%00 /Echo/%zz /Echo/say/ * /$nope/x"
)


@pytest.mark.parametrize("target", [*BAD_TARGETS.split(), "/" + "a" * 2000])
async def test_malformed_names_are_refused(relay: Relay, seen: Seen, target: str):
    async with connected(relay.port) as client:
        answer = await client.ask(relay.request(target, b"x", close=False))
        assert answer.code in (400, 403, 404)
        assert problem_of(answer)["detail"]
        assert (await client.ask(relay.request("/Echo/say", b"x", close=False))).code == 200
    assert len(seen) == 1


async def test_tokens(relay: Relay, seen: Seen):
    wrong = relay.token[:-1] + ("A" if relay.token[-1] != "A" else "B")
    short = await relay.issue("site:short", lifetime=1)
    for line in (f"Bearer {wrong}", "Basic eDp5", "Bearer", "Bearer a b", "", f"bearer\t{wrong}"):
        code, head, body = await relay.ask("/Echo/say", b"x", f"Authorization: {line}")
        if line:
            assert code == 401
            assert b'WWW-Authenticate: Bearer realm="hilum"' in head
            assert b"token" in body
    line = f"Authorization: Bearer {short}"
    assert (await relay.ask("/Echo/say", b"x", line))[0] == 200
    await asyncio.sleep(1.2)
    assert (await relay.ask("/Echo/say", b"x", line))[0] == 401
    twice = ("Authorization: Bearer " + relay.token,) * 2
    assert (await relay.ask("/Echo/say", b"x", *twice))[0] == 400


async def test_a_revoked_token_ends_what_is_open(relay: Relay):
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with service(never) as url, connected(relay.port) as client:
        await relay.method("Never/ends", f"{url}/")
        client.send(relay.request("/Never/ends", b"x", close=False))
        await asyncio.sleep(0.1)
        await relay.site.revoke("site:test", relay.token.split("_")[1])
        answer = await client.answer()
        assert answer.code == 401
        assert "no longer valid" in str(problem_of(answer)["detail"])


async def test_trailers_end_here(relay: Relay, seen: Seen):
    raw = relay.request("/Echo/say", b"", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    raw = raw.replace(b"Content-Length: 0\r\n", b"")
    answer = await relay.raw(raw + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nHilum-Principal: root\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabc")
    assert b"x-sum" not in names(seen[0][0])
    assert seen[0][0].count(b"Hilum-Principal") == 1

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        await reader.read()

    async with service(reply) as url, connected(relay.port) as client:
        await relay.method("Trailers/get", f"{url}/")
        for _ in range(2):
            answer = await client.ask(relay.request("/Trailers/get", b"", close=False))
            assert answer.body == b"abc"
            break


async def test_a_limit_of_requests_for_each_connection(tmp_path: Path):
    async with running_relay(tmp_path, Limits(requests=3)) as relay, service(echo()) as url:
        await relay.method("Echo/say", f"{url}/")
        async with connected(relay.port) as client:
            for _ in range(5):
                client.send(relay.request("/Echo/say", b"x", close=False))
            answers = [await client.answer() for _ in range(3)]
            assert [a.get(b"connection") for a in answers] == [b"", b"", b"close"]
            assert await client.ended() == b""
