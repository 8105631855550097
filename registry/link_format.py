"""CoRE link format: links of constrained devices, read strictly and written (RFC 6690). Pure.

White space is taken after ``,`` and ``;`` (RFC 8288 allows it), nowhere else.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

MAX_BYTES: Final = 64 * 1024
"""Bytes of one document."""
MAX_LINKS: Final = 1024
MAX_ATTRIBUTES: Final = 32
"""Attributes of one link."""
MAX_TARGET: Final = 1024
"""Characters of a target, and of an attribute's value."""
ONCE: Final = frozenset({"rel", "anchor", "rt", "if", "sz", "title", "ct", "obs"})
"""Attributes that a link has once at most (RFC 6690 section 3, RFC 8288 section 3)."""
LISTS: Final = frozenset({"rel", "rev", "rt", "if", "ct", "et"})
"""Attributes whose values are lists, separated by spaces."""

_SPACE = r"[ \t\r\n]*"
_TARGET = re.compile(_SPACE + r"<([^<>\"\\^`{|}\x00-\x20\x7f]*)>")
_ATTRIBUTE = re.compile(
    _SPACE + ";" + _SPACE + r"([A-Za-z0-9!#$&+\-.^_`|~]{1,64}\*?)"
    r"(?:=(?:\"((?:[^\"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)\""
    r"|([A-Za-z0-9!#$%&'()*+\-./:<=>?@\[\]^_`{|}~]+)))?"
)
_COMMA = re.compile(_SPACE + ",")
_ESCAPED = re.compile(r"\\(.)")
_CARDINAL = re.compile(r"0|[1-9][0-9]*")

Attribute: TypeAlias = tuple[str, str | None]
"""A name and its value, None for one without (``obs``)."""


class InvalidLinks(ValueError):
    """No link format, or more of it than is taken; the text says what and where."""


class Link(NamedTuple):
    """A target, as it is written, and its attributes in their order."""

    target: str
    attributes: tuple[Attribute, ...] = ()

    def get(self, name: str) -> str | None:
        """Return the value of an attribute, "" for one without a value, None if it is not there."""
        return next((value or "" for each, value in self.attributes if each == name), None)

    def values(self, name: str) -> list[str]:
        """Return all values of an attribute; those of lists one by one."""
        found = [value or "" for each, value in self.attributes if each == name]
        return [one for value in found for one in value.split()] if name in LISTS else found

    def text(self) -> str:
        """Return the link as it is written."""
        return "".join((f"<{self.target}>", *map(_written, self.attributes)))


def parse_links(data: bytes, *, limit: int = MAX_LINKS) -> tuple[Link, ...]:
    """Read a document of at most ``limit`` links; raises InvalidLinks."""
    if len(data) > MAX_BYTES:
        raise InvalidLinks(f"the links have more than {MAX_BYTES} bytes: register fewer")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidLinks(f"the links are no UTF-8 at byte {error.start + 1}") from None
    links: list[Link] = []
    at = _end(text, 0)
    while at < len(text) or links:
        if len(links) == limit:
            raise InvalidLinks(f"more than {limit} links: register fewer")
        link, at = _link(text, at)
        links.append(link)
        comma = _COMMA.match(text, at)
        if comma is None:
            break
        at = comma.end()
    if _end(text, at) < len(text):
        raise _wrong(text, at, "expected ',' or ';' and an attribute")
    return tuple(links)


def render_links(links: Iterable[Link]) -> bytes:
    """Return links as a document."""
    return ",".join(link.text() for link in links).encode()


def matches(wanted: str, value: str) -> bool:
    """Return whether a value is what a filter wants; ``*`` at its end stands for any rest.

    RFC 6690 section 4.1.
    """
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def _link(text: str, at: int) -> tuple[Link, int]:
    target = _TARGET.match(text, at)
    if target is None:
        raise _wrong(text, at, "expected a target such as </sensors/temp>")
    attributes: list[Attribute] = []
    seen: set[str] = set()
    at = target.end()
    while (found := _ATTRIBUTE.match(text, at)) is not None:
        name, quoted, token = found.group(1).lower(), found.group(2), found.group(3)
        value = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if name in seen and name in ONCE:
            raise _wrong(text, at, f"{name} is there twice")
        if len(attributes) == MAX_ATTRIBUTES:
            raise _wrong(text, at, f"more than {MAX_ATTRIBUTES} attributes")
        if len(value or "") > MAX_TARGET:
            raise _wrong(text, at, f"{name} has more than {MAX_TARGET} characters")
        seen.add(name)
        attributes.append((name, value))
        at = found.end()
    if len(target.group(1)) > MAX_TARGET:
        raise _wrong(text, target.start(), f"a target has more than {MAX_TARGET} characters")
    return Link(target.group(1), tuple(attributes)), at


def _end(text: str, at: int) -> int:
    """Return where the white space at a place ends."""
    return len(text) - len(text[at:].lstrip(" \t\r\n"))


def _wrong(text: str, at: int, why: str) -> InvalidLinks:
    return InvalidLinks(f"the links at character {at + 1}, {text[at : at + 20]!r}: {why}")


def _written(attribute: Attribute) -> str:
    name, value = attribute
    if value is None:
        return f";{name}"
    if _CARDINAL.fullmatch(value):
        return f";{name}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f';{name}="{escaped}"'
