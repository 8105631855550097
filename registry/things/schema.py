"""The shape of a Thing Description 1.1 as a JSON Schema of our own (W3C WoT TD 1.1, section 5).

Only shapes stand here; what one member says of another is in ``rules``. Members that TD 1.1 does
not know are vocabularies of others: they may stand anywhere and hold anything.
"""

from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]

MAX_AFFORDANCES: Final = 128
"""Properties, actions or events of one thing, each."""
MAX_FORMS: Final = 32
"""Forms of one affordance."""
MAX_MEMBERS: Final = 256
"""Members of an object that a schema describes."""
MAX_ITEMS: Final = 64
"""Schemas in a list of them."""
OPS: Final = {
    "properties": ("readproperty", "writeproperty", "observeproperty", "unobserveproperty"),
    "actions": ("invokeaction", "queryaction", "cancelaction"),
    "events": ("subscribeevent", "unsubscribeevent"),
    "": (
        "readallproperties",
        "writeallproperties",
        "readmultipleproperties",
        "writemultipleproperties",
        "observeallproperties",
        "unobserveallproperties",
        "subscribeallevents",
        "unsubscribeallevents",
        "queryallactions",
    ),
}
"""The operations of each kind of affordance, and of the thing itself (section 5.3.4.2)."""
TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
SCHEMES: Final = (
    *("nosec", "auto", "combo", "basic", "digest", "apikey", "bearer", "psk", "oauth2"),
)
"""Security schemes of TD 1.1; other vocabularies write theirs with a prefix."""

_TEXT: Schema = {"type": "string", "maxLength": 65_536}
_URI: Schema = {"type": "string", "minLength": 1, "maxLength": 2048}
_BOOL: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256}
_WORDS: Schema = {"type": ["string", "array"], "minLength": 1, "maxItems": 64, "items": _WORD}
_SOME_WORDS: Schema = {**_WORDS, "minItems": 1}
_TEXTS: Schema = {"type": "object", "maxProperties": 64, "additionalProperties": _TEXT}
_DATE: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?$",
}
_HUMAN: Schema = {"title": _TEXT, "titles": _TEXTS, "description": _TEXT, "descriptions": _TEXTS}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _map(name: str, most: int = MAX_MEMBERS) -> Schema:
    return {"type": "object", "maxProperties": most, "additionalProperties": _ref(name)}


def _list(name: str, most: int, least: int = 0) -> Schema:
    return {"type": "array", "minItems": least, "maxItems": most, "items": _ref(name)}


