"""What a request does, whatever it came over: calls, events, last values, descriptions."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapters.coap.serving.asked import Asked, Bad, Block, digest
from adapters.coap.serving.blockwise import Incomplete, TooLarge, Transfers
from adapters.coap.serving.discovery import Discovery
from adapters.coap.serving.events import Events
from adapters.coap.serving.places import Places
from adapters.coap.serving.turn import (
    BAD_OPTION,
    BAD_REQUEST,
    CONTENT,
    INCOMPLETE,
    NOT_ALLOWED,
    PRECONDITION,
    TOO_LARGE,
    Client,
    Turn,
)
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import FETCH, GET, POST
from adapters.coap.wire.formats import LINKS, TYPES
from adapters.coap.wire.options import uint_value
from gateway.channels import Channels
from gateway.egress import NOBODY
from gateway.exchange import Exchange
from gateway.first_use.holding import held
from gateway.message import Call, Refusal, Status
from gateway.refusals import denial, unknown
from gateway.settings import Limits
from gateway.site import Site
from gateway.view import Route
from policy.decision import Decision
from policy.model import Action, Principal
from registry.model import Kind

if TYPE_CHECKING:
    from adapters.coap.serving.secured import Security

log = logging.getLogger("hilum.coap")

EXCHANGE_LIFETIME: Final = 247.0
"""Seconds (RFC 7252 section 4.8.2)."""
CALL: Final = Action.CALL
METHOD: Final = Kind.METHOD
CHANNEL: Final = Kind.CHANNEL
BROKEN: Final = "the gateway failed; its log says why"
_READING: Final = (GET, FETCH)


class Service:
    """Does what requests ask for. ``limit`` is the size of the largest message in bytes.

    ``anonymous``: who shows nothing is served, as ``anonymous:coap``. ``security`` is there when
    there are security contexts, ``places`` when there is a resource directory.
    """

    def __init__(
        self, site: Site, channels: Channels, limits: Limits, *, observers: int, anonymous: bool
    ) -> None:
        self.site = site
        self.plane = site.plane
        self.limit = limits.message
        self.transfers = Transfers(limits.message)
        self.events = Events(self, channels, observers)
        self.discovery = Discovery(site)
        self.places: Places | None = None
        self.stranger = Principal("anonymous:coap", "anonymous")
        self._anonymous = self._easy = anonymous
        self._draining = False
        self.security: Security | None = None
        self._limits = limits
        self._patience = min(limits.timeout / 1000, EXCHANGE_LIFETIME)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, turn: Turn, payload: bytes) -> None:
        """Answer a request, or begin to."""
        asked = turn.asked
        try:
            if not (asked.plain and self._easy):
                if not self._admits(turn, payload):
                    return
                if asked.block1 is not None:
                    payload = turn.payload
            route = self.plane.view.routes.get(asked.name)
            if route is None:
                self._beyond_routes(turn, payload)
            elif route.kind is METHOD:
                self._method(turn, route, payload)
            elif route.kind is CHANNEL:
                self.events.serve(turn, route, payload)
            else:
                self._object(turn, route)
        except Refusal as refusal:
            turn.refuse(refusal)
        except Bad as bad:
            turn.fault(bad.code, bad.detail)
        except Exception:
            log.exception("a request for %s failed inside the gateway", asked.name)
            turn.refuse(Refusal(Status.INTERNAL, BROKEN))

    def _beyond_routes(self, turn: Turn, payload: bytes) -> None:
        """Serve what has no Route of its own: discovery, introspection, free topics."""
        name = turn.asked.name
        if not name:
            self._discover(turn)
            return
        route = self.plane.view.find(name)
        if route is None:
            turn.refuse(unknown(self.plane.access, self.plane.view, self.call(turn, None)))
        elif route.kind is METHOD:
            self._method(turn, route, payload)
        else:
            self.events.serve(turn, route, payload)

    def _object(self, turn: Turn, route: Route) -> None:
        if turn.code in _READING:
            self._begin(turn, route, Action.DESCRIBE, b"")
        else:
            self.wrong(turn, route, Action.DESCRIBE, "GET")

    def sweep(self, now: float) -> None:
        """Look at what nobody went on with; to be called now and then."""
        self.transfers.sweep(now)
        for observation in tuple(self.events.observing.values()):
            observation.probe(now)

    def drain(self) -> None:
        """Take nothing new, and end all observations."""
        self._draining, self._easy = True, False
        self.events.close()

    def close(self) -> None:
        """End what waits, and give security contexts back to the disk."""
        if self.security is not None:
            self.security.close()
        for task in self._tasks:
            task.cancel()

    # Methods

    def _method(self, turn: Turn, route: Route, payload: bytes) -> None:
        code = turn.code
        method = route.method
        if code == POST or (code in _READING and method is not None and method.safe):
            self._begin(turn, route, route.action, payload)
        else:
            safe = method is not None and method.safe
            self.wrong(turn, route, CALL, "GET, FETCH or POST" if safe else "POST")

    def _begin(self, turn: Turn, route: Route, action: Action, payload: bytes) -> None:
        """Give the request to an exchange."""
        call = self.call(turn, route)
        call.action = action
        call.length = len(payload)
        asked = turn.asked
        if asked.if_none_match or (asked.if_match and b"" not in asked.if_match):
            self._unfulfilled(turn, call, route)
            return
        selection = route.selection
        if selection is not None and selection.sticky == "principal":
            call.sticky = call.principal.id.encode()
        exchange = turn.exchange = Exchange(self.plane, call, route, turn)
        exchange.begin(payload, end=True)

    def call(self, turn: Turn, route: Route | None) -> Call:
        """Return a request as a call; without a route nothing is known of its name."""
        asked, client = turn.asked, turn.client
        now = self.plane.now
        timeout = self._patience
        if route is not None and route.method is not None and route.method.timeout:
            timeout = min(route.method.timeout, self._limits.timeout_cap) / 1000
            timeout = min(timeout, EXCHANGE_LIFETIME)
        call = Call(
            CALL,
            asked.name,
            client.principal,
            now + timeout,
            asked.fields.copy(),
            0,
            asked.content_type,
            b"GET" if turn.code == GET else b"POST",
            asked.query,
            asked.hops,
            _peer(asked, client, now),
        )
        call.traceparent = asked.traceparent
        return call

    def _admits(self, turn: Turn, payload: bytes) -> bool:
        """Take what is more than a plain request of a stranger; return whether to go on with it."""
        asked = turn.asked
        if self._draining:
            turn.refuse(Refusal(Status.UNAVAILABLE, "the site shuts down", retry_after=1))
            return False
        if asked.oscore is not None:
            if self.security is None:
                turn.fault(BAD_OPTION, "there are no security contexts here")
            else:
                self.security.serve(turn, payload)
            return False
        if turn.client.principal is self.stranger and not self._anonymous:
            turn.refuse(Refusal(Status.UNAUTHENTICATED, ""))
            return False
        if asked.place is not None:
            if self.places is None:
                raise Refusal(Status.NOT_FOUND, "there is no resource directory here")
            if not self.places.challenges(turn) and self._special(turn, asked, payload):
                self.places.serve(turn, turn.payload)
            return False
        return asked.plain or self._special(turn, asked, payload)

    def _special(self, turn: Turn, asked: Asked, payload: bytes) -> bool:
        """Take what is more than a plain request; return whether to go on with it."""
        now = self.plane.now
        turn.payload = payload
        later = asked.block2 is not None and asked.block2.number > 0 and asked.block1 is None
        if later or asked.echo:
            kept = self.transfers.find(turn.client, turn.key, now)
            again = kept is not None and kept.challenged and kept.asked == digest(payload)
            if kept is not None and (later or again):
                if not turn.serve(kept):
                    turn.fault(BAD_REQUEST, "the answer has no such block")
                return False
            if later and turn.code not in _READING:
                turn.fault(INCOMPLETE, "the answer is not kept any longer: ask again")
                return False
        return asked.block1 is None or self._take_block(turn, asked.block1, payload)

    def _take_block(self, turn: Turn, block: Block, payload: bytes) -> bool:
        """Take a block of a request's payload; return whether it is whole (RFC 7959, 2.5)."""
        if block.number == 0 and not self._may_send(turn):
            return False
        now = self.plane.now
        try:
            whole = self.transfers.add(turn.client, turn.key, block, payload, turn.asked.size1, now)
        except Incomplete:
            turn.fault(INCOMPLETE, "a block is missing or has a wrong size: begin again")
            return False
        except TooLarge:
            size = (o.SIZE1, uint_value(self.limit))
            turn.fault(TOO_LARGE, f"a message may have at most {self.limit} bytes", size)
            return False
        if whole is None:
            turn.proceed()
            return False
        turn.payload = whole
        return True

    def _may_send(self, turn: Turn) -> bool:
        """Return whether the first block may be taken: not for what will be refused anyway."""
        route = self.plane.view.find(turn.asked.name) if turn.asked.name else None
        call = self.call(turn, None)
        if route is None:
            turn.refuse(unknown(self.plane.access, self.plane.view, call))
            return False
        action = Action.PUBLISH if route.kind is Kind.CHANNEL else route.action
        if self.holds(turn, route, action, partial(self.start, turn, turn.payload)):
            return False
        decision = self.plane.access.check(call.principal, action, call.name, route.owner)
        if not decision.allowed:
            turn.refuse(denial(self.plane.access, call, route, decision))
        return decision.allowed

    def _unfulfilled(self, turn: Turn, call: Call, route: Route) -> None:
        """Say that the name exists, and has no entity tag, to those who may know."""
        decision = self.plane.access.check(call.principal, call.action, call.name, route.owner)
        if decision.allowed:
            turn.fault(PRECONDITION, f"{call.name} exists, and has no such entity tag")
        else:
            turn.refuse(denial(self.plane.access, call, route, decision))

    def wrong(self, turn: Turn, route: Route, action: Action, allowed: str) -> None:
        """Say that this is not done with a name, but only to those who may know what it is."""
        call = self.call(turn, route)
        decision = self.plane.access.check(call.principal, action, call.name, route.owner)
        if decision.allowed:
            turn.wrong_method(str(route.kind), allowed)
        else:
            turn.refuse(denial(self.plane.access, call, route, decision))

    # Discovery

    def _discover(self, turn: Turn) -> None:
        if turn.code == GET:
            self.spawn(turn, self._links(turn))
        else:
            turn.fault(NOT_ALLOWED, "/.well-known/core is for GET")

    async def _links(self, turn: Turn) -> None:
        document = await self.discovery.find(turn.client.principal, turn.asked.queries)
        if document:
            turn.done(CONTENT, document, TYPES[LINKS])
        else:
            turn.empty_links()

    # Parts of the service call these

    def holds(self, turn: Turn, route: Route, action: Action, again: Callable[[], None]) -> bool:
        """Whether a request waits for a first use: then ``again`` serves it; or is refused."""

        def decided(_: Decision) -> None:
            self._guarded(turn, again)

        try:
            return held(self.plane, turn.client.principal, action, route.name, decided)
        except Refusal as refusal:
            route.meter.observe(action, refusal.status, 0.0)
            turn.refuse(refusal)
            return True

    def _guarded(self, turn: Turn, do: Callable[[], None]) -> None:
        try:
            do()
        except Refusal as refusal:
            turn.refuse(refusal)
        except Bad as bad:
            turn.fault(bad.code, bad.detail)
        except Exception:
            log.exception("a request for %s failed inside the gateway", turn.asked.name)
            turn.refuse(Refusal(Status.INTERNAL, BROKEN))

    def spawn(self, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        """Do what may have to wait for the disk."""

        async def guarded() -> None:
            try:
                await work
            except Refusal as refusal:
                turn.refuse(refusal)
            except Bad as bad:
                turn.fault(bad.code, bad.detail)
            except Exception:
                log.exception("a request for %s failed inside the gateway", turn.asked.name)
                turn.refuse(Refusal(Status.INTERNAL, BROKEN))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _peer(asked: Asked, client: Client, now: float) -> str:
    """Return the address that a call comes from.

    The site's own methods let a caller bind endpoints at its own address: one that may be made up
    is none for them.
    """
    if "/$" in asked.name and not client.is_verified(now):
        return NOBODY
    return client.address
