"""What is said on one reliable connection: signals, requests, answers (RFC 8323).

There is no acknowledgement and no retransmission here, and who holds a connection is there: no
Echo is asked for. Large messages need no blocks, as far as the peer takes them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from adapters.coap.serving.asked import Asked, Bad, read_options
from adapters.coap.serving.peers import LARGEST
from adapters.coap.serving.turn import NOT_ALLOWED, Client, Turn
from adapters.coap.wire.codec import METHODS, is_request
from adapters.coap.wire.frames import (
    ABORT,
    BAD_CSM_OPTION,
    BASE_SIZE,
    CSM,
    MAX_MESSAGE_SIZE,
    OVERHEAD,
    PING,
    PONG,
    RELEASE,
    Frame,
)
from adapters.coap.wire.options import Options, is_critical, uint, uint_value
from gateway.message import Refusal, Status

if TYPE_CHECKING:
    from adapters.coap.serving.observations import Observation
    from adapters.coap.serving.service import Service

OPEN: Final = 256
"""Requests of one connection that wait for their answers."""
CSM_SECONDS: Final = 10.0
"""How long a connection may be open without saying what it is capable of."""
IDLE_SECONDS: Final = 300.0
"""How long it may be open without a message, an observation or a request that waits."""


class StreamTurn(Turn):
    """One request on a connection, and its answer."""

    __slots__ = ("_conversation",)

    def __init__(self, conversation: "Conversation", frame: Frame, asked: Asked) -> None:
        super().__init__(conversation.service, conversation.client, frame.code, frame.token, asked)
        self._conversation = conversation

    def send(self, code: int, options: Options, payload: bytes) -> None:
        """Send the answer."""
        self._conversation.say(Frame(code, self.token, options, payload))
        self._conversation.ended(self)

    def suppress(self) -> None:
        """Send nothing."""
        self._conversation.ended(self)

    def notify(
        self,
        code: int,
        options: Options,
        payload: bytes,
        watch: "Observation | None",  # noqa: ARG002 (nobody tells what becomes of it)
        *,
        confirmable: bool,  # noqa: ARG002 (the transport is reliable)
    ) -> None:
        """Send a notification."""
        self._conversation.say(Frame(code, self.token, options, payload))


class Conversation:
    """One connection's messages; ``say`` sends one, ``hang_up`` closes after what is sent."""

    def __init__(
        self,
        service: "Service",
        address: str,
        say: Callable[[Frame], None],
        hang_up: Callable[[], None],
    ) -> None:
        self.service = service
        self.client = Client(address, service.stranger, LARGEST)
        self.say = say
        self.heard = service.plane.now
        self._hang_up = hang_up
        self.greeted = False
        """Whether the peer has said what it is capable of."""
        self._leaving = False
        self._open: dict[Turn, None] = {}

    def begin(self) -> None:
        """Say what this side is capable of (section 5.3)."""
        limit = self.service.limit + OVERHEAD
        self.say(Frame(CSM, b"", [(MAX_MESSAGE_SIZE, uint_value(limit))]))

    def hear(self, frame: Frame) -> None:
        """Take a message."""
        code = frame.code
        self.heard = self.service.plane.now
        if not self.greeted and code not in (CSM, ABORT):
            self.abort("the first message is a CSM")
        elif is_request(code):
            self._request(frame)
        elif code >> 5 == 7:
            self._signal(frame)
        # Empty messages are ignored (section 3.4), and responses to nothing.

    def abort(self, why: str, *options: tuple[int, bytes]) -> None:
        """End the connection, and say why (section 5.6)."""
        self.say(Frame(ABORT, b"", list(options), why.encode()))
        self._hang_up()

    def release(self) -> None:
        """The site shuts down: what waits is still answered (section 5.5)."""
        if not self._leaving:
            self._leaving = True
            self.say(Frame(RELEASE))
            self._leave_if_done()

    def ended(self, turn: Turn) -> None:
        """A request is answered."""
        if self._open.pop(turn, self) is None:
            self.client.open -= 1
            if self._leaving:
                self._leave_if_done()

    def pause(self) -> None:
        """The peer takes nothing for now: events wait."""
        for observation in self.client.observations.values():
            observation.pause()

    def resume(self) -> None:
        """The peer takes something again."""
        for observation in tuple(self.client.observations.values()):
            observation.resume()

    def lost(self) -> None:
        """The connection is gone, and all that it had open."""
        for turn in tuple(self._open):
            turn.cancel()
        self._open.clear()
        self.service.transfers.forget(self.client)
        for observation in tuple(self.client.observations.values()):
            observation.close()

    def is_idle(self, now: float) -> bool:
        """Return whether nobody would miss the connection."""
        if not self.greeted:
            return now - self.heard >= CSM_SECONDS
        busy = self._open or self.client.observations
        return not busy and now - self.heard >= IDLE_SECONDS

    def _request(self, frame: Frame) -> None:
        turn = StreamTurn(self, frame, Asked())
        self._open[turn] = None
        self.client.open += 1
        if frame.code not in METHODS:
            turn.fault(NOT_ALLOWED, f"there is no method {frame.code}")
            return
        try:
            turn.asked = read_options(self.service.site, frame.options)
        except Bad as bad:
            turn.fault(bad.code, bad.detail)
            return
        if self.client.open > OPEN:
            turn.refuse(Refusal(Status.THROTTLED, "too many requests at once", retry_after=1))
        else:
            self.service.start(turn, frame.payload)

    def _signal(self, frame: Frame) -> None:
        code = frame.code
        for number, _ in frame.options:
            known = code == CSM and number == MAX_MESSAGE_SIZE
            if is_critical(number) and not known:
                self.abort(f"option {number}", (BAD_CSM_OPTION, uint_value(number)))
                return
        if code == CSM:
            self.greeted = True
            self._capable(frame)
        elif code == PING:
            self.say(Frame(PONG, frame.token))
        elif code == RELEASE:
            self._leaving = True
            self._leave_if_done()
        elif code == ABORT:
            self._hang_up()

    def _capable(self, frame: Frame) -> None:
        """Note how large a message the peer takes (section 5.3.1)."""
        for number, value in frame.options:
            if number == MAX_MESSAGE_SIZE and len(value) <= 4:
                room = uint(value) - (BASE_SIZE - LARGEST)
                self.client.largest = max(16, room)

    def _leave_if_done(self) -> None:
        if not self._open:
            self._hang_up()
