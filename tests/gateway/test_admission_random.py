"""Random orders of everything that can happen to calls under quality policies.

What holds without them holds with them, and every place, probe and ticket is given back.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from gateway.message import Status
from policy.model import QualityPolicy, Subject
from policy.quality_rules import Breaker, Concurrency, Outlier, Rate, Retries
from tests.gateway.play import BOB, Stage
from tests.gateway.test_admission import Guarded
from tests.gateway.test_exchange_random import Calls

EVERY = ("**",)
PER = st.sampled_from([(), ("principal",), ("name",), ("principal", "name")])
POLICIES = st.one_of(
    st.builds(
        lambda per, limit, queue, reserve: QualityPolicy(
            EVERY, per=per, concurrency=Concurrency(limit, queue, wait=0.5), reserve=reserve
        ),
        PER,
        st.integers(1, 3),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.5]),
    ),
    st.builds(
        lambda limit, adaptive: QualityPolicy(
            EVERY, per=("binding",), concurrency=Concurrency(limit, adaptive=adaptive)
        ),
        st.integers(1, 3),
        st.booleans(),
    ),
    st.builds(lambda per: QualityPolicy(EVERY, per=per, messages=Rate(3), bytes=Rate(1e5)), PER),
    st.just(QualityPolicy(EVERY, breaker=Breaker(failures=2, open=1), outlier=Outlier(2, 1.0))),
    st.just(QualityPolicy(EVERY, retries=Retries(2, 0.5, 1.0), timeout=3000)),
    st.just(QualityPolicy(EVERY, (Subject(BOB.id),), priority=9)),
)


class GuardedCalls(Calls):
    """The same calls, with quality policies about them."""

    @initialize(policies=st.lists(POLICIES, min_size=1, max_size=3), room=st.sampled_from([2, 99]))
    def guard(self, policies: list[QualityPolicy], room: int) -> None:
        self.guarded = Guarded(*policies, states=room)
        self.begin()

    def new_stage(self) -> Stage:
        return getattr(self, "guarded", None) or Guarded()

    @invariant()
    def no_more_is_under_way_than_there_are_places(self) -> None:
        for state in self.guarded.admission._states.values():
            limit = state.limit
            if limit is not None:
                assert 0 <= limit.busy <= 100
                assert 0 <= limit.waits <= state.quality.spec.concurrency.queue

    def teardown(self) -> None:
        if not hasattr(self, "guarded"):
            return
        while attempts := self._open():
            for attempt in attempts:
                attempt.over = True
                attempt.answer.failed(Status.TOO_LARGE, "teardown", written=True)
        for _ in range(3):
            self.stage.plane.sweep(1e9)
        assert not self.stage.plane.live
        for state in self.guarded.admission._states.values():
            assert state.limit is None or state.limit.is_idle()
        assert not self.guarded.admission.queues


TestGuardedCalls = GuardedCalls.TestCase
TestGuardedCalls.settings = settings(max_examples=60, stateful_step_count=40)
