"""What a request's options ask for: the name, the conditions, the forms (RFC 7252 section 5.10)."""

import re
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import quote

from adapters.coap.serving.places import Place, method_name, place_of
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import code_of
from adapters.coap.wire.formats import content_type_of
from adapters.coap.wire.options import Options, option_bytes, recognised, uint
from adapters.coap.wire.traces import fields_of, traceparent_of
from gateway.site import Site
from registry.names import InvalidName, Name, parse_name

BAD_REQUEST: Final = code_of("4.00")
BAD_OPTION: Final = code_of("4.02")
NOT_FOUND: Final = code_of("4.04")
UNSUPPORTED: Final = code_of("4.15")
NO_PROXY: Final = code_of("5.05")
LOOP: Final = code_of("5.08")
MAX_HOPS: Final = 8
CORE: Final = [b".well-known", b"core"]
BLOCK: Final = 6
"""The exponent of the largest block here: 1024 bytes (RFC 7959 section 2.2)."""

_SEGMENT: Final = "-._~:,;=@$"
_QUERY: Final = "-._~:,;=@$!'()*/?"
_NOT_KEY: Final = frozenset(
    {o.ETAG, o.OBSERVE, o.BLOCK1, o.BLOCK2, o.NO_RESPONSE, o.OSCORE, o.HOP_LIMIT}
)
_LASTING: Final = frozenset({o.URI_HOST, o.URI_PORT, o.URI_PATH, o.URI_QUERY})
_FORMS: Final = frozenset({o.CONTENT_FORMAT, o.ACCEPT})
_GROUP: Final = re.compile(r"[^\x00-\x1f\x7f]{0,255}")
LOOPBACK: Final = "localhost"
OCTETS: Final = "application/octet-stream"


class Bad(Exception):
    """A request whose options cannot be served: ``code`` and why, for the client."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Block(NamedTuple):
    """A block option's value; ``size`` is in bytes (RFC 7959 section 2.2)."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """How many bytes a whole block has."""
        return 1 << (self.exponent + 4)

    def value(self) -> bytes:
        """Return the option's value."""
        return o.uint_value(self.number << 4 | self.more << 3 | self.exponent)


class Asked:
    """The options of one request, read. One object stands for equal options of many requests.

    ``name`` is "" for ``/.well-known/core``; ``place`` is there for a path of the resource
    directory, and ``name`` then the method that answers. ``plain``: nothing but a name, a query and
    forms, so that a reply that fits one message is all there is to it. ``lasting``: nothing in it
    is of one moment, so that it is worth to be remembered.
    """

    __slots__ = (
        "accept",
        "block1",
        "block2",
        "content_type",
        "echo",
        "etags",
        "fields",
        "hops",
        "if_match",
        "if_none_match",
        "key",
        "lasting",
        "media_type",
        "name",
        "no_response",
        "observe",
        "oscore",
        "place",
        "plain",
        "queries",
        "query",
        "size1",
        "traceparent",
    )

    def __init__(self) -> None:
        self.name = Name("")
        self.place: Place | None = None
        self.queries: list[bytes] = []
        self.query = b""
        self.content_type = b""
        self.media_type = OCTETS
        """The same as text; an event has one always."""
        self.fields: list[bytes] = []
        self.accept = -1
        self.observe = -1
        self.oscore: bytes | None = None
        self.block1: Block | None = None
        self.block2: Block | None = None
        self.etags: list[bytes] = []
        self.if_match: list[bytes] = []
        self.if_none_match = False
        self.no_response = 0
        self.echo = b""
        self.size1 = 0
        self.traceparent = b""
        self.hops = 0
        self.key = b""
        """What requests have in common that ask for the same (RFC 7252 section 5.6), as bytes."""
        self.plain = self.lasting = True


def read_options(site: Site, options: Options) -> Asked:
    """Read a request's options; raises Bad."""
    kept, unknown = recognised(options)
    if unknown is not None:
        raise Bad(BAD_OPTION, f"the critical option {unknown.number} {unknown.why}")
    asked = Asked()
    path: list[bytes] = []
    for number, value in kept:
        if number == o.URI_PATH:
            path.append(value)
        elif number == o.URI_QUERY:
            asked.queries.append(value)
        elif number in _FORMS:
            _read_form(asked, number, uint(value))
        elif number not in _LASTING:
            asked.plain = asked.lasting = False
            _read_rare(asked, number, value)
        elif number == o.URI_HOST:
            _check_host(site, value)
    if asked.oscore is not None:
        return asked  # everything else is inside
    asked.query = b"&".join(quote(query, safe=_QUERY).encode() for query in asked.queries)
    _read_path(site, asked, path)
    asked.key = option_bytes(
        (number, value)
        for number, value in kept
        if number not in _NOT_KEY and number & 0x1E != 0x1C
    )
    return asked


