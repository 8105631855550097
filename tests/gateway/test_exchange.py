"""One call's life, as a play: who says what to whom, in which order."""

import pytest

from gateway.exchange import ATTEMPTS, HELD
from gateway.message import Origin, Refusal, Reply, Status
from gateway.tracing import Tracer
from gateway.view import Meter
from policy.model import Action, Choice, HealthCheck, ResolutionPolicy
from policy.resolution import Source
from registry.changes import Deregistered, Expired
from registry.model import Endpoint, EventChannel, Method, RegistrationId
from registry.names import Name
from tests.gateway.play import ANN, BOB, PLAN, Stage, answer, patient

SAFE = {"make": Method(safe=True)}
IDEMPOTENT = {"make": Method(idempotent=True)}


@pytest.fixture
def stage() -> Stage:
    return Stage()


# --- a call that goes well -------------------------------------------------------------------


def test_a_call_and_its_reply(stage):
    stage.register("a")
    exchange, _ = stage.begin(body=b"weight")
    assert stage.played() == ["a send weight."]
    assert exchange in stage.plane.live
    stage.http.answers[0].reply(answer(201), b"plan1", end=True)
    assert stage.played() == ["caller reply 201 plan1."]
    assert exchange.done
    assert not stage.plane.live


def test_bodies_stream_both_ways(stage):
    stage.register("a")
    exchange, _ = stage.begin(body=b"one", end=False)
    exchange.body(b"two", end=False)
    stage.http.answers[0].reply(answer(), b"", end=False)
    exchange.body(b"", end=True)
    stage.http.answers[0].reply_body(b"three", end=False)
    stage.http.answers[0].reply_body(b"four", end=True)
    assert stage.played() == [
        "a send one",
        "a body two",
        "caller reply 200 ",
        "a body .",
        "caller body three",
        "caller body four.",
    ]


def test_the_permit_carries_why_the_call_may_be_sent(stage):
    stage.register("a")
    exchange, _ = stage.begin()
    permit = stage.http.permits[0]
    assert permit.call is exchange.call
    assert permit.route is stage.route()
    assert permit.decision.allowed
    assert permit.target is stage.route().selection.single


def test_a_slow_provider_pauses_the_caller_and_a_slow_caller_the_provider(stage):
    stage.register("a")
    exchange, _ = stage.begin(end=False)
    stage.http.answers[0].pause_body()
    stage.http.answers[0].resume_body()
    stage.http.answers[0].reply(answer(), b"", end=False)
    exchange.pause_reply()
    exchange.resume_reply()
    assert stage.played()[1:] == [
        "caller pause",
        "caller resume",
        "caller reply 200 ",
        "a pause",
        "a resume",
    ]


def test_an_early_reply_leaves_the_rest_of_the_request_unread_but_flowing(stage):
    """A provider that answers before it read all must not leave its caller paused for ever."""
    stage.register("a")
    exchange, _ = stage.begin(body=b"big", end=False)
    stage.http.answers[0].pause_body()
    stage.http.answers[0].reply(answer(413), b"too much", end=True)
    assert stage.played()[1:] == ["caller pause", "caller resume", "caller reply 413 too much."]
    exchange.body(b"ignored", end=True)
    exchange.pause_reply()
    exchange.resume_reply()
    assert stage.played() == []


def test_a_caller_that_is_slow_already_is_not_flooded(stage):
    stage.register("a")
    exchange, _ = stage.exchange()
    exchange.pause_reply()
    exchange.begin(b"", end=True)
    assert stage.played() == ["a send .", "a pause"]


