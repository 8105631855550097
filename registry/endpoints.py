"""Endpoints of a resource directory: what they register, as a virtual object (RFC 9176). Pure.

A resource that an endpoint hosts becomes a member of its object, named by its path with ``:`` for
``/``: reading is a safe method of that name, writing the method ``…;write`` (PUT), acting on it
``…;post``, observing it the channel ``…;observe``. A link to something else, as ``rel`` or
``anchor`` say, is kept as information.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import unquote

from registry.link_format import Link
from registry.model import DirectoryEndpoint, Endpoint, EventChannel, Method, VirtualObject
from registry.names import InvalidName, Name, encode_segment, join
from registry.terms import expand
from registry.urls import InvalidUrl, Url, parse_url, scheme_of

LIFETIME: Final = 90_000
"""Seconds of a registration that says nothing (section 5)."""
LONGEST: Final = 4_294_967_295
MAX_NAME: Final = 63
"""Bytes of an endpoint's name and of a sector (section 5)."""
MAX_PARAMETERS: Final = 32
MAX_VALUE: Final = 255
"""Characters of a parameter: what a Uri-Query holds."""
MAX_RESOURCES: Final = 256
"""Links of one endpoint."""
SCHEMES: Final = ("coap", "coap+tcp", "http", "https")
"""What the gateway reaches resources by."""
RESERVED: Final = frozenset(
    {"href", "rel", "rt", "anchor", "page", "count", "view", "location", "links"}
)
"""What is no attribute of a registration: filters would mean something else."""

_LIFETIME = re.compile(r"[0-9]{1,10}")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9!#$&+\-.^_`|~]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_READ_ONLY = frozenset({"core.s", "core.rp", "core.ll"})
"""Interfaces whose resources are read only (draft-ietf-core-interfaces)."""
_MEMBER = 100
"""Bytes of a member's name: longer ones are shortened to a digest."""


class InvalidEndpoint(ValueError):
    """What an endpoint registers cannot be taken; the text says why."""


class Parameters(NamedTuple):
    """What a registration or update says; None for what it does not say (sections 5 and 5.3.1)."""

    name: str | None
    sector: str
    lifetime: int | None
    base: str | None
    attributes: tuple[tuple[str, str], ...]


class Hosted(NamedTuple):
    """A link of an endpoint: where it leads, and the member that it became, "" for none."""

    link: Link
    member: str
    url: str


def read_parameters(pairs: Iterable[tuple[str, str]]) -> Parameters:
    """Read the parameters of a registration; raises InvalidEndpoint."""
    own: dict[str, str] = {}
    attributes: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in RESERVED or not _ATTRIBUTE.fullmatch(name):
            raise InvalidEndpoint(f"{name[:64]!r} is no parameter of a registration")
        if len(value) > MAX_VALUE or _CONTROL.search(value):
            raise InvalidEndpoint(f"{name} has at most {MAX_VALUE} characters, no control ones")
        if name not in ("ep", "d", "lt", "base"):
            attributes.append((name, value))
        elif name in own:
            raise InvalidEndpoint(f"{name} is there twice")
        else:
            own[name] = value
    if len(attributes) > MAX_PARAMETERS:
        raise InvalidEndpoint(f"more than {MAX_PARAMETERS} parameters")
    lifetime = _lifetime(own["lt"]) if "lt" in own else None
    base = str(read_base(own["base"])).rstrip("/") if "base" in own else None
    endpoint = _name("ep", own["ep"]) if "ep" in own else None
    sector = _name("d", own["d"]) if "d" in own else ""
    return Parameters(endpoint, sector, lifetime, base, tuple(attributes))


def read_base(text: str) -> Url:
    """Read a base URI: a scheme and an authority (section 5); raises InvalidEndpoint."""
    try:
        url = parse_url(text, schemes=SCHEMES)
    except InvalidUrl as error:
        raise InvalidEndpoint(f"base: {error}") from None
    if url.path not in ("", "/") or url.query:
        raise InvalidEndpoint("base: a scheme, a host and a port, without a path")
    return url


def location_of(name: str, sector: str) -> str:
    """Return the last segment of a registration resource: the same one for the same endpoint."""
    return sha256(f"{sector}\0{name}".encode()).hexdigest()[:16]


def object_name(authority: str, name: str, sector: str) -> Name:
    """Return the name of an endpoint's object; raises InvalidEndpoint."""
    try:
        if sector:
            return join(Name(authority), "sectors", sector, name)
        return join(Name(authority), "endpoints", name)
    except InvalidName as error:
        raise InvalidEndpoint(f"ep and d are segments of a name: {error.reason}") from None


