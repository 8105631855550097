"""CoAP over TCP: connections, their limits, their pace (RFC 8323 section 3)."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from adapters.coap.serving.conversation import Conversation
from adapters.coap.wire.frames import BASE_SIZE, OVERHEAD, Frame, FrameError, Frames, frame_bytes
from gateway.egress import NOBODY
from gateway.message import Refusal
from gateway.rota import Rota
from gateway.unfinished import LEAST

if TYPE_CHECKING:
    from adapters.coap.serving.listener import CoapListener

BURST: Final = 32
"""Messages of one connection that are taken before others have their turn."""


class StreamConnection(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, listener: "CoapListener") -> None:
        self.conversation: Conversation
        self._listener = listener
        self._service = listener.service
        self._rota: Rota = listener.rota
        self._frames = Frames(BASE_SIZE)
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] | None = None
        self._waits = False
        self._slow = False
        self._large = False

    # The loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by its bases
        address = transport.get_extra_info("peername")
        self._service.plane.now = asyncio.get_running_loop().time()
        self.conversation = Conversation(
            self._service, address[0] if address else NOBODY, self._say, self.close
        )
        try:
            certified = self._listener.identify(transport)
        except Refusal as refusal:
            self._listener.opened(self)
            self.conversation.abort(refusal.detail)
            return
        if certified is not None:
            self.conversation.client.principal = certified
        if self._listener.opened(self):
            self.conversation.begin()
        else:
            self.conversation.abort("too many connections")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (gone is gone)
        """The peer is gone."""
        self._transport = None
        self._listener.closed(self)
        self._listener.unfinished.note(self, 0)
        self._frames = Frames(BASE_SIZE)  # a connection is freed late: it is part of a cycle
        self.conversation.lost()

    def data_received(self, data: bytes) -> None:
        """Take messages: now, or when it is this connection's turn."""
        self._service.plane.now = asyncio.get_running_loop().time()
        self._frames.feed(data)
        if not self._waits and self.work():
            self._wait()
        if self._large or self._frames.held() > LEAST:
            frames, unfinished = self._frames, self._listener.unfinished
            self._large = unfinished.note(self, frames.held(), fresh=frames.is_fresh())

    def pause_writing(self) -> None:
        """The peer does not read: it gets no events, and no more is read of it."""
        self._slow = True
        self.conversation.pause()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._slow = False
        if self._transport is not None and not self._waits:
            self._transport.resume_reading()
        self.conversation.resume()

    # Work in turns

    def work(self) -> bool:
        """Take some of what came; return whether there is more to take now."""
        self._parts = []
        more = False
        try:
            more = self._take()
        except FrameError as error:
            self._frames = Frames(BASE_SIZE)
            self.conversation.abort(str(error))
        parts, self._parts = self._parts, None
        if parts and self._transport is not None:
            self._transport.write(b"".join(parts))
        if self._waits and not more and self._transport is not None:
            self._waits = False
            if not self._slow:
                self._transport.resume_reading()
        return more

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close when everything is sent."""
        transport, parts = self._transport, self._parts
        if transport is not None and not transport.is_closing():
            if parts:
                transport.write(b"".join(parts))
                parts.clear()
            transport.close()

    def _take(self) -> bool:
        for _ in range(BURST):
            if self._transport is None or self._transport.is_closing():
                return False
            frame = self._frames.next()
            if frame is None:
                return False
            self.conversation.hear(frame)
            if self._frames.limit == BASE_SIZE and self.conversation.greeted:
                # Until then it is a stranger, who has nothing large to say.
                self._frames.limit = self._service.limit + OVERHEAD
        return True

    def _wait(self) -> None:
        self._waits = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._rota.add(self)

    def _say(self, frame: Frame) -> None:
        data = frame_bytes(frame)
        if self._parts is not None:
            self._parts.append(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
