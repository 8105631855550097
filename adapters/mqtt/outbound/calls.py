"""The provider of endpoints on somebody's broker: a call is a message, its reply another one.

Request and response are paired by the Response Topic, of which every call has its own, and by
Correlation Data (MQTT 5.0 section 4.10). A call that waits for no reply is done when the broker
has acknowledged its message. A call that fails after it was sent may have reached its service.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from math import ceil
from secrets import token_hex
from weakref import WeakValueDictionary

from adapters.mqtt.outbound.brokers import Brokers, Peer
from adapters.mqtt.outbound.link import Link, LinkError, Message
from adapters.mqtt.outbound.mapping import NOBODY, STATUS, attributes, refusal, replied
from gateway.calls import MAX_MESSAGE
from gateway.exchange import Plane
from gateway.message import WIRE, Call, Origin, Reply, Status
from gateway.ports import Answer, Permit, Sink
from policy.model import Principal
from policy.resolution import Target
from registry.broker_urls import BrokerUrl, parse_broker_url

OUTSTANDING = 1024
"""Calls to one broker that are under way or wait for the connection."""
PAUSE_SECONDS = 1.0
"""After a failed connection calls fail at once for so long."""
IDLE_SECONDS = 300.0

OLD = "the broker speaks MQTT 3.1.1, which has no Response Topic (one-way: reply=none)"

log = logging.getLogger("hilum.broker")

Assert = Callable[[Target, Principal], str]
"""Returns what the gateway says of a caller so that the target's service can believe it."""


class BrokerProvider:
    """Sends calls to ``mqtt`` and ``mqtts`` endpoints; ``limit`` bounds a payload in bytes."""

    def __init__(
        self,
        plane: Plane,
        brokers: Brokers,
        assertion: Assert | None = None,
        limit: int = MAX_MESSAGE,
    ) -> None:
        self.plane = plane
        self.brokers = brokers
        self.assertion = assertion
        self.limit = limit
        # A line lives as long as a Route's target or its own connection needs it.
        self._lines: WeakValueDictionary[Peer, CallLine] = WeakValueDictionary()

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Collect the payload, then publish it."""
        target = permit.target
        if target is None:
            raise ValueError("a permit without a target is not for an endpoint")
        prepared = target.prepared
        if not isinstance(prepared, _Prepared):
            prepared = target.prepared = self._prepare(target)
        sent = SentCall(self, prepared, target, permit.call, answer)
        sent.body(body, end)
        return sent

    def connections(self) -> int:
        """Return how many connections to brokers there are."""
        return sum(line.connected for line in list(self._lines.values()))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(line.close() for line in list(self._lines.values())))

    def _prepare(self, target: Target) -> "_Prepared":
        url = parse_broker_url(target.endpoint.url)
        peer = self.brokers.peer(url.url, target.peer)
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = CallLine(self.plane, self.brokers, peer)
        return _Prepared(line, url)


class _Prepared:
    """What is known of a target before a call."""

    __slots__ = ("line", "url")

    def __init__(self, line: "CallLine", url: BrokerUrl) -> None:
        self.line = line
        self.url = url


class SentCall:
    """One call on its way to a broker and back: the sink of its exchange."""

    __slots__ = (
        "_answer",
        "_call",
        "_done",
        "_line",
        "_parts",
        "_provider",
        "_size",
        "_target",
        "_url",
        "number",
    )

    def __init__(
        self,
        provider: BrokerProvider,
        prepared: _Prepared,
        target: Target,
        call: Call,
        answer: Answer,
    ) -> None:
        self._provider = provider
        self._line = prepared.line
        self._url = prepared.url
        self._target = target
        self._call = call
        self._answer = answer
        self._parts: list[bytes] = []
        self._size = 0
        self._done = False
        self.number = ""
        """The last level of its Response Topic, once it has one."""

    @property
    def wants_reply(self) -> bool:
        """Whether the call waits for a message, not only for an acknowledgement."""
        return self._url.reply

    # The Sink port

    def body(self, data: bytes, end: bool) -> None:
        """Collect the payload; send it when it is whole."""
        if self._done:
            return
        self._parts.append(data)
        self._size += len(data)
        limit = self._provider.limit
        if self._size > limit:
            self.fail_later(Status.TOO_LARGE, f"a message to a broker may have {limit} bytes")
        elif end:
            self._line.add(self, b"".join(self._parts))

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._done = True
        self._line.drop(self)

    def pause(self) -> None:
        """The reply comes in one piece."""

    def resume(self) -> None:
        """The reply comes in one piece."""

    # What the line calls

    def compose(self, payload: bytes, response_topic: str, now: float) -> Message:
        """Return the call as a message; a reply that comes after the deadline helps nobody."""
        call, url = self._call, self._url
        said = attributes(call)
        if self._provider.assertion is not None:
            who = self._provider.assertion(self._target, call.principal)
            said.append(("hilum-principal", who))
        waits = url.reply
        return Message(
            url.topic,
            payload,
            url.qos,
            call.content_type.decode("latin-1"),
            expiry=max(1, ceil(call.deadline - now)) if waits else 0,
            response_topic=response_topic if waits else "",
            correlation=self.number.encode() if waits else None,
            attributes=tuple(said),
        )

    def reply(self, message: Message) -> None:
        """Pass the service's answer on."""
        limit = self._provider.limit
        if len(message.payload) > limit:
            self.fail(Status.TOO_LARGE, f"the reply is larger than {limit} bytes")
            return
        said = dict(message.attributes).get(STATUS, "")
        status, code = replied(said)
        if code == 0:
            self.fail(Status.PROVIDER_ERROR, f"the reply has an unknown {STATUS}: {said[:40]!r}")
            return
        self._finish(
            status, code, message.content_type.encode("latin-1", "replace"), message.payload
        )

    def accepted(self) -> None:
        """The broker has the message, and nothing else is waited for."""
        self._finish(Status.OK, WIRE[Status.OK].http, b"", b"")

    def fail(self, status: Status, why: str, *, written: bool = True) -> None:
        """The call was sent, but there will be no answer."""
        if not self._done:
            self._done = True
            self._answer.failed(status, why, written=written)

    def fail_later(self, status: Status, why: str) -> None:
        """Fail unsent, but not within the call that the exchange is making just now."""
        asyncio.get_running_loop().call_soon(self._fail_unsent, status, why)

    def _fail_unsent(self, status: Status, why: str) -> None:
        self.fail(status, why, written=False)

    def _finish(self, status: Status, code: int, content_type: bytes, payload: bytes) -> None:
        if self._done:
            return
        self._done = True
        head = Reply(status, Origin.PROVIDER, code, content_type, len(payload))
        if content_type:
            head.fields = [b"Content-Type", b": ", content_type, b"\r\n"]
        self._answer.reply(head, payload, end=True)


