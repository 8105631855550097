"""What one client has subscribed to, and how the events of each channel get to its session."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from adapters.mqtt.desk.calling import Calls
from adapters.mqtt.desk.desk import Desk
from adapters.mqtt.desk.names import Wild
from adapters.mqtt.desk.providing import Offers
from adapters.mqtt.desk.scanning import Steps
from adapters.mqtt.sessions.ports import Session, Shared
from adapters.mqtt.wire.packets import Attributes, Filter, Will
from gateway.accounts import Account, Used
from gateway.channels import refuse_subscription
from gateway.message import Event, EventId, Refusal
from gateway.subscriptions import Gap, Subscription
from gateway.view import Route
from policy.model import Principal
from registry.names import Name

UNUSED = Account(Used())
AWAY = 1 << 40
"""The load of a group's member whose client is not there: it gets events when nobody else is."""


class Entry:
    """One subscription of a session: its filter and options, and what of it is open.

    ``name`` is None under a wildcard. ``reply``: it is for the client's own replies. ``offered``
    is the method that it offers, ``described`` says that it asks for a description.
    """

    __slots__ = (
        "client",
        "described",
        "fresh",
        "group",
        "id",
        "joined",
        "name",
        "offered",
        "open",
        "options",
        "reply",
        "said",
        "wild",
    )

    def __init__(self, client: "Client", options: Filter, id_: int) -> None:
        self.client = client
        self.options = options
        self.id = id_
        self.group = ""
        self.name: Name | None = None
        self.wild: Wild | None = None
        self.reply = False
        self.described = False
        self.offered: Name | None = None
        self.said: Attributes = ()
        """What the client said of the methods that it offers."""
        self.open = True
        self.fresh = True
        """Whether its last values may still be due."""
        self.joined: dict[Name, Joined] = {}

    @property
    def key(self) -> str:
        """What it is indexed by: the canonical name or filter; "" for what is no channel's."""
        if self.wild is not None:
            return self.wild.key
        return self.name or ""

    @property
    def weight(self) -> int:
        """As how many filters it counts: the levels of a wildcard take memory each."""
        return 1 if self.wild is None else 1 + self.key.count("/") // 8

    def topic(self, name: Name) -> str:
        """Return the topic that a channel's events have under this filter."""
        if self.wild is not None:
            return self.wild.topic(name)
        text = self.options.filter
        return text.split("/", 2)[2] if self.group else text


class Joined:
    """A session as the subscriber of one channel, under one spelling of its name (and group).

    Several filters may lead here: the client gets each event once, at the highest QoS that it was
    granted, with the identifiers of them all [MQTT-3.3.4-2] [MQTT-3.3.4-3].
    """

    __slots__ = (
        "_as_published",
        "_client",
        "_deliver",
        "_echoes",
        "_ids",
        "_key",
        "_qos",
        "_shared",
        "entries",
        "group",
        "noted",
        "noting",
        "route",
        "subscription",
        "topic",
    )

    def __init__(self, client: "Client", route: Route, topic: str, group: str) -> None:
        self._client = client
        self._deliver = client.session.deliver
        self._key = client.session.key
        self._shared: Shared | None = self if group else None
        self.route = route
        self.topic = topic
        self.group = group
        self.entries: list[Entry] = []
        self.subscription: Subscription
        self.noted: EventId | None = None
        """The position in the channel's log that was stored since this was opened."""
        self.refresh()

    @property
    def client(self) -> "Client":
        """Whose it is."""
        return self._client

    def add(self, entry: Entry) -> None:
        """Deliver through one more filter."""
        self.entries.append(entry)
        entry.joined[self.route.name] = self
        self.refresh()

    def is_durable(self) -> bool:
        """Whether the channel's events survive a restart."""
        return self.route.channel is not None and self.route.channel.durable

    def refresh(self) -> None:
        """Reckon anew what the filters want, after one came, went or changed."""
        options = [entry.options for entry in self.entries]
        self._qos = max((o.qos for o in options), default=0)
        self._as_published = any(o.retain_as_published for o in options)
        self._echoes = not any(o.no_local for o in options)
        self._ids = tuple(entry.id for entry in self.entries if entry.id)
        kept = self._client.session.durable and self._qos > 0 and not self.group
        self.noting = kept and self.is_durable()

    # The subscriber of the channel

    def deliver(self, event: Event) -> None:
        """Send an event, or queue it for a client that is not there."""
        if not self._echoes and event.origin == self._key:
            self._echo(event)
            return
        qos = self._qos
        qos = min(qos, event.qos)
        shared = self._shared
        if shared is not None and qos:
            self.subscription.load += 1
        retain = self._as_published and event.retain
        self._deliver(event, self.topic, qos, retain, self._ids, shared)
        if self.noting and qos:
            self._note(event)

    def gap(self, gap: Gap) -> None:
        """MQTT has no word for events that are missing."""

    def ended(self, refusal: Refusal) -> None:  # noqa: ARG002  (MQTT has no word for it either)
        """The site ended it; the filters stay, and deliver nothing until it is open again."""
        if self.noted is not None:
            self._client.positions[self.route.name] = str(self.noted)
        self._client.forget(self)

    # The member of a group

    def settled(self, event: Event) -> None:  # noqa: ARG002  (how many there are is enough)
        """The client has taken an event."""
        self.subscription.load -= 1

    def _echo(self, event: Event) -> None:
        """Deliver the client's own event through the filters that want it back."""
        wanting = [e for e in self.entries if not e.options.no_local]
        if wanting:
            qos = min(event.qos, max(e.options.qos for e in wanting))
            ids = tuple(e.id for e in wanting if e.id)
            retain = event.retain and any(e.options.retain_as_published for e in wanting)
            self._deliver(event, self.topic, qos, retain, ids)
        if self.noting:
            self._note(event)

    def _note(self, event: Event) -> None:
        """An event of a durable channel is queued: after a restart it goes on from here."""
        self.noted = event.id
        client = self._client
        client.desk.keeper.position(client.session.key, event.channel, str(event.id))


