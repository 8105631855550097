"""The scenarios of calls: each runs for every protocol of callers and every one of providers."""

import asyncio
import time

from gateway.message import Status
from tests.conformance.pairs.cells import DEADLINE, ENCODED, Calls
from tests.conformance.pairs.model import LIMIT, Outcome

JSON = b'{"kcal": 42, "of": "\xc3\xa9"}'
BINARY = bytes(range(256)) * 4
EXACT = 0.8
"""Seconds that a deadline of one takes at least: the site looks at its clock now and then."""
MANY = 10
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TYPELESS = ("mqtt3",)
"""Protocols that have no room for a content type."""
ON_LOSS = {"http": Status.PROVIDER_ERROR, "coap": Status.TIMEOUT, "outbound": Status.TIMEOUT}
"""How a call ends whose provider vanishes before it answers: a session that ends makes it
unavailable, an HTTP connection that ends is an answer of the service, and of others nobody hears.
"""


def refused(outcome: Outcome, status: Status) -> None:
    """Check how a refusal looks; MQTT 3.1.1 has one code for all, or closes the connection."""
    if outcome.protocol == "mqtt3" and not outcome.slug:
        assert outcome.closed or outcome.code == 0x80, outcome
    else:
        assert outcome.means(status), outcome


async def call_with_reply(cell: Calls, caller: str, provider: str) -> None:
    """Payload and type arrive as they were sent, in both directions; the provider knows who."""
    outcome = await cell.caller.call(cell.name("echo"), JSON, "application/json")
    assert outcome.means(Status.OK), outcome
    assert outcome.payload == JSON
    (asked,) = cell.service.asked
    assert asked.payload == JSON
    typed = caller not in TYPELESS and provider not in TYPELESS
    untyped = "text/plain" if provider == "websocket" else ""  # or it would be read as JSON
    assert asked.content_type == ("application/json" if typed else untyped)
    if typed:
        assert outcome.content_type == "application/json"
    if asked.principal:
        assert asked.principal == ("anonymous:coap" if caller == "coap" else "device:pairs")


async def trace_context(cell: Calls, caller: str, provider: str) -> None:
    """The caller's trace goes on at the provider."""
    outcome = await cell.caller.call(cell.name("echo"), JSON, "application/json", trace=TRACE)
    assert outcome.means(Status.OK), outcome
    assert cell.service.asked[0].trace == TRACE


async def encoded_name(cell: Calls, caller: str, provider: str) -> None:
    """A name beyond ASCII is the same name in every protocol's spelling."""
    outcome = await cell.caller.call(cell.name(ENCODED), JSON)
    assert outcome.means(Status.OK), outcome
    assert outcome.payload == cell.service.asked[0].payload == JSON


async def call_denied(cell: Calls, caller: str, provider: str) -> None:
    """Policy says no, and the provider never hears of it."""
    closed = f"Closed/{cell.key}/echo"
    refused(await cell.caller.call(closed, JSON, "application/json"), cell.caller.refused)
    assert not cell.service.asked


async def unknown_name(cell: Calls, caller: str, provider: str) -> None:
    """Who may describe is told that there is no such name, to others it looks forbidden."""
    refused(await cell.caller.call(f"Open/{cell.key}/nothing", JSON), Status.NOT_FOUND)
    hidden = await cell.caller.call(f"Closed/{cell.key}/nope", JSON)
    refused(hidden, cell.caller.refused)
    there = await cell.caller.call(f"Closed/{cell.key}/echo", JSON)
    assert hidden._replace(payload=hidden.payload.replace(b"nope", b"echo")) == there


async def provider_gone(cell: Calls, caller: str, provider: str) -> None:
    """A provider that is not there makes its methods unavailable."""
    await cell.provider.vanish()
    outcome = await cell.caller.call(cell.name("slow"), JSON)
    assert outcome.means(Status.UNAVAILABLE), outcome


async def provider_vanishes(cell: Calls, caller: str, provider: str) -> None:
    """A provider that goes while it is asked leaves no caller without an answer."""
    calling = asyncio.create_task(cell.caller.call(cell.name("slow"), JSON))
    await asyncio.wait_for(cell.service.was_asked.wait(), 5)
    await cell.provider.vanish()
    outcome = await calling
    assert outcome.means(ON_LOSS.get(provider, Status.UNAVAILABLE)), outcome


async def deadline_passed(cell: Calls, caller: str, provider: str) -> None:
    """The method's own time is over before it answers."""
    began = time.monotonic()
    outcome = await cell.caller.call(cell.name("slow"), JSON)
    assert outcome.means(Status.TIMEOUT), outcome
    assert EXACT <= time.monotonic() - began < DEADLINE / 1000 + 3
    assert len(cell.service.asked) == 1


