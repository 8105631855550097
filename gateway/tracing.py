"""One span for a call that is sampled: a child of the caller's, the parent of the provider's. Pure.

Trace context is W3C Trace Context level 1 (https://www.w3.org/TR/trace-context/): on every
protocol it travels in ``Call.fields`` and in ``Call.traceparent``. A call that is not sampled
keeps what its caller sent.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.message import Call, Status

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
NAME: Final = b"traceparent"
NOT_SAMPLED: Final = b"-00"
"""How a traceparent ends whose caller does not sample: what comes before is not even looked at."""
LONGEST: Final = 128
"""Bytes of a traceparent; later versions may be longer than ours, which has 55."""
FAULTS: Final = (Status.UNAVAILABLE, Status.TIMEOUT, Status.PROVIDER_ERROR, Status.INTERNAL)
"""What makes a span an error: not what the caller did wrong (OpenTelemetry's HTTP spans)."""


class Parent(NamedTuple):
    """Who a caller says that it is in a trace."""

    trace_id: bytes
    span_id: bytes
    sampled: bool


def parent_of(traceparent: bytes) -> Parent | None:
    """Read a traceparent (section 3.2); None for what is none, which starts a new trace."""
    if len(traceparent) > LONGEST:
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5]):
        return None
    if match[2] == _NO_TRACE or match[3] == _NO_SPAN:
        return None
    return Parent(match[2], match[3], bool(int(match[4], 16) & 1))


class Span:
    """What a sampled call did; ids are lower-case hexadecimal, times Unix nanoseconds."""

    __slots__ = (
        "began",
        "call",
        "ended",
        "microservice",
        "parent_id",
        "provider",
        "span_id",
        "status",
        "trace_id",
    )

    def __init__(
        self, call: Call, trace_id: bytes, parent_id: bytes, span_id: bytes, began: int
    ) -> None:
        self.call = call
        self.trace_id = trace_id
        self.parent_id = parent_id
        """b"" for the first span of a trace."""
        self.span_id = span_id
        self.began = began
        self.ended = began
        self.status = Status.OK
        self.microservice = ""
        self.provider = ""
        """The kind of endpoint that was asked last, "" when none was."""


class Tracer:
    """Decides which calls are traced; ``export`` gets the spans that ended.

    ``random_bytes`` makes ids, ``wait`` says how many calls to let pass before the next one is
    sampled, ``clock`` is Unix time in nanoseconds. Calls of ``begin`` without a trace cost a
    countdown.
    """

    __slots__ = (
        "_clock",
        "_export",
        "_full",
        "_left",
        "_most",
        "_random",
        "_second",
        "_taken",
        "_wait",
        "unsampled",
    )

    def __init__(
        self,
        most: int,
        random_bytes: Callable[[int], bytes],
        wait: Callable[[], int],
        clock: Callable[[], int],
        export: Callable[[Span], None],
    ) -> None:
        self._most = most
        self._random = random_bytes
        self._wait = wait
        self._clock = clock
        self._export = export
        self._left = wait()
        self._second = 0
        self._taken = 0
        self._full = 0
        """Until when there are no more spans: meanwhile no traceparent is even read."""
        self.unsampled = 0
        """Calls with a caller's trace that had no span because there were too many."""

    def begin(self, call: Call) -> None:
        """Begin a span if a call is to have one; the provider then hears of ours."""
        traceparent = call.traceparent
        if traceparent:
            if traceparent.endswith(NOT_SAMPLED):
                return
            if self._clock() < self._full:
                self.unsampled += 1
                return
            parent = parent_of(traceparent)
            if parent is not None:
                if parent.sampled:
                    self._trace(call, parent.trace_id, parent.span_id)
                return
        self._left -= 1
        if self._left < 0:
            self._left = self._wait()
            self._trace(call, b"", b"")

    def end(self, span: Span, status: Status) -> None:
        """End a span and hand it on."""
        span.ended = self._clock()
        span.status = status
        self._export(span)

    def _trace(self, call: Call, trace_id: bytes, parent_id: bytes) -> None:
        now = self._clock()
        second = now // 1_000_000_000
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self._most:
            self._full = (second + 1) * 1_000_000_000
            self.unsampled += 1
            return
        self._taken += 1
        trace_id = trace_id or self._random(16).hex().encode()
        span_id = self._random(8).hex().encode()
        call.span = Span(call, trace_id, parent_id, span_id, now)
        call.traceparent = b"00-%b-%b-01" % (trace_id, span_id)
        call.fields = [*_without(call.fields), NAME, b": ", call.traceparent, b"\r\n"]


def _without(fields: list[bytes]) -> list[bytes]:
    """Return fields without the caller's traceparent; the list may be one of many calls."""
    kept: list[bytes] = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() != NAME:
            kept += fields[at : at + 4]
    return kept