@dataclass(slots=True)
class Leaving:
    """Since when a client is away, and when its will and its session's end are due (Unix time)."""

    since: float
    will_at: float
    ends_at: float


class Client:
    """One session at the desk: what it has subscribed to, calls and provides.

    ``suspended``: its credential is not valid any more, so that nothing is delivered to it until
    it comes back with a valid one; ``changed``: it came back as another object. ``behind``: what
    is stored of it is not up to date. ``positions`` are the ids of the last events of durable
    channels that its queue holds, as they were stored.
    """

    __slots__ = (
        "account",
        "behind",
        "binding",
        "calls",
        "changed",
        "desk",
        "entries",
        "joined",
        "last_epoch",
        "last_route",
        "last_topic",
        "leaving",
        "offers",
        "parked",
        "peer",
        "positions",
        "session",
        "suspended",
        "will",
    )

    def __init__(self, desk: Desk, session: Session, peer: str) -> None:
        self.desk = desk
        self.session = session
        self.peer = peer
        self.suspended = False
        self.changed = False
        self.behind = False
        self.will: Will | None = None
        self.leaving: Leaving | None = None
        self.entries: dict[str, Entry] = {}
        self.joined: dict[Name, list[Joined]] = {}
        self.parked: list[tuple[Entry, Iterator[Joined]]] = []
        """Filters whose last values wait until the client takes them."""
        self.positions: dict[str, str] = {}
        self.calls: Calls | None = None
        self.offers: Offers | None = None
        # The channel that it published to last, and the epoch in which it was allowed to.
        self.last_topic = ""
        self.last_route: Route | None = None
        self.account = self.binding = UNUSED
        """What ``last_route`` is counted on."""
        self.last_epoch = 0

    @property
    def principal(self) -> Principal:
        """Who it is."""
        return self.session.principal

    def act_as(self, principal: Principal) -> None:
        """It has authenticated again: what it has open is decided for its new credential."""
        self.last_route = None
        refuse = partial(refuse_subscription, self.desk.site.plane)
        for joined in self.all_joined():
            joined.subscription.act_as(principal, refuse)
        if self.calls is not None:
            self.calls.act_as(principal)

    # Channels

    def join(self, entry: Entry, route: Route, after: str = "") -> None:
        """Deliver a channel's events through a filter from now on; it must be allowed.

        ``after``: the event id to go on after. Raises Refusal when there are too many channels.
        """
        topic = entry.topic(route.name)
        ours = self.joined.setdefault(route.name, [])
        for joined in ours:
            if joined.topic == topic and joined.group == entry.group:
                joined.add(entry)
                return
        joined = Joined(self, route, topic, entry.group)
        ours.append(joined)
        self.desk.matches.add(self.principal.id, 1)
        joined.add(entry)
        self._subscribe(joined, after)

    def leave(self, entry: Entry) -> Steps:
        """A filter is gone: close what only it led to."""
        while entry.joined:
            joined = entry.joined.popitem()[1]
            joined.entries.remove(entry)
            if joined.entries:
                joined.refresh()
            else:
                self.close(joined)
            yield

    def close(self, joined: Joined) -> None:
        """End one subscription of a channel."""
        self.forget(joined)
        joined.subscription.close()  # what the session has queued already, the client still gets
        name = joined.route.name
        if self.session.durable and joined.is_durable() and name not in self.joined:
            self.positions.pop(name, None)
            self.desk.keeper.forget_position(self.session.key, name)

    def forget(self, joined: Joined) -> None:
        """A subscription of a channel has ended."""
        name = joined.route.name
        ours = self.joined.get(name, [])
        if joined in ours:
            ours.remove(joined)
            self.desk.matches.add(self.principal.id, -1)
            if not ours:
                del self.joined[name]
        for entry in joined.entries:
            entry.joined.pop(name, None)

    def all_joined(self) -> list[Joined]:
        """Return all its subscriptions of channels."""
        return [joined for ours in self.joined.values() for joined in ours]

    # Flow

    def pause(self) -> None:
        """The client is slow: events wait at their channels."""
        for joined in self.all_joined():
            joined.subscription.pause()

    def resume(self) -> None:
        """The client caught up."""
        for joined in self.all_joined():
            if not self.session.slow:
                joined.subscription.resume()

    def away(self, *, gone: bool) -> None:
        """Let the other members of groups be preferred while the client is not there."""
        for joined in self.all_joined():
            if joined.group:
                joined.subscription.load += AWAY if gone else -AWAY

    def closed(self) -> None:
        """The connection is gone, and with it calls and offers."""
        if self.calls is not None:
            self.calls.cancel()
        if self.offers is not None:
            self.offers.withdraw()

    # Inside

    def _subscribe(self, joined: Joined, after: str) -> None:
        desk, session = self.desk, self.session
        try:
            subscription = joined.subscription = desk.channels.subscribe(
                joined.route, session.principal, joined, after=after, group=joined.group
            )
        except Refusal:
            self.forget(joined)
            raise
        if joined.group and not session.connected:
            subscription.load += AWAY
        if session.durable or not session.slow:
            subscription.resume()
