"""RDF in memory: a thin, typed store on Oxigraph, and its formats. No query leaves the process."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Final, TypeAlias

from pyoxigraph import (
    BlankNode,
    DefaultGraph,
    Literal,
    NamedNode,
    Quad,
    QueryBoolean,
    QueryResultsFormat,
    QuerySolutions,
    QueryTriples,
    RdfFormat,
    Store,
    Triple,
    parse,
    serialize,
)

from registry.terms import PREFIXES

__all__ = [
    "BlankNode",
    "Iri",
    "Literal",
    "Quad",
    "Rdf",
    "Solutions",
    "Statement",
    "Statements",
    "Yes",
]

Iri: TypeAlias = NamedNode
Graph: TypeAlias = NamedNode | BlankNode | DefaultGraph
Statement: TypeAlias = Triple
Solutions: TypeAlias = QuerySolutions
Statements: TypeAlias = QueryTriples
Yes: TypeAlias = QueryBoolean
Answer: TypeAlias = QuerySolutions | QueryTriples | QueryBoolean
"""What SELECT, CONSTRUCT and DESCRIBE, and ASK give."""
Terms: TypeAlias = NamedNode | BlankNode | Literal | Triple

PIECE: Final = 1000
"""Quads that are added in one go: 20 to 60 ms that nobody else of this process computes."""
TEXTS: Final[Mapping[str, RdfFormat]] = {
    "text/turtle": RdfFormat.TURTLE,
    "application/rdf+xml": RdfFormat.RDF_XML,
    "application/n-triples": RdfFormat.N_TRIPLES,
    "application/n-quads": RdfFormat.N_QUADS,
}
"""Media types of graphs."""
RESULTS: Final[Mapping[str, QueryResultsFormat]] = {
    "application/sparql-results+json": QueryResultsFormat.JSON,
    "application/sparql-results+xml": QueryResultsFormat.XML,
    "text/csv": QueryResultsFormat.CSV,
    "text/tab-separated-values": QueryResultsFormat.TSV,
}
"""Media types of solutions (SPARQL 1.1 Query Results)."""


class Refused(ValueError):
    """A query that asks for more than looking: what, and what to do."""


class Rdf:
    """Quads in memory. One writer; readers of the same thread see whole updates only."""

    def __init__(self) -> None:
        self._store = Store()

    def __len__(self) -> int:
        return len(self._store)

    def replace(self, cleared: Iterable[Iri], came: Iterable[Quad]) -> None:
        """Empty some graphs, then add quads."""
        for graph in cleared:
            self._store.remove_graph(graph)
        self._store.extend(came)

    def fill(self, quads: Iterable[Quad]) -> None:
        """Add very many quads, without a transaction: while nobody reads.

        In pieces: the store holds the interpreter while it sorts, for seconds at a million quads.
        """
        left = iter(quads)
        while piece := list(islice(left, PIECE)):
            self._store.bulk_extend(piece)

    def load(self, text: bytes, media_type: str, graph: Iri | None = None) -> None:
        """Add what a text says. Raises ValueError (SyntaxError is none) with line and column."""
        try:
            self._store.bulk_load(text, TEXTS[media_type], to_graph=graph)
        except SyntaxError as error:
            raise ValueError(str(error)) from error

    def dump(self, output: IO[bytes]) -> None:
        """Write every quad as N-Quads."""
        self._store.dump(output, RdfFormat.N_QUADS)

    def quads(
        self,
        subject: Iri | None = None,
        predicate: Iri | None = None,
        value: Terms | None = None,
        graph: Graph | None = None,
    ) -> Iterator[Quad]:
        """Yield the quads of a pattern; None stands for anything."""
        return self._store.quads_for_pattern(subject, predicate, value, graph)

    def query(
        self, text: str, graphs: Sequence[Iri] | None = None, *, named: bool = True
    ) -> Answer:
        """Answer a SPARQL 1.1 query over the union of some graphs, of all without ``graphs``.

        ``GRAPH`` sees those graphs too, and none unless ``named``. There is no time limit here.
        Raises Refused for ``SERVICE`` (it would ask other machines), ValueError for bad syntax.
        """
        refuse_service(text)
        everything = graphs is None
        seen: list[NamedNode | BlankNode] = list(graphs or ()) if named else []
        try:
            return self._store.query(
                text,
                prefixes=dict(PREFIXES),
                use_default_graph_as_union=everything,
                default_graph=None if everything else list(graphs or ()),
                named_graphs=None if everything and named else seen,
            )
        except SyntaxError as error:
            raise ValueError(str(error)) from error


def parsed(text: bytes, media_type: str, base: str | None = None) -> Iterator[Quad]:
    """Read a graph's text. Raises ValueError with line and column; remote files are never read."""
    try:
        yield from parse(text, TEXTS[media_type], base_iri=base, rename_blank_nodes=True)
    except SyntaxError as error:
        raise ValueError(str(error)) from error


def rendered(quads: Iterable[Quad], media_type: str) -> bytes:
    """Write quads; formats of one graph lose which graph they were in."""
    format_ = TEXTS[media_type]
    if not format_.supports_datasets:
        triples = (quad.triple for quad in quads)
        return serialize(triples, format=format_, prefixes=dict(PREFIXES)) or b""
    return serialize(quads, format=format_) or b""


def answered(answer: Answer, media_type: str) -> bytes:
    """Write what a query gave: solutions and ASK as results, CONSTRUCT as a graph."""
    if isinstance(answer, QueryTriples):
        return answer.serialize(format=TEXTS[media_type]) or b""
    return answer.serialize(format=RESULTS[media_type]) or b""


# What is no keyword: comments, texts and IRIs (SPARQL 1.1 Query 19.8), names and variables.
_INERT = re.compile(
    r"""\"\"\"(?:[^"\\]|\\.|"(?!""))*\"\"\"|'''(?:[^'\\]|\\.|'(?!''))*'''"""
    r"""|"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*'|<[^<>"{}|^`\\\x00-\x20]*>|\#[^\n\r]*""",
    re.DOTALL,
)
_SERVICE = re.compile(r"(?<![\w:?$@.\-])SERVICE(?![\w:\-])", re.IGNORECASE)


def refuse_service(text: str) -> None:
    """Refuse a query that would ask another endpoint (SPARQL 1.1 Federated Query). Raises Refused.

    Oxigraph has no switch for it. Too much is refused rather than too little.
    """
    if _SERVICE.search(_INERT.sub(" ", text)):
        raise Refused("SERVICE is not allowed here: ask that endpoint yourself")
