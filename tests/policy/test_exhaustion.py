"""When a method nears exhaustion: errors, latency and queues over lots of calls."""

import pytest

from policy.quality.exhaustion import Watch
from policy.quality_rules import Shed

NOW = 100.0


def watched(rule: Shed, calls: int, failed: int = 0, slow: int = 0, waiting: int = 0) -> Watch:
    watch = Watch(rule, NOW)
    for number in range(calls):
        seconds = 0.6 if number < slow else 0.01
        watch.observe(seconds, failed=number < failed, waiting=waiting if number == 0 else 0)
    return watch


@pytest.mark.parametrize(
    ("rule", "how", "why"),
    [
        (Shed(errors=0.5), {"failed": 50}, "50 of 100 calls failed"),
        (Shed(errors=0.5), {"failed": 49}, ""),
        (Shed(p99=500), {"slow": 2}, "2 of 100 calls took more than 500 ms"),
        (Shed(p99=500), {"slow": 1}, ""),
        (Shed(queue=5), {"waiting": 5}, "5 calls wait for a place"),
        (Shed(queue=5), {"waiting": 4}, ""),
        (Shed(), {"failed": 100, "slow": 100, "waiting": 100}, ""),
    ],
)
def test_what_a_rule_asks(rule, how, why):
    watch = watched(rule, 100, **how)
    assert watch.verdict(NOW + 2) == why
    assert watch.rate == 50
    assert watch.verdict(NOW + 4) == ""


def test_few_calls_are_no_reason():
    watch = watched(Shed(errors=0.1, calls=20), 19, failed=19)
    assert watch.verdict(NOW + 9) == ""
    assert watch.verdict(NOW + 10) == ""
    watch.observe(0.0, failed=True, waiting=0)
    assert watch.verdict(NOW + 30) == "", "those of before are forgotten"


def test_a_lot_is_a_second_at_least():
    watch = watched(Shed(errors=0.1), 100, failed=100)
    assert watch.verdict(NOW + 0.5) == ""
    assert watch.verdict(NOW + 1.0)
