"""Semantic matching of services by their profiles (Paolucci et al., ISWC 2002; OWLS-MX). Pure.

An output that is offered fits one that is wanted, and an input that is given one that is
required, in degrees: the same class, a narrower one, a wider one, or one beside it. Parameters
are assigned one to one, so that the worst pair is as good as it can be (the bottleneck assignment
problem, by a falling threshold and augmenting paths). A wanted service is as good as its worst
pair.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from registry.model import Profile, ServiceLevel, Term, Terms
from registry.terms import PREFIXES

Above: TypeAlias = Callable[[str], Collection[str]]
"""Returns every class that contains a class, itself included."""
Parameters: TypeAlias = Annotated[dict[str, Term], Meta(max_length=32)]
"""Names of parameters and their classes."""

EVERYTHING: Final = frozenset({PREFIXES["owl"] + "Thing", PREFIXES["rdfs"] + "Resource"})
"""Classes of all there is: to have them in common says nothing."""
REMEMBERED: Final = 16_384
"""Classes whose parents are remembered: callers may ask for any."""


class Degree(IntEnum):
    """How well a parameter, or a whole service, fits; more is better."""

    FAIL = 0
    SIBLING = 1
    """Both are directly below one class."""
    SUBSUMES = 2
    """What there is may be what is asked for: its class is wider."""
    PLUGIN = 3
    """What there is always is what is asked for: its class is narrower."""
    EXACT = 4

    @property
    def word(self) -> str:
        """The name in answers."""
        return self.name.lower()


class Taxonomy:
    """Classes, and which of them contain which; remembers what is asked again and again."""

    def __init__(self, above: Above) -> None:
        self.above = above
        self._parents: dict[str, frozenset[str]] = {}

    def parents(self, term: str) -> frozenset[str]:
        """Return the classes that contain a class with nothing between; never that of all."""
        found = self._parents.get(term)
        if found is None:
            above = self.above
            wider = {each for each in above(term) if term not in above(each)} - EVERYTHING
            found = frozenset(each for each in wider if not self._between(each, wider))
            if len(self._parents) < REMEMBERED:
                self._parents[term] = found
        return found

    def _between(self, term: str, wider: Iterable[str]) -> bool:
        """Return whether one of ``wider`` is strictly below a term."""
        above = self.above
        return any(term in above(each) and each not in above(term) for each in wider)


class Pair(NamedTuple):
    """A parameter that is needed, the one that is there for it, and how well it fits."""

    needed: str
    there: str
    degree: Degree


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller looks for.

    ``inputs`` are what it can give, ``outputs`` what it wants, ``stated`` what it says holds
    already, ``effects`` what is to hold afterwards; ``level`` is the least that it accepts, with
    ``latency`` as the most. ``least`` is the degree below which nothing is a match.
    """

    inputs: Parameters = {}
    outputs: Parameters = {}
    stated: Terms = ()
    effects: Terms = ()
    category: Annotated[str, Meta(max_length=1024)] = ""
    level: ServiceLevel = ServiceLevel()
    least: Degree = Degree.SIBLING


class Match(NamedTuple):
    """How a service fits: ``degree`` is that of the worst of its pairs."""

    degree: Degree
    inputs: tuple[Pair, ...]
    outputs: tuple[Pair, ...]


def degree_of(there: str, needed: str, classes: Taxonomy) -> Degree:
    """Return how well a class that is there fits a class that is needed."""
    if there == needed:
        return Degree.EXACT
    narrower, wider = needed in classes.above(there), there in classes.above(needed)
    if narrower:  # each within the other: two names of one class
        return Degree.EXACT if wider else Degree.PLUGIN
    if wider:
        return Degree.SUBSUMES
    if classes.parents(there) & classes.parents(needed):
        return Degree.SIBLING
    return Degree.FAIL


def assign(
    needed: Mapping[str, str], there: Mapping[str, str], classes: Taxonomy
) -> tuple[Pair, ...] | None:
    """Give each parameter that is needed one of its own, so that the worst pair is best.

    Returns None when there is no such assignment. The same question always has the same answer.
    """
    names = sorted(needed)
    degrees = {
        name: {other: degree_of(there[other], needed[name], classes) for other in sorted(there)}
        for name in names
    }
    for least in (Degree.EXACT, Degree.PLUGIN, Degree.SUBSUMES, Degree.SIBLING):
        chosen = _perfect(names, _edges(degrees, least))
        if chosen is not None:
            return tuple(Pair(name, chosen[name], degrees[name][chosen[name]]) for name in names)
    return None


def match(profile: Profile, wanted: Wanted, classes: Taxonomy) -> Match | None:
    """Return how a service fits what is wanted, None when it does not."""
    if not (
        level_met(profile.level, wanted.level)
        and (not wanted.category or wanted.category in classes.above(profile.category))
        and _all_met(profile.preconditions, wanted.stated, classes)
        and _all_met(wanted.effects, profile.effects, classes)
    ):
        return None
    outputs = assign(wanted.outputs, profile.outputs, classes)
    inputs = None if outputs is None else assign(profile.inputs, wanted.inputs, classes)
    if inputs is None or outputs is None:
        return None
    degree = min((pair.degree for pair in (*inputs, *outputs)), default=Degree.EXACT)
    return Match(degree, inputs, outputs) if degree >= wanted.least else None


def level_met(offered: ServiceLevel, wanted: ServiceLevel) -> bool:
    """Return whether a service promises what is wanted; what is not promised is not met."""
    return (
        (not wanted.latency or 0 < offered.latency <= wanted.latency)
        and offered.availability >= wanted.availability
        and offered.rate >= wanted.rate
    )


def order_of(match: Match, level: ServiceLevel, name: str) -> tuple[float, float, float, str]:
    """Return the key that matches are sorted by, the best first.

    It is the degree, the better promise (latency, then availability), and the name.
    """
    return -match.degree, level.latency or float("inf"), -level.availability, name


def _all_met(conditions: Iterable[str], facts: Sequence[str], classes: Taxonomy) -> bool:
    """Return whether each condition is a class that contains what one of the facts says."""
    return all(any(condition in classes.above(fact) for fact in facts) for condition in conditions)


def _edges(degrees: Mapping[str, Mapping[str, Degree]], least: Degree) -> dict[str, list[str]]:
    """Return which pairs are good enough, for each parameter the best first."""
    return {
        name: sorted((o for o in row if row[o] >= least), key=lambda o: (-row[o], o))
        for name, row in degrees.items()
    }


def _perfect(names: Sequence[str], edges: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """Return a matching that covers all names, by augmenting paths; None when there is none."""
    taken: dict[str, str] = {}

    def augment(name: str, seen: set[str]) -> bool:
        for other in edges[name]:
            if other not in seen:
                seen.add(other)
                if other not in taken or augment(taken[other], seen):
                    taken[other] = name
                    return True
        return False

    if all(augment(name, set()) for name in names):
        return {name: other for other, name in taken.items()}
    return None
