"""SUBSCRIBE: channels by name and by wildcard, groups, methods offered, replies, descriptions.

A filter without wildcards is decided when it comes. Under a wildcard each channel that matches is
decided by itself, also one that appears later; after a change of policy all are decided again.
"""

from functools import partial
from typing import Any

from adapters.mqtt.desk.desk import Desk, suback_reason, why
from adapters.mqtt.desk.holding import Holding
from adapters.mqtt.desk.joining import Client, Entry
from adapters.mqtt.desk.matching import Matching
from adapters.mqtt.desk.names import CALL, REPLY, RET, RPC, called
from adapters.mqtt.desk.providing import Offers
from adapters.mqtt.sessions.ports import LATER, Answer
from adapters.mqtt.wire.packets import Filter, Properties, Publish, Reason, Subscribe, Unsubscribe
from adapters.mqtt.wire.topics import has_wildcard, parse_share
from gateway.asking import Asking
from gateway.channels import refuse_subscription
from gateway.exchange import Exchange
from gateway.message import Call, Refusal, Reply, Status
from gateway.provided import SessionProvider
from gateway.refusals import denial, unknown
from gateway.rota import in_slices
from gateway.view import Route
from policy.model import Action
from registry.model import Kind
from registry.names import InvalidName

FILTERS = 500
"""Filters of one SUBSCRIBE: they are decided together, while others wait."""


