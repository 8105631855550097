"""Connections to endpoints: bounded, reused, given up with their caller, retried by the rules."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from gateway.settings import Upstream
from policy.model import Choice, Passive, ResolutionPolicy
from tests.adapters.relay import Relay, Talk, echo, read_request, running_relay, service
from tests.adapters.wire import connected, problem_of, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Gate:
    """A service that answers when it is told to; it counts connections and hears when they end."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.requests = 0
        self.connections = 0
        self.ended = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (await read_request(reader))[0]:
                self.requests += 1
                waiting = asyncio.ensure_future(self.open.wait())
                gone = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if gone.done():
                    return
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
                writer.write(OK)
        finally:
            self.ended += 1


# How many


async def test_connections_are_bounded_and_the_rest_waits(tmp_path: Path):
    gate = Gate()
    sizes = Upstream(connections=3)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        asked = [asyncio.ensure_future(relay.ask("/Gate/pass")) for _ in range(20)]
        await until(lambda: gate.requests == 3)
        await asyncio.sleep(0.1)
        assert gate.connections == 3
        gate.open.set()
        assert [code for code, _, _ in await asyncio.gather(*asked)] == [200] * 20
        assert gate.connections == 3
        assert gate.requests == 20


async def test_a_full_queue_throttles(tmp_path: Path):
    gate = Gate()
    sizes = Upstream(connections=1, waiting=2)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        asked = [asyncio.ensure_future(relay.ask("/Gate/pass"))]
        await until(lambda: gate.requests == 1)
        asked += [asyncio.ensure_future(relay.ask("/Gate/pass")) for _ in range(2)]
        await asyncio.sleep(0.1)
        async with connected(relay.port) as client:
            answer = await client.ask(relay.request("/Gate/pass", b"x"))
            assert answer.code == 429
            assert "2 calls wait for 127.0.0.1 already" in str(problem_of(answer)["detail"])
        gate.open.set()
        assert [code for code, _, _ in await asyncio.gather(*asked)] == [200] * 3


async def test_who_left_the_queue_takes_no_place_in_it(tmp_path: Path):
    gate = Gate()
    sizes = Upstream(connections=1, waiting=2)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        first = asyncio.ensure_future(relay.ask("/Gate/pass"))
        await until(lambda: gate.requests == 1)
        for _ in range(3):
            async with connected(relay.port) as one, connected(relay.port) as two:
                one.send(relay.request("/Gate/pass", b"1"))
                two.send(relay.request("/Gate/pass", b"2"))
                await until(lambda: len(relay.site.plane.live) == 3)
            await until(lambda: len(relay.site.plane.live) == 1)
        last = asyncio.ensure_future(relay.ask("/Gate/pass"))
        await asyncio.sleep(0.05)
        gate.open.set()
        assert [(await task)[0] for task in (first, last)] == [200, 200]
        assert gate.requests == 2


async def test_idle_connections_are_used_again_then_closed(tmp_path: Path):
    gate = Gate()
    gate.open.set()
    sizes = Upstream(idle=0.2)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        for _ in range(3):
            assert (await relay.ask("/Gate/pass"))[0] == 200
        assert gate.connections == 1
        await until(lambda: gate.ended == 1)
        assert relay.http.connections() == 0
        assert (await relay.ask("/Gate/pass"))[0] == 200
        assert gate.connections == 2


async def test_connections_outlive_a_new_registration(tmp_path: Path):
    gate = Gate()
    gate.open.set()
    async with running_relay(tmp_path) as relay, service(gate.talk) as url:
        for _ in range(5):
            await relay.method("Gate/pass", f"{url}/")
            assert (await relay.ask("/Gate/pass"))[0] == 200
        assert gate.connections == 1


