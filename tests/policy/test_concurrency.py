"""Places and queues: never more than the limit, the best claim first, nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from policy.quality.concurrency import NORMAL, ConcurrencyLimit, Gradient, Waiter
from policy.quality_rules import Concurrency

NOW = 50.0


def limit(places: int, queue: int = 0, reserve: float = 0.0) -> ConcurrencyLimit:
    return ConcurrencyLimit(Concurrency(places, queue, wait=2.0), reserve)


@given(
    st.integers(1, 5),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.4]),
    st.lists(st.tuples(st.sampled_from(["enter", "leave", "withdraw"]), st.integers(0, 10))),
)
def test_it_does_what_a_sorted_list_does(
    places: int, queue: int, reserve: float, steps: list[tuple[str, int]]
) -> None:
    tested, line, busy = limit(places, queue, reserve), list[Waiter](), 0
    ordinary = max(1, places - int(places * reserve))

    def room(priority: int) -> bool:
        return busy < (places if priority > NORMAL else ordinary)

    for step, priority in steps:
        if step == "enter":
            ahead = any(w.priority >= priority for w in line)
            entered = tested.enter(priority)
            assert entered == (room(priority) and not ahead)
            busy += entered
            if not entered:
                waiter = Waiter(priority, NOW)
                line.append(waiter)
                worst = min(reversed(line), key=lambda w: w.priority)
                loser = tested.wait(waiter)
                assert loser is (worst if len(line) > queue else None)
                if loser is not None:
                    line.remove(loser)
        elif step == "withdraw" and line:
            tested.withdraw(line.pop(priority % len(line)))
        elif step == "leave" and busy:
            busy -= 1
            expected = []
            for waiter in sorted(line, key=lambda w: -w.priority):
                if not room(waiter.priority):
                    break
                busy += 1
                expected.append(waiter)
                line.remove(waiter)
            assert tested.leave() == expected
        assert (tested.busy, tested.waits) == (busy, len(line))
        assert tested.is_idle() == (not busy and not line)


def test_who_waited_long_enough_is_taken_out() -> None:
    tested = limit(1, 5)
    tested.enter(NORMAL)
    waiters = [Waiter(p, NOW + s) for p, s in ((5, 1), (5, 2), (7, 1))]
    for waiter in waiters:
        assert tested.wait(waiter) is None
    assert tested.overdue(NOW) == []
    assert tested.overdue(NOW + 1) == [waiters[0], waiters[2]]
    assert tested.leave() == [waiters[1]]


def test_the_urgent_take_reserved_places_but_not_before_those_as_urgent() -> None:
    tested = limit(2, 5, reserve=0.5)
    assert tested.enter(NORMAL)
    assert not tested.enter(NORMAL)
    tested.wait(Waiter(NORMAL, NOW))
    assert tested.enter(7)
    urgent = Waiter(7, NOW)
    tested.wait(urgent)
    assert tested.leave() == [urgent]


def test_in_a_full_queue_the_least_and_latest_gives_way() -> None:
    tested = limit(1, 2)
    tested.enter(NORMAL)
    low, later, high, same = (Waiter(p, NOW) for p in (3, 3, 7, 3))
    assert tested.wait(low) is None
    assert tested.wait(later) is None
    assert tested.wait(high) is later
    assert tested.wait(same) is same
    assert tested.leave() == [high]
    assert tested.leave() == [low]


def test_withdrawing_somebody_who_does_not_wait_changes_nothing() -> None:
    tested, waiter = limit(1, 1), Waiter(5, NOW)
    tested.withdraw(waiter)
    tested.enter(5)
    tested.wait(waiter)
    tested.leave()
    tested.withdraw(waiter)
    assert (tested.busy, tested.waits) == (1, 0)


def test_an_adaptive_limit_sinks_when_calls_get_slow_and_comes_back() -> None:
    tested = ConcurrencyLimit(Concurrency(100, adaptive=True, minimum=2))

    def run(seconds: float, calls: int) -> int:
        for _ in range(calls):
            while tested.enter(5):
                pass
            tested.leave(seconds)
        return tested.limit

    assert tested.limit == 20
    assert run(0.01, 300) == 100
    assert run(0.2, 60) < 30
    assert run(0.01, 400) == 100
    tested.leave()
    assert tested.limit == 100


def test_a_gradient_keeps_its_bounds() -> None:
    gradient = Gradient(4, 10)
    assert gradient.limit == 10
    for _ in range(50):
        gradient.observe(0.0, 10)
    assert gradient.limit == 10
    for seconds in (0.001,) * 20 + (5.0,) * 200:
        gradient.observe(seconds, 100)
        assert 4 <= gradient.limit <= 10
    before = gradient.limit
    gradient.observe(1.0, 0)  # idle: nothing is learnt
    assert gradient.limit == before
