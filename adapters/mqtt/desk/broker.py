"""The desk behind the sessions: who a client is, which session is its own, and when that ends.

A session belongs to a principal and a client id: nobody takes over another's, whatever the id.
"""

import asyncio
import logging
from collections.abc import Callable, Container
from itertools import count

import msgspec

from adapters.mqtt.desk.absence import Absences
from adapters.mqtt.desk.admission import NOBODY, Identified, identify, refuse_id, text_of
from adapters.mqtt.desk.desk import Desk, DeskSettings, NewSession, later
from adapters.mqtt.desk.joining import Client
from adapters.mqtt.desk.names import REPLY, Names
from adapters.mqtt.desk.publishing import Publishing
from adapters.mqtt.desk.records import Record, add_entries, read_record, record_of
from adapters.mqtt.desk.subscribing import Subscribing
from adapters.mqtt.sessions.ports import Admission, Answer, Link, Receipt, Session
from adapters.mqtt.sessions.shares import Shares
from adapters.mqtt.wire.packets import (
    FOR_EVER,
    V5,
    Auth,
    Connack,
    Connect,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from gateway.channels import Channels
from gateway.identity.identity import Answer as Answered
from gateway.message import Refusal, Status
from gateway.provided import SessionProvider
from gateway.rota import SLICE, in_slices
from gateway.session_port import SessionStore, StoredSession
from gateway.site import Site
from policy.model import Principal

_log = logging.getLogger("hilum.mqtt")


class Broker:
    """The ``ports.Desk``. ``new_session`` has to be set before the first client comes."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        keeper: SessionStore,
        settings: DeskSettings,
        random_id: Callable[[], str],
    ) -> None:
        names = Names(site.authority, site.aliases, site.remotes)
        self._desk = Desk(
            site,
            channels,
            names,
            settings,
            keeper,
            later,
            Shares(settings.filters_of_one),
            Shares(settings.matches_of_one),
        )
        self._site = site
        self._keeper = keeper
        self._settings = settings
        self._random_id = random_id
        self.new_session: NewSession
        self.provider = SessionProvider(settings.message)
        self.publishing = Publishing(self._desk)
        self._subscribing = Subscribing(self._desk, self.provider)
        self._by_key: dict[str, Client] = {}
        self._clients: dict[Session, Client] = {}
        self._owned: dict[str, int] = {}
        self._numbers = count(1)
        self._absences = Absences(self._will_is_due, self._end)
        self._dirty: set[Client] = set()
        self.connected_now = 0
        channels.appeared.append(self._subscribing.matching.appeared)

    # What the site calls

    async def start(self) -> None:
        """Restore the durable sessions; their clients are away."""
        for number, stored in enumerate(await self._keeper.load()):
            self._restore(stored)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        await self._subscribing.matching.all_looked()

    def sweep(self, now: float) -> None:
        """Publish wills and end sessions whose time has come (``now``: Unix seconds)."""
        self._absences.sweep(now)

    def end_of(self, credentials: Container[str]) -> None:
        """Disconnect the clients of credentials that are not valid any more."""
        ended = [c for c in self._clients.values() if c.principal.credential in credentials]
        for client in ended:
            client.suspended = True
            if client.session.connected:
                expired = self._site.time() >= client.principal.expires
                why = "the credential has expired" if expired else "the credential was revoked"
                reason = Reason.MAXIMUM_CONNECT_TIME if expired else Reason.NOT_AUTHORIZED
                client.session.disconnect(reason, why)
                self._gone(client, reason, None)

    def redecide(self) -> None:
        """Policies changed: open what became allowed, withdraw offers that are not any more."""
        self._subscribing.matching.redecide()

    def close(self) -> None:
        """Stop what is under way; sessions stay in the store."""
        self._subscribing.matching.close()

    @property
    def sessions(self) -> int:
        """How many sessions there are, connected or not."""
        return len(self._clients)

    @property
    def subscriptions(self) -> int:
        """How many filters all sessions have."""
        return self._subscribing.matching.entries

    # What sessions call: ports.Desk

    def identify(
        self, packet: Connect, link: Link, then: Callable[[Principal | Connack], None]
    ) -> Identified:
        """Find out who a client is."""
        anonymous = self._settings.anonymous
        return identify(packet, self._site, link, then, anonymous=anonymous)

    def identify_again(
        self, packet: Auth, link: Link, then: Callable[[Principal | Refusal], None]
    ) -> Answered:
        """Find out who a client is that authenticates again."""
        return self._site.identity.bearer(text_of(packet.data), link.peer, then)

    def renew(self, session: Session, principal: Principal) -> Refusal | None:
        """Go on with a session by a newer credential of its principal."""
        client = self._clients[session]
        if (principal.id, principal.kind) != (session.principal.id, session.principal.kind):
            return Refusal(Status.DENIED, f"this session is {session.principal.id}'s")
        session.principal = principal
        client.act_as(principal)
        self._subscribing.reopen(client, decide=True)
        return None

    def connect(self, packet: Connect, link: Link, principal: Principal) -> Admission | Connack:
        """Find, make or take over the session; or refuse."""
        refusal = refuse_id(packet)
        if refusal is not None:
            return refusal
        client_id = packet.client_id or f"hilum-{self._random_id()}"
        key = f"{principal.id} {client_id}"
        client = self._take_over(key, packet)
        present = client is not None
        granted = self._granted(packet.expiry)
        if client is None:
            if self._is_full(principal):
                return Connack(Reason.QUOTA_EXCEEDED, why="there are too many sessions")
            client = self._new(key, client_id, principal, packet.version, granted)
        self._admit(client, principal, packet, link.peer, granted)
        info = f"{REPLY}{client_id}" if packet.wants_response_info else ""
        return Admission(
            client.session,
            present,
            "" if packet.client_id else client_id,
            info,
            granted if granted != packet.expiry and packet.version == V5 else None,
        )

    def connected(self, session: Session) -> None:
        """CONNACK is in the output: go on with the subscriptions."""
        client = self._clients[session]
        decide, client.changed = client.changed, False
        client.away(gone=False)
        self._subscribing.reopen(client, decide=decide)
        if client.parked:
            self._subscribing.matching.go_on(client)

    def publish(self, session: Session, packet: Publish, receipt: Receipt | None) -> int:
        """Take a message."""
        return self.publishing.publish(self._clients[session], packet, receipt)

    def subscribe(self, session: Session, packet: Subscribe) -> Answer:
        """Subscribe."""
        client = self._clients[session]
        answer = self._subscribing.subscribe(client, packet)
        self._changed(client)
        return answer

    def subscribed(
        self,
        session: Session,
        packet: Subscribe,
        reasons: list[int],  # noqa: ARG002
    ) -> None:
        """SUBACK is in the output: send retained messages."""
        self._subscribing.subscribed(self._clients[session], packet)

    def unsubscribe(self, session: Session, packet: Unsubscribe) -> Answer:
        """End subscriptions."""
        client = self._clients[session]
        answer = self._subscribing.unsubscribe(client, packet)
        self._changed(client)
        return answer

    def disconnected(self, session: Session, reason: int, expiry: int | None) -> None:
        """The connection is gone."""
        client = self._clients.get(session)
        if client is not None:
            self._gone(client, reason, expiry)

    def paused(self, session: Session) -> None:
        """The client is slow; a durable session has a queue of its own."""
        if not session.durable:
            self._clients[session].pause()

    def resumed(self, session: Session) -> None:
        """The client has caught up."""
        client = self._clients[session]
        if not session.durable:
            client.resume()
        if client.parked:
            self._subscribing.matching.go_on(client)

    def _is_full(self, principal: Principal) -> bool:
        owned = self._owned.get(principal.id, 0)
        return (
            len(self._clients) >= self._settings.sessions or owned >= self._settings.sessions_of_one
        )

    def _granted(self, expiry: int) -> int:
        return min(expiry, self._settings.session_expiry)

    # Sessions come and go

    def _take_over(self, key: str, packet: Connect) -> Client | None:
        """Return the session that goes on under a key, after ending what has to end."""
        client = self._by_key.get(key)
        if client is not None and client.session.connected:
            why = "another connection uses this client identifier now"
            client.session.disconnect(Reason.SESSION_TAKEN_OVER, why)
            self._gone(client, Reason.SESSION_TAKEN_OVER, None)
            client = self._by_key.get(key)
        if client is not None and packet.clean_start:
            self._end(client)
            return None
        return client

    def _new(
        self, key: str, client_id: str, principal: Principal, version: int, expiry: int
    ) -> Client:
        session = self.new_session(
            key=key,
            client_id=client_id,
            principal=principal,
            number=next(self._numbers),
            durable=expiry > 0,
            expiry=expiry,
            version=version,
        )
        client = Client(self._desk, session, "")
        self._by_key[key] = self._clients[session] = client
        self._owned[principal.id] = self._owned.get(principal.id, 0) + 1
        return client

    def _admit(
        self, client: Client, principal: Principal, packet: Connect, peer: str, expiry: int
    ) -> None:
        """The client is there."""
        session = client.session
        self.connected_now += 1
        client.changed = client.suspended or session.principal is not principal
        client.suspended = False
        client.last_route = None
        self._absences.end(client)
        client.will = packet.will
        client.peer = peer
        session.principal = principal
        self._site.watchers.began(principal, "mqtt", peer)
        session.version = packet.version
        session.expiry = expiry
        if session.durable and not expiry:
            self._keeper.drop(session.key)
        session.durable = expiry > 0
        if session.durable:
            self._keeper.put(session.key, record_of(client))

    def _gone(self, client: Client, reason: int, expiry: int | None) -> None:
        """The client is away; its session may go on."""
        session, now = client.session, self._site.time()
        self.connected_now -= 1
        client.closed()
        if reason == Reason.SUCCESS:
            client.will = None
        if expiry is not None:
            session.expiry = self._granted(expiry)
        if not session.expiry or not session.durable:
            self._end(client)
            return
        delay = min(client.will.delay, session.expiry) if client.will is not None else 0
        if not delay:
            self._publish_will(client)
        self._absences.begin(client, now, now + delay)
        self._keeper.put(session.key, record_of(client, now))

    def _end(self, client: Client) -> None:
        """A session is over, and with it everything of it (section 4.1)."""
        session = client.session
        self._absences.end(client)
        self._publish_will(client)
        self._subscribing.close(client)
        joined = client.all_joined()
        for one in joined:
            if one.group:
                one.subscription.close(session.unacknowledged(one))
        if session.durable:
            self._keeper.drop(session.key)
        session.end()
        in_slices(joined, client.close)
        del self._by_key[session.key], self._clients[session]
        owner = session.principal.id
        self._owned[owner] -= 1
        if not self._owned[owner]:
            del self._owned[owner]

    def _publish_will(self, client: Client) -> None:
        """Publish a will, as whom the client was, if that is still somebody (section 3.1.2.5)."""
        will, client.will = client.will, None
        if will is not None and self._site.identity.live(client.principal):
            self.publishing.will(client, will)

    def _will_is_due(self, client: Client) -> None:
        self._publish_will(client)
        if client.leaving is not None:
            self._keeper.put(client.session.key, record_of(client, client.leaving.since))

    # On disk

    def _changed(self, client: Client) -> None:
        """Store a session's subscriptions: at once, and once more if there are more soon."""
        if not client.session.durable:
            return
        if not self._dirty:
            self._desk.later(self._put_dirty)
        if client not in self._dirty:
            self._dirty.add(client)
            client.behind = False
            self._keeper.put(client.session.key, record_of(client))
        else:
            client.behind = True

    def _put_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for client in dirty:
            if client.behind and client.session.durable:
                self._keeper.put(client.session.key, record_of(client))

    def _restore(self, stored: StoredSession) -> None:
        """Make a session again as it was stored."""
        now = self._site.time()
        try:
            record = read_record(stored.record)
        except msgspec.MsgspecError:
            _log.warning("the session %s cannot be read and is dropped", stored.key)
            self._keeper.drop(stored.key)
            return
        since = record.left or now
        if record.expiry != FOR_EVER and since + record.expiry <= now and record.will is None:
            self._keeper.drop(stored.key)
            return
        principal = self._known(record)
        client = self._new(
            stored.key,
            record.client_id,
            principal or Principal(record.principal, record.kind, expires=0.0),
            record.version,
            record.expiry,
        )
        client.suspended = principal is None
        client.will = record.will
        client.positions = dict(stored.positions)
        client.session.restore(stored)
        add_entries(client, record)
        delay = min(record.will.delay, record.expiry) if record.will is not None else 0
        self._absences.begin(client, since, record.will_at or now + delay)
        self._subscribing.restore(client)

    def _known(self, record: Record) -> Principal | None:
        if record.kind == NOBODY.kind:
            return NOBODY if self._settings.anonymous else None
        principal = self._site.identity.known(record.principal)
        return principal if principal is not None and principal.kind == record.kind else None
