"""Resolution: which endpoint gets a call (S3 III-B). Pure: health takes ``now``, nothing probes.

A ``Selection`` is compiled once per Route: tiers of targets (failover order), each tier a table
whose slots repeat targets by weight, so that a pick is an index and a health check.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

from policy.model import Choice, Passive, ResolutionPolicy
from registry.model import Endpoint, RegistrationId
from registry.names import Name
from registry.urls import parse_url

SLOTS = 64
STATIC = RegistrationId("$binding", "", "")
"""The registration of endpoints that an operator bound."""


class Health:
    """What is known of one origin (scheme, host, port); shared by all its targets.

    ``down`` is the verdict of active probes; passive ejection lasts until ``ejected_until`` on
    the loop's clock.
    """

    __slots__ = ("__weakref__", "down", "ejected_until", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.ejected_until = 0.0
        self.down = False

    def ok(self, now: float) -> bool:
        """Return whether calls may go there now."""
        return not self.down and now >= self.ejected_until

    def succeeded(self) -> None:
        """Forget past failures: the endpoint answered."""
        self.failures = 0
        self.ejected_until = 0.0

    def failed(self, now: float, passive: Passive) -> None:
        """Count a failure; after enough in a row the endpoint is ejected for a while."""
        self.failures += 1
        if self.failures >= passive.failures:
            self.ejected_until = now + passive.seconds
            self.failures = 0


class Source(NamedTuple):
    """An endpoint and who offers it: what the compiler chooses from.

    ``session`` names a live session that provides the method itself (then ``endpoint`` is empty).
    """

    registration: RegistrationId
    endpoint: Endpoint
    peer: str
    session: str = ""
    owner: str = ""


class Target:
    """One compiled choice of a Selection. ``prepared`` belongs to the adapter that sends to it.

    ``site`` is set for a redirect to another site's gateway, which resolves the name itself.
    """

    __slots__ = (
        "endpoint",
        "health",
        "owner",
        "passive",
        "peer",
        "prepared",
        "registration",
        "session",
        "site",
    )

    def __init__(
        self,
        source: Source,
        health: Health,
        passive: Passive,
        site: str = "",
    ) -> None:
        self.registration = source.registration
        self.endpoint = source.endpoint
        self.peer = source.peer
        self.session = source.session
        self.owner = source.owner
        self.health = health
        self.passive = passive
        self.site = site
        self.prepared: object | None = None

    def __str__(self) -> str:
        where = self.site or self.endpoint.url or f"session {self.session}"
        return f"{self.registration} at {where}"


class Selection:
    """The targets of a Route, in tiers; ``pick`` is on the path of every call."""

    __slots__ = ("health_check", "single", "sticky", "tiers", "turn")

    def __init__(self, tiers: Sequence[tuple[Target, ...]], policy: ResolutionPolicy) -> None:
        self.tiers = tuple(tiers)
        self.sticky = policy.sticky
        self.health_check = policy.health
        self.turn = 0
        only = {t for tier in self.tiers for t in tier}
        self.single: Target | None = only.pop() if len(only) == 1 else None

    def targets(self) -> Iterable[Target]:
        """Yield each target once, the preferred tier first."""
        for tier in self.tiers:
            yield from dict.fromkeys(tier)

    def pick(self, now: float, key: bytes, tried: Sequence[Target]) -> Target | None:
        """Return the target for a call, or None when there is none left to try.

        ``key`` makes the choice sticky when it is not empty. If nothing is healthy, an ejected
        target is tried all the same (an ejection is a guess), one that probes say is down is not.
        """
        if self.single is not None:
            return None if self.single in tried or self.single.health.down else self.single
        start = crc32(key) if key else self.turn
        self.turn += 1
        for tier in self.tiers:
            found = _first(tier, start, now, tried)
            if found is not None:
                return found
        return self._last_resort(tried)

    def _last_resort(self, tried: Sequence[Target]) -> Target | None:
        left = [t for t in self.targets() if t not in tried and not t.health.down]
        return min(left, key=lambda t: t.health.ejected_until, default=None)


def _first(
    tier: tuple[Target, ...], start: int, now: float, tried: Sequence[Target]
) -> Target | None:
    size = len(tier)
    for step in range(size):
        target = tier[(start + step) % size]
        if target.health.ok(now) and target not in tried:
            return target
    return None


def compile_selection(
    name: Name,
    sources: Sequence[Source],
    policy: ResolutionPolicy,
    health_of: Callable[[str], Health],
) -> Selection:
    """Compile what a name resolves to; ``health_of`` returns the shared health of an origin."""
    tiers: dict[int, list[tuple[Target, float]]] = {}
    for choice, chosen in choose(sources, policy):
        tier = tiers.setdefault(choice.order, [])
        if choice.site:
            url = f"{choice.site.rstrip('/')}/{name.partition('/')[2]}"
            source = Source(STATIC, Endpoint(url), "")
            health = health_of(origin(url))
            tier.append((Target(source, health, policy.passive, choice.site), choice.weight))
        for source in chosen:
            health = health_of(source.session or origin(source.endpoint.url))
            target = Target(source, health, policy.passive)
            tier.append((target, choice.weight / len(chosen)))
    tables = [table(tiers[order]) for order in sorted(tiers)]
    return Selection([slots for slots in tables if slots], policy)


def origin(url: str) -> str:
    """Return ``scheme://host:port`` of an absolute URL in one spelling."""
    parsed = parse_url(url, template=True)
    return f"{parsed.scheme}://{parsed.host}:{parsed.port}"


def choose(
    sources: Sequence[Source], policy: ResolutionPolicy
) -> list[tuple[Choice, list[Source]]]:
    """Match a policy's choices with the live sources of a name.

    Without choices the operator's own bindings win; else the version that has been there longest
    keeps the traffic until a policy names another (design 5).
    """
    if policy.choices:
        return [(c, [s for s in sources if _matches(c, s)]) for c in policy.choices]
    static = [s for s in sources if s.registration.microservice == STATIC.microservice]
    if static:
        return [(Choice(), static)]
    established = {s.registration[:2] for s in sources[:1]}
    return [(Choice(), [s for s in sources if s.registration[:2] in established])]


def _matches(choice: Choice, source: Source) -> bool:
    wanted = RegistrationId(choice.microservice, choice.version, choice.instance)
    pairs = zip(wanted, source.registration, strict=True)
    return not choice.site and all(want in ("", have) for want, have in pairs)


def table(weighted: Sequence[tuple[Target, float]]) -> tuple[Target, ...]:
    """Spread targets over slots by weight, evenly interleaved (smooth weighted round robin).

    Equal weights give one slot each. Every positive weight gets at least one of at least 64.
    """
    weighted = [(target, weight) for target, weight in weighted if weight > 0]
    if len({weight for _, weight in weighted}) <= 1:
        return tuple(target for target, _ in weighted)
    total = sum(weight for _, weight in weighted)
    size = max(SLOTS, len(weighted))
    shares = {target: max(1, round(size * weight / total)) for target, weight in weighted}
    credit = dict.fromkeys(shares, 0)
    slots = []
    length = sum(shares.values())
    for _ in range(length):
        for target, share in shares.items():
            credit[target] += share
        best = max(credit, key=credit.__getitem__)
        credit[best] -= length
        slots.append(best)
    return tuple(slots)
