"""The scenarios of events: each runs for every protocol of publishers and of subscribers."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from gateway.message import Status
from tests.conformance.pairs.calls import BINARY, JSON, TYPELESS, refused
from tests.conformance.pairs.cells import ENCODED, Events
from tests.conformance.pairs.model import LIMIT, Client, Received

MANY = 20
TALKS_BIG = 30_000
"""Bytes of one event to a subscriber that does not read, and how many of them."""
FLOOD = 250
UNTYPED = (*TYPELESS, "http")
"""Subscribers that are not told a content type: server-sent events have no room for it either."""


async def publish_subscribe(cell: Events, publisher: str, subscriber: str) -> None:
    """Events come whole, once, with their type and in their order."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    for n in range(MANY):
        payload = b'{"n": %d}' % n
        outcome = await cell.publisher.publish(cell.channel, payload, "application/json")
        assert outcome.means(Status.OK), outcome
        if subscriber.startswith("coap"):  # is promised the newest event, not each of a burst
            await _expect(cell, payload, publisher, subscriber)
    if not subscriber.startswith("coap"):
        for n in range(MANY):
            await _expect(cell, b'{"n": %d}' % n, publisher, subscriber)
    with contextlib.suppress(TimeoutError):
        raise AssertionError(await cell.subscriber.next(0.1))


async def cloudevents_attributes(cell: Events, publisher: str, subscriber: str) -> None:
    """An event says where, when and as which it was published, whoever published it."""
    assert (await cell.subscriber.subscribe(cell.channel, attributes=True)).means(Status.OK)
    began = datetime.now(UTC)
    for payload in (b"one", b"two"):
        outcome = await cell.publisher.publish(cell.channel, payload, "text/plain")
        assert outcome.means(Status.OK), outcome
    one, two = await cell.subscriber.next(), await cell.subscriber.next()
    assert (one.payload, two.payload) == (b"one", b"two")
    for said in (one.attributes, two.attributes):
        assert (said["specversion"], said["type"]) == ("1.0", "hilum.event")
        assert said["source"] == f"urn:hilum:localhost/{cell.channel}"
        moment = datetime.fromisoformat(said["time"])
        assert began - timedelta(seconds=1) < moment <= datetime.now(UTC)
    first, second = (said["id"].rpartition("-") for said in (one.attributes, two.attributes))
    assert (first[0], int(first[2]) + 1) == (second[0], int(second[2]))


async def own_attributes(cell: Events, publisher: str, subscriber: str) -> None:
    """Who publishes a CloudEvent of its own is not contradicted."""
    own = {"specversion": "1.0", "id": "7", "source": "urn:band", "type": "steps", "of": "day"}
    assert (await cell.subscriber.subscribe(cell.channel, attributes=True)).means(Status.OK)
    outcome = await cell.publisher.publish(cell.channel, b"99", "text/plain", own)
    assert outcome.means(Status.OK), outcome
    said = (await cell.subscriber.next()).attributes
    assert {key: value for key, value in said.items() if key in own} == own
    assert "time" not in said


