"""One connection to an endpoint: a call's head and payload out, the reply in (RFC 9112)."""

import asyncio
from typing import TYPE_CHECKING, Final

from adapters.http.upstream.replies import ReplyReader, why
from adapters.http.wire import render
from adapters.http.wire.fields import CRLF
from adapters.http.wire.heads import HEAD_END, PATIENCE, RETRY, ReplyHead
from adapters.http.wire.parser import HttpParserError, HttpParserUpgrade
from gateway.message import Origin, Reply, Status, status_of_http
from gateway.ports import Answer

OK: Final = Status.OK
PROVIDER: Final = Origin.PROVIDER

if TYPE_CHECKING:
    from adapters.http.upstream.pool import Pool

HEAD_LIMIT = 64 * 1024
"""Bytes of a reply's head, or of its trailers; beyond it the reply is garbage."""


class UpstreamConnection(ReplyReader):
    """A protocol of the loop and of the HTTP parser; while it serves a call, its ``Sink``.

    It goes back to its pool only when the request was sent whole and the reply came whole: an
    early reply would else be followed by the rest of somebody's payload.
    """

    __slots__ = (
        "answer",
        "chunked",
        "closed",
        "heard",
        "learning",
        "misses",
        "pool",
        "read_paused",
        "replied",
        "request_done",
    )

    def __init__(self, pool: "Pool") -> None:
        super().__init__(pool.rota)
        self.pool = pool
        self.answer: Answer | None = None
        self.closed = False
        self.read_paused = False
        self.heard = 0.0
        self.chunked = False
        self.misses = 0
        self.learning = False
        self.replied = False
        self.request_done = False

    # The loop's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The connection stands."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The endpoint closed, or we did."""
        pool = self.pool
        pool.plane.now = pool.clock()
        self.closed = True
        pool.lost(self)
        answer = self.answer
        if answer is None:
            return
        self.answer = None
        if self.replied and self.close_delimited and exc is None:
            answer.reply_body(b"", end=True)
        else:
            why = "the endpoint closed the connection before its reply was complete"
            answer.failed(Status.PROVIDER_ERROR, why, written=True)

    def eof_received(self) -> bool:
        """The endpoint sends no more: close too."""
        self.closed = True
        return False

    def data_received(self, data: bytes) -> None:
        """Parse one read, then pass on what it held."""
        pool = self.pool
        pool.plane.now = self.heard = pool.clock()
        if self.answer is None:
            self.close()
            return
        if self.rest or not (self._is_fresh() and self._recall(data)):
            self.take(data)

    def parse(self, data: bytes) -> None:
        """Parse some bytes of the reply, then pass on what they held."""
        fresh = self._is_fresh()
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.surplus = True
            if self.replied or self.reply_done:
                self._deliver()
            self._garbage(f"the endpoint's reply is not HTTP/1.1: {why(error)}")
            return
        if self.head_done:
            size = len(data)
            if not self.replied and self.head_bytes + size > HEAD_LIMIT and self._is_large(data):
                self._garbage("the endpoint's reply has too large a head")
                return
            if not self.reply_done:
                self._bound_framing(size)
            elif fresh and self.learning:
                self._remember(data)
            self._deliver()
            return
        self.head_bytes += len(data)
        if self.head_bytes > HEAD_LIMIT:
            self._garbage("the endpoint's reply has too large a head")

    def pause_writing(self) -> None:
        """The endpoint reads slowly."""
        if self.answer is not None:
            self.answer.pause_body()

    def resume_writing(self) -> None:
        """The endpoint caught up."""
        if self.answer is not None:
            self.answer.resume_body()

    @property
    def lost(self) -> bool:
        """Whether nothing can be sent any more, also before the loop has told so."""
        return self.closed or self.transport is None or self.transport.is_closing()

    # The Sink port, and what the pool calls

    def begin(self, answer: Answer, head: list[bytes], body: bytes, end: bool, length: int) -> None:
        """Send a call's head and what there is of its payload, in one write."""
        self.answer = answer
        self.request_done = end
        self.heard = self.pool.plane.now
        self.chunked = False
        if end:
            head += (render.length(len(body)), CRLF, body)
        elif length >= 0:
            head += (render.length(length), CRLF, body)
        else:
            self.chunked = True
            head += (render.CHUNKED, CRLF, render.chunk(body, end=False))
        if self.transport is not None:
            self.transport.write(b"".join(head))

    def body(self, data: bytes, end: bool) -> None:
        """Send more of the request's payload."""
        self.request_done = end
        self.heard = self.pool.plane.now
        transport = self.transport
        if transport is not None and not transport.is_closing():
            framed = render.chunk(data, end=end) if self.chunked else data
            if framed:
                transport.write(framed)

    def cancel(self) -> None:
        """Nobody waits any more: the only way to say so in HTTP/1.1 is to close."""
        self.answer = None
        self.close()

    def pause(self) -> None:
        """Read no more of the reply for now."""
        self.read_paused = True
        self.regulate()

    def resume(self) -> None:
        """Read the reply again."""
        self.read_paused = False
        self.regulate()

    def plain(self) -> int:
        """Return how many bytes of payload come next with nothing between them."""
        if not self.head_done:
            return 0
        return len(self.rest) if self.close_delimited else self.left

    def is_full(self) -> bool:
        """Return whether the reply has to wait for its caller."""
        return self.read_paused

    def resumed(self) -> None:
        """The endpoint may go on: its time begins anew."""
        self.heard = self.pool.plane.now

    def close(self) -> None:
        """Close at once; nothing more is heard of it."""
        self.closed = True
        self.rest = b""
        self.abort()

    def stalled(self, now: float, first_byte: float, stall: float) -> bool:
        """Return whether the endpoint does not begin its reply, or stopped in the middle of it."""
        if self.replied:
            return not self.read_paused and now - self.heard > stall
        return self.request_done and now - self.heard > first_byte

    def stall(self) -> None:
        """Give up a reply that does not come, or not further."""
        if self.replied:
            self._garbage("the endpoint stopped in the middle of its reply")
            return
        answer, self.answer = self.answer, None
        self.close()
        if answer is not None:
            why = "the endpoint did not begin its reply in time"
            answer.failed(Status.TIMEOUT, why, written=True)

    # Inside

    def _is_fresh(self) -> bool:
        return not (self.head_done or self.head_bytes or self.head_only)

    def _recall(self, data: bytes) -> bool:
        """Pass on a read that is one reply with a known head, without parsing it again."""
        misses, answer = self.misses, self.answer
        self.learning = misses < PATIENCE or misses % RETRY == 0
        known = self.pool.memory.recall(data) if self.learning else None
        if known is None or answer is None:
            self.misses = misses + 1
            return False
        self.misses = 0
        head, size = known
        self.answer = None
        if self.request_done:
            if self.read_paused:
                self.resume()
            self.pool.free(self)
        else:
            self.close()
        status, code, content_type, length, fields = head
        answer.reply(Reply(status, PROVIDER, code, content_type, length, fields), data[size:], True)
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the head of a whole reply, if it is usual (an interim reply before it is not)."""
        code = self.code
        usual = self.keep and self.length >= 0 and code not in (204, 304) and not self.surplus
        if usual and data.startswith(b"HTTP/1.1 %d" % code):
            head = ReplyHead(
                status_of_http(code), code, self.content_type, self.length, self.fields
            )
            self.pool.memory.remember(data, head)

    def _is_large(self, data: bytes) -> bool:
        """Return whether the head that ends in these bytes is too large."""
        return self.head_bytes + data.find(HEAD_END) > HEAD_LIMIT

    def _bound_framing(self, size: int) -> None:
        """Bound chunk extensions and trailers: the parser collects them without end."""
        if self.stagnant < 0 or not self.replied:
            self.stagnant = 0
            return
        self.stagnant += size
        if self.stagnant > HEAD_LIMIT:
            self._garbage("the endpoint's reply has too much between its chunks")

    def _deliver(self) -> None:
        answer = self.answer
        if answer is None or not self.head_done:
            return
        parts = self.parts
        body = b"" if not parts else parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        end = self.reply_done
        if self.replied:
            if end:
                self._release()
            if end or body:
                answer.reply_body(body, end)
            return
        self.replied = True
        code = self.code
        status = OK if 200 <= code < 300 else status_of_http(code)
        reply = Reply(status, PROVIDER, code, self.content_type, self.length, self.fields)
        if end:
            self._release()
        answer.reply(reply, body, end)

    def _release(self) -> None:
        """Give the connection back, or close it when it cannot serve another call."""
        self.answer = None
        if self.keep and self.request_done and not (self.surplus or self.rest):
            if self.read_paused:
                self.resume()
            self.reset()
            self.replied = False
            self.pool.free(self)
        else:
            self.close()

    def _garbage(self, why: str) -> None:
        answer, self.answer = self.answer, None
        self.close()
        if answer is not None:
            answer.failed(Status.PROVIDER_ERROR, why, written=True)
