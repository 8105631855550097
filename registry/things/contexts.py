"""What the terms of a description mean: its ``@context``, read without fetching anything. Pure.

JSON-LD 1.1 knows more than is read here: prefixes, terms that are IRIs, and ``@vocab`` suffice for
types and for the terms that we give a meaning. ``expansion`` does the whole of it, off the path.
"""

from collections.abc import Iterator
from typing import Any, Final

from registry.terms import PREFIXES, is_iri

TD_1_0: Final = "https://www.w3.org/2019/wot/td/v1"
TD_1_1: Final = "https://www.w3.org/2022/wot/td/v1.1"
DISCOVERY: Final = "https://www.w3.org/2022/wot/discovery"
KNOWN: Final = frozenset({TD_1_0, TD_1_1, DISCOVERY})
"""Remote contexts whose meaning is known here."""
TD_PREFIXES: Final = {
    "td": "https://www.w3.org/2019/wot/td#",
    "jsonschema": "https://www.w3.org/2019/wot/json-schema#",
    "wotsec": "https://www.w3.org/2019/wot/security#",
    "hctl": "https://www.w3.org/2019/wot/hypermedia#",
    "tm": "https://www.w3.org/2022/wot/tm#",
    "htv": "http://www.w3.org/2011/http#",
    "cov": "https://www.w3.org/2019/wot/coap#",
    "mqv": "https://www.w3.org/2019/wot/mqtt#",
    "modv": "https://www.w3.org/2019/wot/modbus#",
    "dct": "http://purl.org/dc/terms/",
}
"""Prefixes of the TD context and of the binding vocabularies, which need no declaration."""

_ALL = {**PREFIXES, **TD_PREFIXES}
_SCHEMES = frozenset({"did", "doi", "http", "https", "info", "ni", "oid", "tag", "urn"})
# JSON-LD 1.1, 4.1.5: an IRI that ends otherwise is a term, and shortens no other.
_PREFIX_ENDS = (":", "/", "?", "#", "[", "]", "@")


def is_meant(iri: str) -> bool:
    """Return whether a text is an IRI, and none whose prefix was merely not declared."""
    return iri.partition(":")[0] in _SCHEMES and is_iri(iri)


class Vocabulary:
    """What the terms of one description stand for."""

    __slots__ = ("_prefixes", "_terms", "_vocab")

    def __init__(self, context: object) -> None:
        self._prefixes: dict[str, str] = _ALL
        self._terms: dict[str, str] = {}
        self._vocab = ""
        for entry in context if isinstance(context, list) else [context]:
            if isinstance(entry, dict):
                self._add(entry)

    def _add(self, entry: dict[str, Any]) -> None:
        self._prefixes, self._terms = dict(self._prefixes), dict(self._terms)
        for term, meaning in entry.items():
            details = meaning if isinstance(meaning, dict) else {"@id": meaning}
            said = details.get("@id")
            iri = self._whole(said) if isinstance(said, str) else None
            if term == "@vocab":
                self._vocab = iri or ""
            elif not term.startswith("@"):
                self._prefixes.pop(term, None)
                self._terms[term] = iri or ""
                if iri and (details.get("@prefix") is True or iri.endswith(_PREFIX_ENDS)):
                    self._prefixes[term] = iri

    def _whole(self, iri: str) -> str | None:
        prefix, colon, local = iri.partition(":")
        if colon and prefix in self._prefixes and not local.startswith("//"):
            iri = self._prefixes[prefix] + local
        return iri if colon and is_meant(iri) else None

    def expand(self, term: object) -> str | None:
        """Return the IRI of a term, or None if it has none that is known."""
        if not isinstance(term, str):
            return None
        if term in self._terms:
            return self._terms[term] or None
        if ":" in term:
            return self._whole(term)
        return self._whole(self._vocab + term) if self._vocab else None

    def types(self, value: object) -> tuple[str, ...]:
        """Return the IRIs of an ``@type`` that are known, each once."""
        terms = value if isinstance(value, list) else [value]
        found = (self.expand(term) for term in terms)
        return tuple(dict.fromkeys(iri for iri in found if iri is not None))

    def meanings(self, node: dict[str, Any], base: str) -> dict[str, Any]:
        """Return the members of a node that belong to the vocabulary ``base``, by local name."""
        found = {}
        for key, value in node.items():
            if ":" in key:
                iri = self._whole(key)
                if iri is not None and iri.startswith(base):
                    found[iri[len(base) :]] = value
        return found


def context_entries(document: dict[str, Any]) -> list[object]:
    """Return the entries of a description's ``@context``."""
    context = document.get("@context")
    return context if isinstance(context, list) else [context]


def remotes(document: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Return path and address of each remote context that a description asks for."""
    for index, entry in enumerate(context_entries(document)):
        path = ("@context", index) if isinstance(document.get("@context"), list) else ("@context",)
        yield from _remote(entry, path)
    for key, value in document.items():
        if key != "@context":
            yield from _nested(value, (key,))


def _remote(context: object, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(context, str):
        yield path, context
    elif isinstance(context, list):
        for index, entry in enumerate(context):
            yield from _remote(entry, (*path, index))
    elif isinstance(context, dict):
        for key, value in context.items():
            if key == "@import" and isinstance(value, str):
                yield (*path, key), value
            elif isinstance(value, dict) and not key.startswith("@"):
                yield from _nested(value, (*path, key))


def _nested(value: object, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "@context":
                yield from _remote(inner, (*path, key))
            else:
                yield from _nested(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nested(inner, (*path, index))
