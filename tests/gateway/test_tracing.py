"""Which calls get a span, and what their provider hears of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message import Call, Status
from gateway.tracing import LONGEST, Parent, Tracer, parent_of
from policy.model import ANONYMOUS, Action
from registry.names import Name

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
SAMPLED = b"00-" + TRACE + b"-" + SPAN + b"-01"
NOT = b"00-" + TRACE + b"-" + SPAN + b"-00"


class Clock:
    def __init__(self):
        self.now = 5_000_000_000

    def __call__(self):
        self.now += 1000
        return self.now


def tracer(waits=(0,), most=100):
    found = []
    clock = Clock()
    count = iter(waits)
    made = Tracer(
        most, lambda size: b"\xab" * size, lambda: next(count, 10**9), clock, found.append
    )
    return made, found, clock


def call(traceparent=b"", fields=()):
    one = Call(Action.CALL, Name("site/a/b"), ANONYMOUS, 9.0, list(fields))
    one.traceparent = traceparent
    return one


def test_a_call_is_sampled_now_and_then():
    made, _, _ = tracer(waits=(2, 1, 10))
    calls = [call() for _ in range(6)]
    for one in calls:
        made.begin(one)
    assert [one.span is not None for one in calls] == [False, False, True, False, True, False]
    assert calls[0].traceparent == b""
    assert calls[0].fields == []


def test_a_span_is_a_child_of_the_callers_and_the_parent_of_the_providers():
    made, found, _ = tracer(waits=(99,))
    fields = [b"Accept", b": ", b"x", b"\r\n", b"TraceParent", b": ", SAMPLED, b"\r\n"]
    one = call(SAMPLED, fields)
    made.begin(one)
    assert one.span.trace_id == TRACE
    assert one.span.parent_id == SPAN
    ours = b"00-" + TRACE + b"-" + b"ab" * 8 + b"-01"
    assert one.traceparent == ours
    assert one.fields == [*fields[:4], b"traceparent", b": ", ours, b"\r\n"]
    assert fields[6] == SAMPLED, "a remembered head is not changed"
    made.end(one.span, Status.TIMEOUT)
    assert found == [one.span]
    assert found[0].ended > found[0].began
    assert found[0].status is Status.TIMEOUT


def test_a_caller_that_does_not_sample_is_obeyed_and_passed_on():
    made, _, _ = tracer(waits=(0,))
    one = call(NOT, [b"traceparent", b": ", NOT, b"\r\n"])
    made.begin(one)
    assert one.span is None
    assert one.fields[2] == NOT


def test_other_flags_that_do_not_sample_are_obeyed_too():
    made, _, _ = tracer(waits=(0,))
    made.begin(one := call(NOT[:-2] + b"02"))
    assert one.span is None


def test_a_traceparent_that_is_none_begins_a_trace_as_any_other_call():
    made, _, _ = tracer(waits=(0,))
    one = call(b"nonsense", [b"traceparent", b": ", b"nonsense", b"\r\n"])
    made.begin(one)
    assert one.span.parent_id == b""
    assert one.span.trace_id == b"ab" * 16
    assert one.fields[2].startswith(b"00-abab")


def test_callers_cannot_have_more_than_so_many_spans_a_second():
    made, _, clock = tracer(waits=(10**6,), most=3)
    calls = [call(SAMPLED) for _ in range(5)]
    for one in calls:
        made.begin(one)
    assert [one.span is not None for one in calls] == [True] * 3 + [False] * 2
    assert calls[4].traceparent == SAMPLED
    assert made.unsampled == 2
    clock.now += 1_000_000_000
    made.begin(again := call(SAMPLED))
    assert again.span is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SAMPLED, Parent(TRACE, SPAN, True)),
        (NOT, Parent(TRACE, SPAN, False)),
        (b"cc" + SAMPLED[2:] + b"-more", Parent(TRACE, SPAN, True)),
        (SAMPLED + b"-more", None),
        (b"ff" + SAMPLED[2:], None),
        (SAMPLED.upper(), None),
        (b"00-" + b"0" * 32 + b"-" + SPAN + b"-01", None),
        (b"00-" + TRACE + b"-" + b"0" * 16 + b"-01", None),
        (b"cc" + SAMPLED[2:] + b"-" + b"x" * LONGEST, None),
        (b"", None),
    ],
)
def test_traceparents_are_read_as_the_recommendation_says(text, found):
    assert parent_of(text) == found


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data):
    parent_of(data)
    made, _, _ = tracer()
    made.begin(call(data))