async def deadline_of_the_caller(cell: Calls, caller: str, provider: str) -> None:
    """The caller's time is over; the provider was told how much there is."""
    began = time.monotonic()
    outcome = await cell.caller.call(cell.name("late"), b"30", within=1.0)
    assert outcome.means(Status.TIMEOUT), outcome
    assert EXACT <= time.monotonic() - began < 4
    told = cell.service.asked[0].seconds
    assert told is None or 0 < told <= 1


async def payload_too_large(cell: Calls, caller: str, provider: str) -> None:
    """More than ``[limits] message`` is refused; from HTTP to HTTP it streams through."""
    payload = b"x" * (LIMIT + 1)
    outcome = await cell.caller.call(cell.name("echo"), payload, "application/octet-stream")
    if (caller, provider) == ("http", "http"):
        assert (outcome.code, outcome.payload) == (200, payload)
        return
    assert outcome.means(Status.TOO_LARGE), outcome
    assert not cell.service.asked
    assert (await cell.caller.call(cell.name("echo"), JSON)).payload == JSON


async def largest_payload(cell: Calls, caller: str, provider: str) -> None:
    """As much as ``[limits] message`` allows passes, there and back."""
    payload = bytes(range(256)) * (LIMIT // 256)
    outcome = await cell.caller.call(cell.name("echo"), payload, "application/octet-stream")
    assert outcome.means(Status.OK), outcome._replace(payload=outcome.payload[:200])
    assert outcome.payload == cell.service.asked[0].payload == payload


async def reply_too_large(cell: Calls, caller: str, provider: str) -> None:
    """The limit holds for replies too."""
    outcome = await cell.caller.call(cell.name("large"), JSON)
    if (caller, provider) == ("http", "http"):
        assert (outcome.code, len(outcome.payload)) == (200, LIMIT + 1)
        return
    assert outcome.means(Status.TOO_LARGE), outcome._replace(payload=outcome.payload[:200])
    assert (await cell.caller.call(cell.name("echo"), JSON)).payload == JSON


async def binary_payload(cell: Calls, caller: str, provider: str) -> None:
    """Bytes stay bytes."""
    outcome = await cell.caller.call(cell.name("echo"), BINARY, "application/octet-stream")
    assert outcome.means(Status.OK), outcome
    assert outcome.payload == cell.service.asked[0].payload == BINARY


async def empty_payload(cell: Calls, caller: str, provider: str) -> None:
    """Nothing is a payload too."""
    outcome = await cell.caller.call(cell.name("echo"))
    assert outcome.means(Status.OK), outcome
    assert outcome.payload == cell.service.asked[0].payload == b""


async def concurrent_calls(cell: Calls, caller: str, provider: str) -> None:
    """Calls on one connection, answered in another order: each gets its own answer."""
    payloads = [f"{0.01 * (MANY - n):.2f}".encode() for n in range(MANY)]
    outcomes = await cell.caller.calls(cell.name("late"), payloads)
    assert [outcome.payload for outcome in outcomes] == payloads
    assert all(outcome.means(Status.OK) for outcome in outcomes)


async def providers_error(cell: Calls, caller: str, provider: str) -> None:
    """What the provider answers passes, and is told from what the site says."""
    outcome = await cell.caller.call(cell.name("fail"), JSON)
    assert outcome.means(Status.NOT_FOUND), outcome
    assert outcome.payload == b"no such plan"
    assert outcome.origin in ("provider", "")


async def caller_vanishes(cell: Calls, caller: str, provider: str) -> None:
    """A caller that goes leaves nothing behind: it comes back, and both go on."""
    calling = asyncio.create_task(cell.caller.call(cell.name("slow"), JSON))
    await asyncio.wait_for(cell.service.was_asked.wait(), 5)
    await cell.caller.vanish()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await cell.caller.open()
    assert (await cell.caller.call(cell.name("echo"), JSON)).payload == JSON


async def event_becomes_call(cell: Calls, caller: str, provider: str) -> None:
    """Each event of a channel that is bound to a method is a call of it, whatever either speaks."""
    bell = f"Open/{cell.key}/bell"
    with cell.ground.policy("Binding", cell.key, name=bell, call=cell.name("echo")):
        for n in (1, 2, 3):
            outcome = await cell.caller.publish(bell, b'{"n": %d}' % n, "application/json")
            assert outcome.means(Status.OK), outcome
        async with asyncio.timeout(5):
            while len(cell.service.asked) < 3:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.01)
    assert [asked.payload for asked in cell.service.asked] == [b'{"n": %d}' % n for n in (1, 2, 3)]


async def reconnect(cell: Calls, caller: str, provider: str) -> None:
    """Both sides lose their connections and come back."""
    assert (await cell.caller.call(cell.name("echo"), b"1")).payload == b"1"
    await cell.provider.vanish()
    await cell.provider.open(cell.names)
    assert (await cell.caller.call(cell.name("echo"), b"2")).payload == b"2"
    await cell.caller.vanish()
    await cell.caller.open()
    assert (await cell.caller.call(cell.name("echo"), b"3")).payload == b"3"