def test_a_provider_that_answers_twice_is_heard_once(stage):
    stage.register("a")
    stage.begin()
    stage.http.answers[0].reply(answer(), b"one", end=False)
    stage.http.answers[0].reply(answer(), b"two", end=True)
    assert stage.played()[1:] == ["caller reply 200 one"]
    stage.http.answers[0].reply_body(b"", end=True)
    stage.http.answers[0].reply(answer(), b"three", end=True)
    stage.http.answers[0].reply_body(b"", end=True)
    stage.http.answers[0].failed(Status.PROVIDER_ERROR, "late", written=True)
    stage.http.answers[0].refused(Refusal(Status.INVALID, "late"))
    stage.http.answers[0].pause_body()
    stage.http.answers[0].resume_body()
    assert stage.played() == ["caller body ."]


def test_a_body_without_a_head_is_not_passed_on(stage):
    stage.register("a")
    exchange, _ = stage.begin()
    stage.http.answers[0].reply_body(b"?", end=True)
    assert stage.played()[1:] == []
    assert not exchange.done


# --- what the gateway answers itself ---------------------------------------------------------


def test_what_policy_denies_is_not_sent(stage):
    stage.register("a")
    stage.deny("no", ANN.id, Action.CALL)
    exchange, caller = stage.begin()
    assert stage.played() == ["caller refuse denied"]
    assert "deny by AccessPolicy/no" in caller.refusal.detail
    assert exchange.done
    assert not stage.plane.live


def test_the_owner_decides_with_the_rules(stage):
    stage.register("a", channels={"news": EventChannel()})
    owner = type(ANN)("svc:r", "service")
    stage.begin("news", action=Action.PUBLISH, principal=owner)
    stage.begin("news", action=Action.PUBLISH, principal=BOB)
    assert stage.played() == ["local send .", "caller refuse denied"]


@pytest.mark.parametrize(
    ("member", "action"),
    [("news", Action.PUBLISH), ("news", Action.SUBSCRIBE), ("", Action.DESCRIBE)],
)
def test_channels_and_descriptions_are_answered_here(stage, member, action):
    stage.register("a", channels={"news": EventChannel()})
    stage.begin(member, b"x", action=action)
    permit = stage.local.permits[0]
    assert permit.target is None
    assert stage.played() == ["local send x."]
    stage.local.answers[0].reply(Reply(Status.OK), b"", end=True)
    assert stage.played() == ["caller reply 0 ."]


def test_an_object_of_the_site_refuses(stage):
    stage.register("a", channels={"news": EventChannel()})
    _, caller = stage.begin("news", action=Action.PUBLISH)
    stage.local.answers[0].refused(Refusal(Status.INVALID, "no JSON"))
    assert stage.played()[1:] == ["caller refuse invalid"]
    assert caller.refusal.detail == "no JSON"


def test_a_failure_of_our_own_is_not_tried_again(stage):
    stage.register("a", channels={"news": EventChannel()})
    stage.begin("news", action=Action.PUBLISH)
    stage.local.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    stage.begin("make", action=Action.DESCRIBE)
    stage.local.answers[1].failed(Status.UNAVAILABLE, "no", written=False)
    assert stage.played() == ["local send .", "caller refuse unavailable"] * 2


def test_a_method_whose_service_went_is_unavailable(stage):
    stage.register("a")
    stage.apply(Expired(RegistrationId("Recommender", "1", "a"), 1))
    _, caller = stage.begin()
    assert stage.played() == ["caller refuse unavailable"]
    assert "its service is not registered now" in caller.refusal.detail
    assert caller.refusal.retry_after == 1


def test_a_method_whose_endpoints_are_all_down_says_so(stage):
    stage.register("a", "b")
    for target in stage.route().selection.targets():
        target.health.down = True
    _, caller = stage.begin()
    assert stage.played() == ["caller refuse unavailable"]
    assert "fails its health checks" in caller.refusal.detail


# --- cancelling, deadlines, revocation -------------------------------------------------------


def test_a_caller_that_vanishes_cancels_its_providers_work(stage):
    stage.register("a")
    exchange, caller = stage.begin(end=False)
    stage.http.answers[0].pause_body()
    exchange.cancel()
    exchange.cancel()
    stage.http.answers[0].reply(answer(), b"", end=True)
    assert stage.played()[2:] == ["a cancel"]
    assert caller.answers == 0
    assert not stage.plane.live