def digest(data: bytes) -> bytes:
    """Return 8 bytes that stand for data: an entity tag, or what is compared later."""
    return blake2b(data, digest_size=8).digest()


def parameters(queries: list[bytes]) -> dict[str, str]:
    """Return a query's parameters (``name=value``); raises Bad."""
    found = {}
    for query in queries:
        try:
            name, _, value = query.decode().partition("=")
        except UnicodeDecodeError:
            raise Bad(BAD_REQUEST, "a Uri-Query is UTF-8") from None
        found[name] = value
    if not _GROUP.fullmatch(found.get("group", "")):
        raise Bad(BAD_REQUEST, "group: use at most 255 printable characters")
    return found


def _read_path(site: Site, asked: Asked, path: list[bytes]) -> None:
    asked.place = place = place_of(path)
    if place is not None:
        asked.name, asked.plain = method_name(site.authority, place.method), False
    elif path != CORE:
        asked.name = _name(site, path)


def _read_form(asked: Asked, number: int, content_format: int) -> None:
    if number == o.ACCEPT:
        asked.accept = content_format
        asked.plain = False
        content_type = content_type_of(content_format)
        if content_type is not None:
            asked.fields += (b"Accept", b": ", content_type, b"\r\n")
        return
    found = content_type_of(content_format)
    if found is None:
        raise Bad(UNSUPPORTED, f"the content format {content_format} is not known here")
    asked.content_type = found
    asked.media_type = found.decode()
    asked.fields += (b"Content-Type", b": ", found, b"\r\n")


def _read_rare(asked: Asked, number: int, value: bytes) -> None:  # noqa: C901, PLR0912 (one case each)
    if number == o.OBSERVE:
        asked.observe = uint(value)
    elif number == o.OSCORE:
        asked.oscore = value
    elif number == o.BLOCK2:
        asked.block2 = _block(value)
    elif number == o.BLOCK1:
        asked.block1 = _block(value)
    elif number == o.ETAG:
        asked.etags.append(value)
    elif number == o.IF_MATCH:
        asked.if_match.append(value)
    elif number == o.IF_NONE_MATCH:
        asked.if_none_match = True
    elif number == o.ECHO:
        asked.echo = value
    elif number == o.NO_RESPONSE:
        asked.no_response = uint(value)
    elif number == o.SIZE1:
        asked.size1 = uint(value)
    elif number == o.TRACEPARENT:
        asked.traceparent = traceparent_of(value)
        asked.fields += fields_of(asked.traceparent)
    elif number == o.HOP_LIMIT:
        _count_hops(asked, value[0])
    elif number in (o.PROXY_URI, o.PROXY_SCHEME):
        raise Bad(NO_PROXY, "this site is no forward proxy: name what you want in Uri-Path")


def _count_hops(asked: Asked, left: int) -> None:
    """Count this gateway as one that a request passes (RFC 8768 section 3)."""
    if left == 0:
        raise Bad(BAD_REQUEST, "a Hop-Limit is 1 to 255")
    if left == 1:
        raise Bad(LOOP, "the request has passed too many gateways: a loop")
    asked.hops = max(0, MAX_HOPS - left)


def _block(value: bytes) -> Block:
    number = uint(value)
    if number & 7 == 7:
        raise Bad(BAD_REQUEST, "the block size exponent 7 is reserved on datagrams")
    return Block(number >> 4, bool(number & 8), number & 7)


def _check_host(site: Site, value: bytes) -> None:
    try:
        host = value.decode().lower()
    except UnicodeDecodeError:
        raise Bad(BAD_REQUEST, "a Uri-Host is UTF-8") from None
    if host in (site.authority, LOOPBACK) or host in site.aliases:
        return
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise Bad(NOT_FOUND, f"this site is not {host}") from None


def _name(site: Site, path: list[bytes]) -> Name:
    if not path:
        raise Bad(NOT_FOUND, "nothing is at /: GET /.well-known/core lists the names to use")
    # A raw "/" or "%" within a segment is part of it: quoted, parse_name refuses the one only.
    text = "".join("/" + quote(segment, safe=_SEGMENT) for segment in path)
    try:
        return parse_name(
            text,
            authority=site.authority,
            aliases=site.aliases,
            remotes=site.remotes,
            reserved=True,
        )
    except InvalidName as error:
        raise Bad(BAD_REQUEST, str(error)) from None
