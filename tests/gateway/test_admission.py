"""What quality policies let pass: rates, places, priorities, breakers, and bounded memory."""

import pytest

from gateway.exchange import HELD
from gateway.message import Status
from gateway.quality.admission import Admission
from gateway.quality.places import Quality, Throttled
from policy.model import Action, Principal, QualityPolicy, ResolutionPolicy, Subject
from policy.patterns import PatternIndex
from policy.quality_rules import Breaker, Concurrency, Outlier, Rate, Retries, Shed
from registry.model import Method
from registry.names import Pattern
from tests.gateway.play import ANN, AUTHORITY, BOB, Stage, answer

OPERATOR = Principal("user:op", "user")
EVERY = ("**",)


class Guarded(Stage):
    """A stage with quality policies."""

    def __init__(self, *policies: QualityPolicy, states: int = 100) -> None:
        super().__init__()
        self.qualities: PatternIndex[Quality] = PatternIndex()
        clock = lambda: self.plane.now  # noqa: E731
        self.admission = Admission(self.qualities, clock, lambda: 1.0, states=states)
        self.plane.admission = self.admission
        self.compiler._admission = self.admission
        for principal in (BOB, OPERATOR):
            self.allow(principal.id, principal.id, *Action)
        for number, policy in enumerate(policies):
            self.limit(f"p{number}", policy)

    def limit(self, name: str, policy: QualityPolicy, revision: int = 1) -> None:
        for text in policy.names:
            pattern = Pattern.parse(text, authority=AUTHORITY)
            self.qualities.put(pattern, name, Quality(name, revision, policy))
        self.recompile()

    def recompile(self) -> None:
        self.admission.forget(r for r in self.view.routes.values())
        self.view.install(self.compiler.compile(list(self.catalog.names)))

    def statuses(self, count: int, principal: Principal = ANN) -> list[str]:
        """Call ``count`` times, each answered at once; return what came of it."""
        found = []
        for _ in range(count):
            before = len(self.http.answers)
            _, caller = self.begin(principal=principal)
            if len(self.http.answers) > before:
                self.http.answers[-1].reply(answer(), b"", end=True)
                found.append("ok")
            elif caller.refusal is not None:
                found.append(caller.refusal.status.slug)
        return found


def stage(*policies: QualityPolicy, states: int = 100, instances: str = "a") -> Guarded:
    guarded = Guarded(*policies, states=states)
    guarded.register(*instances)
    guarded.played()
    return guarded


# --- rates -----------------------------------------------------------------------------------


def test_without_a_policy_about_a_name_it_has_no_gate():
    guarded = stage(QualityPolicy(("Other/**",), messages=Rate(1)))
    assert guarded.route().gate is None
    assert guarded.statuses(3) == ["ok"] * 3


def test_more_than_the_rate_is_throttled_until_it_conforms():
    guarded = stage(QualityPolicy(EVERY, messages=Rate(2, 2)))
    assert guarded.statuses(3) == ["ok", "ok", "throttled"]
    _, caller = guarded.begin()
    assert caller.refusal.retry_after == 1
    assert caller.refusal.wait == pytest.approx(0.5)
    assert guarded.admission.throttled == {"p0": 2}
    guarded.plane.now += 0.5
    assert guarded.statuses(2) == ["ok", "throttled"]


def test_who_is_meant_and_what_is_shared():
    guarded = stage(
        QualityPolicy(EVERY, (Subject(kind="user"),), ("principal",), messages=Rate(1, 2))
    )
    assert guarded.statuses(3) == ["ok", "ok", "throttled"]
    assert guarded.statuses(3, BOB) == ["ok", "ok", "throttled"]
    shared = stage(QualityPolicy(EVERY, messages=Rate(1, 2)))
    assert shared.statuses(2) + shared.statuses(1, BOB) == ["ok", "ok", "throttled"]
    other = stage(QualityPolicy(EVERY, (Subject(BOB.id),), messages=Rate(1, 1)))
    assert other.statuses(3) == ["ok"] * 3


def test_subjects_by_role():
    guarded = stage(QualityPolicy(EVERY, (Subject(role="nurse"),), messages=Rate(0.001, 1)))
    nurse = Principal("user:n", "user", attributes={"roles": ("nurse",)})
    guarded.allow("nurse", nurse.id, *Action)
    assert guarded.statuses(2, nurse) == ["ok", "throttled"]
    assert guarded.statuses(2) == ["ok", "ok"]


