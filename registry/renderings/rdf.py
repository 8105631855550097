"""A description as RDF: Turtle and RDF/XML, in the words of ``registry.ontology`` (S3 III-D)."""

import re
from collections.abc import Iterator
from typing import Final

from registry.index.rdf import Literal, Quad, rendered
from registry.index.triples import Offered, asserted
from registry.renderings.shown import Shown

# What XML 1.0 has no form for, not even as a reference (section 2.2).
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def render_turtle(shown: Shown) -> bytes:
    """Render in Turtle (RDF 1.1)."""
    return rendered(_quads(shown), "text/turtle")


def render_rdfxml(shown: Shown) -> bytes:
    """Render in RDF/XML; characters that XML cannot hold are replaced."""
    return rendered(map(_for_xml, _quads(shown)), "application/rdf+xml")


def _quads(shown: Shown) -> Iterator[Quad]:
    for part in shown.parts:
        text = part.record.text if part.record is not None else ""
        offered = Offered(part.name, part.obj, part.services, part.subject, text)
        yield from asserted(offered, part.subject)


def _for_xml(quad: Quad) -> Quad:
    value = quad.object
    if not isinstance(value, Literal) or _NO_XML.search(value.value) is None:
        return quad
    clean = Literal(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", value.value), datatype=value.datatype)
    return Quad(quad.subject, quad.predicate, clean, quad.graph_name)
