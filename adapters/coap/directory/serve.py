"""Requests of the resource directory: each becomes a call of one of the site's own methods.

Who registers shows first that it is where its datagrams come from (RFC 9175), unless it says itself
where its resources are: an address that was made up becomes nobody's base.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from adapters.coap.serving.datagram_turn import DatagramTurn
from adapters.coap.serving.places import LOOKUPS, method_name
from adapters.coap.serving.secured import SecuredTurn
from adapters.coap.serving.service import Service
from adapters.coap.serving.turn import CHANGED, CREATED, NOT_ALLOWED, Turn
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import DELETE, GET, POST, code_of
from adapters.coap.wire.formats import LINKS, TYPES
from adapters.coap.wire.options import Options
from gateway.exchange import Exchange
from gateway.message import Call, Refusal, Reply, Status
from gateway.refusals import denial

log = logging.getLogger("hilum.coap")

DELETED: Final = code_of("2.02")
FETCHING: Final = 16
"""Simple registrations whose links are fetched at the same time."""
LINK_FORMAT: Final = TYPES[LINKS]
Fetch = Callable[[str, int], Awaitable[bytes]]
"""Returns the links of a device at an address and port; raises OSError with a text for people."""


class Directory:
    """Serves the directory's paths; ``fetch`` asks devices that register simply."""

    def __init__(self, service: Service, fetch: Fetch) -> None:
        self._fetch = fetch
        self._service = service
        self._fetching = 0

    def challenges(self, turn: Turn) -> bool:
        """Ask who registers to show where it is; return whether that was necessary."""
        asked = turn.asked
        place = asked.place
        if place is None or place.method in LOOKUPS or turn.code == GET:
            return False
        given = any(query.startswith(b"base=") for query in asked.queries) and not place.simple
        if given or turn.client.is_verified(self._service.plane.now):
            return False
        turn.challenge()
        return True

    def serve(self, turn: Turn, payload: bytes) -> None:
        """Answer a request, or begin to."""
        place = turn.asked.place
        assert place is not None
        if place.simple:
            self._simple(turn, payload)
            return
        method, allowed = place.method, "GET" if place.method in LOOKUPS else "POST"
        if place.location:
            allowed = "POST or DELETE"
            if turn.code == DELETE:
                method = "rd-remove"
        codes = (GET,) if method in LOOKUPS else (DELETE,) if method == "rd-remove" else (POST,)
        if turn.code in codes:
            self._begin(turn, method, payload, _Answer(turn, method))
        else:
            turn.fault(NOT_ALLOWED, f"use {allowed}")

    def _begin(
        self, turn: Turn, method: str, payload: bytes, answer: "_Answer", source: str | None = None
    ) -> None:
        service = self._service
        call = self._call(turn, method)
        call.length = len(payload)
        parts = [call.query] if call.query else []
        place = turn.asked.place
        if place is not None and place.location:
            parts.append(b"location=" + place.location.encode())
        source = source_of(turn) if source is None else source
        if source and method not in LOOKUPS and method != "rd-remove":
            parts.append(b"%24base=" + quote(source, safe="").encode())
        call.query = b"&".join(parts)
        if method in LOOKUPS and turn.asked.accept < 0:
            call.fields += (b"Accept", b": ", LINK_FORMAT, b"\r\n")
        elif payload and not call.content_type:
            call.content_type = LINK_FORMAT
        route = service.plane.view.routes.get(call.name)
        if route is None:
            turn.refuse(Refusal(Status.NOT_FOUND, "there is no resource directory here"))
            return
        exchange = turn.exchange = Exchange(service.plane, call, route, answer)
        exchange.begin(payload, end=True)

    def _call(self, turn: Turn, method: str) -> Call:
        call = self._service.call(turn, None)
        call.name = method_name(self._service.site.authority, method)
        return call

    # Simple registration

    def _simple(self, turn: Turn, payload: bytes) -> None:
        """Fetch a device's links, and register them (section 5.1)."""
        service = self._service
        if turn.code != POST or payload:
            turn.fault(NOT_ALLOWED, "use POST without a payload")
            return
        source = source_of(turn) if isinstance(turn, DatagramTurn) else ""
        if not source:
            detail = "simple registration is for plain datagrams: POST your links to /rd instead"
            raise Refusal(Status.BAD_REQUEST, detail)
        call = self._call(turn, "rd-register")
        route = service.plane.view.find(call.name)
        decision = service.plane.access.check(call.principal, call.action, call.name, "")
        if route is None or not decision.allowed:
            assert route is not None
            turn.refuse(denial(service.plane.access, call, route, decision))
            return
        if self._fetching >= FETCHING:
            raise Refusal(Status.UNAVAILABLE, "too many register at once", retry_after=1)
        if not any(query.startswith(b"ep=") for query in turn.asked.queries):
            raise Refusal(Status.BAD_REQUEST, "ep is missing: the endpoint's name")
        turn.done(CHANGED)
        assert isinstance(turn, DatagramTurn)
        self._fetching += 1
        service.spawn(turn, self._fetched(turn, source))

    async def _fetched(self, turn: DatagramTurn, source: str) -> None:
        peer = turn.peer
        try:
            links = await self._fetch(peer.at[0], peer.at[1])
        except OSError as error:
            log.info("%s registered simply, but has no links: %s", source, error)
            return
        finally:
            self._fetching -= 1
        service = self._service
        service.site.look_at_clock()
        self._begin(turn, "rd-register", links, _Quiet(turn, "rd-register"), source)


