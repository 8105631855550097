"""What the protocol engine of a session and the desk behind it ask of each other.

The engine (``session``) knows packets, packet identifiers, windows and acknowledgements; the desk
knows principals, names, policies and channels.
"""

from asyncio import Future
from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from adapters.mqtt.wire.packets import Auth, Connack, Connect, Publish, Subscribe, Unsubscribe
from gateway.identity.identity import Pending
from gateway.message import Event, Mark, Refusal
from gateway.session_port import StoredSession
from policy.model import Principal

LATER = -1
"""The desk's answer to a PUBLISH whose reason code comes through its Receipt."""


class Settings(Struct, frozen=True):
    """Limits of a listener and of each session. Seconds, bytes, numbers."""

    receive_maximum: int = 64
    """QoS 1 and 2 messages that a client may have unacknowledged (announced in CONNACK)."""
    window: int = 256
    """The same towards a client, if it does not ask for less."""
    maximum_packet: int = 1024 * 1024 + 64 * 1024
    alias_maximum: int = 32
    """Topic aliases of each direction, if the client allows as many."""
    queue_messages: int = 1000
    queue_bytes: int = 4 * 1024 * 1024
    """What waits for one client, behind what is in flight; then the oldest is dropped."""
    queue_of_one: int = 256 * 1024 * 1024
    """Bytes that wait for all sessions of one principal; beyond, who gets more drops."""
    backlog: int = 256 * 1024
    """Bytes that a client leaves unread; with more, QoS 0 is dropped and the rest waits."""
    connect_seconds: float = 10.0
    keep_alive: int = 0
    """The longest keep-alive that a client may have; 0: as long as it wants."""
    connections: int = 20_000
    strangers: int = 2_000
    """Connections that have not been accepted yet."""
    unfinished: int = 128 * 1024 * 1024
    """Bytes of packets that are not all there yet, of all connections; beyond, the oldest ends."""
    cloudevents: bool = True
    """Whether events carry CloudEvents attributes to clients of MQTT 5.0."""


class Link(Protocol):
    """A client's connection, as a session and the desk see it."""

    @property
    def peer(self) -> str:
        """The client's address."""
        ...

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        ...

    @property
    def certified(self) -> Principal | None:
        """Whom the client's certificate stands for."""
        ...


class Receipt(Protocol):
    """The acknowledgement that one PUBLISH with QoS 1 or 2 waits for."""

    def take_mark(self) -> Mark | None:
        """Hand over the mark of a QoS 2 message, to be stored in one transaction with its event.

        Only for a durable channel (``Channels.append(…, mark=)``); a mark that nobody takes is
        stored by the engine. None: there is nothing to store.
        """
        ...

    def done(self, reason: int, why: str = "") -> None:
        """Answer a PUBLISH for which ``publish`` returned LATER, once; also within ``publish``."""
        ...

    def unsynced(self, reason: int, why: str) -> None:
        """The message was taken, but is not yet on disk where it has to be; instead of ``done``."""
        ...


class Shared(Protocol):
    """A member of a shared subscription: it wants to know what its client has taken."""

    def settled(self, event: Event) -> None:
        """An event that was delivered for it at QoS 1 or 2 is acknowledged, or was dropped."""
        ...


class Session(Protocol):
    """One client's session, connected or not; it belongs to a principal and a client id.

    ``key`` names it in the store, ``id`` is ``mqtt-N``, ``version`` the protocol level. ``expiry``
    are the seconds that it outlives its connection; a ``durable`` one is in the SessionStore.
    """

    key: str
    client_id: str
    id: str
    principal: Principal
    version: int
    durable: bool
    expiry: int

    @property
    def connected(self) -> bool:
        """Whether its client is there."""
        ...

    @property
    def load(self) -> int:
        """How many QoS 1 and 2 messages its client has not acknowledged, or not been sent yet."""
        ...

    @property
    def slow(self) -> bool:
        """Whether ``Desk.paused`` was called, and not yet ``resumed``."""
        ...

    def hold(self) -> Callable[[], None]:
        """Take no more packets from the client until what this returns is called, once."""
        ...

    def deliver(
        self,
        event: Event,
        topic: str,
        qos: int,
        retain: bool = False,
        ids: tuple[int, ...] = (),
        shared: Shared | None = None,
    ) -> None:
        """Send an event at a QoS that is granted, or queue it.

        QoS 0 is dropped when the client is not there or too slow, and anything that has expired
        or is too large for the client. A durable session's QoS 1 and 2 messages are on disk when
        what this callback of the loop handed to the SessionStore is.
        """
        ...

    def send(self, packet: Publish) -> bool:
        """Send a message at QoS 0 at once (replies, calls), with the properties it has.

        False when the client is not there, too slow, or does not take so much.
        """
        ...

    def unacknowledged(self, shared: Shared | None = None) -> list[Event]:
        """Return the events that a group's other members may get when this session ends."""
        ...

    def restore(self, stored: StoredSession) -> None:
        """Take over what waited for the client, and its marks, before the site restarted."""
        ...

    def disconnect(self, reason: int, why: str = "") -> None:
        """Say DISCONNECT (3.1.1 says nothing) and close; ``Desk.disconnected`` is not called."""
        ...

    def rest(self, seconds: float) -> None:
        """Take nothing from the client for a while, so that it feels its network push back."""
        ...

    def end(self) -> None:
        """The session is over: nothing is sent, queued or stored any more."""
        ...


