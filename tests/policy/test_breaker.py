"""Breakers open and probe, ejections keep their share, retries stay within their budget."""

from hypothesis import example, given
from hypothesis import strategies as st

from policy.quality.breaker import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    WINDOW,
    Breaker,
    Ejections,
    Guard,
    RetryBudget,
)
from policy.quality_rules import Breaker as Rule
from policy.quality_rules import Outlier, Retries

NOW = 10.0
RULE = Rule(failures=2, open=4.0, maximum=10.0, probes=1)


def steady() -> float:
    return 1.0


def opened(rule: Rule = RULE) -> Breaker:
    breaker = Breaker(rule, steady)
    for _ in range(rule.failures):
        breaker.failed(NOW)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(RULE, steady)
    for _ in range(5):
        breaker.failed(NOW)
        breaker.succeeded()
    breaker.failed(NOW)
    assert breaker.ok(NOW)
    breaker.failed(NOW)
    assert not breaker.ok(NOW)
    assert breaker.state(NOW) == OPEN


def test_a_probe_closes_it_or_opens_it_for_longer() -> None:
    breaker, now = opened(), NOW
    for seconds in (4.0, 8.0, 10.0, 10.0):
        assert not breaker.ok(now + seconds - 0.1)
        now += seconds
        assert breaker.state(now) == HALF_OPEN
        assert breaker.ok(now)
        breaker.begin(now)
        assert breaker.state(now) == HALF_OPEN
        assert not breaker.ok(now)
        breaker.failed(now)
    now += 10
    breaker.begin(now)
    breaker.succeeded()
    assert breaker.state(now) == CLOSED
    breaker.begin(now)
    breaker.dropped()
    breaker.failed(now)
    breaker.failed(now)
    assert not breaker.ok(now + 3.9)
    assert breaker.ok(now + 4)


def test_a_dropped_probe_makes_room_for_another() -> None:
    breaker = opened()
    breaker.begin(NOW + 4)
    breaker.dropped()
    assert breaker.ok(NOW + 4)
    breaker.dropped()
    assert breaker.ok(NOW + 4)


def test_answers_to_calls_of_before_do_not_close_it() -> None:
    breaker = opened()
    breaker.succeeded()
    breaker.failed(NOW)
    breaker.begin(NOW)
    assert breaker.state(NOW) == OPEN


@given(st.floats(0, 0.999), st.integers(0, 40))
def test_the_wait_is_jittered_doubled_and_bounded(jitter: float, again: int) -> None:
    breaker, now, seconds = Breaker(RULE, lambda: jitter), NOW, 4.0
    for _ in range(2):
        breaker.failed(now)
    for _ in range(again):
        now = breaker.until
        breaker.begin(now)
        breaker.failed(now)
        seconds = min(10.0, seconds * 2)
    assert seconds / 2 <= breaker.until - now + 1e-9
    assert breaker.until - now <= seconds


@given(
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.floats(0, 5)), max_size=80),
)
def test_never_more_than_the_share_is_ejected(
    endpoints: int, share: float, steps: list[tuple[int, bool, float]]
) -> None:
    ejections, now = Ejections(Outlier(failures=2, seconds=10, share=share)), NOW
    keys = [str(n) for n in range(endpoints)]
    for number, well, pause in steps:
        now += pause
        key = keys[number % endpoints]
        if well:
            ejections.succeeded(key, now)
        else:
            ejections.failed(key, now, endpoints)
        out = [k for k in keys if not ejections.ok(k, now)]
        assert len(out) <= share * endpoints


def test_an_endpoint_is_ejected_for_its_time() -> None:
    ejections = Ejections(Outlier(failures=2, seconds=10, share=0.5))
    for _ in range(2):
        ejections.failed("a", NOW, 2)
        ejections.succeeded("b", NOW)
    assert not ejections.ok("a", NOW + 9)
    assert ejections.ok("b", NOW)
    assert ejections.ok("a", NOW + 10)


def test_a_guard_asks_both() -> None:
    guard = Guard("a", opened(), Ejections(Outlier(failures=1, seconds=20, share=1.0)))
    assert not guard.ok(NOW)
    assert guard.blocks(NOW) == 4.0
    assert guard.ok(NOW + 4)
    assert guard.blocks(NOW + 4) == 0.0
    guard.begin(NOW + 4)
    assert guard.blocks(NOW + 4) == 1.0
    guard.dropped()
    guard.begin(NOW + 4)
    guard.failed(NOW + 4, 1)
    assert not guard.ok(NOW + 23)
    guard.succeeded(NOW)
    assert guard.ok(NOW + 24)


def test_a_guard_without_rules_lets_everything_pass() -> None:
    guard = Guard("a", None, None)
    guard.begin(NOW)
    guard.failed(NOW, 1)
    guard.succeeded(NOW)
    guard.dropped()
    assert guard.ok(NOW)
    assert guard.blocks(NOW) == 0.0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0, 8)), max_size=30))
@example([(1, 0, 0.0), (0, 0, 4.0), (1, 0, 8.0), (3, 2, 8.0)])  # one call is 20 seconds old
def test_retries_stay_within_their_share(steps: list[tuple[int, int, float]]) -> None:
    rule = Retries(budget=0.2, minimum=0.1)
    budget, now, calls, retried = RetryBudget(rule), NOW, list[float](), list[float]()
    for count, retries, pause in steps:
        now += pause
        for _ in range(count):
            budget.called(now)
            calls.append(now)
        for _ in range(retries):
            if budget.retry(now):
                retried.append(now)
        # A window begins with a call: the one before it may have begun nearly three ago.
        recent = sum(at > now - 3 * WINDOW for at in calls)
        assert sum(at > now - WINDOW for at in retried) <= 0.2 * recent + 1


def test_a_budget_that_nobody_uses_is_as_good_as_new() -> None:
    budget = RetryBudget(Retries(budget=0, minimum=0))
    assert budget.is_idle(NOW)
    assert not budget.retry(NOW)
    assert not budget.is_idle(NOW + 19)
    assert budget.is_idle(NOW + 20)
