"""A client as the provider of methods over the connection that it opened (design 6).

It offers a method with an exact subscription to its name (5.0), or with ``$call/<name>/+`` (both
versions). A call arrives as a PUBLISH whose Response Topic is ``$ret/<name>/<id>``; the answer goes
there, with the status as a user property or as one more level of the topic.
"""

from math import ceil

from adapters.mqtt.desk.calling import STATUS, content_type_of
from adapters.mqtt.desk.desk import Desk
from adapters.mqtt.desk.names import CALL, RET, Ret, called
from adapters.mqtt.outbound.mapping import attributes
from adapters.mqtt.sessions.ports import Session
from adapters.mqtt.wire.packets import V5, Attributes, Properties, Publish
from gateway.message import Call, Refusal, Status
from gateway.problems import MEDIA_TYPE, document_of
from gateway.provided import Outstanding
from gateway.refusals import denial, unknown
from policy.model import Action
from policy.resolution import Source
from registry.model import Endpoint, Kind, RegistrationId
from registry.names import Name

PRINCIPAL = "hilum-principal"
"""User property of a call: who calls."""
SERVICE, VERSION, INSTANCE = "hilum-microservice", "hilum-version", "hilum-instance"
"""User properties of a SUBSCRIBE: as which registration the client offers a method."""

_STATUSES = {status.slug: status for status in Status}


class Offer:
    """One method that a session offers. ``filter`` is what the client wrote to offer it."""

    __slots__ = ("filter", "ids", "source", "text")

    def __init__(self, source: Source, filter_: str, id_: int) -> None:
        self.source = source
        self.filter = filter_
        self.text = called(filter_) or filter_
        """The method's name as the client spells it."""
        self.ids = (id_,) if id_ else ()


class Offers:
    """What one session offers, and the calls that it has not answered yet."""

    __slots__ = ("_desk", "_offers", "_session", "outstanding", "peer")

    def __init__(self, desk: Desk, session: Session, peer: str) -> None:
        self._desk = desk
        self._session = session
        self.peer = peer
        # A client that was away, or a site that restarted, may be answered with an old id: by the
        # clock no id comes twice.
        self.outstanding = Outstanding(self, int(desk.site.time() * 1_000_000))
        self._offers: dict[Name, Offer] = {}

    def offer(self, name: Name, filter_: str, id_: int, attributes: Attributes = ()) -> None:
        """Offer a method from now on; raises Refusal."""
        self.check(name)
        there = self._offers.get(name)
        if there is not None and there.filter != filter_:
            detail = f"{name} is offered by this session already, as {there.filter}"
            raise Refusal(Status.CONFLICT, detail)
        if there is None and len(self._offers) >= self._desk.settings.methods:
            limit = self._desk.settings.methods
            raise Refusal(Status.THROTTLED, f"a session may offer {limit} methods")
        registration = self._registration(name, attributes)
        source = Source(registration, Endpoint(""), self.peer, self._session.id)
        if there is None or there.source != source:
            self.withdraw_one(name)
            self._desk.site.sessions.add(name, source)
        self._offers[name] = Offer(source, filter_, id_)

    def withdraw_one(self, name: Name) -> None:
        """Offer a method no longer."""
        offer = self._offers.pop(name, None)
        if offer is not None:
            self._desk.site.sessions.remove(name, offer.source)

    def withdraw(self) -> None:
        """The client is gone: so is all that it offers, and every answer that it owes."""
        for name in list(self._offers):
            self.withdraw_one(name)
        self.outstanding.fail()

    def offered(self) -> list[Name]:
        """Return the methods that are offered now."""
        return list(self._offers)

    def check(self, name: Name) -> None:
        """Raise Refusal unless the client may offer a method."""
        site = self._desk.site
        route = site.view.find(name)
        call = Call(Action.BIND, name, self._session.principal, 0.0)
        if route is None:
            raise unknown(site.plane.access, site.view, call)
        access = site.plane.access
        decision = access.check(call.principal, Action.BIND, name, route.owner)
        if not decision.allowed:
            raise denial(access, call, route, decision)
        if route.kind is not Kind.METHOD:
            raise Refusal(Status.BAD_REQUEST, f"{name} is of kind {route.kind}, not a method")

    def answer(self, ret: Ret, packet: Publish) -> bool:
        """Pass an answer on; return whether anybody waited for it."""
        properties = packet.properties
        said = ret.status or next(
            (v for k, v in (properties.attributes if properties else ()) if k == STATUS), "ok"
        )
        status = _STATUSES.get(said)
        if status is None:
            detail = f"{said[:40]!r} is no status; use one of {', '.join(_STATUSES)}"
            raise Refusal(Status.BAD_REQUEST, detail)
        kind = content_type_of(properties).encode()
        return self.outstanding.answer(ret.id, status, kind, packet.payload)

    # The Providing port

    def is_ready(self) -> bool:
        """Return whether the client is there and takes what it is sent."""
        return self._session.connected and not self._session.slow

    def call(self, call_id: str, call: Call, payload: bytes) -> None:
        """Send a call to the client."""
        offer = self._offers.get(call.name)
        if offer is None or not self._session.send(self._packet(offer, call_id, call, payload)):
            detail = "the session that provides the method does not take so much, or is gone"
            body = document_of(Refusal(Status.UNAVAILABLE, detail))

            def fail() -> None:
                self.outstanding.answer(call_id, Status.UNAVAILABLE, MEDIA_TYPE.encode(), body)

            self._desk.later(fail)

    def cancel(self, call_id: str) -> None:
        """MQTT has no word for this: an answer that comes all the same is dropped."""

    # Inside

    def _packet(self, offer: Offer, call_id: str, call: Call, payload: bytes) -> Publish:
        topic = offer.text
        if offer.filter.startswith(CALL):
            topic = f"{CALL}{offer.text}/{call_id}"
        if self._session.version != V5:
            return Publish(topic, payload)
        left = max(call.deadline - self._desk.site.plane.now, 0.0)
        properties = Properties(
            content_type=call.content_type.decode("latin-1"),
            response_topic=f"{RET}{offer.text}/{call_id}",
            correlation=call_id.encode(),
            expiry=ceil(left),
            attributes=((PRINCIPAL, call.principal.id), *attributes(call)),
            subscription_ids=offer.ids,
        )
        return Publish(topic, payload, properties=properties)

    def _registration(self, name: Name, attributes: Attributes) -> RegistrationId:
        """Return as which registration the client offers a name: the first that fits."""
        said = dict(attributes)
        wanted = [said.get(key, "") for key in (SERVICE, VERSION, INSTANCE)]
        record = self._desk.site.catalog.names.get(name)
        offers = [] if record is None else [offer.registration for offer in record.offers]
        for offered in offers:
            if all(want in ("", have) for want, have in zip(wanted, offered, strict=True)):
                return offered
        there = ", ".join(map(str, offers)) or "no registration"
        raise Refusal(Status.CONFLICT, f"{name} is offered by {there}, not by what you say")
