"""Back-off after failures: by source and by user, and never against a source that is new."""

from hypothesis import given
from hypothesis import strategies as st

from policy.identity import backoff
from policy.identity.backoff import Backoff, source_of


def fail(waits: Backoff, source: str, user: str, times: int, now: float = 0.0) -> float:
    for _ in range(times):
        last = waits.failed(source, user, now)
    return last


def test_some_failures_are_free_then_waits_double() -> None:
    waits = Backoff(free=5, first=1.0, longest=300.0)
    assert waits.wait("10.0.0.1", "ann", 0.0) == 0
    assert fail(waits, "10.0.0.1", "ann", 5) == 0
    assert [fail(waits, "10.0.0.1", "ann", 1) for _ in range(10)] == [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 300,
    ]  # fmt: skip
    assert waits.wait("10.0.0.1", "ann", 100.0) == 200
    assert waits.wait("10.0.0.1", "ann", 300.0) == 0
    assert waits.wait("10.0.0.1", "bob", 0.0) == 0
    assert fail(waits, "10.0.0.1", "ann", 1, now=300.0 + backoff.FORGET) == 0


def test_one_source_with_many_users_waits() -> None:
    waits = Backoff(free=5)
    for user in range(20):
        assert waits.failed("10.0.0.1", str(user), 0.0) == 0
    assert waits.failed("10.0.0.1", "x", 0.0) == 1
    assert waits.wait("10.0.0.1", "somebody new", 0.0) == 1
    assert waits.wait("10.0.0.2", "somebody new", 0.0) == 0
    waits.succeeded("10.0.0.1", "x")
    assert waits.wait("10.0.0.1", "ann", 0.0) == 1


def test_without_a_user_only_the_source_counts() -> None:
    waits = Backoff(free=5)
    assert fail(waits, "10.0.0.1", "", 20) == 0
    assert fail(waits, "10.0.0.1", "", 1) == 1


def test_a_user_who_is_attacked_from_everywhere_is_not_locked_out() -> None:
    waits = Backoff(free=5)
    for source in range(500):
        assert waits.wait(f"10.0.{source}", "ann", 0.0) == 0
        waits.failed(f"10.0.{source}", "ann", 0.0)
    assert waits.wait("10.0.499", "ann", 0.0) == 300  # each attacker has had its one try
    assert waits.wait("192.0.2.1", "ann", 0.0) == 0
    waits.succeeded("10.0.499", "ann")
    assert waits.wait("10.0.499", "ann", 0.0) == 0


def test_memory_is_bounded() -> None:
    waits = Backoff()
    for number in range(backoff.ENTRIES + 10):
        waits.failed(str(number), "u" * 1000 + str(number), 0.0)
    assert len(waits) == 2 * backoff.ENTRIES + 1  # the users' names count as one


def test_sources() -> None:
    assert source_of("192.0.2.7") == "192.0.2.7"
    assert source_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert source_of("2001:db8:1:2:3:4:5:6") == source_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert source_of("fe80::1%eth0") == "fe80::/64"
    assert source_of("unix") == "unix"


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["", "u", "v"]), st.floats(0, 2000)),
        max_size=60,
    )
)
def test_waits_are_bounded_and_a_stranger_may_always_try(tries) -> None:
    waits = Backoff(free=2, first=0.5, longest=60.0)
    now = 0.0
    for source, user, pause in tries:
        now += pause
        assert 0 <= waits.failed(source, user, now) <= 60
        assert waits.wait("c", user, now) == 0
