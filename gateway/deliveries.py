"""Channels bound to methods: each event becomes a Call of the binding's owner (design 6, S3 III-A).

A durable channel's events are delivered at least once, from a cursor that survives restarts;
those of a channel in memory from the moment on that the binding is there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from gateway.calls import ask
from gateway.channels import Channels, refuse_subscription
from gateway.cloudevents import attributes, attributes_of, http_fields
from gateway.exchange import Plane
from gateway.message import Call, Event, Fields, Refusal, Status
from gateway.ports import DeadLetter, EventLog, StoreError
from gateway.subscriptions import Gap, Subscription
from gateway.view import Route
from policy.model import Action, Binding, Principal
from registry.model import Kind
from registry.names import Name

ATTEMPTS = 8
BASE = 0.5
GROWTH = 3
CAP = 300.0
"""Seconds before the second attempt at most, by how much they grow, and the longest pause."""
TIMEOUT = 30.0
BATCH = 64
SHOWN = 200
"""Bytes of a failed reply that are kept with a dead letter."""

_log = logging.getLogger(__name__)


class Deliveries:
    """All bindings of channels to methods.

    ``principal_of`` returns the principal that a binding's owner is now, None if there is none;
    ``random`` a number from 0 to 1.
    """

    def __init__(
        self,
        plane: Plane,
        channels: Channels,
        log: EventLog,
        *,
        principal_of: Callable[[str], Principal | None],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.plane = plane
        self.channels = channels
        self.log = log
        self.random = random
        self.sleep = sleep
        self._principal_of = principal_of
        self._running: dict[str, _Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        channels.appeared.append(self._appeared)

    def reconcile(self, wanted: Mapping[str, tuple[str, Binding]]) -> None:
        """Run exactly these bindings: policy name to owner and Binding. Cursors of others go."""
        for name, delivery in list(self._running.items()):
            if wanted.get(name) != (delivery.owner, delivery.binding):
                del self._running[name]
                delivery.stop()
                if name not in wanted or wanted[name][1].name != delivery.binding.name:
                    self._spawn(self._forget(delivery))
        for name, (owner, binding) in wanted.items():
            if name not in self._running:
                self._running[name] = _Delivery(self, name, owner, binding)

    async def redrive(self, letter: DeadLetter) -> None:
        """Deliver a dead letter now, once, and delete it; raises Refusal when that fails."""
        delivery = self._running.get(letter.binding)
        if delivery is None:
            detail = f"the binding {letter.binding} is gone: apply it again, or discard the letter"
            raise Refusal(Status.NOT_FOUND, detail)
        said = attributes_of(letter.channel, letter.event_id, letter.time)
        fields = _fields(said, letter.content_type)
        await self.call(delivery, fields, letter.content_type, letter.payload)
        await self.log.delete_letter(letter.id)

    async def close(self) -> None:
        """Stop delivering; cursors stay where they are."""
        tasks = [delivery.task for delivery in self._running.values()]
        for delivery in self._running.values():
            delivery.stop()
        self._running.clear()
        await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)

    async def call(
        self, delivery: "_Delivery", fields: list[bytes], content_type: str, payload: bytes
    ) -> None:
        """Call the bound method as the binding's owner, authorised anew; raises Refusal."""
        principal = self._principal_of(delivery.owner)
        if principal is None:
            detail = f"{delivery.owner}, the binding's owner, has no valid credential"
            raise Refusal(Status.UNAUTHENTICATED, detail)
        refusal = refuse_subscription(self.plane, principal, Name(delivery.binding.name))
        if refusal is not None:
            raise refusal
        channel = self.plane.view.find(Name(delivery.binding.name))
        if channel is not None:
            payload = self.channels.sight.payload(payload, content_type, principal, channel)
        name = Name(delivery.binding.call)
        route = self.plane.view.find(name)
        own = route.method.timeout / 1000 if route is not None and route.method is not None else 0
        call = Call(Action.CALL, name, principal, self.plane.now + (own or TIMEOUT))
        call.content_type = content_type.encode("latin-1", "replace")
        call.fields = fields
        head, body = await ask(self.plane, call, payload)
        if head.status is not Status.OK or 300 <= head.code < 400:
            shown = body[:SHOWN].decode("utf-8", "replace")
            detail = f"{name} answered {head.code or head.status.slug}: {shown}"
            raise Refusal(Status.PROVIDER_ERROR, detail)

    async def _forget(self, delivery: "_Delivery") -> None:
        try:
            await self.log.delete_cursor(delivery.binding.name, delivery.name)
        except StoreError as error:
            _log.warning("the cursor of binding %s stays: %s", delivery.name, error)

    def _appeared(self, route: Route) -> None:
        for delivery in self._running.values():
            if delivery.binding.name == route.name:
                delivery.attach(route)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Delivery:
    """One binding at work: a subscriber of its channel, one event at a time, in order."""

    def __init__(self, deliveries: Deliveries, name: str, owner: str, binding: Binding) -> None:
        self.name = name
        self.owner = owner
        self.binding = binding
        self._all = deliveries
        self._wake = asyncio.Event()
        self._route: Route | None = None
        self._subscription: Subscription | None = None
        self._event: Event | None = None
        self._cursor: int | None = None
        self.attach_if_there()
        self.task = asyncio.get_running_loop().create_task(self._run())

    def attach_if_there(self) -> None:
        """Listen to the channel if it exists; else ``attach`` is called when it does."""
        route = self._all.plane.view.find(Name(self.binding.name))
        if route is not None and route.kind is Kind.CHANNEL:
            self.attach(route)

    def attach(self, route: Route) -> None:
        """Listen to the channel, once."""
        if self._is_attached():
            return
        subscription = self._all.channels.subscribe(route, None, self)
        if self._is_attached():  # by ``appeared``, because that brought the channel into use
            subscription.close()
            return
        self._route = route
        self._cursor = None
        self._subscription = subscription
        subscription.resume()
        self._wake.set()

    def stop(self) -> None:
        """Deliver nothing any more; what was not taken is delivered again after a restart."""
        self.task.cancel()
        if self._subscription is not None:
            self._subscription.close()

    # The subscriber's side: what it hears only wakes the task.

    def deliver(self, event: Event) -> None:
        """A durable channel's events are read from the log, others are taken one by one."""
        if not self._is_durable():
            self._event = event
            if self._subscription is not None:
                self._subscription.pause()
        self._wake.set()

    def gap(self, gap: Gap) -> None:
        """The method is slower than the channel, and the channel keeps nothing."""
        _log.warning("binding %s missed %d events of %s", self.name, gap.lost, self.binding.name)

    def ended(self, refusal: Refusal) -> None:
        """The channel is gone (if it comes back, ``attach`` is called), or this was too slow."""
        _log.info("binding %s lost its channel: %s", self.name, refusal.detail)
        self._wake.set()

    # The task.

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._serve()
            except (StoreError, Refusal) as error:
                _log.warning("binding %s tries again in a moment: %s", self.name, error)
            except Exception:
                _log.exception("binding %s failed and tries again in a moment", self.name)
            else:
                continue
            await self._all.sleep(BASE)
            self._wake.set()

    async def _serve(self) -> None:
        """Deliver what there is, listening again if the subscription ended."""
        self.attach_if_there()
        if self._is_durable():
            await self._serve_log()
        else:
            await self._serve_live()

    async def _serve_live(self) -> None:
        while (event := self._event) is not None:
            await self._deliver(event)
            if self._event is event:
                self._event = None
                if self._subscription is not None:
                    self._subscription.resume()

    async def _serve_log(self) -> None:
        channels, route, subscription = self._all.channels, self._route, self._subscription
        if route is None or subscription is None:
            return
        position = await channels.position(route)
        if self._cursor is None:
            self._cursor = await self._start(position.sequence)
        while subscription.open:
            after = position._replace(sequence=self._cursor)
            events = await channels.history(route, str(after), BATCH)
            if not events:
                return
            for event in events:
                missed = event.id.sequence - self._cursor - 1
                if missed:
                    _log.warning("binding %s missed %d evicted events", self.name, missed)
                await self._deliver(event)
                self._cursor = event.id.sequence
                await self._all.log.save_cursor(self.binding.name, self.name, self._cursor)

    async def _start(self, newest: int) -> int:
        """Return where to go on: at the cursor, or with what comes after the binding."""
        log, channel = self._all.log, self.binding.name
        cursor = await log.cursor(channel, self.name)
        if cursor is None:
            await log.save_cursor(channel, self.name, newest)
            return newest
        return cursor

    async def _deliver(self, event: Event) -> None:
        """Call the method until it takes the event, or bury it."""
        error = ""
        fields = _fields(attributes(event), event.content_type)
        for attempt in range(ATTEMPTS):
            if attempt:
                longest = min(CAP, BASE * GROWTH ** (attempt - 1))
                await self._all.sleep(longest * self._all.random())
            try:
                await self._all.call(self, fields, event.content_type, event.payload)
            except Refusal as refusal:
                error = f"{refusal.status.slug}: {refusal.detail}"
            else:
                return
        await self._bury(event, error)

    async def _bury(self, event: Event, error: str) -> None:
        _log.warning("binding %s gives up event %s: %s", self.name, event.id, error)
        letter = DeadLetter(
            id=0,
            binding=self.name,
            channel=event.channel,
            event_id=str(event.id),
            time=event.time,
            attempts=ATTEMPTS,
            error=error,
            content_type=event.content_type,
            payload=event.payload,
        )
        await self._all.log.bury(letter)

    def _is_attached(self) -> bool:
        return self._subscription is not None and self._subscription.open

    def _is_durable(self) -> bool:
        route = self._route
        return route is not None and route.channel is not None and route.channel.durable


def _fields(said: dict[str, str], content_type: str) -> Fields:
    """Return an event's attributes and type as header fields."""
    fields = http_fields(said)
    if content_type:
        fields += (b"Content-Type", b": ", content_type.encode("latin-1", "replace"), b"\r\n")
    return fields