def test_a_call_that_has_not_begun_can_be_cancelled(stage):
    stage.register("a")
    exchange, caller = stage.exchange()
    exchange.cancel()
    exchange.resume_reply()
    assert (stage.played(), caller.answers, exchange.done) == ([], 0, True)


def test_a_call_that_has_not_begun_can_be_ended(stage):
    stage.register("a")
    exchange, _ = stage.exchange()
    exchange.expire()
    assert stage.played() == ["caller refuse timeout"]


def test_a_call_without_a_reply_ends_at_its_deadline(stage):
    stage.register("a")
    exchange, caller = stage.begin(timeout=5)
    stage.plane.sweep(104.9)
    assert not exchange.done
    stage.plane.sweep(105.0)
    assert stage.played()[1:] == ["a cancel", "caller refuse timeout"]
    assert not stage.plane.live
    exchange.expire()
    exchange.revoke(Refusal(Status.UNAUTHENTICATED, "it is over"))
    assert caller.answers == 1


def test_the_deadline_is_met_by_the_head_of_the_reply(stage):
    stage.register("a")
    exchange, _ = stage.begin(timeout=5)
    stage.http.answers[0].reply(answer(), b"", end=False)
    stage.plane.sweep(1e9)
    assert not exchange.done


def test_a_revoked_credential_ends_what_it_has_open(stage):
    stage.register("a", methods={"make": Method(), "ask": Method()})
    stage.allow("bob", BOB.id, Action.CALL)
    _, waiting = stage.begin()
    stage.begin("ask")
    stage.http.answers[1].reply(answer(), b"", end=False)
    others, _ = stage.begin(principal=BOB)
    stage.played()
    stage.plane.end_of(ANN.credential)
    assert sorted(stage.played()) == [
        "a cancel",
        "a cancel",
        "caller abort",
        "caller refuse unauthenticated",
    ]
    assert waiting.refusal.detail == "the credential is no longer valid"
    assert stage.plane.live == {others}


# --- failures, and trying again --------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.UNAVAILABLE, Status.THROTTLED])
def test_what_was_not_written_is_sent_to_another_endpoint(stage, status):
    stage.register("a", "b")
    stage.begin(body=b"weight")
    stage.http.answers[0].failed(status, "no connection", written=False)
    assert sorted(stage.played()) == ["a send weight.", "b send weight."]
    stage.http.answers[1].reply(answer(), b"plan1", end=True)
    assert stage.played() == ["caller reply 200 plan1."]


@pytest.mark.parametrize("methods", [SAFE, IDEMPOTENT])
@pytest.mark.parametrize("status", [Status.UNAVAILABLE, Status.PROVIDER_ERROR, Status.TIMEOUT])
def test_what_may_be_repeated_is_sent_again_even_when_it_was_written(stage, methods, status):
    stage.register("a", "b", methods=methods)
    stage.begin(body=b"x")
    stage.http.answers[0].failed(status, "closed", written=True)
    assert sorted(stage.played()) == ["a send x.", "b send x."]


def test_what_was_written_and_may_not_be_repeated_is_not_sent_again(stage):
    stage.register("a", "b")
    _, caller = stage.begin()
    stage.http.answers[0].failed(Status.PROVIDER_ERROR, "it closed", written=True)
    assert stage.played()[1:] == ["caller refuse provider-error"]
    assert caller.refusal.detail == "it closed"


@pytest.mark.parametrize("status", [Status.BAD_REQUEST, Status.TOO_LARGE, Status.INTERNAL])
def test_what_fails_everywhere_is_not_tried_elsewhere(stage, status):
    stage.register("a", "b", methods=SAFE)
    stage.begin()
    stage.http.answers[0].failed(status, "no", written=False)
    assert stage.played()[1:] == [f"caller refuse {status.slug}"]
    assert not any(t.health.failures for t in stage.route().selection.targets())


