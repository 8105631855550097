"""Heads that come again are not parsed again: nobody may see a difference."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http.wire.heads import REMEMBERED, HeadMemory, RequestHead
from tests.adapters.relay import echo, running_relay, service


async def talk(port: int, *sent: bytes, answers: int, patient: bool = True) -> bytes:
    """Send on one connection; who is patient waits for an answer before the next write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    for data in sent:
        writer.write(data)
        if not patient:
            await asyncio.sleep(0.05)
            continue
        received += await asyncio.wait_for(reader.read(65536), 5)
    while received.count(b"HTTP/1.1 ") < answers:
        received += await asyncio.wait_for(reader.read(65536), 5)
    writer.close()
    await writer.wait_closed()
    return received


async def test_the_same_request_is_the_same_call_each_time(tmp_path):
    seen: list[tuple[bytes, bytes]] = []
    async with running_relay(tmp_path) as relay, service(echo(seen)) as url:
        await relay.method("Plan/make", f"{url}/plans")
        request = relay.request("/Plan/make", b"goal", "X-Tag: 1", close=False)
        received = await talk(relay.port, *[request] * 5, answers=5)
    assert len(set(seen)) == 1
    assert len(seen) == 5
    assert received == received[: len(received) // 5] * 5
    assert len(relay.listener.memory._heads) == 1


async def test_a_known_head_with_something_else_behind_it_is_parsed(tmp_path):
    """The rest of a payload, a second request, or rubbish: the parser decides, as ever."""
    seen: list[tuple[bytes, bytes]] = []
    async with running_relay(tmp_path) as relay, service(echo(seen)) as url:
        await relay.method("Plan/make", f"{url}/plans")
        request = relay.request("/Plan/make", b"goal", close=False)
        await talk(relay.port, *[request] * 3, answers=3)
        seen.clear()
        pieces = [request[:-2], request[-2:] + request]
        received = await talk(relay.port, *pieces, answers=2, patient=False)
        assert [body for _, body in seen] == [b"goal", b"goal"]
        seen.clear()
        received = await talk(relay.port, request + request + request, answers=3)
        assert [body for _, body in seen] == [b"goal"] * 3
        seen.clear()
        received = await relay.raw(request + b"rubbish\r\n\r\n")
        assert [body for _, body in seen] == [b"goal"]
        assert received.count(b"HTTP/1.1 400") == 1


async def test_a_known_head_is_decided_each_time(tmp_path):
    async with running_relay(tmp_path) as relay, service(echo()) as url:
        await relay.method("Plan/make", f"{url}/plans")
        request = relay.request("/Plan/make", b"goal", close=False)
        assert b"200 OK" in await talk(relay.port, *[request] * 3, answers=3)
        (token,) = relay.site.catalog.tokens
        await relay.site.revoke("site:test", token)
        assert b"401 Unauthorized" in await talk(relay.port, request, answers=1)


@pytest.mark.parametrize(
    "line",
    [
        "Expect: 100-continue",
        "Connection: X-Tag",
        "Upgrade: h2c",
        "Hilum-Timeout: 700",
        "Accept: text/plain",
        "Hilum-Principal: site:admin",
    ],
)
async def test_special_heads_mean_the_same_every_time(tmp_path, line):
    seen: list[tuple[bytes, bytes]] = []
    async with running_relay(tmp_path) as relay, service(echo(seen)) as url:
        await relay.method("Plan/make", f"{url}/plans")
        request = relay.request("/Plan/make", b"goal", line, "X-Tag: 1", close=False)
        received = [await talk(relay.port, request, answers=1) for _ in range(4)]
    assert len(set(seen)) == 1
    assert len(set(received)) == 1


async def test_a_call_named_in_a_known_heads_body_is_read_each_time(tmp_path):
    seen: list[tuple[bytes, bytes]] = []
    async with running_relay(tmp_path) as relay, service(echo(seen)) as url:
        await relay.method("Plan/make", f"{url}/plans")
        requests = [
            relay.request("/Plan", b'{"method":"make","args":{"kg":%d}}' % kg, close=False)
            for kg in (1, 2, 3, 4)
        ]
        await talk(relay.port, *requests, answers=4)
    assert [body for _, body in seen] == [b'{"kg":%d}' % kg for kg in (1, 2, 3, 4)]


@given(st.lists(st.binary(max_size=6), max_size=12), st.integers(0, 4))
@settings(deadline=None)
def test_only_whole_messages_of_known_heads_are_recalled(parts, length):
    memory: HeadMemory[RequestHead] = HeadMemory()
    head = RequestHead()
    head.length = length
    data = b"".join(parts) + b"\r\n\r\n"
    message = data[: data.find(b"\r\n\r\n") + 4]
    memory.remember(message, head)
    assert memory.recall(message + b"x" * length) is None
    memory.remember(message, head)
    assert memory.recall(message + b"x" * length) == (head, len(message))
    assert memory.recall(message + b"x" * (length + 1)) is None
    assert memory.recall(b"y" + message + b"x" * length) is None


def test_the_memory_is_bounded():
    memory: HeadMemory[RequestHead] = HeadMemory()
    for number in range(3 * REMEMBERED):
        for _ in range(2):
            memory.remember(b"%d\r\n\r\n" % number, RequestHead())
    assert len(memory._heads) <= REMEMBERED
    assert memory.recall(b"x" * 100_000) is None
    memory.remember(b"x" * 4096 + b"\r\n\r\n", RequestHead())