class _Answer:
    """Renders what a method of the directory answers."""

    def __init__(self, turn: Turn, method: str) -> None:
        self._turn = turn
        self._method = method
        self._head = Reply(Status.OK)
        self._parts: list[bytes] = []

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The reply began."""
        self._head = head
        self.reply_body(body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """The reply goes on."""
        self._parts.append(data)
        if end:
            self._whole(b"".join(self._parts))

    def refuse(self, refusal: Refusal) -> None:
        """The gateway refuses: concise problem details (RFC 9290).

        Who did not show where it is may bind only what anybody may: it is asked to show itself.
        """
        turn = self._turn
        writes = self._method not in LOOKUPS
        verified = turn.client.is_verified(turn.service.plane.now)
        if writes and refusal.status is Status.DENIED and not verified:
            turn.challenge()
        else:
            turn.refuse(refusal)

    def abort(self) -> None:
        """The reply broke off."""
        self._turn.abort()

    def pause(self) -> None:
        """The payload was given in one piece."""

    def resume(self) -> None:
        """The payload was given in one piece."""

    def _whole(self, body: bytes) -> None:
        turn = self._turn
        if self._method in LOOKUPS:
            if body:
                turn.reply(self._head, body, end=True)
            else:
                turn.empty_links()
        elif self._method == "rd-register":
            path: Options = [(o.LOCATION_PATH, b"rd")]
            path.append((o.LOCATION_PATH, json.loads(body)["location"].encode()))
            turn.respond(CREATED, path, b"")
        else:
            turn.respond(DELETED if self._method == "rd-remove" else CHANGED, [], b"")


class _Quiet(_Answer):
    """Of a simple registration, which was answered before."""

    def refuse(self, refusal: Refusal) -> None:
        """The links are not registered: the log says why."""
        log.info("a simple registration is refused: %s", refusal.detail)

    def abort(self) -> None:
        """Nobody waits."""

    def _whole(self, body: bytes) -> None:
        """Nobody waits."""


def source_of(turn: Turn) -> str:
    """Return where a request came from as a base, "" where that is no place to send requests to.

    A stream's port is closed with it, and a DTLS port takes no plain requests.
    """
    inner = turn.outer if isinstance(turn, SecuredTurn) else turn
    plain = isinstance(inner, DatagramTurn) and inner.peer.principal is turn.service.stranger
    if not isinstance(inner, DatagramTurn) or not plain:
        return ""
    host, port = inner.peer.at[0].partition("%")[0], inner.peer.at[1]
    return f"coap://[{host}]:{port}" if ":" in host else f"coap://{host}:{port}"
