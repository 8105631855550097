"""One client connection: bytes in, requests out, one at a time and in order (RFC 9112).

The reader only collects; ``_pump`` acts once per read. Pipelined requests wait until the one
before them is answered.
"""

import asyncio
from typing import TYPE_CHECKING

from adapters.http.serving.inbound import Inbound
from adapters.http.serving.reading import RequestReader
from adapters.http.wire.heads import RequestHead
from adapters.http.wire.parser import HttpParserError, HttpParserUpgrade
from gateway.egress import NOBODY
from gateway.message import Refusal
from policy.model import ANONYMOUS

if TYPE_CHECKING:
    from adapters.http.serving.listener import Listener

LINGER = 2.0
"""Seconds that a client which still sends gets to read its answer before the connection closes."""
GRACE = 1.0
"""Seconds without a request after which a connection is closed while the listener drains."""
LARGE = 4096
"""Bytes of a read that is looked over before it is parsed."""
QUEUED = 64 * 1024
"""Payload bytes held for a request that waits for its turn; then no more is read."""


class ServerConnection(RequestReader):
    """A protocol of the loop (asyncio.Protocol by its methods) and of the HTTP parser."""

    __slots__ = (
        "certified",
        "closing",
        "idle_since",
        "leave_at",
        "peer",
        "pumping",
        "unsent",
        "unsent_since",
        "upgraded",
        "write_paused",
    )

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener)
        self.peer = ""
        self.idle_since = 0.0
        self.unsent = 0
        self.unsent_since = 0.0
        self.leave_at = 0.0
        self.certified = ANONYMOUS
        """Whom the client's certificate stands for."""
        self.closing = False
        self.pumping = False
        self.write_paused = False
        self.upgraded: asyncio.Protocol | None = None

    # The loop's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a new connection, or refuse it when there are too many."""
        self.transport = transport
        address = transport.get_extra_info("peername")
        # A client that is gone already has no address: it must not pass for an operator's binding.
        self.peer = address[0] if address else NOBODY
        self.heard = self.idle_since = self.listener.clock()
        self.listener.opened(self)
        try:
            self.certified = self.listener.identify(transport) or ANONYMOUS
        except Refusal:  # the log says why
            self.closing = True
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: cancel what it had open."""
        self.closing = True
        self.rest = b""
        self.listener.closed(self)
        self.waiting.clear()
        if self.current is not None:
            self.current.lost()
            self.current = None
        if self.upgraded is not None:
            self.upgraded.connection_lost(exc)

    def eof_received(self) -> bool:
        """The client has gone, or will send no more: that looks the same, and work costs.

        As with other gateways a half-closed connection gets no answer.
        """
        self.closing = True
        self.waiting.clear()
        current, self.current = self.current, None
        if current is not None:
            current.lost()
        return False

    def data_received(self, data: bytes) -> None:
        """Parse one read, then act on it."""
        now = self.listener.clock()
        self.listener.plane.now = self.heard = now
        if self.rest:
            self.take(data)
        elif self.upgraded is not None or self.deaf:
            self._beyond(data)
        elif self.head_done and self.parsing is None and self.recall(data):
            self._pump()
        else:
            self.take(data)

    def parse(self, data: bytes) -> None:
        """Parse some bytes, then act on them."""
        if self.upgraded is not None or self.payload_left:
            self._beyond(data)
            return
        if len(data) > LARGE and self.is_crowded(data):
            self.fault(431, "the request has too many header fields")
            self._pump()
            return
        self.fresh = self.head_done and self.parsing is None
        self.data = data if self.head_done else self.data + data
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._beyond(data[upgrade.args[0] :])
        except HttpParserError as error:
            self.malformed(f"{error}")
        if self.parsing is not None:
            self.bound(len(data))
        if self.head_done:
            self.data = b""
            self.at = 0 if self.parsing is None else -1
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
        elif not self.pumping:
            self._pump()

    def begin(self, head: RequestHead) -> Inbound:
        """Return a new request of this connection."""
        return Inbound(self, head)

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
        if not keep or (self.listener.draining and not self.waiting):
            # Who is refused, without having asked for the end, may have sent more already.
            self._leave(unread=not inbound.ended or (inbound.head.keep_alive and not keep))
        elif not self.pumping:
            self._pump()

    def close(self) -> None:
        """Close once what was written has gone out."""
        self.closing = True
        self.rest = b""
        self.waiting.clear()
        if self.transport is not None:
            self.transport.close()

    def resumed(self) -> None:
        """The client may send again: its time begins anew."""
        self.heard = self.head_since = self.listener.plane.now

    # What the listener calls

    def sweep(self, now: float) -> None:
        """Close a connection that is idle or left, or whose client is too slow."""
        if self.upgraded is not None:
            return
        if self._stuck(now):
            self.abort()
        elif self.leave_at:
            if now >= self.leave_at and not self.unsent:
                self.abort()
        elif not self.held:  # else what is slow is on this side
            self._hurry(now)

    def drain(self) -> None:
        """End with the requests that are here, or soon if there are none."""
        for inbound in (self.current, *self.waiting):
            if inbound is not None:
                inbound.plain = False  # so that its answer says that it is the last
        self.sweep(self.listener.clock())

    # Inside

    def _leave(self, *, unread: bool) -> None:
        """Close; a client that still sends may read its answer first (RFC 9112 section 9.6)."""
        transport = self.transport
        if transport is None or transport.is_closing() or not (unread or self.deaf):
            self.close()
            return
        self.deafen()
        self.waiting.clear()
        self.closing = True
        self.leave_at = self.listener.plane.now + LINGER
        if self.held:
            self.held = False
            transport.resume_reading()
        try:
            if transport.can_write_eof():
                transport.write_eof()
        except OSError:  # the client is gone already
            self.abort()

    def _hurry(self, now: float) -> None:
        """Wait no longer for a client that does not send what it should."""
        limits = self.listener.limits
        current = self.current
        if not self.head_done:
            if now - self.head_since > limits.head_seconds:
                self.fault(408, "the request's head did not come in time")
                self._pump()
        elif current is not None:
            if not current.ended and now - self.heard > limits.body_seconds:
                current.stalled()
        elif not self.waiting:
            patience = GRACE if self.listener.draining else limits.idle_seconds
            if now - self.idle_since > patience:
                self.close()

    def is_full(self) -> bool:
        """Return whether what the client sends has to wait on its side."""
        current, waiting = self.current, self.waiting
        if current is not None and current.paused and not current.ended:
            return True
        if len(waiting) > self.listener.limits.pipelined:
            return True
        return bool(waiting) and sum(map(len, waiting[-1].parts)) > QUEUED

    def _stuck(self, now: float) -> bool:
        """Return whether the client takes nothing of what waits to be sent, for too long."""
        transport, current = self.transport, self.current
        if transport is None or (current is not None and current.endless):
            return False
        unsent = transport.get_write_buffer_size()
        if unsent != self.unsent or not unsent:
            self.unsent, self.unsent_since = unsent, now
        return now - self.unsent_since > self.listener.limits.body_seconds

    def _beyond(self, rest: bytes) -> None:
        """Go on behind a request to upgrade: its payload, the new protocol, the next request."""
        while not self.deaf:
            if self.payload_left:
                rest = self.payload(rest)
            self._pump()
            if not rest:
                return
            if self.upgraded is not None:
                self.upgraded.data_received(rest)
                return
            self.data = rest
            self.at = 0
            self.fresh = False
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except HttpParserError as error:
                self.malformed(f"{error}")
                rest = b""
            else:
                rest = b""

    def is_idle(self) -> bool:
        """Return whether no request is in work; part of one may be here."""
        return self.current is None and self.upgraded is None

    def _pump(self) -> None:
        """Pass on what came of the current request, or begin the next.

        One at a time: then other connections have their turn, however much is pipelined here.
        """
        self.pumping = True
        current, waiting = self.current, self.waiting
        if current is not None and (current.parts or current.ended is not current.fed):
            current.feed()
        if self.current is None and waiting and not (self.write_paused or self.closing):
            inbound = waiting.popleft()
            self.current = inbound
            inbound.start()
            if waiting and self.is_idle():
                asyncio.get_running_loop().call_soon(self._pump)
        self.pumping = False
        if waiting or self.held:
            self.regulate()