def test_a_call_that_one_policy_refuses_takes_nothing_from_another():
    guarded = stage(
        QualityPolicy(EVERY, messages=Rate(0.001, 1), per=("principal",)),
        QualityPolicy(EVERY, messages=Rate(0.001, 3)),
    )
    assert guarded.statuses(5) == ["ok", *["throttled"] * 4]
    assert guarded.statuses(2, BOB) == ["ok", "throttled"]
    assert guarded.statuses(1, OPERATOR) == ["ok"]


def test_reply_bytes_are_paid_by_what_comes_next():
    guarded = stage(QualityPolicy(EVERY, bytes=Rate(100, 100)))
    guarded.begin(body=b"x" * 10)
    guarded.http.answers[0].reply(answer(), b"y" * 100, end=False)
    guarded.http.answers[0].reply_body(b"y" * 190, end=True)
    _, caller = guarded.begin(body=b"x" * 50)
    assert caller.refusal.wait == pytest.approx(2.5)


def test_a_body_of_unknown_length_is_paid_when_it_is_known():
    guarded = stage(QualityPolicy(EVERY, bytes=Rate(100, 100)))
    exchange, _ = guarded.begin(body=b"x" * 10, end=False)
    exchange.body(b"x" * 290, end=True)
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert guarded.statuses(1) == ["throttled"]
    guarded.plane.now += 2
    assert guarded.statuses(1) == ["ok"]


def test_an_operator_passes_when_telemetry_is_shed():
    guarded = stage(
        QualityPolicy(EVERY, messages=Rate(0.001, 10), reserve=0.2),
        QualityPolicy(EVERY, (Subject(OPERATOR.id),), priority=9),
    )
    assert guarded.statuses(9).count("ok") == 8
    assert guarded.statuses(3, OPERATOR) == ["ok", "ok", "throttled"]


def test_new_credentials_of_a_principal_share_its_limits():
    guarded = stage(QualityPolicy(EVERY, per=("principal",), messages=Rate(0.001, 2)))
    again = Principal(ANN.id, ANN.kind, credential="another")
    assert guarded.statuses(1) + guarded.statuses(2, again) == ["ok", "ok", "throttled"]


def test_a_recompiled_name_keeps_what_limits_know_a_changed_policy_does_not():
    guarded = stage(QualityPolicy(EVERY, messages=Rate(0.001, 2)))
    assert guarded.statuses(2) == ["ok", "ok"]
    guarded.recompile()
    assert guarded.statuses(1) == ["throttled"]
    guarded.qualities.remove(Pattern.parse("**", authority=AUTHORITY), "p0")
    guarded.limit("p0", QualityPolicy(EVERY, messages=Rate(0.001, 1)), revision=2)
    assert guarded.statuses(2) == ["ok", "throttled"]


# --- strangers -------------------------------------------------------------------------------


def test_strangers_neither_grow_memory_nor_reset_anybodys_limits():
    guarded = stage(QualityPolicy(EVERY, per=("principal",), messages=Rate(0.001, 1)), states=20)
    assert guarded.statuses(2) == ["ok", "throttled"]
    strangers = [Principal(f"user:{n}", "user") for n in range(60)]
    guarded.allow("everybody", "*", *Action)
    found = [guarded.statuses(1, who)[0] for who in strangers]
    assert found.count("ok") == 19 + 1  # each that has room, and all others share one
    assert guarded.statuses(1) == ["throttled"]
    assert len(guarded.admission._states) == 20
    guarded.plane.now += 1001
    assert guarded.statuses(1, strangers[-1]) == ["ok"]
    assert guarded.admission.evictions == 1
    assert len(guarded.admission._states) == 20


def test_a_lane_whose_state_gave_way_is_compiled_anew():
    guarded = stage(QualityPolicy(EVERY, per=("principal",), messages=Rate(1, 1)), states=1)
    assert guarded.statuses(2) == ["ok", "throttled"]
    guarded.plane.now += 10
    assert guarded.statuses(2, BOB) == ["ok", "throttled"]
    assert guarded.statuses(2) == ["ok", "throttled"]  # it shares what all late comers have
    guarded.plane.now += 10
    assert guarded.statuses(2) == ["ok", "throttled"]


def test_too_many_lanes_are_forgotten_and_their_limits_are_not(monkeypatch):
    monkeypatch.setattr("gateway.quality.admission.LANES", 2)
    guarded = stage(QualityPolicy(EVERY, per=("principal",), messages=Rate(0.001, 1)))
    for who in (ANN, BOB, OPERATOR):
        assert guarded.statuses(1, who) == ["ok"]
    for who in (ANN, BOB, OPERATOR):
        assert guarded.statuses(1, who) == ["throttled"]


