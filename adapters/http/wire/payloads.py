"""Payloads inside JSON and text: as what they are when that is exact, else as base64.

Text is what is declared as text (JSON, XML, a form, ``text/*``) or not declared at all, is UTF-8
and has no control characters but tab and line feed (so that no protocol changes it on the way).
"""

import re
from base64 import b64encode
from functools import lru_cache

import msgspec

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_TEXT = frozenset(
    {
        "",
        "application/octet-stream",
        "application/javascript",
        "application/json",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/yaml",
    }
)


@lru_cache(maxsize=1024)
def is_textual(content_type: str) -> bool:
    """Return whether a payload of this type may be shown as text."""
    media = _media_type(content_type)
    return media in _TEXT or media.startswith("text/") or media.endswith(("+json", "+xml"))


@lru_cache(maxsize=1024)
def is_json(content_type: str) -> bool:
    """Return whether a payload of this type is JSON."""
    media = _media_type(content_type)
    return media == "application/json" or media.endswith("+json")


def text_of(content_type: str, payload: bytes) -> str | None:
    """Return a payload as the text that it is, None when it is none."""
    if not is_textual(content_type):
        return None
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def json_of(content_type: str, payload: bytes) -> msgspec.Raw | None:
    """Return a JSON payload as it was written, None when it is not JSON."""
    if not is_json(content_type):
        return None
    try:
        msgspec.json.decode(payload)
        payload.decode()
    except (ValueError, RecursionError):
        return None
    return msgspec.Raw(payload)


def members(content_type: str, payload: bytes) -> dict[str, object]:
    """Return a payload as members of a JSON message: ``payload``, ``contentType``, ``encoding``.

    JSON is embedded as it is, text is a string, anything else is base64 and says so. An empty
    payload has no member, and a string without a type would be read as JSON: it gets one.
    """
    found: dict[str, object] = {"contentType": content_type} if content_type else {}
    if not payload:
        return found
    embedded = json_of(content_type, payload)
    if embedded is not None:
        return {**found, "payload": embedded}
    text = None if is_json(content_type) else text_of(content_type, payload)
    if text is not None:
        return {"contentType": "text/plain", **found, "payload": text}
    return {**found, "payload": b64encode(payload).decode(), "encoding": "base64"}


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
