"""Channels that are fed by observing CoAP resources (RFC 7641).

A device that restarts forgets who observes it, and says nothing. So a registration is renewed when
what it sent last is stale (section 3.3.1), at the latest every few minutes. An observer learns the
newest state, not every state that there was: what a device sends while the site is away, or in
datagrams that get lost, is gone.
"""

import asyncio
import logging
from collections.abc import Callable
from secrets import token_bytes

from adapters.coap.upstream.blocks import Fetch
from adapters.coap.upstream.line import Line, Request
from adapters.coap.upstream.mapping import content_type, fixed_options
from adapters.coap.upstream.pool import Unreachable, open_line
from adapters.coap.upstream.provider import CoapProvider
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import GET, Message, code_text
from adapters.coap.wire.formats import read_problem
from adapters.coap.wire.options import ordered, uint, uint_value
from gateway.egress import Origin
from gateway.sources import Arrival, Take
from registry.urls import parse_url

MAX_AGE = 60
"""Seconds for which a representation is fresh if its server says nothing (RFC 7252 5.10.5)."""
SHORTEST = 2.0
LONGEST = 120.0
"""Seconds after which a registration is renewed, whatever its server says."""
ANSWER_SECONDS = 20.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
REORDERED = 128.0
"""Seconds after which any notification is newer than the last (RFC 7641 section 3.4)."""
HALF = 1 << 23
UNOBSERVED = -1
"""The sequence number of a response that is no notification."""

log = logging.getLogger("hilum.sources")


class ResourceSources:
    """Opens ``coap`` and ``coap+tcp`` sources; ``random`` returns a number from 0 to 1."""

    def __init__(self, provider: CoapProvider, *, random: Callable[[], float]) -> None:
        self.provider = provider
        self.random = random
        self._open: set[Observation] = set()

    def open(self, url: str, peer: str, take: Take) -> "Observation":
        """Observe a resource."""
        observation = Observation(self, url, peer, take)
        self._open.add(observation)
        return observation

    def gone(self, observation: "Observation") -> None:
        """An observation was closed."""
        self._open.discard(observation)

    async def close(self) -> None:
        """End all observations."""
        tasks = [observation.task for observation in self._open]
        for observation in tuple(self._open):
            observation.close()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Interrupted(Exception):
    """The observation has to begin anew; the text says why."""


