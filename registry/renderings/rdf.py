"""A description as RDF: Turtle and RDF/XML, in the words of ``registry.ontology`` (S3 III-D)."""

import re
from typing import Final

from registry.index.rdf import Literal, Quad, rendered
from registry.index.triples import Offered, asserted
from registry.renderings.shown import Shown

# What XML 1.0 has no form for, not even as a reference (section 2.2).
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def render_turtle(shown: Shown) -> bytes:
    """Render in Turtle (RDF 1.1), with the prefixes that are used."""
    lines = rendered(_quads(shown), "text/turtle").decode().splitlines(keepends=True)
    declared = [line for line in lines if line.startswith("@prefix ")]
    body = "".join(lines[len(declared) :])
    used = [line for line in sorted(declared) if line.split()[1] in body]
    return "".join([*used, "\n", body]).encode()


def render_rdfxml(shown: Shown) -> bytes:
    """Render in RDF/XML; characters that XML cannot hold are replaced."""
    return rendered(map(_for_xml, _quads(shown)), "application/rdf+xml")


def _quads(shown: Shown) -> list[Quad]:
    """Return the triples, those of one subject together and each once."""
    found: dict[str, dict[Quad, None]] = {}
    for part in shown.parts:
        text = part.record.text if part.record is not None else ""
        offered = Offered(part.name, part.obj, part.services, part.subject, text)
        for quad in asserted(offered, part.subject):
            same = Quad(quad.subject, quad.predicate, quad.object)
            found.setdefault(str(quad.subject), {})[same] = None
    return [quad for quads in found.values() for quad in quads]


def _for_xml(quad: Quad) -> Quad:
    value = quad.object
    if not isinstance(value, Literal) or _NO_XML.search(value.value) is None:
        return quad
    clean = Literal(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", value.value), datatype=value.datatype)
    return Quad(quad.subject, quad.predicate, clean, quad.graph_name)
