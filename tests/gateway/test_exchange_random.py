"""Random orders of everything that can happen to calls: nothing raises, each call ends once.

The providers keep to the ports' rules (nothing after the last word of an attempt); what comes too
late, after a call is over, may be anything.
"""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.exchange import ATTEMPTS, HELD, Exchange
from gateway.message import Refusal, Reply, Status
from gateway.ports import Answer, Permit, Sink
from policy.model import Action, HealthCheck
from registry.changes import Deregistered, Expired
from registry.model import EventChannel, Method, RegistrationId
from tests.gateway.play import ANN, BOB, Stage, answer, patient

STATUSES = st.sampled_from([s for s in Status if s is not Status.OK])
PAYLOADS = st.sampled_from([b"", b"{}", b"x", b"y" * 1000, b"z" * HELD])
MEMBERS = ["plain", "safe", "again", "checked"]


class Attempt:
    """One sending of a call: a Sink, and what its provider may still say."""

    def __init__(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> None:
        assert permit.decision.allowed
        self.permit = permit
        self.answer = answer
        self.got = body
        self.ended = end
        self.over = False
        self.head_sent = False
        self.paused = False

    def body(self, data: bytes, end: bool) -> None:
        assert not self.over
        assert not self.ended
        self.got += data
        self.ended = end

    def cancel(self) -> None:
        assert not self.over
        self.over = True

    def pause(self) -> None:
        assert not self.over
        self.paused = True

    def resume(self) -> None:
        assert not self.over
        self.paused = False


class Provider:
    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        attempt = Attempt(permit, answer, body, end)
        self.attempts.append(attempt)
        return attempt


class Caller:
    """Notes whether the rules of its port are kept."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.sent = b""
        self.request_ended = False
        self.begun = False
        self.ends = 0
        self.cancelled = False
        self.paused = False
        self.slow = False

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        assert not self.begun
        self._hear(end)
        self.begun = True

    def reply_body(self, data: bytes, end: bool) -> None:
        assert self.begun
        self._hear(end)

    def refuse(self, refusal: Refusal) -> None:
        assert not self.begun
        self._hear(end=True)

    def abort(self) -> None:
        assert self.begun
        self._hear(end=True)

    def pause(self) -> None:
        self._hear(end=False)
        self.paused = True

    def resume(self) -> None:
        self._hear(end=False)
        self.paused = False

    def _hear(self, end: bool) -> None:
        assert not self.cancelled
        assert self.ends == 0
        self.ends += end


class Calls(RuleBasedStateMachine):
    """Calls of four methods of three instances, and of a channel.

    The fourth has a schema, so that its payload is collected before anything is sent.
    """

    callers = Bundle("callers")

    def new_stage(self) -> Stage:
        """Return a stage with nothing on it."""
        return Stage()

    @initialize()
    def begin(self) -> None:
        self.stage = self.new_stage()
        self.provider = Provider()
        plane = self.stage.plane
        plane.local = plane.providers["http"] = plane.providers["socket"] = self.provider
        self.methods = {
            "plain": Method(),
            "safe": Method(safe=True),
            "again": Method(idempotent=True),
            "checked": Method(safe=True, input={"type": "object"}),
        }
        self.stage.register("a", "b", "c", methods=self.methods, channels={"news": EventChannel()})
        self.stage.resolve(patient(failures=2, check=HealthCheck("/")))
        self.stage.allow("bob", BOB.id, *Action)
        self.all: list[Caller] = []

    # Callers

    @rule(
        target=callers,
        member=st.sampled_from([*MEMBERS, "news"]),
        principal=st.sampled_from([ANN, BOB]),
        body=PAYLOADS,
        end=st.booleans(),
        timeout=st.sampled_from([0.0, 0.5, 5.0]),
        slow=st.booleans(),
    )
    def call(self, member, principal, body, end, timeout, slow):
        action = Action.PUBLISH if member == "news" else Action.CALL
        exchange, _ = self.stage.exchange(
            member, action=action, principal=principal, timeout=timeout
        )
        caller = Caller()
        caller.exchange = exchange
        exchange._caller = caller
        if slow:
            caller.slow = True
            exchange.pause_reply()
        caller.sent, caller.request_ended = body, end
        exchange.begin(body, end)
        self.all.append(caller)
        return caller

    @rule(caller=callers, data=PAYLOADS, end=st.booleans())
    def body(self, caller, data, end):
        if not caller.request_ended and not caller.cancelled:
            caller.sent += data
            caller.request_ended = end
            caller.exchange.body(data, end)

    @rule(caller=callers)
    def pause(self, caller):
        caller.slow = True
        caller.exchange.pause_reply()

    @rule(caller=callers)
    def resume(self, caller):
        caller.slow = False
        caller.exchange.resume_reply()

    @rule(caller=consumes(callers))
    def cancel(self, caller):
        caller.cancelled = True
        caller.exchange.cancel()

    # Providers

    def _open(self) -> list[Attempt]:
        return [a for a in self.provider.attempts if not a.over]

    def _one(self, data: st.DataObject, wanted: Callable[[Attempt], bool]) -> Attempt | None:
        fit = [a for a in self._open() if wanted(a)]
        return data.draw(st.sampled_from(fit)) if fit else None

    @precondition(lambda self: self._open())
    @rule(data=st.data(), code=st.sampled_from([200, 404, 500]), body=PAYLOADS, end=st.booleans())
    def reply(self, data, code, body, end):
        attempt = self._one(data, lambda a: not a.head_sent)
        if attempt is not None:
            attempt.head_sent, attempt.over = True, end
            attempt.answer.reply(answer(code), body, end)

    @precondition(lambda self: any(a.head_sent for a in self._open()))
    @rule(data=st.data(), body=PAYLOADS, end=st.booleans())
    def reply_body(self, data, body, end):
        attempt = self._one(data, lambda a: a.head_sent)
        attempt.over = end
        attempt.answer.reply_body(body, end)

    @precondition(lambda self: self._open())
    @rule(data=st.data(), status=STATUSES, written=st.booleans())
    def fail(self, data, status, written):
        attempt = self._one(data, lambda a: True)
        attempt.over = True
        attempt.answer.failed(status, "why", written=written)

    @precondition(lambda self: any(not a.head_sent for a in self._open()))
    @rule(data=st.data(), status=STATUSES)
    def refuse(self, data, status):
        attempt = self._one(data, lambda a: not a.head_sent)
        attempt.over = True
        attempt.answer.refused(Refusal(status, "why"))

    @precondition(lambda self: self._open())
    @rule(data=st.data(), pause=st.booleans())
    def slow_provider(self, data, pause):
        attempt = self._one(data, lambda a: True)
        (attempt.answer.pause_body if pause else attempt.answer.resume_body)()

    @rule(caller=callers, what=st.integers(0, 5))
    def too_late(self, caller, what):
        late = caller.exchange
        if late.done:
            [
                lambda: late.reply(answer(), b"late", end=True),
                lambda: late.reply_body(b"late", end=True),
                lambda: late.failed(Status.UNAVAILABLE, "late", written=False),
                lambda: late.refused(Refusal(Status.INVALID, "late")),
                late.pause_body,
                late.resume_body,
            ][what]()

    # The plane, and the world behind it

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 20.0]))
    def sweep(self, seconds):
        self.stage.plane.sweep(self.stage.plane.now + seconds)

    @rule(principal=st.sampled_from([ANN, BOB]))
    def revoke(self, principal):
        self.stage.plane.end_of(principal.credential)

    @rule(deny=st.booleans())
    def change_policy(self, deny):
        if deny:
            self.stage.deny("no", BOB.id, Action.CALL)
        else:
            self.stage.access.remove("AccessPolicy", "no")

    @rule(instance=st.sampled_from("abc"), go=st.booleans(), down=st.booleans())
    def change_bindings(self, instance, go, down):
        id_ = RegistrationId("Recommender", "1", instance)
        if instance == "a":
            change = Expired(id_, 1)
        else:
            change = Deregistered(id_)
        if go:
            self.stage.apply(change)
        else:
            self.stage.register(instance, methods=self.methods, channels={"news": EventChannel()})
        for target in self.stage.route("safe").selection.targets():
            if target.registration == id_:
                target.health.down = down

    # What holds all the time

    @invariant()
    def a_call_ends_once_and_is_live_until_then(self):
        live = self.stage.plane.live
        for caller in self.all:
            exchange = caller.exchange
            over = bool(caller.ends) or caller.cancelled
            assert exchange.done == over
            assert (exchange in live) == (not over)
            if caller.ends:
                assert not caller.paused

    @invariant()
    def an_attempt_belongs_to_a_live_call_and_is_the_only_one(self):
        attempts = [a.answer for a in self._open()]
        assert len(attempts) == len(set(attempts))
        collecting = {
            c.exchange
            for c in self.all
            if c.exchange.call.name.endswith("/checked") and not c.request_ended
        }
        waiting = {e for e in self.stage.plane.live if e._waiting is not None}
        assert self.stage.plane.live - collecting - waiting <= set(attempts)
        assert set(attempts) <= self.stage.plane.live - waiting
        assert not collecting & set(attempts)

    @invariant()
    def what_is_slow_is_known_to_the_other_side(self):
        slow = {caller.exchange: caller.slow for caller in self.all}
        for attempt in self._open():
            assert attempt.paused == slow[attempt.answer]

    @invariant()
    def every_attempt_got_the_payload_so_far(self):
        sent = {caller.exchange: caller for caller in self.all}
        for attempt in self._open():
            caller = sent[attempt.answer]
            assert (attempt.got, attempt.ended) == (caller.sent, caller.request_ended)

    @invariant()
    def retries_keep_to_the_rules(self):
        attempts: dict[object, list[Attempt]] = {}
        for attempt in self.provider.attempts:
            attempts.setdefault(attempt.answer, []).append(attempt)
        for tried in attempts.values():
            targets = [a.permit.target for a in tried]
            assert len(set(targets)) == len(targets) <= ATTEMPTS

    @invariant()
    def every_end_is_counted_once(self):
        ended = sum(caller.exchange.done for caller in self.all)
        counted = sum(sum(m.counts.values()) for m in self.stage.view.meters())
        assert counted == ended

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            for _ in range(ATTEMPTS):
                for attempt in self._open():
                    attempt.over = True
                    attempt.answer.failed(Status.UNAVAILABLE, "teardown", written=False)
            assert not self._open()
            self.stage.plane.sweep(1e9)
            assert not self.stage.plane.live
            assert all(c.ends == (not c.cancelled) or c.exchange.done for c in self.all)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40)
