"""A call as a CoAP request, its response as a Reply (RFC 7252 sections 5 and 6, RFC 8075)."""

from typing import Final
from urllib.parse import unquote_to_bytes

from adapters.coap.serving.asked import MAX_HOPS
from adapters.coap.upstream.line import Request
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import DELETE, GET, METHODS, Message, code_of
from adapters.coap.wire.formats import (
    CBOR,
    JSON,
    OCTETS,
    Untranslatable,
    content_type_of,
    format_of,
    format_value,
    to_cbor,
    to_json,
)
from adapters.coap.wire.options import Options, ordered, uint
from adapters.coap.wire.traces import option_value
from gateway.message import WIRE, Call, Origin, Reply, Status
from registry.urls import Url

CODES: Final = {verb.decode().upper(): code for code, verb in METHODS.items()}
UNKNOWN: Final = b"application/octet-stream"
TEXT: Final = b"text/plain;charset=utf-8"
CREATED: Final = code_of("2.01")
MAX_QUERY: Final = 255
"""Bytes of one argument of a query, and of one segment of a path."""

_STATUSES: Final = {code_of(WIRE[status].coap): status for status in reversed(Status)}
_STATUSES[code_of("5.00")] = Status.PROVIDER_ERROR
_HTTP: Final = {
    code_of("2.01"): 201,
    code_of("4.02"): 400,
    code_of("4.05"): 405,
    code_of("4.06"): 406,
    code_of("4.08"): 400,
    code_of("4.12"): 412,
    code_of("5.00"): 500,
    code_of("5.01"): 501,
    code_of("5.05"): 502,
    code_of("5.08"): 508,
}
"""HTTP statuses of codes that no Status stands for (RFC 8075 table 2)."""


class BadCall(ValueError):
    """A call that does not fit into a CoAP request; the text is for the caller."""


def fixed_options(url: Url) -> Options:
    """Return the options that a URL stands for (RFC 7252 section 6.4); raises BadCall."""
    options: Options = []
    if not _is_literal(url.host):
        options.append((o.URI_HOST, url.host.encode()))
    path = url.path.removeprefix("/")
    if path:
        options += [(o.URI_PATH, unquote_to_bytes(segment)) for segment in path.split("/")]
    options += _query(url.query)
    for _, value in options:
        if len(value) > MAX_QUERY:
            raise BadCall(f"a part of the endpoint's URL has more than {MAX_QUERY} bytes")
    return options


def wants_cbor(call: Call) -> bool:
    """Return whether a caller speaks CBOR itself, so that nothing is to be translated for it."""
    return CBOR in (format_of(call.content_type), _accept(call))


def request(code: int, fixed: Options, call: Call, payload: bytes, *, cbor: bool) -> Request:
    """Return a call's request, with ``cbor`` its JSON as CBOR; raises BadCall."""
    number, accept = format_of(call.content_type), _accept(call)
    if cbor:
        if payload and (number == JSON or not call.content_type):
            payload, number = _encoded(payload), CBOR
        if accept in (JSON, -1):
            accept = CBOR
    if payload and code in (GET, DELETE):
        raise BadCall("the endpoint is asked with a GET or DELETE, which has no payload")
    options = [*fixed, (o.HOP_LIMIT, bytes((max(1, MAX_HOPS - 1 - call.hops),)))]
    for option, value in _query(call.query.decode("latin-1")):
        if len(value) > MAX_QUERY:
            raise BadCall(f"an argument of the query has more than {MAX_QUERY} bytes")
        options.append((option, value))
    if payload and (number >= 0 or call.content_type):
        options.append((o.CONTENT_FORMAT, format_value(OCTETS if number < 0 else number)))
    if accept >= 0:
        options.append((o.ACCEPT, format_value(accept)))
    trace = option_value(call.traceparent) if call.traceparent else b""
    if trace:
        options.append((o.TRACEPARENT, trace))
    return Request(code, ordered(options), payload)


def in_json(message: Message) -> Message:
    """Return a response with its CBOR as JSON; raises Untranslatable."""
    value = message.value(o.CONTENT_FORMAT)
    if value is None or uint(value) != CBOR or not message.payload:
        return message
    options = [(n, format_value(JSON) if n == o.CONTENT_FORMAT else v) for n, v in message.options]
    return message._replace(options=options, payload=to_json(message.payload))


def reply(message: Message) -> Reply:
    """Return the head of a response."""
    code = message.code
    status = Status.OK if code >> 5 == 2 else _status(code)
    kind = content_type(message)
    head = Reply(status, Origin.PROVIDER, _code(code, status), kind, len(message.payload))
    fields = head.fields
    if kind:
        fields += (b"Content-Type", b": ", kind, b"\r\n")
    etag = message.value(o.ETAG)
    if etag:
        fields += (b"ETag", b": ", b'"%b"' % etag.hex().encode(), b"\r\n")
    age = message.value(o.MAX_AGE)
    if age is not None and status is Status.UNAVAILABLE:
        fields += (b"Retry-After", b": ", b"%d" % uint(age), b"\r\n")
    elif age is not None and status is Status.OK:
        fields += (b"Cache-Control", b": ", b"max-age=%d" % uint(age), b"\r\n")
    return head


def content_type(message: Message) -> bytes:
    """Return a payload's media type, b"" when nobody says; an unknown number is just bytes."""
    value = message.value(o.CONTENT_FORMAT)
    if value is not None:
        return content_type_of(uint(value)) or UNKNOWN
    if message.payload and message.code >> 5 > 2:
        return TEXT  # a diagnostic payload (RFC 7252 section 5.5.2)
    return b""


def _status(code: int) -> Status:
    other = Status.BAD_REQUEST if code >> 5 == 4 else Status.PROVIDER_ERROR
    return _STATUSES.get(code, other)


def _code(code: int, status: Status) -> int:
    known = _HTTP.get(code)
    if known is not None:
        return known
    return WIRE[status].http if status is not Status.OK else 200


def _encoded(payload: bytes) -> bytes:
    try:
        return to_cbor(payload)
    except Untranslatable as error:
        raise BadCall(f"the endpoint takes CBOR, and the payload is {error}") from None


def _query(query: str) -> Options:
    return [(o.URI_QUERY, unquote_to_bytes(one)) for one in query.split("&") if one]


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _accept(call: Call) -> int:
    """Return the content format of the one media type that a caller accepts, else -1."""
    fields = call.fields
    for at in range(0, len(fields) - 3, 4):
        if fields[at].lower() == b"accept":
            return format_of(fields[at + 2])
    return -1
