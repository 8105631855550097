"""Which endpoints are left alone for a while, and how much may be tried again. Pure.

A circuit breaker stops traffic to an endpoint that fails (S3 III-B), outlier ejection takes
the worst of several out, a retry budget keeps retries from becoming the load that harms.
"""

from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr

from policy.quality_rules import Breaker as BreakerRule
from policy.quality_rules import Outlier, Retries

CLOSED: Final = 0
OPEN: Final = 1
HALF_OPEN: Final = 2
STATES: Final = ("closed", "open", "half-open")

WINDOW: Final = 10.0
"""Seconds over which a retry budget looks back, once to twice."""


class Breaker:
    """The circuit breaker of one endpoint; ``random`` returns numbers in [0, 1).

    Open for ``rule.open`` seconds at first, twice as long after each failed probe; of that the
    second half is random, so that breakers that opened together do not probe together.
    """

    __slots__ = ("_failures", "_opened", "_probing", "_random", "_rule", "_state", "until")

    def __init__(self, rule: BreakerRule, random: Callable[[], float]) -> None:
        self._rule = rule
        self._random = random
        self._state = CLOSED
        self._failures = 0
        self._opened = 0
        self._probing = 0
        self.until = 0.0
        """When an open breaker lets probes pass."""

    def state(self, now: float) -> int:
        """Return CLOSED, OPEN or HALF_OPEN."""
        if self._state == OPEN and now >= self.until:
            return HALF_OPEN
        return self._state

    def ok(self, now: float) -> bool:
        """Return whether a call may pass now."""
        if self._state == CLOSED:
            return True
        return now >= self.until and self._probing < self._rule.probes

    def begin(self, now: float) -> None:
        """A call passes: ``ok`` said that it may. Say next what became of it."""
        if self._state != CLOSED and now >= self.until:
            self._state = HALF_OPEN
            self._probing += 1

    def succeeded(self) -> None:
        """The endpoint is well."""
        if self._state != OPEN:  # an answer to a call of before says nothing about now
            self._state = CLOSED
            self._failures = self._opened = self._probing = 0

    def failed(self, now: float) -> None:
        """The endpoint failed."""
        if self._state == CLOSED:
            self._failures += 1
            if self._failures >= self._rule.failures:
                self._trip(now)
        elif self._state == HALF_OPEN:
            self._trip(now)

    def dropped(self) -> None:
        """A call ended that says nothing about the endpoint."""
        if self._state == HALF_OPEN and self._probing:
            self._probing -= 1

    @property
    def calm(self) -> bool:
        """Whether nothing is amiss."""
        return self._state == CLOSED and not self._failures

    def _trip(self, now: float) -> None:
        seconds = min(self._rule.open * 2.0 ** min(self._opened, 30), self._rule.maximum)
        self._opened += 1
        self._failures = self._probing = 0
        self._state = OPEN
        self.until = now + seconds * (0.5 + 0.5 * self._random())


@mypyc_attr(native_class=False)  # weak references need an ordinary class
class Ejections:
    """Which endpoints of one name are ejected: never more than the rule's share at once."""

    __slots__ = ("__weakref__", "_failures", "_rule", "_until")

    def __init__(self, rule: Outlier) -> None:
        self._rule = rule
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def ok(self, endpoint: str, now: float) -> bool:
        """Return whether an endpoint is not ejected."""
        return not self._until or now >= self._until.get(endpoint, 0.0)

    def succeeded(self, endpoint: str, now: float) -> bool:
        """An endpoint answered: its failures are forgotten, an ejection lasts; is it over?"""
        self._failures.pop(endpoint, None)
        return self.ok(endpoint, now)

    def failed(self, endpoint: str, now: float, endpoints: int) -> None:
        """Count a failure of one of ``endpoints``; eject it if that was one too many."""
        failures = self._failures.get(endpoint, 0) + 1
        self._failures[endpoint] = failures
        if failures < self._rule.failures:
            return
        self._until = {e: until for e, until in self._until.items() if until > now}
        if len(self._until) + 1 <= self._rule.share * endpoints:
            self._until[endpoint] = now + self._rule.seconds
            del self._failures[endpoint]


@mypyc_attr(native_class=False)  # weak references need an ordinary class
class Guard:
    """What protects callers from one endpoint of one name: its breaker and its ejection.

    ``key`` names the endpoint among those of the name. While it is ``calm`` nothing is amiss: it
    need not be asked, nor told of anything but failures.
    """

    __slots__ = ("__weakref__", "breaker", "calm", "ejections", "key")

    def __init__(self, key: str, breaker: Breaker | None, ejections: Ejections | None) -> None:
        self.key = key
        self.calm = True
        self.breaker = breaker
        self.ejections = ejections

    def ok(self, now: float) -> bool:
        """Return whether a call may go to the endpoint."""
        return (self.breaker is None or self.breaker.ok(now)) and (
            self.ejections is None or self.ejections.ok(self.key, now)
        )

    def blocks(self, now: float) -> float:
        """Return for how many seconds the breaker lets nothing pass; 0.0: it does."""
        breaker = self.breaker
        if breaker is None or breaker.ok(now):
            return 0.0
        return max(breaker.until - now, 1.0)

    def begin(self, now: float) -> None:
        """A call goes to the endpoint."""
        if self.breaker is not None:
            self.breaker.begin(now)

    def succeeded(self, now: float) -> None:
        """The endpoint is well."""
        calm = True
        if self.breaker is not None:
            self.breaker.succeeded()
            calm = self.breaker.calm
        if self.ejections is not None:
            calm = self.ejections.succeeded(self.key, now) and calm
        self.calm = calm

    def failed(self, now: float, endpoints: int) -> None:
        """The endpoint, one of ``endpoints``, failed."""
        self.calm = False
        if self.breaker is not None:
            self.breaker.failed(now)
        if self.ejections is not None:
            self.ejections.failed(self.key, now, endpoints)

    def dropped(self) -> None:
        """A call ended that says nothing about the endpoint."""
        if self.breaker is not None:
            self.breaker.dropped()


class RetryBudget:
    """Retries as a share of the calls of the last seconds, and a few in any case."""

    __slots__ = ("_before", "_calls", "_ends", "_retried", "_retries", "rule")

    def __init__(self, rule: Retries) -> None:
        self.rule = rule
        self._ends = 0.0
        self._calls = self._before = 0
        self._retries = self._retried = 0

    def called(self, now: float) -> None:
        """Count a call."""
        if now >= self._ends:
            self._roll(now)
        self._calls += 1

    def retry(self, now: float) -> bool:
        """Take a retry from the budget; False when it is used up."""
        if now >= self._ends:
            self._roll(now)
        allowed = self.rule.budget * (self._calls + self._before) + self.rule.minimum * WINDOW
        if self._retries + self._retried + 1 > allowed:
            return False
        self._retries += 1
        return True

    def is_idle(self, now: float) -> bool:
        """Return whether it is as good as new."""
        return now >= self._ends + WINDOW

    def _roll(self, now: float) -> None:
        recent = now < self._ends + WINDOW
        self._before = self._calls if recent else 0
        self._retried = self._retries if recent else 0
        self._calls = self._retries = 0
        self._ends = now + WINDOW