# --- concurrency -----------------------------------------------------------------------------


def places(limit: int, queue: int = 0, **how: object) -> QualityPolicy:
    return QualityPolicy(EVERY, concurrency=Concurrency(limit, queue, wait=2.0), **how)


def test_a_call_waits_for_a_place_and_then_goes_on():
    guarded = stage(places(1, 1))
    guarded.begin(body=b"one")
    guarded.begin(body=b"two")
    _, third = guarded.begin(body=b"three")
    assert third.refusal.status is Status.THROTTLED
    assert guarded.played() == ["a send one.", "caller refuse throttled"]
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert guarded.played() == ["a send two.", "caller reply 200 ."]


def test_a_body_that_comes_while_the_call_waits_is_sent_with_it():
    guarded = stage(places(1, 1))
    guarded.begin()
    exchange, _ = guarded.begin(body=b"one ", end=False)
    exchange.body(b"two ", end=False)
    guarded.http.answers[0].reply(answer(), b"", end=True)
    exchange.body(b"three", end=True)
    assert guarded.played() == [
        "a send .",
        "caller pause",
        "caller resume",
        "a send one two ",
        "caller reply 200 .",
        "a body three.",
    ]


def test_a_body_that_waits_may_be_too_large_to_keep_and_end_with_the_call():
    guarded = stage(places(1, 2))
    first, _ = guarded.begin()
    exchange, _ = guarded.begin(body=b"x" * HELD, end=False)
    exchange.body(b"y", end=False)
    gone, _ = guarded.begin(body=b"gone", end=False)
    ticket = gone._terms._ticket
    first.reply(answer(), b"", end=True)
    exchange.failed(Status.UNAVAILABLE, "gone", written=False)
    gone.admitted()
    ticket.end()
    assert [line[:6] for line in guarded.played() if " send" in line] == ["a send"] * 3
    gone.cancel()
    gone.admitted()
    assert guarded.admission.queues == {} or not next(iter(guarded.admission.queues)).waits


def test_who_waits_too_long_is_refused_and_who_goes_gives_way():
    guarded = stage(places(1, 2))
    guarded.begin()
    _, second = guarded.begin()
    third, _ = guarded.begin()
    third.cancel()
    guarded.plane.sweep(guarded.plane.now + 1.9)
    assert second.refusal is None
    guarded.plane.sweep(guarded.plane.now + 0.2)
    assert second.refusal.status is Status.THROTTLED
    guarded.plane.sweep(guarded.plane.now + 0.2)
    assert not guarded.admission.queues
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert guarded.statuses(2) == ["ok", "ok"]


def test_the_deadline_holds_while_a_call_waits():
    guarded = stage(places(1, 1, timeout=500))
    guarded.begin()
    _, second = guarded.begin()
    guarded.plane.sweep(guarded.plane.now + 0.6)
    assert second.refusal.status is Status.TIMEOUT
    assert not guarded.plane.live


def test_the_urgent_go_first_and_push_out_the_least():
    guarded = stage(places(1, 1), QualityPolicy(EVERY, (Subject(OPERATOR.id),), priority=9))
    guarded.begin()
    _, second = guarded.begin()
    guarded.begin(principal=OPERATOR, body=b"op")
    assert second.refusal.status is Status.THROTTLED
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert "a send op." in guarded.played()


def test_places_of_two_policies_are_taken_in_one_order():
    guarded = stage(places(2, 1), places(1, 1, per=("principal",)))
    guarded.begin(body=b"1")
    guarded.begin(body=b"2")  # waits for its own limit, and has one of two places
    guarded.begin(body=b"3", principal=BOB)  # waits for a place
    assert guarded.played() == ["a send 1."]
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert sorted(guarded.played()) == ["a send 2.", "a send 3.", "caller reply 200 ."]
    _, ann = guarded.begin(body=b"4")
    _, op = guarded.begin(body=b"5", principal=OPERATOR)
    assert op.refusal.status is Status.THROTTLED
    for at in (1, 2, 3):
        guarded.http.answers[at].reply(answer(), b"", end=True)
    assert ann.answers == 1
    assert guarded.statuses(2) == ["ok", "ok"]


def test_who_is_let_in_may_find_the_next_queue_full():
    guarded = stage(
        places(1, 5), QualityPolicy(EVERY, (Subject(BOB.id),), concurrency=Concurrency(1))
    )
    guarded.begin(body=b"1", principal=BOB)
    _, second = guarded.begin(body=b"2", principal=BOB)
    guarded.begin(body=b"3")
    guarded.admission._states["p1", 1, "", "", ""].limit.busy += 1
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert second.refusal.status is Status.THROTTLED
    assert "a send 3." in guarded.played()