def test_without_another_endpoint_the_first_failure_is_what_is_told(stage):
    stage.register("a", methods=SAFE)
    _, caller = stage.begin()
    stage.http.answers[0].failed(Status.PROVIDER_ERROR, "it answers garbage", written=True)
    assert stage.played()[1:] == ["caller refuse provider-error"]
    assert caller.refusal.detail == "it answers garbage"
    _, caller = stage.begin()
    stage.http.answers[1].failed(Status.UNAVAILABLE, "connection refused", written=False)
    assert caller.refusal.detail == "connection refused"
    assert caller.refusal.retry_after == 1


def test_a_call_is_tried_a_few_times_only(stage):
    stage.register(*"abcde", methods=SAFE)
    stage.begin()
    for _ in range(ATTEMPTS):
        stage.http.answers[-1].failed(Status.UNAVAILABLE, "no", written=False)
    played = stage.played()
    assert played[-1] == "caller refuse unavailable"
    assert len({line.split()[0] for line in played[:-1]}) == ATTEMPTS


def test_the_payload_so_far_is_sent_again_and_the_rest_follows(stage):
    stage.register("a", "b")
    exchange, _ = stage.begin(body=b"one ", end=False)
    exchange.body(b"two ", end=False)
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    second = stage.script[-1].split()[0]
    exchange.body(b"three", end=True)
    assert stage.played()[2:] == [f"{second} send one two ", f"{second} body three."]


@pytest.mark.parametrize(("begun", "size"), [(HELD + 1, 0), (HELD, 1), (1, HELD)])
def test_a_payload_that_is_too_large_to_be_held_is_not_sent_again(stage, begun, size):
    stage.register("a", "b", methods=SAFE)
    exchange, _ = stage.begin(body=b"x" * begun, end=False)
    exchange.body(b"y" * size, end=False)
    exchange.body(b"", end=True)
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    assert stage.played()[-1] == "caller refuse unavailable"


def test_a_payload_that_is_just_held_is_sent_again(stage):
    stage.register("a", "b", methods=SAFE)
    stage.begin(body=b"x" * HELD)
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    assert len(stage.http.permits) == 2


def test_a_body_that_comes_after_the_answer_is_ignored(stage):
    stage.register("a")
    exchange, _ = stage.begin(end=False)
    stage.http.answers[0].failed(Status.INTERNAL, "no", written=False)
    exchange.body(b"late", end=True)
    assert stage.played()[1:] == ["caller refuse internal"]


def test_the_pauses_of_a_failed_attempt_are_not_those_of_the_next(stage):
    """The next provider knows nothing of them: it would never resume the caller."""
    stage.register("a", "b")
    exchange, _ = stage.begin(end=False)
    first = stage.played()[0].split()[0]
    second = "b" if first == "a" else "a"
    stage.http.answers[0].pause_body()
    exchange.pause_reply()
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    assert stage.played() == [
        "caller pause",
        f"{first} pause",
        "caller resume",
        f"{second} send ",
        f"{second} pause",
    ]
    exchange.resume_reply()
    assert stage.played() == [f"{second} resume"]


def test_a_reply_that_breaks_off_cannot_be_taken_back(stage):
    stage.register("a", "b", methods=SAFE)
    _, caller = stage.begin()
    stage.http.answers[0].reply(answer(), b"half", end=False)
    stage.http.answers[0].failed(Status.PROVIDER_ERROR, "closed", written=True)
    assert stage.played()[1:] == ["caller reply 200 half", "caller abort"]
    assert caller.answers == 1
    assert not stage.plane.live


# --- health ----------------------------------------------------------------------------------


def health_of(stage, instance):
    targets = stage.route().selection.targets()
    return next(t.health for t in targets if t.registration.instance == instance)


