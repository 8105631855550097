"""JSON text: what its grammar allows and we refuse, and where each value stands (RFC 8259).

The check runs in C on the good path. Only after a failure the text is walked in Python, once and in
linear time, to say where.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from registry.problems import (
    MAX_DEPTH,
    InvalidDocument,
    Path,
    Place,
    Problem,
    place,
    quoted,
    shorten,
    show_path,
)

_Trouble = tuple[str, str]  # What is wrong, and what to do.

_SPACE = re.compile(r"[ \t\n\r]*")
# Possessive, and without its closing quote at the end of the text, so that no match is tried twice.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_ALL_BUT_BRACKETS = re.compile(rf'{_STRING}|[^"\[\]{{}}]++', re.DOTALL)
_TOKEN = re.compile(rf'({_STRING})(\s*+:)?|[\[{{\]}},]|[^\s"\[\]{{}},:]++', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SUSPECT = re.compile(r"\\u|[eEIN]|.{300}", re.DOTALL)  # Other scalars need no closer look.
_LEVEL = {"[": 1, "{": 1, "]": -1, "}": -1}


class Member(NamedTuple):
    """One entry of an object or array: its key or index, and offsets in the text."""

    key: str | int
    key_at: int
    value_at: int
    end: int


class _Irregular(ValueError):
    """Grammatical JSON that we refuse; what and where is found out later."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Irregular
    return found


def _refuse_constant(_: str) -> float:
    raise _Irregular


_CHECKER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_READER = json.JSONDecoder()


def check(text: str) -> None:
    """Raise InvalidDocument unless ``text`` is one sane JSON value.

    Refused are bad grammar, duplicate keys, NaN and Infinity, lone surrogates, more levels than
    `MAX_DEPTH` and integers of more than 4,300 digits (Python's limit, beyond it they get slow).
    """
    try:
        plain = _CHECKER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidDocument(_syntax_problem(text, error)) from None
    except (ValueError, RecursionError):
        raise InvalidDocument(next(_Scanner(text).problems())) from None
    if _is_deep(text) or _is_torn(text, plain):
        raise InvalidDocument(next(_Scanner(text).problems()))


def members(text: str, at: int) -> Iterator[Member]:
    """The entries of the object or array at offset ``at`` of valid JSON; a scalar has none."""
    opening = text[at]
    if opening not in "[{":
        return
    at = _skip(text, at + 1)
    index = -1
    while text[at] not in "]}":
        index += 1
        key: str | int = index
        key_at = at
        if opening == "{":
            key, at = _READER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        end = end_of(text, at)
        yield Member(key, key_at, at, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def end_of(text: str, at: int) -> int:
    """The offset after the value at ``at`` of valid JSON."""
    return _READER.raw_decode(text, at)[1]


def start_of(text: str) -> int:
    """The offset of the whole document's value."""
    return _skip(text, 0)


@dataclass(frozen=True, slots=True)
class JsonPositions:
    """Where the values of valid JSON text stand, found when asked."""

    text: str

    def locate(self, path: Path, *, key: bool = False) -> Place:
        """The place of the value at ``path`` (or of its key), else of the nearest one around it."""
        at = key_at = start_of(self.text)
        for step in path:
            found = next((m for m in members(self.text, at) if m.key == step), None)
            if found is None:
                return place(self.text, at)
            at, key_at = found.value_at, found.key_at
        return place(self.text, key_at if key else at)

    def inside(self, path: Path, text: str, offset: int) -> Place:
        """The place of a character of the string ``text`` at ``path``, if it is written plainly."""
        line, column = self.locate(path)
        return line, column + len(json.dumps(text[:offset], ensure_ascii=False)) - 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _is_deep(text: str) -> bool:
    """Whether there are more levels than `MAX_DEPTH`; with fewer brackets there cannot be."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    levels = map(_LEVEL.__getitem__, _ALL_BUT_BRACKETS.sub("", text))
    return max(itertools.accumulate(levels), default=0) > MAX_DEPTH


def _is_torn(text: str, plain: object) -> bool:
    """Whether a string holds half a surrogate pair, which is no character."""
    if not _SURROGATE.search(text):
        return False
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _syntax_problem(text: str, error: json.JSONDecodeError) -> Problem:
    before = text[: error.pos].rstrip()
    at, message, hint = error.pos, error.msg[0].lower() + error.msg[1:], ""
    if text.startswith("\ufeff"):
        message, hint = "a byte order mark", "save the file without one"
    elif not text.strip():
        message, hint = "the document is empty", "write one"
    elif at >= len(text.rstrip()):
        message, hint = "the document ends too early", "close what is open"
    elif before.endswith(",") and text[at] in "]}":
        at, message, hint = len(before) - 1, "a comma after the last entry", "remove it"
    elif message == "extra data":
        message, hint = "text after the end of the document", "remove it"
    elif text[at] == "'":
        hint = "use double quotes"
    return Problem(message, "", *place(text, at), hint)


class _Scanner:
    """Finds what we refuse in JSON text that is grammatical up to there."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._path: list[str | int] = []  # The current key or index of each open object or array.
        self._keys: list[set[str]] = []  # The keys of each that were there before.

    def problems(self) -> Iterator[Problem]:
        """From the first on; what follows the first may be nonsense."""
        for token in _TOKEN.finditer(self._text):
            word, depth = token[0], len(self._path)
            trouble: _Trouble | None = None
            if word in _LEVEL:
                trouble = self._step(_LEVEL[word], "" if word == "{" else 0)
            elif word == ",":
                self._next()
            elif token[2]:
                depth -= 1
                trouble = self._enter(token[1])
            else:
                trouble = _scalar_trouble(word)
            if trouble:
                path = show_path(tuple(self._path[:depth]))
                where = place(self._text, token.start())
                yield Problem(trouble[0], path, *where, trouble[1])

    def _step(self, level: int, first: str | int) -> _Trouble | None:
        if level < 0:
            self._path.pop()
            self._keys.pop()
            return None
        self._path.append(first)
        self._keys.append(set())
        if len(self._path) > MAX_DEPTH:
            return f"more than {MAX_DEPTH} levels of nesting", "nest less deeply"
        return None

    def _next(self) -> None:
        here = self._path[-1]
        if isinstance(here, int):
            self._path[-1] = here + 1

    def _enter(self, literal: str) -> _Trouble | None:
        key = json.loads(literal)
        self._path[-1] = key
        if key in self._keys[-1]:
            return f"the key {quoted(key)} is there twice", "keep one of the two"
        self._keys[-1].add(key)
        return _scalar_trouble(literal)


def _scalar_trouble(literal: str) -> _Trouble | None:
    if not _SUSPECT.search(literal):
        return None
    try:
        value = json.loads(literal)
    except ValueError:
        return f"an integer of {len(literal)} digits", "write it as a string"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair is no character", "write both halves"
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{shorten(literal)} is no JSON number", "leave it out, or write null"
    return None
