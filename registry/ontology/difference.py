"""What two ontologies differ in: the triples that went and that came, however they are written.

Blank nodes have no names that mean anything, so they are compared by what is said of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Final, TypeAlias

from msgspec import Struct

from registry.index.rdf import BlankNode, Iri, Statement
from registry.ontology.turtle import statements
from registry.terms import compact

ROUNDS: Final = 8
"""How far around a blank node is looked: deeper ones may look the same though they are not."""
TOLD: Final = 100
"""Triples of each kind that are told."""

_Term: TypeAlias = str
_Line: TypeAlias = tuple[_Term, _Term, _Term]


class Difference(Struct, frozen=True):
    """How many triples went and came, and the first of each as people write them."""

    removed: int
    added: int
    went: tuple[str, ...]
    came: tuple[str, ...]


def difference(old: str, new: str) -> Difference:
    """Compare two Turtle texts; raises InvalidDocument for one that cannot be read."""
    before, after = _lines(statements(old)), _lines(statements(new))
    went, came = before - after, after - before
    return Difference(went.total(), came.total(), _told(went), _told(came))


def _told(lines: Counter[_Line]) -> tuple[str, ...]:
    shown = sorted(" ".join(map(_short, line)) for line in islice(lines, TOLD * 100))
    return tuple(shown[:TOLD])


def _lines(triples: Iterable[Statement]) -> Counter[_Line]:
    """Return triples with blank nodes by what is said of them."""
    said = [(_text(t.subject), _text(t.predicate), _text(t.object)) for t in triples]
    colours = _colours(said)
    return Counter((colours.get(s, s), p, colours.get(o, o)) for s, p, o in said)


def _colours(said: list[_Line]) -> Mapping[str, str]:
    """Return for each blank node what tells it apart (colour refinement)."""
    around: dict[str, list[_Line]] = defaultdict(list)
    for s, p, o in said:
        if s.startswith("_:"):
            around[s].append((">", p, o))
        if o.startswith("_:"):
            around[o].append(("<", p, s))
    colours = dict.fromkeys(around, "_:")
    for _ in range(ROUNDS if around else 0):
        fresh = {}
        for node, lines in around.items():
            seen = sorted((way, p, colours.get(other, other)) for way, p, other in lines)
            fresh[node] = "_:" + blake2b(repr(seen).encode(), digest_size=8).hexdigest()
        done = len(set(fresh.values())) == len(set(colours.values()))
        colours = fresh
        if done:
            break
    return colours


def _text(term: object) -> str:
    if isinstance(term, BlankNode):
        return f"_:{term.value}"
    return term.value if isinstance(term, Iri) else str(term)


def _short(term: str) -> str:
    if term.startswith("_:"):
        return "[]"
    if term.startswith('"'):
        return term if len(term) <= 80 else f'{term[:78]}…"'
    short = compact(term)
    return short if short != term else f"<{term}>"
