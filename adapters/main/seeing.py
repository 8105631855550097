"""What a site lets be seen of itself: the audit log, traces, and who watches its traffic."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from importlib import metadata
from math import ceil, log1p
from typing import Protocol

from adapters.audit.writer import AuditWriter, Sizes
from adapters.control.metrics import Gauge
from gateway.channels import Channels
from gateway.message import Refusal
from gateway.objects.local import LocalProvider
from gateway.objects.observe import ObserveObject
from gateway.objects.serve import serve_object
from gateway.ports import Store
from gateway.seeing.audit import Audit
from gateway.seeing.watching import Watching
from gateway.settings import Config, Trace
from gateway.site import Site
from gateway.strict_toml import ConfigError
from gateway.tracing import Span, Tracer
from policy.decision import Decision
from policy.model import Action, Principal
from policy.quality.breaker import CLOSED, HALF_OPEN, OPEN
from registry.names import Name

log = logging.getLogger("hilum")

SPANS_A_SECOND = 100
"""However much callers want to be traced."""
NEVER = 1 << 60
UNWRITTEN = "the audit log cannot be written now, and it is required"


class Spans(Protocol):
    """Where spans go."""

    dropped: int
    sent: int

    def export(self, span: Span) -> None:
        """Take one that ended."""
        ...

    def close(self, seconds: float = 2.0) -> None:
        """Send what waits."""
        ...


class Seeing:
    """The audit log and the traces of one site."""

    def __init__(self, site: Site, config: Config) -> None:
        self.audit: Audit | None = None
        self.writer: AuditWriter | None = None
        self.spans: Spans | None = None
        self.watching = Watching(site.plane, asyncio.get_running_loop().time, site.time)
        self._site = site
        self._config = config

    async def start(self, store: Store) -> None:
        """Begin, before the change log is replayed; raises OSError and ConfigError."""
        self._start_tracing(self._config.trace)
        self._site.plane.access.told = self._told
        settings = self._config.audit
        if not settings.enabled:
            return
        site = self._site
        sizes = Sizes(settings.file, settings.files)
        writer = self.writer = AuditWriter(self._config.site.state / "audit", sizes)
        writer.start()
        audit = self.audit = Audit(
            writer.note, site.time, allows=settings.allows, changes=writer.changes
        )
        audit.catch_up(await store.head())
        site.ledger.heard = audit.entered
        if settings.required:
            site.ledger.hindrance = lambda: UNWRITTEN if writer.failing else ""
        site.plane.access.tell_all = settings.allows
        site.identity.watchers.append(self._refused)
        site.watchers.logins.append(audit.authenticated)

    def serve(self, local: LocalProvider, channels: Channels) -> None:
        """Let operators look at traffic."""
        watched = ObserveObject(self._site, channels, self.watching, secrets.token_bytes)
        serve_object(self._site, local, "observe", watched.handlers())

    def sweep(self) -> None:
        """Once a second."""
        self.watching.sweep()
        if self.audit is not None:
            self.audit.sweep()

    def close(self) -> None:
        """Write and send what waits; may take some seconds, so not on the loop."""
        if self.audit is not None and self.writer is not None:
            self.audit.flush()
            self.writer.close()
        if self.spans is not None:
            self.spans.close()

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        found = [
            _count(
                "authentication_failures",
                "Clients that presented something that authenticates nobody.",
                lambda: self._site.identity.failures,
            ),
            Gauge("hilum_breakers", "Circuit breakers by state.", self._breakers, "state"),
        ]
        audit, writer, spans = self.audit, self.writer, self.spans
        if audit is not None and writer is not None:
            found += [
                _count("audit_records", "Records of the audit log.", lambda: writer.written),
                _count("audit_lost", "Audit records that were lost.", lambda: writer.lost),
                Gauge(
                    "hilum_audit_failing",
                    "Whether the audit log cannot be written now.",
                    lambda: {"": float(writer.failing)},
                ),
                Gauge(
                    "hilum_shadow_differences",
                    "Decisions that a policy in shadow mode would have made otherwise.",
                    lambda: self._site.plane.access.shadowed.counts,
                    label="policy",
                    counts=True,
                ),
                Gauge(
                    "hilum_denials",
                    "Questions that were denied, by the policy that denied them.",
                    lambda: audit.denials,
                    label="policy",
                    counts=True,
                ),
            ]
        if spans is not None:
            found += [
                _count("spans", "Spans that the collector took.", lambda: spans.sent),
                _count("spans_dropped", "Spans that were lost.", lambda: spans.dropped),
            ]
        return found

    # Inside

    def _breakers(self) -> dict[str, float]:
        admission, now = self._site.plane.admission, self._site.plane.now
        states = [] if admission is None else [one.state(now) for one in admission.breakers()]
        return {
            said: float(states.count(state))
            for state, said in ((CLOSED, "closed"), (OPEN, "open"), (HALF_OPEN, "half-open"))
        }

    def _told(self, principal: Principal, action: Action, name: Name, decision: Decision) -> None:
        audit = self.audit
        if decision.allowed:
            if audit is not None:
                audit.decided("allowed", principal, action, name, decision)
        elif action is not Action.DESCRIBE:
            # What may be described is asked for each name of a list: nobody tried these.
            self.watching.denied(principal, action, name, decision)
            if audit is not None:
                audit.denied(principal, action, name, decision)

    def _refused(self, peer: str, user: str, refusal: Refusal) -> None:
        if self.audit is not None:
            self.audit.refused(peer, user if self._is_known(user) else "", refusal.detail)

    def _is_known(self, user: str) -> bool:
        records, now = self._site.identity.records, self._site.time()
        return bool(user) and any(
            True for method in ("secret", "password") for _ in records.valid(method, user, now)
        )

    def _start_tracing(self, settings: Trace) -> None:
        if not settings.endpoint:
            return
        try:
            from adapters.otlp.exporter import Exporter
        except ImportError as error:
            detail = "[trace] endpoint: needs the extra `trace`: pip install 'hilum[trace]'"
            raise ConfigError(detail) from error
        url = settings.endpoint.rstrip("/") + "/v1/traces"
        exporter = Exporter(url, {}, self._site.authority, _version())
        exporter.start()
        self.spans = exporter
        wait = _waits(settings.sample, random.random)
        self._site.plane.tracer = Tracer(
            SPANS_A_SECOND, secrets.token_bytes, wait, time.time_ns, exporter.export
        )


def _waits(ratio: float, uniform: Callable[[], float]) -> Callable[[], int]:
    """Return how many calls pass between two that are sampled: geometrically distributed."""
    if ratio <= 0:
        return lambda: NEVER
    if ratio >= 1:
        return lambda: 0
    scale = log1p(-ratio)
    return lambda: max(0, ceil(log1p(-uniform()) / scale) - 1)


def _version() -> str:
    try:
        return metadata.version("hilum")
    except metadata.PackageNotFoundError:
        return "unknown"


def _count(name: str, says: str, read: Callable[[], float]) -> Gauge:
    return Gauge(f"hilum_{name}", says, lambda: {"": read()}, counts=True)
