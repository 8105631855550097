"""What a description says in the vocabularies of others, as RDF (JSON-LD 1.1, off the path).

Terms of TD 1.1 are mapped by the index itself; here they mean nothing. No context is ever fetched:
the known ones stand here in our own words, an unknown one counts as empty.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pyld import jsonld

from registry.model import VirtualObject
from registry.names import Name, urn
from registry.terms import HILUM, PREFIXES, is_iri
from registry.things.contexts import KNOWN, TD_PREFIXES, Vocabulary, context_entries, is_meant
from registry.things.naming import Naming
from registry.things.scrub import Hidden

MAX_BYTES: Final = 128 * 1024
"""Characters of a description that is expanded: it takes about 10 ms for 2,000 of them."""
MAX_TRIPLES: Final = 2000
RELATIONS: Final = "http://www.iana.org/assignments/relation/"
"""What a link's relation is as a property; ``type`` leads to the Thing Model of a thing."""

_LITERAL = re.compile(
    r'"(?:[^"\\]|\\.)*"(?:@[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\^\^<([^>]*)>)?', re.DOTALL
)
_UNIT: Final = "https://schema.org/unitCode"
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDFS: Final = "http://www.w3.org/2000/01/rdf-schema#"
_SAID_BY_OTHERS: Final = (_RDF, _RDFS, "http://www.w3.org/2002/07/owl#", HILUM, TD_PREFIXES["td"])
_ALLOWED: Final = frozenset(
    {_RDF + "type", _RDFS + "label", _RDFS + "comment", _RDFS + "seeAlso"},
)
_STRUCTURE: Final = (
    *("title", "titles", "description", "descriptions", "properties", "actions", "events"),
    *("forms", "links", "security", "securityDefinitions", "base", "support", "created"),
    *("modified", "version", "profile", "schemaDefinitions", "uriVariables", "registration"),
    *("input", "output", "data", "subscription", "dataResponse", "cancellation", "safe"),
    *("idempotent", "synchronous", "observable", "type", "enum", "const", "default", "format"),
    *("oneOf", "items", "required", "minimum", "maximum", "exclusiveMinimum", "pattern"),
    *("exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"),
    *("contentEncoding", "contentMediaType", "readOnly", "writeOnly"),
)
_CONTEXT: Final = {
    **PREFIXES,
    **TD_PREFIXES,
    "@base": None,
    "id": "@id",
    "Thing": TD_PREFIXES["td"] + "Thing",
    **dict.fromkeys(_STRUCTURE),
}
"""What stands for the contexts of TD 1.0, TD 1.1 and WoT Discovery."""

Node = dict[str, Any]


class Triple(NamedTuple):
    """Subject, predicate and object as N-Triples writes them."""

    subject: str
    predicate: str
    object: str


class NotExpandable(ValueError):
    """A description whose vocabularies cannot be read; it stays registered as it is."""


def expand(text: str, obj: VirtualObject, id_: str) -> list[Triple]:
    """Return what a submitted description says of its own thing and its members.

    ``id_`` is the subject of the thing; members are named as ``urn:hilum:…``. What it says of
    anything else, in the words of ontologies or in ours, is left out: it is not for it to say.
    Raises NotExpandable.
    """
    if len(text) > MAX_BYTES:
        raise NotExpandable(f"it has more than {MAX_BYTES} characters")
    data = json.loads(text)
    nodes = list(_nodes(data, obj, id_))
    document = {"@context": [_CONTEXT, *_local(context_entries(data))], "@graph": nodes}
    try:
        dataset = jsonld.to_rdf(document, {"documentLoader": _load, "base": ""})
        lines = jsonld.JsonLdProcessor.to_nquads({"@default": dataset.get("@default", [])})
    except Exception as error:  # what is no JSON-LD makes the library fail in many ways
        message = str(error).partition("\n")[0][:200]
        raise NotExpandable(f"its vocabularies cannot be read: {message}") from None
    own = {f"<{node['@id']}>" for node in nodes}
    found = [*_links(data, id_), *_own(lines, own)]
    return found[:MAX_TRIPLES]


