"""The provider of HTTP endpoints: from a permit to a request on a pooled connection."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from adapters.http.upstream.assertion import Assertions, service_key
from adapters.http.upstream.mapping import BadArguments, map_call
from adapters.http.upstream.pool import Pool
from adapters.http.upstream.security import SecretOf, Shown, shown
from adapters.http.wire import render
from adapters.http.wire.heads import HeadMemory, ReplyHead
from gateway.calls import MAX_MESSAGE
from gateway.egress import Egress, Origin
from gateway.exchange import Plane
from gateway.message import Call, Status
from gateway.ports import Answer, Permit, Sink
from gateway.rota import Rota
from gateway.settings import Upstream
from policy.resolution import Target
from registry.urls import PORTS, Url, parse_url

HOPS = tuple(b"Hilum-Hops: %d\r\n" % (n + 1) for n in range(16))
FORWARDED = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known of a target before a call: its pool and the beginning of its heads."""

    pool: Pool
    line: bytes
    verb: bytes
    path: bytes
    host: bytes
    assertions: Assertions
    mapped: bool
    credential: bytes
    secret_query: bytes
    """What authenticates in the query; it is in ``path`` already."""


TIMEOUTS: dict[int, bytes] = {}


def timeout_line(left: int) -> bytes:
    """Return what is left of the deadline, in milliseconds."""
    line = b"Hilum-Timeout: %d\r\n" % max(1, left)
    if len(TIMEOUTS) < 4096:
        TIMEOUTS[left] = line
    return line


