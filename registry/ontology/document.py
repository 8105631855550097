"""The documentation of our ontology: one HTML page, made from the Turtle, that needs no script.

``python -m registry.ontology.document`` prints it, ``hilum ontology document`` too.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Final, NamedTuple

from registry.ontology import CORE, load_core, load_shapes
from registry.ontology.figure import FIGURE
from registry.ontology.graphs import OWL, RDF, RDFS, Graph, Node, Term, members, one, read
from registry.renderings.marks import chips, code, definitions, prose, table, term, text
from registry.renderings.style import STYLE
from registry.terms import HILUM, PREFIXES, compact
from registry.vocabulary import ONTOLOGIES

_SH: Final = "http://www.w3.org/ns/shacl#"
_CLOSE: Final = Term("http://www.w3.org/2004/02/skos/core#closeMatch")
_LEAD: Final = (
    "How services describe what they are, where they are and what they mean, so that people and "
    "programs find them. Only what others lack has a term here: things are those of the W3C Thing "
    "Description, sensors and places those of SOSA, IoT-Lite, Brick, BOT and schema.org."
)
_KINDS: Final = (
    ("Classes", "Class", (OWL.Class,)),
    ("Properties", "Property", (OWL.ObjectProperty, OWL.DatatypeProperty)),
    ("Individuals", "Individual", (OWL.NamedIndividual,)),
)
_ALIGNED: Final = (
    (RDFS.subClassOf, "is a kind of"),
    (RDFS.subPropertyOf, "implies"),
    (OWL.inverseOf, "is the inverse of"),
)
_VOCABULARIES: Final = {
    PREFIXES["sosa"]: "SOSA",
    PREFIXES["ssn"]: "SSN",
    PREFIXES["brick"]: "Brick",
    "https://w3id.org/bot#": "Building Topology Ontology",
    PREFIXES["schema"]: "schema.org",
    PREFIXES["iot-lite"]: "IoT-Lite",
    "http://purl.oclc.org/NET/ssnx/ssn#": "SSN of 2011, which IoT-Lite uses",
}
_SEVERITIES: Final = {"Violation": "bad", "Warning": "", "Info": "soft"}


class Part(NamedTuple):
    """One of the three files."""

    name: str
    title: str
    says: str
    terms: tuple[tuple[str, str, tuple[Term, ...]], ...]
    """Headings, what one of the terms is called, and the terms."""


def page_of_core() -> str:
    """Return the page."""
    graphs = {name: read(turtle) for name, turtle in load_core().items()}
    whole = Graph()
    for graph in graphs.values():
        whole += graph
    parts = [_part(name, graph) for name, graph in graphs.items()]
    return _page(_Page(whole), parts, graphs["domain"])


def _part(name: str, graph: Graph) -> Part:
    ontology = Term(ONTOLOGIES + name)
    found = tuple((head, kind, _defined(graph, kinds)) for head, kind, kinds in _KINDS)
    title = one(graph, ontology, str(RDFS.label))
    return Part(name, title, one(graph, ontology, str(RDFS.comment)), found)


def _defined(graph: Graph, kinds: tuple[Term, ...]) -> tuple[Term, ...]:
    """Return our own terms of some kinds, in the order of their labels."""
    found = {
        term
        for kind in kinds
        for term in graph.subjects(RDF.type, kind)
        if isinstance(term, Term) and term.startswith(HILUM)
    }
    return tuple(sorted(found, key=lambda term: one(graph, term, str(RDFS.label)).lower()))


def _page(page: "_Page", parts: list[Part], domain: Graph) -> str:
    counted = {
        head: sum(len(t) for p in parts for h, _, t in p.terms if h == head) for head, *_ in _KINDS
    }
    facts = [("", f"{number} {head.lower()}") for head, number in counted.items() if number]
    formats = "".join(
        f'<a href="/ontology/{name}.ttl">{name}.ttl</a>' for name in (*CORE, "shapes")
    )
    body = "".join(
        page.section(part, _aligned(domain) if part.name == "domain" else "") for part in parts
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The Hilum ontology</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><div class="page"><header><p class="crumb">{code(HILUM)}</p><h1>The Hilum ontology</h1>
{prose(_LEAD, "prose lead")}{chips(facts)}
<nav class="formats" aria-label="Files"><span class="soft">As Turtle</span>{formats}</nav></header>
{_contents(page, parts)}<main>{FIGURE}{body}{_shapes()}</main>
<footer>Made from the files that the site itself works with.</footer></div></body></html>
"""


def _contents(page: "_Page", parts: list[Part]) -> str:
    items = []
    for part in parts:
        inner = "".join(f"<li>{page.link(t)}</li>" for _, _, found in part.terms for t in found)
        items.append(f'<li><a href="#{part.name}">{text(part.title)}</a><ul>{inner}</ul></li>')
    items.append('<li><a href="#alignments">Alignments</a></li>')
    items.append('<li><a href="#shapes">Shapes</a></li>')
    return (
        f'<nav class="toc" aria-label="Contents"><h2>Contents</h2><ul>{"".join(items)}</ul></nav>'
    )


