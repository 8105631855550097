"""CoAP content formats <-> media types, JSON <-> CBOR, and problem details (RFC 9290).

The table is a part of IANA's registry "CoAP Content-Formats".
"""

import math
from typing import Any, Final

import cbor2
import msgspec

from adapters.coap.wire.codec import code_of
from adapters.coap.wire.options import uint_value
from gateway.message import Refusal

TEXT: Final = 0
LINKS: Final = 40
OCTETS: Final = 42
JSON: Final = 50
CBOR: Final = 60
PROBLEM: Final = 257
DEPTH: Final = 32
"""How deep a document may be nested that is translated."""

TYPES: Final = {
    TEXT: b"text/plain;charset=utf-8",
    19: b"application/ace+cbor",
    21: b"image/gif",
    22: b"image/jpeg",
    23: b"image/png",
    LINKS: b"application/link-format",
    41: b"application/xml",
    OCTETS: b"application/octet-stream",
    47: b"application/exi",
    JSON: b"application/json",
    51: b"application/json-patch+json",
    52: b"application/merge-patch+json",
    CBOR: b"application/cbor",
    61: b"application/cwt",
    62: b"application/multipart-core",
    63: b"application/cbor-seq",
    101: b"application/cose-key",
    102: b"application/cose-key-set",
    110: b"application/senml+json",
    111: b"application/sensml+json",
    112: b"application/senml+cbor",
    113: b"application/sensml+cbor",
    256: b"application/coap-group+json",
    PROBLEM: b"application/concise-problem-details+cbor",
    310: b"application/senml+xml",
    311: b"application/sensml+xml",
    320: b"application/senml-etch+json",
    322: b"application/senml-etch+cbor",
    432: b"application/td+json",
    433: b"application/tm+json",
    10_001: b"application/oscore",
    10_002: b"application/javascript",
    11_542: b"application/vnd.oma.lwm2m+tlv",
    11_543: b"application/vnd.oma.lwm2m+json",
    11_544: b"application/vnd.oma.lwm2m+cbor",
    20_000: b"text/css",
    30_000: b"image/svg+xml",
}
_FORMATS: Final = {
    **{media_type: number for number, media_type in TYPES.items()},
    b"text/plain": TEXT,
    b"text/plain; charset=utf-8": TEXT,
    b"text/plain; charset=us-ascii": TEXT,
    b"application/json; charset=utf-8": JSON,
    b"application/json;charset=utf-8": JSON,
}


class Untranslatable(ValueError):
    """A value of one form that the other cannot hold."""


def content_type_of(content_format: int) -> bytes | None:
    """Return the media type of a content format, None for one that is not in the table."""
    return TYPES.get(content_format)


def format_of(content_type: bytes) -> int:
    """Return the content format of a media type, -1 for one that CoAP has no number for."""
    found = _FORMATS.get(content_type)
    return _FORMATS.get(content_type.lower(), -1) if found is None else found


def format_value(content_format: int) -> bytes:
    """Return a content format as an option's value."""
    return uint_value(content_format)


def to_cbor(text: bytes) -> bytes:
    """Return a JSON document as CBOR (RFC 8949 section 6.2); raises Untranslatable."""
    try:
        return cbor2.dumps(_shallow(msgspec.json.decode(text), DEPTH))
    except (ValueError, RecursionError) as error:
        raise Untranslatable(f"not JSON that CBOR can hold: {error}") from None


def to_json(data: bytes) -> bytes:
    """Return a CBOR item as JSON (RFC 8949 section 6.1); raises Untranslatable.

    What JSON has no form for (bytes, tags, keys that are no text, infinity) is refused: a
    translation that loses something would not be noticed.
    """
    try:
        value = cbor2.loads(
            data, max_depth=DEPTH, allow_duplicate_keys=False, strict_hashable_types=True
        )
        return msgspec.json.encode(_plain(value))
    except (ValueError, cbor2.CBORError, RecursionError) as error:
        raise Untranslatable(f"not CBOR that JSON can hold: {error}") from None


def problem_details(refusal: Refusal) -> bytes:
    """Return a refusal as concise problem details (RFC 9290 section 2)."""
    wire = refusal.status.wire
    document: dict[int | str, object] = {
        -1: wire.title,
        -2: refusal.detail,
        -4: code_of(wire.coap),
    }
    if refusal.extra:
        document[f"urn:hilum:problem:{refusal.status.slug}"] = refusal.extra
    return cbor2.dumps(document, default=_as_text)


def problem(code: int, title: str, detail: str) -> bytes:
    """Return an error that no Status stands for as concise problem details."""
    return cbor2.dumps({-1: title, -2: detail, -4: code})


def read_problem(data: bytes) -> str:
    """Return the title and detail of concise problem details, "" when they are none."""
    try:
        document = cbor2.loads(data, max_depth=DEPTH)
    except (ValueError, cbor2.CBORError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    said = [document.get(key) for key in (-1, -2)]
    return ": ".join(text for text in said if isinstance(text, str))


def _as_text(encoder: Any, value: object) -> None:
    encoder.encode(str(value))


def _shallow(value: object, left: int) -> object:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"nested deeper than {DEPTH}")
        for inner in value.values() if isinstance(value, dict) else value:
            _shallow(inner, left - 1)
    return value


def _plain(value: object) -> object:
    """Return a value of CBOR if it is one of JSON too."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key that is no text")
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a value of type {type(value).__name__}")
