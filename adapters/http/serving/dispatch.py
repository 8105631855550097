"""From a request to a Call: host, name, principal, action (design 2, 4 and 6)."""

from typing import TYPE_CHECKING, Final, Protocol

from adapters.http.serving.identifying import identify
from adapters.http.serving.inbound import Inbound
from adapters.http.upstream.mapping import BadArguments, read_named
from gateway.exchange import Exchange
from gateway.message import Call, Refusal, Status
from gateway.refusals import denial, unknown
from gateway.view import Route
from policy.model import ANONYMOUS, Action, Principal
from registry.model import Kind
from registry.names import InvalidName, Name, join, parse_name

if TYPE_CHECKING:
    from adapters.http.serving.listener import Listener

NAMES: Final = 32 * 1024 * 1024
"""Bytes of the names that are remembered by their raw paths; a full memory is emptied."""
NAME_COST: Final = 250
"""Bytes of one remembered name beside its two texts."""
HOSTS: Final = 1024
HOST_BYTES: Final = 262
"""A host name of 253 bytes (RFC 1035 section 2.3.4) with a port, or in brackets."""
MAX_HOPS = 8
SOCKET = "$site/socket"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


PAGES: Final = frozenset({b"origin", b"sec-fetch-site"})
"""Fields that browsers send for web pages, and that those cannot leave out."""
CALL: Final = Action.CALL
METHOD: Final = Kind.METHOD
_CALLING: Final = (Action.CALL, Action.DESCRIBE)
_EVENTS: Final = (Action.PUBLISH, Action.SUBSCRIBE, Action.DESCRIBE)


class Relay(Protocol):
    """What a request is relayed through: an exchange, or what comes before or instead of one."""

    def body(self, data: bytes, end: bool) -> None:
        """Take more of the request's payload."""
        ...

    def cancel(self) -> None:
        """The client is gone."""
        ...

    def pause_reply(self) -> None:
        """The client is slow."""
        ...

    def resume_reply(self) -> None:
        """The client caught up."""
        ...