class _Page:
    """Writes terms; what is said of one may be in another file than the term."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def section(self, part: Part, more: str) -> str:
        """Return one of the three parts."""
        made = "".join(
            f"<h4>{head}</h4>{''.join(self._article(term, kind) for term in found)}"
            for head, kind, found in part.terms
            if found
        )
        return (
            f'<section class="object" id="{part.name}"><h2>{text(part.title)}</h2>'
            f"{prose(part.says)}{made}</section>{more}"
        )

    def link(self, iri: Node) -> str:
        """Return a term: a link within the page when it is ours."""
        if isinstance(iri, Term) and iri.startswith(HILUM):
            label = one(self._graph, iri, str(RDFS.label)) or iri.removeprefix(HILUM)
            return f'<a href="#{escape(iri.removeprefix(HILUM))}">{text(label)}</a>'
        return term(str(iri))

    def _article(self, iri: Term, kind: str) -> str:
        local = iri.removeprefix(HILUM)
        label = one(self._graph, iri, str(RDFS.label))
        look = "member channel" if kind == "Property" else "member"
        says = prose(one(self._graph, iri, str(RDFS.comment)))
        where = f'<span class="where">{code(compact(iri))}</span>'
        return f"""<article class="{look}" id="{escape(local)}"><header><h3>{text(label)}</h3>
<span class="kind">{self._kind(iri, kind)}</span>{where}</header>
{says}{definitions(self._said(iri), "meaning")}</article>"""

    def _kind(self, iri: Term, kind: str) -> str:
        types = set(self._graph.objects(iri, RDF.type))
        if OWL.DatatypeProperty in types:
            return "Property with a value"
        return "Transitive property" if OWL.TransitiveProperty in types else kind

    def _said(self, iri: Term) -> Iterator[tuple[str, str]]:
        graph = self._graph
        of_kind = (t for t in graph.objects(iri, RDF.type) if isinstance(t, Term))
        yield "Is a", self._terms(t for t in of_kind if t.startswith(HILUM))
        yield "Kind of", self._terms(graph.objects(iri, RDFS.subClassOf))
        yield "Kinds", self._terms(graph.subjects(RDFS.subClassOf, iri))
        yield "One of", self._one_of(iri)
        yield "Implies", self._terms(graph.objects(iri, RDFS.subPropertyOf))
        yield "Implied by", self._terms(graph.subjects(RDFS.subPropertyOf, iri))
        yield "Of", self._terms(graph.objects(iri, RDFS.domain))
        yield "Gives", self._terms(graph.objects(iri, RDFS.range))
        inverse = {*graph.objects(iri, OWL.inverseOf), *graph.subjects(OWL.inverseOf, iri)}
        yield "Inverse", self._terms(inverse)
        yield "Never also", self._terms(graph.objects(iri, OWL.disjointWith))
        yield "Has", self._terms(graph.subjects(RDFS.domain, iri))
        yield "Value of", self._terms(graph.subjects(RDFS.range, iri))
        yield "Close to", self._terms(graph.objects(iri, _CLOSE))

    def _terms(self, found: Iterable[Node]) -> str:
        key: Callable[[Node], str] = lambda node: compact(str(node)).lower()  # noqa: E731
        return ", ".join(
            self.link(t) for t in sorted({f for f in found if isinstance(f, Term)}, key=key)
        )

    def _one_of(self, iri: Term) -> str:
        head = self._graph.value(iri, OWL.oneOf)
        return "" if head is None else ", ".join(self.link(t) for t in members(self._graph, head))


def _aligned(graph: Graph) -> str:
    """Return what is said of terms of others, a table for each vocabulary."""
    made = []
    for namespace, title in _VOCABULARIES.items():
        rows = sorted(
            (str(subject), says, str(value))
            for predicate, says in _ALIGNED
            for subject, value in graph.subject_objects(predicate)
            if str(subject).startswith(namespace)
        )
        lines = [(term(subject), text(says), _own(value)) for subject, says, value in rows]
        made.append(f"<h4>{title}</h4>{table(('Term', 'Here', 'Of'), lines)}")
    lead = (
        "What the terms of others mean here. With one of these vocabularies loaded besides, its "
        "own axioms count too."
    )
    return (
        '<section class="object" id="alignments"><h2>Alignments</h2>'
        f"{prose(lead)}{''.join(made)}</section>"
    )


def _own(iri: str) -> str:
    if iri.startswith(HILUM):
        local = iri.removeprefix(HILUM)
        return f'<a class="type" href="#{escape(local)}">{code(compact(iri))}</a>'
    return term(iri)


def _shapes() -> str:
    graph = read(load_shapes())
    parts = []
    for shape in sorted(graph.subjects(RDF.type, Term(_SH + "NodeShape")), key=str, reverse=True):
        rows = []
        for each in graph.objects(shape, Term(_SH + "property")):
            severity = one(graph, each, _SH + "severity").removeprefix(_SH)
            path = graph.value(each, Term(_SH + "path"))
            shown = (
                _own(str(path))
                if isinstance(path, Term)
                else '<span class="type">its members</span>'
            )
            look = f'<span class="type {_SEVERITIES[severity]}">{severity.lower()}</span>'
            rows.append((shown, text(one(graph, each, _SH + "message")), look))
        title = one(graph, shape, str(RDFS.label))
        parts.append(f"<h4>{text(title)}</h4>{table(('Of', 'Finding', ''), sorted(rows))}")
    lead = (
        "What a good description says. A description that does not is accepted all the same: what "
        "was found is shown with it, and helps whoever wrote it to have it found."
    )
    made = prose(lead) + "".join(parts)
    return f'<section class="object" id="shapes"><h2>Shapes</h2>{made}</section>'


if __name__ == "__main__":
    sys.stdout.write(page_of_core())
