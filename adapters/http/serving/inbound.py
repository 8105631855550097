"""One HTTP request: what it asks for, and how its answer looks on the wire.

It is the ``Caller`` of an exchange. Which action a verb means depends on what the name is
(design 6): POST calls a method or publishes to a channel, GET calls a safe method, reads a
channel's last value or describes an object.
"""

from typing import TYPE_CHECKING, Final

from adapters.http.wire import render
from adapters.http.wire.fields import COLON, CRLF
from adapters.http.wire.heads import RequestHead
from gateway.message import Origin, Refusal, Reply, Status

PROVIDER: Final = Origin.PROVIDER

if TYPE_CHECKING:
    from adapters.http.serving.dispatch import Relay
    from adapters.http.serving.server import ServerConnection


class Inbound:
    """A request in the order it came; the connection calls ``start`` when it is its turn."""

    __slots__ = (
        "answered",
        "chunked_reply",
        "ended",
        "endless",
        "error",
        "fed",
        "head",
        "keep_alive",
        "limit",
        "owner",
        "parts",
        "paused",
        "plain",
        "received",
        "relay",
        "replied",
        "swallowed",
    )

    def __init__(self, owner: "ServerConnection", head: RequestHead) -> None:
        self.owner = owner
        self.head = head
        self.keep_alive = head.keep_alive
        self.plain = False
        self.error: tuple[int, str] | None = None
        self.parts: list[bytes] = []
        self.ended = False
        self.fed = False
        """The end of the payload has been passed on."""
        self.limit = self.received = 0
        """Bytes that the payload may have (0: any number), and what came of it since."""
        self.relay: Relay | None = None
        self.replied = False
        self.answered = False
        self.chunked_reply = False
        self.swallowed = 0
        self.paused = False
        self.endless = False
        """The answer has no end by itself: a client that stops sending is gone."""

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
        if self.head.expect and not (self.head.http10 or self.ended or self.replied or self.parts):
            self.owner.write(render.CONTINUE)

    def within(self, limit: int) -> bool:
        """Bound the payload; answers when it is too large already, else when it turns out so."""
        self.bound(limit)
        if max(self.head.length, self.received) > limit:
            self._too_large()
            return False
        return True

    def bound(self, limit: int) -> None:
        """Bound the payload from what comes next on."""
        self.limit = limit
        self.received = sum(map(len, self.parts))

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
        if end and self.plain and self.keep_alive and code not in (204, 304):
            parts += (render.length(len(body)), CRLF, body)
        else:
            self._frame(parts, head, code, body, end)
        self.owner.write(b"".join(parts))
        if end:
            self._answered()

    def reply_body(self, data: bytes, end: bool) -> None:
        """Send more of the payload."""
        if self.head.verb != b"HEAD":
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
        bodiless = self.head.verb == b"HEAD" or code in (204, 304)
        if bodiless:
            if head.length >= 0 and code != 204:
                parts.append(render.length(head.length))
        elif end:
            parts.append(render.length(len(body)))
        elif head.length >= 0:
            parts.append(render.length(head.length))
        elif self.head.http10:
            self.keep_alive = False
        else:
            self.chunked_reply = True
            parts.append(render.CHUNKED)
        if not self.keep_alive or (self.owner.listener.draining and not self.owner.waiting):
            parts.append(render.CLOSE)
        elif self.head.http10:
            parts.append(render.KEEP_ALIVE)
        parts.append(CRLF)
        if body and not bodiless:
            parts.append(render.chunk(body, end=end) if self.chunked_reply else body)

    def _problem(self, code: int, fields: list[bytes], document: bytes) -> None:
        if not self.ended and self.head.expect:
            self.keep_alive = False
        reply = Reply(Status.OK, code=code, content_type=b"application/problem+json")
        reply.fields = [*fields, self.owner.listener.date]
        self.reply(reply, document, end=True)

    def _answered(self) -> None:
        self.answered = True
        self.relay = None  # or the collector of cycles would have to find them
        if self.ended:
            self.owner.finished(self, keep=self.keep_alive)
        elif not self.keep_alive or self.head.length > self.owner.listener.limits.swallow:
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
