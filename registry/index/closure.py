"""What an ontology implies: classes, properties, inverses and places (RDFS, a part of OWL 2). Pure.

Only ontology graphs are read here, never a description: nothing that a service says changes what
a class or a property means. Followed are rdfs:subClassOf, owl:equivalentClass,
rdfs:subPropertyOf, owl:equivalentProperty, owl:inverseOf, owl:SymmetricProperty, and
``hilum:partOf`` as the one transitive property. Restrictions, domains and ranges are not.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from registry.terms import PREFIXES
from registry.vocabulary import PART_OF, PLACE, WITHIN

_RDF, _RDFS, _OWL = PREFIXES["rdf"], PREFIXES["rdfs"], PREFIXES["owl"]
TYPE: Final = _RDF + "type"
SUBCLASS: Final = _RDFS + "subClassOf"
SUBPROPERTY: Final = _RDFS + "subPropertyOf"
EQUIVALENT_CLASS: Final = _OWL + "equivalentClass"
EQUIVALENT_PROPERTY: Final = _OWL + "equivalentProperty"
INVERSE: Final = _OWL + "inverseOf"
SYMMETRIC: Final = _OWL + "SymmetricProperty"
AXIOMS: Final = frozenset(
    {TYPE, SUBCLASS, SUBPROPERTY, EQUIVALENT_CLASS, EQUIVALENT_PROPERTY, INVERSE}
)

Triple: TypeAlias = tuple[str, str, str]
"""Subject, property and object: IRIs; blank nodes begin with ``_:``, literals are left out."""
_Table: TypeAlias = dict[str, set[str]]


class Meaning(NamedTuple):
    """What else holds of ``s p o``: ``s q o`` for ``forward``, ``o q s`` for ``backward``.

    ``forward`` holds the property itself.
    """

    forward: frozenset[str]
    backward: frozenset[str]


class Closure:
    """The closure of the ontologies in use; what it says of a term is remembered."""

    def __init__(self, triples: Collection[Triple] = ()) -> None:
        self._classes: _Table = {}
        self._properties: _Table = {}
        self._inverses: _Table = {}
        self._types: _Table = {}
        self._places: _Table = {}
        self._parts: _Table = {}
        self._about: set[str] = set()
        self._above: dict[str, frozenset[str]] = {}
        self._supers: dict[str, frozenset[str]] = {}
        self._means: dict[str, Meaning] = {}
        for triple in triples:
            self._axiom(*triple)
        for triple in triples:
            self._fact(*triple)

    def speaks_of(self, iri: str) -> bool:
        """Whether an ontology says anything of an IRI."""
        return iri in self._about

    def superclasses(self, iri: str) -> frozenset[str]:
        """Return every class that contains a class, itself included."""
        return _reached(iri, self._classes, self._supers)

    def above(self, place: str) -> frozenset[str]:
        """Return every place that a place is part of, itself included."""
        return _reached(place, self._parts, self._above)

    def meaning(self, iri: str) -> Meaning:
        """Return what a property implies."""
        known = self._means.get(iri)
        if known is None:
            known = self._means[iri] = self._meaning(iri)
        return known

    def implies(self, iri: str) -> bool:
        """Whether a property implies any but itself."""
        known = self.meaning(iri)
        return len(known.forward) > 1 or bool(known.backward)

    def types_of(self, iri: str) -> frozenset[str]:
        """Return the classes that ontologies give an individual, without what contains them."""
        return frozenset(self._types.get(iri, ()))

    def places_of(self, iri: str) -> frozenset[str]:
        """Return the places where ontologies say that an individual is."""
        return frozenset(self._places.get(iri, ()))

    def implied(self, triples: Iterable[Triple]) -> Iterator[Triple]:
        """Yield what is implied by triples of the ontologies; some of it may be said already."""
        for table, name in ((self._classes, SUBCLASS), (self._properties, SUBPROPERTY)):
            cache = self._supers if name is SUBCLASS else {}
            for term in table:
                yield from ((term, name, s) for s in _reached(term, table, cache) if s != term)
        for term, classes in self._types.items():
            above = {s for c in classes for s in self.superclasses(c)}
            yield from ((term, TYPE, s) for s in above - classes)
        for place in self._parts:
            yield from ((place, PART_OF, above) for above in self.above(place) if above != place)
        for term, places in self._places.items():
            within = {above for place in places for above in self.above(place)}
            yield from ((term, WITHIN, above) for above in within)
        yield from self.consequences(t for t in triples if t[1] not in AXIOMS)

    def consequences(self, triples: Iterable[Triple]) -> Iterator[Triple]:
        """Yield what the properties of triples imply: wider properties, and inverse ones."""
        for subject, name, value in triples:
            forward, backward = self.meaning(name)
            yield from ((subject, wider, value) for wider in forward if wider != name)
            yield from ((value, inverse, subject) for inverse in backward)

    def _axiom(self, subject: str, name: str, value: str) -> None:
        if subject.startswith("_:"):
            return
        self._about.add(subject)
        if value.startswith("_:"):
            return
        if name == SUBCLASS:
            self._classes.setdefault(subject, set()).add(value)
        elif name == SUBPROPERTY:
            self._properties.setdefault(subject, set()).add(value)
        elif name in (EQUIVALENT_CLASS, EQUIVALENT_PROPERTY):
            table = self._classes if name == EQUIVALENT_CLASS else self._properties
            _both(table, subject, value)
        elif name == INVERSE:
            _both(self._inverses, subject, value)
        elif name == TYPE:
            self._types.setdefault(subject, set()).add(value)
            if value == SYMMETRIC:
                self._inverses.setdefault(subject, set()).add(subject)

    def _fact(self, subject: str, name: str, value: str) -> None:
        if name in AXIOMS or subject.startswith("_:") or value.startswith("_:"):
            return
        forward, backward = self.meaning(name)
        for table, property_ in ((self._parts, PART_OF), (self._places, PLACE)):
            if property_ in forward:
                table.setdefault(subject, set()).add(value)
            if property_ in backward:
                table.setdefault(value, set()).add(subject)

    def _meaning(self, iri: str) -> Meaning:
        found = {(iri, True)}
        left = [(iri, True)]
        while left:
            name, straight = left.pop()
            wider = {(s, straight) for s in self._properties.get(name, ())}
            turned = {(s, not straight) for s in self._inverses.get(name, ())}
            fresh = (wider | turned) - found
            found |= fresh
            left += fresh
        forward = frozenset(name for name, straight in found if straight)
        return Meaning(forward, frozenset(name for name, straight in found if not straight))


def _both(table: _Table, one: str, other: str) -> None:
    table.setdefault(one, set()).add(other)
    table.setdefault(other, set()).add(one)


def _reached(start: str, table: _Table, known: dict[str, frozenset[str]]) -> frozenset[str]:
    """Return what can be reached, cycles or not; remembered for terms that the table knows."""
    if start not in table:
        return frozenset({start})
    found = known.get(start)
    if found is None:
        reached = {start}
        left = [start]
        while left:
            fresh = table.get(left.pop(), set()) - reached
            reached |= fresh
            left += fresh
        found = known[start] = frozenset(reached)
    return found