class Admission(NamedTuple):
    """An accepted CONNECT: the engine makes the CONNACK, with its own limits.

    ``expiry`` is told to the client when it is not what it asked for.
    """

    session: Session
    present: bool = False
    assigned_client_id: str = ""
    response_info: str = ""
    expiry: int | None = None


class Answer(NamedTuple):
    """What came of a SUBSCRIBE or UNSUBSCRIBE: a reason code for each filter, and why the first
    was refused.

    ``settling``: the acknowledgement waits until it is done, because a wildcard may match
    thousands of channels. What is published after SUBACK must not be missed, and nothing new may
    come after UNSUBACK [MQTT-3.10.4-2].
    """

    reasons: list[int]
    why: str = ""
    settling: Future[None] | None = None


class Desk(Protocol):
    """What stands behind the sessions. None of it blocks; nothing raises."""

    def identify(
        self, packet: Connect, link: Link, then: Callable[[Principal | Connack], None]
    ) -> Principal | Connack | Pending:
        """Find out who a client is, or why it is nobody.

        Pending: ``then`` is told later, once, unless it is cancelled.
        """
        ...

    def identify_again(
        self, packet: Auth, link: Link, then: Callable[[Principal | Refusal], None]
    ) -> Principal | Refusal | Pending:
        """The same for a client that authenticates again."""
        ...

    def renew(self, session: Session, principal: Principal) -> Refusal | None:
        """Go on with a session by a newer credential of the same principal; or refuse."""
        ...

    def connect(self, packet: Connect, link: Link, principal: Principal) -> Admission | Connack:
        """Find, make or take over the session of a client; or refuse.

        A session that is taken over gets ``disconnect`` from here before it is returned.
        """
        ...

    def connected(self, session: Session) -> None:
        """CONNACK is in the output, and what was in flight: go on with the subscriptions."""
        ...

    def publish(self, session: Session, packet: Publish, receipt: Receipt | None) -> int:
        """Take a message and return its reason code, or LATER; ``receipt`` is None at QoS 0.

        Called once per message: duplicates are filtered, topic aliases are resolved. In 3.1.1 a
        reason code of 0x80 or more ends the connection.
        """
        ...

    def subscribe(self, session: Session, packet: Subscribe) -> Answer:
        """Subscribe to what the filters say.

        If this writes to the SessionStore, the SUBACK waits for the disk (so does UNSUBACK).
        """
        ...

    def subscribed(self, session: Session, packet: Subscribe, reasons: list[int]) -> None:
        """SUBACK is in the output: send retained messages."""
        ...

    def unsubscribe(self, session: Session, packet: Unsubscribe) -> Answer:
        """End subscriptions."""
        ...

    def disconnected(self, session: Session, reason: int, expiry: int | None) -> None:
        """The connection is gone.

        ``reason`` is 0 only if the client said so in a DISCONNECT (then there is no will),
        0x8B when the site shuts down; ``expiry`` is the client's last word on it, None if it has
        said nothing (or asked for what it may not).
        """
        ...

    def paused(self, session: Session) -> None:
        """The client is slow: pause its subscriptions, unless the session is durable."""
        ...

    def resumed(self, session: Session) -> None:
        """The client has caught up; it may be slow again within this call."""
        ...
