"""Terms of vocabularies: IRIs, and the prefixes that shorten them (RDF 1.1 Concepts 3.2). Pure."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

HILUM: Final = "https://w3id.org/hilum#"
"""The vocabulary of our own, for what others lack (``registry/ontology``)."""

PREFIXES: Final = {
    "hilum": HILUM,
    "brick": "https://brickschema.org/schema/Brick#",
    "dcterms": "http://purl.org/dc/terms/",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "iot-lite": "http://purl.oclc.org/NET/UNIS/fiware/iot-lite#",
    "om": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "qu": "http://purl.org/NET/ssnx/qu/qu#",
    "quantitykind": "http://qudt.org/vocab/quantitykind/",
    "qudt": "http://qudt.org/schema/qudt/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "saref": "https://saref.etsi.org/core/",
    "schema": "https://schema.org/",
    "sosa": "http://www.w3.org/ns/sosa/",
    "ssn": "http://www.w3.org/ns/ssn/",
    "td": "https://www.w3.org/2019/wot/td#",
    "unit": "http://qudt.org/vocab/unit/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
"""Prefixes that may be used anywhere without being declared."""

# RFC 3987, 2.2, as strictly as RDF stores read it: one that they refuse would never be found.
_BEYOND = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef" + "".join(
    f"{chr(plane << 16)}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 15)
)
_NAME = f"[A-Za-z0-9\\-._~!$&'()*+,;={_BEYOND}]|%[0-9A-Fa-f]{{2}}"
_CHARACTER = f"{_NAME}|[:@]"
_HOST = rf"(?:(?:{_NAME}|:)*@)?(?:\[([0-9A-Fa-f:.]+)\]|(?:{_NAME})*)(?::[0-9]*)?"
_IRI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_HOST}(?=[/?#]|\Z)|(?!//))"
    rf"(?:{_CHARACTER}|/)*(?:\?(?:{_CHARACTER}|[/?])*)?(?:\#(?:{_CHARACTER}|[/?])*)?"
)
MAX_TERM: Final = 1024


def is_iri(text: str) -> bool:
    """Return whether a text is an absolute IRI that can stand in RDF."""
    found = _IRI.fullmatch(text) if len(text) <= MAX_TERM else None
    if found is None or found.end() == text.find(":") + 1:
        return False
    try:
        return found[1] is None or bool(IPv6Address(found[1]))
    except AddressValueError:
        return False


def expand(term: str) -> str:
    """Return the IRI of a term, ``brick:VAV`` or an IRI already.

    Raises ValueError with a text for people when it is neither.
    """
    prefix, colon, local = term.partition(":")
    if colon and prefix in PREFIXES and not local.startswith("//"):
        term = PREFIXES[prefix] + local
    if not colon or not is_iri(term):
        raise ValueError(f"{term[:80]!r} is no IRI and has none of the known prefixes")
    return term


def compact(iri: str) -> str:
    """Return an IRI with a known prefix where one fits, for people to read."""
    for prefix, base in PREFIXES.items():
        if iri.startswith(base) and len(iri) > len(base):
            return f"{prefix}:{iri[len(base) :]}"
    return iri
