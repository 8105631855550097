"""GCRA for messages and bytes: both or none, bursts, reserves, and what a client is told."""

from hypothesis import given
from hypothesis import strategies as st

from policy.quality.limits import Limiter, retry_after
from policy.quality_rules import Rate

NOW = 1_000.0
RATES = st.none() | st.builds(Rate, st.floats(0.01, 1e6), st.floats(1, 1e6) | st.just(0.0))
STEPS = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10_000)), max_size=60)


class Bucket:
    """A token bucket, which GCRA is equal to (RFC 2697 counts tokens, ITU-T I.371 time)."""

    def __init__(self, rate: Rate | None) -> None:
        self.rate = rate
        self.burst = 0.0 if rate is None else max(rate.burst or rate.rate, 1.0)
        self.tokens = self.burst
        self.at = NOW

    def lacks(self, now: float, amount: float) -> float:
        """Return how many tokens are missing for ``amount``."""
        if self.rate is None:
            return 0.0
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate.rate)
        self.at = now
        return min(amount, self.burst) - self.tokens


@given(RATES, RATES, STEPS)
def test_it_admits_what_two_token_buckets_admit(
    messages: Rate | None, size: Rate | None, steps: list[tuple[float, int]]
) -> None:
    limiter, buckets = Limiter(messages, size), (Bucket(messages), Bucket(size))
    now = NOW
    for pause, length in steps:
        now += pause
        lacks = [b.lacks(now, a) for b, a in zip(buckets, (1, length), strict=True)]
        admitted = limiter.enter(now, length) == 0.0
        clear = all(abs(lack) > 1e-3 for lack in lacks)
        if clear:
            assert admitted == all(lack <= 0 for lack in lacks)
        if admitted:
            buckets[0].tokens -= 1
            buckets[1].tokens -= length


@given(RATES, RATES, STEPS)
def test_after_the_wait_that_it_names_a_message_passes(
    messages: Rate | None, size: Rate | None, steps: list[tuple[float, int]]
) -> None:
    limiter, now = Limiter(messages, size), NOW
    for pause, length in steps:
        now += pause
        wait = limiter.enter(now, length)
        if wait:
            assert limiter.wait(now + wait * 0.99 - 1e-6, length) > 0 or wait < 1e-5
            assert limiter.wait(now + wait + 1e-6, length) == 0.0


def test_a_whole_burst_passes_at_once_and_no_more() -> None:
    limiter = Limiter(Rate(10, 5), None)
    assert [limiter.enter(NOW, 0) for _ in range(5)] == [0.0] * 5
    assert abs(limiter.enter(NOW, 0) - 0.1) < 1e-6
    assert limiter.enter(NOW + 0.1, 0) == 0.0
    assert not limiter.is_idle(NOW + 0.5)
    assert limiter.is_idle(NOW + 0.7)


def test_without_a_burst_it_is_one_second_and_at_least_one_message() -> None:
    fast, slow = Limiter(Rate(3), None), Limiter(Rate(0.5), None)
    assert [fast.enter(NOW, 0) == 0.0 for _ in range(4)] == [True, True, True, False]
    assert [slow.enter(NOW, 0) for _ in range(2)] == [0.0, 2.0]


def test_a_message_that_one_rate_refuses_takes_nothing_from_the_other() -> None:
    limiter = Limiter(Rate(1, 10), Rate(100, 100))
    assert limiter.enter(NOW, 100) == 0.0
    assert all(limiter.enter(NOW, 50) > 0 for _ in range(50))
    assert [limiter.enter(NOW, 0) for _ in range(9)] == [0.0] * 9
    assert limiter.enter(NOW, 0) > 0


def test_a_message_larger_than_the_burst_passes_when_full_and_is_paid_off() -> None:
    limiter = Limiter(None, Rate(100, 100))
    assert limiter.enter(NOW, 1000) == 0.0
    assert abs(limiter.enter(NOW, 1000) - 10.0) < 1e-6
    assert limiter.enter(NOW + 10, 1000) == 0.0


def test_bytes_that_come_later_are_owed() -> None:
    limiter = Limiter(None, Rate(100, 100))
    limiter.owe(NOW, 300)
    limiter.owe(NOW, 100)
    assert abs(limiter.wait(NOW, 0) - 3.0) < 1e-6


def test_only_urgent_messages_use_the_reserve() -> None:
    limiter = Limiter(Rate(1, 10), Rate(1000, 1000), reserve=0.3)
    assert [limiter.enter(NOW, 10) == 0.0 for _ in range(8)] == [True] * 7 + [False]
    assert [limiter.enter(NOW, 10, urgent=True) == 0.0 for _ in range(4)] == [True] * 3 + [False]
    assert limiter.enter(NOW + 10, 200) == 0.0
    assert limiter.wait(NOW + 10, 600) > 0
    assert limiter.wait(NOW + 10, 600, urgent=True) == 0.0


def test_a_client_is_told_whole_seconds() -> None:
    assert [retry_after(w) for w in (0.01, 1.0, 1.2)] == [1, 1, 2]