def test_a_long_queue_of_calls_that_fail_at_once_empties_without_recursion():
    guarded = stage(places(1, 5000))
    guarded.begin()
    callers = [guarded.begin()[1] for _ in range(3000)]
    guarded.route().selection.single.health.down = True
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert all(caller.refusal.status is Status.UNAVAILABLE for caller in callers)


def test_an_adaptive_limit_learns_from_answers():
    rule = Concurrency(50, adaptive=True)
    guarded = stage(QualityPolicy(EVERY, concurrency=rule))
    limit = guarded.route().gate.lane(ANN).limits[0]
    before = limit.limit
    for _ in range(10):
        exchanges = [guarded.begin()[0] for _ in range(limit.limit)]
        guarded.plane.now += 0.01
        for exchange in exchanges:
            exchange.reply(answer(), b"", end=True)
    assert limit.limit > before


# --- limits of each endpoint -----------------------------------------------------------------


def test_an_endpoint_that_is_full_is_passed_over():
    guarded = stage(places(1, per=("binding",)), instances="ab")
    guarded.begin()
    guarded.begin()
    _, third = guarded.begin()
    assert third.refusal.status is Status.THROTTLED
    assert sorted(guarded.played()[:2]) == ["a send .", "b send ."]
    guarded.http.answers[0].reply(answer(), b"", end=True)
    assert guarded.statuses(1) == ["ok"]


def test_each_endpoint_has_a_rate_of_its_own():
    rule = QualityPolicy(EVERY, per=("binding",), messages=Rate(0.001, 1))
    guarded = stage(rule, places(5, per=("binding",)), instances="ab")
    assert guarded.statuses(3) == ["ok", "ok", "throttled"]
    two = stage(places(1, per=("binding",)), places(5, per=("binding",)))
    two.admission.state(two.qualities.__iter__().__next__(), "", "", "")
    two.begin()
    assert two.statuses(1) == ["throttled"]


def test_limits_of_endpoints_are_taken_all_or_none():
    guarded = stage(places(5, per=("binding",)), places(1, per=("binding",)))
    guarded.begin()
    assert guarded.statuses(1) == ["throttled"]
    guarded.http.answers[0].reply(answer(), b"", end=True)
    busy = [s.limit.busy for s in guarded.admission._states.values()]
    assert busy == [0, 0]


# --- breakers, ejection, retries -------------------------------------------------------------

BREAKER = QualityPolicy(EVERY, breaker=Breaker(failures=2, open=4.0))


def fail(guarded: Guarded, code: int = 503) -> None:
    guarded.begin()
    guarded.http.answers[-1].reply(answer(code, Status.UNAVAILABLE), b"", end=True)


def test_an_open_breaker_says_when_to_come_back_and_probes_by_itself():
    guarded = stage(BREAKER)
    fail(guarded)
    fail(guarded)
    _, caller = guarded.begin()
    assert (caller.refusal.status, caller.refusal.retry_after) == (Status.UNAVAILABLE, 4)
    guarded.plane.now += 4
    probe, _ = guarded.begin()
    assert guarded.statuses(1) == ["unavailable"]
    probe.cancel()  # says nothing: another may probe
    assert guarded.statuses(2) == ["ok", "ok"]


def test_while_a_breaker_is_open_others_are_asked():
    guarded = stage(BREAKER, instances="abc")
    guarded.resolve(ResolutionPolicy(EVERY))
    for _ in range(6):
        guarded.begin()
        where = guarded.played()[0][0]
        guarded.http.answers[-1].reply(answer(503 if where == "a" else 200), b"", end=True)
        guarded.played()
    assert guarded.statuses(10) == ["ok"] * 10
    assert not any(line.startswith("a ") for line in guarded.played())


def test_a_breaker_outlives_recompiling():
    guarded = stage(BREAKER)
    fail(guarded)
    fail(guarded)
    guarded.recompile()
    assert guarded.statuses(1) == ["unavailable"]
    assert [b.ok(guarded.plane.now) for b in guarded.admission.breakers()] == [False]


def test_no_more_than_the_share_is_ejected():
    rule = QualityPolicy(EVERY, outlier=Outlier(failures=1, seconds=10, share=0.5))
    guarded = stage(rule, instances="abcd")
    for _ in range(12):
        fail(guarded)
    now = guarded.plane.now
    fit = [t for t in guarded.route().selection.targets() if t.ok(now)]
    assert len(fit) == 2