def _nodes(data: Node, obj: VirtualObject, id_: str) -> Iterator[Node]:
    """Return the thing and each of its members as nodes of their own, without its addresses."""
    hidden, naming = Hidden(data), Naming(data)
    known = {*obj.methods, *obj.channels}
    yield {**_said(hidden.members(data)), "@id": id_}
    for kind in ("properties", "actions", "events"):
        for key, affordance in data.get(kind, {}).items():
            if kind == "properties":
                names: tuple[str, ...] = naming.property(key)
            else:
                names = (naming.action(key) if kind == "actions" else naming.event(key),)
            said = _said(hidden.members(affordance))
            for name in names:
                if name in known and len(said) > 0:
                    yield {**said, "@id": urn(Name(f"{obj.name}/{name}"))}


def _said(node: Node) -> Node:
    """Return what may be of another vocabulary; nobody names a thing but the site."""
    said = {
        key: value
        for key, value in node.items()
        if key not in _STRUCTURE and key not in {"id", "@id", "@context", "@graph", "@included"}
    }
    # TD 1.1 has a term of this name, and everybody a prefix.
    unit = said.pop("unit", None)
    if isinstance(unit, str):
        said[_UNIT] = {"@id": unit} if ":" in unit else unit
    return said


def _local(entries: list[Any]) -> list[Any]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _load(url: str, _: Any) -> Node:
    """Return a context that a nested node asks for, an empty one if it is not known."""
    context = _CONTEXT if url in KNOWN else {}
    return {
        "contentType": "application/ld+json",
        "contextUrl": None,
        "documentUrl": url,
        "document": {"@context": context},
    }


def _own(lines: str, own: set[str]) -> Iterator[Triple]:
    """Return the triples of a thing's own names, and of the blank nodes that belong to them."""
    by_subject: dict[str, list[Triple]] = {}
    for line in lines.split("\n"):
        if line:
            triple = Triple(*line.removesuffix(" .").split(" ", 2))
            by_subject.setdefault(triple.subject, []).append(triple)
    pending, seen = sorted(own), set(own)
    while pending:
        for triple in by_subject.get(pending.pop(), ()):
            if not _is_for_it_to_say(triple):
                continue
            yield triple
            if triple.object.startswith("_:") and triple.object not in seen:
                seen.add(triple.object)
                pending.append(triple.object)


def _is_sound(triple: Triple) -> bool:
    """Return whether stores of triples can read a triple; the expansion lets more through."""
    for term in triple:
        literal = _LITERAL.fullmatch(term)
        iri = term[1:-1] if term.startswith("<") else literal[1] if literal else None
        if not (term.startswith("_:") or literal) and iri is None:
            return False
        if iri is not None and not is_iri(iri):
            return False
    return is_meant(triple.predicate[1:-1])


def _is_for_it_to_say(triple: Triple) -> bool:
    if not _is_sound(triple):
        return False
    predicate = triple.predicate[1:-1]
    if predicate == _RDF + "type":
        type_ = triple.object[1:-1]
        return is_meant(type_) and not type_.startswith(_SAID_BY_OTHERS)
    return predicate in _ALLOWED or not predicate.startswith(_SAID_BY_OTHERS)


def _links(data: Node, id_: str) -> Iterator[Triple]:
    """Return the links that lead away from the thing, as properties of it (RFC 8288)."""
    hidden, words = Hidden(data), Vocabulary(data["@context"])
    for each in data.get("links", ()):
        relation = each.get("rel", "")
        link = hidden.link(each) if relation.isascii() and relation else None
        target = RELATIONS + relation if ":" not in relation else words.expand(relation)
        if link is not None and target and is_iri(target) and is_iri(link["href"]):
            yield Triple(f"<{id_}>", f"<{target}>", f"<{link['href']}>")
