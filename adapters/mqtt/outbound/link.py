"""One connection to somebody's MQTT broker: the only file that knows aiomqtt and paho.

aiomqtt acknowledges a message before the application has it, and makes tasks and timers for each
one. So the three callbacks that messages go through are our own here: a message is acknowledged
when its taker says so (MQTT 5.0 section 4.4), in the order of arrival (section 4.6).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, MQTTMessage
from paho.mqtt.client import Client as Paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.message import portable_type

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
"""How long a broker has for a CONNACK, SUBACK or UNSUBACK."""
KEEP_ALIVE = 30
RECEIVE_MAXIMUM = 64
"""Messages that a broker sends before it has an acknowledgement, and that we send."""
MAXIMUM_PACKET = 1024 * 1024 + 64 * 1024
"""Bytes of a packet that a broker may send: a message (design 4), and what is said about it."""
GOODBYE_SECONDS = 2.0


UNSUPPORTED = 0x84
"""Reason code "Unsupported Protocol Version" (MQTT 5.0 section 3.2.2.2)."""


class LinkError(Exception):
    """The broker could not be reached, or refused; the text says why."""


class UnsupportedVersion(LinkError):
    """The broker does not know MQTT 5."""


class Settings(NamedTuple):
    """Who connects and how. ``keep`` is for how many seconds the broker keeps the session, 0 none.

    ``tls`` is the host that the broker's certificate must name, "" for a plain connection, and
    ``ca`` the file of who may have signed it (None: whom the system trusts). ``modern``: by MQTT
    5, else 3.1.1, where a broker keeps a session for as long as it likes.
    """

    client_id: str
    username: str = ""
    password: str = ""
    keep: int = 0
    tls: str = ""
    ca: Path | None = None
    modern: bool = True


class Message(NamedTuple):
    """What a publisher sent, in either direction; ``expiry`` in seconds, 0 for never."""

    topic: str
    payload: bytes
    qos: int = 1
    content_type: str = ""
    text: bool = False
    retain: bool = False
    expiry: int = 0
    response_topic: str = ""
    correlation: bytes | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    def size(self) -> int:
        """Return at least as many bytes as its packet has (MQTT 5.0 section 3.3)."""
        texts = [self.topic, self.content_type, self.response_topic]
        texts += [text for pair in self.attributes for text in pair]
        fixed = 64 + 5 * len(texts) + len(self.correlation or b"")
        return fixed + len(self.payload) + sum(len(text.encode()) for text in texts)


class Link(aiomqtt.Client):
    """A connection that is opened once and closed once.

    ``heard`` gets this, each message and the number by which it is to be acknowledged (0: it needs
    none), ``posted`` the number and reason code of a message of ours that is done with.
    """

    def __init__(
        self,
        address: str,
        port: int,
        settings: Settings,
        heard: "Callable[[Link, Message, int], None]",
        posted: Callable[[int, int], None],
    ) -> None:
        modern = settings.modern
        version = aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311
        super().__init__(
            address,
            port,
            identifier=settings.client_id,
            username=settings.username or None,
            password=settings.password or None,
            protocol=version,
            timeout=ANSWER_SECONDS,
            keepalive=KEEP_ALIVE,
            clean_session=None if modern else not settings.keep,
            clean_start=not settings.keep if modern else MQTT_CLEAN_START_FIRST_ONLY,
            properties=_connect_properties(settings.keep) if modern else None,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            max_inflight_messages=0,  # the window is ours, so that we know what was not sent yet
        )
        self.modern = modern
        self.window = RECEIVE_MAXIMUM
        self.largest = 0
        """Bytes of the largest packet that the broker takes, 0 for no limit."""
        self.resumed = False
        """Whether the broker still had the session (MQTT 5.0 section 3.2.2.1.1)."""
        self._settings = settings
        self._heard = heard
        self._posted = posted
        self.attached = asyncio.Event()
        """There is a connection: what comes now needs no thread any more."""
        self._unacknowledged: dict[int, bool] = {}
        self._qos2: set[int] = set()
        self._client.connect_timeout = CONNECT_SECONDS
        self._client.manual_ack_set(True)

    async def open(self) -> None:
        """Connect; raises LinkError."""
        if self._settings.tls:
            # Reading the trusted certificates takes milliseconds.
            context = await asyncio.to_thread(_tls_context, self._settings)
            self._client.tls_set_context(context)
        opening = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._give_up)
            if self.attached.is_set():  # before that, a thread is at it that cannot be stopped
                opening.cancel()
            raise
        except aiomqtt.MqttCodeError as error:
            self.abort()
            kind = UnsupportedVersion if _value(error.rc) == UNSUPPORTED else LinkError
            raise kind(f"the broker refuses the connection: {_reason(error.rc)}") from None
        except (aiomqtt.MqttError, ValueError) as error:
            self.abort()
            raise LinkError(f"cannot connect to the broker: {error}") from None

    async def gone(self) -> str:
        """Wait until the connection is lost; return why."""
        await asyncio.wait([self._disconnected])
        error = self._disconnected.exception()
        return f"the connection to the broker was lost: {error}" if error else "it was closed"

    async def close(self, *, forget: bool = False) -> None:
        """Say goodbye; ``forget`` ends a session that the broker would keep otherwise."""
        if not self._disconnected.done() and self._client.socket() is not None:
            properties = _properties(PacketTypes.DISCONNECT) if self.modern else None
            if forget and properties is not None:
                properties.SessionExpiryInterval = 0
            self._client.disconnect(properties=properties)
            await asyncio.wait([self._disconnected], timeout=GOODBYE_SECONDS)
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._misc_task is not None:
            self._misc_task.cancel()
        opened = self._client.socket()
        if opened is not None and opened.fileno() >= 0:
            self._loop.remove_reader(opened.fileno())
            self._loop.remove_writer(opened.fileno())
            opened.close()
        if not self._disconnected.done():
            self._disconnected.set_result(None)
        for future in (self._disconnected, self._connected):
            if future.done() and not future.cancelled():
                future.exception()  # else the loop complains that nobody asked

    @property
    def lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._disconnected.done()

    def post(self, message: Message) -> int:
        """Send a message and return its number; raises LinkError when the connection is lost.

        ``posted`` is told the number later, of QoS 0 when it was written to the connection.
        """
        if self.lost:
            raise LinkError("the connection to the broker was lost")
        properties = _publish_properties(message) if self.modern else None
        info = self._client.publish(
            message.topic, message.payload, message.qos, properties=properties
        )
        if info.rc:
            raise LinkError(f"the message cannot be sent now (code {int(info.rc)})")
        return info.mid

    def acknowledge(self, number: int) -> None:
        """The message is taken: tell the broker, as soon as those before it are taken too."""
        if number not in self._unacknowledged:
            return
        self._unacknowledged[number] = True
        while self._unacknowledged:
            first = next(iter(self._unacknowledged))
            if not self._unacknowledged[first]:
                return
            del self._unacknowledged[first]
            qos = 2 if first in self._qos2 else 1
            self._qos2.discard(first)
            if not self.lost:
                self._client.ack(first, qos)

    async def follow(self, topics: Sequence[tuple[str, int]]) -> dict[str, str]:
        """Subscribe to topics (with their QoS); return why the broker refuses some.

        What is retained is sent for a subscription that is new to the session only, or by MQTT
        3.1.1 each time.
        """
        if not topics:
            return {}
        modern = [
            (topic, SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=1))
            for topic, qos in topics
        ]
        codes = await self._answered(self.subscribe(modern if self.modern else list(topics)))
        pairs = zip(topics, codes, strict=False)
        return {topic: _reason(code) for (topic, _), code in pairs if _value(code) >= 0x80}

    async def unfollow(self, topics: Sequence[str]) -> None:
        """Unsubscribe; raises LinkError when there is no answer."""
        if topics:
            await self._answered(self.unsubscribe(list(topics)))

    async def _answered(self, request: Any) -> Any:
        try:
            return await request
        except aiomqtt.MqttError as error:
            raise LinkError(f"the broker did not answer: {error}") from None

    def _give_up(self, opening: "asyncio.Future[Any]") -> None:
        if not opening.cancelled():
            opening.exception()
        self.abort()

    # What paho calls, instead of aiomqtt's own

    def _on_socket_open(self, client: Paho, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self.attached.set)

    def _on_connect(
        self,
        client: Paho,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.window = min(RECEIVE_MAXIMUM, getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM))
        self.largest = getattr(properties, "MaximumPacketSize", 0)
        self.resumed = bool(flags.session_present)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: Paho, userdata: Any, message: MQTTMessage) -> None:  # noqa: ARG002
        number = message.mid if message.qos else 0
        if number:
            self._unacknowledged[number] = False
            if message.qos == 2:
                self._qos2.add(number)
        self._heard(self, _received(message), number)

    def _on_publish(
        self,
        client: Paho,  # noqa: ARG002
        userdata: Any,  # noqa: ARG002
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,  # noqa: ARG002
    ) -> None:
        self._posted(mid, _value(reason_code))

    async def _misc_loop(self) -> None:
        """Send pings; end a connection whose broker sends more than it was told to."""
        while not self._client.loop_misc():
            if self._client._in_packet["remaining_length"] > MAXIMUM_PACKET:  # noqa: SLF001 - paho has no limit
                if not self.lost:
                    why = LinkError(f"it sends a packet of more than {MAXIMUM_PACKET} bytes")
                    self._disconnected.set_exception(why)
                self.abort()
            await asyncio.sleep(1)


class _Context(ssl.SSLContext):
    """Checks the certificate for the host that was meant, not for the address that was chosen."""

    host = ""

    def wrap_socket(self, sock: Any, *_: Any, **how: Any) -> ssl.SSLSocket:
        """Do the handshake here, because paho forgets the socket when it fails."""
        wrapped = super().wrap_socket(sock, **{**how, "server_hostname": self.host})
        try:
            wrapped.settimeout(CONNECT_SECONDS)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def _tls_context(settings: Settings) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.host = settings.tls
    if settings.ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(settings.ca)
    return context


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _connect_properties(keep: int) -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = keep
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.MaximumPacketSize = MAXIMUM_PACKET
    return properties


def _publish_properties(message: Message) -> Properties | None:
    properties = _properties(PacketTypes.PUBLISH)
    if message.content_type:
        properties.ContentType = message.content_type
    if message.expiry:
        properties.MessageExpiryInterval = message.expiry
    if message.response_topic:
        properties.ResponseTopic = message.response_topic
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.text:
        properties.PayloadFormatIndicator = 1
    if message.attributes:
        properties.UserProperty = list(message.attributes)
    return properties


def _received(message: MQTTMessage) -> Message:
    """Return paho's message as ours; a topic that is not UTF-8 raises, which ends the link."""
    properties = message.properties
    kind = getattr(properties, "ContentType", "")
    fits = kind.isprintable() and portable_type(kind.encode())
    return Message(
        message.topic,
        bytes(message.payload),
        message.qos,
        kind if fits else "",
        getattr(properties, "PayloadFormatIndicator", 0) == 1,
        message.retain,
        getattr(properties, "MessageExpiryInterval", 0),
        getattr(properties, "ResponseTopic", ""),
        getattr(properties, "CorrelationData", None),
        tuple(getattr(properties, "UserProperty", ())),
    )


def _value(code: Any) -> int:
    return int(getattr(code, "value", code))


def _reason(code: Any) -> str:
    return f"{code} ({_value(code):#04x})"
