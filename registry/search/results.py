"""How answers of SELECT and ASK are written (SPARQL 1.1 Query Results JSON, XML, CSV and TSV).

They are written here, row by row, because the number of rows is limited before they are.
"""

from typing import Any, Final, NamedTuple, TypeAlias
from xml.sax.saxutils import escape, quoteattr

import msgspec

JSON: Final = "application/sparql-results+json"
XML: Final = "application/sparql-results+xml"
CSV: Final = "text/csv"
TSV: Final = "text/tab-separated-values"
SOLUTIONS: Final = (JSON, XML, CSV, TSV)
"""Media types, the preferred first."""
NAMESPACE: Final = "http://www.w3.org/2005/sparql-results#"
_STRING: Final = "http://www.w3.org/2001/XMLSchema#string"


class Term(NamedTuple):
    """An RDF term: ``kind`` is ``uri``, ``bnode`` or ``literal``; ``text`` is as in N-Triples."""

    kind: str
    value: str
    text: str
    language: str = ""
    datatype: str = ""


Row: TypeAlias = list[Term | None]
"""The values of the variables; None is unbound."""


def write_boolean(value: bool, media_type: str) -> bytes:
    """Write the answer of ASK; CSV and TSV have no form of their own for it: the bare word."""
    word = "true" if value else "false"
    if media_type == JSON:
        return b'{"head":{},"boolean":%b}' % word.encode()
    if media_type == XML:
        head = f'<?xml version="1.0"?><sparql xmlns="{NAMESPACE}"><head></head>'
        return f"{head}<boolean>{word}</boolean></sparql>".encode()
    return word.encode() + b"\r\n"


def write_rows(names: list[str], rows: list[Row], media_type: str) -> bytes:
    """Write the answer of SELECT."""
    if media_type == JSON:
        return _json(names, rows)
    if media_type == XML:
        return _xml(names, rows)
    if media_type == CSV:
        lines = [",".join(names), *(",".join(map(_csv, row)) for row in rows)]
        return "".join(line + "\r\n" for line in lines).encode()
    head = "\t".join("?" + name for name in names)
    lines = ["\t".join("" if term is None else _tsv(term) for term in row) for row in rows]
    return "".join(line + "\n" for line in [head, *lines]).encode()


def _json(names: list[str], rows: list[Row]) -> bytes:
    bindings = [
        {name: _binding(term) for name, term in zip(names, row, strict=True) if term is not None}
        for row in rows
    ]
    return msgspec.json.encode({"head": {"vars": names}, "results": {"bindings": bindings}})


def _binding(term: Term) -> dict[str, Any]:
    shown = {"type": term.kind, "value": term.value}
    if term.language:
        shown["xml:lang"] = term.language
    elif term.datatype not in ("", _STRING):
        shown["datatype"] = term.datatype
    return shown


def _xml(names: list[str], rows: list[Row]) -> bytes:
    variables = "".join(f"<variable name={quoteattr(name)}/>" for name in names)
    parts = [f'<?xml version="1.0"?><sparql xmlns="{NAMESPACE}"><head>{variables}</head><results>']
    for row in rows:
        parts.append("<result>")
        parts += [
            f"<binding name={quoteattr(name)}>{_element(term)}</binding>"
            for name, term in zip(names, row, strict=True)
            if term is not None
        ]
        parts.append("</result>")
    parts.append("</results></sparql>")
    return "".join(parts).encode()


def _element(term: Term) -> str:
    text = escape(term.value, {"\r": "&#13;"})
    if term.language:
        return f"<literal xml:lang={quoteattr(term.language)}>{text}</literal>"
    if term.datatype not in ("", _STRING):
        return f"<literal datatype={quoteattr(term.datatype)}>{text}</literal>"
    return f"<{term.kind}>{text}</{term.kind}>"


def _csv(term: Term | None) -> str:
    if term is None:
        return ""
    text = f"_:{term.value}" if term.kind == "bnode" else term.value
    if any(sign in text for sign in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _tsv(term: Term) -> str:
    return term.text.replace("\t", "\\t")