class HttpProvider:
    """Sends calls to ``http`` and ``https`` endpoints and to other sites' gateways.

    ``site_credentials`` maps another site's base URL to the Authorization line for it.
    """

    def __init__(
        self,
        plane: Plane,
        egress: Egress,
        site_key: bytes,
        time: Callable[[], float],
        sizes: Upstream,
        site_credentials: Mapping[str, bytes] | None = None,
        message_limit: int = MAX_MESSAGE,
        secret_of: SecretOf = lambda _, __: None,
    ) -> None:
        self._secret_of = secret_of
        self.message_limit = message_limit
        self._plane = plane
        self._egress = egress
        self._site_key = site_key
        self._time = time
        self._sizes = sizes
        self._site_credentials = {} if site_credentials is None else site_credentials
        # A pool lives as long as a Route's target or one of its own connections needs it.
        self._pools: WeakValueDictionary[Origin, Pool] = WeakValueDictionary()
        self._assertions: WeakValueDictionary[tuple[str, str], Assertions] = WeakValueDictionary()
        self._memory: HeadMemory[ReplyHead] = HeadMemory()
        self._rota = Rota()
        self._forwarded: dict[str, bytes] = {}
        self._minute = int(time() // 60)
        self._tls = ssl.create_default_context()
        self._loop = asyncio.get_running_loop()

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Send a call to the target of its permit."""
        target, call = permit.target, permit.call
        if target is None:
            raise ValueError("a permit without a target is not for an endpoint")
        prepared = target.prepared
        if not isinstance(prepared, Prepared):
            prepared = target.prepared = self._prepare(target)
        if prepared.mapped:
            mapping = _Mapping(self, prepared, target, call, answer)
            mapping.body(body, end)
            return mapping
        line = prepared.line
        if call.query or target.site or call.verb == b"HEAD":
            line = _line(prepared, call, passed=bool(target.site))
        head = [line, *call.fields]
        self._add_own(head, prepared, call)
        return prepared.pool.send(answer, head, body, end, call.length)

    def send_mapped(
        self, prepared: Prepared, target: Target, call: Call, answer: Answer, payload: bytes
    ) -> Sink:
        """Send a call whose arguments are laid out over the request; raises BadArguments."""
        mapped = map_call(target.endpoint, payload, call.query)
        path = _with_query(mapped.target, prepared.secret_query)
        line = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (prepared.verb, path, prepared.host)
        head = [line, render.VIA, *_without_type(call.fields), *mapped.fields]
        if mapped.body:
            head.append(b"Content-Type: application/json\r\n")
        self._add_own(head, prepared, call)
        return prepared.pool.send(answer, head, mapped.body, end=True, length=len(mapped.body))

    def sweep(self, now: float) -> None:
        """Close idle and stalled connections, once a second."""
        self._minute = int(self._time() // 60)
        for pool in list(self._pools.values()):
            pool.sweep(now)

    def connections(self) -> int:
        """Return how many connections are open."""
        return sum(pool.size for pool in list(self._pools.values()))

    def close(self) -> None:
        """Close all connections."""
        for pool in list(self._pools.values()):
            pool.close()

    def _add_own(self, head: list[bytes], prepared: Prepared, call: Call) -> None:
        """Add the fields that the gateway itself says (design 4)."""
        left = int((call.deadline - self._plane.now) * 1000)
        forwarded = self._forwarded.get(call.peer) or self._forward(call.peer)
        head += (
            prepared.assertions.line(call.principal, self._minute),
            prepared.credential,
            forwarded,
            HOPS[call.hops],
            TIMEOUTS.get(left) or timeout_line(left),
        )

    def _forward(self, peer: str) -> bytes:
        if len(self._forwarded) >= FORWARDED:
            self._forwarded.clear()
        node = f'"[{peer}]"' if ":" in peer else peer or "unknown"
        line = self._forwarded[peer] = f"Forwarded: for={node}\r\n".encode()
        return line

    def _prepare(self, target: Target) -> Prepared:
        endpoint = target.endpoint
        url = parse_url(endpoint.url, template=True)
        origin = Origin(url.scheme, url.host, url.port, target.peer)
        path = url.path or "/"
        security = self._security(target)
        query = "&".join(filter(None, (url.query, security.query)))
        line_path = f"{path}?{query}" if query else path
        verb = endpoint.method.encode()
        netloc = _host_field(url)
        line = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (verb, line_path.encode(), netloc)
        return Prepared(
            pool=self._pool(origin),
            line=line + render.VIA,
            verb=verb,
            path=line_path.encode(),
            host=netloc,
            assertions=self._assertions_of(target),
            mapped=bool(endpoint.args),
            credential=security.line,
            secret_query=security.query.encode(),
        )

    def _security(self, target: Target) -> Shown:
        """Return how a request authenticates at its target."""
        if target.site:
            return Shown(self._site_credentials.get(target.site.rstrip("/"), b""))
        reference = target.endpoint.security
        return shown(self._secret_of(reference, target.owner)) if reference else Shown()

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = Pool(
                origin, self._plane, self._egress, self._sizes, self._tls, self._memory, self._rota
            )
            self._pools[origin] = pool
        return pool

    def _assertions_of(self, target: Target) -> Assertions:
        who = (target.owner, target.registration.microservice)
        found = self._assertions.get(who)
        if found is None:
            found = self._assertions[who] = Assertions(service_key(self._site_key, *who))
        return found


class _Mapping:
    """A call that waits for its whole payload, because arguments are taken out of it."""

    def __init__(
        self,
        provider: HttpProvider,
        prepared: Prepared,
        target: Target,
        call: Call,
        answer: Answer,
    ) -> None:
        self._provider = provider
        self._prepared = prepared
        self._target = target
        self._call = call
        self._answer = answer
        self._parts: list[bytes] = []
        self._size = 0
        self._sink: Sink | None = None
        self._failed = False

    def body(self, data: bytes, end: bool) -> None:
        """Collect the payload; send when it is whole."""
        if self._failed:
            return
        self._parts.append(data)
        self._size += len(data)
        limit = self._provider.message_limit
        if self._size > limit:
            why = f"arguments that are laid out over a request may have {limit} bytes"
            self._later(Status.TOO_LARGE, why)
        elif end:
            payload = b"".join(self._parts)
            try:
                self._sink = self._provider.send_mapped(
                    self._prepared, self._target, self._call, self._answer, payload
                )
            except BadArguments as error:
                self._later(Status.BAD_REQUEST, str(error))

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self._sink is not None:
            self._sink.cancel()

    def pause(self) -> None:
        """Stop giving reply payload."""
        if self._sink is not None:
            self._sink.pause()

    def resume(self) -> None:
        """Go on giving reply payload."""
        if self._sink is not None:
            self._sink.resume()

    def _later(self, status: Status, why: str) -> None:
        self._failed = True
        self._parts.clear()

        def fail() -> None:
            self._answer.failed(status, why, written=False)

        asyncio.get_running_loop().call_soon(fail)


def _host_field(url: Url) -> bytes:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return (host if url.port == PORTS[url.scheme] else f"{host}:{url.port}").encode()


def _line(prepared: Prepared, call: Call, *, passed: bool) -> bytes:
    """Return the beginning of a head with the caller's own query (and verb, for a site)."""
    verb = prepared.verb
    if passed or (call.verb == b"HEAD" and verb == b"GET"):
        verb = call.verb
    path = _with_query(prepared.path, call.query)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (verb, path, prepared.host) + render.VIA


def _with_query(path: bytes, query: bytes) -> bytes:
    return path + (b"&" if b"?" in path else b"?") + query if query else path


def _without_type(fields: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() != b"content-type":
            kept += fields[at : at + 4]
    return kept
