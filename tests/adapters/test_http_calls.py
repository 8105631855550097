"""What a request means: deadlines, typed endpoints, a method named in the body (S3 III-B)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.upstream.mapping import BadArguments, map_call, read_named
from gateway.settings import Limits, Upstream
from policy.model import AccessPolicy, Action, Binding, Subject
from registry.changes import Registered
from registry.model import Endpoint, Registration, RegistrationId, VirtualObject
from tests.adapters.relay import AUTHORITY, Relay, echo, read_request, running_relay, service
from tests.adapters.wire import connected, problem_of

Seen = list[tuple[bytes, bytes]]
PLACES = {"user": "path", "q": "query", "h": "header"}


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path, Limits(message=10_000, timeout_cap=2_000)) as running:
        yield running


class Silent:
    """A service that never answers; it says when connections open and close."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.closed = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await read_request(reader))[0])
            await reader.read()
        finally:
            self.closed.set()


def remainder(head: bytes) -> int:
    return int(head.split(b"Hilum-Timeout: ")[1].split(b"\r\n")[0])


# Deadlines


async def test_no_reply_before_the_deadline(relay: Relay):
    """504, and the endpoint learns that nobody waits: its connection closes."""
    silent = Silent()
    async with service(silent.talk) as url:
        await relay.method("Slow/get", f"{url}/")
        start = asyncio.get_running_loop().time()
        code, _, body = await relay.ask("/Slow/get", b"", "Hilum-Timeout: 300")
        took = asyncio.get_running_loop().time() - start
        assert code == 504
        assert b"no reply before the deadline" in body
        assert 0.25 < took < 1.5
        await asyncio.wait_for(silent.closed.wait(), 2)
        assert 200 < remainder(silent.heads[0]) <= 300


async def test_the_longest_deadline_is_capped_and_a_method_has_its_own(relay: Relay):
    silent = Silent()
    async with service(silent.talk) as url:
        await relay.method("Slow/get", f"{url}/")
        await relay.method("Quick/get", f"{url}/", timeout=250)
        async with connected(relay.port) as client:
            client.send(relay.request("/Slow/get", b"", "Hilum-Timeout: 999999999"))
            assert (await relay.ask("/Quick/get"))[0] == 504
        assert remainder(silent.heads[0]) == 2000
        assert 200 < remainder(silent.heads[1]) <= 250
        for wrong in ("soon", "-1", "1.5", "1e3"):
            code, _, body = await relay.ask("/Slow/get", b"", f"Hilum-Timeout: {wrong}")
            assert code == 400
            assert b"Hilum-Timeout" in body


async def test_a_deadline_ends_at_the_head_of_the_reply(relay: Relay):
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.sleep(0.5)
        writer.write(b"cd")
        await reader.read()

    async with service(slow) as url:
        await relay.method("Slow/get", f"{url}/")
        code, _, body = await relay.ask("/Slow/get", b"", "Hilum-Timeout: 200")
        assert (code, body) == (200, b"abcd")


async def test_a_deadline_while_the_payload_is_still_coming(relay: Relay):
    silent = Silent()
    async with service(silent.talk) as url, connected(relay.port) as client:
        await relay.method("Slow/get", f"{url}/")
        raw = relay.request("/Slow/get", b"x" * 5_000, "Hilum-Timeout: 200", close=False)
        client.send(raw[:-1000])
        assert (await client.answer()).code == 504
        client.send(b"x" * 1000 + relay.request("/Nope/get", b"", close=False))
        assert (await client.answer()).code == 404


async def test_a_deadline_while_waiting_for_a_connection(tmp_path: Path):
    """Nothing of such a call reaches the endpoint, also not later."""
    silent = Silent()
    sizes = Upstream(connections=1)
    async with running_relay(tmp_path, upstream=sizes) as relay, service(silent.talk) as url:
        await relay.method("Slow/get", f"{url}/")
        first = asyncio.ensure_future(relay.ask("/Slow/get", b"1", "Hilum-Timeout: 600"))
        await asyncio.sleep(0.1)
        assert (await relay.ask("/Slow/get", b"2", "Hilum-Timeout: 100"))[0] == 504
        assert (await first)[0] == 504
        await asyncio.sleep(0.1)
        assert len(silent.heads) == 1