_DATA: Schema = {
    "@type": _WORDS,
    **_HUMAN,
    "readOnly": _BOOL,
    "writeOnly": _BOOL,
    "oneOf": _list("data", MAX_ITEMS),
    "unit": {"type": "string"},
    "enum": {"type": "array", "minItems": 1, "maxItems": 4096},
    "format": {"type": "string"},
    "contentEncoding": {"type": "string"},
    "contentMediaType": {"type": "string"},
    "type": {"type": "string", "enum": list(TYPES)},
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], _NUMBER),
    "multipleOf": {"type": "number", "exclusiveMinimum": 0},
    "pattern": {"type": "string"},
    "properties": _map("data"),
    "required": {"type": "array", "maxItems": 256, "items": {"type": "string"}},
    "items": _ref("items"),
}
_AFFORDANCE: Schema = {
    "@type": _WORDS,
    **_HUMAN,
    "forms": _list("form", MAX_FORMS, 1),
    "uriVariables": _map("data", MAX_ITEMS),
}
_DEFINITIONS: Schema = {
    "data": {"type": "object", "properties": _DATA},
    "items": {  # One schema for all items, or a list with one for each.
        "type": ["object", "array"],
        "maxItems": MAX_ITEMS,
        "properties": _DATA,
        "items": _ref("data"),
    },
    "form": {
        "type": "object",
        "required": ["href"],
        "properties": {
            "href": _URI,
            "op": {**_SOME_WORDS, "maxItems": 16},
            "contentType": _WORD,
            "contentCoding": _WORD,
            "subprotocol": _WORD,
            "security": _SOME_WORDS,
            "scopes": _WORDS,
            "response": {
                "type": "object",
                "required": ["contentType"],
                "properties": {"contentType": _WORD},
            },
            "additionalResponses": {
                "type": ["object", "array"],
                "maxItems": 32,
                "items": _ref("response"),
            },
        },
    },
    "response": {
        "type": "object",
        "properties": {"success": _BOOL, "contentType": _WORD, "schema": _WORD},
    },
    "link": {
        "type": "object",
        "required": ["href"],
        "properties": {
            "href": _URI,
            "type": _WORD,
            "rel": _WORD,
            "anchor": _URI,
            "sizes": {"type": "string"},
            "hreflang": _WORDS,
        },
    },
    "security": {
        "type": "object",
        "required": ["scheme"],
        "properties": {
            "@type": _WORDS,
            "description": _TEXT,
            "descriptions": _TEXTS,
            "scheme": _WORD,
            **dict.fromkeys(["proxy", "authorization", "token", "refresh"], _URI),
            "oneOf": {**_SOME_WORDS, "type": "array", "minItems": 2},
            "allOf": {**_SOME_WORDS, "type": "array", "minItems": 2},
            "in": {
                "type": "string",
                "enum": ["header", "query", "body", "cookie", "uri", "auto"],
            },
            "name": {"type": "string", "maxLength": 256},
            "qop": {"type": "string", "enum": ["auth", "auth-int"]},
            "alg": _WORD,
            "format": _WORD,
            "identity": _WORD,
            "scopes": _WORDS,
            "flow": _WORD,
        },
    },
    "property": {
        "type": "object",
        "required": ["forms"],
        "properties": {**_DATA, **_AFFORDANCE, "observable": _BOOL},
    },
    "action": {
        "type": "object",
        "required": ["forms"],
        "properties": {
            **_AFFORDANCE,
            "input": _ref("data"),
            "output": _ref("data"),
            **dict.fromkeys(["safe", "idempotent", "synchronous"], _BOOL),
        },
    },
    "event": {
        "type": "object",
        "required": ["forms"],
        "properties": {
            **_AFFORDANCE,
            **dict.fromkeys(["subscription", "data", "dataResponse", "cancellation"], _ref("data")),
        },
    },
}

SCHEMA: Final[Schema] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "W3C WoT Thing Description 1.1",
    "type": "object",
    "required": ["@context", "title", "security", "securityDefinitions"],
    "properties": {
        "@context": {
            "type": ["string", "array"],
            "minItems": 1,
            "maxItems": 32,
            "items": {"type": ["string", "object"]},
        },
        "@type": _WORDS,
        "id": {"type": "string", "minLength": 1, "maxLength": 1024},
        **_HUMAN,
        "version": {
            "type": "object",
            "required": ["instance"],
            "properties": {"instance": {"type": "string"}, "model": {"type": "string"}},
        },
        "created": _DATE,
        "modified": _DATE,
        "support": _URI,
        "base": _URI,
        "properties": _map("property", MAX_AFFORDANCES),
        "actions": _map("action", MAX_AFFORDANCES),
        "events": _map("event", MAX_AFFORDANCES),
        "links": _list("link", 256),
        "forms": _list("form", MAX_FORMS, 1),
        "security": _SOME_WORDS,
        "securityDefinitions": {**_map("security", 64), "minProperties": 1},
        "profile": {**_SOME_WORDS, "items": _URI},
        "schemaDefinitions": _map("data"),
        "uriVariables": _map("data", MAX_ITEMS),
    },
    "definitions": _DEFINITIONS,
}
"""Draft-07, the newest that the validator knows; no keyword of it is newer than 2020-12."""
