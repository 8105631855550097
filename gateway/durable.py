"""A durable event channel: its events are in the event log, and heard of only when they are."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from gateway.message import Event, EventId, Extras, Mark, Refusal, Status
from gateway.ports import ChannelTail, EventLog, Keep, StoredEvent, StoreError
from gateway.session_port import SessionStore
from gateway.topics import Topic
from gateway.view import Route
from registry.model import Retain

_log = logging.getLogger(__name__)

# Not ``type=Extras``: compiled, a NamedTuple does not know the types of its fields.
_write_extras = msgspec.msgpack.Encoder().encode
_read_extras = msgspec.msgpack.Decoder(
    tuple[tuple[tuple[str, str], ...], int, bool, str, bytes | None]
).decode


class _Append:
    """One event on its way into the log."""

    __slots__ = ("acknowledged", "done", "error", "event", "mark")

    def __init__(
        self, event: Event, mark: Mark | None, acknowledged: asyncio.Future[EventId]
    ) -> None:
        self.event = event
        self.mark = mark
        self.acknowledged = acknowledged
        self.done = False
        self.error: Refusal | None = None


class DurableTopic(Topic):
    """A channel in the event log: fanned out and acknowledged only when it is synced to disk.

    ``dropping`` is the deletion of an earlier channel of the same name, if that is under way.
    """

    durable = True

    def __init__(
        self,
        route: Route,
        patience: float,
        log: EventLog,
        time_ms: Callable[[], int],
        dropping: asyncio.Task[None] | None,
        keeper: SessionStore | None = None,
    ) -> None:
        super().__init__(route, patience, keeper)
        self._log = log
        self._dropping = dropping
        self._time_ms = time_ms
        self._opening: asyncio.Task[ChannelTail] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Appends take effect in the order of their calls: so do acknowledgements and the fan-out.
        self._appending: deque[_Append] = deque()
        self._unopened: list[_Append] = []

    def publish(self, event: Event, mark: Mark | None = None) -> asyncio.Future[EventId]:
        """Append an event; the future is done when it is durable, or fails with a Refusal.

        The event gets its id and time here. ``mark`` is stored in one step with it.
        """
        event.time = self._time_ms()
        future: asyncio.Future[EventId] = asyncio.get_running_loop().create_future()
        append = _Append(event, mark, future)
        self._appending.append(append)
        if self.incarnation and not self._unopened:
            self._spawn(self._store(append))
        else:
            self._unopened.append(append)
            if len(self._unopened) == 1:
                self._spawn(self._begin())
        return append.acknowledged

    async def settled(self) -> None:
        """Wait until everything that was published is durable, or has failed."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def opened(self) -> None:
        """Open the log once; raises StoreError, and the next call tries again."""
        if self.incarnation:
            return
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        opening = self._opening
        try:
            tail = await asyncio.shield(opening)
        finally:
            if opening.done() and self._opening is opening:
                self._opening = None
        if not self.incarnation:
            self.incarnation, self.last = tail.incarnation, tail.last

    async def read(self, after: int, limit: int) -> list[Event]:
        """Return at most ``limit`` retained events after ``after``; raises StoreError."""
        await self.opened()
        while found := await self._log.read(self.route.name, after, limit):
            oldest = self._oldest()
            kept = [
                self._event(one.seq, one)
                for one in found
                if one.time >= oldest or one.seq >= self.last
            ]
            if kept:
                return kept
            after = found[-1].seq
        return []

    async def _open(self) -> ChannelTail:
        if self._dropping is not None:
            await asyncio.wait([self._dropping])
            self._dropping = None
        return await self._log.open(self.route.name)

    def _oldest(self) -> int:
        age = self.settings.retain.age
        return self._time_ms() - age * 1000 if age else 0

    async def _begin(self) -> None:
        """Open the log, then store what was published meanwhile, in its order."""
        error: StoreError | None = None
        try:
            await self.opened()
        except StoreError as why:
            error = why
        unopened, self._unopened = self._unopened, []
        for append in unopened:
            if error is None:
                self._spawn(self._store(append))
            else:
                append.error = _unstored(error)
        self._settle_appends()

    async def _store(self, append: _Append) -> None:
        event = append.event
        stored = _stored(event)
        keep = _keep(self.settings.retain)
        try:
            sequence = await self._log.append(self.route.name, stored, keep, append.mark)
        except StoreError as error:
            append.error = _unstored(error)
        except Exception:
            _log.exception("the event log failed to append to %s", self.route.name)
            append.error = Refusal(Status.INTERNAL, "the event log failed; the site's log says why")
        else:
            event.id = EventId(self.incarnation, sequence)
            append.done = True
        self._settle_appends()

    def _event(self, sequence: int, stored: StoredEvent) -> Event:
        return Event(
            self.route.name,
            EventId(self.incarnation, sequence),
            stored.time,
            stored.source,
            stored.content_type,
            stored.payload,
            stored.qos,
            True,
            Extras(*_read_extras(stored.extras)) if stored.extras else None,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle_appends(self) -> None:
        """Fan out and acknowledge what is stored, as far as nothing before it is under way."""
        waiting = self._appending
        while waiting and (waiting[0].done or waiting[0].error is not None):
            append = waiting.popleft()
            future = append.acknowledged
            if append.done:
                self.last = append.event.id.sequence
                self.fan_out(append.event)
                self.acknowledge(future, append.event.id)
            elif append.error is not None and not future.done():
                future.set_exception(append.error)


def _stored(event: Event) -> StoredEvent:
    """Return what the log keeps of an event; who published it in which session is not."""
    extras = b"" if event.extras is None else _write_extras(tuple(event.extras))
    return StoredEvent(
        0, event.time, event.content_type, event.source, event.payload, event.qos, extras
    )


def _unstored(error: StoreError) -> Refusal:
    detail = f"the event was not stored: {error}"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=1)


def _keep(retain: Retain) -> Keep:
    return Keep(retain.count, retain.bytes, retain.age * 1000)