# Typed endpoints


async def test_arguments_go_where_the_endpoint_wants_them(relay: Relay):
    seen: Seen = []
    args = {"user": "path", "day": "query", "unit": "query", "X-Mood": "header", "*": "body"}
    async with service(echo(seen)) as url:
        typed = Endpoint(f"{url}/plans/{{user}}/x?unit={{unit}}&v=1", method="PUT", args=args)
        await relay.method("Plan/update", endpoints=[typed])
        call = {"user": "a/b ?#{day}", "day": 3, "unit": "k&g", "X-Mood": "ok", "goal": [1.5]}
        line = "Content-Type: application/json"
        code, _, body = await relay.ask("/Plan/update?ignored=1", json.dumps(call).encode(), line)
    assert code == 200
    assert json.loads(body) == {"goal": [1.5]}
    head = seen[0][0]
    target = b"/plans/a%2Fb%20%3F%23%7Bday%7D/x?unit=k%26g&v=1&day=3"
    assert head.startswith(b"PUT " + target + b" HTTP/1.1\r\n")
    assert b"X-Mood: ok\r\n" in head
    assert head.count(b"Content-Type: application/json\r\n") == 1


async def test_a_get_takes_arguments_from_the_query(relay: Relay):
    seen: Seen = []
    async with service(echo(seen)) as url:
        typed = Endpoint(f"{url}/w/{{city}}", method="GET", args={"city": "path", "*": "query"})
        await relay.method("Weather/now", endpoints=[typed], safe=True)
        for verb in ("GET", "HEAD"):
            code, _, _ = await relay.ask("/Weather/now?city=S%C3%A3o%20P&lang=pt&x=", verb=verb)
            assert code == 200
            assert seen[-1][0].startswith(b"GET /w/S%C3%A3o%20P?lang=pt&x= HTTP/1.1\r\n")
            assert seen[-1][1] == b""
        code, _, body = await relay.ask("/Weather/now", verb="GET")
        assert code == 400
        assert b"'city' is missing" in body


async def test_arguments_that_fit_nowhere(relay: Relay):
    seen: Seen = []
    args = {"user": "path", "mood": "header", "day": "query"}
    async with service(echo(seen)) as url:
        await relay.method("Plan/set", endpoints=[Endpoint(f"{url}/p/{{user}}", args=args)])
        good = {"user": "u", "mood": "m", "day": "d"}
        for wrong in (
            {"user": ".."},
            {"user": ""},
            {"user": None},
            {"user": ["u"]},
            {"user": "\ud800"},
            {"mood": "a\r\nX: b"},
            {"mood": "\u00e9"},
            {"mood": {}},
            {"day": "\udfff"},
            {"more": 1e999},
        ):
            call = json.dumps({**good, **wrong}).encode()
            code, _, body = await relay.ask("/Plan/set", call)
            assert code == 400, wrong
            assert b"argument" in body
        for text in (b"[1]", b"1", b"{", b"NaN", b'{"user": NaN}', b"[" * 9_000, b"\xff"):
            code, _, body = await relay.ask("/Plan/set", text)
            assert code == 400, text
        code, _, body = await relay.ask("/Plan/set", b'{"user": "' + b"u" * 10_000 + b'"}')
        assert code == 413
        assert b"10000 bytes" in body
    assert not seen


@given(st.binary(max_size=200) | st.from_regex(rb'\{"(user|x)": ?.{0,20}\}', fullmatch=True))
def test_any_payload_maps_or_is_refused(payload: bytes):
    endpoint = Endpoint("http://a/p/{user}?q={q}", args=PLACES)
    with contextlib.suppress(BadArguments):
        map_call(endpoint, payload, b"user=1&q=2")
    with contextlib.suppress(BadArguments):
        read_named(payload)


