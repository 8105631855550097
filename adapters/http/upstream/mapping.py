"""A JSON call onto an HTTP request: which argument goes where (S3 III-B).

The values of a template's places are percent-encoded, so that no value can reach another path.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from adapters.http.wire.fields import PASS, of_request
from registry.model import Endpoint
from registry.urls import parse_url, placeholders

BODILESS = ("GET", "HEAD", "DELETE")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]+")


class BadArguments(ValueError):
    """The arguments of a call do not fit its endpoint; the text is for the caller."""


class Mapped(NamedTuple):
    """What a call became: request target, extra header fields (flat) and body."""

    target: bytes
    fields: list[bytes]
    body: bytes


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    args: msgspec.Raw = msgspec.Raw(b"{}")


def read_named(body: bytes) -> tuple[str, bytes]:
    """Read ``{"method": "…", "args": {…}}``: the method, and its arguments as they are written."""
    try:
        named = msgspec.json.decode(body, type=_Named)
    except (ValueError, RecursionError) as error:
        raise BadArguments(str(error)) from None
    return named.method, bytes(named.args)


def map_call(endpoint: Endpoint, payload: bytes, query: bytes) -> Mapped:
    """Lay the arguments of a call (a JSON object, or the query of a GET) out over a request.

    What ``args`` does not name goes where its ``*`` says, else to the body, or to the query of a
    request that has no body.
    """
    arguments = _arguments(payload, query)
    url = parse_url(endpoint.url, template=True)
    rest = endpoint.args.get("*", "query" if endpoint.method in BODILESS else "body")
    path, filled, fields = url.path or "/", url.query, []
    in_query: list[tuple[str, str]] = []
    in_body: dict[str, object] = {}
    for name, value in arguments.items():
        place, hole = endpoint.args.get(name, rest), "{" + name + "}"
        if place == "path":
            path = path.replace(hole, _segment(name, value))
        elif place == "query" and hole in filled:
            filled = filled.replace(hole, quote(_text(name, value), safe=""))
        elif place == "query":
            in_query.append((name, _text(name, value)))
        elif place == "header":
            fields += [_field_name(name), b": ", _field(name, value), b"\r\n"]
        else:
            in_body[name] = value
    _check_holes(path + filled, arguments)
    parts = [part for part in (filled, urlencode(in_query)) if part]
    target = f"{path}?{'&'.join(parts)}" if parts else path
    body = _body(in_body) if in_body or rest == "body" else b""
    return Mapped(target.encode("ascii"), fields, body)


def _check_holes(target: str, arguments: Mapping[str, object]) -> None:
    for name in placeholders(target):
        if name not in arguments:
            raise BadArguments(f"the argument {name!r} is missing")


def _arguments(payload: bytes, query: bytes) -> Mapping[str, object]:
    if not payload:
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        document = json.loads(payload, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the payload must be a JSON object of arguments: {error}") from None
    if not isinstance(document, dict):
        raise BadArguments("the payload must be a JSON object of arguments")
    return document


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _body(arguments: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(arguments, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the arguments cannot be written as JSON again: {error}") from None


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        text = str(value)
        if not text.isascii() and not _has_utf8(text):
            raise BadArguments(f"the argument {name!r} has half a character (a lone surrogate)")
        return text
    raise BadArguments(f"the argument {name!r} must be a string, a number or a boolean")


def _segment(name: str, value: object) -> str:
    text = _text(name, value)
    if text in ("", ".", ".."):
        raise BadArguments(f"the argument {name!r} may not be {text!r}: it is part of a path")
    return quote(text, safe="", errors="strict")


def _field_name(name: str) -> bytes:
    """Return an argument's name as a field's: never one that means something to a gateway."""
    encoded = name.encode()
    if _TOKEN.fullmatch(name) is None or of_request(encoded) != PASS:
        raise BadArguments(f"the argument {name!r} cannot be a header field")
    return encoded


def _field(name: str, value: object) -> bytes:
    text = _text(name, value)
    if not text.isascii() or not text.isprintable():
        raise BadArguments(f"the argument {name!r} must be printable ASCII: it is a header field")
    return text.encode("ascii")
