"""One request and its answer: the caller of an exchange, whatever the request came over."""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from adapters.coap.serving.asked import BLOCK, Asked, Block, digest
from adapters.coap.serving.blockwise import Kept, Key, Upload, piece
from adapters.coap.wire import formats
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import FETCH, GET, METHODS, code_of, code_text
from adapters.coap.wire.options import Options, ordered, uint_value
from gateway.exchange import Exchange
from gateway.message import Event, Origin, Refusal, Reply, Status, status_of_http
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.coap.serving.observations import Observation
    from adapters.coap.serving.service import Service

CREATED: Final = code_of("2.01")
VALID: Final = code_of("2.03")
CONTINUE: Final = code_of("2.31")
CHANGED: Final = code_of("2.04")
CONTENT: Final = code_of("2.05")
BAD_REQUEST: Final = code_of("4.00")
BAD_OPTION: Final = code_of("4.02")
UNAUTHORIZED: Final = code_of("4.01")
NOT_ALLOWED: Final = code_of("4.05")
NOT_ACCEPTABLE: Final = code_of("4.06")
INCOMPLETE: Final = code_of("4.08")
PRECONDITION: Final = code_of("4.12")
TOO_LARGE: Final = code_of("4.13")
ERROR: Final = code_of("4.00")
TITLES: Final = {
    "4.00": "Bad request",
    "4.02": "Bad option",
    "4.04": "Not found",
    "4.05": "Method not allowed",
    "4.06": "Not acceptable",
    "4.08": "Request entity incomplete",
    "4.12": "Precondition failed",
    "4.13": "Too large",
    "4.15": "Unsupported content format",
    "5.05": "Proxying not supported",
    "5.08": "Hop limit reached",
}
"""Of errors that only CoAP has (RFC 7252 section 12.1.2, RFC 7959, 8132 and 8768)."""
NEEDS_CONTEXT: Final = (
    "authentication is needed: use a security context (OSCORE), or let the operator allow "
    "anonymous callers"
)
_OF_BLOCK: Final = ((o.BLOCK2, bytes(3)), (o.ETAG, bytes(8)), (o.SIZE2, bytes(3)))
"""What a block has beside the options of the whole answer, at most."""
_CODES: Final = tuple(code_of(status.wire.coap) for status in Status)
_OF_HTTP: Final = {201: CREATED, 204: CHANGED}