@pytest.mark.parametrize("code", [500, 503, 599])
def test_a_providers_5xx_counts_against_its_health(stage, code):
    stage.register("a")
    stage.begin()
    stage.http.answers[0].reply(answer(code), b"", end=True)
    assert health_of(stage, "a").failures == 1
    assert stage.played()[-1] == f"caller reply {code} ."


@pytest.mark.parametrize("code", [200, 302, 404, 499])
def test_any_other_reply_counts_for_it(stage, code):
    stage.register("a")
    health = health_of(stage, "a")
    health.failures, health.ejected_until = 2, 105.0
    stage.begin()
    stage.http.answers[0].reply(answer(code), b"", end=True)
    assert (health.failures, health.ejected_until) == (0, 0.0)


def test_failures_eject_and_traffic_goes_elsewhere_until_it_returns(stage):
    stage.register("a", "b")
    stage.resolve(patient(failures=2))
    bad = health_of(stage, "a")
    while bad.ok(100.0):
        stage.begin()
        on_a = stage.played()[-1] == "a send ."
        stage.http.answers[-1].reply(answer(500 if on_a else 200), b"", end=True)
        stage.played()
    for _ in range(4):
        stage.begin()
    assert stage.played() == ["b send ."] * 4
    stage.plane.now = 110.0
    for _ in range(4):
        stage.begin()
    assert set(stage.played()) == {"a send .", "b send ."}


def test_a_missed_deadline_counts_against_the_endpoint_if_it_was_a_fair_one(stage):
    stage.register("a")
    stage.begin(timeout=0.2)
    stage.plane.sweep(100.2)
    assert health_of(stage, "a").failures == 0
    stage.begin(timeout=1.0)
    stage.plane.sweep(101.2)
    assert health_of(stage, "a").failures == 1


def test_the_second_attempt_has_a_fair_time_of_its_own(stage):
    stage.register("a", "b")
    stage.begin(timeout=2.0)
    first, second = ("a", "b") if stage.played() == ["a send ."] else ("b", "a")
    stage.plane.now = 101.9
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    stage.plane.sweep(102.0)
    assert health_of(stage, first).failures == 1
    assert health_of(stage, second).failures == 0


def test_a_deadline_of_our_own_objects_is_nobodys_fault(stage):
    stage.register("a", channels={"news": EventChannel()})
    stage.begin("news", action=Action.PUBLISH)
    stage.plane.sweep(1e6)
    assert stage.played()[1:] == ["local cancel", "caller refuse timeout"]


def test_all_ejected_is_still_tried(stage):
    stage.register("a", "b")
    for name in "ab":
        health_of(stage, name).ejected_until = 1e9
    stage.begin()
    assert len(stage.http.permits) == 1


# --- policies and bindings that change meanwhile ---------------------------------------------


def test_fail_over_goes_through_the_orders_and_to_another_site(stage):
    stage.register("a")
    stage.register("b", version="2")
    choices = (
        Choice(version="1"),
        Choice(version="2", order=1),
        Choice(site="http://other.test", order=2),
    )
    stage.resolve(ResolutionPolicy(("**",), choices))
    stage.begin(body=b"x")
    for _ in range(2):
        stage.http.answers[-1].failed(Status.UNAVAILABLE, "no", written=False)
    assert stage.played() == ["a send x.", "b send x.", "http://other.test send x."]
    assert stage.http.permits[-1].target.endpoint.url == "http://other.test/Plan/make"


def test_a_running_call_keeps_the_route_that_it_began_with(stage):
    """A binding change in mid-stream, even of its own endpoint, does not touch it."""
    stage.register("a", "b", methods=SAFE)
    stage.begin(body=b"x")
    old = stage.route()
    for name in "ab":
        stage.apply(Deregistered(RegistrationId("Recommender", "1", name)))
    assert stage.view.find(old.name) is None
    stage.http.answers[0].failed(Status.UNAVAILABLE, "no", written=False)
    assert sorted(stage.played()) == ["a send x.", "b send x."]
    assert stage.http.permits[1].route is old
    stage.http.answers[1].reply(answer(), b"", end=True)
    assert stage.played() == ["caller reply 200 ."]


