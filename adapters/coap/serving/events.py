"""What requests do with channels: publish, read the last value, observe (design 6)."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from adapters.coap.serving.asked import parameters
from adapters.coap.serving.observations import OBSERVED, Observation
from adapters.coap.serving.turn import PRECONDITION, Turn, etag_of
from adapters.coap.wire.codec import FETCH, GET, POST, PUT
from gateway.channels import Channels, refuse_subscription
from gateway.message import EventId, Refusal, Status
from gateway.refusals import denial
from gateway.validity import CHECKED, refuse_invalid, too_large
from gateway.view import Route
from policy.access.index import UNDECIDED
from policy.model import Action, Principal

if TYPE_CHECKING:
    from adapters.coap.serving.service import Service

log = logging.getLogger("hilum.coap")

PUBLISH: Final = Action.PUBLISH
SUBSCRIBE: Final = Action.SUBSCRIBE


class Events:
    """Serves requests for channels. At most ``observers`` observations are open."""

    def __init__(self, service: "Service", channels: Channels, observers: int) -> None:
        self._service = service
        self._plane = service.plane
        self._channels = channels
        self._accounts = service.site.accounts
        self._observers = observers
        self.observing: dict[Turn, Observation] = {}

    def serve(self, turn: Turn, route: Route, payload: bytes) -> None:
        """Answer a request for a channel."""
        code = turn.code
        if code in (POST, PUT):
            self._publish(turn, route, payload)
        elif code in (GET, FETCH):
            self._read(turn, route)
        else:
            self._service.wrong(turn, route, SUBSCRIBE, "GET, POST or PUT")

    def forget(self, turn: Turn) -> None:
        """Take an observation out of the lists."""
        self.observing.pop(turn, None)
        observations = turn.client.observations
        observation = observations.get(turn.token)
        if observation is not None and observation.turn is turn:
            del observations[turn.token]

    def close(self) -> None:
        """End all observations, because the site shuts down."""
        refusal = Refusal(Status.UNAVAILABLE, "the site shuts down", retry_after=1)
        for observation in tuple(self.observing.values()):
            observation.end(refusal)

    def _publish(self, turn: Turn, route: Route, payload: bytes) -> None:
        """Append an event; it is acknowledged when it is as durable as its channel promises."""
        access, principal = self._plane.access, turn.client.principal
        decision = access.check(principal, PUBLISH, route.name, route.owner)
        if decision.allowed and route.validator is None and turn.asked.plain:
            self._append(turn, route, payload)
            return
        again = partial(self._publish, turn, route, payload)
        if decision is UNDECIDED and self._service.holds(turn, route, PUBLISH, again):
            return
        refusal = self._refuse_event(turn, route, payload)
        asked = turn.asked
        if refusal is not None:
            route.meter.observe(PUBLISH, refusal.status, 0.0)
            turn.refuse(refusal)
        elif asked.if_none_match:
            turn.fault(PRECONDITION, f"{route.name} exists")
        elif asked.if_match:
            self._service.spawn(turn, self._publish_if(turn, route, payload))
        else:
            self._append(turn, route, payload)

    def _refuse_event(self, turn: Turn, route: Route, payload: bytes) -> Refusal | None:
        plane, principal = self._plane, turn.client.principal
        decision = plane.access.check(principal, PUBLISH, route.name, route.owner)
        if not decision.allowed:
            call = self._service.call(turn, route)
            call.action = PUBLISH
            return denial(plane.access, call, route, decision)
        if route.validator is None:
            return None
        if len(payload) > CHECKED:
            return too_large()
        return refuse_invalid(route.validator, payload)

    def _append(self, turn: Turn, route: Route, payload: bytes) -> None:
        source, qos = turn.client.principal.id, 1 if turn.reliable else 0
        try:
            if route.gate is not None:
                throttled = route.gate.lane(turn.client.principal).throttle(len(payload))
                if throttled is not None:
                    raise throttled
            result = self._channels.append(route, source, turn.asked.media_type, payload, qos)
        except Refusal as refusal:
            route.meter.observe(PUBLISH, refusal.status, 0.0)
            turn.refuse(refusal)
            return
        accounts = self._accounts
        for account in (accounts.of("principal", source), accounts.of("binding", route.name)):
            account.events += 1
            account.received += len(payload)
        if isinstance(result, EventId):
            route.meter.observe(PUBLISH, Status.OK, 0.0)
            turn.changed()
        else:
            self._acknowledge_later(turn, route, result)

    def _acknowledge_later(
        self, turn: Turn, route: Route, result: "asyncio.Future[EventId]"
    ) -> None:
        started = self._plane.now

        def settled(future: "asyncio.Future[EventId]") -> None:
            error = None if future.cancelled() else future.exception()
            refusal: Refusal | None = None
            if isinstance(error, Refusal):
                refusal = error
            elif error is not None or future.cancelled():
                log.error("publishing to %s failed", route.name, exc_info=error)
                refusal = Refusal(Status.INTERNAL, "the gateway failed; its log says why")
            if refusal is not None:
                turn.refuse(refusal)
            else:
                turn.changed()
            status = Status.OK if refusal is None else refusal.status
            route.meter.observe(PUBLISH, status, self._plane.now - started)

        result.add_done_callback(settled)

    async def _publish_if(self, turn: Turn, route: Route, payload: bytes) -> None:
        """Publish if the last value is one that the client names (RFC 7252 section 5.10.8.1)."""
        event = await self._channels.last(route, turn.client.principal)
        wanted = turn.asked.if_match
        if event is None or (b"" not in wanted and etag_of(event) not in wanted):
            turn.fault(PRECONDITION, f"the last value of {route.name} is another one")
        else:
            self._append(turn, route, payload)

    def _read(self, turn: Turn, route: Route) -> None:
        """Answer with the last value, and observe the channel if that is asked for."""
        asked, client = turn.asked, turn.client
        if asked.plain and not asked.queries:
            decision = self._plane.access.check(
                client.principal, SUBSCRIBE, route.name, route.owner
            )
            if decision.allowed:
                route.meter.observe(SUBSCRIBE, Status.OK, 0.0)
                self._last(turn, route)
                return
        group = parameters(asked.queries).get("group", "") if asked.queries else ""
        again = partial(self._read, turn, route)
        if not group and self._service.holds(turn, route, SUBSCRIBE, again):
            return
        refusal = refuse_subscription(self._plane, client.principal, route.name, group)
        status = Status.OK if refusal is None else refusal.status
        route.meter.observe(SUBSCRIBE, status, 0.0)
        if asked.observe in (0, 1):
            before = client.observations.get(turn.token)
            if before is not None:
                before.close()
        if refusal is not None:
            turn.refuse(refusal)
        elif asked.observe != 0 or len(client.observations) >= OBSERVED or self._is_full():
            self._last(turn, route)  # without an observation, as RFC 7641 section 4.1 says
        elif not client.is_verified(self._plane.now):
            turn.challenge()
        else:
            self._observe(turn, route, group)

    def _last(self, turn: Turn, route: Route) -> None:
        try:
            event = self._channels.newest(route, turn.client.principal)
        except Refusal as refusal:
            turn.refuse(refusal)
            return
        if event is not None:
            turn.last_value(event, [])
        else:
            self._service.spawn(turn, self._look_for_last(turn, route))

    async def _look_for_last(self, turn: Turn, route: Route) -> None:
        event = await self._channels.last(route, turn.client.principal)
        if event is None:
            raise Refusal(Status.NOT_FOUND, f"nothing has been published to {route.name} yet")
        turn.last_value(event, [])

    def _observe(self, turn: Turn, route: Route, group: str) -> None:
        client = turn.client
        observation = Observation(self._service, turn)
        client.observations[turn.token] = self.observing[turn] = observation
        observation.subscription = self._channels.subscribe(
            route, client.principal, observation, group=group
        )
        self._service.spawn(turn, self._begin_observing(route, observation, client.principal))

    async def _begin_observing(
        self, route: Route, observation: Observation, principal: Principal
    ) -> None:
        try:
            observation.begin(await self._channels.last(route, principal))
        except Refusal:
            observation.close()
            raise

    def _is_full(self) -> bool:
        return len(self.observing) >= self._observers
