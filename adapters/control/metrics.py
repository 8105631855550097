"""Metrics for Prometheus, read from the counters that the gateway keeps anyway."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.message import Status
from gateway.site import Site
from gateway.view import BUCKETS, Meter
from policy.model import Action

SERIES = 200
"""Microservices that have series of their own; the calls of all others are added up."""
OTHERS = "_others"
CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST


class Gauge(NamedTuple):
    """A number that is read when it is asked for; by a label's value, or one under "".

    ``counts``: it only grows, and its name gets ``_total``.
    """

    name: str
    says: str
    read: Callable[[], Mapping[str, float]]
    label: str = ""
    counts: bool = False


class SiteCollector(Collector):
    """Reads a site; nothing is counted twice, and nothing costs while nobody asks."""

    def __init__(self, site: Site, gauges: Iterable[Gauge]) -> None:
        self._site = site
        self._gauges = tuple(gauges)
        self._named: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._traffic()
        yield from self._state()
        for gauge in self._gauges:
            labels = [gauge.label] if gauge.label else []
            kind = CounterMetricFamily if gauge.counts else GaugeMetricFamily
            family = kind(gauge.name, gauge.says, labels=labels)
            for value, number in gauge.read().items():
                family.add_metric([value] if labels else [], number)
            yield family

    def _traffic(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "hilum_calls",
            "Exchanges that ended, by the microservice that provides the name.",
            labels=["microservice", "action", "status"],
        )
        seconds = HistogramMetricFamily(
            "hilum_call_duration_seconds",
            "From a call's head to the end of its reply.",
            labels=["microservice"],
        )
        for name, meters in self._grouped().items():
            for (action, status), number in _counts(meters).items():
                calls.add_metric([name, action.value, status.slug], number)
            seconds.add_metric([name], _buckets(meters), sum(m.seconds for m in meters))
        yield calls
        yield seconds

    def _grouped(self) -> dict[str, list[Meter]]:
        """Return the meters by their label. Who has a series keeps it as long as it lives."""
        meters = self._site.view.meters()
        self._named &= {meter.microservice for meter in meters}
        grouped: dict[str, list[Meter]] = {}
        for meter in meters:
            name = meter.microservice
            if name not in self._named and len(self._named) < SERIES:
                self._named.add(name)
            grouped.setdefault(name if name in self._named else OTHERS, []).append(meter)
        return grouped

    def _state(self) -> Iterator[Metric]:
        site = self._site
        live = sum(1 for one in site.catalog.registrations.values() if one.live)
        numbers = {
            "hilum_ready": ("Whether the site follows its change log.", site.ready),
            "hilum_exchanges": ("Exchanges that are open.", len(site.plane.live)),
            "hilum_routes": ("Names that can be called or subscribed to.", len(site.view.routes)),
            "hilum_registrations": ("Registrations whose lease lives.", live),
            "hilum_policies": ("Policies in force.", len(site.catalog.policies)),
            "hilum_tokens": ("Tokens that are not revoked.", len(site.catalog.tokens)),
            "hilum_log_seq": ("The last entry of the change log in force.", site.ledger.seq),
            "hilum_owed_withdrawals": (
                "Withdrawals in force that the store could not write yet.",
                site.ledger.owed,
            ),
        }
        for name, (says, number) in numbers.items():
            yield GaugeMetricFamily(name, says, value=float(number))


class Metrics:
    """The registry that is exposed."""

    def __init__(self, site: Site, gauges: Iterable[Gauge] = ()) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(SiteCollector(site, gauges))
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return exposition.generate_latest(self._registry)


def _counts(meters: list[Meter]) -> dict[tuple[Action, Status], int]:
    counts: dict[tuple[Action, Status], int] = {}
    for meter in meters:
        for key, number in meter.counts.items():
            counts[key] = counts.get(key, 0) + number
    return counts


def _buckets(meters: list[Meter]) -> list[tuple[str, float]]:
    bounds = [*map(str, BUCKETS), "+Inf"]
    total, found = 0, []
    for at, bound in enumerate(bounds):
        total += sum(meter.buckets[at] for meter in meters)
        found.append((bound, float(total)))
    return found
