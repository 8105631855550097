"""Spans as OTLP over HTTP: the only file that imports OpenTelemetry (decision 0040).

Its SDK's tracers cost tens of microseconds for a span and keep context in context variables, so
only its data model and its exporter are used, in a thread of ours.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from gateway.tracing import FAULTS, Span

log = logging.getLogger("hilum.trace")

QUEUE = 4096
"""Spans that wait for the collector; more are dropped, and counted."""
BATCH = 512
BATCH_SECONDS = 1.0
TIMEOUT = 10.0
"""Seconds for one export, its repetitions included."""

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Exporter:
    """Takes spans from the loop's thread and sends them from its own.

    ``dropped`` counts spans that found the queue full or that the collector did not take.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        authority: str,
        version: str,
        seconds: float = BATCH_SECONDS,
    ) -> None:
        self.dropped = 0
        self.sent = 0
        self._seconds = seconds
        self._queue: deque[Span] = deque()
        self._out: SpanExporter = OTLPSpanExporter(url, headers=dict(headers), timeout=TIMEOUT)
        self._resource = Resource(
            {"service.name": "hilum", "service.version": version, "hilum.authority": authority}
        )
        self._scope = InstrumentationScope("hilum", version)
        self._failing = False
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        # The exporter logs a traceback for each batch that fails; one line of ours is enough.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def export(self, span: Span) -> None:
        """Take a span that ended. Never blocks."""
        if len(self._queue) >= QUEUE:
            self.dropped += 1
        else:
            self._queue.append(span)

    @property
    def waiting(self) -> int:
        """How many spans are not yet sent."""
        return len(self._queue)

    def close(self, seconds: float = 2.0) -> None:
        """Send what waits, for so long at most."""
        self._ending = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        ended = False
        while not ended:
            self._wake.wait(self._seconds)
            ended = self._ending
            self._drain()
        self._out.shutdown()

    def _drain(self) -> None:
        """Send what waits; while the collector takes nothing, one batch a turn is tried."""
        while self._queue:
            self._send()
            if self._failing:
                break

    def _send(self) -> None:
        spans = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            taken = self._out.export([self._readable(span) for span in spans])
            failed = taken is not SpanExportResult.SUCCESS
        except Exception:
            log.exception("spans could not be exported")
            failed = True
        if failed:
            self.dropped += len(spans)
        else:
            self.sent += len(spans)
        if failed != self._failing:
            self._failing = failed
            said = "takes no spans: they are dropped" if failed else "takes spans again"
            log.warning("the trace collector %s", said)

    def _readable(self, span: Span) -> ReadableSpan:
        call = span.call
        trace_id = int(span.trace_id, 16)
        attributes: dict[str, str | int] = {
            "hilum.action": str(call.action),
            "hilum.name": call.name,
            "hilum.status": span.status.slug,
            "hilum.microservice": span.microservice,
            "enduser.id": call.principal.id,
        }
        if span.provider:
            attributes["hilum.provider"] = span.provider
        fault = span.status in FAULTS
        parent = None
        if span.parent_id:
            parent = SpanContext(
                trace_id, int(span.parent_id, 16), is_remote=True, trace_flags=_SAMPLED
            )
        return ReadableSpan(
            name=f"{call.action} {call.name}",
            context=SpanContext(
                trace_id, int(span.span_id, 16), is_remote=False, trace_flags=_SAMPLED
            ),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, span.status.slug)
            if fault
            else Status(StatusCode.UNSET),
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )
