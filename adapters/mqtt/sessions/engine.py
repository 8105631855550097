"""What all sessions of a listener share: settings, encoders, the disk and counters."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from adapters.mqtt.sessions.ports import Settings
from adapters.mqtt.sessions.shares import Shares
from adapters.mqtt.sessions.stored import Bodies
from adapters.mqtt.wire.encoding import Encoder
from gateway.session_port import SessionStore

WARNING_MS = 1000
"""Milliseconds between warnings."""


class Wire(Protocol):
    """A session's connection: what is written goes out together at the end of the loop's turn.

    ``full`` while the client leaves more unread than it may.
    """

    full: bool

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def write_parts(self, head: bytes, middle: bytes, rest: bytes) -> None:
        """Send bytes that are in three parts."""
        ...

    def fail(self, reason: int, why: str) -> None:
        """End the connection and tell the session by ``closed``; a client of 5.0 is told why."""
        ...

    def part(self, reason: int, why: str) -> None:
        """The same, but the session knows."""
        ...

    def hold(self) -> None:
        """Take no packets from the client for now."""
        ...

    def go_on(self) -> None:
        """Take packets again."""
        ...

    def rest(self, seconds: float) -> None:
        """Take no packets from the client for ``seconds``."""
        ...


class Disk(Protocol):
    """Tells when the SessionStore has written; in the order of the calls."""

    def after(self, done: Callable[[bool], None]) -> None:
        """Call ``done`` when all writes so far are on disk; with False when some failed."""
        ...


class Counters(Struct):
    """What was dropped since the start, in messages, and what came and went."""

    received: int = 0
    """Packets."""
    bytes_received: int = 0
    bytes_sent: int = 0
    slow: int = 0
    """QoS 0, because the client reads too slowly."""
    overflow: int = 0
    """QoS 1 and 2, because too much waited for the client."""
    expired: int = 0
    too_large: int = 0
    """More than the client takes."""
    refused: int = 0
    """Connections that were not accepted."""
    errors: int = 0
    """Connections that were ended because the client broke the protocol."""


class Engine:
    """Makes nothing by itself: each session has it. ``time_ms`` is Unix time in milliseconds."""

    __slots__ = (
        "bodies",
        "counters",
        "disk",
        "encoder",
        "queued",
        "settings",
        "store",
        "time_ms",
        "warned",
    )

    def __init__(
        self,
        settings: Settings,
        time_ms: Callable[[], int],
        store: SessionStore,
        disk: Disk,
    ) -> None:
        self.settings = settings
        self.time_ms = time_ms
        self.store = store
        self.disk = disk
        self.encoder = Encoder(time_ms, with_cloudevents=settings.cloudevents)
        self.bodies = Bodies()
        self.counters = Counters()
        self.queued = Shares(settings.queue_of_one)
        self.warned = 0

    def may_warn(self) -> bool:
        """Return whether the log may be told of one more session that is too slow or not let in.

        There may be thousands; all of it is counted.
        """
        now = self.time_ms()
        if now - self.warned < WARNING_MS:
            return False
        self.warned = now
        return True
