"""The words of a site's ontologies: labels of terms, and where places are (WGS 84)."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from math import asin, cos, radians, sin, sqrt
from typing import Final

from registry.discovery.matching import Above
from registry.index.rdf import Iri, Literal, Rdf
from registry.names import near
from registry.terms import MAX_TERM, PREFIXES, compact, expand, is_iri
from registry.vocabulary import ONTOLOGIES

LABEL: Final = PREFIXES["rdfs"] + "label"
_GEO: Final = PREFIXES["geo"]
EARTH: Final = 6_371_008.8
"""Mean radius in metres (IUGG)."""
MOST_LABELS: Final = 200_000
MOST_LOCATED: Final = 1024
"""Places with coordinates that ``near`` looks at; ontologies may have more."""
_OF_ONE_START: Final = 2000
"""Words that are known by how one of their parts begins."""
_COMPARED: Final = 200
"""Words whose spelling is compared with an unknown one: those with most beginnings in common."""
_PARTS: Final = re.compile(r"[^\W_]+")


class UnknownTerm(ValueError):
    """A text that stands for no term, or for several; ``candidates`` are some that it may mean."""

    def __init__(self, message: str, candidates: Collection[str]) -> None:
        super().__init__(message)
        self.candidates = list(candidates)


class Vocabulary:
    """What people call the terms of the ontologies, and where places are."""

    def __init__(self) -> None:
        self.labels: dict[str, set[str]] = {}
        """IRIs by label, without regard to case."""
        self.coordinates: dict[str, tuple[float, float]] = {}
        """Latitude and longitude of places in degrees."""
        self._by_start: dict[str, dict[str, None]] = {}

    def read(self, store: Rdf) -> Iterator[None]:
        """Take in what ontologies say; each step is short."""
        for subject, text in islice(_said(store, LABEL), MOST_LABELS):
            label = text.strip().casefold()
            self.labels.setdefault(label, set()).add(subject)
            self._note(label)
            self._note(compact(subject))
            yield
        longitudes = dict(_said(store, _GEO + "long"))
        for subject, text in _said(store, _GEO + "lat"):
            where = coordinates(f"{text},{longitudes.get(subject, '')}")
            if where is not None and len(self.coordinates) < MOST_LOCATED:
                self.coordinates[subject] = where
            yield

    def term(self, text: str) -> str:
        """Return the IRI that a text stands for: an IRI, a prefixed name, or a label.

        Raises UnknownTerm with what it may mean.
        """
        if len(text) > MAX_TERM:
            raise UnknownTerm(f"a term has at most {MAX_TERM} characters", ())
        named = self.labels.get(text.strip().casefold())
        if named is not None and len(named) == 1:
            return next(iter(named))
        if named is not None:
            candidates = sorted(map(compact, named))
            message = f"{text!r} is the label of {len(named)} terms: say which one"
            raise UnknownTerm(message, candidates[:10])
        try:
            return expand(text)
        except ValueError:
            message = f"{text!r} is no IRI, has no known prefix, and no ontology has it for a label"
            raise UnknownTerm(message, self.alike(text)) from None

    def alike(self, text: str) -> list[str]:
        """Return labels and prefixed names that are spelled most like a text, best first."""
        counts: Counter[str] = Counter()
        for start in _starts(text):
            counts.update(iter(self._by_start.get(start, ())))
        return near(text, (word for word, _ in counts.most_common(_COMPARED)))

    def located(self, place: str, above: Above) -> str | None:
        """Return the nearest place with coordinates among a place and those that contain it."""
        known = [each for each in above(place) if each in self.coordinates]
        return min(known, key=lambda each: (-len(above(each)), each), default=None)

    def by_distance(self, where: tuple[float, float]) -> list[tuple[float, str]]:
        """Return the places with coordinates, the nearest first: metres and IRI."""
        return sorted((distance(where, at), place) for place, at in self.coordinates.items())

    def _note(self, text: str) -> None:
        for start in _starts(text):
            known = self._by_start.setdefault(start, {})
            if len(known) < _OF_ONE_START:
                known[text] = None


def coordinates(text: str) -> tuple[float, float] | None:
    """Read ``latitude,longitude`` in degrees; None when it is something else."""
    first, comma, second = text.partition(",")
    if not comma or len(text) > 64:
        return None
    try:
        latitude, longitude = float(first), float(second)
    except ValueError:
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return latitude, longitude


def distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return metres between two points on a sphere (the haversine formula)."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(radians, point)) for point in (one, other))
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH * asin(min(1.0, sqrt(half)))


def _starts(text: str) -> set[str]:
    """Return how the first parts of a text begin, in two letters each."""
    return {part.group()[:2] for part in islice(_PARTS.finditer(text.casefold()), 16)}


def _said(store: Rdf, predicate: str) -> Iterator[tuple[str, str]]:
    """Yield what ontologies say with a property: subject and text."""
    for quad in store.quads(predicate=Iri(predicate)):
        graph, subject, value = quad.graph_name, quad.subject, quad.object
        if (
            isinstance(graph, Iri)
            and graph.value.startswith(ONTOLOGIES)
            and isinstance(subject, Iri)
            and isinstance(value, Literal)
            and is_iri(subject.value)
        ):
            yield subject.value, value.value
