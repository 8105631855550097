"""Resolution: which endpoint gets a call (S3 III-B). Pure: health takes ``now``, nothing probes.

A ``Selection`` is compiled once per Route: tiers of targets (failover order), each with a table
whose slots repeat targets by weight, so that a pick is an index and a health check.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from math import log
from typing import Final, NamedTuple
from zlib import crc32

from mypy_extensions import mypyc_attr

from policy.model import Choice, HealthCheck, Passive, ResolutionPolicy
from policy.quality.breaker import Guard
from registry.model import Endpoint, RegistrationId
from registry.names import Name
from registry.urls import InvalidUrl, parse_url, scheme_of

SLOTS = 64
STATIC = RegistrationId("$binding", "", "")
"""The registration of endpoints that an operator bound."""

_BEFORE_PATH = re.compile(r"[^/?#]*//[^/?#]*")
_WORD = 0xFFFFFFFF


@mypyc_attr(native_class=False)  # weak references need an ordinary class
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


HealthOf = Callable[[str, HealthCheck | None], Health]
"""Returns the shared health of an origin, as far as it is probed in the same way."""

GuardOf = Callable[[Name, str], Guard | None]
"""Returns what a quality policy has between a name and one of its endpoints."""


class Source(NamedTuple):
    """An endpoint and who offers it: what the compiler chooses from.

    ``session`` names a live session that provides the method itself (then ``endpoint`` is empty):
    the kind of sessions, ``-`` and a number.
    """

    registration: RegistrationId
    endpoint: Endpoint
    peer: str
    session: str = ""
    owner: str = ""


class Target:
    """One compiled choice of a Selection, ``among`` so many of its name.

    ``prepared`` belongs to the adapter that sends to it, ``account`` to who counts.

    ``provider`` says which provider sends there. ``site`` is set for a redirect to another site's
    gateway, which resolves the name itself. A ``guard`` ejects in the place of ``passive``.
    """

    __slots__ = (
        "account",
        "among",
        "endpoint",
        "guard",
        "health",
        "owner",
        "passive",
        "peer",
        "prepared",
        "provider",
        "registration",
        "seed",
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
        self.among = 1
        self.guard: Guard | None = None
        self.account: object | None = None
        self.provider = _provider(source, site)
        self.prepared: object | None = None
        self.seed = crc32(str(self).encode())

    def ok(self, now: float) -> bool:
        """Return whether calls may go there now."""
        guard = self.guard
        return self.health.ok(now) and (guard is None or guard.calm or guard.ok(now))

    def blocks(self, now: float) -> float:
        """Return for how many seconds nothing may go there in any case; 0.0: it may."""
        guard = self.guard
        return 0.0 if guard is None or guard.calm else guard.blocks(now)

    def failed(self, now: float) -> None:
        """Count a failure."""
        guard = self.guard
        if guard is not None:
            guard.failed(now, self.among)
        if guard is None or guard.ejections is None:
            self.health.failed(now, self.passive)

    def succeeded(self, now: float) -> None:
        """It answered."""
        if self.guard is not None:
            self.guard.succeeded(now)
        if self.health.failures or self.health.ejected_until:
            self.health.succeeded()

    def __str__(self) -> str:
        where = self.site or self.endpoint.url or f"session {self.session}"
        return where if self.registration == STATIC else f"{self.registration} at {where}"


PROVIDERS: Final = {
    "http": "http",
    "https": "http",
    "mqtt": "broker",
    "mqtts": "broker",
    "coap": "coap",
    "coap+tcp": "coap",
}
"""Which provider sends to endpoints of a scheme."""


def _provider(source: Source, site: str) -> str:
    if source.session:
        return source.session.partition("-")[0]
    return PROVIDERS.get(scheme_of(site or source.endpoint.url), "http")


class Tier:
    """Targets of one failover order: ``weights`` says how traffic is shared among them."""

    __slots__ = ("slots", "weights")

    def __init__(self, weights: dict[Target, float]) -> None:
        self.weights = weights
        self.slots = table(weights)

    def at(self, turn: int, now: float, tried: Sequence[Target]) -> Target | None:
        """Return the target whose turn it is, or one that takes its place."""
        slots = self.slots
        target = slots[turn % len(slots)]
        if target.ok(now) and target not in tried:
            return target
        # Its own version first, so that the shares of versions hold when an instance fails; and
        # scattered, so that not the next one alone takes the load of one that failed.
        fit = [t for t in slots if t.ok(now) and t not in tried]
        fit = [t for t in fit if t.registration[:2] == target.registration[:2]] or fit
        return fit[_scatter(turn) % len(fit)] if fit else None

    def stick(self, key: int, now: float, tried: Sequence[Target]) -> Target | None:
        """Return the target for a key: weighted rendezvous hashing.

        When a target comes or goes, only keys that go to it or were on it move.
        """
        fit = [t for t in self.weights if t.ok(now) and t not in tried]
        return max(fit, key=lambda t: self._draw(key, t), default=None)

    def _draw(self, key: int, target: Target) -> float:
        lot = (_scatter(key ^ target.seed) + 0.5) / (_WORD + 1)
        return self.weights[target] / -log(lot)


class Selection:
    """The targets of a Route, in tiers; ``pick`` is on the path of every call.

    ``single`` is the only target there is, if so: then there are no tiers.
    """

    __slots__ = ("health_check", "single", "sticky", "tiers", "turn")

    def __init__(
        self, tiers: Sequence[dict[Target, float]], policy: ResolutionPolicy, turn: int = 0
    ) -> None:
        every = {target for weights in tiers for target in weights}
        self.single: Target | None = every.pop() if len(every) == 1 else None
        self.tiers = tuple(map(Tier, tiers)) if every else ()
        self.sticky = policy.sticky
        self.health_check = policy.health
        self.turn = turn

    def targets(self) -> Collection[Target]:
        """Return each target once, the preferred tier first."""
        if self.single is not None:
            return (self.single,)
        return dict.fromkeys(target for tier in self.tiers for target in tier.weights)

    def pick(self, now: float, key: bytes, tried: Sequence[Target]) -> Target | None:
        """Return the target for a call, or None when there is none left to try.

        ``key`` makes the choice sticky when it is not empty. If nothing is healthy, an ejected
        target is tried all the same (an ejection is a guess), one that probes say is down or
        whose breaker is open is not.
        """
        single = self.single
        if single is not None:
            if single in tried or single.health.down:
                return None
            guard = single.guard
            return single if guard is None or guard.calm or not guard.blocks(now) else None
        number = crc32(key) if key else self.turn
        self.turn += 1
        for tier in self.tiers:
            found = tier.stick(number, now, tried) if key else tier.at(number, now, tried)
            if found is not None:
                return found
        return self._last_resort(now, tried)

    def wait(self, now: float) -> float:
        """Return in how many seconds a breaker lets calls pass again; 0.0: none is open."""
        return min((t.blocks(now) for t in self.targets()), default=0.0)

    def _last_resort(self, now: float, tried: Sequence[Target]) -> Target | None:
        every = self.targets()
        left = [t for t in every if t not in tried and not t.health.down and not t.blocks(now)]
        return min(left, key=lambda t: t.health.ejected_until, default=None)


def compile_selection(
    name: Name,
    sources: Sequence[Source],
    policy: ResolutionPolicy,
    health_of: HealthOf,
    guard_of: GuardOf | None = None,
) -> Selection:
    """Compile what a name resolves to; an endpoint that nobody here can reach is left out."""
    targets = [
        Target(source, health_of(where, policy.health), policy.passive)
        for source in sources
        if (where := source.session or origin(source.endpoint.url))
    ]
    tiers: dict[int, dict[Target, float]] = {}
    for choice, matching in choose(targets, policy):
        remote = [_redirect(name, choice.site, policy, health_of)] if choice.site else []
        chosen = matching + remote
        if choice.weight:
            weights = tiers.setdefault(choice.order, {})
            for target in chosen:
                share = choice.weight / len(chosen)
                weights[target] = weights.get(target, 0.0) + share
    found = [tiers[order] for order in sorted(tiers) if tiers[order]]
    every = {target for weights in found for target in weights}
    for target in every:
        target.among = len(every)
        if guard_of is not None:
            target.guard = guard_of(name, str(target))
    # Each Route begins elsewhere, else the first calls of many names would hit one instance.
    return Selection(found, policy, crc32(name.encode()))


def _redirect(name: Name, site: str, policy: ResolutionPolicy, health_of: HealthOf) -> Target:
    url = f"{site.rstrip('/')}/{name.partition('/')[2]}"
    health = health_of(origin(url), policy.health)
    return Target(Source(STATIC, Endpoint(url), ""), health, policy.passive, site)


def origin(url: str) -> str:
    """Return ``scheme://host:port`` of an absolute URL in one spelling, "" if there is none."""
    found = _BEFORE_PATH.match(url)
    return _origin(found[0]) if found is not None else ""


