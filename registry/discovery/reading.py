"""What discovery needs of an object, read from its graphs in the index."""

from collections.abc import Iterable
from typing import Final

from registry.discovery.postings import NONE, Member, Object
from registry.index.closure import TYPE, Closure
from registry.index.rdf import Iri, Literal, Quad
from registry.names import Name, urn
from registry.vocabulary import (
    CATEGORY,
    LATENCY,
    METHOD,
    NAME,
    PLACE,
    PROTOCOL,
    TITLE,
    WITHIN,
)

_URN: Final = "urn:hilum:"
_INFERRED: Final = "#inferred"


class _Facts:
    """What is said of one subject, and what follows."""

    __slots__ = ("category", "classes", "latency", "name", "places", "protocols", "title", "types")

    def __init__(self) -> None:
        self.name = self.title = self.category = ""
        self.types: list[str] = []
        self.classes: list[str] = []
        self.places: list[tuple[bool, str]] = []
        self.protocols: list[str] = []
        self.latency = 0.0


class Reader:
    """Reads objects; equal sets of terms are kept once."""

    def __init__(self, closure: Closure) -> None:
        self._closure = closure
        self._sets: dict[frozenset[str], frozenset[str]] = {}

    def read(self, name: Name, subject: str, quads: Iterable[Quad]) -> Object:
        """Return an object as discovery sees it, from what its graphs say."""
        below = urn(name) + "/"
        about: dict[str, _Facts] = {}
        for quad in quads:
            if isinstance(quad.subject, Iri):
                own = quad.subject.value
                if own == subject or own.startswith(below):
                    facts = about.get(own)
                    if facts is None:
                        facts = about[own] = _Facts()
                    _note(facts, quad)
        obj = about.pop(subject, None) or _Facts()
        members = sorted((each for each in about.values() if each.name), key=lambda f: f.name)
        return Object(
            name,
            subject,
            obj.title,
            self._set(obj.types),
            self._set(obj.classes),
            min((place for within, place in obj.places if not within), default=""),
            self._set(place for within, place in obj.places if within),
            tuple(map(self._member, members)),
        )

    def _member(self, facts: _Facts) -> Member:
        classes = self._set(facts.classes)
        capabilities = classes
        if facts.category:
            capabilities = self._set(classes | self._closure.superclasses(facts.category))
        return Member(
            Name(facts.name),
            METHOD in classes,
            self._set(facts.types),
            classes,
            capabilities,
            self._set(facts.protocols),
            facts.latency,
        )

    def _set(self, terms: Iterable[str]) -> frozenset[str]:
        found = frozenset(terms)
        return self._sets.setdefault(found, found) if found else NONE


def name_in(graph: str) -> Name | None:
    """Return the object whose graph it is, None for what is inferred and for ontologies."""
    if graph.startswith(_URN) and not graph.endswith(_INFERRED):
        return Name(graph[len(_URN) :])
    return None


def _note(facts: _Facts, quad: Quad) -> None:
    value = quad.object
    if isinstance(value, Iri):
        _note_iri(facts, quad.predicate.value, value.value, quad)
    elif isinstance(value, Literal):
        _note_literal(facts, quad.predicate.value, value.value)


def _note_iri(facts: _Facts, predicate: str, value: str, quad: Quad) -> None:
    if predicate == TYPE:
        facts.classes.append(value)
        graph = quad.graph_name
        if isinstance(graph, Iri) and not graph.value.endswith(_INFERRED):
            facts.types.append(value)
    elif predicate in (PLACE, WITHIN):
        facts.places.append((predicate == WITHIN, value))
    elif predicate == CATEGORY:
        facts.category = value


def _note_literal(facts: _Facts, predicate: str, value: str) -> None:
    if predicate == NAME:
        facts.name = value
    elif predicate == PROTOCOL:
        facts.protocols.append(value)
    elif predicate == TITLE:
        facts.title = value
    elif predicate == LATENCY:
        facts.latency = _number(value)


def _number(text: str) -> float:
    """Return a number that an extension vocabulary may have got wrong, 0 then."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
