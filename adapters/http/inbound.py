"""One HTTP request: what it asks for, and how its answer looks on the wire.

It is the ``Caller`` of an exchange. Which action a verb means depends on what the name is
(design 6): POST calls a method or publishes to a channel, GET calls a safe method, reads a
channel's last value or describes an object.
"""

from typing import TYPE_CHECKING, Final

from adapters.http import render
from adapters.http.fields import (
    ACCEPT,
    AUTHORIZATION,
    COLON,
    CONNECTION,
    CRLF,
    EXPECT,
    HOPS,
    HOST,
    LAST_EVENT,
    LENGTH,
    TIMEOUT,
    TRANSFER,
    TYPE,
    UPGRADE,
)
from gateway.message import Origin, Refusal, Reply, Status

PROVIDER: Final = Origin.PROVIDER

if TYPE_CHECKING:
    from adapters.http.dispatch import Relay
    from adapters.http.server import ServerConnection

VERBS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})


class Inbound:
    """A request in the order it came; the connection calls ``start`` when it is its turn."""

    __slots__ = (
        "accept",
        "answered",
        "authorization",
        "call_fields",
        "chunked_reply",
        "connection",
        "content_type",
        "ended",
        "endless",
        "error",
        "expect",
        "fed",
        "hops",
        "host",
        "http10",
        "keep_alive",
        "last_event",
        "length",
        "limit",
        "owner",
        "parts",
        "paused",
        "plain",
        "received",
        "relay",
        "replied",
        "swallowed",
        "target",
        "timeout",
        "transfer",
        "upgrade_to",
        "verb",
    )

    def __init__(self, owner: "ServerConnection") -> None:
        self.owner = owner
        self.target = b""
        self.verb = b""
        self.call_fields: list[bytes] = []
        self.parts: list[bytes] = []
        self.ended = False
        self.fed = False
        """The end of the payload has been passed on."""
        self.limit = self.received = 0
        """Bytes that the payload may have (0: any number), and what came of it since."""
        self.http10 = False
        self.keep_alive = True
        self.plain = False
        self.error: tuple[int, str] | None = None
        self.host: bytes | None = None
        self.length = -1
        self.transfer = b""
        self.connection = b""
        self.expect = b""
        self.authorization = b""
        self.content_type = b""
        self.accept = b""
        self.last_event = b""
        self.upgrade_to = b""
        self.timeout = 0
        self.hops = 0
        self.relay: Relay | None = None
        self.replied = False
        self.answered = False
        self.chunked_reply = False
        self.swallowed = 0
        self.paused = False
        self.endless = False
        """The answer has no end by itself: a client that stops sending is gone."""

    # What the parser found

    def note(self, special: int, value: bytes) -> None:
        """Keep a field that the gateway itself needs; the frequent ones first."""
        if special == HOST:
            if self.host is not None:
                self.error = (400, "the request has more than one Host field")
            self.host = value
        elif special == TYPE:
            self.content_type = value
        elif special == LENGTH:
            self._note_length(value)
        elif special == AUTHORIZATION:
            if self.authorization:
                self.error = (400, "the request has more than one Authorization field")
            self.authorization = value
        elif special == ACCEPT:
            self.accept = value
        else:
            self._note_rare(special, value)

    def _note_rare(self, special: int, value: bytes) -> None:
        if special == TRANSFER:
            if value.lower() != b"chunked" or self.transfer:
                self.error = (501, "the only transfer coding understood here is chunked")
            self.transfer = value
        elif special == CONNECTION:
            self._note_connection(value)
        elif special == TIMEOUT:
            self.timeout = self._number(value, "Hilum-Timeout")
        elif special == HOPS:
            self.hops = self._number(value, "Hilum-Hops")
        elif special == EXPECT:
            self.expect = value
        elif special == UPGRADE:
            self.upgrade_to = value.lower()
        elif special == LAST_EVENT:
            self.last_event = value

    def check(self) -> None:
        """Refuse what the parser lets through but no request may be (RFC 9112 section 3.2)."""
        if self.length < 0 and not self.transfer:
            self.length = 0
        if self.error is not None:
            return
        if self.host is not None and not (self.http10 or self.expect) and self.verb == b"POST":
            self.plain = self.keep_alive and not self.owner.listener.draining
            return
        if self.host is None and not self.http10:
            self.error = (400, "an HTTP/1.1 request needs a Host field")
        elif self.verb not in VERBS:
            self.error = (501, f"the method {self.verb.decode('latin-1')} is not known here")
        elif self.transfer and self.http10:
            self.error = (400, "an HTTP/1.0 request cannot be chunked")
        elif self.expect and self.expect.lower() != b"100-continue":
            self.error = (417, "the only expectation understood here is 100-continue")

    def _note_length(self, value: bytes) -> None:
        if self.length >= 0 or not value.isdigit() or len(value) > 18:
            self.error = (400, "Content-Length must be one decimal number")
            return
        self.length = int(value)

    def _note_connection(self, value: bytes) -> None:
        lowered = value.lower()
        if lowered not in (b"keep-alive", b"close", b"upgrade", b"keep-alive, upgrade"):
            self.connection += b"," + value

    def _number(self, value: bytes, field: str) -> int:
        if not value.isdigit() or len(value) > 9:
            self.error = (400, f"{field} must be a decimal number")
            return 0
        return int(value)

    # What the connection does with it

    def start(self) -> None:
        """Begin to answer: it is this request's turn."""
        self.fed = self.ended
        if self.error is not None:
            code, detail = self.error
            self.keep_alive = False
            self.fault(code, detail)
            return
        self.owner.listener.dispatch(self)
        if self.expect and not (self.http10 or self.ended or self.replied or self.parts):
            self.owner.write(render.CONTINUE)

    def within(self, limit: int) -> bool:
        """Bound the payload; answers when it is too large already, else when it turns out so."""
        self.limit = limit
        self.received = sum(map(len, self.parts))
        if max(self.length, self.received) > limit:
            self._too_large()
            return False
        return True

    def take(self) -> bytes:
        """Return the payload bytes that came since the last time."""
        parts = self.parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return data

    def feed(self) -> None:
        """More of the payload came, or its end."""
        self.fed = self.ended
        data = self.take()
        if self.answered or self.relay is None:
            self._swallow(len(data))
            return
        if self.limit:
            self.received += len(data)
            if self.received > self.limit:
                self.relay.cancel()
                self._too_large()
                return
        self.relay.body(data, self.ended)

    def lost(self) -> None:
        """The client is gone."""
        self.answered = True
        if self.relay is not None:
            self.relay.cancel()

    def slow(self) -> None:
        """The client does not take the answer as fast as it comes."""
        if self.relay is not None:
            self.relay.pause_reply()

    def fast(self) -> None:
        """The client takes the answer again."""
        if self.relay is not None:
            self.relay.resume_reply()

    def broken(self, code: int, detail: str) -> None:
        """The rest of the payload will not come: nothing after it can be trusted."""
        self.keep_alive = False
        if self.answered:
            self.owner.finished(self, keep=False)
            return
        if self.relay is not None:
            self.relay.cancel()
        if self.replied:
            self.abort()
        else:
            self.fault(code, detail)

    def stalled(self) -> None:
        """The client stopped in the middle of its payload."""
        self.broken(408, "the payload did not come in time")

    # The Caller port

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """Send the head and what there is of the payload, in one write."""
        self.replied = True
        code = head.code or head.status.wire.http
        parts = [render.STATUS_LINES[code], *head.fields]
        if head.origin is PROVIDER:
            parts.append(render.VIA)
            if code >= 400:
                parts.append(render.ORIGIN_PROVIDER)
        elif head.content_type:
            parts += (b"Content-Type", COLON, head.content_type, CRLF)
        if end and self.plain and code not in (204, 304):
            parts += (render.length(len(body)), CRLF, body)
        else:
            self._frame(parts, head, code, body, end)
        self.owner.write(b"".join(parts))
        if end:
            self._answered()

    def reply_body(self, data: bytes, end: bool) -> None:
        """Send more of the payload."""
        if self.verb != b"HEAD":
            self.owner.write(render.chunk(data, end=end) if self.chunked_reply else data)
        if end:
            self._answered()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem document."""
        if refusal.status is Status.CANCELLED:
            self.owner.close()
            return
        self._problem(*render.refusal_document(refusal))

    def abort(self) -> None:
        """Break off, so that the client sees that the reply is not whole."""
        self.answered = True
        self.keep_alive = False
        transport = self.owner.transport
        if transport is not None:
            transport.abort()

    def pause(self) -> None:
        """Read no more of the client's payload for now."""
        self.paused = True
        self.owner.regulate()

    def resume(self) -> None:
        """Read the client's payload again."""
        self.paused = False
        self.owner.regulate()

    def fault(self, code: int, detail: str, *fields: bytes) -> None:
        """Answer with an error that only HTTP has."""
        title = render.STATUS_LINES[code][13:-2].decode()
        slug = title.lower().replace(" ", "-")
        self._problem(code, list(fields), render.problem(code, title, slug, detail, {}))

    # Inside

    def _frame(self, parts: list[bytes], head: Reply, code: int, body: bytes, end: bool) -> None:
        """Add the framing fields, the end of the head and the payload (RFC 9112 section 6)."""
        bodiless = self.verb == b"HEAD" or code in (204, 304)
        if bodiless:
            if head.length >= 0 and code != 204:
                parts.append(render.length(head.length))
        elif end:
            parts.append(render.length(len(body)))
        elif head.length >= 0:
            parts.append(render.length(head.length))
        elif self.http10:
            self.keep_alive = False
        else:
            self.chunked_reply = True
            parts.append(render.CHUNKED)
        if not self.keep_alive or (self.owner.listener.draining and not self.owner.waiting):
            parts.append(render.CLOSE)
        elif self.http10:
            parts.append(render.KEEP_ALIVE)
        parts.append(CRLF)
        if body and not bodiless:
            parts.append(render.chunk(body, end=end) if self.chunked_reply else body)

    def _problem(self, code: int, fields: list[bytes], document: bytes) -> None:
        if not self.ended and self.expect:
            self.keep_alive = False
        reply = Reply(Status.OK, code=code, content_type=b"application/problem+json")
        reply.fields = [*fields, self.owner.listener.date]
        self.reply(reply, document, end=True)

    def _answered(self) -> None:
        self.answered = True
        self.relay = None  # or the collector of cycles would have to find them
        if self.ended:
            self.owner.finished(self, keep=self.keep_alive)
        elif not self.keep_alive or self.length > self.owner.listener.limits.swallow:
            self.owner.finished(self, keep=False)

    def _swallow(self, size: int) -> None:
        """Throw away payload that nobody wants; too much of it is not worth a connection."""
        self.swallowed += size
        if self.swallowed > self.owner.listener.limits.swallow:
            self.owner.finished(self, keep=False)
        elif self.ended and self.answered:
            self.owner.finished(self, keep=self.keep_alive)

    def _too_large(self) -> None:
        self.relay = None
        if self.replied:
            self.abort()
        else:
            detail = f"a payload may have at most {self.limit} bytes here"
            self.refuse(Refusal(Status.TOO_LARGE, detail))
