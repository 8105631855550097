"""MQTT over WebSocket (MQTT 5.0 section 6, RFC 6455), through wsproto.

The Origin of a page says nothing: who a client is, its CONNECT says, as everywhere.
"""

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from adapters.mqtt.sockets.connection import Connection
from adapters.mqtt.wire.packets import Reason
from gateway.rota import TURN

if TYPE_CHECKING:
    from adapters.mqtt.sockets.listener import MqttListener

PATH = "/mqtt"
SUBPROTOCOL = "mqtt"
"""[MQTT-6.0.0-3] [MQTT-6.0.0-4]"""
HEAD = 16 * 1024
"""Bytes of a handshake."""
PIECE = 512
"""Bytes that are taken from a client at once: tiny frames are as costly as large ones."""
NORMAL = 1000
NOT_BINARY = 1003
"""Close codes (RFC 6455 section 7.4.1)."""
_OPEN = (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING)


class WebSocket(asyncio.Protocol):
    """A client's WebSocket: to its ``Connection`` it looks like the transport."""

    __slots__ = (
        "_code",
        "_connection",
        "_deaf",
        "_full",
        "_listener",
        "_received",
        "_transport",
        "_waits",
        "_ws",
    )

    def __init__(self, listener: "MqttListener") -> None:
        self._listener = listener
        self._connection = Connection(listener)
        self._ws = WSConnection(ConnectionType.SERVER)
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waits = False
        self._deaf = False
        self._full = False
        self._code = NORMAL

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is connected; a handshake has to follow, and a CONNECT, in the same time."""
        self._transport = cast("asyncio.Transport", transport)
        self._connection.connection_made(cast("asyncio.Transport", self))

    def data_received(self, data: bytes) -> None:
        """Take frames: now, or when it is this connection's turn."""
        self._received += data
        self._begin()

    def eof_received(self) -> None:
        """The client says no more: the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self._received.clear()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client leaves unread what it is sent; pings are not answered meanwhile either."""
        self._full = True
        self._connection.pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._full = False
        self._connection.resume_writing()
        self._begin()

    # The rota's side

    def work(self) -> bool:
        """Take a little of what came; return whether there is more to take now."""
        received, end = self._received, perf_counter() + TURN
        while received and not self._is_held():
            if self._ws.connection is None:
                if not self._shake_hands():
                    break
            else:
                piece = bytes(received[:PIECE])
                del received[:PIECE]
                self._take(piece)
            if perf_counter() >= end:
                break
        self._waits = bool(received) and self._ws.connection is not None and not self._is_held()
        self._regulate()
        return self._waits

    # The connection's side: what it asks of a transport

    def write(self, data: bytes) -> None:
        """Send packets, as one binary message [MQTT-6.0.0-1]."""
        self._send(BytesMessage(data=data))

    def write_eof(self) -> None:
        """Say goodbye; the client has a moment to say it too."""
        self._send(CloseConnection(code=self._code))
        if self._ws.connection is None:
            self.abort()

    def close(self) -> None:
        """The same."""
        self.write_eof()

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def can_write_eof(self) -> bool:
        """Whether ``write_eof`` may be called."""
        return True

    def is_closing(self) -> bool:
        """Whether the socket is closing."""
        return self._transport is None or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Take nothing for now."""
        self._deaf = True
        self._regulate()

    def resume_reading(self) -> None:
        """Go on."""
        self._deaf = False
        if self._received:
            asyncio.get_running_loop().call_soon(self._begin)
        self._regulate()

    def is_reading(self) -> bool:
        """Whether the connection takes data."""
        return not self._deaf

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when ``pause_writing`` is due."""
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket knows."""
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    # Inside

    def _begin(self) -> None:
        if not self._waits and self.work():
            self._listener.rota.add(self)

    def _is_held(self) -> bool:
        return self._deaf or self._full or self.is_closing()

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._deaf or self._full or self._waits:
            transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _shake_hands(self) -> bool:
        """Answer the handshake (RFC 6455 section 4.2) when it is whole; whether it succeeded."""
        received = self._received
        end = received.find(b"\r\n\r\n", 0, HEAD) + 4
        if end < 4:
            if len(received) >= HEAD:
                self.abort()
            return False
        head = bytes(received[:end])
        del received[:end]
        try:
            self._ws.receive_data(head)
            request = next(self._ws.events())
        except RemoteProtocolError as error:
            hint = error.event_hint
            self._reject(hint if isinstance(hint, RejectConnection) else RejectConnection())
            return False
        except (ValueError, StopIteration):  # a field that is not ASCII; a body
            self._reject(RejectConnection(status_code=400))
            return False
        return self._accept(cast("Request", request))

    def _accept(self, request: Request) -> bool:
        if request.target.partition("?")[0] != PATH:
            self._reject(RejectConnection(status_code=404))
        elif SUBPROTOCOL not in request.subprotocols:
            self._reject(RejectConnection(status_code=400))
        else:
            accepted = self._ws.send(AcceptConnection(subprotocol=SUBPROTOCOL))
            if self._transport is not None:
                self._transport.write(accepted)
            return True
        return False

    def _reject(self, rejection: RejectConnection) -> None:
        transport = self._transport
        self._received.clear()
        if transport is not None:
            headers = [*rejection.headers, (b"Connection", b"close")]
            rejection = RejectConnection(status_code=rejection.status_code, headers=headers)
            transport.write(self._ws.send(rejection))
            transport.close()

    def _take(self, data: bytes) -> None:
        if self._ws.state is ConnectionState.CLOSED:
            return
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, BytesMessage):
                self._connection.data_received(bytes(event.data))
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                self._close(event)
            elif isinstance(event, TextMessage):
                self._code = NOT_BINARY  # [MQTT-6.0.0-1]
                why = "MQTT packets are sent in binary messages"
                self._connection.fail(Reason.PROTOCOL_ERROR, why)

    def _close(self, event: CloseConnection) -> None:
        """The client closes, or sent what is no WebSocket (wsproto says that the same way)."""
        self._send(event.response())
        if self._transport is not None:
            self._transport.close()

    def _send(self, event: Event) -> None:
        if self._transport is not None and self._ws.state in _OPEN:
            self._transport.write(self._ws.send(event))
