"""From bytes to a reply: what one connection to an endpoint receives (RFC 9112).

The parser's callbacks only collect. What the parser lets through but no reply may be ends the
parsing at once.
"""

from adapters.http.wire.cookies import is_ours
from adapters.http.wire.fields import (
    COLON,
    CONNECTION,
    COOKIE,
    CRLF,
    LENGTH,
    PASS,
    RESPONSES,
    TRANSFER,
    TYPE,
    of_response,
    without,
)
from adapters.http.wire.intake import Intake
from adapters.http.wire.parser import HttpParserUpgrade, HttpResponseParser
from gateway.message import portable_type
from gateway.rota import Rota


class Garbage(Exception):
    """What no reply may be; raised inside the parser's callbacks."""


class ReplyReader(Intake):
    """The protocol of a response parser: the reply that is being received."""

    __slots__ = (
        "close_delimited",
        "code",
        "connection",
        "content_type",
        "fields",
        "head_bytes",
        "head_done",
        "head_only",
        "keep",
        "left",
        "length",
        "parser",
        "parts",
        "reply_done",
        "stagnant",
        "surplus",
    )

    def __init__(self, rota: Rota) -> None:
        super().__init__(rota)
        self.parser = HttpResponseParser(self)
        self.parts: list[bytes] = []
        self.code = 0
        self.left = 0
        """Bytes of payload that are still to come, negative when that is not known."""
        self.stagnant = 0
        """Bytes of chunk framing and trailers since the last byte of payload."""
        self.keep = self.surplus = False
        self.reset()

    def reset(self) -> None:
        """Forget the last reply. What each reply sets anew is not here: this is the hot path."""
        self.fields: list[bytes] = []
        self.length = -1
        self.content_type = self.connection = b""
        self.close_delimited = True
        self.head_bytes = 0
        self.head_done = self.head_only = self.reply_done = False

    # The parser's side

    def on_message_begin(self) -> None:
        """A reply begins; a second one was not asked for."""
        if self.reply_done:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head (trailer fields end here)."""
        if self.head_done:
            return
        special = RESPONSES.get(name)
        if special is None:
            special = of_response(name)
        if special == PASS:
            self.fields += (name, COLON, value, CRLF)
        elif special == LENGTH:
            self.length = int(value) if value.isdigit() and len(value) < 19 else -1
            self.close_delimited = False
        elif special == TYPE:
            self.content_type = portable_type(value)
            self.fields += (name, COLON, value, CRLF)
        elif special == TRANSFER:
            if value.lower() != b"chunked":
                raise Garbage("the only transfer coding understood here is chunked")
            self.close_delimited = False
        elif special == CONNECTION:
            self.connection += b"," + value if self.connection else value
        elif special == COOKIE and not is_ours(value):
            self.fields += (name, COLON, value, CRLF)

    def on_headers_complete(self) -> None:
        """The head is complete; an interim reply (1xx) is dropped."""
        if self.surplus:
            return
        code = self.parser.get_status_code()
        if code < 200 or code > 599:
            self._interim(code)
            return
        self.code = code
        self.left = self.length
        self.head_done = True
        self.keep = self.parser.should_keep_alive()
        connection = self.connection
        if (connection or not self.keep) and self.parser.get_http_version() not in ("1.1", "1.0"):
            raise Garbage("it says that it is of another version")
        if connection and connection.lower() not in (b"keep-alive", b"close"):
            self.fields = without(self.fields, connection)
        if self.head_only:
            self.reply_done = True
            self.keep = False

    def on_body(self, data: bytes) -> None:
        """Part of the reply's payload."""
        self.stagnant = -1
        self.left -= len(data)
        if not self.reply_done:
            self.parts.append(data)

    def on_message_complete(self) -> None:
        """The reply is all here."""
        if self.head_done:
            self.reply_done = True

    def _interim(self, code: int) -> None:
        """Forget the head of an interim reply: nothing of it belongs to the final one."""
        if not 100 <= code < 200:
            raise Garbage(f"there is no status code {code}")
        self.fields = []
        self.length = -1
        self.content_type = self.connection = b""
        self.close_delimited = True


def why(error: Exception) -> str:
    """Return what is wrong with a reply that the parser, or one of its callbacks, refused."""
    if isinstance(error, HttpParserUpgrade):
        return "it switches protocols unasked"
    cause = error.__context__
    return str(cause if isinstance(cause, Garbage) else error)
