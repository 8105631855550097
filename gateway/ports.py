"""What the gateway asks of the outside world: every effect goes through a Protocol of this file
(MQTT's sessions have theirs in ``session_port``).

Relay ports never call back within the call that invoked them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.message import Call, Mark, Refusal, Reply, Status
from gateway.view import Route
from policy.decision import Decision
from policy.model import Action, Principal
from policy.resolution import Target
from registry.names import Name


class Permit:
    """The proof that a call was routed, decided, resolved and admitted: without it no send."""

    __slots__ = ("call", "decision", "route", "target")

    def __init__(self, call: Call, route: Route, decision: Decision, target: Target | None) -> None:
        self.call = call
        self.route = route
        self.decision = decision
        self.target = target


class Caller(Protocol):
    """The adapter that asked: it renders what comes back on its protocol."""

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """Begin the reply; ``end`` says that ``body`` is all of it."""
        ...

    def reply_body(self, data: bytes, end: bool) -> None:
        """Go on with the reply's payload."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error of the gateway; no reply has begun."""
        ...

    def abort(self) -> None:
        """Break off: the reply had begun and cannot be finished."""
        ...

    def pause(self) -> None:
        """Stop giving request payload: the provider is slow. The call's end also ends this."""
        ...

    def resume(self) -> None:
        """Go on giving request payload."""
        ...


class Answer(Protocol):
    """What a provider's adapter tells the exchange."""

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """The provider's reply began."""
        ...

    def reply_body(self, data: bytes, end: bool) -> None:
        """The provider's reply goes on."""
        ...

    def failed(self, status: Status, why: str, *, written: bool) -> None:
        """The provider failed; ``written`` says whether it may have seen any of the call."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """The gateway's own object refuses the call."""
        ...

    def pause_body(self) -> None:
        """The provider takes no more request payload for now."""
        ...

    def resume_body(self) -> None:
        """The provider takes request payload again."""
        ...


class Sink(Protocol):
    """An open call at a provider."""

    def body(self, data: bytes, end: bool) -> None:
        """Send more of the request's payload."""
        ...

    def cancel(self) -> None:
        """Nobody waits any more: stop the work, say nothing back."""
        ...

    def pause(self) -> None:
        """Stop giving reply payload: the caller is slow."""
        ...

    def resume(self) -> None:
        """Go on giving reply payload."""
        ...