@mypyc_attr(allow_interpreted_subclasses=True)
class Client:
    """Who asks: one address, connection or security context, and what it has open."""

    __slots__ = ("address", "downloads", "largest", "observations", "open", "principal", "uploads")

    def __init__(self, address: str, principal: Principal, largest: int) -> None:
        self.address = address
        self.principal = principal
        self.largest = largest
        """Bytes of the largest payload of one message to it."""
        self.open = 0
        """Requests that wait for their answers."""
        self.uploads: dict[Key, Upload] = {}
        self.downloads: dict[Key, Kept] = {}
        self.observations: dict[bytes, Observation] = {}

    def is_verified(self, now: float) -> bool:
        """Return whether it really is where its messages come from."""
        return now >= 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Turn:
    """Answers one request, once. Notifications may follow (RFC 7641)."""

    head: Reply
    parts: list[bytes]
    size: int
    __slots__ = (
        "answered",
        "asked",
        "client",
        "code",
        "confirms",
        "exchange",
        "head",
        "parts",
        "payload",
        "reliable",
        "service",
        "size",
        "token",
    )

    def __init__(
        self, service: "Service", client: Client, code: int, token: bytes, asked: Asked
    ) -> None:
        self.service = service
        self.client = client
        self.code = code
        self.token = token
        self.asked = asked
        self.payload = b""
        self.reliable = True
        self.confirms = False
        """Whether it is told what becomes of a notification."""
        self.exchange: Exchange | None = None
        self.answered = False

    # What each transport does in its own way

    def send(self, code: int, options: Options, payload: bytes) -> None:
        """Send the answer."""
        raise NotImplementedError

    def notify(
        self,
        code: int,
        options: Options,
        payload: bytes,
        watch: "Observation | None",
        *,
        confirmable: bool,
    ) -> None:
        """Send a notification; the observation is told what becomes of it."""
        raise NotImplementedError

    def trust(self) -> None:
        """The request proves who sent it: its answer may be as large as it is."""

    def room(self, _options: Options) -> int:
        """Return how many bytes of payload may go with these options to the client."""
        return self.client.largest

    def challenge(self) -> None:
        """Ask the client to show that it is where its request says (RFC 9175 section 2.3)."""
        raise NotImplementedError

    # The Caller port

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The reply began."""
        self.head = head
        self.parts = []
        self.size = 0
        if end and len(body) <= self.service.limit:
            self._whole(head, body)
        else:
            self.reply_body(body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The reply goes on."""
        self.parts.append(data)
        self.size += len(data)
        if self.size > self.service.limit:
            self.parts.clear()
            self.cancel()
            detail = f"the reply is larger than {self.service.limit} bytes, ask for it over HTTP"
            self.refuse(Refusal(Status.TOO_LARGE, detail))
        elif end:
            self._whole(self.head, b"".join(self.parts))

    def refuse(self, refusal: Refusal) -> None:
        """The gateway refuses."""
        options: Options = []
        if self.client.principal.kind == "anonymous" and refusal.status is Status.UNAUTHENTICATED:
            refusal = Refusal(refusal.status, NEEDS_CONTEXT)
        if refusal.status is Status.TOO_LARGE:
            options.append((o.SIZE1, uint_value(self.service.limit)))
        body = formats.problem_details(refusal)
        self._error(_CODES[refusal.status], options, body, max_age=refusal.retry_after)

    def abort(self) -> None:
        """The reply broke off."""
        self.refuse(Refusal(Status.PROVIDER_ERROR, "the reply broke off"))

    def pause(self) -> None:
        """The payload was given in one piece."""

    def resume(self) -> None:
        """The payload was given in one piece."""

    # What the service and the transport call

    def cancel(self) -> None:
        """The client is gone, or wants no answer any more."""
        if self.exchange is not None:
            self.exchange.cancel()

    def fault(self, code: int, detail: str, *options: tuple[int, bytes]) -> None:
        """Answer with an error that only CoAP has."""
        title = TITLES.get(code_text(code), "")
        self._error(code, list(options), formats.problem(code, title, detail))

    def done(
        self,
        code: int,
        body: bytes = b"",
        content_type: bytes = b"",
        options: Options | None = None,
    ) -> None:
        """Answer with what the gateway has itself: JSON becomes CBOR where that is asked for."""
        self._content(code, content_type, body, options or [], own=True)

    def respond(self, code: int, options: Options, payload: bytes) -> None:
        """Answer, block by block if that does not fit one message (RFC 7959)."""
        if self.answered:
            return
        asked = self.asked
        if asked.block1 is not None:
            block = asked.block1
            options = [*options, (o.BLOCK1, Block(block.number, False, block.exponent).value())]
        wanted, room = asked.block2, self.room(options)
        limit = min(room, wanted.size) if wanted else room
        if code >= ERROR:
            if len(payload) > room:
                options, payload = [x for x in options if x[0] != o.CONTENT_FORMAT], b""
            self._send(code, options, payload)
        elif len(payload) <= limit and not (wanted and wanted.number):
            if wanted is not None and payload:
                options = [*options, (o.BLOCK2, Block(0, False, wanted.exponent).value())]
            self._send(code, options, payload)
        elif not self.serve(self._keep(code, options, payload)):
            self.fault(BAD_REQUEST, "the answer has no such block")

    def serve(self, kept: Kept) -> bool:
        """Answer with one block of an answer; return False when it has no such block.

        To a client that has not shown where it is go blocks so small that nobody can use them to
        flood others; if there is no room even for one of 16 bytes, or it seems to know what an
        Echo is (its own may be out of date), it has to show where it is.
        """
        wanted = self.asked.block2
        if wanted is None and len(kept.payload) <= self.room(kept.options):
            self._send(kept.code, kept.options, kept.payload)
            return True
        room = self.room([*kept.options, *_OF_BLOCK])
        exponent = min(BLOCK, room.bit_length() - 5)
        if exponent < 0 or (self.asked.echo and exponent < BLOCK):
            kept.challenged = True
            self.challenge()
            return True
        block = wanted or Block(0, False, exponent)
        if block.exponent > exponent:
            shift = block.exponent - exponent
            block = Block(block.number << shift, False, exponent)
        found = piece(kept, block)
        if found is not None:
            self._send(kept.code, found.options, found.payload)
        return found is not None

    def proceed(self) -> None:
        """Ask for the next block (RFC 7959 section 2.3)."""
        block = self.asked.block1
        assert block is not None
        self._send(CONTINUE, [(o.BLOCK1, Block(block.number, True, block.exponent).value())], b"")

    def empty_links(self) -> None:
        """Answer that no link fits: an empty document, with its form."""
        options = [(o.CONTENT_FORMAT, uint_value(formats.LINKS)), (o.MAX_AGE, b"")]
        self.respond(CONTENT, options, b"")

    @property
    def key(self) -> Key:
        """What requests have in common that are about the same answer."""
        return self.code, self.asked.key

    # Inside

    def _whole(self, head: Reply, body: bytes) -> None:
        """Answer with a provider's whole reply."""
        status = head.status
        provided = head.origin is Origin.PROVIDER
        if provided and head.code >= 400:
            status = status_of_http(head.code)
        if status is not Status.OK:
            options: Options = [(o.HILUM_ORIGIN, b"")] if provided else []
            content_format = formats.format_of(head.content_type)
            if body and content_format >= 0:
                options.append((o.CONTENT_FORMAT, uint_value(content_format)))
            self._error(_CODES[status], options, body)
            return
        code = CONTENT if self.code in (GET, FETCH) else _OF_HTTP.get(head.code, CHANGED)
        self._content(code, head.content_type, body, [], own=not provided)

    def _content(
        self, code: int, content_type: bytes, body: bytes, options: Options, *, own: bool
    ) -> None:
        content_format = formats.format_of(content_type) if body else -1
        accept = self.asked.accept
        if body and accept >= 0 and accept != content_format:
            if not (own and accept == formats.CBOR and content_format == formats.JSON):
                has = content_type.decode("latin-1") or "of no stated type"
                self.fault(NOT_ACCEPTABLE, f"the answer is {has}")
                return
            body, content_format = formats.to_cbor(body), formats.CBOR
        options = [*options]
        if content_format >= 0:
            options.append((o.CONTENT_FORMAT, uint_value(content_format)))
        if code == CONTENT:
            # What there is may change at any time; the default would be a minute.
            options.append((o.MAX_AGE, b""))
        self.respond(code, options, body)

    def _error(self, code: int, options: Options, body: bytes, max_age: int = 0) -> None:
        """Answer with an error: it may be another one next time (RFC 7252 section 5.9.2)."""
        options = [*options, (o.MAX_AGE, uint_value(max_age))]
        if not any(number == o.CONTENT_FORMAT for number, _ in options):
            options.append((o.CONTENT_FORMAT, uint_value(formats.PROBLEM)))
        self.respond(code, options, body)

    def _keep(self, code: int, options: Options, payload: bytes) -> Kept:
        etag = next((value for number, value in options if number == o.ETAG), b"")
        own = [each for each in options if each[0] != o.ETAG]
        now = self.service.plane.now
        kept = Kept(self.client, code, own, payload, etag or digest(payload), now)
        kept.asked = digest(self.payload)
        self.service.transfers.keep(kept, self.key)
        return kept

    def _send(self, code: int, options: Options, payload: bytes) -> None:
        self.answered = True
        if self.asked.no_response and self.asked.no_response & 1 << ((code >> 5) - 1):
            self.suppress()
        else:
            self.send(code, ordered(options), payload)

    def suppress(self) -> None:
        """Send no answer: the client is not interested in this class (RFC 7967)."""

    def wrong_method(self, kind: str, allowed: str) -> None:
        """Answer that a name cannot be used like that."""
        verb = METHODS.get(self.code, b"?").decode()
        self.fault(NOT_ALLOWED, f"{self.asked.name} is a {kind}: use {allowed}, not {verb}")

    # Channels

    def changed(self) -> None:
        """Answer that an event is published."""
        self.respond(CHANGED, [], b"")

    def last_value(self, event: Event, options: Options) -> None:
        """Answer with a channel's last value, or that the client has it (RFC 7252, 5.9.1.3)."""
        etag = etag_of(event)
        options = [*options, (o.ETAG, etag)]
        if etag in self.asked.etags:
            self.respond(VALID, options, b"")
            return
        content_type = event.content_type.encode("latin-1")
        self._content(CONTENT, content_type, event.payload, options, own=False)

    def update(
        self, options: Options, payload: bytes, watch: "Observation", *, confirmable: bool
    ) -> None:
        """Send a notification, of a large value its first block (RFC 7959 section 2.6)."""
        if len(payload) > self.client.largest:
            kept = self._keep(CONTENT, [x for x in options if x[0] != o.OBSERVE], payload)
            kept.etag = next((value for number, value in options if number == o.ETAG), kept.etag)
            found = piece(kept, Block(0, False, BLOCK))
            if found is not None:
                number = next(each for each in options if each[0] == o.OBSERVE)
                options, payload = [number, *found.options], found.payload
        self.notify(CONTENT, ordered(options), payload, watch, confirmable=confirmable)

    def farewell(self, refusal: Refusal) -> None:
        """Send the error that ends an observation."""
        self._last_words(_CODES[refusal.status], formats.problem_details(refusal))

    def unacceptable(self, event: Event) -> None:
        """Say that an event is not of the form that the observer accepts."""
        detail = f"the event {event.id} is {event.content_type or 'of no stated type'}"
        title = TITLES[code_text(NOT_ACCEPTABLE)]
        self._last_words(NOT_ACCEPTABLE, formats.problem(NOT_ACCEPTABLE, title, detail))

    def _last_words(self, code: int, body: bytes) -> None:
        options = [(o.CONTENT_FORMAT, uint_value(formats.PROBLEM)), (o.MAX_AGE, b"")]
        self.notify(code, options, body, None, confirmable=True)


def etag_of(event: Event) -> bytes:
    """Return the entity tag of a channel's last value: 8 bytes for its event id."""
    incarnation, sequence = event.id
    return _incarnation(incarnation) + (sequence & 0xFFFFFFFF).to_bytes(4)


@lru_cache(maxsize=4096)
def _incarnation(text: str) -> bytes:
    return digest(text.encode())[:4]
