"""Writes out what connections have to send: once per connection and turn of the loop."""

import asyncio
import logging
from time import perf_counter
from typing import Protocol

MOMENT = 0.002
"""Seconds of one pass of the loop, for all connections together."""
LOOK = 16
"""Connections between two looks at the clock."""

_log = logging.getLogger("hilum.mqtt")


class Writer(Protocol):
    """A connection with something to send."""

    def flush(self) -> None:
        """Send it."""
        ...

    def abort(self) -> None:
        """Give up: it failed."""
        ...


class Flusher:
    """The connections that have something to send since the last time.

    What the loop reads from several clients in one turn goes to each of the others in one piece.
    """

    __slots__ = ("_at", "_dirty")

    def __init__(self) -> None:
        self._dirty: list[Writer] = []
        self._at = 0

    def add(self, connection: Writer) -> None:
        """Let a connection be flushed soon; it must not wait for that already."""
        self._dirty.append(connection)
        if len(self._dirty) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        # Who gets something to send meanwhile stands behind the others.
        dirty, at, end = self._dirty, self._at, perf_counter() + MOMENT
        while at < len(dirty):
            connection = dirty[at]
            at += 1
            try:
                connection.flush()
            except Exception:  # one connection's fault must not stop all others
                _log.exception("a connection failed")
                connection.abort()
            if at % LOOK == 0 and perf_counter() >= end:
                break
        if at < len(dirty):
            self._at = at
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._at = 0
            dirty.clear()