class Provider(Protocol):
    """An adapter that sends calls to endpoints of one kind."""

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Send a call; ``end`` says that ``body`` is all of its payload."""
        ...


class FirstUses(Protocol):
    """Who decides what no rule decides: a controller, which has to be asked (design 7)."""

    def hold(
        self,
        principal: Principal,
        action: Action,
        name: Name,
        owner: str,
        then: Callable[[Decision], None],
    ) -> bool:
        """Ask about a use that no rule decides; ``then`` gets the decision, later and once.

        False: nobody is to be asked. Raises Refusal when too many wait already.
        """
        ...

    def stands(self, principal: Principal, action: Action, name: Name, owner: str) -> bool:
        """Whether what is open may stay so although nothing decides: it is being asked again."""
        ...


class StoreError(Exception):
    """The store cannot do what was asked (disk full, read-only, closed); nothing was written.

    After an input/output error of the disk that cannot be promised: read before trying again.
    """


class StoreBusy(StoreError):
    """Too much waits for the disk already; nothing was written, try again in a moment."""


class StorePruned(StoreError):
    """A follower asked for entries that are gone: it has to begin with the snapshot."""


class StoreConflict(StoreError):
    """An append expected another head: somebody else appended first.

    ``head`` is the sequence number of the last entry that is really in the log.
    """

    def __init__(self, expected: int, head: int) -> None:
        super().__init__(f"append expected the log at {expected}, but it is at {head}")
        self.expected = expected
        self.head = head


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed entry of the change log: ``body`` is opaque to the store."""

    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state after entry ``seq``, as opaque records."""

    seq: int
    records: Sequence[bytes]


class Store(Protocol):
    """The change log (design 5): append-only, one total order, durable before it answers."""

    @property
    def findings(self) -> Sequence[str]:
        """What was found wrong with the stored state and handled, for the operator."""
        ...

    async def append(self, expected: int, bodies: Sequence[bytes]) -> int:
        """Append ``bodies`` in one transaction right after entry ``expected``; return the new head.

        Returns only after the entries are synced to disk and followers can see them. Appends take
        effect in the order of the calls, and several may be in flight: raises StoreConflict when
        the head is then not ``expected``, StoreBusy at once when too much waits, StoreError when
        nothing was written.
        """
        ...

    def follow(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        """Yield every committed entry after ``after``, in order, in bounded batches.

        Ends when the store is closed. Raises StorePruned when entries after ``after`` are gone,
        StoreError when the log ends before ``after`` or an entry is damaged.
        """
        ...

    async def snapshot(self) -> Snapshot | None:
        """Return the newest snapshot that passes its checksum.

        None means: replay the whole log. StoreError if the log alone is not enough any more.
        """
        ...

    async def save_snapshot(self, seq: int, records: Iterable[bytes]) -> None:
        """Store a snapshot of the state after ``seq``, then drop history that it replaces.

        ``records`` is consumed in other threads, piece by piece, while appends go on: it must not
        change meanwhile. A snapshot that was not finished is as if it had never begun.
        """
        ...

    async def head(self) -> int:
        """Return the sequence number of the last committed entry, 0 for an empty log."""
        ...

    async def close(self) -> None:
        """Finish what is in flight, then release the file."""
        ...


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a durable channel; ``time`` is Unix time in milliseconds.

    ``extras`` is opaque to the store; ``qos`` is that of the event.
    """

    seq: int
    time: int
    content_type: str
    source: str
    payload: bytes
    qos: int = 1
    extras: bytes = b""


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of a channel is retained: a limit of 0 means no limit of that kind."""

    count: int = 0
    bytes: int = 0
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class ChannelTail:
    """What a durable channel's log holds: its incarnation and the sequence numbers kept."""

    incarnation: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event whose delivery to a bound method was given up: kept until deleted or re-driven."""

    id: int
    binding: str
    channel: str
    event_id: str
    time: int
    attempts: int
    error: str
    content_type: str
    payload: bytes


class EventLog(Protocol):
    """Durable channels: append logs with retention, delivery cursors and dead letters."""

    @property
    def findings(self) -> Sequence[str]:
        """What was found wrong with the stored events and handled, for the operator."""
        ...

    async def open(self, channel: str) -> ChannelTail:
        """Open a channel's log, creating it (with a random incarnation) when it is new."""
        ...

    async def append(
        self, channel: str, event: StoredEvent, keep: Keep, mark: Mark | None = None
    ) -> int:
        """Append one event (its ``seq`` is ignored) and return the sequence number it got.

        ``mark`` is stored with it, or neither is. Returns only after it is synced to disk;
        concurrent appends share one commit. What ``keep`` does not cover is deleted now and then:
        up to 1/16 more may be there, and the newest event always stays. Raises StoreBusy,
        StoreError (also for a channel not opened).
        """
        ...

    async def read(self, channel: str, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return at most ``limit`` retained events after ``after``; none when there are no more.

        Large events come in smaller lots. A damaged event is left out and reported: its sequence
        number is missing.
        """
        ...

    async def drop(self, channel: str) -> None:
        """Delete a channel's log and cursors; a later ``open`` begins a new incarnation."""
        ...

    async def cursor(self, channel: str, binding: str) -> int | None:
        """Return the sequence number up to which a bound method has been served."""
        ...

    async def save_cursor(self, channel: str, binding: str, seq: int) -> None:
        """Record that a bound method has been served up to ``seq``; ignored without a channel."""
        ...

    async def delete_cursor(self, channel: str, binding: str) -> None:
        """Forget how far a bound method was served: the binding is gone."""
        ...

    async def bury(self, letter: DeadLetter) -> int:
        """Keep a dead letter (its ``id`` is ignored) and return the id it got.

        Their number is bounded: the oldest give way, which ``letters_dropped`` counts.
        """
        ...

    async def letters_dropped(self) -> int:
        """Return how many dead letters were ever dropped to make room."""
        ...

    async def letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return at most ``limit`` dead letters with ids above ``after``; none when no more."""
        ...

    async def letter(self, letter_id: int) -> DeadLetter | None:
        """Return one dead letter."""
        ...

    async def delete_letter(self, letter_id: int) -> bool:
        """Delete a dead letter; False when there is none."""
        ...

    async def close(self) -> None:
        """Finish what is in flight, then release the file."""
        ...
