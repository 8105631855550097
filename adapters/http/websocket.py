"""WebSocket frames (RFC 6455), through wsproto: the only file that imports it."""

import asyncio
import re
from typing import TYPE_CHECKING, Protocol

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import generate_accept_token

if TYPE_CHECKING:
    from adapters.http.inbound import Inbound
    from adapters.http.server import ServerConnection

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
    """One connection after its handshake. ``limit`` bounds a text message, in bytes."""

    def __init__(self, owner: "ServerConnection", limit: int) -> None:
        self.session: Session | None = None
        self.paused = owner.write_paused
        self._owner = owner
        self._limit = limit
        self._connection = Connection(ConnectionType.SERVER)
        self._parts: list[str] = []
        self._size = 0
        self._heard = True

    # The connection's side

    def data_received(self, data: bytes) -> None:
        """Take frames from the client."""
        self._heard = True
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

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.paused = True
        if self.session is not None:
            self.session.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.paused = False
        if self.session is not None:
            self.session.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone."""
        session, self.session = self.session, None
        if session is not None:
            session.closed()

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
        self.connection_lost(None)
        transport = self._owner.transport
        if transport is not None and self.paused:
            transport.abort()
        elif transport is not None:
            asyncio.get_running_loop().call_later(GOODBYE, transport.abort)

    def backlog(self) -> int:
        """Return how many bytes wait to be sent."""
        transport = self._owner.transport
        return transport.get_write_buffer_size() if transport is not None else 0

    def beat(self) -> None:
        """Send a ping; a client that was silent since the last one is gone."""
        transport = self._owner.transport
        if self._heard:
            self._heard = False
            self._send(Ping())
        elif transport is not None:
            transport.abort()

    # Inside

    def _text(self, event: TextMessage) -> None:
        if self.session is None:
            return
        if event.data:
            self._parts.append(event.data)
        self._size += len(event.data)
        if self._size > self._limit:
            self.close(TOO_BIG, f"a message may have at most {self._limit} bytes")
        elif event.message_finished:
            text = "".join(self._parts)
            self._parts.clear()
            self._size = 0
            self.session.message(text)

    def _answer_close(self, event: CloseConnection) -> None:
        """The client closes, or sent what is no WebSocket (wsproto says that the same way)."""
        self._send(event.response())
        self._owner.close()
        self.connection_lost(None)

    def _send(self, event: TextMessage | Ping | Pong | CloseConnection) -> None:
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._owner.write(self._connection.send(event))