async def encoded_name(cell: Events, publisher: str, subscriber: str) -> None:
    """A name beyond ASCII is the same name in every protocol's spelling."""
    channel = f"Open/{cell.key}/{ENCODED}"
    assert (await cell.subscriber.subscribe(channel)).means(Status.OK)
    assert (await cell.publisher.publish(channel, b"1")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b"1"


async def publish_denied(cell: Events, publisher: str, subscriber: str) -> None:
    """Policy says no: subscribers, were there any, hear nothing."""
    refused(await cell.publisher.publish(cell.closed, JSON), cell.publisher.refused)
    owner = await cell.another("http", administrator=True)
    outcome = await owner.last(cell.closed)
    assert outcome is not None
    assert outcome.means(Status.NOT_FOUND)


async def subscribe_denied(cell: Events, publisher: str, subscriber: str) -> None:
    """Policy says no to a subscription and to the last value."""
    owner = await cell.another("http", administrator=True)
    assert (await owner.publish(cell.closed, b"secret")).means(Status.OK)
    refused(await cell.subscriber.subscribe(cell.closed), cell.subscriber.refused)
    outcome = await cell.subscriber.last(cell.closed)
    if outcome is not None:
        refused(outcome, cell.subscriber.refused)
    assert (await owner.publish(cell.closed, b"secret")).means(Status.OK)
    with contextlib.suppress(TimeoutError):
        raise AssertionError(await cell.subscriber.next(0.1))


async def policy_withdrawn(cell: Events, publisher: str, subscriber: str) -> None:
    """What was allowed and is not any more ends at once, on both sides."""
    owner = await cell.another("http", administrator=True)
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    assert (await cell.publisher.publish(cell.channel, b"1")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b"1"
    who = [{"principal": one} for one in ("device:pairs", "anonymous:coap")]
    spec = {"effect": "deny", "subjects": who, "names": [cell.channel]}
    with cell.ground.policy("AccessPolicy", cell.key, actions=["publish", "subscribe"], **spec):
        if publisher != "broker":  # whose events are those of who registered the source
            refused(await cell.publisher.publish(cell.channel, b"2"), cell.publisher.refused)
        assert (await owner.publish(cell.channel, b"3")).means(Status.OK)
        if not subscriber.startswith("mqtt"):  # which has no word for it
            received = await cell.subscriber.next()
            assert received.end is not None
            assert received.end.means(cell.subscriber.refused)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(await cell.subscriber.next(0.2))


async def unknown_channel(cell: Events, publisher: str, subscriber: str) -> None:
    """What is not registered cannot be published or subscribed to."""
    nothing = f"Open/{cell.key}/nothing"
    refused(await cell.subscriber.subscribe(nothing), Status.NOT_FOUND)
    refused(await cell.publisher.publish(nothing, JSON), Status.NOT_FOUND)


async def last_value(cell: Events, publisher: str, subscriber: str) -> None:
    """The newest event can be read, however long ago it was published."""
    if publisher != "broker":
        nothing = await cell.subscriber.last(cell.channel)
        assert nothing is None or nothing.means(Status.NOT_FOUND), nothing
    for payload in (b'"old"', JSON):
        outcome = await cell.publisher.publish(cell.channel, payload, "application/json")
        assert outcome.means(Status.OK), outcome
    found = await cell.subscriber.last(cell.channel)
    if publisher == "broker":  # which acknowledged before the site had it
        while found is None or found.payload != JSON:
            found = await cell.subscriber.last(cell.channel)
    assert found is not None
    assert found.means(Status.OK), found
    assert found.payload == JSON
    if publisher not in TYPELESS and subscriber not in TYPELESS:
        assert found.content_type == "application/json"


async def resume(cell: Events, publisher: str, subscriber: str) -> None:
    """Who was away gets what was published meanwhile, once and in order."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    assert (await cell.publisher.publish(cell.channel, b"0")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b"0"
    await cell.subscriber.leave()
    for n in (1, 2, 3):
        assert (await cell.publisher.publish(cell.channel, b"%d" % n)).means(Status.OK)
    await cell.subscriber.resume()
    assert (await cell.publisher.publish(cell.channel, b"4")).means(Status.OK)
    for n in (1, 2, 3, 4):
        received = await cell.subscriber.next()
        assert (received.payload, received.gap) == (b"%d" % n, False)


async def group_dispatch(cell: Events, publisher: str, subscriber: str) -> None:
    """Each event goes to one member of a group, whatever the members' protocols are."""
    other = await cell.another("websocket")
    for member in (cell.subscriber, other):
        assert (await member.subscribe(cell.channel, "readers")).means(Status.OK)
    for n in range(MANY):
        assert (await cell.publisher.publish(cell.channel, b"%d" % n)).means(Status.OK)
    mine, others = await _all(cell.subscriber), await _all(other)
    assert mine
    assert others
    assert sorted(mine + others) == list(range(MANY))


async def slow_consumer(cell: Events, publisher: str, subscriber: str) -> None:
    """Who does not read stops nobody, and goes on with the newest when it reads again."""
    other = await cell.another("websocket")
    for client in (cell.subscriber, other):
        assert (await client.subscribe(cell.channel)).means(Status.OK)
    cell.subscriber.sleep()
    filling = b"x" * TALKS_BIG
    # Megabytes in blocks of a kilobyte take long: over CoAP only the end of the flood comes.
    helper = await cell.another("http") if publisher.startswith("coap") else cell.publisher
    for n in range(FLOOD):
        client = cell.publisher if n >= FLOOD - 10 else helper
        payload = b"%d " % n + filling
        outcome = await client.publish(cell.channel, payload, "text/plain")
        assert outcome.means(Status.OK), outcome
    assert await _all(other) == list(range(FLOOD))
    cell.subscriber.wake()
    late = await _all(cell.subscriber, until=FLOOD - 1)
    assert late == sorted(set(late))
    assert late[-1] == FLOOD - 1
    assert len(late) < FLOOD


async def reconnect(cell: Events, publisher: str, subscriber: str) -> None:
    """Both sides lose their connections and come back."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    assert (await cell.publisher.publish(cell.channel, b"1")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b"1"
    await cell.subscriber.vanish()
    await cell.subscriber.resume()
    await cell.publisher.vanish()
    await cell.publisher.open()
    assert (await cell.publisher.publish(cell.channel, b"2")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b"2"


async def oversize(cell: Events, publisher: str, subscriber: str) -> None:
    """An event above ``[limits] message`` is refused, one of just that size arrives."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    whole = bytes(range(256)) * (LIMIT // 256)
    kind = "application/octet-stream"
    outcome = await cell.publisher.publish(cell.channel, whole, kind)
    assert outcome.means(Status.OK), outcome
    assert (await cell.subscriber.next()).payload == whole
    refused(await cell.publisher.publish(cell.channel, whole + b"x", kind), Status.TOO_LARGE)
    with contextlib.suppress(TimeoutError):
        raise AssertionError(await cell.subscriber.next(0.1))


async def binary_payload(cell: Events, publisher: str, subscriber: str) -> None:
    """Bytes stay bytes."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    kind = "application/octet-stream"
    assert (await cell.publisher.publish(cell.channel, BINARY, kind)).means(Status.OK)
    assert (await cell.subscriber.next()).payload == BINARY


async def empty_payload(cell: Events, publisher: str, subscriber: str) -> None:
    """Nothing is a payload too."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    assert (await cell.publisher.publish(cell.channel, b"")).means(Status.OK)
    assert (await cell.subscriber.next()).payload == b""


async def concurrent_publications(cell: Events, publisher: str, subscriber: str) -> None:
    """Events published at once on one connection are all acknowledged, and all arrive."""
    assert (await cell.subscriber.subscribe(cell.channel)).means(Status.OK)
    payloads = [b"%d" % n for n in range(MANY)]
    publish = cell.publisher.publish
    outcomes = await asyncio.gather(*(publish(cell.channel, one) for one in payloads))
    assert all(outcome.means(Status.OK) for outcome in outcomes), outcomes
    arrived = await _all(cell.subscriber, until=None)
    if subscriber.startswith("coap"):
        assert arrived
        assert set(arrived) <= set(range(MANY))
    else:
        assert sorted(arrived) == list(range(MANY))


async def _expect(cell: Events, payload: bytes, publisher: str, subscriber: str) -> None:
    received = await cell.subscriber.next()
    assert received.payload == payload
    if publisher not in TYPELESS and subscriber not in UNTYPED:
        assert received.content_type == "application/json"


async def _all(client: Client, until: int | None = None) -> list[int]:
    """Return the numbers of the events that come until one comes, or until it is quiet."""
    numbers: list[int] = []
    while not numbers or numbers[-1] != until:
        try:
            received: Received = await client.next(8.0 if until is not None else 0.5)
        except TimeoutError:
            break
        if not received.gap:
            numbers.append(int(received.payload.split(b" ")[0]))
    return numbers