# Who is gone


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_a_client_that_vanishes_takes_its_work_along(tmp_path: Path, how: str):
    gate = Gate()
    async with running_relay(tmp_path) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        async with connected(relay.port) as client:
            client.send(relay.request("/Gate/pass", b"x", close=False))
            await until(lambda: gate.requests == 1)
            if how == "half":
                client.writer.write_eof()
            elif how == "close":
                client.writer.close()
            else:
                client.writer.transport.abort()
            await until(lambda: gate.ended == 1)
        assert not relay.site.plane.live


async def test_a_client_that_vanishes_in_the_middle_of_its_payload(tmp_path: Path):
    """The service sees that the request is not whole."""
    got: list[bytes] = []
    ended = asyncio.Event()

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                got.append(data)
        finally:
            ended.set()

    async with running_relay(tmp_path) as relay, service(collect) as url:
        await relay.method("Sink/put", f"{url}/")
        for framing in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            got.clear()
            ended.clear()
            raw = relay.request("/Sink/put", b"", close=False)
            raw = raw.replace(b"Content-Length: 0", framing.encode())
            async with connected(relay.port) as client:
                client.send(raw + b"5\r\nhello\r\n")
                await until(lambda: b"hello" in b"".join(got))
            await asyncio.wait_for(ended.wait(), 3)
            assert not b"".join(got).endswith(b"0\r\n\r\n")


async def test_a_client_that_vanishes_in_the_middle_of_its_reply(tmp_path: Path):
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with running_relay(tmp_path) as relay, service(flood) as url:
        await relay.method("Flood/get", f"{url}/")
        async with connected(relay.port) as client:
            client.send(relay.request("/Flood/get", b"", close=False))
            await client.reader.readexactly(10_000)
        await asyncio.wait_for(ended.wait(), 3)
        await until(lambda: not relay.site.plane.live)


async def test_what_vanishes_while_it_connects_reaches_nobody(tmp_path: Path):
    gate = Gate()
    async with running_relay(tmp_path) as relay, service(gate.talk) as url:
        await relay.method("Gate/pass", f"{url}/")
        async with connected(relay.port) as client:
            client.send(relay.request("/Gate/pass", b"x", close=False))
            client.writer.transport.abort()
        await asyncio.sleep(0.2)
        assert gate.requests == 0
        assert not relay.site.plane.live


# What is tried again


def failing(times: int, seen: list[bytes], *, after: int = 0) -> Talk:
    """Close ``times`` connections after a request (and ``after`` bytes of a reply), then answer."""
    left = times

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        while True:
            head, body = await read_request(reader)
            if not head:
                return
            seen.append(body)
            if left:
                left -= 1
                writer.write(OK[:after])
                return
            writer.write(OK)

    return talk


async def two(relay: Relay, first: str, second: str, **traits: bool) -> None:
    """Bind a method to two endpoints; the first one is asked first."""
    order = ResolutionPolicy(
        ("Bad/say",),
        choices=(Choice(instance="a", order=0), Choice(instance="b", order=1)),
        passive=Passive(1000, 0),
    )
    await relay.policy("order", order)
    await relay.method("Bad/say", f"{first}/", instance="a", **traits)
    await relay.method("Bad/say", f"{second}/", instance="b", **traits)


@pytest.mark.parametrize("after", [0, 9, len(OK) - 2])
@pytest.mark.parametrize("traits", [{}, {"safe": True}, {"idempotent": True}])
async def test_a_request_that_was_sent_is_repeated_only_if_that_is_harmless(
    tmp_path: Path, traits: dict[str, bool], after: int
):
    """RFC 9110 section 9.2.2; and never once a part of the reply has gone to the client."""
    one: list[bytes] = []
    other: list[bytes] = []
    async with (
        running_relay(tmp_path) as relay,
        service(failing(99, one, after=after)) as first,
        service(failing(0, other)) as second,
    ):
        await two(relay, first, second, **traits)
        async with connected(relay.port) as client:
            client.send(relay.request("/Bad/say", b"pay", close=False))
            code, _ = await client.head()
        again = bool(traits) and after < 10
        assert code == (200 if again or after > 10 else 502)
        assert (one, other) == ([b"pay"], [b"pay"] if again else [])


