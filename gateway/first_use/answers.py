"""What controllers answered at first uses, as long as it holds (design 7)."""

from collections.abc import Callable, Container, Iterable
from heapq import heapify, heappop, heappush

from policy.decision import Decision
from policy.model import Action, Principal, Value
from registry.names import Name

ANSWERS = 32_768
"""Answers that are kept; the oldest give way."""
GRACE = 5.0
"""Seconds that a live subscription may go on under an answer that is asked for anew."""

RETRY = 1.0
"""Seconds until somebody is asked again who could not be reached."""
SPARE = 1024
_NOTHING: frozenset[tuple[str, Value]] = frozenset()

Who = tuple[str, str, frozenset[tuple[str, Value]]]
"""A principal's id, kind and attributes: with a newer credential it is the same."""
Key = tuple[Who, Action, Name]


def key_of(principal: Principal, action: Action, name: Name) -> Key:
    """Return what an answer about a use is kept under."""
    attributes = principal.attributes
    version = frozenset(attributes.items()) if attributes else _NOTHING
    return (principal.id, principal.kind, version), action, name


class Kept:
    """One answer, and the credential of who had it asked for.

    ``ends``, ``idle`` and ``used`` are seconds of the loop's clock.
    """

    __slots__ = ("credential", "decision", "ends", "epoch", "idle", "reads", "used")

    def __init__(
        self,
        decision: Decision,
        epoch: int,
        ends: float,
        idle: float,
        used: float,
        reads: frozenset[str],
        credential: str = "",
    ) -> None:
        self.credential = credential
        self.decision = decision
        self.epoch = epoch
        self.ends = ends
        self.idle = idle
        self.used = used
        self.reads = reads

    def holds(self, now: float) -> bool:
        """Whether it is still to be believed."""
        return now < self.ends and now - self.used < self.idle

    def due(self) -> float:
        """When to look at it again."""
        return min(self.ends, self.used + self.idle)


class Answers:
    """Answers by principal, action and name; ``clock`` is the loop's time.

    An answer that has ended is forgotten after ``GRACE`` more seconds: until then a live
    subscription may wait for the next one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.epoch = 0
        self._clock = clock
        self._kept: dict[Key, Kept] = {}
        self._readers: dict[str, dict[Key, None]] = {}
        self._due: list[tuple[float, int, Key, Kept]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._kept)

    def use(self, key: Key) -> Decision | None:
        """Return the decision about a use, if there is one that holds."""
        kept = self._kept.get(key)
        if kept is None or kept.epoch != self.epoch:
            return None
        now = self._clock()
        if not kept.holds(now):
            return None
        kept.used = now
        return kept.decision

    def find(self, key: Key) -> Kept | None:
        """Return an answer, also one that has ended a moment ago."""
        return self._kept.get(key)

    def keep(self, key: Key, kept: Kept) -> None:
        """Keep an answer in place of the one before."""
        self.drop(key)
        while len(self._kept) >= ANSWERS:
            self.drop(next(iter(self._kept)))
        self._kept[key] = kept
        self._watch(key, kept, kept.due())
        for name in kept.reads:
            self._readers.setdefault(name, {})[key] = None

    def drop(self, key: Key) -> None:
        """Forget an answer, if there is one."""
        kept = self._kept.pop(key, None)
        for name in kept.reads if kept is not None else ():
            readers = self._readers[name]
            del readers[key]
            if not readers:
                del self._readers[name]

    def drop_of(self, principal: str, covers: Callable[[Name], bool]) -> None:
        """Forget what was answered about a principal and the names that ``covers`` says."""
        for key in [k for k in self._kept if k[0][0] == principal and covers(k[2])]:
            self.drop(key)

    def void(self) -> bool:
        """Believe nothing any more; return whether a subscription may hang on what was kept."""
        self.epoch += 1
        return self._end(self._kept)

    def end_of(self, credentials: Container[str]) -> bool:
        """Ask anew about what was asked by these credentials; return as ``void`` does."""
        return self._end([k for k, kept in self._kept.items() if kept.credential in credentials])

    def changed(self, attributes: Iterable[str]) -> bool:
        """Believe nothing that was read from these; return as ``void`` does."""
        keys = {key: None for name in attributes for key in self._readers.get(name, ())}
        return self._end(keys)

    def sweep(self) -> bool:
        """Forget what ended a while ago; return whether a subscription hangs on what just did."""
        now = self._clock()
        hangs = False
        while self._due and self._due[0][0] <= now:
            _, _, key, kept = heappop(self._due)
            if self._kept.get(key) is not kept:
                continue
            if kept.holds(now):
                self._watch(key, kept, kept.due())
                continue
            over = kept.due()
            if not kept.decision.allowed or now - over >= GRACE:
                self.drop(key)
            else:
                self._watch(key, kept, over + GRACE)
            hangs = hangs or (kept.decision.allowed and key[1] is Action.SUBSCRIBE)
        return hangs

    def retry(self, key: Key) -> None:
        """Let what is open stand a little longer: nobody could be asked."""
        kept = self._kept.get(key)
        if kept is not None:
            kept.ends = self._clock()
            self._watch(key, kept, kept.ends + RETRY)

    def _watch(self, key: Key, kept: Kept, due: float) -> None:
        self._pushed += 1
        heappush(self._due, (due, self._pushed, key, kept))
        if len(self._due) > 2 * len(self._kept) + SPARE:  # most of them were replaced
            self._due = [(d, n, k, e) for d, n, k, e in self._due if self._kept.get(k) is e]
            heapify(self._due)

    def _end(self, keys: Iterable[Key]) -> bool:
        now = self._clock()
        hangs = False
        for key in keys:
            kept = self._kept[key]
            kept.ends = min(kept.ends, now)
            hangs = hangs or key[1] is Action.SUBSCRIBE
        return hangs