@lru_cache(maxsize=1024)
def _origin(url: str) -> str:
    try:
        parsed = parse_url(url)
    except InvalidUrl:
        return ""
    return f"{parsed.scheme}://{parsed.host}:{parsed.port}"


def choose(
    targets: Sequence[Target], policy: ResolutionPolicy
) -> list[tuple[Choice, list[Target]]]:
    """Match a policy's choices with the live targets of a name.

    Without choices the operator's own bindings win; else the version that has been there longest
    keeps the traffic until a policy names another (design 5).
    """
    if policy.choices:
        return [(c, [t for t in targets if _matches(c, t)]) for c in policy.choices]
    static = [t for t in targets if t.registration == STATIC]
    if static:
        return [(Choice(), static)]
    established = {t.registration[:2] for t in targets[:1]}
    return [(Choice(), [t for t in targets if t.registration[:2] in established])]


def _matches(choice: Choice, target: Target) -> bool:
    wanted = RegistrationId(choice.microservice, choice.version, choice.instance)
    pairs = zip(wanted, target.registration, strict=True)
    return not choice.site and all(want in ("", have) for want, have in pairs)


def table(weights: Mapping[Target, float]) -> tuple[Target, ...]:
    """Spread targets over slots by weight, each evenly over the whole table.

    Equal weights give one slot each. Every target gets at least one of at least 64.
    """
    if len(set(weights.values())) <= 1:
        return tuple(weights)
    total = sum(weights.values())
    size = max(SLOTS, len(weights))
    places: list[tuple[float, int, Target]] = []
    for number, (target, weight) in enumerate(weights.items()):
        share = max(1, round(size * weight / total))
        places += [((turn + 0.5) / share, number, target) for turn in range(share)]
    return tuple(target for _, _, target in sorted(places))


def _scatter(number: int) -> int:
    """Mix the bits of a number (the finalizer of MurmurHash3): neighbours end far apart."""
    number &= _WORD
    number = (number ^ number >> 16) * 0x85EBCA6B & _WORD
    number = (number ^ number >> 13) * 0xC2B2AE35 & _WORD
    return number ^ number >> 16
