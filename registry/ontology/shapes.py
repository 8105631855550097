"""Checks descriptions with SHACL (W3C Shapes Constraint Language): the one file with pyshacl.

One check takes about 15 ms, and pyshacl changes the shapes graph that it is handed: so each
process that checks has shapes of its own, and none of them is the site's (``checking``).
"""

from typing import Final

import pyshacl

from registry.ontology import load_shapes
from registry.ontology.findings import SEVERITIES, Finding
from registry.ontology.graphs import N_TRIPLES, RDF, Graph, Term, one, read

_SH: Final = "http://www.w3.org/ns/shacl#"
_RESULT: Final = Term(_SH + "ValidationResult")
MAX_FINDINGS: Final = 200
"""Of one check."""
_SHOWN: Final = 300


class Shapes:
    """Our shapes, for one thread of one process."""

    def __init__(self, text: str | None = None) -> None:
        self._graph = read(load_shapes() if text is None else text)

    def check(self, data: str) -> list[Finding]:
        """Return what the shapes find in a graph given as N-Triples, the worst first.

        Raises ValueError (and what rdflib's parser raises) for what is no N-Triples.
        """
        graph = read(data, form=N_TRIPLES)
        _, results, text = pyshacl.validate(
            graph, shacl_graph=self._graph, inplace=True, inference="none"
        )
        if not isinstance(results, Graph):  # pyshacl hands a failure back, it does not raise
            why = f"the shapes cannot be checked: {str(text)[:_SHOWN]}"
            raise ValueError(why)  # noqa: TRY004 (the data is at fault)
        found = {_finding(results, node) for node in results.subjects(RDF.type, _RESULT)}
        ordered = sorted(
            found, key=lambda f: (-SEVERITIES.index(f.severity), f.node, f.path, f.value)
        )
        return ordered[:MAX_FINDINGS]


def _finding(results: Graph, node: object) -> Finding:
    said = {
        key: one(results, node, _SH + name)  # type: ignore[arg-type]  # a node of this graph
        for key, name in (
            ("node", "focusNode"),
            ("message", "resultMessage"),
            ("path", "resultPath"),
            ("value", "value"),
            ("severity", "resultSeverity"),
        )
    }
    severity = said["severity"].removeprefix(_SH).lower()
    path = said["path"] if ":" in said["path"] else ""
    return Finding(
        node=said["node"],
        severity=severity if severity in SEVERITIES else "violation",
        message=said["message"],
        path=path,
        value=said["value"][:_SHOWN],
    )