@given(
    st.dictionaries(
        st.sampled_from(["user", "q", "h", "x", "{user}", "Host"]),
        st.text() | st.integers() | st.floats() | st.booleans() | st.none(),
    )
)
def test_no_argument_reaches_another_place(call: dict[str, object]):
    endpoint = Endpoint("http://a/p/{user}/z?q={q}", args=PLACES)
    try:
        mapped = map_call(endpoint, json.dumps(call).encode(), b"")
    except BadArguments:
        return
    path, _, query = mapped.target.partition(b"?")
    assert path.count(b"/") == 3
    assert path.endswith(b"/z")
    assert query.startswith(b"q=")
    assert not set(mapped.target) & set(b" \r\n#")
    assert len(mapped.fields) in (0, 4)
    assert not set(b"".join(mapped.fields[2:3])) & set(b"\r\n\0")


async def test_an_operator_s_binding(relay: Relay):
    seen: Seen = []
    async with service(echo(seen)) as url:
        binding = Binding(
            f"{AUTHORITY}/Bound/get", f"{url}/{{id}}", method="GET", args={"id": "path"}, safe=True
        )
        await relay.policy("bound", binding)
        assert (await relay.ask("/Bound/get", b'{"id": 7}'))[0] == 200
        assert (await relay.ask("/Bound/get?id=8", verb="GET"))[0] == 200
    assert [head.split(b" ")[1] for head, _ in seen] == [b"/7", b"/8"]


# A method named in the body


async def test_a_method_named_in_the_body(relay: Relay):
    seen: Seen = []
    async with service(echo(seen)) as url:
        await relay.method("Plan/set", f"{url}/set")
        call = b'{"method": "set", "args": {"z": 1.10, "a":  [1e400]}}'
        line = "Content-Type: application/x-www-form-urlencoded"
        code, _, body = await relay.ask("/Plan", call, line)
        assert (code, body) == (200, b'{"z": 1.10, "a":  [1e400]}')
        assert b"Content-Type: application/json\r\n" in seen[0][0]
        assert b"form-urlencoded" not in seen[0][0]
        code, _, body = await relay.ask("/Plan", b'{"method": "set"}')
        assert (code, body) == (200, b"{}")
        for text, said in [
            (b"", "Input data was truncated"),
            (b"[]", "Expected `object`"),
            (b'{"args": {}}', "missing required field `method`"),
            (b'{"method": 1}', "Expected `str`"),
            (b'{"method": "set", "arg": 1}', "unknown field `arg`"),
            (b'{"method": "a/b"}', "method"),
            (b'{"method": ".."}', "method"),
            (b'{"method": "$site"}', "method"),
            (b'{"method": ""}', "method"),
        ]:
            async with connected(relay.port) as client:
                answer = await client.ask(relay.request("/Plan", text))
            assert answer.code == 400
            assert said in str(problem_of(answer)["detail"])
        assert (await relay.ask("/Plan", b'{"method": "unset"}'))[0] == 404
        deep = b'{"method": "set", "args": ' + b"[" * 9_000
        assert (await relay.ask("/Plan", deep))[0] == 400
        assert (await relay.ask("/Plan", b" " * 10_001))[0] == 413
    assert len(seen) == 2


async def test_only_a_method_can_be_named(relay: Relay):
    """An object in an object in an object would be a loop that the caller controls."""
    async with service(echo()) as url:
        await relay.method("Plan/set", f"{url}/")
        child = VirtualObject(f"{AUTHORITY}/Plan/child")
        await relay.change(
            Registered(
                Registration(
                    RegistrationId("Other", "1", "a"), "site:service", "", 60, 99, (child,)
                )
            )
        )
        assert (await relay.ask("/Plan/child", verb="DELETE"))[0] == 405
        nested = b'{"method": "child", "args": {"method": "child"}}'
        assert (await relay.ask("/Plan", nested))[0] == 404


async def test_who_may_not_use_an_object_cannot_make_us_hold_a_payload(relay: Relay):
    async with service(echo()) as url:
        await relay.method("Plan/set", f"{url}/")
    only_set = AccessPolicy("allow", (Subject(),), (Action.CALL,), ("Plan/set",))
    await relay.policy("everything", only_set)
    raw = relay.request("/Plan", b'{"method": "set"}')
    answer = await relay.raw(raw[:-5], until=b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