class Observation:
    """One resource under observation, on a line of its own."""

    def __init__(self, sources: ResourceSources, url: str, peer: str, take: Take) -> None:
        self._sources = sources
        self._url = url
        self._take = take
        parsed = parse_url(url)
        self._origin = Origin(parsed.scheme, parsed.host, parsed.port, peer)
        self._options = fixed_options(parsed)
        self._pool = sources.provider.pool(parsed, peer)
        self._clock = asyncio.get_running_loop().time
        self._token = token_bytes(4)
        self._messages: asyncio.Queue[Message | _Interrupted] = asyncio.Queue(64)
        self._sequence = UNOBSERVED
        self._heard_at = 0.0
        self._last: tuple[bytes, bytes] | None = None
        self._said = ""
        self._failures = 0
        self._pause = FIRST_PAUSE
        self.task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Observe no more."""
        self.task.cancel()
        self._sources.gone(self)

    # The task

    async def _run(self) -> None:
        while True:
            try:
                await self._observe()
            except (_Interrupted, Unreachable) as error:
                self._complain(str(error))
            except Exception:
                log.exception("observing %s failed", self._url)
            await asyncio.sleep(self._pause * (0.5 + self._sources.random() / 2))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _observe(self) -> None:
        """Register, and publish what comes; raises _Interrupted and Unreachable."""
        egress = self._sources.provider.egress
        line = await open_line(egress, self._origin, self._failures)
        self._failures += 1
        try:
            while True:
                fresh = await self._register(line)
                while fresh > 0:
                    message = await self._next(fresh)
                    if message is None:
                        break
                    fresh = await self._publish(message, renewed=False)
        finally:
            # RFC 7641 section 3.6: say so once; if that is lost, a reset says it later.
            if not line.lost:
                line.tell(self._request(1), self._token)
            line.close()

    async def _register(self, line: Line) -> float:
        """Ask to be notified; return for how many seconds the answer is fresh."""
        if line.lost:
            raise _Interrupted("the connection was lost")
        while not self._messages.empty():
            self._messages.get_nowait()
        line.ask(self._request(0), self._heard, self._lost, self._token)
        self._sequence = UNOBSERVED
        message = await self._next(ANSWER_SECONDS)
        if message is None:
            raise _Interrupted("there is no answer")
        if message.value(o.OBSERVE) is None and message.code >> 5 == 2:
            self._complain("cannot be observed: it is asked now and then")
        return await self._publish(message, renewed=True)

    async def _next(self, seconds: float) -> Message | None:
        """Return the next message that is newer than the last, None when none came in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._messages.get()
                    if isinstance(message, _Interrupted):
                        raise message
                    if self._is_newer(message):
                        return message
        except TimeoutError:
            return None

    def _is_newer(self, message: Message) -> bool:
        """RFC 7641 section 3.4: datagrams may overtake each other."""
        value = message.value(o.OBSERVE)
        now, number = self._clock(), UNOBSERVED if value is None else uint(value)
        before, since = self._sequence, now - self._heard_at
        newer = (
            UNOBSERVED in (before, number)
            or since > REORDERED
            or (before < number and number - before < HALF)
            or (before > number and before - number > HALF)
        )
        if newer:
            self._sequence, self._heard_at = number, now
        return newer

    async def _publish(self, message: Message, *, renewed: bool) -> float:
        """Publish a representation; return how long it is fresh. Raises _Interrupted.

        What a renewal brings is published only if it is another than before.
        """
        if message.code >> 5 != 2:
            why = read_problem(message.payload) or message.payload[:80].decode("utf-8", "replace")
            raise _Interrupted(f"it answers {code_text(message.code)} {why}")
        block = message.value(o.BLOCK2)
        if block is not None and uint(block) & 8:
            message = await self._whole()
        now = (content_type(message), message.payload)
        if not (renewed and now == self._last):
            self._last = now
            # An observed resource's state is acknowledged as it comes: the next one replaces it.
            self._take(Arrival(now[0].decode("latin-1"), now[1]))
        self._failures = 0
        if self._pause > FIRST_PAUSE:
            log.info("%s answers again", self._url)
            self._said = ""
        self._pause = FIRST_PAUSE
        age = message.value(o.MAX_AGE)
        fresh = MAX_AGE if age is None else uint(age)
        return min(max(SHORTEST, fresh), LONGEST) + self._sources.random()

    async def _whole(self) -> Message:
        """Return a representation that is larger than a message (RFC 7959 section 2.6)."""
        reading = _Reading(Request(GET, self._options), self._sources.provider.limit)
        if not self._pool.want(reading):
            raise _Interrupted("too many calls to its server wait already")
        try:
            return await reading.future
        finally:
            self._pool.leave(reading)
            reading.stop()
            if reading.line is not None:
                self._pool.free(reading.line)

    def _request(self, observe: int) -> Request:
        return Request(GET, ordered([*self._options, (o.OBSERVE, uint_value(observe))]))

    # What the line calls

    def _heard(self, message: Message) -> None:
        if self._messages.full():  # the newest state counts
            self._messages.get_nowait()
        self._messages.put_nowait(message)

    def _lost(self, why: str, _: bool) -> None:
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(_Interrupted(why))

    def _complain(self, what: str) -> None:
        """Say what is wrong once, not with every attempt."""
        if what != self._said:
            self._said = what
            log.warning("%s: %s", self._url, what)


class _Reading:
    """One GET of a large representation, on a line of the pool."""

    def __init__(self, request: Request, limit: int) -> None:
        self.future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.line: Line | None = None
        self._request = request
        self._limit = limit

    def start(self, line: Line) -> None:
        """Send the request."""
        self.line = line
        Fetch(line, self._request, self._limit, self._done, self._lost).begin()

    def fail_unsent(self, why: str) -> None:
        """There is no way to the server."""
        self._lost(why, False)

    def stop(self) -> None:
        """Nobody waits any more."""
        if self.line is not None:
            self.line.forget()

    def _done(self, message: Message) -> None:
        if not self.future.done():
            self.future.set_result(message)

    def _lost(self, why: str, _: bool) -> None:
        if not self.future.done():
            self.future.set_exception(_Interrupted(why))
