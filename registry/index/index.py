"""The index of what is registered: one graph per object, what follows kept apart (design 8).

It is derived: whatever happens to it, it can be built again from the catalog.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import IO, Final, NamedTuple

import msgspec

from registry.index.closure import Closure, Triple
from registry.index.rdf import Iri, Literal, Quad, Rdf, Statement, parsed, rendered
from registry.index.triples import (
    CLOSURE,
    Offered,
    asserted,
    graph_of,
    inferred,
    inferred_of,
    subject_of,
)
from registry.names import Name
from registry.vocabulary import ONTOLOGIES

N_QUADS: Final = "application/n-quads"
TURTLE: Final = "text/turtle"
FORM: Final = 2
"""The form of what is indexed; it grows when the same catalog would give other triples."""


class IndexDelta(NamedTuple):
    """What a change of the index did: some graphs were emptied, then quads came.

    ``whole`` says that another index took the place of the one before: read it anew.
    """

    generation: int
    cleared: tuple[Iri, ...] = ()
    quads: tuple[Quad, ...] = ()
    whole: bool = False

    def came(self) -> bytes:
        """Return what came as N-Quads."""
        return rendered(self.quads, N_QUADS) if self.quads else b""


class Print(NamedTuple):
    """An object's IRI, what differs when something of it does, and how many triples it has."""

    subject: str
    print: str
    triples: int


class Index:
    """Ontologies, what follows from them, and the objects that were put in."""

    def __init__(self, ontologies: Mapping[str, str] | None = None) -> None:
        """Read ontologies, Turtle by name; ``unread`` says of some why they cannot be read."""
        self.store = Rdf()
        self.unread: dict[str, str] = {}
        self.digest = digest_of(ontologies or {})
        self._subjects: dict[Name, str] = {}
        self._names: dict[str, Name] = {}
        self._prints: dict[Name, tuple[bytes, int]] = {}
        self.closure = Closure(self._read(ontologies or {}))
        self._size = len(self.store)

    def __len__(self) -> int:
        """About how many triples there are: the store itself would have to count them."""
        return self._size

    def __contains__(self, name: object) -> bool:
        return name in self._subjects

    def names(self) -> Iterable[Name]:
        """Return the names of the objects."""
        return self._subjects.keys()

    def subject_of(self, name: Name) -> str | None:
        """Return the IRI of an object."""
        return self._subjects.get(name)

    def name_of(self, subject: str) -> Name | None:
        """Return the object that an IRI stands for."""
        return self._names.get(subject)

    def put(self, offered: Offered) -> tuple[tuple[Iri, ...], tuple[Quad, ...]] | None:
        """Index an object anew; return the graphs that were emptied and what came, None for none.

        Raises ValueError when something of it cannot be RDF; then all is as it was.
        """
        print_ = print_of(offered)
        if self._prints.get(offered.name, _NONE)[0] == print_:
            return None
        subject, quads = self._quads(offered)
        graphs = (graph_of(offered.name), inferred_of(offered.name))
        self.store.replace(graphs if offered.name in self._subjects else (), quads)
        self._note(offered.name, subject, print_, len(quads))
        return graphs, tuple(quads)

    def remove(self, name: Name) -> tuple[Iri, ...] | None:
        """Take an object out; return the graphs that went with it, None if it was not there."""
        if self._subjects.get(name) is None:
            return None
        graphs = (graph_of(name), inferred_of(name))
        self.store.replace(graphs, ())
        self._forget(name)
        return graphs

    def fill(self, offered: Offered) -> None:
        """Index an object that is not there yet. Raises ValueError.

        Larger lots are no faster, and would keep other threads waiting.
        """
        subject, quads = self._quads(offered)
        self.store.replace((), quads)
        self._note(offered.name, subject, print_of(offered), len(quads))

    def has(self, offered: Offered) -> bool:
        """Whether an object is indexed as it is."""
        return self._prints.get(offered.name, _NONE)[0] == print_of(offered)

    # Kept on disk

    def prints(self) -> "dict[Name, Print]":
        """Return what tells for each object whether it is indexed as it is."""
        subjects = self._subjects
        return {n: Print(subjects[n], p.hex(), count) for n, (p, count) in self._prints.items()}

    def adopt(self, quads: bytes, prints: "Mapping[Name, Print]", like: "Index", size: int) -> None:
        """Take over N-Quads that ``dump`` wrote, into an empty index.

        Ontologies are among them: what follows from these is taken from ``like``, which read the
        same; ``size`` is how many there are. Raises ValueError when they cannot be read.
        """
        self.digest, self.closure, self.unread = like.digest, like.closure, like.unread
        self.store.load(quads, N_QUADS)
        for name, (subject, print_, count) in prints.items():
            self._note(name, subject, bytes.fromhex(print_), count)
        self._size = size

    def dump(self, output: IO[bytes]) -> None:
        """Write everything as N-Quads."""
        self.store.dump(output)

    # Inside

    def _read(self, ontologies: Mapping[str, str]) -> list[Triple]:
        triples: list[Triple] = []
        for name, text in ontologies.items():
            try:
                graph = Iri(ONTOLOGIES + name)
                quads = [q.triple for q in parsed(text.encode(), TURTLE)]
            except ValueError as error:
                self.unread[name] = str(error)
                continue
            self.store.fill(Quad(t.subject, t.predicate, t.object, graph) for t in quads)
            triples += (t for t in map(_plain, quads) if t is not None)
        closure = Closure(triples)
        said = set(triples)
        implied = {t for t in closure.implied(triples) if t not in said and _is_plain(t)}
        self.store.fill(Quad(Iri(s), Iri(p), Iri(o), CLOSURE) for s, p, o in implied)
        return triples

    def _quads(self, offered: Offered) -> tuple[str, list[Quad]]:
        subject = subject_of(offered, self.closure)
        quads = asserted(offered, subject)
        quads += inferred(quads, inferred_of(offered.name), self.closure)
        return subject, quads

    def _note(self, name: Name, subject: str, print_: bytes, count: int) -> None:
        self._forget(name)
        self._subjects[name] = subject
        self._names[subject] = name
        self._prints[name] = print_, count
        self._size += count

    def _forget(self, name: Name) -> None:
        subject = self._subjects.pop(name, None)
        if subject is not None and self._names.get(subject) == name:
            del self._names[subject]
        self._size -= self._prints.pop(name, _NONE)[1]


_NONE: Final = (b"", 0)
_encoder = msgspec.msgpack.Encoder()


def print_of(offered: Offered) -> bytes:
    """Return what differs when something of an object does: it is indexed as it is if equal."""
    extra = rendered(offered.extra, N_QUADS) if offered.extra else b""
    said = (FORM, offered.name, offered.obj, offered.services, offered.id, offered.text, extra)
    return blake2b(_encoder.encode(said), digest_size=12).digest()


def digest_of(ontologies: Mapping[str, str]) -> str:
    """Return what differs when ontologies do."""
    return blake2b(_encoder.encode((FORM, dict(ontologies))), digest_size=16).hexdigest()


def _plain(triple: Statement) -> Triple | None:
    """Return a triple of IRIs and blank nodes; None for one that a literal is in."""
    if isinstance(triple.object, Literal):
        return None
    return _text(triple.subject), triple.predicate.value, _text(triple.object)


def _text(term: object) -> str:
    return term.value if isinstance(term, Iri) else str(term)


def _is_plain(triple: Triple) -> bool:
    return not any(term.startswith("_:") for term in triple)