def test_an_endpoint_that_answers_again_is_believed():
    guarded = stage(QualityPolicy(EVERY, outlier=Outlier(failures=2, share=1.0)))
    for _ in range(3):
        fail(guarded)
        assert guarded.statuses(1) == ["ok"]
    guard = guarded.route().selection.single.guard
    assert guard.calm
    fail(guarded)
    fail(guarded)
    assert not guard.ok(guarded.plane.now)
    assert guarded.statuses(1) == ["ok"], "an ejection is a guess: the only endpoint is asked"


def test_limits_on_places_and_both_kinds_of_rates_may_be_several(monkeypatch):
    monkeypatch.setattr("gateway.quality.admission.LANES", 1)
    rates = QualityPolicy(EVERY, messages=Rate(0.001, 2))
    guarded = stage(rates, QualityPolicy(EVERY, bytes=Rate(1e6)), places(3), places(2))
    assert guarded.statuses(3) == ["ok", "ok", "throttled"]
    assert guarded.statuses(1, BOB) == ["throttled"]
    assert guarded.statuses(1, OPERATOR) == ["throttled"]


def test_retries_come_from_a_budget():
    rule = QualityPolicy(EVERY, retries=Retries(attempts=2, budget=0.0, minimum=0.1))
    guarded = Guarded(rule)
    guarded.register("a", "b", "c", methods={"make": Method(idempotent=True)})

    def sends() -> int:
        guarded.played()
        guarded.begin()
        for _ in range(5):
            guarded.http.answers[-1].failed(Status.UNAVAILABLE, "gone", written=True)
        return sum(" send " in line for line in guarded.played())

    assert sends() == 2
    assert sends() == 1
    guarded.plane.now += 30
    assert sends() == 2


@pytest.mark.parametrize("policy", [QualityPolicy(EVERY, timeout=9000), places(1)])
def test_without_a_rule_about_retries_a_call_is_tried_as_often_as_ever(policy):
    guarded = stage(policy, instances="abcd")
    guarded.begin()
    for _ in range(5):
        guarded.http.answers[-1].failed(Status.UNAVAILABLE, "gone", written=False)
    assert sum(" send " in line for line in guarded.played()) == 3


def test_a_name_that_is_gone_has_no_gate():
    guarded = stage(QualityPolicy(EVERY, timeout=9000))
    guarded.view.install(guarded.compiler.compile(["snac.asu.edu/Plan/other"]))
    assert guarded.view.find("snac.asu.edu/Plan/other") is None


# --- what is published -----------------------------------------------------------------------


def test_exhaustion_is_watched_by_name_and_forgotten_with_the_policy(monkeypatch):
    monkeypatch.setattr("gateway.quality.admission.WATCHED", 2)
    rule = QualityPolicy(EVERY, shed=Shed(errors=0.5, calls=4), concurrency=Concurrency(9))
    guarded = stage(rule)
    for _ in range(4):
        fail(guarded)
    ((key, watch),) = guarded.admission.watches.items()
    assert key == ("p0", 1, guarded.route().name)
    guarded.plane.now += 2
    assert watch.verdict(guarded.plane.now) == "4 of 4 calls failed"
    assert watch.rate == 2.0
    quality = guarded.admission.quality(guarded.route().name, "p0")
    assert quality.spec is rule
    for name in ("x/a", "x/b", "x/c"):
        guarded.admission.watch(quality, name)
    assert guarded.admission.watch(quality, "x/c") is guarded.admission.watch(quality, "x/c")
    assert [name for _, _, name in guarded.admission.watches] == ["x/b", "x/c"]


def test_what_is_taken_in_any_case_is_paced():
    guarded = stage(QualityPolicy(EVERY, messages=Rate(10, 1), bytes=Rate(100, 100)))
    lane = guarded.route().gate.lane(ANN)
    assert lane.pace(10, 0.25) == 0.0
    assert lane.pace(10, 0.25) == pytest.approx(0.1)
    assert lane.pace(10, 0.25) == pytest.approx(0.2)
    assert lane.pace(10, 0.25) == lane.pace(10, 0.25) == pytest.approx(0.3)
    assert guarded.admission.throttled == {"p0": 4}
    refusal = lane.throttle(10)
    assert isinstance(refusal, Throttled)
    quiet = stage(places(1)).route().gate.lane(ANN)
    assert quiet.pace(10, 0.0) == 0.0
    quiet.settle(0, 100, 0)
