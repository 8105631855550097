"""PUBLISH: to a channel, to a method, as ``$rpc`` or as the answer to a call (design 6).

To a channel: topic -> Route -> cached decision -> append, without an exchange, but counted as one.
Who publishes to the same channel as before goes straight to the last step.
"""

import asyncio
from functools import partial

from adapters.mqtt.desk.calling import (
    NOWHERE,
    Calls,
    Return,
    content_type_of,
    return_of,
    return_of_rpc,
)
from adapters.mqtt.desk.desk import Desk, puback_reason, why
from adapters.mqtt.desk.joining import Client
from adapters.mqtt.desk.names import RET, RPC, parse_ret, parse_rpc
from adapters.mqtt.sessions.ports import LATER, Receipt, Session
from adapters.mqtt.wire.packets import V5, Properties, Publish, Reason, Will
from gateway.first_use.holding import held, is_first_use
from gateway.message import Call, EventId, Extras, Refusal, Status, Unsynced
from gateway.quality.admission import Gate
from gateway.quality.places import Throttled
from gateway.refusals import denial, unknown
from gateway.validity import CHECKED, refuse_invalid, too_large
from gateway.view import Route
from policy.access.index import UNDECIDED
from policy.decision import Decision
from policy.model import Action
from registry.model import Kind
from registry.names import InvalidName, Name

EXTRAS = 16 * 1024
"""Bytes of an event's properties: channels keep them, and reckon by payloads."""
REST = 1.0
"""Seconds that nothing is read from a client which was told that it sends too much."""
CREDIT = 30.0
"""Seconds that a client which cannot be told may be ahead of its rate; then messages of QoS 0 are
dropped, and for one of a higher QoS the connection ends without its acknowledgement."""
NEVER = -1
"""No epoch: the next message is decided anew."""
OK = Status.OK
PUBLISH = Action.PUBLISH
CHANNEL = Kind.CHANNEL