def hosted(links: Sequence[Link], base: str) -> list[Hosted]:
    """Return where links lead and which members they become; raises InvalidEndpoint."""
    if len(links) > MAX_RESOURCES:
        raise InvalidEndpoint(f"more than {MAX_RESOURCES} links: register another endpoint too")
    origin = read_base(base)
    found: list[Hosted] = []
    members: dict[str, str] = {}
    for link in links:
        url = _resolved(link.target, origin)
        if url is None:
            found.append(Hosted(link, "", link.target))
            continue
        member = ""
        if _is_hosted(link, origin):
            member = _member(url, origin)
            if members.setdefault(member, str(url)) != str(url):
                member = _digest(url)
                members[member] = str(url)
        found.append(Hosted(link, member, str(url)))
    return found


def object_of(
    name: Name, endpoint: DirectoryEndpoint, resources: Sequence[Hosted]
) -> VirtualObject:
    """Return an endpoint as a virtual object whose members are its resources."""
    methods: dict[str, Method] = {}
    channels: dict[str, EventChannel] = {}
    for link, member, url in resources:
        if not member or member in methods:
            continue
        about = (link.get("title") or "")[:4096]
        types = terms_of(link.values("rt"))
        get = Endpoint(url, "GET")
        methods[member] = Method(description=about, safe=True, endpoints=(get,), types=types)
        if not _READ_ONLY.intersection(link.values("if")):
            put, post = Endpoint(url, "PUT"), Endpoint(url, "POST")
            methods[f"{member};write"] = Method(
                description=about, idempotent=True, endpoints=(put,), types=types
            )
            methods[f"{member};post"] = Method(description=about, endpoints=(post,), types=types)
        if link.get("obs") is not None and scheme_of(url).startswith("coap"):
            channels[f"{member};observe"] = EventChannel(
                description=about, sources=(url,), types=types
            )
    kinds = terms_of([value for key, value in endpoint.attributes if key == "et"])
    return VirtualObject(name, methods=methods, channels=channels, types=kinds)


def terms_of(values: Iterable[str]) -> tuple[str, ...]:
    """Return those resource types that are classes of an ontology: IRIs, or with a known prefix."""
    found: dict[str, None] = {}
    for value in values:
        try:
            found[expand(value)] = None
        except ValueError:
            continue  # "temperature-c" means what its readers agreed on
    return tuple(found)[:32]


def _lifetime(text: str) -> int:
    seconds = int(text) if _LIFETIME.fullmatch(text) else 0
    if not 1 <= seconds <= LONGEST:
        raise InvalidEndpoint(f"lt is from 1 to {LONGEST} seconds")
    return seconds


def _name(parameter: str, text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_NAME:
        raise InvalidEndpoint(f"{parameter} has 1 to {MAX_NAME} bytes")
    return text


def _resolved(target: str, origin: Url) -> Url | None:
    """Return the URL of a target (Limited Link Format, appendix C); None: of a foreign scheme."""
    try:
        if target.startswith("/") and not target.startswith("//"):
            return parse_url(str(origin._replace(path="", query="")) + target, schemes=SCHEMES)
        if scheme_of(target) in SCHEMES:
            return parse_url(target, schemes=SCHEMES)
    except InvalidUrl as error:
        raise InvalidEndpoint(f"the link <{target[:80]}>: {error}") from None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", target):
        return None
    raise InvalidEndpoint(
        f"the link <{target[:80]}>: write a whole URI, or a path that begins with /"
    )


def _is_hosted(link: Link, origin: Url) -> bool:
    """Return whether a link says that the endpoint hosts its target (RFC 6690 section 2.2)."""
    anchor = link.get("anchor")
    if anchor:
        context = _resolved(anchor, origin)
        if context is None or context[:3] != origin[:3] or context.path not in ("", "/"):
            return False
    relations = link.values("rel")
    return not relations or "hosts" in relations


def _member(url: Url, origin: Url) -> str:
    """Return the name of a resource within its object: its path, other origins in front."""
    text = ":".join(unquote(segment) for segment in url.path.strip("/").split("/")) or "root"
    if url[:3] != origin[:3]:
        text = f"{url.host}:{url.port}:{text}"
    if url.query:
        text = f"{text}?{unquote(url.query)}"
    if text[0] in "$@":
        text = f"_{text}"
    if ";" in text or len(text.encode()) > _MEMBER:
        return _digest(url)
    try:
        return encode_segment(text)
    except InvalidName:
        return _digest(url)


def _digest(url: Url) -> str:
    return sha256(str(url).encode()).hexdigest()[:20]
