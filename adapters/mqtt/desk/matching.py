"""Which channels the filters of all sessions lead to, as channels appear and policies change.

There may be thousands of either: it is done in small steps (``scanning``).
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from itertools import chain
from typing import Any

from adapters.mqtt.desk.desk import Desk
from adapters.mqtt.desk.joining import Client, Entry, Joined
from adapters.mqtt.desk.providing import Offers
from adapters.mqtt.desk.scanning import Scans, Steps
from adapters.mqtt.wire.topics import FilterIndex
from gateway.first_use.holding import held
from gateway.message import Event, Refusal
from gateway.subscriptions import OLDEST
from gateway.view import Route
from policy.decision import Decision, Question
from policy.model import Action
from registry.model import Kind
from registry.names import Name, Pattern, is_reserved

AT_ONCE = 64
"""Sessions that join a new channel before its first event; the others catch up."""
READS = 16
"""Last values that are read from the disk at the same time."""

_log = logging.getLogger("hilum.mqtt")


class Matching:
    """Filters of channels, by name and by wildcard."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._index: FilterIndex[Entry] = FilterIndex()
        self.offering: dict[Entry, Offers] = {}
        """Filters that offer methods, or would if that were allowed."""
        self._scans = Scans()
        self._reads = asyncio.Semaphore(READS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding = False
        self._again = False
        self.entries = 0

    # Filters

    def add(self, entry: Entry) -> None:
        """Follow a filter from now on."""
        self.entries += 1
        self._desk.filters.add(entry.client.principal.id, entry.weight)
        if entry.key:
            self._index.add(entry.key, entry)

    def discard(self, entry: Entry) -> None:
        """Follow a filter no longer."""
        self.entries -= 1
        self._desk.filters.add(entry.client.principal.id, -entry.weight)
        self.offering.pop(entry, None)
        if entry.key:
            self._index.discard(entry.key, entry)

    def look(self, entry: Entry) -> None:
        """Open the channels that a wildcard matches; ``looked`` says when that is done."""
        if entry.wild is not None:
            self._scans.run(entry.client, self._scan(entry, entry.wild.pattern))

    def looked(self, client: Client) -> asyncio.Future[None] | None:
        """Return a future of when all is open that a client has asked for; None: it is."""
        return self._scans.finished(client)

    async def all_looked(self) -> None:
        """Wait until everything is open that anybody has asked for."""
        await asyncio.gather(*self._scans.all_finished())

    def send_last(self, entry: Entry) -> None:
        """Send the last values of the channels that a filter leads to."""
        if entry.joined:
            self._send_on(entry, iter(list(entry.joined.values())))

    def go_on(self, client: Client) -> None:
        """The client takes more: send the last values that it has not got yet."""
        parked, client.parked = client.parked, []
        for entry, rest in parked:
            self._send_on(entry, rest)

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
                full = len(client.joined) >= self._desk.settings.matches
                if full or self._desk.matches.is_over(client.principal.id):
                    return
                after = after or client.positions.get(route.name, "")
            try:
                self.join(entry, route, after)
            except Refusal as refusal:
                _log.warning("%s: %s", client.session.key, refusal.detail)
        elif entry.wild is None and not entry.group:
            self._match_later(entry, route, after)

    def _match_later(self, entry: Entry, route: Route, after: str) -> None:
        """Open a channel when a first use is decided, if anybody is to be asked about it."""

        def decided(decision: Decision) -> None:
            if decision.allowed:
                self.match(entry, route, after)

        plane, principal = self._desk.site.plane, entry.client.principal
        try:
            held(plane, principal, Action.SUBSCRIBE, route.name, decided)
        except Refusal as refusal:
            _log.warning("%s: %s", entry.client.session.key, refusal.detail)

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

    def leave(self, entry: Entry) -> None:
        """A filter is gone, and with it what only it led to; ``looked`` says when."""
        entry.open = False
        self._scans.run(entry.client, entry.client.leave(entry))

    def change_principal(self, client: Client) -> None:
        """The client is another principal object now: decide about all that is open."""
        self._scans.run(client, self._decide_again(client))

    def _decide_again(self, client: Client) -> Steps:
        for joined in client.all_joined():
            if joined.subscription.open:
                joined.refresh()
                if may_subscribe(self._desk, client, joined.route, joined.group):
                    joined.subscription.principal = client.principal
                else:
                    client.close(joined)
            yield

    def redecide(self) -> None:
        """Policies changed: open what became allowed. What is not any more, channels end."""
        self._again = True
        if not self._deciding:
            self._deciding = True
            self._scans.run(self, self._decide())

    def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()

    # Inside

    def _decide(self) -> Steps:
        while self._again:
            self._again = False
            for entry, offers in list(self.offering.items()):
                if entry.open and entry.client.session.connected:
                    self.offer(entry, offers)
                yield
            for route in self._desk.channels.in_use():
                for entry in self._index.match(route.name):
                    self.match(entry, route)
                    yield
                yield
        self._deciding = False

    def _scan(self, entry: Entry, pattern: Pattern) -> Steps:
        """Look at the channels in use, and at those that may have a last value all the same."""
        view = self._desk.site.view
        for route in self._desk.channels.in_use():
            if not entry.open:
                return
            if pattern.matches(route.name):
                self.match(entry, route)
            yield
        prefix = Name(pattern.prefix)
        for name in chain([prefix], view.under(prefix)):
            found = view.routes.get(name)
            if found is not None and _speaks_first(found) and pattern.matches(name):
                self.match(entry, found)
            yield

    def _send_on(self, entry: Entry, rest: Iterator[Joined]) -> None:
        self._scans.run(entry.client, self._send_some(entry, rest))

    def _send_some(self, entry: Entry, rest: Iterator[Joined]) -> Steps:
        """Send last values for as long as the client takes them: more would be dropped."""
        client = entry.client
        while entry.open:
            if client.session.slow:
                client.parked.append((entry, rest))
                return
            joined = next(rest, None)
            if joined is None:
                return
            try:
                event = self._desk.channels.newest(joined.route, client.principal)
            except Refusal:  # it cannot be masked
                yield
                continue
            if event is None and joined.is_durable():
                self._spawn(self._read_and_send(entry, joined))
            else:
                self._send(entry, joined, event)
            yield

    async def _join_late(self, entries: Sequence[Entry], route: Route) -> None:
        """Open a channel for those whose turn comes after its first events: they catch up."""
        after = OLDEST
        if route.channel is not None and route.channel.durable:
            try:
                after = str(await self._desk.channels.position(route))
            except Refusal:
                after = ""

        def steps() -> Steps:
            for entry in entries:
                self.match(entry, route, after)
                yield

        self._scans.run(self, steps())

    async def _note_position(self, joined: Joined) -> None:
        """Note from where on a durable session has followed a durable channel."""
        try:
            at = await self._desk.channels.position(joined.route)
        except Refusal:
            return
        if joined.subscription.open and joined.noted is None:
            session = joined.client.session
            self._desk.keeper.position(session.key, joined.route.name, str(at))

    async def _read_and_send(self, entry: Entry, joined: Joined) -> None:
        """Send a last value that has to be read from the disk."""
        async with self._reads:
            try:
                event = await self._desk.channels.last(joined.route, joined.client.principal)
            except Refusal as refusal:
                _log.warning("the last value of %s: %s", joined.route.name, refusal.detail)
                return
        self._send(entry, joined, event)

    def _send(self, entry: Entry, joined: Joined, event: Event | None) -> None:
        """Send a last value for one filter (MQTT 5.0 section 3.3.1.3)."""
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
