"""A client as the caller of methods (design 6).

In 5.0 a call is a PUBLISH to the method's name, answered on its Response Topic with its
Correlation Data. ``$rpc/<client>/<id>/<name>`` is answered on ``$reply/<client>/<id>``, an error on
``$reply/<client>/<id>/<status>``. A reply goes to the calling session only.
"""

import re
from typing import NamedTuple

from adapters.mqtt.desk.desk import Desk, why
from adapters.mqtt.desk.names import REPLY, Rpc
from adapters.mqtt.sessions.ports import Session
from adapters.mqtt.wire.packets import V5, Properties, Publish
from gateway.asking import Asking
from gateway.exchange import Exchange
from gateway.message import Call, Fields, Origin, Refusal, Reply, Status
from gateway.problems import MEDIA_TYPE, document_of
from gateway.view import Route
from policy.model import Principal

STATUS = "hilum-status"
ORIGIN = "hilum-origin"
"""User properties of a reply: how the call ended, and who says so."""
TRACE_NAME = b"Traceparent"
TRACES = {"traceparent": TRACE_NAME, "tracestate": b"Tracestate"}
"""User properties that are passed on to the provider (W3C Trace Context)."""

_FIELD = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")


class Return(NamedTuple):
    """Where a reply goes. ``rpc``: an error has a topic of its own."""

    topic: str
    correlation: bytes | None = None
    rpc: bool = False


NOWHERE = Return("")
"""The caller does not want to hear what came of it."""


def return_of(properties: Properties | None) -> Return:
    """Return where the reply to a PUBLISH goes."""
    if properties is None or not properties.response_topic:
        return NOWHERE
    return Return(properties.response_topic, properties.correlation)


def return_of_rpc(rpc: Rpc, session: Session) -> Return:
    """Return where the reply to a ``$rpc`` call goes."""
    return Return(f"{REPLY}{session.client_id}/{rpc.id}", rpc=True)


def content_type_of(properties: Properties | None) -> str:
    """Return a Content Type that other protocols can carry too; raises Refusal."""
    if properties is None or not properties.content_type:
        return ""
    if not _FIELD.fullmatch(properties.content_type):
        detail = "a Content Type has at most 512 characters of printable ASCII"
        raise Refusal(Status.BAD_REQUEST, detail)
    return properties.content_type


class Calls:
    """The calls of one session that are not answered yet."""

    __slots__ = ("_desk", "_open", "_session")

    def __init__(self, desk: Desk, session: Session) -> None:
        self._desk = desk
        self._session = session
        self._open: set[_Calling] = set()

    def call(self, route: Route, packet: Publish, to: Return, peer: str) -> Refusal | None:
        """Make a call; return why not, if it is refused at once (a reply says so too)."""
        settings = self._desk.settings
        if len(self._open) >= settings.calls:
            detail = f"a session may have {settings.calls} unanswered calls: wait for a reply"
            raise Refusal(Status.THROTTLED, detail, retry_after=1)
        if len(packet.payload) > settings.message:
            detail = f"the payload of a call may have {settings.message} bytes"
            raise Refusal(Status.TOO_LARGE, detail)
        call = self._new_call(route, packet, peer)
        calling = _Calling(self, to)
        self._open.add(calling)
        calling.asking = Asking(settings.message, calling.done, calling.refused)
        exchange = Exchange(self._desk.site.plane, call, route, calling.asking)
        calling.asking.begin(exchange, packet.payload)
        return calling.refusal

    def act_as(self, principal: Principal) -> None:
        """The client has authenticated again."""
        for calling in self._open:
            if calling.asking is not None:
                calling.asking.act_as(principal)

    def cancel(self) -> None:
        """The client is gone: nobody waits for replies."""
        calls, self._open = self._open, set()
        for calling in calls:
            if calling.asking is not None:
                calling.asking.cancel()

    def done(self, calling: "_Calling", head: Reply, body: bytes) -> None:
        """A whole reply came."""
        if calling in self._open:
            self._open.discard(calling)
            kind = head.content_type.decode("latin-1")
            if not self._reply(calling.to, head.status, head.origin, kind, body):
                detail = "the reply is larger than this client takes"
                self.answer(calling.to, Refusal(Status.TOO_LARGE, detail))

    def refused(self, calling: "_Calling", refusal: Refusal) -> None:
        """The gateway refused the call."""
        if calling in self._open:
            self._open.discard(calling)
            calling.refusal = refusal
            self.answer(calling.to, refusal)

    def answer(self, to: Return, refusal: Refusal) -> None:
        """Reply with an error of the gateway: a problem document (RFC 9457)."""
        said = Refusal(refusal.status, why(refusal), extra=refusal.extra)
        self._reply(to, refusal.status, Origin.GATEWAY, MEDIA_TYPE, document_of(said))

    def _reply(self, to: Return, status: Status, origin: Origin, kind: str, body: bytes) -> bool:
        if not to.topic:
            return True
        topic, slug = to.topic, status.slug
        if to.rpc and status is not Status.OK:
            topic = f"{topic}/{slug}"
        properties = None
        if self._session.version == V5:
            properties = Properties(
                content_type=kind,
                correlation=to.correlation,
                attributes=((STATUS, slug), (ORIGIN, origin)),
            )
        return self._session.send(Publish(topic, body, properties=properties))

    def _new_call(self, route: Route, packet: Publish, peer: str) -> Call:
        """Make the Call of a PUBLISH: its Message Expiry Interval is the deadline."""
        settings, plane = self._desk.settings, self._desk.site.plane
        properties = packet.properties
        own = route.method.timeout if route.method is not None else 0
        timeout = own or settings.timeout
        if properties is not None and properties.expiry is not None:
            timeout = properties.expiry * 1000
        deadline = plane.now + min(timeout, settings.timeout_cap) / 1000
        principal = self._session.principal
        call = Call(route.action, route.name, principal, deadline, length=len(packet.payload))
        call.peer = peer
        call.content_type = content_type_of(properties).encode()
        call.fields = _fields(call.content_type, properties)
        if TRACE_NAME in call.fields:
            call.traceparent = call.fields[call.fields.index(TRACE_NAME) + 2]
        if route.selection is not None and route.selection.sticky == "principal":
            call.sticky = principal.id.encode()
        return call


class _Calling:
    """One call that is not answered yet."""

    __slots__ = ("_calls", "asking", "refusal", "to")

    def __init__(self, calls: Calls, to: Return) -> None:
        self._calls = calls
        self.to = to
        self.asking: Asking | None = None
        self.refusal: Refusal | None = None

    def done(self, head: Reply, body: bytes) -> None:
        self._calls.done(self, head, body)

    def refused(self, refusal: Refusal) -> None:
        self._calls.refused(self, refusal)


def _fields(content_type: bytes, properties: Properties | None) -> Fields:
    """Return the header fields that the provider gets."""
    fields = [b"Content-Type", b": ", content_type, b"\r\n"] if content_type else []
    for name, value in properties.attributes if properties is not None else ():
        field = TRACES.get(name)
        if field is not None and _FIELD.fullmatch(value):
            fields += [field, b": ", value.encode(), b"\r\n"]
    return fields
