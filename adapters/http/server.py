"""One client connection: bytes in, requests out, one at a time and in order (RFC 9112).

The parser's callbacks only collect; ``_pump`` acts once per read. Pipelined requests wait until
the one before them is answered.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from adapters.http.fields import COLON, CRLF, DROP, PASS, REQUESTS, TYPE, of_request, without
from adapters.http.inbound import Inbound
from adapters.http.parser import HttpParserError, HttpParserUpgrade, HttpRequestParser

if TYPE_CHECKING:
    from adapters.http.listener import Listener

WAITING = 32
"""Pipelined requests that wait; then the connection is not read any further."""


class ServerConnection:
    """A protocol of the loop (asyncio.Protocol by its methods) and of the HTTP parser."""

    __slots__ = (
        "closing",
        "current",
        "fields",
        "head_bytes",
        "head_done",
        "head_since",
        "idle_since",
        "listener",
        "parser",
        "parsing",
        "payload_left",
        "peer",
        "pumping",
        "requests",
        "transport",
        "upgraded",
        "waiting",
        "write_paused",
    )

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        self.parser = HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.current: Inbound | None = None
        self.parsing: Inbound | None = None
        self.waiting: deque[Inbound] = deque()
        self.fields: list[bytes] = []
        self.head_bytes = 0
        self.head_done = True
        self.requests = 0
        self.idle_since = 0.0
        self.head_since = 0.0
        self.closing = False
        self.pumping = False
        self.payload_left = 0
        self.write_paused = False
        self.upgraded: asyncio.Protocol | None = None

    # The loop's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a new connection, or refuse it when there are too many."""
        self.transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""
        self.idle_since = self.listener.clock()
        self.listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: cancel what it had open."""
        self.closing = True
        self.listener.closed(self)
        self.waiting.clear()
        if self.current is not None:
            self.current.lost()
            self.current = None
        if self.upgraded is not None:
            self.upgraded.connection_lost(exc)

    def eof_received(self) -> bool:
        """Answer a half-closed client, as long as an answer is on its way."""
        if self.upgraded is not None or (self.current is not None and self.current.endless):
            return False
        self.closing = True
        return self.current is not None or bool(self.waiting)

    def data_received(self, data: bytes) -> None:
        """Parse one read, then act on it."""
        now = self.listener.clock()
        self.listener.plane.now = now
        self.idle_since = now
        if self.upgraded is not None or self.payload_left:
            self._beyond(memoryview(data))
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._beyond(memoryview(data)[upgrade.args[0] :])
        except HttpParserError as error:
            self._malformed(f"{error}")
        if not self.head_done:
            self.head_bytes += len(data)
            if self.head_bytes > self.listener.limits.head:
                self.fault(431, "the request's head is too large")
        self._pump()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.write_paused = True
        if self.upgraded is not None:
            self.upgraded.pause_writing()
        if self.current is not None:
            self.current.slow()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.write_paused = False
        if self.upgraded is not None:
            self.upgraded.resume_writing()
        if self.current is not None:
            self.current.fast()

    # The parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self.parsing = inbound = Inbound(self)
        self.fields = inbound.call_fields
        self.head_done = False
        self.head_bytes = 0
        self.head_since = self.idle_since

    def on_url(self, url: bytes) -> None:
        """Part of the request target; a long one may come in pieces."""
        if self.parsing is not None:
            self.parsing.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or a trailer field: those end here (RFC 9110 section 6.5.1)."""
        kind = REQUESTS.get(name)
        if kind is None:
            kind = of_request(name)
        if kind <= TYPE:
            self.fields += (name, COLON, value, CRLF)
        if kind not in (PASS, DROP) and not self.head_done and self.parsing is not None:
            self.parsing.note(kind, value)

    def on_headers_complete(self) -> None:
        """The head is complete: queue the request."""
        inbound = self.parsing
        if inbound is None:
            return
        self.head_done = True
        self.fields = []
        self.requests += 1
        parser = self.parser
        inbound.verb = parser.get_method()
        version = parser.get_http_version()
        inbound.http10 = version == "1.0"
        inbound.keep_alive = (
            parser.should_keep_alive() and self.requests < self.listener.limits.requests
        )
        if len(inbound.call_fields) > 4 * self.listener.limits.fields:
            inbound.error = (431, "the request has too many header fields")
        elif inbound.connection:
            inbound.call_fields = without(inbound.call_fields, inbound.connection)
        inbound.check(version)
        if inbound.upgrade_to and parser.should_upgrade():
            self._check_upgrade(inbound)
        self.waiting.append(inbound)

    def on_body(self, data: bytes) -> None:
        """Part of the request's payload."""
        if self.parsing is not None:
            self.parsing.parts.append(data)

    def on_message_complete(self) -> None:
        """The request is all here."""
        if self.parsing is not None and not self.payload_left:
            self.parsing.ended = True
            self.parsing = None

    # What requests call

    def write(self, data: bytes) -> None:
        """Send bytes to the client, unless it is gone."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def upgrade(self, protocol: asyncio.Protocol) -> None:
        """Hand the connection over to another protocol: its handshake has been answered."""
        self.upgraded = protocol
        self.current = None

    def finished(self, inbound: Inbound, *, keep: bool) -> None:
        """A request has been answered."""
        if self.current is not inbound:
            return
        self.current = None
        self.idle_since = self.listener.plane.now
        if not keep or self.listener.draining or (self.closing and not self.waiting):
            self.close()
        elif not self.pumping:
            self._pump()

    def close(self) -> None:
        """Close once what was written has gone out."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    def hold(self, *, paused: bool) -> None:
        """Stop or go on reading from the client."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if paused:
            transport.pause_reading()
        elif not self._too_much():
            transport.resume_reading()

    def fault(self, code: int, detail: str) -> None:
        """Answer a request that cannot be one, then close."""
        inbound = self.parsing or Inbound(self)
        inbound.error = (code, detail)
        inbound.keep_alive = False
        self.parsing = None
        self.head_done = True
        if inbound is not self.current and inbound not in self.waiting:
            self.waiting.append(inbound)

    # What the listener calls

    def sweep(self, now: float) -> None:
        """Close a connection that is idle, or whose sender is too slow."""
        if self.upgraded is not None:
            return
        limits = self.listener.limits
        current = self.current
        if not self.head_done and now - self.head_since > limits.head_seconds:
            self.fault(408, "the request's head did not come in time")
            self._pump()
        elif current is None:
            if now - self.idle_since > limits.idle_seconds:
                self.close()
        elif not current.ended and now - self.idle_since > limits.body_seconds:
            current.stalled()

    def drain(self) -> None:
        """Close now if nothing is asked, else after the answer."""
        if self.upgraded is None and self.current is None and not self.waiting and self.head_done:
            self.close()

    # Inside

    def _malformed(self, detail: str) -> None:
        if self.parsing is not None and self.parsing is self.current:
            self.current.broken(detail)
            return
        self.fault(400, f"malformed HTTP: {detail}")

    def _too_much(self) -> bool:
        return len(self.waiting) > WAITING

    def _check_upgrade(self, inbound: Inbound) -> None:
        """See what follows a request to upgrade: to llhttp its payload is another protocol."""
        if inbound.upgrade_to != b"websocket":
            # Ignored (RFC 9110 section 7.8), as Java's client expects of its offer of HTTP/2.
            self.payload_left = 0 if inbound.transfer else inbound.length
            if inbound.transfer:
                inbound.error = (400, "a request to upgrade cannot have a chunked payload")
        elif inbound.transfer or inbound.length:
            inbound.error = (400, "a WebSocket handshake has no payload")
        elif self.waiting or self.current is not None:
            inbound.error = (400, "a WebSocket cannot be opened behind an unanswered request")

    def _beyond(self, rest: memoryview) -> None:
        """Go on behind a request to upgrade: its payload, the new protocol, the next request."""
        while not self.closing:
            if self.payload_left:
                rest = self._payload(rest)
            self._pump()
            if not rest:
                return
            if self.upgraded is not None:
                self.upgraded.data_received(bytes(rest))
                return
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except HttpParserError as error:
                self._malformed(f"{error}")
                rest = rest[:0]
            else:
                rest = rest[:0]

    def _payload(self, rest: memoryview) -> memoryview:
        """Take payload that the parser would not; return what is left."""
        data = bytes(rest[: self.payload_left])
        self.payload_left -= len(data)
        if self.parsing is not None:
            self.parsing.parts.append(data)
            if not self.payload_left:
                self.parsing.ended = True
                self.parsing = None
        return rest[len(data) :]

    def _pump(self) -> None:
        self.pumping = True
        current = self.current
        if current is not None and (current.parts or current.ended):
            current.feed()
        while self.current is None and self.waiting:
            inbound = self.waiting.popleft()
            self.current = inbound
            inbound.start()
        self.pumping = False
        if self.waiting and self._too_much():
            self.hold(paused=True)
