"""Graphs in rdflib, for what is written and checked beside the traffic: the one file with it.

Never for texts of others as they arrive: those are read by ``registry.index.rdf`` first.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from rdflib import BNode, Graph, Literal, URIRef
from rdflib.collection import Collection
from rdflib.namespace import OWL, RDF, RDFS
from rdflib.term import Node

__all__ = ["OWL", "RDF", "RDFS", "BNode", "Graph", "Literal", "Node", "Term", "URIRef"]

Term: TypeAlias = URIRef
TURTLE: Final = "turtle"
N_TRIPLES: Final = "nt"


def read(*texts: str, form: str = TURTLE) -> Graph:
    """Read texts of ours into one graph."""
    graph = Graph(bind_namespaces="none")
    for text in texts:
        graph.parse(data=text, format=form)
    return graph


def members(graph: Graph, head: Node) -> Iterator[Node]:
    """Yield what a list holds."""
    yield from Collection(graph, head)


def one(graph: Graph, subject: Node, predicate: str) -> str:
    """Return the value of a property as text, "" where there is none."""
    value = graph.value(subject, URIRef(predicate))
    return "" if value is None else str(value)
