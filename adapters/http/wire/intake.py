"""What one connection sends, from the loop to its parser: a large read is parsed in turns.

A read of 256 KiB can hold 40,000 tiny chunks, or 8,000 requests. Parsed at once they would make
everybody else wait for a tenth of a second, and as often as somebody likes.
"""

import asyncio
from time import perf_counter

from gateway.rota import TURN, Rota

PIECE = 20 * 1024
"""Bytes that are parsed at once where they may hold thousands of things."""


class Intake:
    """The reading half of a connection; a subclass parses, and says when it is full."""

    __slots__ = ("held", "queued", "rest", "rest_at", "rota", "transport")

    def __init__(self, rota: Rota) -> None:
        self.rota = rota
        self.transport: asyncio.Transport | None = None
        self.rest = b""
        """A large read that is parsed in turns, from ``rest_at`` on."""
        self.rest_at = 0
        self.queued = False
        """It is the rota's to go on with the rest."""
        self.held = False
        """Nothing is read for now."""

    def parse(self, data: bytes) -> None:
        """Parse bytes and act on them."""
        raise NotImplementedError

    def plain(self) -> int:
        """Return how many bytes of payload come next with nothing between them."""
        raise NotImplementedError

    def is_full(self) -> bool:
        """Return whether what comes has to wait."""
        raise NotImplementedError

    def resumed(self) -> None:
        """Reading goes on: whoever was waited for could not send until now."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Take a read: parse it now, or in turns."""
        if self.rest:
            self.rest += data
        elif len(data) <= PIECE:
            self.parse(data)
        else:
            self.rest, self.rest_at = data, 0
            if self.work():
                self.rota.add(self)

    def work(self) -> bool:
        """Parse some of a large read; return whether there is more to parse now."""
        self.queued = True
        end = perf_counter() + TURN
        while self.rest and not self.is_full():
            self.parse(self._piece())
            if perf_counter() >= end:
                break
        self.queued = bool(self.rest) and not self.is_full()
        self._hold()
        return self.queued

    def regulate(self) -> None:
        """Read, and parse what was read, only while there is room for it."""
        if self.rest and not self.queued and not self.is_full():
            self.queued = True
            self.rota.add(self)
        self._hold()

    def abort(self) -> None:
        """Close at once, whatever is open."""
        if self.transport is not None:
            self.transport.abort()

    def _piece(self) -> bytes:
        begin = self.rest_at
        self.rest_at = end = begin + max(PIECE, self.plain())
        data = self.rest[begin:end]
        if end >= len(self.rest):
            self.rest = b""
        return data

    def _hold(self) -> None:
        held = bool(self.rest) or self.is_full()
        transport = self.transport
        if held == self.held or transport is None or transport.is_closing():
            return
        self.held = held
        if held:
            transport.pause_reading()
        else:
            self.resumed()
            transport.resume_reading()
