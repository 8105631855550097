"""The neutral messages between adapters: a Call, its Reply, an Event, and the Status table."""

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mypy_extensions import mypyc_attr

from policy.model import Action, Principal
from registry.names import Name

if TYPE_CHECKING:
    from gateway.tracing import Span

Fields = list[bytes]
"""End-to-end header fields in wire order, flat: name, ``": "``, value, CRLF, name, …

So rendering a head is one join; whole lines of our own may stand among them in a reply."""


class Wire(NamedTuple):
    """How one status looks on each protocol (design 4)."""

    http: int
    coap: str
    mqtt: int
    exit: int
    title: str


class Status(IntEnum):
    """The closed table of outcomes; every adapter renders from ``WIRE``."""

    OK = 0
    BAD_REQUEST = 1
    UNAUTHENTICATED = 2
    DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    TOO_LARGE = 6
    UNSUPPORTED_TYPE = 7
    INVALID = 8
    THROTTLED = 9
    UNAVAILABLE = 10
    TIMEOUT = 11
    CANCELLED = 12
    PROVIDER_ERROR = 13
    INTERNAL = 14
    NOT_ACCEPTABLE = 15

    @property
    def slug(self) -> str:
        """The status as users write and read it, such as ``not-found``."""
        return self.name.lower().replace("_", "-")

    @property
    def wire(self) -> Wire:
        """How it looks on each protocol."""
        return WIRE[self]


WIRE = (
    Wire(200, "2.05", 0x00, 0, "OK"),
    Wire(400, "4.00", 0x83, 2, "Bad request"),
    Wire(401, "4.01", 0x87, 3, "Authentication needed"),
    Wire(403, "4.03", 0x87, 4, "Denied"),
    Wire(404, "4.04", 0x90, 5, "Not found"),
    Wire(409, "4.09", 0x83, 6, "Conflict"),
    Wire(413, "4.13", 0x95, 7, "Too large"),
    Wire(415, "4.15", 0x99, 8, "Unsupported type"),
    Wire(422, "4.22", 0x99, 9, "Invalid content"),
    Wire(429, "4.29", 0x97, 10, "Throttled"),
    Wire(503, "5.03", 0x88, 11, "Unavailable"),
    Wire(504, "5.04", 0x83, 12, "Timeout"),
    Wire(499, "5.00", 0x83, 13, "Cancelled"),
    Wire(502, "5.02", 0x83, 14, "Provider error"),
    Wire(500, "5.00", 0x80, 1, "Internal error"),
    Wire(406, "4.06", 0x99, 15, "Not acceptable"),
)
"""HTTP: RFC 9110 and RFC 6585; CoAP: RFC 7252, 8132 and 8516; MQTT 5: reason codes of table 2-6.

499 is nobody's standard: it stands in counters only, for a client that is gone reads no answer.
"""

_OF_HTTP = {wire.http: Status(number) for number, wire in enumerate(WIRE)}
_CLASS_OF_HTTP = {4: Status.BAD_REQUEST, 5: Status.PROVIDER_ERROR}


