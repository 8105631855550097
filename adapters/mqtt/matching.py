"""Which channels the filters of all sessions lead to, as channels appear and policies change.

There may be thousands of either: what takes long is done in slices, so that others have turns.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from itertools import chain
from time import perf_counter
from typing import Any

from adapters.mqtt.desk import Desk
from adapters.mqtt.joining import Client, Entry, Joined
from adapters.mqtt.providing import Offers
from adapters.mqtt.topics import FilterIndex
from gateway.message import Event, Refusal
from gateway.subscriptions import OLDEST
from gateway.view import Route
from policy.decision import Question
from policy.model import Action
from registry.model import Kind
from registry.names import Name, is_reserved

MOMENT = 0.001
"""Seconds that matching takes at once."""
AT_ONCE = 256
"""Sessions that join a new channel before its first event; the others catch up."""

_log = logging.getLogger("hilum.mqtt")


class Matching:
    """Filters of channels, by name and by wildcard."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._index: FilterIndex[Entry] = FilterIndex()
        self.offering: dict[Entry, Offers] = {}
        """Filters that offer methods, or would if that were allowed."""
        self._scans: dict[Entry, Iterator[Route | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding = False
        self._again = False
        self.entries = 0

    # Filters

    def add(self, entry: Entry) -> None:
        """Follow a filter from now on."""
        self.entries += 1
        if entry.key:
            self._index.add(entry.key, entry)

    def discard(self, entry: Entry) -> None:
        """Follow a filter no longer."""
        self.entries -= 1
        self.offering.pop(entry, None)
        self._scans.pop(entry, None)
        if entry.key:
            self._index.discard(entry.key, entry)

    def look(self, entry: Entry) -> None:
        """Look for the channels that a wildcard matches, for a moment; ``follow_up`` goes on."""
        if entry.wild is not None and entry not in self._scans:
            scan = self._scans[entry] = self._candidates(entry)
            if self._go_on(entry, scan):
                del self._scans[entry]

    def follow_up(self, entry: Entry, *, retained: bool) -> None:
        """Look further, and send last values if they are wanted."""
        if entry.name is not None:
            for joined in list(entry.joined.values()) if retained else ():
                self._send_last(entry, joined)
        elif entry.wild is not None and (retained or entry in self._scans):
            self._spawn(self._finish(entry, retained=retained))

    # Channels

    def appeared(self, route: Route) -> None:
        """A channel comes into use: open it where a filter matches, before its first event."""
        entries = self._index.match(route.name)
        for entry in entries[:AT_ONCE]:
            self.match(entry, route)
        if len(entries) > AT_ONCE:
            self._spawn(self._join_late(entries[AT_ONCE:], route))

    def match(self, entry: Entry, route: Route, after: str = "") -> None:
        """Open a channel under a filter, if it matches and is allowed."""
        client = entry.client
        if route.name in entry.joined or not entry.open or client.suspended:
            return
        if entry.wild is not None and not entry.wild.pattern.matches(route.name):
            return
        if route.kind is Kind.CHANNEL and may_subscribe(self._desk, client, route, entry.group):
            if entry.wild is not None:
                if len(client.joined) >= self._desk.settings.matches:
                    return
                after = after or client.positions.get(route.name, "")
            try:
                self.join(entry, route, after)
            except Refusal as refusal:
                _log.warning("%s: %s", client.session.key, refusal.detail)

    def join(self, entry: Entry, route: Route, after: str = "") -> None:
        """Open a channel under a filter, which is allowed; raises Refusal if there are too many."""
        entry.client.join(entry, route, after)
        joined = entry.joined.get(route.name)
        if joined is not None and joined.noting and not after:
            self._spawn(self._note_position(joined))

    def offer(self, entry: Entry, offers: Offers) -> None:
        """Offer a method again, if that is allowed now; else as soon as it is."""
        self.offering[entry] = offers
        if entry.offered is not None and not entry.client.suspended:
            try:
                offers.offer(entry.offered, entry.options.filter, entry.id, entry.said)
            except Refusal:
                offers.withdraw_one(entry.offered)

    def change_principal(self, client: Client) -> None:
        """The client is another principal object now: decide about all that is open."""
        principal = client.principal
        for joined in client.all_joined():
            joined.refresh()
            if may_subscribe(self._desk, client, joined.route, joined.group):
                joined.subscription.principal = principal
            else:
                client.close(joined)

    def redecide(self) -> None:
        """Policies changed: open what became allowed. What is not any more, channels end."""
        self._again = True
        if not self._deciding:
            self._deciding = True
            self._spawn(self._decide())

    def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()

    # Inside

    async def _decide(self) -> None:
        try:
            while self._again:
                self._again = False
                for entry, offers in list(self.offering.items()):
                    if entry.open and entry.client.session.connected:
                        self.offer(entry, offers)
                end = perf_counter() + MOMENT
                for route in self._desk.channels.in_use():
                    for entry in self._index.match(route.name):
                        self.match(entry, route)
                    if perf_counter() > end:
                        await asyncio.sleep(0)
                        end = perf_counter() + MOMENT
        finally:
            self._deciding = False

    def _candidates(self, entry: Entry) -> Iterator[Route | None]:
        """Yield the channels in use, and those that may have a last value; None in between."""
        view = self._desk.site.view
        assert entry.wild is not None
        pattern = entry.wild.pattern
        prefix = Name(pattern.prefix)
        for route in self._desk.channels.in_use():
            yield route if pattern.matches(route.name) else None
        for name in chain([prefix], view.under(prefix)):
            found = view.routes.get(name)
            wanted = found is not None and _speaks_first(found) and pattern.matches(name)
            yield found if wanted else None

    def _go_on(self, entry: Entry, scan: Iterator[Route | None]) -> bool:
        """Open what a wildcard matches, for a moment; return whether that was all."""
        end = perf_counter() + MOMENT
        for route in scan:
            if route is not None:
                self.match(entry, route)
            if perf_counter() > end:
                return False
        return True

    async def _finish(self, entry: Entry, *, retained: bool) -> None:
        scan = self._scans.get(entry)
        while scan is not None and not self._go_on(entry, scan):
            await asyncio.sleep(0)
            scan = self._scans.get(entry)
        self._scans.pop(entry, None)
        end = perf_counter() + MOMENT
        for joined in list(entry.joined.values()) if retained else ():
            if not entry.open:
                return
            event = self._desk.channels.newest(joined.route)
            if event is None and joined.is_durable():
                event = await self._read_last(joined.route)
            self._retained(entry, joined, event)
            if perf_counter() > end:
                await asyncio.sleep(0)
                end = perf_counter() + MOMENT

    async def _join_late(self, entries: list[Entry], route: Route) -> None:
        """Open a channel for those whose turn comes after its first events: they catch up."""
        channels = self._desk.channels
        after = OLDEST
        if route.channel is not None and route.channel.durable:
            try:
                after = str(await channels.position(route))
            except Refusal:
                after = ""
        end = perf_counter() + MOMENT
        for entry in entries:
            self.match(entry, route, after)
            if perf_counter() > end:
                await asyncio.sleep(0)
                end = perf_counter() + MOMENT

    async def _note_position(self, joined: Joined) -> None:
        """Note from where on a durable session has followed a durable channel."""
        try:
            at = await self._desk.channels.position(joined.route)
        except Refusal:
            return
        if joined.subscription.open and joined.noted is None:
            session = joined.client.session
            self._desk.keeper.position(session.key, joined.route.name, str(at))

    def _send_last(self, entry: Entry, joined: Joined) -> None:
        event = self._desk.channels.newest(joined.route)
        if event is None and joined.is_durable():
            self._spawn(self._read_and_send(entry, joined))
        else:
            self._retained(entry, joined, event)

    async def _read_and_send(self, entry: Entry, joined: Joined) -> None:
        self._retained(entry, joined, await self._read_last(joined.route))

    async def _read_last(self, route: Route) -> Event | None:
        try:
            return await self._desk.channels.last(route)
        except Refusal as refusal:
            _log.warning("the last value of %s: %s", route.name, refusal.detail)
            return None

    def _retained(self, entry: Entry, joined: Joined, event: Event | None) -> None:
        """Send a channel's last value for one filter (MQTT 5.0 section 3.3.1.3)."""
        if event is not None and entry.open and joined.subscription.open:
            qos = min(event.qos, entry.options.qos)
            ids = (entry.id,) if entry.id else ()
            entry.client.session.deliver(event, joined.topic, qos, True, ids)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _speaks_first(route: Route) -> bool:
    """Whether a channel may have a last value although nobody has used it since the start.

    A durable one has it on disk; one of the site's own is there as soon as it is asked for.
    """
    return route.channel is not None and (route.channel.durable or is_reserved(route.name))


def may_subscribe(desk: Desk, client: Client, route: Route, group: str) -> bool:
    """Decide whether a client may have a channel's events (in a group)."""
    access = desk.site.plane.access
    if group:
        question = Question(
            client.principal, Action.SUBSCRIBE, route.name, route.owner, group=group
        )
        return access.decide(question).allowed
    return access.check(client.principal, Action.SUBSCRIBE, route.name, route.owner).allowed
