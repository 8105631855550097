"""What a session remembers of each message that is under way, either way.

Structs of msgspec, because one is made in a third of a plain class's time.
"""

from typing import TYPE_CHECKING

from msgspec import Struct

from adapters.mqtt.sessions.ports import LATER, Shared
from gateway.message import Event, Mark

if TYPE_CHECKING:
    from adapters.mqtt.sessions.incoming import Incoming

QUEUED, SENT, RELEASING, RELEASED, DROPPED = range(5)
"""Waits to be sent; waits for PUBACK or PUBREC; its PUBREL waits for the disk; PUBREL is sent."""


class Message(Struct, eq=False):
    """One message to one client. ``event`` is None when only its PUBREL is due (restored).

    ``ready``: on disk, as far as it has to be before it may be sent; ``counted``: it takes a
    place in the client's Receive Maximum; ``again``: it was sent before (DUP).
    """

    event: Event | None
    topic: str
    qos: int
    retain: bool
    ids: tuple[int, ...]
    packet_id: int
    shared: Shared | None = None
    state: int = QUEUED
    ready: bool = True
    counted: bool = False
    again: bool = False


class Receipt(Struct, eq=False):
    """One message that waits for its acknowledgement; at QoS 2 it is there until PUBREL.

    ``marked``: its mark may be on disk; ``stored``: what has to be on disk before the answer is;
    ``waits``: it is in the order of acknowledgements; ``answered``: PUBREC was sent;
    ``counted``: it takes a place in our Receive Maximum.
    """

    incoming: "Incoming"
    packet_id: int
    qos: int
    mark: Mark | None
    reason: int = LATER
    why: str = ""
    marked: bool = False
    stored: bool = True
    waits: bool = False
    answered: bool = False
    counted: bool = True

    def take_mark(self) -> Mark | None:
        """Hand over the mark: whoever takes it stores it with the event."""
        mark, self.mark = self.mark, None
        self.marked = mark is not None
        return mark

    def done(self, reason: int, why: str = "") -> None:
        """Answer the message."""
        if self.reason == LATER:
            self.reason = reason
            self.why = why
            self.incoming.decided(self)

    def unsynced(self, reason: int, why: str) -> None:
        """The message was taken, but is not yet on disk where it has to be."""
        if not self.incoming.unsynced(self, why):
            self.done(reason, why)
