"""The WebSocket facade at ``/$site/socket``: all open sockets of a site (design 6).

What can be said is in ``messages``; one client's side is a ``Session``.
"""

import asyncio
from collections.abc import Container
from itertools import count

import msgspec

from adapters.http.serving.inbound import Inbound
from adapters.http.websockets import websocket
from adapters.http.websockets.session import Session
from adapters.http.websockets.websocket import WebSocket, handshake
from adapters.http.wire.payloads import members
from gateway.channels import Channels
from gateway.message import Call, Event
from gateway.provided import SessionProvider
from gateway.rota import Rota, in_slices
from gateway.settings import Limits
from gateway.site import Site
from policy.model import ANONYMOUS

STRANGER = 64 * 1024
"""Bytes of a message from a client that has not said who it is."""
BEAT = 30.0
"""Seconds between pings; a client that is silent from one to the next is gone."""


class Sockets:
    """All open sockets. One timer for all of them; an event's message is made once."""

    def __init__(self, site: Site, channels: Channels, limits: Limits, beat: float = BEAT) -> None:
        self.site = site
        self.channels = channels
        self.limits = limits
        self.provider = SessionProvider(limits.message)
        # Base64 makes a third more of a payload, and a message has other members too.
        self.message_limit = limits.message * 4 // 3 + 64 * 1024
        self._rota = Rota()
        self._beat_seconds = beat
        self._sessions: dict[Session, WebSocket] = {}
        self._numbers = count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._event: Event | None = None
        self._tail = ""

    def socket(self, inbound: Inbound, call: Call) -> None:
        """Answer a handshake; the connection is the session's from then on."""
        head, problem = handshake(inbound)
        if problem:
            inbound.fault(400, problem, b"Sec-WebSocket-Version: 13\r\n")
            return
        owner = inbound.owner
        limit = STRANGER if call.principal is ANONYMOUS else self.message_limit
        connection = WebSocket(owner, limit, self._rota)
        session = Session(self, connection, call.principal, owner.peer, next(self._numbers))
        connection.session = session
        self._sessions[session] = connection
        self.provider.sessions[session.id] = session.outstanding
        owner.write(head)
        owner.upgrade(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._beat_seconds, self._beat)

    def remove(self, session: Session) -> None:
        """Forget a session whose connection is gone."""
        self._sessions.pop(session, None)
        self.provider.sessions.pop(session.id, None)
        if not self._sessions and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end_of(self, credentials: Container[str]) -> None:
        """Close the sockets of credentials that are no longer valid."""
        for session, connection in list(self._sessions.items()):
            if session.principal.credential in credentials:
                connection.close(websocket.POLICY, "the credential is no longer valid")

    def redecide(self) -> None:
        """Withdraw the provided methods that policy does not allow any longer."""
        for session in list(self._sessions):
            session.redecide()

    def drain(self) -> None:
        """Close all sockets, because the site shuts down."""
        for connection in list(self._sessions.values()):
            connection.close(websocket.GOING_AWAY, "the site shuts down")

    def tail_of(self, event: Event) -> str:
        """Return an event's message from behind its subscription on; the last one is kept."""
        if event is not self._event:
            document: dict[str, object] = {
                "id": str(event.id),
                "name": event.channel,
                "time": event.time,
                "source": event.source,
            }
            if event.extras is not None and event.extras.attributes:
                document["attributes"] = dict(event.extras.attributes)
            document |= members(event.content_type, event.payload)
            self._event = event
            self._tail = msgspec.json.encode(document)[1:].decode()
        return self._tail

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._beat_seconds, self._beat)
        in_slices(tuple(self._sessions), self._beat_one)

    def _beat_one(self, session: Session) -> None:
        connection = self._sessions.get(session)
        if connection is not None:  # still
            connection.beat()
