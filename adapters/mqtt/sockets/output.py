"""What a connection sends: gathered in a turn of the loop, and written in one piece."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapters.mqtt.sockets.listener import MqttListener


class Output:
    """A connection's way out. ``full``: the client leaves more unread than it may."""

    __slots__ = ("_backlog", "_listener", "_out", "_paused", "_size", "_transport", "full")

    def __init__(self, listener: "MqttListener") -> None:
        self.full = False
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._size = 0
        self._backlog = listener.settings.backlog
        self._paused = False

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn of the loop."""
        out = self._out
        if not out:
            self._listener.flusher.add(self)
        out.append(data)
        self._size += len(data)
        if self._size > self._backlog and not self.full:
            self._fill()

    def write_parts(self, head: bytes, middle: bytes, rest: bytes) -> None:
        """Send bytes that are in three parts."""
        out = self._out
        if not out:
            self._listener.flusher.add(self)
        out += (head, middle, rest)
        self._size += len(head) + len(rest)
        if self._size > self._backlog and not self.full:
            self._fill()

    def flush(self) -> None:
        """Write what is to be sent, in one piece."""
        out, transport = self._out, self._transport
        if transport is None or not out:
            return
        if transport.is_closing():
            out.clear()
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._size = 0
        self._listener.engine.counters.bytes_sent += len(data)
        transport.write(data)
        if self.full and not self._paused:
            self._empty()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _fill(self) -> None:
        """The client leaves more unread than it may."""
        raise NotImplementedError

    def _empty(self) -> None:
        """The client has read most of it."""
        raise NotImplementedError
