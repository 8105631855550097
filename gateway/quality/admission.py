"""Admission: what a QualityPolicy lets pass, of whom and how much of it (S3 III-B).

A Route that a policy covers has a Gate; the Gate has a Lane for each principal, compiled at its
first message and kept until policies change. What limiters remember lies in one bounded store:
strangers can fill it, but neither make it grow nor take from others what they have left.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol
from weakref import WeakValueDictionary

from gateway.quality.places import Held, Places, Quality, State, Throttled, Ticket, Waiting, metered
from policy.access.roles import is_subject
from policy.model import Principal, QualityPolicy
from policy.patterns import PatternIndex
from policy.quality.breaker import Breaker, Ejections, Guard, RetryBudget
from policy.quality.concurrency import NORMAL, ConcurrencyLimit
from policy.quality.exhaustion import Watch
from registry.names import Name

STATES = 65_536
"""Flows that limits are remembered of."""
LOOKS: Final = 64
"""How many of these are looked at for one that is as good as new, when there is no more room."""
WATCHED = 4096
"""Names that are watched for exhaustion at once."""
LANES = 16_384
"""Lanes that are kept compiled."""

Key = tuple[str, int, str, str, str]


class Gated(Protocol):
    """What has a gate: a Route."""

    gate: "Gate | None"

    @property
    def name(self) -> Name:
        """The name that it is the Route of."""
        ...


def claimed(principal: Principal) -> Iterable[str]:
    """Return the roles that a principal's credential says it has."""
    return principal.roles


class Lane:
    """What the policies say about one principal at one name.

    ``limiters`` are shared as the policies' ``per`` says, ``bound`` are the policies whose limits
    each endpoint has for itself.
    """

    __slots__ = (
        "_admission",
        "_sole",
        "_targets",
        "bound",
        "budget",
        "clock",
        "key",
        "limiters",
        "limits",
        "only",
        "only_rates",
        "priority",
        "states",
        "timed",
        "timeout",
        "urgent",
        "watches",
        "weighs",
    )

    def __init__(self, admission: "Admission", key: tuple[Name, str], found: Sequence[Quality]):
        self._admission = admission
        self.clock = admission.clock
        self.key = key
        name, principal = key
        self.bound = [q for q in found if "binding" in q.spec.per and _limits_each(q.spec)]
        rest = [q for q in found if q not in self.bound]
        self.states = [admission.state(q, principal, name, "") for q in rest]
        self.limiters = metered(self.states)
        self.limits = [s.limit for s in self.states if s.limit is not None]
        said = [q.spec.priority for q in found if q.spec.priority is not None]
        self.priority = max(said, default=NORMAL)
        self.urgent = self.priority > NORMAL
        budgets = (s.budget for s in self.states if s.budget is not None)
        self.budget: RetryBudget | None = next(budgets, None)
        timeouts = (q.spec.timeout / 1000 for q in found if q.spec.timeout)
        self.timeout = next(timeouts, 0.0)
        self._sole = self.limiters[0] if len(self.limiters) == 1 else None
        self.weighs = any(limiter.weighs for _, limiter in self.limiters)
        self.only = self.limits[0] if len(self.limits) == 1 else None
        self.watches = [admission.watch(q, name) for q in found if q.spec.shed is not None]
        self.timed = bool(self.watches) or any(limit.adaptive for limit in self.limits)
        self.only_rates = not (self.bound or self.limits or self.budget or self.timed)
        """A call has nothing to give back when it ends."""
        self._targets: dict[object, list[State]] = {}

    def ticket(self, waiting: Waiting) -> Ticket:
        """Return what a call needs before it is sent, not entered yet."""
        return Ticket(self._admission, self.limits, self.priority, waiting)

    def throttle(self, size: int) -> Throttled | None:
        """Commit a message of ``size`` bytes to every limiter, or to none and say why not."""
        sole = self._sole
        if sole is None:
            return self._admission.throttle(self.limiters, size, urgent=self.urgent)
        wait = sole[1].enter(self.clock(), size, self.urgent)
        return self._admission.refusal(sole[0], wait) if wait else None

    def leave(self, limit: ConcurrencyLimit, seconds: float) -> None:
        """Give a place back; ``seconds`` as for the limit."""
        waiters = limit.leave(seconds)
        if waiters:
            self._admission.let_in(waiters)

    def pace(self, size: int, most: float) -> float:
        """Commit a message on credit; return for how many seconds to take no more.

        That is for senders who cannot be told. More than ``most`` seconds of credit nobody has:
        then nothing is committed.
        """
        now = self._admission.clock()
        wait = 0.0
        for policy, limiter in self.limiters:
            late = limiter.wait(now, size, self.urgent)
            if late:
                self._admission.count(policy)
                wait = max(wait, late)
        if wait <= most:
            for _, limiter in self.limiters:
                limiter.take(now, size)
        return wait

    def settle(self, size: int, received: int, sent: int) -> None:
        """A message that was let in with ``size`` bytes ended: commit what else came and went."""
        more = sent + received - size if received > size else sent
        if more:
            now = self.clock()
            for _, limiter in self.limiters:
                limiter.owe(now, more)

    def bind(self, target: object, label: str, size: int) -> Throttled | Held:
        """Admit a call to one endpoint, by the limits that each endpoint has for itself."""
        states = self._targets.get(target)
        if states is None or any(state.gone for state in states):
            name, principal = self.key
            state_of = self._admission.state
            states = [state_of(q, principal, name, label) for q in self.bound]
            self._targets[target] = states
        limits = [s.limit for s in states if s.limit is not None]
        for number, limit in enumerate(limits):
            if not limit.enter(self.priority):
                for taken in limits[:number]:
                    self._admission.let_in(taken.leave())
                return Throttled("the endpoint has as many calls as a quality policy allows", 1.0)
        refusal = self._admission.throttle(metered(states), size, urgent=self.urgent)
        held = Held(self._admission, limits)
        if refusal is not None:
            held.end()
            return refusal
        return held

    def observe(self, seconds: float, *, failed: bool) -> None:
        """Tell who watches for exhaustion that a call ended."""
        waiting = sum(limit.waits for limit in self.limits)
        for watch in self.watches:
            watch.observe(seconds, failed=failed, waiting=waiting)

    def is_current(self) -> bool:
        """Return whether all that it refers to is still kept."""
        return not any(state.gone for state in self.states)