def status_of_http(code: int) -> Status:
    """Return the Status that an HTTP status code means."""
    status = _OF_HTTP.get(code)
    return _CLASS_OF_HTTP.get(code // 100, Status.OK) if status is None else status


LONGEST_TYPE: Final = 512
"""Characters of a media type that the gateway understands; HTTP may pass on longer ones."""


def portable_type(content_type: bytes) -> bytes:
    """Return a media type if every protocol can carry it, else b"": it is not told then."""
    return content_type if len(content_type) <= LONGEST_TYPE and content_type.isascii() else b""


class Origin(StrEnum):
    """Who made a reply: the gateway itself or the provider behind it."""

    GATEWAY = "gateway"
    PROVIDER = "provider"


@mypyc_attr(allow_interpreted_subclasses=True)
class Refusal(Exception):
    """A call that Hilum itself answers with an error.

    ``detail`` is for the caller, ``retry_after`` in seconds (0: says nothing), ``extra`` are
    further members of the problem document (RFC 9457), such as the problems of a manifest.
    """

    def __init__(
        self,
        status: Status,
        detail: str,
        *,
        retry_after: int = 0,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra or {}


class Unsynced(Refusal):
    """An event was taken, but durable sessions do not have it on disk yet: it may still come."""


class Unwritten(Refusal):
    """A change did not get into the log or into force; the plan is not to blame: try again."""


class Call:
    """One request to a name.

    ``deadline`` is on the loop's clock in seconds. ``verb`` and ``query`` are what an HTTP caller
    used (the provider of an untyped endpoint gets them); ``length`` is the payload's length in
    bytes, -1 when it is not known before its end. ``peer`` is the caller's address.
    """

    __slots__ = (
        "action",
        "content_type",
        "deadline",
        "fields",
        "hops",
        "length",
        "name",
        "peer",
        "principal",
        "query",
        "span",
        "sticky",
        "traceparent",
        "verb",
    )

    def __init__(
        self,
        action: Action,
        name: Name,
        principal: Principal,
        deadline: float,
        fields: Fields | None = None,
        length: int = 0,
        content_type: bytes = b"",
        verb: bytes = b"POST",
        query: bytes = b"",
        hops: int = 0,
        peer: str = "",
    ) -> None:
        self.action = action
        self.name = name
        self.principal = principal
        self.deadline = deadline
        self.fields: Fields = [] if fields is None else fields
        self.length = length
        self.content_type = content_type
        self.verb = verb
        self.query = query
        self.hops = hops
        self.peer = peer
        self.sticky = b""
        self.traceparent = b""
        """Where the call stands in a trace (W3C Trace Context); it is among ``fields`` too."""
        self.span: Span | None = None
        """What is recorded of it, if it is sampled."""


class Reply:
    """The head of an answer.

    ``code`` is the provider's own code on the provider's protocol (an HTTP status here), 0 when
    the gateway answers. ``length`` is the payload's length in bytes, -1 when not known.
    """

    __slots__ = ("code", "content_type", "fields", "length", "origin", "status")

    def __init__(
        self,
        status: Status,
        origin: Origin = Origin.GATEWAY,
        code: int = 0,
        content_type: bytes = b"",
        length: int = -1,
        fields: Fields | None = None,
    ) -> None:
        self.status = status
        self.origin = origin
        self.code = code
        self.content_type = content_type
        self.length = length
        self.fields: Fields = [] if fields is None else fields


class EventId(NamedTuple):
    """Position in a channel: ``incarnation-sequence`` on the wire (design 6)."""

    incarnation: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.incarnation}-{self.sequence}"


class Extras(NamedTuple):
    """What a publisher said beyond type and payload; subscribers get it as it was said.

    ``attributes`` are user properties (MQTT 5.0 section 3.3.2.3.7), ``expires`` is Unix time in
    milliseconds after which nobody wants the event (0: never), ``text`` says that the payload is
    UTF-8 text.
    """

    attributes: tuple[tuple[str, str], ...] = ()
    expires: int = 0
    text: bool = False
    response_topic: str = ""
    correlation: bytes | None = None


class Mark(NamedTuple):
    """A packet identifier of a QoS 2 message that a session's client has sent (method B)."""

    session: str
    packet_id: int


class Event:
    """One published event; ``time`` is Unix time in milliseconds, ``source`` who published it.

    ``qos`` is how sure its delivery is to be (0: may be lost, 1 and 2: not), ``retain`` whether
    its publisher wants it to be a free topic's last value (a channel's is every event), and
    ``origin`` the session that published it, which may not want it back.
    """

    __slots__ = (
        "channel",
        "content_type",
        "extras",
        "id",
        "origin",
        "payload",
        "qos",
        "retain",
        "source",
        "time",
    )

    def __init__(
        self,
        channel: Name,
        event_id: EventId,
        time: int,
        source: str,
        content_type: str,
        payload: bytes,
        qos: int = 1,
        retain: bool = True,
        extras: Extras | None = None,
        origin: str = "",
    ) -> None:
        self.channel = channel
        self.id = event_id
        self.time = time
        self.source = source
        self.content_type = content_type
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.extras = extras
        self.origin = origin

    def with_payload(self, payload: bytes) -> "Event":
        """Return the same event with another payload."""
        return Event(
            self.channel,
            self.id,
            self.time,
            self.source,
            self.content_type,
            payload,
            self.qos,
            self.retain,
            self.extras,
            self.origin,
        )
