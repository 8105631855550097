"""``/events``: what changes in the directory, as server-sent events (W3C WoT Discovery 7.3.2.2).

    id: 17
    event: thing_created
    data: {"id": "urn:example:lamp"}

The id is a position in the change log; ``Last-Event-ID`` resumes after it, also after a restart.
``event: gap`` says that older changes can be told no more. With ``?diff=true`` ``data`` says what
changed. Nothing is kept per client: each has its place in the feed that all share.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from adapters.control.calling import Calling
from gateway.directory.feed import TYPES, Feed, Position, ThingChange, position_of
from gateway.directory.telling import Telling
from gateway.message import Refusal, Status
from gateway.objects.listing import leisurely
from policy.model import ANONYMOUS, Action, Principal
from registry.names import Name

LOOK: Final = 1.0
"""Seconds after which a quiet stream looks whether its client may still read."""
HEARTBEAT: Final = 15
"""Such looks between comments that keep a stream alive."""
STREAMS: Final = 64
"""Streams of one listener at once."""
STREAMS_EACH: Final = 16
"""Those of one principal: nobody takes them all."""
HELLO: Final = b"retry: 2000\n\n"


class Surfaces(NamedTuple):
    """What routes of the directory need beside Calls."""

    feed: Feed
    telling: Telling


def events_routes(calling: Calling, surfaces: Surfaces) -> list[Route]:
    """Return the routes."""
    events = _Events(calling, surfaces)
    return [
        Route("/events", events.stream, methods=["GET"]),
        Route("/events/{type}", events.stream, methods=["GET"]),
    ]


class _Events:
    """The streams of one listener."""

    def __init__(self, calling: Calling, surfaces: Surfaces) -> None:
        self._calling = calling
        self._site = calling.site
        self._feed = surfaces.feed
        self._telling = surfaces.telling
        self._right = Name(f"{calling.site.authority}/$site/registry/changes")
        self._open: Counter[str] = Counter()

    async def stream(self, request: Request) -> Response:
        """Answer with the changes to come, and those missed since ``Last-Event-ID``."""
        kinds, diff = _wish(request)
        principal = await self._calling.callers.principal_of(request)
        self._permit(principal)
        text = request.headers.get("last-event-id", "")
        try:
            at = position_of(text) if text else self._feed.head
        except ValueError as error:
            raise Refusal(Status.BAD_REQUEST, f"Last-Event-ID: {error}") from error
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(b"", 200, headers, "text/event-stream")
        self._refuse_more(principal)
        shown = _Shown(self._telling, principal, kinds, diff=diff)
        stream = self._events(principal, shown, at)
        return StreamingResponse(stream, 200, headers, "text/event-stream")

    async def _events(
        self, principal: Principal, shown: "_Shown", at: Position
    ) -> AsyncIterator[bytes]:
        feed = self._feed
        self._open[principal.id] += 1
        try:
            yield HELLO
            if at > feed.head and at.sequence > self._site.ledger.seq:
                yield _gap(at, feed.head, "the id is none of this site's")
                at = feed.head
            quiet = 0
            while self._goes_on(principal):
                if at < feed.begin:
                    yield _gap(at, feed.begin, "older changes are known no more")
                    at = feed.begin
                found = feed.after(at)
                async for change in leisurely(found):
                    at = change.at
                    if block := shown.block(change):
                        yield block
                        await asyncio.sleep(0)  # others run too while a client catches up
                if found or await self._news(at):
                    continue
                quiet += 1
                if quiet % HEARTBEAT == 0:
                    yield b":\n\n"
            yield b"event: end\ndata: {}\n\n"
        finally:
            self._open[principal.id] -= 1
            if not self._open[principal.id]:
                del self._open[principal.id]

    async def _news(self, at: Position) -> bool:
        """Wait for a change; False: it is time to look whether the stream may go on."""
        try:
            async with asyncio.timeout(LOOK):
                await self._feed.wait(at)
        except TimeoutError:
            return False
        return True

    def _goes_on(self, principal: Principal) -> bool:
        site = self._site
        return not site.draining and self._may(principal) and site.identity.live(principal)

    def _may(self, principal: Principal) -> bool:
        return self._site.allowed(principal, Action.CALL, self._right)

    def _refuse_more(self, principal: Principal) -> None:
        if self._open[principal.id] >= STREAMS_EACH:
            detail = f"{principal.id} has {STREAMS_EACH} streams open already"
            raise Refusal(Status.UNAVAILABLE, detail, retry_after=10)
        if self._open.total() >= STREAMS:
            raise Refusal(Status.UNAVAILABLE, f"{STREAMS} streams are open already", retry_after=10)

    def _permit(self, principal: Principal) -> None:
        if not self._may(principal):
            status = Status.UNAUTHENTICATED if principal is ANONYMOUS else Status.DENIED
            raise Refusal(status, f"{principal.id} may not call {self._right}")


class _Shown:
    """What one client wants to see, and may."""

    def __init__(
        self, telling: Telling, principal: Principal, kinds: frozenset[str], *, diff: bool
    ) -> None:
        self._telling = telling
        self._principal = principal
        self._kinds = kinds
        self._diff = diff

    def block(self, change: ThingChange) -> bytes:
        """Return the bytes of an event, none if the client does not get it."""
        if change.type not in self._kinds:
            return b""
        data = self._telling.data(change, self._principal, diff=self._diff)
        if data is None:
            return b""
        return _block(str(change.at), change.type, msgspec.json.encode(data))


def _wish(request: Request) -> tuple[frozenset[str], bool]:
    """Return which types of events a client wants, and whether with what changed."""
    kind = request.path_params.get("type", "")
    if kind and kind not in TYPES:
        raise Refusal(Status.NOT_FOUND, f"there are events of {', '.join(TYPES)}, not of {kind!r}")
    asked = dict(request.query_params)
    diff = asked.pop("diff", "false")
    if asked:
        raise Refusal(Status.BAD_REQUEST, f"there is no parameter {next(iter(asked))!r} here")
    if diff not in ("true", "false"):
        raise Refusal(Status.BAD_REQUEST, f"diff is true or false, not {diff!r}")
    return frozenset({kind} if kind else TYPES), diff == "true"


def _gap(at: Position, begin: Position, reason: str) -> bytes:
    data = {"after": str(at), "next": str(begin), "reason": reason}
    return _block(str(begin), "gap", msgspec.json.encode(data))


def _block(id_: str, event: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), event.encode(), data)
