"""Reads an ontology as an operator hands it over: Turtle, within limits, nothing fetched.

What ``owl:imports`` names is told, not fetched: load it yourself, under a name of its own.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from msgspec import Struct

from registry.index.closure import Closure
from registry.index.rdf import BlankNode, Iri, Literal, Statement, parsed
from registry.ontology import load_core
from registry.problems import InvalidDocument, Problem, quoted, read_text, shorten
from registry.terms import HILUM, PREFIXES, compact
from registry.vocabulary import PART_OF

TURTLE: Final = "text/turtle"
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_TRIPLES: Final = 2_000_000
MAX_IRI: Final = 2048
"""Characters of an IRI, its prefix written out."""
MAX_LITERAL: Final = 64 * 1024
MAX_EXPANDED: Final = 512 * 1024 * 1024
"""Characters of all terms, prefixes written out: a short text may stand for very much."""
MAX_TOLD: Final = 20

_RDF, _RDFS, _OWL = PREFIXES["rdf"], PREFIXES["rdfs"], PREFIXES["owl"]
_CLASSES: Final = frozenset({_OWL + "Class", _RDFS + "Class"})
_PROPERTIES: Final = frozenset(
    {
        _RDF + "Property",
        _OWL + "ObjectProperty",
        _OWL + "DatatypeProperty",
        _OWL + "TransitiveProperty",
        _OWL + "SymmetricProperty",
    }
)
_DESCRIBED: Final = frozenset(
    {_OWL + "Ontology", _OWL + "AnnotationProperty", _OWL + "NamedIndividual"}
)
_NOT_FOLLOWED: Final = frozenset(
    {
        _OWL + "Restriction",
        _OWL + "AllDifferent",
        _OWL + "AllDisjointClasses",
        _OWL + "FunctionalProperty",
        _OWL + "InverseFunctionalProperty",
        _OWL + "unionOf",
        _OWL + "intersectionOf",
        _OWL + "complementOf",
        _OWL + "sameAs",
        _OWL + "propertyChainAxiom",
        _RDFS + "domain",
        _RDFS + "range",
    }
)
"""What is kept and can be asked for, but nothing is concluded from (``registry.index.closure``)."""
_WHERE: Final = re.compile(
    r"(?:Parser error )?at line (?P<line>\d+) (?:between columns (?P<from>\d+) and \d+"
    r"|column (?P<column>\d+))[^:]*: (?P<what>.*)",
    re.DOTALL,
)


_LINE: Final = re.compile(r"\s*\(line \d+\)$")
_OTHERS: Final = {"<?xml": "xml", "<rdf:RDF": "xml", "<!DOCTYPE": "xml", "{": "json-ld"}
"""How texts of other formats begin, and what rdfpipe (of rdflib) calls them."""


class Limits(NamedTuple):
    """How large an ontology may be."""

    bytes: int = MAX_BYTES
    triples: int = MAX_TRIPLES


class Summary(Struct, frozen=True, rename="camel"):
    """What is in an ontology."""

    triples: int
    classes: int
    properties: int
    individuals: int
    places: int
    """What is said to be part of something else, or to lie in it, in whatever words."""
    imports: tuple[str, ...] = ()
    """What it asks for besides: nothing is fetched."""
    notes: tuple[str, ...] = ()
    """What an operator should know, in sentences."""


def summary(data: bytes, limits: Limits = Limits()) -> Summary:  # noqa: B008 (immutable)
    """Read an ontology and say what is in it.

    Raises InvalidDocument, with line and column, for what is no Turtle or too much.
    """
    text = read_text(data, limits.bytes)
    counted = _Counted()
    for number, triple in enumerate(statements(text, limits.triples), 1):
        counted.see(triple)
        counted.triples = number
    return counted.summary()


def statements(text: str, most: int = MAX_TRIPLES) -> Iterator[Statement]:
    """Yield the triples of a text; raises InvalidDocument as ``summary`` does."""
    expanded = 0
    number = 0
    try:
        for number, quad in enumerate(parsed(text.encode(), TURTLE), 1):
            triple = quad.triple
            size, why = _measured(triple)
            expanded += size
            if why:
                raise InvalidDocument(Problem(why, "", *_place_of(text, triple)))
            if number > most:
                why = f"there are more than {most} triples"
            elif expanded > MAX_EXPANDED:
                why = "its terms, written out, are more than 512 MiB"
            if why:
                raise InvalidDocument(Problem(why, "", 1, 1, "split it"))
            yield triple
    except ValueError as error:
        if isinstance(error, InvalidDocument):
            raise
        raise InvalidDocument(_problem(text, str(error), number)) from None


@cache
def core() -> Closure:
    """Return what our own ontology implies."""
    return Closure(
        [
            (t.subject.value, t.predicate.value, t.object.value)
            for text in load_core().values()
            for t in statements(text)
            if isinstance(t.subject, Iri) and isinstance(t.object, Iri)
        ]
    )


def _measured(triple: Statement) -> tuple[int, str]:
    """Return how long the terms of a triple are, and what is wrong with one."""
    total = 0
    for term in (triple.subject, triple.predicate, triple.object):
        if isinstance(term, Iri | BlankNode):
            size, most, what = len(term.value), MAX_IRI, "an IRI"
        elif isinstance(term, Literal):
            size, most, what = len(term.value), MAX_LITERAL, "a text"
        else:
            return total, "a triple within a triple (RDF 1.2) is not understood here"
        total += size
        if size > most:
            said = quoted(shorten(term.value, 40))
            return total, f"{what} has {size} characters, more than {most}: {said}"
    return total, ""


def _place_of(text: str, triple: Statement) -> tuple[int, int]:
    """Return about where a triple stands: the parser tells that of errors of its own alone."""
    for term in (triple.object, triple.subject):
        value = getattr(term, "value", "<<")
        for sought in (value[:200], re.split(r"[#/]", value)[-1][:80]):
            at = text.find(sought) if sought else -1
            if at >= 0:
                return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return 1, 1


def _problem(text: str, said: str, number: int) -> Problem:
    other = next((form for begin, form in _OTHERS.items() if text.lstrip().startswith(begin)), "")
    if other:
        hint = f"convert it: rdfpipe -i {other} -o turtle FILE"
        return Problem("this is not Turtle", "", 1, 1, hint)
    match = _WHERE.match(said)
    if match is None:
        return Problem(shorten(said, 300), "", 1, 1, f"it is after triple {number}")
    column = int(match["from"] or match["column"])
    what = shorten(_LINE.sub("", match["what"]).strip(), 300)
    hint = ""
    if "prefix" in what and "declared" in what:
        hint = "declare it with @prefix"
    elif "No scheme" in what:
        hint = "write the whole IRI, or say @base"
    return Problem(what[:1].lower() + what[1:], "", int(match["line"]), column, hint)


class _Counted:
    """Counts what triples say."""

    def __init__(self) -> None:
        self.triples = 0
        self._classes: set[str] = set()
        self._properties: set[str] = set()
        self._individuals: set[str] = set()
        self._places: set[str] = set()
        self._imports: dict[str, None] = {}
        self._ignored: Counter[str] = Counter()
        self._ours: dict[str, None] = {}
        self._core = core()

    def see(self, triple: Statement) -> None:
        name = triple.predicate.value
        value = triple.object.value if isinstance(triple.object, Iri) else ""
        if name == _OWL + "imports" and value:
            self._imports[value] = None
        ignored = name if name in _NOT_FOLLOWED else value if value in _NOT_FOLLOWED else ""
        if ignored:
            self._ignored[ignored] += 1
        if not isinstance(triple.subject, Iri):
            return
        subject = triple.subject.value
        if subject.startswith(HILUM):
            self._ours[subject] = None
        if name == _RDF + "type" and value:
            self._typed(subject, value)
        elif name == _RDFS + "subClassOf":
            self._classes.add(subject)
        elif name in (_RDFS + "subPropertyOf", _OWL + "inverseOf"):
            self._properties.add(subject)
        elif value:
            forward, backward = self._core.meaning(name)
            self._places.update([subject] if PART_OF in forward else ())
            self._places.update([value] if PART_OF in backward else ())

    def summary(self) -> Summary:
        return Summary(
            self.triples,
            len(self._classes),
            len(self._properties),
            len(self._individuals - self._classes - self._properties),
            len(self._places),
            tuple(self._imports)[:MAX_TOLD],
            tuple(self._notes()),
        )

    def _typed(self, subject: str, value: str) -> None:
        if value in _CLASSES:
            self._classes.add(subject)
        elif value in _PROPERTIES:
            self._properties.add(subject)
        elif value not in _DESCRIBED and value not in _NOT_FOLLOWED:
            self._individuals.add(subject)

    def _notes(self) -> Iterator[str]:
        if self._imports:
            yield "owl:imports are not fetched: load what is missing under a name of its own"
        if self._ignored:
            told = ", ".join(f"{compact(t)} ({n})" for t, n in self._ignored.most_common(6))
            yield f"kept, but nothing follows from it here: {told}"
        if self._ours:
            told = ", ".join(compact(t) for t in list(self._ours)[:6])
            yield f"it says something of our own terms, which changes what they mean: {told}"
        if not self.triples:
            yield "there is nothing in it"