class CallLine:
    """The connection that all calls to one broker share; it is made when a call needs it."""

    def __init__(self, plane: Plane, brokers: Brokers, peer: Peer) -> None:
        self._plane = plane
        self._brokers = brokers
        self._peer = peer
        self._clock = asyncio.get_running_loop().time
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[SentCall, bytes]] = deque()
        self._posted: dict[int, SentCall] = {}
        self._asked: dict[str, SentCall] = {}
        self._calls = 0
        self._prefix = ""
        self._no_replies = ""
        self._why = ""
        self._rests_until = 0.0
        self._used = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    def add(self, call: SentCall, payload: bytes) -> None:
        """Publish a call as soon as the connection takes it."""
        now = self._used = self._clock()
        if len(self._waiting) + len(self._posted) + len(self._asked) >= OUTSTANDING:
            call.fail_later(Status.UNAVAILABLE, "too many calls to this broker are under way")
        elif self._task is None and now < self._rests_until:
            call.fail_later(Status.UNAVAILABLE, self._why)
        else:
            self._waiting.append((call, payload))
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run())
            self._flush()

    def drop(self, call: SentCall) -> None:
        """Nobody waits for a call any more; one that was not sent never will be."""
        self._asked.pop(call.number, None)
        for at, (waiting, _) in enumerate(self._waiting):
            if waiting is call:
                del self._waiting[at]
                return

    async def close(self) -> None:
        """Close the connection; calls that are under way fail."""
        task = self._task
        while task is not None and not task.done():
            # More than once: until Python 3.12 wait_for, which aiomqtt uses, may swallow one.
            task.cancel()
            await asyncio.wait([task], timeout=1)

    # The task

    async def _run(self) -> None:
        """Connect, and stay connected until nobody has called for a while."""
        link: Link | None = None
        why = "the site shuts down"
        try:
            link = await self._connect()
            lost = asyncio.ensure_future(link.gone())
            while not lost.done() and self._is_used():
                await asyncio.wait([lost], timeout=IDLE_SECONDS / 4)
            lost.cancel()
            why = await link.gone() if link.lost else "the connection to the broker was not used"
        except LinkError as error:
            why = str(error)
            self._rests_until = self._clock() + PAUSE_SECONDS
            log.info("%s:%d: %s", self._peer.origin.host, self._peer.origin.port, why)
        finally:
            self._link = self._task = None
            self._lose(why)
            if link is not None:
                link.abort()

    async def _connect(self) -> Link:
        random = token_hex(8)
        self._prefix = f"hilum/{self._brokers.site_id}/reply/{random}/"
        link = await self._brokers.dial(
            self._peer, f"hilum-{random}", 0, self._heard, self._acknowledged
        )
        try:
            refused = {"": OLD} if not link.modern else await link.follow([(f"{self._prefix}+", 1)])
        except BaseException:
            link.abort()
            raise
        self._no_replies = "".join(refused.values())
        self._link = link
        self._flush()
        return link

    def _is_used(self) -> bool:
        busy = self._waiting or self._posted or self._asked
        return bool(busy) or self._clock() - self._used < IDLE_SECONDS

    def _lose(self, why: str) -> None:
        """The connection is gone: what was sent may have arrived, what was not has not."""
        self._why = why
        self._plane.now = self._clock()
        sent = dict.fromkeys([*self._asked.values(), *self._posted.values()])
        unsent = [call for call, _ in self._waiting]
        self._asked.clear()
        self._posted.clear()
        self._waiting.clear()
        for call in sent:
            call.fail(Status.UNAVAILABLE, why)
        for call in unsent:
            call.fail(Status.UNAVAILABLE, why, written=False)

    def _flush(self) -> None:
        """Publish what waits, as far as the broker takes it (MQTT 5.0 section 4.9)."""
        link = self._link
        while self._waiting and link is not None and len(self._posted) < link.window:
            call, payload = self._waiting.popleft()
            try:
                self._publish(link, call, payload)
            except (LinkError, ValueError) as error:
                call.fail_later(Status.UNAVAILABLE, str(error))

    def _publish(self, link: Link, call: SentCall, payload: bytes) -> None:
        if call.wants_reply and self._no_replies:
            why = f"no reply can come on {self._prefix}+: {self._no_replies}"
            call.fail_later(Status.PROVIDER_ERROR, why)
            return
        self._calls += 1
        call.number = str(self._calls)
        topic = f"{self._prefix}{call.number}" if call.wants_reply else ""
        message = call.compose(payload, topic, self._clock())
        if link.largest and message.size() > link.largest:
            why = f"the broker takes messages of {link.largest} bytes at most"
            call.fail_later(Status.TOO_LARGE, why)
            return
        self._posted[link.post(message)] = call
        if call.wants_reply:
            self._asked[call.number] = call

    # What the link calls

    def _acknowledged(self, number: int, code: int) -> None:
        """The broker has a message, or refuses it."""
        call = self._posted.pop(number, None)
        self._plane.now = self._clock()
        if call is not None and code >= 0x80:
            self._asked.pop(call.number, None)
            why = f"the broker refuses the message (reason code {code:#04x})"
            call.fail(refusal(code), why, written=False)
        elif call is not None and not call.wants_reply:
            call.accepted()
        elif call is not None and code == NOBODY and call.number in self._asked:
            del self._asked[call.number]
            why = "nobody subscribes to the endpoint's topic on its broker now"
            call.fail(Status.UNAVAILABLE, why, written=False)
        self._flush()

    def _heard(self, link: Link, message: Message, number: int) -> None:
        """A reply came; one that nobody waits for, or that says to answer another, is dropped."""
        self._plane.now = self._clock()
        asked = message.topic.removeprefix(self._prefix)
        call = self._asked.get(asked)
        if call is not None and message.correlation in (None, asked.encode()):
            del self._asked[asked]
            call.reply(message)
        if number:
            link.acknowledge(number)
