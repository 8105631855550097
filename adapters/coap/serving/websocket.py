"""CoAP over WebSocket, through wsproto (RFC 8323 section 4, RFC 6455)."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from wsproto import ConnectionType, WSConnection
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
from wsproto.utilities import ProtocolError

from adapters.coap.serving.conversation import Conversation
from adapters.coap.wire.frames import (
    BASE_SIZE,
    OVERHEAD,
    Frame,
    FrameError,
    message_bytes,
    read_message,
)
from gateway.egress import NOBODY
from gateway.rota import Rota
from gateway.unfinished import LEAST

if TYPE_CHECKING:
    from adapters.coap.serving.listener import CoapListener

PATH: Final = "/.well-known/coap"
SUBPROTOCOL: Final = "coap"
"""RFC 8323 sections 4.1 and 8.4."""
PIECE: Final = 512
"""Bytes that are taken at once: tiny frames are as costly as large ones."""
PIECES: Final = 16
NORMAL, NOT_BINARY, TOO_BIG = 1000, 1003, 1009
"""Close codes (RFC 6455 section 7.4.1)."""


class WebSocketConnection(asyncio.Protocol):
    """One WebSocket. What comes is taken in turns."""

    def __init__(self, listener: "CoapListener") -> None:
        self._listener = listener
        self._service = listener.service
        self._rota: Rota = listener.rota
        self._limit = self._service.limit + OVERHEAD
        self._ws = WSConnection(ConnectionType.SERVER)
        self._transport: asyncio.Transport | None = None
        self.conversation: Conversation
        self._received = bytearray()
        self._message = bytearray()
        self._large = False
        self._waits = False
        self._slow = False
        self._greeted = False
        self._over = False

    # The loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is connected; its handshake has to follow."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by its bases
        address = transport.get_extra_info("peername")
        self._service.plane.now = asyncio.get_running_loop().time()
        self.conversation = Conversation(
            self._service, address[0] if address else NOBODY, self._say, self.close
        )
        if not self._listener.opened(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (gone is gone)
        """The client is gone."""
        self._transport = None
        self._listener.closed(self)
        self._listener.unfinished.note(self, 0)
        self._message = bytearray()  # a connection is freed late: it is part of a cycle
        self._received = bytearray()
        self.conversation.lost()

    def data_received(self, data: bytes) -> None:
        """Take frames: now, or when it is this connection's turn."""
        self._service.plane.now = asyncio.get_running_loop().time()
        self._received += data
        if not self._waits and self.work():
            self._waits = True
            self._regulate()
            self._rota.add(self)

    def pause_writing(self) -> None:
        """The client does not read: it gets no events, and no more is read of it."""
        self._slow = True
        self.conversation.pause()
        self._regulate()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._slow = False
        self._regulate()
        self.conversation.resume()

    # Work in turns

    def work(self) -> bool:
        """Take some of what came; return whether there is more to take now."""
        received = self._received
        for _ in range(PIECES):
            if not received or self._over:
                break
            piece = bytes(received[:PIECE])
            del received[:PIECE]
            self._take(piece)
        more = bool(received) and not self._over
        if self._waits and not more:
            self._waits = False
            self._regulate()
        return more

    def abort(self) -> None:
        """Close at once."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Say goodbye and close."""
        self._goodbye(NORMAL)

    # Inside

    def _take(self, data: bytes) -> None:
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._event(event)
                if self._over:
                    return
        except FrameError as error:
            self.conversation.abort(str(error))
        except ProtocolError:
            self._over = True
            if self._transport is not None:
                self._transport.close()

    def _event(self, event: Event) -> None:
        if isinstance(event, Request):
            self._shake_hands(event)
        elif isinstance(event, BytesMessage):
            self._take_part(event.data, end=event.message_finished)
        elif isinstance(event, TextMessage):
            self._goodbye(NOT_BINARY)
        elif isinstance(event, Ping):
            self._write(self._ws.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._over = True
            self._write(self._ws.send(event.response()))
            if self._transport is not None:
                self._transport.close()

    def _shake_hands(self, request: Request) -> None:
        path = request.target.partition("?")[0]
        if path != PATH or SUBPROTOCOL not in request.subprotocols:
            self._write(self._ws.send(RejectConnection(status_code=400)))
            self._over = True
            if self._transport is not None:
                self._transport.close()
            return
        self._write(self._ws.send(AcceptConnection(subprotocol=SUBPROTOCOL)))
        self._greeted = True
        self.conversation.begin()

    def _take_part(self, data: bytes | bytearray, *, end: bool) -> None:
        message, unfinished = self._message, self._listener.unfinished
        message += data
        if len(message) > (self._limit if self.conversation.greeted else BASE_SIZE):
            self._goodbye(TOO_BIG)
        elif end:
            self._message = bytearray()
            self.conversation.hear(read_message(bytes(message)))
        if self._large or len(self._message) > LEAST:
            self._large = unfinished.note(self, len(self._message), fresh=end)

    def _say(self, frame: Frame) -> None:
        if self._greeted and not self._over:
            self._write(self._ws.send(BytesMessage(data=message_bytes(frame))))

    def _goodbye(self, code: int) -> None:
        if self._over:
            return
        if self._greeted:
            self._write(self._ws.send(CloseConnection(code=code)))
        self._over = True
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _regulate(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._waits or self._slow:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
