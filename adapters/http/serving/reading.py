"""From bytes to requests: what one client connection sends, in order (RFC 9112).

The parser's callbacks only collect. After anything malformed the reader is ``deaf``: what else
comes is thrown away, because nobody can tell any more where a request begins.
"""

from collections import deque
from typing import TYPE_CHECKING

from adapters.http.serving.inbound import Inbound
from adapters.http.wire.fields import (
    AUTHORIZATION,
    COLON,
    CRLF,
    DROP,
    HOST,
    LENGTH,
    PASS,
    REQUESTS,
    TRACE,
    TYPE,
    of_request,
)
from adapters.http.wire.heads import DIGITS, HEAD_END, PATIENCE, RETRY, RequestHead
from adapters.http.wire.intake import Intake
from adapters.http.wire.parser import HttpRequestParser
from gateway.message import portable_type

if TYPE_CHECKING:
    from adapters.http.serving.listener import Listener

OWN = 32
"""Lines of a head that are no end-to-end fields: these alone count against the limit."""


class RequestReader(Intake):
    """The protocol of a request parser; ``waiting`` are the requests whose turn has not come.

    A request waits from its head on, its payload may follow. ``current`` is the one in turn.
    """

    __slots__ = (
        "at",
        "current",
        "data",
        "deaf",
        "fields",
        "fresh",
        "head",
        "head_done",
        "head_since",
        "heard",
        "learning",
        "left",
        "listener",
        "memory",
        "misses",
        "parser",
        "parsing",
        "payload_left",
        "requests",
        "stagnant",
        "waiting",
    )

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener.rota)
        self.listener = listener
        self.memory = listener.memory
        self.misses = 0
        """Reads in a row that did not begin with a known head."""
        self.learning = False
        self.left = 0
        """Bytes of payload that are still to come, negative when that is not known."""
        self.head = RequestHead()
        self.parser = HttpRequestParser(self)
        self.current: Inbound | None = None
        self.parsing: Inbound | None = None
        self.waiting: deque[Inbound] = deque()
        self.fields: list[bytes] = []
        self.data = b""
        """The read that is being parsed, with what came before of a head in pieces."""
        self.at = 0
        """Where in ``data`` the head in turn begins, then where its fields do.

        -1 - n: it begins somewhere behind n.
        """
        self.fresh = False
        """``data`` begins with a request."""
        self.head_done = True
        self.stagnant = 0
        """Bytes of chunk framing and trailers since the last byte of payload."""
        self.requests = 0
        self.heard = 0.0
        self.head_since = 0.0
        self.payload_left = 0
        """Payload that follows behind an ignored offer to upgrade."""
        self.deaf = False

    # The parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        if self.at > 0:  # it is behind another one in the same read
            end = self.data.find(HEAD_END, self.at) + 4
            self.at = -1 - end if self.head.transfer else end + self.head.length
        head = self.head = RequestHead()
        self.parsing = self.begin(head)
        self.fields = head.fields
        self.head_done = False
        self.head_since = self.heard

    def on_url(self, url: bytes) -> None:
        """Part of the request target; a long one may come in pieces."""
        if self.parsing is not None:
            self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or a trailer field: those end here (RFC 9110 section 6.5.1)."""
        kind = REQUESTS.get(name)
        if kind is None:
            kind = of_request(name)
        if kind <= TYPE:
            self.fields += (name, COLON, value, CRLF)
        if kind == PASS or kind == DROP or self.head_done:  # noqa: PLR1714, SIM109 (hot)
            return
        head = self.head
        if kind == TYPE:
            head.content_type = portable_type(value)
        elif kind == HOST and head.host is None:
            head.host = value
        elif kind == AUTHORIZATION and not head.authorization:
            head.authorization = value
        elif kind == LENGTH and head.length < 0 and value.isdigit() and len(value) <= DIGITS:
            head.length = int(value)
        elif kind == TRACE and not head.traceparent:
            head.traceparent = value
        else:
            head.note(kind, value)

    def on_headers_complete(self) -> None:
        """The head is complete: queue the request."""
        inbound = self.parsing
        if inbound is None:
            return
        self.head_done = True
        self.fields = []
        self.requests += 1
        parser = self.parser
        limits = self.listener.limits
        head = inbound.head
        head.verb = parser.get_method()
        end = len(head.verb) + 1 + len(head.target)
        # The parser takes any version and any number of spaces, so the line's length tells.
        if self.fresh and self.data[end : end + 11] == b" HTTP/1.1\r\n":
            self.at = end + 11
        else:
            self._check_line(head)
            self.fresh = False  # this read does not begin with a head to remember
        if len(self.data) > limits.head:
            self._check_size(head)
        head.keep_alive = parser.should_keep_alive()
        if len(head.fields) > 4 * limits.fields:
            head.error = (431, "the request has too many header fields")
        head.check()
        self.left = head.length
        if head.upgrade_to and parser.should_upgrade():
            self._check_upgrade(head)
        inbound.keep_alive = head.keep_alive and self.requests < limits.requests
        inbound.plain = head.plain and inbound.keep_alive and not self.listener.draining
        inbound.error = head.error
        if self.fresh and self.learning and head.is_usual():
            self.memory.remember(self.data, head)
        self.fresh = False
        self.waiting.append(inbound)

    def on_body(self, data: bytes) -> None:
        """Part of the request's payload."""
        self.stagnant = -1
        self.left -= len(data)
        if self.parsing is not None:
            self.parsing.parts.append(data)

    def on_message_complete(self) -> None:
        """The request is all here."""
        if self.parsing is not None and not self.payload_left:
            self.parsing.ended = True
            self.parsing = None

    # What the connection calls

    def recall(self, data: bytes) -> bool:
        """Take a read that is one request with a known head, without parsing it again."""
        misses = self.misses
        self.learning = misses < PATIENCE or misses % RETRY == 0
        known = self.memory.recall(data) if self.learning else None
        if known is None or self.listener.draining:
            self.misses = misses + 1
            return False
        self.misses = 0
        head, size = known
        self.requests += 1
        inbound = self.begin(head)
        inbound.keep_alive = inbound.plain = self.requests < self.listener.limits.requests
        inbound.parts.append(data[size:])
        inbound.ended = True
        self.waiting.append(inbound)
        return True

    def begin(self, head: RequestHead) -> Inbound:
        """Return a new request of this connection."""
        raise NotImplementedError

    def fault(self, code: int, detail: str) -> None:
        """Answer a request that cannot be one, then close."""
        if self.parsing is None:
            self.on_message_begin()
        inbound = self.parsing
        self.deafen()
        if inbound is not None:
            inbound.error = (code, detail)
            if inbound not in self.waiting:
                self.waiting.append(inbound)

    def malformed(self, detail: str) -> None:
        """Refuse the request that turned out not to be HTTP/1.1."""
        inbound = self.parsing
        if inbound is not None and inbound is self.current:
            self.deafen()
            inbound.broken(400, f"malformed HTTP: {detail}")
        else:
            self.fault(400, f"malformed HTTP: {detail}")

    def deafen(self) -> None:
        """Parse nothing more."""
        self.deaf = True
        self.parsing = None
        self.head_done = True
        self.payload_left = 0
        self.data = b""
        self.rest = b""

    def plain(self) -> int:
        """Return how many bytes of payload come next with nothing between them."""
        return self.left if self.head_done else 0

    def is_crowded(self, data: bytes) -> bool:
        """Return whether a large read surely has too many fields, without parsing them."""
        if self.parsing is not None and self.head_done:
            return False
        end = data.find(HEAD_END)
        lines = data.count(b"\n", 0, end if end >= 0 else len(data))
        return lines > self.listener.limits.fields + OWN

    def bound(self, size: int) -> None:
        """Bound what the parser would collect without end, after a read of ``size`` bytes."""
        if not self.head_done:
            begin = self.data.rfind(HEAD_END)
            if begin >= 0:
                self.data = self.data[begin + 4 :]
                self.at = max(self.at - begin - 4, 0 if self.at >= 0 else -1)
            limits = self.listener.limits
            if len(self.data) > limits.head:
                self.fault(431, "the request's head is too large")
            elif len(self.fields) > 4 * limits.fields:
                self.fault(431, "the request has too many header fields")
            return
        if self.stagnant < 0:
            self.stagnant = 0
            return
        self.stagnant += size
        if self.stagnant > self.listener.limits.head:
            self.malformed("too much between the chunks of the payload, or behind it")

    def payload(self, rest: bytes) -> bytes:
        """Take payload that the parser would not; return what is left."""
        data = rest[: self.payload_left]
        self.payload_left -= len(data)
        if self.parsing is not None:
            self.parsing.parts.append(data)
            if not self.payload_left:
                self.parsing.ended = True
                self.parsing = None
        return rest[len(data) :]

    # Inside

    def _check_line(self, head: RequestHead) -> None:
        """Look closer at a request line that is not what this read begins with.

        To the parser any version is fine, and any number of spaces.
        """
        version = self.parser.get_http_version()
        head.http10 = version == "1.0"
        line = b"%b %b HTTP/%b\r\n" % (head.verb, head.target, version.encode())
        begin = self.data.find(line, max(self.at, -1 - self.at))
        if version not in ("1.1", "1.0"):
            head.error = (505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
        elif begin < 0 or (self.at >= 0 and self.data[self.at : begin].strip(CRLF)):
            head.error = (400, "a request line is METHOD target HTTP/1.1, with single spaces")
        else:
            self.at = begin + len(line)

    def _check_size(self, head: RequestHead) -> None:
        """Measure the head in a read that is larger than a head may be."""
        fields = self.data.find(HEAD_END, self.at) - self.at
        if len(head.target) + fields > self.listener.limits.head:
            head.error = (431, "the request's head is too large")

    def _check_upgrade(self, head: RequestHead) -> None:
        """See what follows a request to upgrade: to llhttp its payload is another protocol."""
        if head.error is not None:
            return
        if head.upgrade_to != b"websocket":
            # Ignored (RFC 9110 section 7.8), as Java's client expects of its offer of HTTP/2.
            self.payload_left = 0 if head.transfer else head.length
            if head.transfer:
                head.error = (400, "a request to upgrade cannot have a chunked payload")
        elif head.transfer or head.length:
            head.error = (400, "a WebSocket handshake has no payload")
        elif self.waiting or self.current is not None:
            head.error = (400, "a WebSocket cannot be opened behind an unanswered request")
