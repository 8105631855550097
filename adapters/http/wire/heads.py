"""The head of a request as the parser found it, and the memory of heads that come again.

On kept connections the same head comes over and over: same bytes, same meaning. So a usual head
that the parser has accepted is remembered, and the next message that begins with just these bytes
is not parsed again (a relayed call costs a third less). There is no second parser to be fooled.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from adapters.http.wire.cookies import without_ours
from adapters.http.wire.fields import (
    ACCEPT,
    AUTHORIZATION,
    COLON,
    CONNECTION,
    COOKIE,
    CRLF,
    EXPECT,
    HOPS,
    HOST,
    LAST_EVENT,
    LENGTH,
    TIMEOUT,
    TRACE,
    TRANSFER,
    TYPE,
    UPGRADE,
    without,
)
from gateway.message import Status, portable_type

VERBS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
HEAD_END: Final = b"\r\n\r\n"
MEMORABLE: Final = 2048
"""Bytes of the largest head that is remembered."""
REMEMBERED: Final = 1024
PATIENCE: Final = 16
RETRY: Final = 61
"""A connection whose heads were unknown this often in a row is asked only now and then."""
SEEN: Final = 8192
DIGITS: Final = 18
"""Of the longest Content-Length that is believed."""


class RequestHead:
    """What a head says; it changes no more once it is complete."""

    __slots__ = (
        "accept",
        "authorization",
        "connection",
        "content_type",
        "error",
        "expect",
        "fields",
        "hops",
        "host",
        "http10",
        "keep_alive",
        "last_event",
        "length",
        "plain",
        "target",
        "timeout",
        "traceparent",
        "transfer",
        "upgrade_to",
        "verb",
    )

    def __init__(self) -> None:
        self.target = b""
        self.verb = b""
        self.fields: list[bytes] = []
        self.http10 = False
        self.keep_alive = True
        self.plain = False
        """The answer needs no framing but a length, and the connection stays."""
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
        self.traceparent = b""
        """Two of them are none (W3C Trace Context section 3.2)."""
        self.timeout = 0
        self.hops = 0

    def note(self, special: int, value: bytes) -> None:
        """Keep a field that the gateway itself needs; the frequent ones first."""
        if special == HOST:
            if self.host is not None:
                self.error = (400, "the request has more than one Host field")
            self.host = value
        elif special == TYPE:
            self.content_type = portable_type(value)
        elif special == LENGTH:
            self._note_length(value)
        elif special == AUTHORIZATION:
            if self.authorization:
                self.error = (400, "the request has more than one Authorization field")
            self.authorization = value
        elif special == ACCEPT:
            self.accept = value
        elif special == TRACE:
            self.traceparent = b"-" if self.traceparent else value
        else:
            self._note_rare(special, value)

    def check(self) -> None:
        """Refuse what the parser lets through but no request may be (RFC 9112 section 3.2)."""
        if self.connection:
            self.fields = without(self.fields, self.connection)
        if self.length < 0 and not self.transfer:
            self.length = 0
        if self.error is not None:
            return
        if self.host is not None and not (self.http10 or self.expect) and self.verb == b"POST":
            self.plain = self.keep_alive
            return
        if self.host is None and not self.http10:
            self.error = (400, "an HTTP/1.1 request needs a Host field")
        elif self.verb not in VERBS:
            self.error = (501, f"the method {self.verb.decode('latin-1')} is not known here")
        elif self.transfer and self.http10:
            self.error = (400, "an HTTP/1.0 request cannot be chunked")
        elif self.expect and self.expect.lower() != b"100-continue":
            self.error = (417, "the only expectation understood here is 100-continue")

    def is_usual(self) -> bool:
        """Return whether the same bytes mean the same request whenever they come."""
        return self.plain and not self.transfer and not self.upgrade_to and self.target[:1] == b"/"

    def carrying(self, payload: bytes, content_type: bytes) -> "RequestHead":
        """Return the head of the same request with another payload."""
        head = RequestHead()
        head.verb, head.target, head.host = self.verb, self.target, self.host
        head.keep_alive, head.plain = self.keep_alive, self.plain
        head.http10, head.expect = self.http10, self.expect
        head.accept, head.timeout, head.hops = self.accept, self.timeout, self.hops
        head.traceparent = self.traceparent
        head.length = len(payload)
        head.content_type = content_type
        head.fields = without(self.fields, b"content-type")
        head.fields += (b"Content-Type", COLON, content_type, CRLF)
        return head

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
        elif special == COOKIE:
            self._note_cookies(value)

    def _note_cookies(self, value: bytes) -> None:
        others = without_ours(value)
        if others:
            self.fields += (b"Cookie", COLON, others, CRLF)

    def _note_length(self, value: bytes) -> None:
        if self.length >= 0 or not value.isdigit() or len(value) > DIGITS:
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


class ReplyHead(NamedTuple):
    """The head of a usual reply: HTTP/1.1, a length, and the connection stays."""

    status: Status
    code: int
    content_type: bytes
    length: int
    fields: list[bytes]


Head = TypeVar("Head", RequestHead, ReplyHead)


class HeadMemory(Generic[Head]):
    """Accepted heads by their bytes, bounded. Heads that come once are not worth a place.

    Only usual heads that stood at the beginning of a read may be given to ``remember``.
    """

    __slots__ = ("_heads", "_seen")

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._seen: set[int] = set()

    def recall(self, data: bytes) -> tuple[Head, int] | None:
        """Return the head that a read begins with and its size, if the read is one message."""
        size = data.find(HEAD_END) + 4
        if not 4 <= size <= MEMORABLE:
            return None
        head = self._heads.get(data[:size])
        if head is None or size + head.length != len(data):
            return None
        return head, size

    def remember(self, data: bytes, head: Head) -> None:
        """Keep the head that a read begins with, when it comes the second time."""
        size = data.find(HEAD_END) + 4
        if not 4 <= size <= MEMORABLE:
            return
        key = data[:size]
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return
        if len(self._heads) >= REMEMBERED:
            self._heads.clear()
        self._heads[key] = head