class Gate:
    """What covers one name: a lane for each principal."""

    __slots__ = ("_admission", "_lanes", "_name", "_qualities")

    def __init__(self, admission: "Admission", name: Name, qualities: Sequence[Quality]) -> None:
        self._admission = admission
        self._name = name
        self._qualities = qualities
        self._lanes: dict[Principal, Lane] = {}

    def lane(self, principal: Principal) -> Lane:
        """Return the lane of a principal."""
        lane = self._lanes.get(principal)
        if lane is None or (self._admission.evictions and not lane.is_current()):
            lane = self._compile(principal)
        return lane

    def clear(self) -> None:
        """Forget the lanes; what limiters know stays."""
        self._lanes.clear()

    def _compile(self, principal: Principal) -> Lane:
        admission = self._admission
        roles = admission.roles_of(principal)
        found = [
            q
            for q in self._qualities
            if any(is_subject(s, principal, roles) for s in q.spec.subjects)
        ]
        crowded = admission.overflows
        lane = Lane(admission, (self._name, principal.id), found)
        if admission.overflows == crowded:  # else it shares what it should have for itself
            admission.remember(self)
            self._lanes[principal] = lane
        return lane


class Admission(Places):
    """The quality policies of a site at work; ``clock`` is the loop's time in seconds."""

    def __init__(
        self,
        qualities: PatternIndex[Quality],
        clock: Callable[[], float],
        random: Callable[[], float],
        roles_of: Callable[[Principal], Iterable[str]] = claimed,
        states: int = STATES,
    ) -> None:
        super().__init__(clock)
        self.roles_of = roles_of
        self.evictions = 0
        self.overflows = 0
        self.watches: dict[tuple[str, int, Name], Watch] = {}
        self._qualities = qualities
        self._random = random
        self._room = states
        self._states: dict[Key, State] = {}
        self._shared: dict[tuple[str, int], State] = {}
        self._lanes = 0
        self._used: dict[Gate, None] = {}
        self._guards: WeakValueDictionary[tuple[Name, str, object], Guard]
        self._guards = WeakValueDictionary()
        self._ejections: WeakValueDictionary[tuple[Name, object], Ejections]
        self._ejections = WeakValueDictionary()

    # What the compiler and the site call

    def gate_of(self, name: Name) -> Gate | None:
        """Return the gate of a name; None when no policy covers it."""
        found = sorted(self._qualities.matching(name), key=lambda q: q.name)
        unique = list({q.name: q for q in found}.values())
        return Gate(self, name, unique) if unique else None

    def guard_of(self, name: Name, endpoint: str) -> Guard | None:
        """Return what guards callers of a name from one endpoint: of the most specific policy."""
        found = list(self._qualities.matching(name))
        breaks = next((q for q in found if q.spec.breaker is not None), None)
        ejects = next((q for q in found if q.spec.outlier is not None), None)
        if breaks is None and ejects is None:
            return None
        rules = (breaks and breaks[:2], ejects and ejects[:2])
        guard = self._guards.get((name, endpoint, rules))
        if guard is None:
            breaker = None
            if breaks is not None and breaks.spec.breaker is not None:
                breaker = Breaker(breaks.spec.breaker, self._random)
            guard = Guard(endpoint, breaker, self._ejections_of(name, ejects))
            self._guards[name, endpoint, rules] = guard
        return guard

    def breakers(self) -> list[Breaker]:
        """Return the circuit breakers of all endpoints that have one."""
        guards = tuple(self._guards.values())
        return [guard.breaker for guard in guards if guard.breaker is not None]

    def forget(self, own: Iterable[Gated] = ()) -> None:
        """Policies or roles changed: lanes are compiled anew; what limiters know stays.

        States of policies that are no more get idle, and give way when room is needed. ``own``
        are the site's own routes, which nothing compiles.
        """
        self._clear()
        for route in own:
            route.gate = self.gate_of(route.name)
        kept = {(q.name, q.revision) for q in self._qualities}
        self._shared = {key: s for key, s in self._shared.items() if key in kept}
        names = {name for name, _ in kept}
        self.throttled = {n: count for n, count in self.throttled.items() if n in names}

    # What lanes call

    def state(self, quality: Quality, principal: str, name: str, endpoint: str) -> State:
        """Return what a policy remembers of a flow."""
        per = quality.spec.per
        key = (
            quality.name,
            quality.revision,
            principal if "principal" in per else "",
            name if "name" in per else "",
            endpoint,
        )
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= self._room and not self._make_room():
                self.overflows += 1
                return self._shared.setdefault(key[:2], State(quality))
            state = self._states[key] = State(quality)
        return state

    def watch(self, quality: Quality, name: Name) -> Watch:
        """Return who watches a name for exhaustion, as a policy wants it."""
        key = (quality.name, quality.revision, name)
        watch = self.watches.get(key)
        if watch is None:
            assert quality.spec.shed is not None
            if len(self.watches) >= WATCHED:
                del self.watches[next(iter(self.watches))]
            watch = self.watches[key] = Watch(quality.spec.shed, self.clock())
        return watch

    def quality(self, name: Name, policy: str) -> Quality | None:
        """Return a policy that covers a name."""
        return next((q for q in self._qualities.matching(name) if q.name == policy), None)

    def remember(self, gate: Gate) -> None:
        """Count a lane that a gate keeps; too many are forgotten at once."""
        if self._lanes >= LANES:
            self._clear()
        self._lanes += 1
        self._used[gate] = None

    # Inside

    def _clear(self) -> None:
        used, self._used = self._used, {}
        self._lanes = 0
        for gate in used:
            gate.clear()

    def _make_room(self) -> bool:
        """Forget a state that is as good as new; what is not goes to the end of the line."""
        now, states = self.clock(), self._states
        for _ in range(min(LOOKS, len(states))):
            key = next(iter(states))
            state = states.pop(key)
            if state.is_idle(now):
                state.gone = True
                self.evictions += 1
                return True
            states[key] = state
        return False

    def _ejections_of(self, name: Name, quality: Quality | None) -> Ejections | None:
        if quality is None or quality.spec.outlier is None:
            return None
        key = (name, quality[:2])
        ejections = self._ejections.get(key)
        if ejections is None:
            ejections = self._ejections[key] = Ejections(quality.spec.outlier)
        return ejections


def _limits_each(spec: QualityPolicy) -> bool:
    return spec.messages is not None or spec.bytes is not None or spec.concurrency is not None
