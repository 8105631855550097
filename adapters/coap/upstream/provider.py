"""The provider of CoAP endpoints: from a permit to a request on a line, and back.

``Hilum-Principal`` has no room here: a server that has to know who calls is told over HTTP, or
trusts the gateway.
"""

import asyncio
from weakref import WeakValueDictionary

from adapters.coap.upstream.blocks import Fetch
from adapters.coap.upstream.line import Line, Request
from adapters.coap.upstream.mapping import (
    CODES,
    BadCall,
    fixed_options,
    in_json,
    reply,
    request,
    wants_cbor,
)
from adapters.coap.upstream.pool import LinePool
from adapters.coap.wire.codec import Message
from adapters.coap.wire.formats import Untranslatable
from adapters.coap.wire.options import Options
from gateway.calls import MAX_MESSAGE
from gateway.egress import Egress, Origin
from gateway.exchange import Plane
from gateway.message import Call, Status
from gateway.ports import Answer, Permit, Sink
from policy.resolution import Target
from registry.urls import Url, parse_url


class Prepared:
    """What is known of a target before a call."""

    __slots__ = ("cbor", "code", "options", "pool")

    def __init__(self, pool: LinePool, code: int, options: Options, *, cbor: bool) -> None:
        self.pool = pool
        self.code = code
        self.options = options
        self.cbor = cbor
        """Whether JSON is to be translated to CBOR and back."""


class CoapProvider:
    """Sends calls to ``coap`` and ``coap+tcp`` endpoints; ``limit`` bounds payloads in bytes."""

    def __init__(self, plane: Plane, egress: Egress, limit: int = MAX_MESSAGE) -> None:
        self.plane = plane
        self.egress = egress
        self.limit = limit
        self.clock = asyncio.get_running_loop().time
        # A pool lives as long as a Route's target or an open line of its own needs it.
        self._pools: WeakValueDictionary[Origin, LinePool] = WeakValueDictionary()

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Collect the payload, then ask."""
        target = permit.target
        if target is None:
            raise ValueError("a permit without a target is not for an endpoint")
        prepared = target.prepared
        if not isinstance(prepared, Prepared):
            prepared = target.prepared = self._prepare(target)
        asked = AskedCall(self, prepared, permit.call, answer)
        asked.body(body, end)
        return asked

    def pool(self, url: Url, peer: str) -> LinePool:
        """Return the lines to a URL's server."""
        origin = Origin(url.scheme, url.host, url.port, peer)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = LinePool(self.egress, origin, self.clock)
        return pool

    def connections(self) -> int:
        """Return how many sockets to servers are open."""
        return sum(pool.size for pool in list(self._pools.values()))

    def sweep(self, now: float) -> None:
        """Close idle sockets, once a second."""
        for pool in list(self._pools.values()):
            pool.sweep(now)

    def close(self) -> None:
        """Close all sockets."""
        for pool in list(self._pools.values()):
            pool.close()

    def _prepare(self, target: Target) -> Prepared:
        url = parse_url(target.endpoint.url)
        code = CODES[target.endpoint.method.upper()]
        cbor = target.endpoint.encoding == "cbor"
        return Prepared(self.pool(url, target.peer), code, fixed_options(url), cbor=cbor)


class AskedCall:
    """One call of a server: the sink of its exchange."""

    __slots__ = (
        "_answer",
        "_call",
        "_done",
        "_fetch",
        "_line",
        "_parts",
        "_prepared",
        "_provider",
        "_request",
        "_size",
    )

    def __init__(
        self, provider: CoapProvider, prepared: Prepared, call: Call, answer: Answer
    ) -> None:
        self._provider = provider
        self._prepared = prepared
        self._call = call
        self._answer = answer
        self._parts: list[bytes] = []
        self._size = 0
        self._done = False
        self._request: Request | None = None
        self._fetch: Fetch | None = None
        self._line: Line | None = None

    # The Sink port

    def body(self, data: bytes, end: bool) -> None:
        """Collect the payload; ask when it is whole."""
        if self._done:
            return
        self._parts.append(data)
        self._size += len(data)
        limit = self._provider.limit
        if self._size > limit:
            self._later(Status.TOO_LARGE, f"a payload for CoAP may have {limit} bytes")
        elif end:
            self._ask(b"".join(self._parts))

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._done = True
        self._prepared.pool.leave(self)
        if self._fetch is not None:
            self._fetch.cancel()
            self._release()

    def pause(self) -> None:
        """The reply comes in one piece."""

    def resume(self) -> None:
        """The reply comes in one piece."""

    # What the pool and the line call

    def start(self, line: Line) -> None:
        """Send the request."""
        if self._request is None:
            return
        self._line = line
        limit = self._provider.limit
        self._fetch = Fetch(line, self._request, limit, self._answered, self._lost)
        self._fetch.begin()

    def fail_unsent(self, why: str) -> None:
        """There is no way to the server."""
        self._fail(Status.UNAVAILABLE, why, written=False)

    def _answered(self, message: Message) -> None:
        self._release()
        if not self._done:
            self._done = True
            self._tick()
            self._reply(message)

    def _lost(self, why: str, written: bool) -> None:
        fault = Status.UNAVAILABLE if self._fetch is None else self._fetch.fault
        self._release()
        self._fail(fault, why, written=written)

    # Inside

    def _ask(self, payload: bytes) -> None:
        prepared = self._prepared
        try:
            self._request = request(
                prepared.code, prepared.options, self._call, payload, cbor=prepared.cbor
            )
        except BadCall as error:
            self._later(Status.BAD_REQUEST, str(error))
            return
        if not prepared.pool.want(self):
            self._later(Status.UNAVAILABLE, "too many calls to this endpoint wait already")

    def _reply(self, message: Message) -> None:
        try:
            if self._prepared.cbor and not wants_cbor(self._call):
                message = in_json(message)
        except Untranslatable as error:
            self._answer.failed(Status.PROVIDER_ERROR, f"the reply is {error}", written=True)
        else:
            self._answer.reply(reply(message), message.payload, end=True)

    def _release(self) -> None:
        line, self._line = self._line, None
        self._fetch = None
        if line is not None:
            self._prepared.pool.free(line)

    def _later(self, status: Status, why: str) -> None:
        """Fail, but not within the call that the exchange is making just now."""
        asyncio.get_running_loop().call_soon(self._fail_soon, status, why)

    def _fail_soon(self, status: Status, why: str) -> None:
        self._fail(status, why, written=False)

    def _fail(self, status: Status, why: str, *, written: bool) -> None:
        if not self._done:
            self._done = True
            self._tick()
            self._answer.failed(status, why, written=written)

    def _tick(self) -> None:
        self._provider.plane.now = self._provider.clock()
