"""Checks of documents beyond types: names, patterns, URLs and arguments, each with its place."""

import re
from collections.abc import Collection, Container, Mapping
from typing import Final, NamedTuple

from registry.broker_urls import BROKER, parse_broker_url
from registry.documents import Document, InvalidDocument, Path, Problem
from registry.model import Endpoint
from registry.names import InvalidName, Name, Pattern, check_registrable, near, parse_name
from registry.terms import PREFIXES, expand
from registry.urls import PORTS, WEB, InvalidUrl, Url, parse_url, placeholders, scheme_of

MAX_PROBLEMS: Final = 20
"""Problems that are told at once."""
SOURCES: Final = (*BROKER, "coap", "coap+tcp")
"""The schemes that a channel may be fed from."""
MAX_ARGUMENTS: Final = 64
HTTP_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
COAP_METHODS: Final = (*HTTP_METHODS, "FETCH", "IPATCH")
"""RFC 7252 section 5.8, RFC 8132."""
REST: Final = "*"
"""The argument name that stands for all arguments not named."""

_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# Fields that frame or route a message or say who sent it: an argument must not set them.
_FORBIDDEN_FIELDS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
_FORBIDDEN_PREFIXES = ("hilum-", "x-forwarded-")


class Scope(NamedTuple):
    """Whose names a document speaks of: all lower-cased host names (design 2)."""

    authority: str
    aliases: Container[str] = ()
    remotes: Container[str] = ()


class Findings:
    """What is wrong with one document; checks add to it and go on, ``finish`` raises.

    Checks return canonical values; after a problem they return what they were given.
    """

    def __init__(self, document: Document, scope: Scope) -> None:
        self._document = document
        self._scope = scope
        self.problems: list[Problem] = []

    def add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """Add a problem with the value at ``path`` (or with its key)."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self._document.problem(path, message, hint, key=key))

    def inside(self, path: Path, text: str, offset: int, message: str, hint: str = "") -> None:
        """Add a problem with a character of the string ``text`` at ``path``."""
        if len(self.problems) < MAX_PROBLEMS:
            found = self._document.problem_inside(path, text, offset, message, hint)
            self.problems.append(found)

    def term(self, path: Path, text: str) -> str:
        """Return the IRI of a term of a vocabulary."""
        try:
            return expand(text)
        except ValueError as error:
            hint = "write a whole IRI, or one of: " + ", ".join(f"{each}:" for each in PREFIXES)
            self.add(path, str(error), hint)
            return text

    def finish(self) -> None:
        """Raise InvalidDocument if anything was found."""
        if self.problems:
            raise InvalidDocument(*self.problems)

    def name(self, path: Path, text: str, *, registrable: bool = False, key: bool = False) -> Name:
        """Check a name, also whether a microservice may register it."""
        try:
            name = parse_name(text, **self._scope._asdict())
            if registrable:
                check_registrable(name, **self._scope._asdict())
        except InvalidName as error:
            self.add(path, str(error), key=key)
            return Name(text)
        return name

    def pattern(self, path: Path, text: str) -> str:
        """Check a name pattern."""
        try:
            return Pattern.parse(text, **self._scope._asdict()).text
        except InvalidName as error:
            self.add(path, str(error))
            return text

    def url(
        self, path: Path, text: str, *, template: bool = False, schemes: Collection[str] = PORTS
    ) -> Url | None:
        """Check an absolute URL."""
        try:
            return parse_url(text, template=template, schemes=schemes)
        except InvalidUrl as error:
            self.add(path, str(error))
            return None

    def source(self, path: Path, text: str) -> None:
        """Check the URL that a channel is fed from."""
        url = self.url(path, text, schemes=SOURCES)
        if url is not None and url.scheme in BROKER:
            self._topic(path, text, source=True)

    def endpoint(self, path: Path, endpoint: Endpoint, url_key: str = "url") -> None:
        """Check an endpoint whose keys stand at ``path``, and that its arguments are coherent."""
        web = scheme_of(endpoint.url) in WEB
        url = self.url((*path, url_key), endpoint.url, template=web)
        self._verb((*path, "method"), endpoint.method, url)
        if len(endpoint.args) > MAX_ARGUMENTS:
            self.add((*path, "args"), f"more than {MAX_ARGUMENTS} arguments")
            return
        for name, place in endpoint.args.items():
            trouble = _argument_trouble(name, place, endpoint.method)
            if trouble:
                self.add((*path, "args", name), *trouble, key=True)
        if url is not None and url.scheme in BROKER:
            self._topic((*path, url_key), endpoint.url)
        if url is not None and endpoint.encoding and not url.scheme.startswith("coap"):
            message = f"a {url.scheme} endpoint has no encoding: payloads pass as they are"
            self.add((*path, "encoding"), message, "remove encoding", key=True)
        if url is not None and url.scheme not in WEB and endpoint.args:
            hint = "remove args: the payload passes as it is"
            self.add((*path, "args"), f"a {url.scheme} endpoint takes no arguments", hint)
        elif url is not None:
            self._places((*path, url_key), url, endpoint.args, (*path, "args"))

    def _verb(self, path: Path, method: str, url: Url | None) -> None:
        coap = url is not None and url.scheme.startswith("coap")
        known = COAP_METHODS if coap else HTTP_METHODS
        if method not in known:
            close = near(method.upper(), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
            what = "CoAP" if coap else "HTTP"
            self.add(path, f"{method!r} is no {what} method we send", hint)

    def _topic(self, path: Path, text: str, *, source: bool = False) -> None:
        try:
            parse_broker_url(text, source=source)
        except InvalidUrl as error:
            self.add(path, str(error))

    def _places(self, path: Path, url: Url, args: Mapping[str, str], args_path: Path) -> None:
        """Check that the places of a URL template are the arguments that belong there."""
        found = [(a, "path") for a in placeholders(url.path)]
        found += [(a, "query") for a in placeholders(url.query)]
        seen: set[str] = set()
        for name, place in found:
            if name in seen:
                self.add(path, f"{{{name}}} is in the URL twice", "use each argument once")
            elif args.get(name) != place:
                said = f"args says {args[name]}" if name in args else "args does not say so"
                hint = f'write "{name}": "{place}" in args'
                self.add(path, f"{{{name}}} is in the {place} of the URL, but {said}", hint)
            seen.add(name)
        for name, place in args.items():
            if place == "path" and name != REST and name not in seen:
                hint = f"write {{{name}}} where it belongs in the URL's path"
                message = f"the argument {name} has no place in the URL"
                self.add((*args_path, name), message, hint, key=True)


def _argument_trouble(name: str, place: str, method: str) -> tuple[str, str] | None:
    if name != REST and not _ARGUMENT.fullmatch(name):
        hint = "use letters, digits, _ and -, a letter first"
        return f"{name!r} is no name of an argument", hint
    if place in ("path", "header") and name == REST:
        return f'"*" cannot be in the {place}', "name each argument that belongs there"
    if place == "body" and method == "GET":
        return "a GET has no body", "use another place or method"
    return header_trouble(name) if place == "header" else None


def header_trouble(name: str) -> tuple[str, str] | None:
    """Say why a header of this name cannot be set, and what to do; None: it can."""
    field = name.lower()
    if not _ARGUMENT.fullmatch(name):
        return f"{name[:80]!r} is no name of a header", "use letters, digits, _ and -"
    if field in _FORBIDDEN_FIELDS or field.startswith(_FORBIDDEN_PREFIXES):
        return f"the header {name} is the gateway's own", "use another header"
    return None