class Publishing:
    """What clients publish. ``received`` counts messages, ``refused`` those not taken."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._access = desk.site.plane.access
        self._view = desk.site.view
        self._routes = self._view.routes
        self._names = desk.names
        self._append = desk.channels.append
        self.received = 0
        self.refused = 0

    def publish(self, client: Client, packet: Publish, receipt: Receipt | None) -> int:
        """Take a message and return its reason code, or LATER."""
        self.received += 1
        try:
            route = client.last_route
            if (
                route is not None
                and packet.topic == client.last_topic
                and client.last_epoch == self._access.epoch
                and self._routes.get(route.name) is route
            ):
                return self._to_channel(client, route, packet, receipt)
            return self._to_name(client, packet, receipt)
        except InvalidName as error:
            refusal = Refusal(Status.BAD_REQUEST, str(error))
            return self._refused(client, packet, receipt, refusal, Reason.TOPIC_NAME_INVALID)
        except Refusal as refusal:
            return self._refused(client, packet, receipt, refusal)

    def will(self, client: Client, will: Will) -> None:
        """Publish a will as its principal; nobody is there to be told what came of it."""
        packet = Publish(
            will.topic, will.payload, will.qos, will.retain, properties=will.properties
        )
        self.publish(client, packet, None)

    # Inside

    def _to_name(self, client: Client, packet: Publish, receipt: Receipt | None) -> int:
        """Take a message to another topic than the last one, or one that is decided anew."""
        topic = packet.topic
        if topic[0] == "$" and topic.startswith((RET, RPC)):
            return self._answer_or_rpc(client, packet, receipt)
        name = self._names.name_of(topic)
        route = self._view.find(name)
        if route is None:
            raise self._unknown(client, name)
        if route.kind is not CHANNEL:
            return self._call(client, route, packet, receipt)
        principal = client.session.principal
        decision = self._access.check(principal, PUBLISH, name, route.owner)
        if not decision.allowed:
            if decision is UNDECIDED and self._is_held(client, name, packet, receipt):
                return LATER
            call = Call(PUBLISH, name, principal, 0.0)
            raise _counted(route, denial(self._access, call, route, decision))
        client.last_topic, client.last_route = topic, route
        client.last_epoch = NEVER if is_first_use(decision) else self._access.epoch
        accounts = self._desk.site.accounts
        client.account = accounts.of("principal", principal.id)
        client.binding = accounts.of("binding", name)
        return self._to_channel(client, route, packet, receipt)

    def _is_held(
        self, client: Client, name: Name, packet: Publish, receipt: Receipt | None
    ) -> bool:
        """Whether a message waits for a first use; nothing overtakes it meanwhile."""
        session = client.session

        def decided(_: Decision) -> None:
            self.received -= 1
            reason = self.publish(client, packet, receipt)
            if receipt is not None and reason != LATER:
                receipt.done(reason)
            go_on()

        if not held(self._desk.site.plane, session.principal, PUBLISH, name, decided):
            return False
        go_on = session.hold()
        return True

    def _to_channel(
        self, client: Client, route: Route, packet: Publish, receipt: Receipt | None
    ) -> int:
        """Publish to a channel that the client may publish to."""
        session = client.session
        if route.gate is not None:
            _admit(session, route, route.gate, packet)
        if route.validator is not None:
            _validate(route, packet.payload)
        content_type, extras, properties = "", None, packet.properties
        if properties is not None:
            content_type = content_type_of(properties)
            extras = self._extras(properties)
        mark = None
        if receipt is not None and route.channel is not None and route.channel.durable:
            mark = receipt.take_mark()
        size = len(packet.payload)
        account = client.account
        account.events += 1
        account.received += size
        account = client.binding
        account.events += 1
        account.received += size
        result = self._append(
            route,
            session.principal.id,
            content_type,
            packet.payload,
            packet.qos,
            packet.retain,
            extras,
            session.key,
            mark,
        )
        if isinstance(result, EventId):
            route.meter.passed(PUBLISH)
            return 0
        result.add_done_callback(partial(self._stored, route, receipt))
        return LATER

    def _stored(
        self, route: Route, receipt: Receipt | None, future: asyncio.Future[EventId]
    ) -> None:
        """An event that had to wait is in its place, or will never be."""
        error = None if future.cancelled() else future.exception()
        status = OK
        if future.cancelled():
            status = Status.CANCELLED
        elif error is not None:
            status = error.status if isinstance(error, Refusal) else Status.INTERNAL
        route.meter.observe(PUBLISH, status, 0.0)
        if status is not OK:
            self.refused += 1
        if receipt is None:
            return
        if isinstance(error, Unsynced):
            receipt.unsynced(puback_reason(status), str(error))
        else:
            receipt.done(0 if status is OK else puback_reason(status), str(error or ""))

    def _call(self, client: Client, route: Route, packet: Publish, receipt: Receipt | None) -> int:
        to = return_of(packet.properties)
        if route.kind is Kind.OBJECT:
            raise self._wrong_kind(client, route, "publish to one of its members")
        return self._make_call(client, route, packet, to, receipt)

    def _make_call(
        self,
        client: Client,
        route: Route,
        packet: Publish,
        to: Return,
        receipt: Receipt | None,
    ) -> int:
        calls = self._calls_of(client)
        refusal = calls.call(route, packet, to, client.peer)
        if refusal is None or to.rpc:
            return 0
        return self._refuse(puback_reason(refusal.status), why(refusal), receipt)

    def _answer_or_rpc(self, client: Client, packet: Publish, receipt: Receipt | None) -> int:
        if packet.topic.startswith(RPC):
            return self._rpc(client, packet, receipt)
        ret = parse_ret(packet.topic)
        if ret is None:
            raise Refusal(Status.BAD_REQUEST, f"answer a call on {RET}<name>/<call id>/<status>")
        waited = client.offers is not None and client.offers.answer(ret, packet)
        return Reason.SUCCESS if waited else Reason.NO_MATCHING_SUBSCRIBERS

    def _rpc(self, client: Client, packet: Publish, receipt: Receipt | None) -> int:
        """Call a method for a client that has no Response Topic: every error is a reply."""
        session = client.session
        rpc = parse_rpc(packet.topic, session.client_id)
        if rpc is None:
            detail = f"call with {RPC}{session.client_id}/<id>/<name>: the client id is your own"
            raise Refusal(Status.DENIED, detail)
        to = return_of_rpc(rpc, session)
        try:
            return self._make_call(client, self._method(client, rpc.name), packet, to, receipt)
        except Refusal as refusal:
            self._calls_of(client).answer(to, refusal)
        return 0

    def _method(self, client: Client, text: str) -> Route:
        """Return the Route of a method; raises Refusal."""
        try:
            name = self._names.name_of(text)
        except InvalidName as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error
        route = self._view.find(name)
        if route is None:
            raise self._unknown(client, name)
        if route.kind is not Kind.METHOD:
            raise self._wrong_kind(client, route, "only a method can be called")
        return route

    def _wrong_kind(self, client: Client, route: Route, hint: str) -> Refusal:
        """Refuse what a name is not for, without telling a stranger what it is."""
        principal = client.principal
        if self._access.check(principal, Action.DESCRIBE, route.name, route.owner).allowed:
            return Refusal(Status.BAD_REQUEST, f"{route.name} is of kind {route.kind}: {hint}")
        return self._unknown(client, route.name)

    def _calls_of(self, client: Client) -> Calls:
        if client.calls is None:
            client.calls = Calls(self._desk, client.session)
        return client.calls

    def _unknown(self, client: Client, name: Name) -> Refusal:
        call = Call(Action.PUBLISH, name, client.principal, 0.0)
        return unknown(self._access, self._view, call)

    def _refused(
        self,
        client: Client,
        packet: Publish,
        receipt: Receipt | None,
        refusal: Refusal,
        reason: int = 0,
    ) -> int:
        """Refuse a message. A Response Topic hears of it too, whatever the message was for."""
        self._desk.site.accounts.of("principal", client.principal.id).errors += 1
        to = return_of(packet.properties)
        if to is not NOWHERE:
            self._calls_of(client).answer(to, refusal)
        return self._refuse(reason or puback_reason(refusal.status), why(refusal), receipt)

    def _refuse(self, reason: int, said: str, receipt: Receipt | None) -> int:
        self.refused += 1
        if receipt is None:
            return reason
        receipt.done(reason, said)
        return LATER

    def _extras(self, properties: Properties) -> Extras | None:
        """Return what subscribers get beside type and payload; None when that is nothing."""
        size = len(properties.response_topic) + len(properties.correlation or b"")
        size += sum(len(name) + len(value) for name, value in properties.attributes)
        if size > EXTRAS:
            raise Refusal(Status.TOO_LARGE, f"an event's properties may have {EXTRAS} bytes")
        expiry = properties.expiry
        expires = 0 if expiry is None else int(self._desk.site.time() * 1000) + expiry * 1000
        extras = Extras(
            properties.attributes,
            expires,
            properties.text,
            properties.response_topic,
            properties.correlation,
        )
        return None if extras == _NOTHING else extras


_NOTHING = Extras()


def _admit(session: Session, route: Route, gate: Gate, packet: Publish) -> None:
    """Let a message pass, at the pace that quality policies allow; raises Refusal.

    A client of 5.0 that waits for an acknowledgement is told (0x97). Who cannot be told is taken
    at its word and rests: nothing is lost, and its own network pushes back.
    """
    lane = gate.lane(session.principal)
    size = len(packet.payload)
    if packet.qos and session.version == V5:
        refusal = lane.throttle(size)
        if refusal is not None:
            session.rest(min(refusal.wait, REST))
            raise _counted(route, refusal)
        return
    wait = lane.pace(size, CREDIT)
    if wait:
        session.rest(min(wait, CREDIT))
    if wait > CREDIT:
        raise _counted(route, Throttled("far more than a quality policy allows", wait))


def _validate(route: Route, payload: bytes) -> None:
    """Raise Refusal unless a payload fits the schema of its channel."""
    if len(payload) > CHECKED:
        raise _counted(route, too_large())
    if route.validator is not None:
        refusal = refuse_invalid(route.validator, payload)
        if refusal is not None:
            raise _counted(route, refusal)


def _counted(route: Route, refusal: Refusal) -> Refusal:
    route.meter.observe(PUBLISH, refusal.status, 0.0)
    return refusal