async def test_a_request_that_was_not_sent_is_sent_elsewhere(tmp_path: Path):
    """Nobody listens at the first endpoint: no byte was written, whatever the method is."""
    seen: list[bytes] = []
    async with running_relay(tmp_path) as relay, service(failing(0, seen)) as second:
        await two(relay, "http://127.0.0.1:9", second)
        for body in (b"pay", b"x" * 60_000):
            assert (await relay.ask("/Bad/say", body))[0] == 200
        assert [len(body) for body in seen] == [3, 60_000]


async def test_a_payload_too_large_to_hold_is_not_repeated(tmp_path: Path):
    one: list[bytes] = []
    other: list[bytes] = []
    async with (
        running_relay(tmp_path) as relay,
        service(failing(99, one)) as first,
        service(failing(0, other)) as second,
    ):
        await two(relay, first, second, idempotent=True)
        assert (await relay.ask("/Bad/say", b"x" * 64 * 1024))[0] == 200
        assert len(other) == 1
        assert (await relay.ask("/Bad/say", b"x" * (64 * 1024 + 1)))[0] == 502
        assert len(other) == 1


async def test_a_payload_that_still_comes_is_repeated_from_its_beginning(tmp_path: Path):
    one: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.append(await reader.readuntil(b"\r\n\r\n"))
        one.append(await reader.readexactly(8))

    other: list[bytes] = []
    async with (
        running_relay(tmp_path) as relay,
        service(hang_up) as first,
        service(failing(0, other)) as second,
        connected(relay.port) as client,
    ):
        await two(relay, first, second, idempotent=True)
        raw = relay.request("/Bad/say", b"", "Transfer-Encoding: chunked", close=False)
        client.send(raw.replace(b"Content-Length: 0\r\n", b"") + b"3\r\none\r\n")
        await until(lambda: len(one) == 2)
        await asyncio.sleep(0.05)
        client.send(b"3\r\ntwo\r\n0\r\n\r\n")
        assert (await client.answer()).body == b"ok"
        assert other == [b"onetwo"]


async def test_a_kept_connection_that_the_service_closed_is_not_used(tmp_path: Path):
    """A service may close an idle connection whenever it likes (RFC 9112 section 9.5)."""
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await read_request(reader)
        served += 1
        writer.write(OK)
        await writer.drain()

    async with running_relay(tmp_path) as relay, service(once) as url:
        await relay.method("Once/say", f"{url}/")
        async with connected(relay.port) as client:
            for number in range(1, 30):
                answer = await client.ask(relay.request("/Once/say", b"x", close=False))
                assert answer.code == 200
                assert served == number
                await asyncio.sleep(0.005)


async def test_a_service_that_closes_at_once(tmp_path: Path):
    async def bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with running_relay(tmp_path) as relay, service(bye) as url:
        await relay.method("Bye/say", f"{url}/")
        answers = await asyncio.gather(*(relay.ask("/Bye/say", b"x") for _ in range(20)))
        assert {code for code, _, _ in answers} <= {502, 503}
        await until(lambda: relay.http.connections() == 0)


async def test_many_callers_of_many_endpoints_at_once(tmp_path: Path):
    """Every reply goes to who asked for it."""

    async def worker(relay: Relay, number: int) -> None:
        async with connected(relay.port) as client:
            for turn in range(40):
                text = b"%d-%d" % (number, turn) * (1 + 3_000 * (turn % 5 == 0))
                method = f"/Echo{number % 3}/say"
                answer = await client.ask(relay.request(method, text, close=False), head=False)
                assert (answer.code, answer.body) == (200, text)

    sizes = Upstream(connections=4)
    async with (
        running_relay(tmp_path, upstream=sizes) as relay,
        service(echo()) as one,
        service(echo()) as two,
    ):
        for number, url in enumerate((one, two, one)):
            await relay.method(f"Echo{number}/say", f"{url}/")
        await asyncio.gather(*(worker(relay, number) for number in range(24)))
        assert relay.http.connections() <= 8