class Subscribing:
    """The subscriptions of all sessions."""

    def __init__(self, desk: Desk, provider: SessionProvider) -> None:
        self._desk = desk
        self._provider = provider
        self.matching = Matching(desk)

    def subscribe(self, client: Client, packet: Subscribe) -> Answer:
        """Subscribe to what the filters say."""
        reasons: list[int] = []
        said = ""
        looked = partial(self.matching.looked, client)
        again = partial(self._reason, client, packet)
        holding = Holding(self._desk, client, reasons, lambda o: again(o)[0], looked)
        for options in packet.filters[:FILTERS]:
            reason, because = again(options, holding)
            if reason != LATER:
                reasons.append(reason)
                said = said or because
        if len(packet.filters) > FILTERS:
            reasons += [Reason.QUOTA_EXCEEDED] * (len(packet.filters) - FILTERS)
            said = said or f"one SUBSCRIBE may have {FILTERS} filters: send several"
        return Answer(reasons, said, holding.settling or looked())

    def _reason(
        self, client: Client, packet: Subscribe, options: Filter, holding: Holding | None = None
    ) -> tuple[int, str]:
        """Subscribe to a filter; return the reason code (or LATER), and why if it is refused."""
        try:
            if holding is not None and holding.holds(options):
                return LATER, ""
            return self._subscribe(client, options, packet), ""
        except InvalidName as error:
            return Reason.TOPIC_FILTER_INVALID, str(error)
        except Refusal as refusal:
            return suback_reason(refusal.status), why(refusal)

    def subscribed(self, client: Client, packet: Subscribe) -> None:
        """SUBACK is on its way: send last values and descriptions."""
        for options in packet.filters[:FILTERS]:
            entry = client.entries.get(options.filter)
            if entry is None or entry.options is not options:
                continue
            wanted = options.retain_handling == 0 or (options.retain_handling == 1 and entry.fresh)
            entry.fresh = False
            if entry.described and wanted:
                self._describe(entry)
            elif wanted and not entry.group:
                self.matching.send_last(entry)

    def unsubscribe(self, client: Client, packet: Unsubscribe) -> Answer:
        """End subscriptions."""
        reasons = [self._unsubscribe(client, text) for text in packet.filters]
        return Answer(reasons, "", self.matching.looked(client))

    def restore(self, client: Client) -> None:
        """Open again what a session had subscribed to, as far as it is still allowed."""
        for entry in list(client.entries.values()):
            try:
                self._read(entry)
            except (Refusal, InvalidName):
                del client.entries[entry.options.filter]
                continue
            self.matching.add(entry)
            self._open(entry)

    def reopen(self, client: Client, *, decide: bool) -> None:
        """The client came back: offer its methods; with another credential ``decide`` anew."""
        if decide:
            self.matching.change_principal(client)
        for entry in client.entries.values():
            if decide or entry.offered is not None:
                self._open(entry)

    def close(self, client: Client) -> None:
        """A session is over: nothing follows its filters any more."""
        entries = list(client.entries.values())
        for entry in entries:
            entry.open = False
        in_slices(entries, self.matching.discard)
        self._provider.sessions.pop(client.session.id, None)

    # Inside

    def _subscribe(self, client: Client, options: Filter, packet: Subscribe) -> int:
        settings = self._desk.settings
        text = options.filter
        there = client.entries.get(text)
        if len(text) > settings.filter_length:
            detail = f"a topic filter may have {settings.filter_length} characters"
            raise Refusal(Status.TOO_LARGE, detail)
        if there is None and len(client.entries) >= settings.subscriptions:
            detail = f"a session may have {settings.subscriptions} subscriptions: end some"
            raise Refusal(Status.THROTTLED, detail)
        if there is None and self._desk.filters.is_over(client.principal.id):
            detail = f"{client.principal.id} has too many subscriptions in all its sessions"
            raise Refusal(Status.THROTTLED, detail)
        if there is not None:
            there.options, there.id = options, packet.subscription_id
            for joined in there.joined.values():
                joined.refresh()
            self._begin(there, packet)
            return _granted(there)
        entry = Entry(client, options, packet.subscription_id)
        self._read(entry)
        self._begin(entry, packet)
        client.entries[text] = entry
        self.matching.add(entry)
        self.matching.look(entry)
        return _granted(entry)

    def _unsubscribe(self, client: Client, text: str) -> int:
        entry = client.entries.pop(text, None)
        if entry is None:
            return Reason.NO_SUBSCRIPTION_EXISTED
        self.matching.discard(entry)
        self.matching.leave(entry)
        if entry.offered is not None and client.offers is not None:
            client.offers.withdraw_one(entry.offered)
        return Reason.SUCCESS

    def _read(self, entry: Entry) -> None:
        """Find out what a filter is; raises Refusal and InvalidName."""
        text = entry.options.filter
        entry.group, plain = parse_share(text)
        names, session = self._desk.names, entry.client.session
        if plain.startswith(REPLY):
            own = f"{REPLY}{session.client_id}"
            entry.reply = not entry.group and (plain == own or plain.startswith(f"{own}/"))
            if not entry.reply:
                raise Refusal(Status.DENIED, f"replies to your own calls come under {own}")
        elif plain.startswith((RPC, RET)):
            raise Refusal(Status.DENIED, "$rpc and $ret are published to, not subscribed to")
        elif plain.startswith(CALL):
            method = called(plain)
            if method is None or entry.group:
                raise Refusal(Status.BAD_REQUEST, f"offer a method with {CALL}<name>/+")
            entry.offered = names.name_of(method)
        elif has_wildcard(plain):
            entry.wild = names.wild(plain)
        else:
            entry.name = names.name_of(plain)
            self._read_named(entry, entry.name)

    def _read_named(self, entry: Entry, name: Any) -> None:
        route = self._desk.site.view.find(name)
        if route is None or route.kind is Kind.CHANNEL or entry.group:
            return
        if route.kind is Kind.OBJECT or route.action is Action.DESCRIBE:
            entry.described = True
        elif entry.client.session.version >= 5:
            entry.offered, entry.name = name, None
        else:
            detail = f"{name} is a method: with 3.1.1 offer it with {CALL}{entry.options.filter}/+"
            raise Refusal(Status.BAD_REQUEST, detail)

    def _begin(self, entry: Entry, packet: Subscribe) -> None:
        """Decide about a filter and open what it is about; raises Refusal."""
        client = entry.client
        if entry.offered is not None:
            offers = self._offers_of(client)
            offers.offer(entry.offered, entry.options.filter, entry.id, packet.attributes)
            entry.said = packet.attributes
            self.matching.offering[entry] = offers
        elif entry.described:
            self._may_describe(entry)
        elif entry.name is not None:
            plane, name = self._desk.site.plane, entry.name
            refusal = refuse_subscription(plane, client.principal, name, entry.group)
            route = plane.view.find(name)
            if route is not None:
                status = Status.OK if refusal is None else refusal.status
                route.meter.observe(Action.SUBSCRIBE, status, 0.0)
            if refusal is not None:
                raise refusal
            if route is not None and name not in entry.joined:
                self.matching.join(entry, route)

    def _open(self, entry: Entry) -> None:
        """Open a filter that a session has, if that is allowed now."""
        client = entry.client
        if entry.offered is not None:
            if client.session.connected:
                self.matching.offer(entry, self._offers_of(client))
        elif entry.name is not None:
            route = self._desk.site.view.find(entry.name)
            if route is not None and not entry.described:
                after = client.positions.get(entry.name, "") if entry.options.qos else ""
                self.matching.match(entry, route, after)
        elif entry.wild is not None:
            self.matching.look(entry)

    def _offers_of(self, client: Client) -> Offers:
        offers, session = client.offers, client.session
        if offers is None:
            offers = client.offers = Offers(self._desk, session, client.peer)
            self._provider.sessions[session.id] = offers.outstanding
        offers.peer = client.peer
        return offers

    # Descriptions

    def _may_describe(self, entry: Entry) -> None:
        call, route = self._description_call(entry)
        if route is None:
            plane = self._desk.site.plane
            raise unknown(plane.access, plane.view, call)
        access = self._desk.site.plane.access
        decision = access.check(call.principal, call.action, call.name, route.owner)
        if not decision.allowed:
            raise denial(access, call, route, decision)

    def _description_call(self, entry: Entry) -> tuple[Call, Route | None]:
        plane, settings = self._desk.site.plane, self._desk.settings
        assert entry.name is not None
        deadline = plane.now + settings.timeout / 1000
        call = Call(Action.DESCRIBE, entry.name, entry.client.principal, deadline)
        return call, plane.view.find(entry.name)

    def _describe(self, entry: Entry) -> None:
        """Send an object's description as the retained message of its name (design 6)."""
        session = entry.client.session
        ids = (entry.id,) if entry.id else ()
        call, route = self._description_call(entry)

        def done(head: Reply, body: bytes) -> None:
            kind = head.content_type.decode("latin-1")
            properties = Properties(content_type=kind, text=True, subscription_ids=ids)
            session.send(Publish(entry.options.filter, body, retain=True, properties=properties))

        if route is not None:
            asking = Asking(self._desk.settings.message, done, lambda _: None)
            asking.begin(Exchange(self._desk.site.plane, call, route, asking), b"")


def _granted(entry: Entry) -> int:
    """Return the QoS that a filter is granted: calls and descriptions come at QoS 0."""
    if entry.reply or entry.described or entry.offered is not None:
        return Reason.SUCCESS
    return entry.options.qos
