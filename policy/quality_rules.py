"""The parts of a QualityPolicy: rates, places, retries, breakers, ejection, shedding (S3 III-B)."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Count: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]


class Rate(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """So many a second on average, and at most ``burst`` at once (0: one second's)."""

    rate: Annotated[float, Meta(gt=0, le=1e12)]
    burst: Annotated[float, Meta(ge=0, le=1e12)] = 0.0


class Concurrency(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most ``limit`` calls at once; ``queue`` more wait for ``wait`` seconds at most.

    An ``adaptive`` limit moves between ``minimum`` and ``limit`` with the latency that it sees.
    """

    limit: Annotated[int, Meta(ge=1, le=100_000)]
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    wait: Annotated[float, Meta(gt=0, le=300)] = 1.0
    adaptive: bool = False
    minimum: Annotated[int, Meta(ge=1, le=100_000)] = 1


class Retries(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tries of one call in all, and how much of the traffic may be retries.

    ``budget`` is their share of the calls, ``minimum`` how many a second are always allowed.
    """

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    budget: Annotated[float, Meta(ge=0, le=1)] = 0.2
    minimum: Annotated[float, Meta(ge=0, le=1000)] = 3.0


class Breaker(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A circuit breaker per endpoint: opens after ``failures`` in a row (S3 III-B).

    It stays open for ``open`` seconds, twice as long each time until ``maximum``, jittered; then
    ``probes`` calls at once may try whether the endpoint is well again.
    """

    failures: Count = 5
    open: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    maximum: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    probes: Count = 1


class Outlier(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ejection of endpoints that fail: never more than ``share`` of a name's endpoints at once."""

    failures: Count = 3
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Shed(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a method nears exhaustion, and what the site then does about it (S3 III-B).

    Of the last seconds: the share of calls that failed, the 99th percentile of latency in
    milliseconds, calls that waited for a place; 0 does not ask. The site then lets ``keep`` of
    the present traffic pass, by a QualityPolicy of its own that ends after ``seconds``.
    """

    errors: Annotated[float, Meta(ge=0, le=1)] = 0.0
    p99: Annotated[int, Meta(ge=0, le=300_000)] = 0
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    calls: Count = 20
    keep: Annotated[float, Meta(gt=0, le=1)] = 0.5
    seconds: Annotated[int, Meta(ge=1, le=86_400)] = 30
