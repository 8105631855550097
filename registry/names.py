"""Canonical hierarchical names and the patterns that match them. Pure.

A name is ``authority/segment/…``: the lower-cased host name of the site that owns it, then
case-sensitive UTF-8 segments, percent-encoded outside unreserved (RFC 3986) and ``:,;=~@``. Each
name has one spelling, so that one string is the URL path, the CoAP Uri-Path, the MQTT topic and the
bus subject. Text from outside is decoded once, encoded again and compared in canonical form only.
"""

import difflib
import heapq
import itertools
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final, NewType, Self
from urllib.parse import quote, unquote, unquote_to_bytes

Name = NewType("Name", str)

MAX_SEGMENT: Final = 255
"""Bytes of a decoded segment: what a CoAP Uri-Path option holds (RFC 7252 section 5.10)."""
MAX_NAME: Final = 1024
"""Bytes of a canonical name, authority included."""

_MAX_TEXT = 4096  # Longer text cannot fit: three characters give at least one byte of a name.
_SAFE = ":,;=~@"
_URN = "urn:hilum:"
_CANDIDATES = 1000
_SPELLING = 64  # Characters that `near` compares: difflib is quadratic.

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Already canonical, with nothing encoded and nothing reserved: what a well-behaved peer sends.
_PLAIN = re.compile(
    r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~:,;=][A-Za-z0-9\-._~:,;=@]{0,254}"
    r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~:,;=][A-Za-z0-9\-._~:,;=@]{0,254})*"
)


class InvalidName(ValueError):
    """No name, authority or pattern; ``position`` is an offset in ``text``, in characters."""

    def __init__(self, text: str, reason: str, position: int | None = None) -> None:
        super().__init__(text, reason, position)
        self.text = text
        self.reason = reason
        self.position = position

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 120 else self.text[:119] + "…"
        where = "" if self.position is None else f" at character {self.position + 1}"
        return f"invalid name {shown!r}{where}: {self.reason}"


def parse_authority(text: str) -> str:
    """The lower-cased host name (RFC 1123 labels, no port) that owns a site's names."""
    if len(text) > 253:
        raise InvalidName(text, "an authority is longer than 253 characters; shorten it")
    position = 0
    for label in text.split("."):
        if not _LABEL.fullmatch(label):
            raise InvalidName(
                text,
                "an authority is a host name: labels of 1 to 63 letters, digits and inner hyphens, "
                "joined by dots; leave out scheme and port, write other alphabets as xn-- labels",
                position,
            )
        position += len(label) + 1
    return text.lower()


def parse_name(
    text: str,
    *,
    authority: str,
    aliases: Container[str] = (),
    remotes: Container[str] = (),
    reserved: bool = False,
) -> Name:
    """The canonical name that ``text`` spells, local unless its first segment is a known authority.

    Accepts a local or full name, a URL path (one leading ``/``) and ``urn:hilum:`` (RFC 8141).
    ``aliases`` stand for ``authority``, ``remotes`` are other sites' authorities; all three are
    lower-cased host names. ``reserved`` admits literal ``$…`` segments. Raises InvalidName.
    """
    start = _start(text)
    if _PLAIN.fullmatch(text, start):
        path = text[start:] if start else text
    else:
        path = "/".join(
            _canonical(segment, text, position, reserved)
            for segment, position in _split(text, start)
        )
    return Name(_qualify(text, start, path, authority, aliases, remotes))


def check_registrable(
    name: Name, authority: str, aliases: Container[str] = (), remotes: Container[str] = ()
) -> None:
    """Raise InvalidName if a microservice cannot register ``name``.

    Its first segment would be taken for something else, or it is reserved or another site's.
    """
    owner, _, path = name.partition("/")
    first = path.partition("/")[0].lower()
    reason = None
    if owner != authority:
        reason = f"it belongs to the site {owner}; register it there or under {authority}"
    elif is_reserved(name):
        reason = "segments that start with '$' are the site's own; choose another name"
    elif first == ".well-known":
        reason = "'.well-known' belongs to HTTP (RFC 8615); choose another first segment"
    elif first == authority or first in aliases or first in remotes:
        reason = f"its first segment {first!r} is a site's authority or alias; choose another"
    elif first.startswith(_URN):
        reason = "its first segment would be read as a URN; choose another"
    if reason:
        raise InvalidName(name, reason)


def encode_segment(text: str) -> str:
    """The canonical form of one segment given as plain (decoded) text. Raises InvalidName."""
    return _encoded(text, text, 0)


def decoded(segment: str) -> str:
    """The plain text of a canonical segment; the inverse of `encode_segment`."""
    return unquote(segment, errors="strict")


