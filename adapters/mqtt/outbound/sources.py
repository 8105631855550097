"""Channels that are fed from topics of somebody's broker: nothing of QoS 1 is lost.

All sources on a broker share one session that the broker keeps, under a client id that stays the
same. A message is acknowledged when its channel has it; what was not is sent again after a
reconnect, so that an event may come twice (MQTT 5.0 section 4.3.2).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from adapters.mqtt.outbound.brokers import Brokers, Peer
from adapters.mqtt.outbound.link import Link, LinkError, Message
from gateway.message import Extras
from gateway.sources import Arrival, Take
from registry.broker_urls import parse_broker_url

KEEP_SECONDS = 7 * 86_400
"""How long a broker keeps what comes while the site is away."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
ATTRIBUTES = 64
"""User properties of a message that are passed on."""

log = logging.getLogger("hilum.sources")


class TopicSources:
    """Opens ``mqtt`` and ``mqtts`` sources.

    ``random`` returns a number from 0 to 1, ``time_ms`` Unix time in milliseconds.
    """

    def __init__(
        self, brokers: Brokers, *, random: Callable[[], float], time_ms: Callable[[], int]
    ) -> None:
        self.brokers = brokers
        self.random = random
        self.time_ms = time_ms
        self._lines: dict[Peer, SourceLine] = {}

    def open(self, url: str, peer: str, take: Take) -> "OpenTopic":
        """Subscribe to a topic, on the session of its broker."""
        parsed = parse_broker_url(url, source=True)
        broker = self.brokers.peer(parsed.url, peer)
        line = self._lines.get(broker)
        if line is None or line.ended:
            line = self._lines[broker] = SourceLine(self, broker)
        return line.add(parsed.topic, parsed.qos, take)

    def connections(self) -> int:
        """Return how many connections to brokers there are."""
        return sum(line.connected for line in self._lines.values())

    async def close(self) -> None:
        """Disconnect; the brokers keep what comes from now on."""
        lines = list(self._lines.values())
        self._lines.clear()
        await asyncio.gather(*(line.close() for line in lines))


class OpenTopic:
    """One source: a topic, and who takes its messages."""

    def __init__(self, line: "SourceLine", topic: str, qos: int, take: Take) -> None:
        self.topic = topic
        self.qos = qos
        self.take = take
        self._line = line

    def close(self) -> None:
        """Unsubscribe, if nobody else takes the topic."""
        self._line.remove(self)


class SourceLine:
    """The session at one broker. It ends, and is forgotten there, with its last source."""

    def __init__(self, sources: TopicSources, peer: Peer) -> None:
        self._sources = sources
        self._peer = peer
        self._open: dict[str, list[OpenTopic]] = {}
        self._subscribed: dict[str, int] = {}
        self._strays: dict[str, None] = {}
        self._refused: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._said = ""
        self._pause = FIRST_PAUSE
        self._before = False
        self.connected = False
        self.ended = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def add(self, topic: str, qos: int, take: Take) -> OpenTopic:
        """Give a topic's messages to somebody."""
        opened = OpenTopic(self, topic, qos, take)
        self._open.setdefault(topic, []).append(opened)
        self._strays.pop(topic, None)
        self._changed.set()
        return opened

    def remove(self, opened: OpenTopic) -> None:
        """Give them no more."""
        takers = self._open.get(opened.topic, [])
        if opened in takers:
            takers.remove(opened)
            if not takers:
                del self._open[opened.topic]
            self._changed.set()

    async def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        self.ended = True
        while not self._task.done():
            self._task.cancel()  # again and again: wait_for may swallow one until Python 3.12
            await asyncio.wait([self._task], timeout=1)

    # The task

    async def _run(self) -> None:
        """Stay connected as long as there are sources, however often the broker goes away."""
        while not self.ended:
            try:
                await self._session()
            except LinkError as error:
                self._complain(str(error))
            except Exception:
                log.exception("the connection to %s failed", self._where())
            if not self.ended:
                await asyncio.sleep(self._pause * (0.5 + self._sources.random() / 2))
                self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _session(self) -> None:
        """Connect, then keep the subscriptions what they are to be; raises LinkError."""
        brokers, peer = self._sources.brokers, self._peer
        link = await brokers.dial(
            peer, brokers.client_id(peer), KEEP_SECONDS, self._heard, _nothing
        )
        forget = False
        lost = asyncio.ensure_future(link.gone())
        try:
            self._welcome(link)
            while True:
                self._changed.clear()
                await self._subscribe(link)
                if not self._open:
                    break
                await _either(lost, self._changed)
                if lost.done():
                    raise LinkError(lost.result())
            self.ended = forget = True
        finally:
            self.connected = False
            await asyncio.shield(link.close(forget=forget))
            await lost

    def _welcome(self, link: Link) -> None:
        """The connection stands: whatever was said before, subscribe anew."""
        if self._before and not link.resumed:
            log.warning("%s has lost our session, and what it kept for us", self._where())
        log.info("connected to %s", self._where())
        self.connected = self._before = True
        self._said = ""
        self._pause = FIRST_PAUSE
        self._subscribed.clear()
        self._refused.clear()

    async def _subscribe(self, link: Link) -> None:
        """Let the broker's subscriptions be ours; raises LinkError."""
        wanted = {
            topic: max(opened.qos for opened in takers) for topic, takers in self._open.items()
        }
        old = [topic for topic in (*self._subscribed, *self._strays) if topic not in wanted]
        new = [pair for pair in wanted.items() if self._subscribed.get(pair[0]) != pair[1]]
        await link.unfollow(old)
        refused = await link.follow(new)
        self._strays.clear()
        self._subscribed = wanted
        for topic, why in refused.items():
            if self._refused.get(topic) != why:
                self._refused[topic] = why
                log.warning("%s does not let us subscribe to %s: %s", self._where(), topic, why)

    # What the link calls

    def _heard(self, link: Link, message: Message, number: int) -> None:
        """Hand a message over; acknowledge it when everybody has taken it."""
        takers = self._open.get(message.topic)
        if takers is None:
            # Left from a session of before: nobody wants it any more.
            self._strays[message.topic] = None
            self._changed.set()
        arrival = self._arrival(message)
        waits = [wait for opened in takers or () if (wait := opened.take(arrival)) is not None]
        if not waits:
            link.acknowledge(number)
            return
        left = set(waits)

        def taken(wait: "asyncio.Future[None]") -> None:
            left.discard(wait)
            if not left:
                link.acknowledge(number)

        for wait in waits:
            wait.add_done_callback(taken)

    def _arrival(self, message: Message) -> Arrival:
        extras = None
        attributes = message.attributes[:ATTRIBUTES]
        if attributes or message.text or message.expiry:
            now = self._sources.time_ms()
            expires = now + message.expiry * 1000 if message.expiry else 0
            extras = Extras(attributes, expires, message.text)
        return Arrival(message.content_type, message.payload, message.qos, message.retain, extras)

    def _where(self) -> str:
        origin = self._peer.origin
        return f"the broker {origin.scheme}://{origin.host}:{origin.port}"

    def _complain(self, what: str) -> None:
        """Say what is wrong once, not with every attempt."""
        if what != self._said:
            self._said = what
            log.warning("%s: %s", self._where(), what)


async def _either(lost: "asyncio.Future[Any]", changed: asyncio.Event) -> None:
    waiting: asyncio.Future[Any] = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait([lost, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _nothing(_: int, __: int) -> None:
    """Nothing is published on a session for sources."""
