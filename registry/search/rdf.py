"""A replica of the index that queries are asked of (SPARQL 1.1 Query), on Oxigraph.

Its default graph is the merge of all named ones, as a set: Oxigraph's own union would count a
triple that two graphs state twice. What a caller may not see is taken out before he asks, so
whatever a query says, there is nothing to find.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from pyoxigraph import (
    DefaultGraph,
    NamedNode,
    Quad,
    QueryBoolean,
    QuerySolutions,
    QueryTriples,
    RdfFormat,
    Store,
    Triple,
    serialize,
)

from registry.search.problems import InvalidQuery, TooMuch
from registry.search.results import Row, Term, write_boolean, write_rows
from registry.terms import PREFIXES

GRAPHS: Final = {
    "application/ld+json": RdfFormat.JSON_LD,  # first: WoT Discovery wants it unless asked
    "text/turtle": RdfFormat.TURTLE,
    "application/n-triples": RdfFormat.N_TRIPLES,
    "application/rdf+xml": RdfFormat.RDF_XML,
}
"""Media types of what CONSTRUCT and DESCRIBE give."""
_MERGE: Final = "INSERT { ?s ?p ?o } WHERE { GRAPH ?g { ?s ?p ?o } }"
_WHERE = re.compile(r"^error at (\d+):(\d+): (.*)$", re.DOTALL)


class Replica:
    """Quads in memory, each also in the default graph."""

    def __init__(self) -> None:
        self._store = Store()
        self._named: list[NamedNode] | None = None

    def __len__(self) -> int:
        return len(self._store)

    def load(self, path: str) -> None:
        """Begin anew with a file of N-Quads. Raises SyntaxError, OSError."""
        self._store = Store()
        self._store.load(path=path, format=RdfFormat.N_QUADS)
        self._store.update(_MERGE)

    def apply(self, cleared: Iterable[str], quads: bytes) -> None:
        """Empty some graphs, then add N-Quads."""
        for graph in cleared:
            self._clear(NamedNode(graph))
        if quads:
            came = Store()
            came.load(quads, RdfFormat.N_QUADS)
            self._store.extend(came)
            self._store.extend(Quad(q.subject, q.predicate, q.object) for q in came)

    def hide(self, graphs: Iterable[str], terms: Iterable[str]) -> None:
        """Take out some graphs, and each triple that names one of some terms."""
        for graph in graphs:
            self._clear(NamedNode(graph))
        store = self._store
        for term in map(NamedNode, terms):
            for quad in list(store.quads_for_pattern(term, None, None)):
                store.remove(quad)
            for quad in list(store.quads_for_pattern(None, None, term)):
                store.remove(quad)

    def keep(self, graphs: Iterable[str], common: str) -> None:
        """Keep nothing but some graphs, and those whose IRIs begin with ``common``."""
        kept = Store()
        shared = [g for g in self._store.named_graphs() if str(g).startswith(f"<{common}")]
        for graph in (*map(NamedNode, graphs), *shared):
            for quad in self._store.quads_for_pattern(None, None, None, graph):
                kept.add(quad)
                kept.add(Quad(quad.subject, quad.predicate, quad.object))
        self._store = kept

    def narrow(self, default: Sequence[str], named: Sequence[str]) -> None:
        """Ask of a dataset: the merge of some graphs, and some named ones (SPARQL 1.1, 13.2).

        Raises InvalidQuery for what is no IRI.
        """
        narrowed = Store()
        for graph in _graphs(default):
            for quad in self._store.quads_for_pattern(None, None, None, graph):
                narrowed.add(Quad(quad.subject, quad.predicate, quad.object))
        for graph in _graphs(named):
            narrowed.extend(self._store.quads_for_pattern(None, None, None, graph))
        self._store, self._named = narrowed, _graphs(named)

    def ask(self, query: str, media_type: str, rows: int, size: int) -> bytes:
        """Answer a query in a media type of ``results.SOLUTIONS`` or ``GRAPHS``.

        Raises InvalidQuery with the place, and TooMuch beyond ``rows`` rows or ``size`` bytes.
        """
        try:
            return self._answer(query, media_type, rows, size)
        except (OSError, RuntimeError) as error:  # an endpoint that SERVICE names
            raise InvalidQuery(f"the query failed: {' '.join(str(error).split())[:300]}") from error

    def _answer(self, query: str, media_type: str, rows: int, size: int) -> bytes:
        try:
            # Said by us, the dataset that the query's own FROM describes counts no more.
            found = self._store.query(
                query,
                prefixes=dict(PREFIXES),
                default_graph=None if self._named is None else [DefaultGraph()],
                named_graphs=None if self._named is None else list(self._named),
            )
        except SyntaxError as error:
            raise _invalid(str(error)) from error
        except ValueError as error:
            raise InvalidQuery(str(error)) from error
        if isinstance(found, QueryBoolean):
            return write_boolean(bool(found), media_type)
        if isinstance(found, QueryTriples):
            triples = list(islice(found, rows + 1))
            _check_rows(len(triples), rows)
            shortened = media_type in ("text/turtle", "application/rdf+xml")
            prefixes = _used(triples) if shortened else None
            return _bounded(
                serialize(triples, format=GRAPHS[media_type], prefixes=prefixes) or b"", size
            )
        return _bounded(write_rows(*_solutions(found, rows, size), media_type), size)

    def _clear(self, graph: NamedNode) -> None:
        store = self._store
        quads = list(store.quads_for_pattern(None, None, None, graph))
        store.remove_graph(graph)
        for quad in quads:
            s, p, o = quad.subject, quad.predicate, quad.object
            # The first may be the copy itself: a second one says that another graph states it.
            if len(list(islice(store.quads_for_pattern(s, p, o), 2))) < 2:
                store.remove(Quad(s, p, o, DefaultGraph()))


def _graphs(iris: Iterable[str]) -> list[NamedNode]:
    try:
        return [NamedNode(iri) for iri in iris]
    except ValueError as error:
        raise InvalidQuery(f"the dataset: {error}") from error


def _solutions(found: QuerySolutions, rows: int, size: int) -> tuple[list[str], list[Row]]:
    names = [variable.value for variable in found.variables]
    kept: list[Row] = []
    length = 0
    for solution in found:
        if len(kept) == rows:
            _check_rows(rows + 1, rows)
        row: Row = []
        for value in solution:
            term = None if value is None else _term(value)
            row.append(term)
            length += 8 if term is None else len(term.value) + 8
        if length > size:
            _too_long(size)
        kept.append(row)
    return names, kept


def _term(value: object) -> Term:
    text = str(value)
    kind = type(value).__name__
    if kind == "NamedNode":
        return Term("uri", getattr(value, "value", ""), text)
    if kind == "BlankNode":
        return Term("bnode", getattr(value, "value", ""), text)
    if kind == "Literal":
        language = getattr(value, "language", None) or ""
        datatype = "" if language else getattr(getattr(value, "datatype", None), "value", "")
        return Term("literal", getattr(value, "value", ""), text, language, datatype)
    return Term("literal", text, text)


def _used(triples: Iterable[Triple]) -> dict[str, str]:
    """Return the prefixes whose namespaces occur in some triples."""
    seen: set[str] = set()
    for triple in triples:
        for term in triple:
            iri = getattr(term, "datatype", term)  # of a literal: its datatype
            text = getattr(iri, "value", "")
            seen.add(text[: max(text.rfind("#"), text.rfind("/")) + 1])
    return {prefix: begin for prefix, begin in PREFIXES.items() if begin in seen}


def _check_rows(found: int, rows: int) -> None:
    if found > rows:
        raise TooMuch(f"the answer has more than {rows} rows: ask for less, or page with LIMIT")


def _too_long(size: int) -> None:
    raise TooMuch(f"the answer is larger than {size} bytes: ask for less, or page with LIMIT")


def _bounded(body: bytes, size: int) -> bytes:
    if len(body) > size:
        _too_long(size)
    return body


def _invalid(message: str) -> InvalidQuery:
    match = _WHERE.match(message)
    if match is None:
        return InvalidQuery(message[:500])
    line, column, text = match.groups()
    if "Prefix not found" in text:  # among whatever else could have stood there
        text = "this prefix is not known: declare it with PREFIX"
    return InvalidQuery(" ".join(text.split())[:500], int(line), int(column))