def authority_of(name: Name) -> str:
    """The authority of the site that owns the name."""
    return name.partition("/")[0]


def segments(name: Name) -> tuple[str, ...]:
    """The segments after the authority, still encoded."""
    return tuple(name.split("/")[1:])


def member(name: Name) -> str:
    """The last segment, still encoded: the method's or channel's own name."""
    return name.rpartition("/")[2]


def parent(name: Name) -> Name | None:
    """The name without its last segment, or None when only the authority would be left."""
    path = name.rpartition("/")[0]
    return Name(path) if "/" in path else None


def join(name: Name, *texts: str) -> Name:
    """The name with segments added that are given as plain (decoded) text. Raises InvalidName."""
    return Name(_bounded("/".join((name, *map(encode_segment, texts)))))


def urn(name: Name) -> str:
    """The name as a URN (RFC 8141)."""
    return _URN + name


def is_reserved(name: Name) -> bool:
    """Whether any segment is one of the site's own (``$…``)."""
    return "/$" in name


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name in which ``*`` stands for one whole segment and a last ``**`` for zero or more.

    Without an authority it is local, as a name is. No wildcard matches a reserved segment; a
    pattern may name one literally. Patterns are equal when their canonical ``text`` is.
    """

    text: str
    prefix: str = field(compare=False, repr=False)
    """The segments before the first wildcard, authority included: the key to index patterns by."""
    literal: bool = field(compare=False, repr=False)
    """True if there is no wildcard."""
    # The segments after the prefix without a last `**`, and whether there is one.
    _tail: tuple[str, ...] = field(compare=False, repr=False)
    _open: bool = field(compare=False, repr=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        authority: str,
        aliases: Container[str] = (),
        remotes: Container[str] = (),
    ) -> Self:
        """The pattern that ``text`` spells, in any form of `parse_name`. Raises InvalidName."""
        start = _start(text)
        path = "/".join(_parts(text, start, "*", "**"))
        return cls._of(_qualify(text, start, path, authority, aliases, remotes))

    @classmethod
    def from_mqtt(
        cls,
        text: str,
        *,
        authority: str,
        aliases: Container[str] = (),
        remotes: Container[str] = (),
    ) -> Self:
        """The pattern of an MQTT topic filter (MQTT 5.0 section 4.7), ``$share/…/`` removed."""
        start = _start(text)
        path = "/".join(_parts(text, start, "+", "#"))
        return cls._of(_qualify(text, start, path, authority, aliases, remotes))

    @classmethod
    def _of(cls, text: str) -> Self:
        parts = text.split("/")
        is_open = parts[-1] == "**"
        if is_open:
            parts.pop()
        fixed = parts.index("*") if "*" in parts else len(parts)
        tail = tuple(parts[fixed:])
        return cls(text, "/".join(parts[:fixed]), not tail and not is_open, tail, is_open)

    def __str__(self) -> str:
        return self.text

    def matches(self, name: str) -> bool:
        """Whether the canonical ``name`` is matched; takes time linear in its length."""
        if self.literal:
            return name == self.text
        if not name.startswith(self.prefix):
            return False
        rest = name[len(self.prefix) :]
        if not self._tail:
            return not rest or (rest[0] == "/" and "/$" not in rest)
        parts = rest.split("/")
        surplus = len(parts) - 1 - len(self._tail)
        if parts[0] or surplus < 0 or (surplus and not self._open):
            return False
        for want, part in itertools.zip_longest(self._tail, parts[1:], fillvalue="*"):
            if want != part and (want != "*" or part[:1] == "$"):
                return False
        return True


def near(text: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Those of the first 1,000 candidates that are spelled most like ``text``, best first.

    Bounded for hostile input: compares 64 characters after the segments that all have in common,
    and compares fully only the ten candidates that share most pairs of letters.
    """
    names = list(itertools.islice(candidates, _CANDIDATES))
    skip = _common([text, *names])

    def spelling(name: str) -> str:
        return name[skip : skip + _SPELLING].casefold()

    wanted = spelling(text)
    grams = _grams(wanted)

    def likeness(spelled: str) -> tuple[float, int]:
        own = _grams(spelled)
        return len(grams & own) / (len(grams | own) or 1), -abs(len(spelled) - len(wanted))

    names_of = {spelling(name): name for name in names}
    alike = heapq.nlargest(10, names_of, key=likeness)
    return [names_of[found] for found in difflib.get_close_matches(wanted, alike, limit)]


def _grams(text: str) -> set[str]:
    return {*text, *map("".join, itertools.pairwise(text))}


