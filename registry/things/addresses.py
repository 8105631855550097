"""Where forms lead: references to a base (RFC 3986, 5.2) and URI templates (RFC 6570). Pure."""

import re
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, cast
from urllib.parse import quote

_URI = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL
)
_QUERY = re.compile(r"\{([?&])([^{}]*)\}")
_SIMPLE = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
MAX_VARIABLES: Final = 64
"""Variables of one template: what an endpoint takes."""

MAX_KNOWN: Final = 256
"""Characters of a URI whose parts are remembered: each is asked for several times."""
_Parts: TypeAlias = tuple[str | None, str | None, str, str | None, str | None]
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~{}"


class Template(NamedTuple):
    """A URI template taken apart: the plain part with its ``{path}`` places, and its variables."""

    href: str
    places: tuple[str, ...]
    query: tuple[str, ...]


def template(href: str) -> Template:
    """Take a template apart. Raises ValueError for what else RFC 6570 has.

    ``{a}`` in the path and ``{?a,b}``, ``{&c}`` are understood.
    """
    if "{" not in href and "}" not in href:
        return Template(href, (), ())
    query: list[str] = []
    for match in _QUERY.finditer(href):
        query += match[2].split(",")
    plain = _QUERY.sub("", href)
    places = _SIMPLE.findall(plain)
    for name in (*query, *places):
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{{{name[:40]}}} is no variable that can be sent")
    if len(query) + len(places) > MAX_VARIABLES:
        raise ValueError(f"more than {MAX_VARIABLES} variables")
    if len(set(query) | set(places)) < len(query) + len(places):
        raise ValueError("a variable stands there twice")
    if "{" in _SIMPLE.sub("", plain) or "}" in _SIMPLE.sub("", plain):
        raise ValueError("braces that do not close each other")
    return Template(plain, tuple(places), tuple(query))


def resolve(base: str, href: str) -> str | None:
    """Return an absolute URI, None if there is no base to resolve against."""
    scheme, authority, path, query, _ = _parts(href)
    if scheme:
        return href
    base_scheme, base_authority, base_path, base_query, _ = _parts(base)
    if not base_scheme:
        return None
    if authority is not None:
        return f"{base_scheme}://{authority}{_without_dots(path)}{query or ''}"
    if not path:
        path, query = base_path, query if query is not None else base_query
    elif not path.startswith("/"):
        path = base_path[: base_path.rfind("/") + 1] + path if base_path else "/" + path
    path = _without_dots(path)
    host = f"//{base_authority}" if base_authority is not None else ""
    return f"{base_scheme}:{host}{path}{query or ''}"


def ascii_uri(iri: str) -> str:
    """Return the URI of an IRI: what is not ASCII, and spaces, encoded (RFC 3987, 3.1)."""
    return iri if iri.isascii() and " " not in iri else quote(iri, safe=_SAFE)


def authority_of(uri: str) -> str:
    """Return what stands between ``//`` and the path, "" if nothing does."""
    return _parts(uri)[1] or ""


def host_of(uri: str) -> str:
    """Return the lower-cased host of a URI, without port, user and brackets; "" if it has none."""
    host = authority_of(uri).rpartition("@")[2].lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def path_of(uri: str) -> str:
    """Return the path of a URI."""
    return _parts(uri)[2] or ""


def query_of(uri: str) -> str:
    """Return the query of a URI, without its ``?``."""
    return (_parts(uri)[3] or "?")[1:]


def scheme_of(uri: str) -> str:
    """Return the lower-cased scheme of a URI, "" for a relative reference."""
    return (_parts(uri)[0] or "").lower()


def _parts(uri: str) -> _Parts:
    return _known(uri) if len(uri) <= MAX_KNOWN else _taken(uri)


@lru_cache(maxsize=1024)
def _known(uri: str) -> _Parts:
    return _taken(uri)


def _taken(uri: str) -> _Parts:
    match = cast("re.Match[str]", _URI.fullmatch(uri))  # Every text is a reference in form.
    scheme, authority, path, query, fragment = match.groups()
    return scheme, authority, path, query, fragment


def _without_dots(path: str) -> str:
    """Remove dot segments (RFC 3986, 5.2.4)."""
    if "/." not in path:
        return path
    segments = path.split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)