def test_a_sticky_call_returns_to_its_endpoint(stage):
    stage.register(*"abcdefgh")
    for _ in range(5):
        stage.begin(sticky=b"user:ann")
    assert len(set(stage.played())) == 1


def test_a_live_session_provides_a_method(stage):
    name = Name(f"{PLAN}/make")
    source = Source(RegistrationId("Nat", "1", "a"), Endpoint(""), "", session="socket-1")
    stage.sessions[name] = [source]
    stage.register("a")
    stage.resolve(ResolutionPolicy(("**",), (Choice(microservice="Nat"),)))
    stage.begin()
    assert stage.played() == ["socket-1 send ."]
    assert stage.session.permits


def test_health_checks_take_an_endpoint_out(stage):
    stage.register("a", "b")
    stage.resolve(patient(check=HealthCheck("/healthz")))
    health_of(stage, "a").down = True
    for _ in range(3):
        stage.begin()
    assert stage.played() == ["b send ."] * 3


# --- counters --------------------------------------------------------------------------------


def meter(stage) -> Meter:
    (found,) = stage.view.meters()
    return found


def test_each_exchange_is_counted_once_with_its_outcome(stage):
    stage.register("a")
    stage.begin()
    stage.plane.now += 0.3
    stage.http.answers[-1].reply(answer(200), b"", end=True)
    stage.begin()
    stage.http.answers[-1].reply(answer(404, Status.NOT_FOUND), b"", end=False)
    stage.http.answers[-1].reply_body(b"", end=True)
    exchange, _ = stage.begin()
    exchange.cancel()
    stage.begin(principal=BOB)
    stage.begin()
    stage.http.answers[-1].reply(answer(200), b"", end=False)
    stage.http.answers[-1].failed(Status.PROVIDER_ERROR, "closed", written=True)
    call = Action.CALL
    assert meter(stage).counts == {
        (call, Status.OK): 1,
        (call, Status.NOT_FOUND): 1,
        (call, Status.CANCELLED): 1,
        (call, Status.DENIED): 1,
        (call, Status.PROVIDER_ERROR): 1,
    }
    assert sum(meter(stage).buckets) == 5
    assert meter(stage).seconds == pytest.approx(0.3)


def test_a_reply_of_the_gateway_says_so():
    assert Reply(Status.OK).origin is Origin.GATEWAY


def test_a_tracer_hears_of_every_call_first(stage):
    stage.register("a")
    heard = []

    def wait():
        heard.append(len(stage.script))
        return 0

    stage.plane.tracer = Tracer(9, bytes, wait, lambda: 1, lambda _: None)
    heard.clear()
    stage.begin()
    assert heard == [0]
    assert stage.script


def test_a_span_ends_with_its_call_and_says_who_was_asked(stage):
    stage.register("a")
    spans = []
    stage.plane.tracer = Tracer(9, bytes, lambda: 0, lambda: 1, spans.append)
    stage.begin()
    assert not spans
    stage.http.answers[0].reply(answer(201), b"", end=True)
    stage.begin(principal=BOB)
    said = [(span.microservice, span.provider, span.status) for span in spans]
    served = stage.route().meter.microservice
    assert said == [(served, "http", Status.OK), (served, "", Status.DENIED)]


def test_a_call_outlives_its_tracer(stage):
    stage.register("a")
    spans = []
    stage.plane.tracer = Tracer(9, bytes, lambda: 0, lambda: 1, spans.append)
    stage.begin()
    stage.plane.tracer = None
    stage.http.answers[0].reply(answer(201), b"", end=True)
    assert not spans
