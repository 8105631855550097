"""How a client gets in: CONNECT and AUTH wait while it is authenticated (MQTT 5.0 section 4.12).

Nothing that follows is lost meanwhile: the connection is held, and reads no further.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from adapters.mqtt.wire.packets import Auth, Connack, Connect, Malformed, Reason
from gateway.identity.identity import Pending
from gateway.message import Refusal
from policy.model import Principal

if TYPE_CHECKING:
    from adapters.mqtt.sessions.session import Session
    from adapters.mqtt.sockets.connection import Connection
    from adapters.mqtt.sockets.listener import MqttListener

Found = TypeVar("Found")


class Entrance:
    """One connection's: ``method`` is what it authenticates by, None without AUTH."""

    __slots__ = ("_connection", "_desk", "_listener", "_pending", "method")

    def __init__(self, connection: "Connection", listener: "MqttListener") -> None:
        self.method: str | None = None
        self._connection = connection
        self._listener = listener
        self._desk = listener.desk
        self._pending: Pending | None = None

    @property
    def waits(self) -> bool:
        """Whether the client is being authenticated."""
        return self._pending is not None

    def close(self) -> None:
        """The connection is gone."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def connect(self, packet: Connect) -> None:
        """Take CONNECT (section 3.1.4)."""
        self.method = packet.authentication_method
        done = partial(self._connected, packet)
        found = self._desk.identify(packet, self._connection, partial(self._later, done))
        self._go_on(found, done)

    def authenticate(self, session: "Session", packet: Auth) -> None:
        """Take AUTH of a client that authenticates again; raises Malformed."""
        if self.method is None:
            raise Malformed(Reason.PROTOCOL_ERROR, "AUTH without an authentication method")
        if packet.method != self.method:  # [MQTT-4.12.0-5]
            why = "the authentication method is another one than in CONNECT"
            raise Malformed(Reason.PROTOCOL_ERROR, why)
        if packet.reason != Reason.RE_AUTHENTICATE:
            raise Malformed(Reason.PROTOCOL_ERROR, "AUTH goes on with what was not begun")
        done = partial(self._renewed, session)
        later = partial(self._later, done)
        self._go_on(self._desk.identify_again(packet, self._connection, later), done)

    def _go_on(self, found: Found | Pending, done: Callable[[Found], None]) -> None:
        if isinstance(found, Pending):
            self._pending = found
            self._listener.admitted(self._connection)  # no stranger that says nothing
            self._connection.hold()
        else:
            done(found)

    def _later(self, done: Callable[[Found], None], found: Found) -> None:
        self._pending = None
        done(found)
        self._connection.go_on()

    def _connected(self, packet: Connect, found: Principal | Connack) -> None:
        if isinstance(found, Principal):
            self._connection.admit(packet, self._desk.connect(packet, self._connection, found))
        else:
            self._connection.admit(packet, found)

    def _renewed(self, session: "Session", found: Principal | Refusal) -> None:
        refusal = found if isinstance(found, Refusal) else self._desk.renew(session, found)
        if refusal is None:
            session.say(Auth(Reason.SUCCESS, self.method))
        else:  # [MQTT-4.12.1-2]
            self._connection.fail(Reason.NOT_AUTHORIZED, refusal.detail)