def _common(texts: list[str]) -> int:
    """How many leading characters make up whole segments that all texts share."""
    low, high = min(texts), max(texts)
    pairs = enumerate(zip(low, high, strict=False))
    same = next((index for index, (one, other) in pairs if one != other), len(low))
    return low.rfind("/", 0, same) + 1


def _start(text: str) -> int:
    """Where the name begins in ``text``: at 0 or 1, or further on if it is a URN."""
    if len(text) > _MAX_TEXT:
        raise InvalidName(text, f"a name has at most {MAX_NAME} bytes; shorten it", MAX_NAME)
    start = 1 if text.startswith("/") else 0
    end = start + len(_URN)
    return end if text[start:end].lower() == _URN else start


def _split(text: str, start: int) -> list[tuple[str, int]]:
    """The raw segments from ``start`` on, each with its offset."""
    found = []
    for segment in text[start:].split("/"):
        found.append((segment, start))
        start += len(segment) + 1
    return found


def _parts(text: str, start: int, one: str, many: str) -> list[str]:
    """The segments of a pattern, canonical, with its wildcards written as ours."""
    levels = _split(text, start)
    parts: list[str] = []
    for level, position in levels:
        if level == one:
            parts.append("*")
        elif level == many:
            parts.append("**")
        else:
            _refuse_partial(level, text, position, one, many)
            parts.append(_canonical(level, text, position, reserved=True))
    if "**" in parts[:-1]:
        reason = f"{many!r} stands at the end only; use {one!r} for one segment"
        raise InvalidName(text, reason, levels[parts.index("**")][1])
    return parts


def _refuse_partial(level: str, text: str, position: int, one: str, many: str) -> None:
    for offset, character in enumerate(level):
        if character in one + many:
            reason = (
                f"{character!r} must be a whole segment; use {one!r} alone, "
                f"or write %{ord(character):02X} for the character itself"
            )
            raise InvalidName(text, reason, position + offset)


def _canonical(segment: str, text: str, position: int, reserved: bool) -> str:
    """One raw segment, which may carry percent escapes, in canonical form."""
    if bad := _BAD_ESCAPE.search(segment):
        reason = "'%' without two hexadecimal digits; write %25 for a percent sign"
        raise InvalidName(text, reason, position + bad.start())
    try:
        plain = unquote_to_bytes(segment).decode()
    except UnicodeError:
        reason = "the segment is not UTF-8; encode the UTF-8 bytes of the text"
        raise InvalidName(text, reason, position) from None
    if reserved and segment.startswith("$"):
        return _encoded(plain[1:], text, position, sigil="$")
    return _encoded(plain, text, position)


def _encoded(plain: str, text: str, position: int, sigil: str = "") -> str:
    """``plain`` percent-encoded after ``sigil``, which is ``$`` for a reserved segment."""
    try:
        raw = plain.encode()
    except UnicodeError:
        raise InvalidName(text, "a lone surrogate is no character; remove it", position) from None
    reason = None
    if not plain:
        reason = f"empty segment; name it{' after ' + sigil if sigil else ', or remove a slash'}"
    elif "/" in plain or "\0" in plain:
        reason = "a segment cannot hold '/' or NUL, raw or encoded; use another character"
    elif len(sigil) + len(raw) > MAX_SEGMENT:
        reason = f"a segment has at most {MAX_SEGMENT} bytes; shorten it"
    elif plain in {".", ".."} and not sigil:
        reason = "'.' and '..' are no segments, raw or encoded; write the name in full"
    elif plain[0] in "$@" and not sigil:
        reason = f"a segment cannot start with {plain[0]!r}, raw or encoded; choose another name"
    if reason:
        raise InvalidName(text, reason, position)
    return sigil + quote(raw, safe=_SAFE)


def _qualify(
    text: str,
    start: int,
    path: str,
    authority: str,
    aliases: Container[str],
    remotes: Container[str],
) -> str:
    """The canonical path with the authority that its first segment is, or else with ours."""
    first, _, rest = path.partition("/")
    owner = first.lower()
    if owner == authority or owner in aliases:
        owner = authority
    elif owner not in remotes:
        if start > 1:
            reason = f"the URN's authority is neither {authority} nor a configured remote site"
            raise InvalidName(text, reason, start)
        owner, rest = authority, path
    if not rest:
        reason = "it names a site and nothing in it; add a segment after the authority"
        raise InvalidName(text, reason, len(text))
    return _bounded(f"{owner}/{rest}")


def _bounded(name: str) -> str:
    if len(name) > MAX_NAME:
        reason = f"a name has at most {MAX_NAME} bytes, authority included; shorten it"
        raise InvalidName(name, reason, MAX_NAME)
    return name
