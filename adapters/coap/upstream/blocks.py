"""One call over a line, its payloads block by block in both directions (RFC 7959)."""

from collections.abc import Callable
from typing import Final

from adapters.coap.serving.asked import BLOCK, Block
from adapters.coap.upstream.line import Line, Lost, Request
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import FETCH, Message, code_of
from adapters.coap.wire.options import Options, ordered, uint, uint_value
from gateway.message import Status

CONTINUE: Final = code_of("2.31")
UNAUTHORIZED: Final = code_of("4.01")
TOO_LARGE: Final = code_of("4.13")

Done = Callable[[Message], None]


class Fetch:
    """Sends a request and collects its response, of at most ``limit`` bytes.

    ``done`` gets the response with its whole payload, ``lost`` hears why there is none; one of
    them is called, once, unless the call is cancelled.
    """

    __slots__ = (
        "_block",
        "_code",
        "_done",
        "_echoed",
        "_etag",
        "_first",
        "_limit",
        "_line",
        "_lost",
        "_offset",
        "_options",
        "_parts",
        "_payload",
        "_size",
        "fault",
    )

    def __init__(self, line: Line, request: Request, limit: int, done: Done, lost: Lost) -> None:
        self._line = line
        self._code = request.code
        self._options = request.options
        self._payload = request.payload
        self._limit = limit
        self._done = done
        self._lost = lost
        self._block = BLOCK
        self._offset = 0
        self._echoed = False
        self._first: Message | None = None
        self._etag: bytes | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self.fault = Status.UNAVAILABLE
        """What it is called when there is no response: other than this, the server is to blame."""

    def begin(self) -> None:
        """Send the request, or its first block."""
        if len(self._payload) <= self._line.whole:
            self._ask([], self._payload)
        else:
            self._send_block()

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._line.forget()

    def _ask(self, extra: Options, payload: bytes) -> None:
        options = ordered([*self._options, *extra]) if extra else self._options
        self._line.ask(Request(self._code, options, payload), self._heard, self._lost)

    # The request's blocks

    def _send_block(self) -> None:
        size = 1 << (self._block + 4)
        end = self._offset + size
        block = Block(self._offset // size, end < len(self._payload), self._block)
        extra = [(o.BLOCK1, block.value())]
        if self._offset == 0:
            extra.append((o.SIZE1, uint_value(len(self._payload))))
        self._ask(extra, self._payload[self._offset : end])

    def _heard(self, message: Message) -> None:
        if message.code == UNAUTHORIZED and not self._echoed:
            echo = message.value(o.ECHO)
            if echo is not None:
                self._show(echo)
                return
        sending = len(self._payload) > self._line.whole and self._first is None
        if sending and message.code == CONTINUE:
            self._next_block(message)
        elif sending and message.code == TOO_LARGE and self._is_smaller(message):
            self._offset = 0
            self._send_block()
        elif self._first is None:
            self._begin_reply(message)
        else:
            self._more(message)

    def _show(self, echo: bytes) -> None:
        """The server asks whether we are where we say (RFC 9175 section 2.3): send it again."""
        self._echoed = True
        self._options = ordered([*self._options, (o.ECHO, echo)])
        self._offset = 0
        self.begin()

    def _next_block(self, message: Message) -> None:
        value = message.value(o.BLOCK1)
        sent = 1 << (self._block + 4)
        if value is None or uint(value) >> 4 != self._offset // sent:
            self._fail("the server acknowledged another block than it was sent")
            return
        self._offset += sent
        self._block = min(self._block, uint(value) & 7)
        if self._offset >= len(self._payload):
            self._fail("the server wants more than all of the payload")
        else:
            self._send_block()

    def _is_smaller(self, message: Message) -> bool:
        """Whether the server wants smaller blocks (RFC 7959 section 2.9.3), and take its word."""
        value = message.value(o.BLOCK1)
        if value is None or uint(value) & 7 >= self._block or self._offset:
            return False
        self._block = uint(value) & 7
        return True

    # The response's blocks

    def _begin_reply(self, message: Message) -> None:
        value = message.value(o.BLOCK2)
        if value is None or not uint(value) & 8:
            if len(message.payload) > self._limit:
                self._fail(f"the reply is larger than {self._limit} bytes", Status.TOO_LARGE)
            else:
                self._done(message)
            return
        self._first = message
        self._etag = message.value(o.ETAG)
        self._more(message)

    def _more(self, message: Message) -> None:
        """Take a block, and ask for the next one."""
        value, first = message.value(o.BLOCK2), self._first
        number = 0 if value is None else uint(value)
        size = 1 << ((number & 7) + 4)
        more = bool(number & 8)
        follows = (number >> 4) * size == self._size and number & 7 != 7
        whole = len(message.payload) == size or not more
        if first is None or value is None or message.code != first.code or not (follows and whole):
            self._fail("the server sent a block that does not follow those before it")
        elif message.value(o.ETAG) != self._etag:
            self._fail("the resource changed while it was read")
        elif self._size + len(message.payload) > self._limit:
            self._fail(f"the reply is larger than {self._limit} bytes", Status.TOO_LARGE)
        else:
            self._parts.append(message.payload)
            self._size += len(message.payload)
            if more:
                self._ask_for(Block(self._size // size, False, number & 7))
            else:
                self._done(first._replace(payload=b"".join(self._parts)))

    def _ask_for(self, block: Block) -> None:
        """Ask for a block; only a FETCH needs its payload again (RFC 8132 section 2)."""
        again = (
            self._payload if self._code == FETCH and len(self._payload) <= self._line.whole else b""
        )
        self._ask([(o.BLOCK2, block.value())], again)

    def _fail(self, why: str, fault: Status = Status.PROVIDER_ERROR) -> None:
        self.fault = fault
        self._line.forget()
        self._lost(why, True)
