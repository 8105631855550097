"""WebSocket frames (RFC 6455), through wsproto: the only file that imports it."""

import asyncio
import re
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import generate_accept_token

from gateway.rota import TURN, Rota

if TYPE_CHECKING:
    from adapters.http.serving.inbound import Inbound
    from adapters.http.serving.server import ServerConnection

GOING_AWAY = 1001
NOT_TEXT = 1003
POLICY = 1008
TOO_BIG = 1009
"""Close codes: RFC 6455 section 7.4.1, and the IANA registry."""
VERSION = b"13"
WAITING = 8 * 1024 * 1024
"""Bytes that a client may leave unread; then it is disconnected."""
GOODBYE = 5.0
"""Seconds that a client has to answer a goodbye."""
PIECE = 512
"""Bytes that are taken from a client at once: tiny frames are as costly as large ones."""
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class Session(Protocol):
    """What speaks through a WebSocket."""

    def message(self, text: str) -> None:
        """A whole text message came."""
        ...

    def pause(self) -> None:
        """The client takes nothing for now."""
        ...

    def resume(self) -> None:
        """The client takes something again."""
        ...

    def closed(self) -> None:
        """The connection is gone."""
        ...


def handshake(inbound: "Inbound") -> tuple[bytes, str]:
    """Return the answer to a handshake (RFC 6455 section 4.2), or b"" and what is wrong."""
    fields = {
        inbound.head.fields[at].lower(): inbound.head.fields[at + 2]
        for at in range(0, len(inbound.head.fields), 4)
    }
    key = fields.get(b"sec-websocket-key", b"")
    if inbound.head.verb != b"GET" or inbound.head.http10:
        return b"", "a WebSocket is opened with GET of HTTP/1.1"
    if fields.get(b"sec-websocket-version") != VERSION:
        return b"", "Sec-WebSocket-Version must be 13"
    if not _KEY.fullmatch(key):
        return b"", "Sec-WebSocket-Key must be 16 bytes in base64"
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % generate_accept_token(key)
    ), ""


class WebSocket(asyncio.Protocol):
    """One connection after its handshake. ``limit`` bounds a text message, in bytes.

    What comes is worked off in turns, and not while the client leaves answers unread.
    """

    def __init__(self, owner: "ServerConnection", limit: int, rota: Rota) -> None:
        self.session: Session | None = None
        self.paused = owner.write_paused
        self.limit = limit
        self.held = False
        self._owner = owner
        self._rota = rota
        self._received = bytearray()
        self._waits = False
        self._deaf = False
        self._connection = Connection(ConnectionType.SERVER)
        self._parts: list[str] = []
        self._size = 0
        self._heard = True

    # The connection's side

    def data_received(self, data: bytes) -> None:
        """Take frames from the client: now, or when it is this connection's turn."""
        self._heard = True
        self._received += data
        if not self._waits:
            self._begin()

    def work(self) -> bool:
        """Take a little of what came; return whether there is more to take now."""
        received, end = self._received, perf_counter() + TURN
        while received and not (self.paused or self.held):
            piece = bytes(received[:PIECE])
            del received[:PIECE]
            self._take(piece)
            if perf_counter() >= end:
                break
        self._heard = True
        self._waits = bool(received) and not (self.paused or self.held)
        self._regulate()
        return self._waits

    def abort(self) -> None:
        """Close at once."""
        if self._owner.transport is not None:
            self._owner.transport.abort()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.paused = True
        self._regulate()
        if self.session is not None:
            self.session.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.paused = False
        if self.session is not None:
            self.session.resume()
        if not self._waits:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone."""
        self._received.clear()
        self._end()

    # The session's side

    def send(self, text: str) -> None:
        """Send a text message; a client that leaves too much unread is disconnected."""
        self._send(TextMessage(data=text))
        transport = self._owner.transport
        if self.paused and transport is not None and transport.get_write_buffer_size() > WAITING:
            transport.abort()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye (RFC 6455 section 7.1.2); the session hears ``closed`` at once.

        The client has a moment to say it too: closing at once could destroy what it has not read.
        """
        self._send(CloseConnection(code=code, reason=reason[:120]))
        self._end()
        transport = self._owner.transport
        if transport is not None and self.paused:
            transport.abort()
        elif transport is not None:
            asyncio.get_running_loop().call_later(GOODBYE, transport.abort)

    def hold(self) -> None:
        """Take nothing from the client until ``go_on``, but for what one piece had already."""
        self.held = True
        self._regulate()

    def go_on(self) -> None:
        """Take what comes again."""
        self.held = False
        if not self._waits:
            self._begin()

    def backlog(self) -> int:
        """Return how many bytes wait to be sent."""
        transport = self._owner.transport
        return transport.get_write_buffer_size() if transport is not None else 0

    def beat(self) -> None:
        """Send a ping; a client that was silent since the last one is gone."""
        if self._heard:
            self._heard = False
            self._send(Ping())
        else:
            self.abort()

    # Inside

    def _end(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.closed()

    def _begin(self) -> None:
        if self.work():
            self._rota.add(self)

    def _regulate(self) -> None:
        """Read from the client only when all that came is done, and it reads what it is sent."""
        deaf = self.paused or self.held or bool(self._received)
        transport = self._owner.transport
        if deaf == self._deaf or transport is None or transport.is_closing():
            return
        self._deaf = deaf
        if deaf:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _take(self, data: bytes) -> None:
        if self._connection.state is ConnectionState.CLOSED:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._text(event)
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                self._answer_close(event)
            elif isinstance(event, BytesMessage):
                self.close(NOT_TEXT, "messages are JSON text")

    def _text(self, event: TextMessage) -> None:
        if self.session is None:
            return
        if event.data:
            self._parts.append(event.data)
        self._size += len(event.data)
        if self._size > self.limit:
            self.close(TOO_BIG, f"a message may have at most {self.limit} bytes")
        elif event.message_finished:
            text = "".join(self._parts)
            self._parts.clear()
            self._size = 0
            self.session.message(text)

    def _answer_close(self, event: CloseConnection) -> None:
        """The client closes, or sent what is no WebSocket (wsproto says that the same way)."""
        self._send(event.response())
        self._owner.close()
        self._end()

    def _send(self, event: TextMessage | Ping | Pong | CloseConnection) -> None:
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._owner.write(self._connection.send(event))
