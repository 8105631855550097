"""What a site offers to a principal, whatever protocol they speak: by_http, by_mqtt and by_coap."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

RETRY = 0.3


class SiteError(Exception):
    """The site refused: ``status`` is that of HTTP, 0 when no answer came at all."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}" if status else detail)
        self.status = status


class Event(NamedTuple):
    """One event of a channel; its id says where to go on after a break, where the protocol can."""

    id: str
    value: Any


class Site(Protocol):
    """A gateway as one principal sees it."""

    def call(self, name: str, args: object = None) -> Any:
        """Call a method, and return what its answer holds; raises SiteError."""

    def publish(self, name: str, event: object) -> str:
        """Publish to a channel, and return the event's id, or "" where it is not told."""

    def events(self, name: str) -> Iterator[Event]:
        """Yield a channel's events for ever, beginning with its last value at the latest."""
