"""One client of the WebSocket facade: what it asks, subscribes to and provides."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.http.websockets import messages, websocket
from adapters.http.wire import render
from adapters.http.wire.payloads import members
from gateway.asking import Asking
from gateway.channels import refuse_subscription
from gateway.exchange import Exchange
from gateway.first_use.holding import held
from gateway.identity.identity import Pending
from gateway.message import Call, Event, Refusal, Reply, Status
from gateway.objects.answers import name_of, require
from gateway.provided import Outstanding
from gateway.refusals import denial, unknown
from gateway.subscriptions import OLDEST, Gap, Subscription, parse_event_id
from gateway.view import Route
from policy.decision import Decision
from policy.model import ANONYMOUS, Action, Principal
from policy.resolution import Source
from registry.model import Endpoint, Kind, RegistrationId
from registry.names import Name

if TYPE_CHECKING:
    from adapters.http.websockets.socket import Sockets
    from adapters.http.websockets.websocket import WebSocket

CALLS = 128
SUBSCRIPTIONS = 256
PROVIDED = 1024
"""What one socket may have open at the same time."""
BACKLOG = 4 * 1024 * 1024
"""Bytes that wait for a client; with more it gets no calls to answer."""

Key = int | str | None


class Session:
    """What one client has open. Everything it does is decided as its principal."""

    def __init__(
        self,
        sockets: "Sockets",
        connection: "WebSocket",
        principal: Principal,
        peer: str,
        number: int,
    ) -> None:
        self.id = f"socket-{number}"
        self.principal = principal
        self.outstanding = Outstanding(self)
        self._sockets = sockets
        self._site = sockets.site
        self._connection = connection
        self._peer = peer
        self._calls: dict[object, Asking] = {}
        self._subscriptions: dict[int | str, _Subscribed] = {}
        self._provided: dict[Name, Source] = {}
        self._pending: Pending | None = None
        self._later: list[str] = []
        """Messages that came while the client is being authenticated."""
        self._operations: dict[type, Callable[[Any], None]] = {
            messages.Auth: self._authenticate,
            messages.CallMethod: self._call_method,
            messages.Publish: self._publish,
            messages.Subscribe: self._subscribe,
            messages.Unsubscribe: self._unsubscribe,
            messages.Describe: self._describe,
            messages.Get: self._get,
            messages.Provide: self._provide,
            messages.Withdraw: self._withdraw,
            messages.Answer: self._answer,
        }

    # The connection's side

    def message(self, text: str) -> None:
        """Do what a message asks for."""
        if self._pending is not None:
            self._later.append(text)
            return
        if self._site.time() >= self.principal.expires:
            self._connection.close(websocket.POLICY, "the credential has expired")
            return
        key = None
        try:
            operation = messages.read_message(text)
            key = operation.id
            self._operations[type(operation)](operation)
        except Refusal as refusal:
            self._refuse(messages.id_of(text) if key is None else key, refusal)

    def pause(self) -> None:
        """The client is slow: events wait."""
        for subscribed in self._subscriptions.values():
            subscribed.subscription.pause()

    def resume(self) -> None:
        """The client caught up."""
        for subscribed in list(self._subscriptions.values()):
            if not self._connection.paused:
                subscribed.subscription.resume()

    def closed(self) -> None:
        """The connection is gone: so is everything that it had open."""
        self._sockets.remove(self)
        if self._pending is not None:
            self._pending.cancel()
        for asking in list(self._calls.values()):
            asking.cancel()
        for subscribed in list(self._subscriptions.values()):
            subscribed.subscription.close()
        for name, source in self._provided.items():
            self._site.sessions.remove(name, source)
        self._calls.clear()
        self._subscriptions.clear()
        self._provided.clear()
        self.outstanding.fail()

    def redecide(self) -> None:
        """Withdraw what policy does not let this client provide any longer."""
        for name in list(self._provided):
            try:
                self._may_bind(name)
            except Refusal as refusal:
                self._site.sessions.remove(name, self._provided.pop(name))
                self.say({"op": "end", "name": name, **messages.problem_of(refusal)})

    # What its parts call

    def say(self, document: dict[str, object]) -> None:
        """Send a message."""
        self._connection.send(msgspec.json.encode(document).decode())

    def event(self, prefix: str, event: Event) -> None:
        """Send an event; its message is the same for all but the subscription."""
        self._connection.send(prefix + self._sockets.tail_of(event))

    def ended(self, sub: int | str, refusal: Refusal) -> None:
        """The site ended a subscription."""
        self._subscriptions.pop(sub, None)
        self.say({"op": "end", "sub": sub, **messages.problem_of(refusal)})

    # The providing side

    def is_ready(self) -> bool:
        """Return whether the client takes calls now."""
        return self._connection.session is self and self._connection.backlog() < BACKLOG

    def call(self, call_id: str, call: Call, payload: bytes) -> None:
        """Send a call of a method that the client provides."""
        left = int((call.deadline - self._site.plane.now) * 1000)
        document: dict[str, object] = {"op": "call", "id": call_id, "name": call.name}
        document |= {"principal": call.principal.id, "timeout": max(left, 1)}
        if call.fields:
            document |= messages.trace_of(call.fields)
        self.say({**document, **members(call.content_type.decode("latin-1"), payload)})

    def cancel(self, call_id: str) -> None:
        """Say that nobody waits for an answer any more."""
        self.say({"op": "cancel", "id": call_id})

    # Operations

    def _authenticate(self, operation: messages.Auth) -> None:
        def told(found: Principal | Refusal) -> None:
            self._pending = None
            try:
                self._identified(operation.id, found)
            except Refusal as refusal:
                self._refuse(operation.id, refusal)
            later, self._later = self._later, []
            for text in later:
                self.message(text)
            self._connection.go_on()

        found = self._site.identity.bearer(operation.token, self._peer, told)
        if isinstance(found, Pending):
            self._pending = found
            self._connection.hold()
        else:
            self._identified(operation.id, found)

    def _identified(self, key: Key, found: Principal | Refusal) -> None:
        """Go on as who the client is; who it was before, it has to stay."""
        if isinstance(found, Refusal):
            raise found
        if self.principal is not ANONYMOUS and found.id != self.principal.id:
            detail = f"this socket is {self.principal.id}'s already: open another one"
            raise Refusal(Status.CONFLICT, detail)
        self.principal = found
        self._connection.limit = self._sockets.message_limit
        self._accept(key, principal=found.id)
        for asking in self._calls.values():
            asking.act_as(found)
        refuse = partial(refuse_subscription, self._site.plane)
        for subscribed in list(self._subscriptions.values()):
            subscribed.subscription.act_as(found, refuse)
        self.redecide()

    def _call_method(self, operation: messages.CallMethod) -> None:
        route = self._route(operation.name, Action.CALL, Kind.METHOD)
        own = route.method.timeout if route.method is not None else 0
        limits = self._sockets.limits
        wanted = operation.timeout or own or limits.timeout
        payload, content_type = messages.payload_of(operation)
        call = self._new_call(route, route.action, min(wanted, limits.timeout_cap))
        messages.fill(call, operation)
        self._ask(operation.id, route, call, payload, content_type)

    def _publish(self, operation: messages.Publish) -> None:
        route = self._route(operation.name, Action.PUBLISH, Kind.CHANNEL)
        payload, content_type = messages.payload_of(operation)
        call = self._new_call(route, Action.PUBLISH)
        messages.fill(call, operation)
        self._ask(operation.id, route, call, payload, content_type)

    def _get(self, operation: messages.Get) -> None:
        route = self._route(operation.name, Action.SUBSCRIBE, Kind.CHANNEL)
        self._ask(operation.id, route, self._new_call(route, Action.SUBSCRIBE))

    def _describe(self, operation: messages.Describe) -> None:
        route = self._route(operation.name, Action.DESCRIBE, Kind.OBJECT)
        self._ask(operation.id, route, self._new_call(route, Action.DESCRIBE))

    def _subscribe(self, operation: messages.Subscribe) -> None:
        after, group, sub = operation.after, operation.group, operation.id
        if sub in self._subscriptions:
            raise Refusal(Status.CONFLICT, f"there is a subscription {sub!r} already")
        if len(self._subscriptions) >= SUBSCRIPTIONS:
            raise messages.too_many(SUBSCRIPTIONS, "subscriptions")
        if after and after != OLDEST and parse_event_id(after) is None:
            detail = f"after: {after!r} is no event id; use one such as 5f3a91c2-17"
            raise Refusal(Status.BAD_REQUEST, detail)
        if after and group:
            detail = "after: a group does not resume, its members share the events"
            raise Refusal(Status.BAD_REQUEST, detail)
        route = self._route(operation.name, Action.SUBSCRIBE, Kind.CHANNEL)
        plane, again = self._site.plane, partial(self._subscribe_again, operation)
        if not group and held(plane, self.principal, Action.SUBSCRIBE, route.name, again):
            return
        refusal = refuse_subscription(plane, self.principal, route.name, group)
        status = Status.OK if refusal is None else refusal.status
        route.meter.observe(Action.SUBSCRIBE, status, 0.0)
        if refusal is not None:
            raise refusal
        self._accept(sub, sub=sub)
        subscribed = self._subscriptions[sub] = _Subscribed(self, sub)
        subscribed.subscription = self._sockets.channels.subscribe(
            route, self.principal, subscribed, after=after, group=group
        )
        if not self._connection.paused:
            subscribed.subscription.resume()

    def _subscribe_again(self, operation: messages.Subscribe, _: Decision) -> None:
        """A first use has been decided."""
        if self._connection.session is self:
            try:
                self._subscribe(operation)
            except Refusal as refusal:
                self._refuse(operation.id, refusal)

    def _unsubscribe(self, operation: messages.Unsubscribe) -> None:
        subscribed = self._subscriptions.pop(operation.sub, None)
        if subscribed is None:
            raise Refusal(Status.NOT_FOUND, f"there is no subscription {operation.sub!r}")
        subscribed.subscription.close()
        self._accept(operation.id, sub=operation.sub)

    def _provide(self, operation: messages.Provide) -> None:
        name = name_of(self._site, operation.name)
        if name in self._provided:
            raise Refusal(Status.CONFLICT, f"this socket provides {name} already")
        if len(self._provided) >= PROVIDED:
            raise messages.too_many(PROVIDED, "provided methods")
        self._may_bind(name)
        wanted = RegistrationId(operation.microservice, operation.version, operation.instance)
        source = Source(self._registration(name, wanted), Endpoint(""), self._peer, self.id)
        self._provided[name] = source
        self._site.sessions.add(name, source)
        self._accept(operation.id, name=name)

    def _withdraw(self, operation: messages.Withdraw) -> None:
        name = name_of(self._site, operation.name)
        source = self._provided.pop(name, None)
        if source is None:
            raise Refusal(Status.NOT_FOUND, f"this socket does not provide {name}")
        self._site.sessions.remove(name, source)
        self._accept(operation.id, name=name)

    def _answer(self, operation: messages.Answer) -> None:
        status = messages.status_of(operation.status)
        payload, content_type = messages.payload_of(operation)
        if operation.detail:
            refusal = Refusal(status, operation.detail)
            payload, content_type = render.refusal_document(refusal)[2], b"application/problem+json"
        self.outstanding.answer(operation.id, status, content_type, payload)

    # Inside

    def _route(self, text: str, action: Action, kind: Kind) -> Route:
        """Return the Route of a name that must be of a kind; raises Refusal."""
        name = name_of(self._site, text, reserved=True)
        plane = self._site.plane
        route = plane.view.find(name)
        call = Call(action, name, self.principal, 0.0)
        if route is None:
            raise unknown(plane.access, plane.view, call)
        if route.kind is not kind:
            decision = plane.access.check(self.principal, action, name, route.owner)
            if not decision.allowed:
                raise denial(plane.access, call, route, decision)
            raise Refusal(Status.BAD_REQUEST, f"{name} is of kind {route.kind}, not {kind}")
        return route

    def _new_call(self, route: Route, action: Action, timeout: int = 0) -> Call:
        timeout = timeout or self._sockets.limits.timeout
        plane = self._site.plane
        call = Call(action, route.name, self.principal, plane.now + timeout / 1000)
        call.peer = self._peer
        if route.selection is not None and route.selection.sticky == "principal":
            call.sticky = self.principal.id.encode()
        return call

    def _ask(
        self, key: Key, route: Route, call: Call, payload: bytes = b"", content_type: bytes = b""
    ) -> None:
        """Make a call; its reply is sent when it is whole."""
        slot: object = object() if key is None else key
        if slot in self._calls:
            raise Refusal(Status.CONFLICT, f"the call {key!r} is not answered yet")
        if len(self._calls) >= CALLS:
            raise messages.too_many(CALLS, "unanswered calls")
        call.length = len(payload)
        call.content_type = content_type
        if content_type:
            call.fields += (b"Content-Type", b": ", content_type, b"\r\n")

        def done(head: Reply, body: bytes) -> None:
            if self._calls.pop(slot, None) is not None and key is not None:
                self.say(messages.reply_of(key, head, body))

        def refused(refusal: Refusal) -> None:
            if self._calls.pop(slot, None) is not None:
                self._refuse(key, refusal)

        asking = self._calls[slot] = Asking(self._sockets.limits.message, done, refused)
        asking.begin(Exchange(self._site.plane, call, route, asking), payload)

    def _may_bind(self, name: Name) -> None:
        """Raise Refusal unless the client may provide a method."""
        route = self._site.view.find(name)
        call = Call(Action.BIND, name, self.principal, 0.0)
        require(self._site, call, Action.BIND, name, route.owner if route is not None else "")
        if route is None or route.kind is not Kind.METHOD:
            detail = f"{name} is no registered method: register it before you provide it"
            raise Refusal(Status.NOT_FOUND, detail)

    def _registration(self, name: Name, wanted: RegistrationId) -> RegistrationId:
        """Return as which registration the client provides a name: the first that fits."""
        record = self._site.catalog.names.get(name)
        offers = [] if record is None else [offer.registration for offer in record.offers]
        for offered in offers:
            if all(want in ("", have) for want, have in zip(wanted, offered, strict=True)):
                return offered
        there = ", ".join(map(str, offers)) or "no registration"
        raise Refusal(Status.CONFLICT, f"{name} is offered by {there}, not by what you say")

    def _accept(self, key: Key, **what: object) -> None:
        if key is not None:
            self.say({"op": "reply", "id": key, "status": "ok", **what})

    def _refuse(self, key: Key, refusal: Refusal) -> None:
        self.say({"op": "reply", "id": key, **messages.problem_of(refusal)})


class _Subscribed:
    """The client's side of one subscription."""

    def __init__(self, session: Session, sub: int | str) -> None:
        self.subscription: Subscription
        self._session = session
        self._sub = sub
        self._prefix = f'{{"op":"event","sub":{msgspec.json.encode(sub).decode()},'

    def deliver(self, event: Event) -> None:
        self._session.event(self._prefix, event)

    def gap(self, gap: Gap) -> None:
        document: dict[str, object] = {"op": "gap", "sub": self._sub, "id": str(gap.until)}
        lost = gap.lost if gap.lost >= 0 else None
        self._session.say({**document, "reason": gap.reason, "after": gap.after, "lost": lost})

    def ended(self, refusal: Refusal) -> None:
        self._session.ended(self._sub, refusal)
