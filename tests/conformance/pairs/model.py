"""What the table of conformance is written in: clients and providers, whatever their protocol."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.message import Status

LIMIT = 64 * 1024
"""``[limits] message`` of the site that the table runs against, in bytes."""
WINDOW = 128 * 1024
"""Bytes of a client's receive buffer: small, so that one which does not read is noticed soon, but
more than a segment of the loopback interface, which would be dropped and sent again much later."""
WITHIN = 8.0
"""Seconds after which what should come is taken for lost."""


class Place(NamedTuple):
    """Where the site listens, and what a client of it presents: a token, a security context."""

    http: int
    mqtt: int
    coap: int
    token: str
    context: object = None


ACKNOWLEDGED = {Status.NOT_FOUND: 0x8F, Status.TOO_LARGE: 0x97}
"""Reason codes of SUBACK and PUBACK, which may not have the one that stands for the status."""


class Outcome(NamedTuple):
    """What a call or a publication ended in.

    ``code`` is the protocol's own; ``slug`` Hilum's status where the protocol carries it beside.
    ``closed`` says that there is no answer, because the site closed the connection.
    """

    protocol: str
    code: int | str | None = None
    slug: str = ""
    payload: bytes = b""
    content_type: str = ""
    origin: str = ""
    closed: bool = False

    def means(self, status: Status) -> bool:
        """Return whether this is how ``gateway.message.WIRE`` says that a status looks."""
        if self.closed or self.slug:
            return self.slug == status.slug
        if self.protocol == "coap" and status is Status.OK:
            return str(self.code).startswith("2.")
        if self.protocol.startswith("mqtt"):
            return self.code in (status.wire.mqtt, ACKNOWLEDGED.get(status))
        return self.code == (status.wire.http if self.protocol == "http" else status.wire.coap)


class Received(NamedTuple):
    """What a subscriber got: an event, a gap where events are missing, or why there is an end."""

    payload: bytes
    content_type: str = ""
    gap: bool = False
    attributes: Mapping[str, str] = {}
    end: Outcome | None = None


class Asked(NamedTuple):
    """A call as its provider sees it; ``seconds`` is the time that it is said to have left.

    ``trace`` is what a caller said in ``traceparent`` (W3C Trace Context).
    """

    payload: bytes
    content_type: str = ""
    principal: str = ""
    seconds: float | None = None
    trace: str = ""


class Answered(NamedTuple):
    """What a provider answers."""

    status: Status
    payload: bytes = b""
    content_type: str = ""


Answering = Callable[[str, Asked], Awaitable[Answered]]


class Service:
    """What every provider serves: methods by name, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.was_asked = asyncio.Event()

    async def __call__(self, method: str, asked: Asked) -> Answered:
        """Answer a call."""
        self.asked.append(asked)
        self.was_asked.set()
        if method == "slow":
            await asyncio.sleep(60)
        if method == "late":
            await asyncio.sleep(float(asked.payload))
        if method == "fail":
            return Answered(Status.NOT_FOUND, b"no such plan", "text/plain")
        if method == "large":
            return Answered(Status.OK, b"x" * (LIMIT + 1), "application/octet-stream")
        return Answered(Status.OK, asked.payload, asked.content_type)


class Client(Protocol):
    """A caller, a publisher and a subscriber; each is one connection (or one socket)."""

    protocol: str
    refused: Status
    """How what policy forbids is answered to this client: who is anonymous may authenticate."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go of everything."""

    async def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "",
        *,
        within: float = 0.0,
        trace: str = "",
    ) -> Outcome:
        """Call a method; ``within`` is the caller's own deadline in seconds, 0 for none."""

    async def calls(self, name: str, payloads: Sequence[bytes]) -> list[Outcome]:
        """Call a method with several payloads at once, on one connection."""

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        """Publish an event, with CloudEvents attributes, and wait for its acknowledgement."""

    async def last(self, name: str) -> Outcome | None:
        """Read a channel's last value; None when the protocol says nothing for "there is none"."""

    async def subscribe(self, name: str, group: str = "", *, attributes: bool = False) -> Outcome:
        """Subscribe to a channel, with the events' attributes; they come from ``next``."""

    async def next(self, within: float = WITHIN) -> Received:
        """Return what comes next; raises TimeoutError."""

    async def leave(self) -> None:
        """Go away in order."""

    async def vanish(self) -> None:
        """Go away without a word."""

    async def resume(self) -> None:
        """Come back, and go on after the last event that came."""

    def sleep(self) -> None:
        """Read nothing more for now."""

    def wake(self) -> None:
        """Read again."""


class Provider(Protocol):
    """Serves methods by a ``Service``."""

    def endpoint(self, method: str) -> str:
        """Return the URL that the manifest gives the method, "" when a session provides it."""

    async def open(self, names: Mapping[str, str]) -> None:
        """Serve methods, which are registered by now under these names."""

    async def vanish(self) -> None:
        """Go away without a word; ``open`` comes back."""

    async def close(self) -> None:
        """Let go of everything."""