class Dispatcher:
    """Finds out what a request means and starts it."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self.message_limit = listener.limits.message
        self._site = listener.site
        self._plane = listener.plane
        self._body_limit = listener.limits.body
        limits = listener.limits
        self._patience = min(limits.timeout, limits.timeout_cap) / 1000
        self._authorize = listener.site.identity.authorization
        self._time = listener.site.time
        self._names: dict[bytes, Name] = {}
        self._named = 0
        self._hosts: set[bytes] = set()

    def __call__(self, inbound: Inbound) -> None:
        """Answer a request, or begin to."""
        head = inbound.head
        target, query = head.target, b""
        name = self._names.get(target)
        if name is None:
            if b"#" in target:
                inbound.fault(400, "a fragment is not part of a request: remove '#' and the rest")
                return
            if not target.startswith(b"/"):
                target = _origin_form(inbound, target)
                if not target:
                    inbound.fault(400, "the target and the Host field name different hosts")
                    return
            target, _, query = target.partition(b"?")
            name = self._names.get(target) or self._name(inbound, target)
            if name is None:
                return
        host = head.host
        if host is not None and host not in self._hosts and not self._known_host(host):
            inbound.fault(421, f"this site is not {host[:HOST_BYTES].decode('latin-1')}")
            return
        raw = head.authorization
        principal: Principal | None = inbound.owner.certified
        if raw:
            principal = self._authorize(raw, self._time())
        elif principal is not ANONYMOUS and _is_of_a_page(head.fields):
            principal = ANONYMOUS
        if principal is None:
            identify(self, self._site.identity, inbound, name, query)
            return
        self.go_on(inbound, name, query, principal)

    def go_on(self, inbound: Inbound, name: Name, query: bytes, principal: Principal) -> None:
        """Go on with a request whose client is known."""
        head = inbound.head
        if head.hops >= MAX_HOPS:
            inbound.fault(508, f"the call has passed {head.hops} gateways: a loop")
            return
        self.start(inbound, name, principal, query)

    def start(
        self,
        inbound: Inbound,
        name: Name,
        principal: Principal,
        query: bytes,
        *,
        named: bool = False,
    ) -> None:
        """Start what a request means, once its name and principal are known.

        Only a method can be ``named`` in a body.
        """
        head, view = inbound.head, self._plane.view
        route = view.routes.get(name) or view.implicit(name)
        call = Call(
            CALL,
            name,
            principal,
            0.0,
            head.fields,
            head.length,
            head.content_type,
            head.verb,
            query,
            head.hops,
            inbound.owner.peer,
        )
        call.traceparent = head.traceparent
        if route is None or (named and route.kind is not METHOD):
            self._without_route(inbound, call)
            return
        call.deadline = self._deadline(inbound, route)
        if route.kind is METHOD:
            self._method(inbound, call, route)
        elif route.kind is Kind.CHANNEL:
            self._channel(inbound, call, route)
        else:
            self._object(inbound, call, route)

    def begin(self, inbound: Inbound, call: Call, route: Route) -> None:
        """Give the call to an exchange."""
        selection = route.selection
        if selection is not None and selection.sticky:
            call.sticky = _sticky_key(selection.sticky, call)
        exchange = Exchange(self._plane, call, route, inbound)
        inbound.relay = exchange
        limit = self._body_limit
        if limit and selection is not None:
            if not self._may(call, route):
                inbound.bound(limit)  # it may be held, and be allowed later
            elif not inbound.within(limit):
                return
        exchange.begin(inbound.take(), inbound.ended)

    def _method(self, inbound: Inbound, call: Call, route: Route) -> None:
        verb = inbound.head.verb
        call.action = route.action
        if verb == b"POST":
            self.begin(inbound, call, route)
            return
        safe = route.method is not None and route.method.safe
        if safe and verb in (b"GET", b"HEAD"):
            self.begin(inbound, call, route)
        else:
            self._wrong_verb(inbound, call, route, "GET, HEAD, POST" if safe else "POST")

    def _channel(self, inbound: Inbound, call: Call, route: Route) -> None:
        verb = inbound.head.verb
        if verb in (b"POST", b"PUT"):
            call.action = Action.PUBLISH
            self.begin(inbound, call, route)
        elif verb in (b"GET", b"HEAD"):
            call.action = Action.SUBSCRIBE
            if b"text/event-stream" in inbound.head.accept:
                self._listener.stream(inbound, call, route)
            else:
                self.begin(inbound, call, route)
        else:
            self._wrong_verb(inbound, call, route, "GET, HEAD, POST, PUT")

    def _object(self, inbound: Inbound, call: Call, route: Route) -> None:
        verb = inbound.head.verb
        if verb in (b"GET", b"HEAD"):
            call.action = Action.DESCRIBE
            self.begin(inbound, call, route)
        elif verb != b"POST":
            self._wrong_verb(inbound, call, route, "GET, HEAD, POST")
        elif self._knows(inbound, call, route):
            inbound.relay = NamedInBody(self, inbound, call)
            inbound.relay.body(inbound.take(), inbound.ended)

    def _wrong_verb(self, inbound: Inbound, call: Call, route: Route, allow: str) -> None:
        """Say 405, but only to those who may know what the name is."""
        if self._knows(inbound, call, route):
            verb = inbound.head.verb.decode("latin-1")
            detail = f"{call.name} is a {route.kind}: use {allow}, not {verb}"
            inbound.fault(405, detail, f"Allow: {allow}\r\n".encode())

    def _knows(self, inbound: Inbound, call: Call, route: Route) -> bool:
        """Return whether the caller may use or describe a name; refuse the request if not.

        Whoever may not must not learn from another answer that there is such a name.
        """
        access, who, name = self._plane.access, call.principal, call.name
        asked = {Kind.METHOD: _CALLING, Kind.CHANNEL: _EVENTS}.get(route.kind, _CALLING)
        for action in asked:
            decision = access.check(who, action, name, route.owner)
            if decision.allowed:
                return True
        inbound.refuse(denial(access, call, route, decision))
        return False

    def _may(self, call: Call, route: Route) -> bool:
        check = self._plane.access.check
        return check(call.principal, call.action, call.name, route.owner).allowed

    def _without_route(self, inbound: Inbound, call: Call) -> None:
        if call.name == self._listener.socket_name and inbound.head.upgrade_to == b"websocket":
            self._listener.socket(inbound, call)
        elif call.name == self._listener.socket_name:
            detail = "this is a WebSocket: connect with Upgrade: websocket (RFC 6455)"
            inbound.fault(426, detail, b"Upgrade: websocket\r\n")
        else:
            inbound.refuse(unknown(self._plane.access, self._plane.view, call))

    def _deadline(self, inbound: Inbound, route: Route) -> float:
        method = route.method
        wanted = inbound.head.timeout or (method.timeout if method is not None else 0)
        if not wanted:
            return self._plane.now + self._patience
        return self._plane.now + min(wanted, self._listener.limits.timeout_cap) / 1000

    def _name(self, inbound: Inbound, path: bytes) -> Name | None:
        site = self._site
        if path == b"/":
            inbound.fault(404, "nothing is at /: GET /$site/registry/list lists the names to call")
            return None
        try:
            name = parse_name(
                path.decode("ascii"),
                authority=site.authority,
                aliases=site.aliases,
                remotes=site.remotes,
                reserved=True,
            )
        except UnicodeDecodeError:
            inbound.fault(400, "the path must be ASCII: percent-encode everything else")
            return None
        except InvalidName as error:
            inbound.fault(400, str(error))
            return None
        self._named += NAME_COST + len(path) + len(name)
        if self._named > NAMES:
            self._names.clear()
            self._named = 0
        self._names[path] = name
        return name

    def _known_host(self, host: bytes) -> bool:
        if len(host) > HOST_BYTES:
            return False
        bare = _without_port(host.decode("latin-1").lower())
        site = self._site
        known = bare in LOOPBACK or bare == site.authority or bare in site.aliases
        if known:
            if len(self._hosts) >= HOSTS:
                self._hosts.clear()
            self._hosts.add(host)
        return known


class NamedInBody:
    """A call whose method is named in its JSON body, as S3 III-B describes."""

    def __init__(self, dispatcher: Dispatcher, inbound: Inbound, call: Call) -> None:
        self._dispatcher = dispatcher
        self._inbound = inbound
        self._call = call
        self._parts: list[bytes] = []
        self._size = 0

    def body(self, data: bytes, end: bool) -> None:
        """Collect the body; when it is all here, call the method that it names."""
        limit = self._dispatcher.message_limit
        self._parts.append(data)
        self._size += len(data)
        if self._size > limit:
            self._inbound.relay = None
            detail = f"a message may have at most {limit} bytes"
            self._inbound.refuse(Refusal(Status.TOO_LARGE, detail))
        elif end:
            self._inbound.relay = None
            self._call_named(b"".join(self._parts))

    def _call_named(self, body: bytes) -> None:
        inbound, call = self._inbound, self._call
        try:
            method, payload = read_named(body)
            name = join(call.name, method)
        except (BadArguments, InvalidName) as error:
            detail = f'POST to an object needs {{"method": "…", "args": {{…}}}}: {error}'
            inbound.refuse(Refusal(Status.BAD_REQUEST, detail))
            return
        inbound.parts.append(payload)
        inbound.head = inbound.head.carrying(payload, b"application/json")
        self._dispatcher.start(inbound, name, call.principal, b"", named=True)

    def cancel(self) -> None:
        """Forget what was collected."""
        self._parts.clear()

    def pause_reply(self) -> None:
        """Nothing is on its way."""

    def resume_reply(self) -> None:
        """Nothing is on its way."""


def _origin_form(inbound: Inbound, target: bytes) -> bytes:
    """Return the path and query of an absolute-form target (RFC 9112 section 3.2.2).

    Its host counts. One that differs from the Host field is refused (then this returns b""): who
    stands before us could have gone by the other.
    """
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return b"/" + target
    host, slash, path = rest.partition(b"/")
    if inbound.head.host is not None and inbound.head.host.lower() != host.lower():
        return b""
    inbound.head.host = host
    return slash + path or b"/"


def _without_port(host: str) -> str:
    """Return a Host field's host, "" when it is malformed."""
    if host.startswith("["):
        bare, bracket, port = host.partition("]")
        bare, port = bare + bracket, port.removeprefix(":")
    else:
        bare, _, port = host.partition(":")
    return bare if not port or (port.isdecimal() and port.isascii()) else ""


def _sticky_key(sticky: str, call: Call) -> bytes:
    if sticky == "principal":
        return call.principal.id.encode()
    wanted = sticky.removeprefix("header:").lower().encode()
    fields = call.fields
    for at in range(0, len(fields), 4):
        if fields[at].lower() == wanted:
            return fields[at + 2]
    return b""


def _is_of_a_page(fields: list[bytes]) -> bool:
    """Return whether a web page made a browser ask.

    It shows its user's certificate, whatever page that is: what pages ask needs a token.
    """
    return any(name.lower() in PAGES for name in fields[::4])
