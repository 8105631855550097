"""Patterns that are matched in linear time, or an error that says why not (ECMA-262).

The rule is the one that XML Schema calls unique particle attribution: whatever was read so far,
the next character alone decides which part of the pattern reads it. Then a backtracking engine
never has two ways to try: a wrong one fails at its first character. For the same reason nothing
that may be empty is repeated or made optional. A pattern that repeats must also begin with ``^``,
since an engine otherwise starts again at each character of the text.

Understood are characters, ``.``, classes, groups, ``|``, ``* + ? {m,n}`` and ``^ $`` at the ends,
all as ECMA-262 means them: ``compile_pattern`` writes each class out, since Python's differ.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MAX_PATTERN: Final = 256
"""Characters of a pattern."""
MAX_COUNT: Final = 1000
"""Largest number in ``{m,n}``."""

_MAX_DEPTH = 32
_MAX_PLACES = 512
_LAST = 0x10FFFF
_COUNT = re.compile(r"\{([0-9]{1,4})(,?)([0-9]{0,4})\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}

Ranges = tuple[tuple[int, int], ...]
"""Code points, as sorted ranges that do not touch, both ends included."""


class UnsafePattern(ValueError):
    """A pattern that cannot be accepted; the message says what and where, and what to do."""


def _ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _others(ranges: Ranges) -> Ranges:
    found, start = [], 0
    for low, high in ranges:
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)


_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = _ranges([(9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)])
_SPACE = _ranges([*_SPACE, (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F)])
_SPACE = _ranges([*_SPACE, (0x3000, 0x3000), (0xFEFF, 0xFEFF)])
_DOT = _others(_ranges([(10, 10), (13, 13), (0x2028, 0x2029)]))
_CLASSES = {
    "d": _DIGIT,
    "D": _others(_DIGIT),
    "w": _WORD,
    "W": _others(_WORD),
    "s": _SPACE,
    "S": _others(_SPACE),
}


@dataclass(slots=True)
class _Part:
    """A part of the pattern: where reading it may begin and end (Glushkov's construction)."""

    nullable: bool = True
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    single: bool = False  # One character: repeating it a fixed number of times is no choice.


def check_pattern(text: str) -> None:
    """Raise UnsafePattern unless ``text`` is matched in linear time."""
    if len(text) > MAX_PATTERN:
        raise UnsafePattern(f"the pattern is longer than {MAX_PATTERN} characters")
    _Parser(text).parse()


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> re.Pattern[str]:
    """Return a pattern to ``search`` with. Raises UnsafePattern."""
    check_pattern(text)
    return re.compile(_Parser(text).parse())


def _source(ranges: Ranges) -> str:
    """Write a class for Python's engine."""
    pairs = (f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    return f"[{''.join(pairs)}]"


def _ambiguous(what: str) -> UnsafePattern:
    return UnsafePattern(
        f"two parts of the pattern could read {what} at the same place: make them differ, so that "
        "matching takes linear time"
    )


class _Parser:
    """Parses a pattern; positions are its characters and classes, ``follow`` what may come next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._sets: list[Ranges] = []
        self._follow: list[list[int]] = []
        self._distinct: set[tuple[int, ...]] = set()
        self._anchored = True
        self._repeats = False
        self._written: list[str] = []

    def parse(self) -> str:
        """Check the whole pattern and return it for Python's engine."""
        whole = self._alternatives()
        if self._at < len(self._text):
            raise self._error("a ')' without its '('")
        for places in (whole.first, *self._follow):
            self._check_distinct(tuple(sorted(places)))
        if self._repeats and not self._anchored:
            raise UnsafePattern("a pattern that repeats must begin with '^': write ^.*$ in full")
        return "".join(self._written)

    def _check_distinct(self, places: tuple[int, ...]) -> None:
        """Check that no character can be read at two of these places, nor at one in two ways."""
        if places in self._distinct:
            return
        self._distinct.add(places)
        end = -1
        for low, high in sorted(pair for place in places for pair in self._sets[place]):
            if low <= end:
                raise _ambiguous(f"the character {chr(low)!r}")
            end = high

    def _then(self, last: list[int], first: list[int]) -> None:
        for place in last:
            self._follow[place].extend(first)
            if len(self._follow[place]) > len(self._sets):  # So one of them is there twice.
                raise _ambiguous("a character")

    def _alternatives(self) -> _Part:
        part = self._sequence()
        while self._take("|"):
            self._written.append("|")
            other = self._sequence()
            if part.nullable and other.nullable:
                raise self._error("two alternatives may be empty: one is enough")
            part = _Part(
                part.nullable or other.nullable, part.first + other.first, part.last + other.last
            )
        return part

    def _sequence(self) -> _Part:
        is_top = self._depth == 0
        if is_top and self._take("^"):
            self._written.append("\\A")
        elif is_top:
            self._anchored = False
        whole = _Part()
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if is_top and self._text[self._at] == "$":
                self._at += 1
                if self._text[self._at : self._at + 1] not in ("", "|"):
                    raise self._error("'$' stands at the end only")
                self._written.append("\\Z")
                break
            whole = self._join(whole, self._quantified())
        return whole

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._then(left.last, right.first)
        return _Part(
            left.nullable and right.nullable,
            left.first + right.first if left.nullable else left.first,
            left.last + right.last if right.nullable else right.last,
        )

    def _quantified(self) -> _Part:
        start = self._at
        part = self._atom()
        sign = self._at
        low, high = self._quantifier()
        self._written.append(self._text[sign : self._at])
        if (low, high) == (1, 1):
            return part
        if self._text.startswith(("*", "+", "?", "{"), self._at):
            raise self._error("a second repetition")
        if part.nullable or high == 0:
            raise self._error("a repetition of what may be empty")
        if high > 1:
            self._repeats = True
            if low < high:
                self._then(part.last, part.first)
            elif not part.single:
                part = self._twice(part, start)
        return _Part(low == 0, part.first, part.last)

    def _twice(self, part: _Part, start: int) -> _Part:
        """Read a group again: two copies show how each repetition but the last goes on."""
        end, self._at = self._at, start
        written = len(self._written)
        copy = self._atom()
        del self._written[written:]
        self._at = end
        return self._join(part, copy)

    def _quantifier(self) -> tuple[int, int]:
        """Read a repetition: least and most times, where ``MAX_COUNT + 1`` is any number."""
        endless = MAX_COUNT + 1
        for sign, bounds in (("*", (0, endless)), ("+", (1, endless)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if self._text[self._at : self._at + 1] != "{":
            return 1, 1
        found = _COUNT.match(self._text, self._at)
        if found is None:
            raise self._error("'{' begins no repetition: write {2,5}, or \\{ for the character")
        self._at = found.end()
        low = int(found[1])
        high = int(found[3]) if found[3] else endless if found[2] else low
        if low > high or low > MAX_COUNT or (found[3] and high > MAX_COUNT):
            raise self._error(f"a repetition counts up, to at most {MAX_COUNT}")
        return low, high

    def _atom(self) -> _Part:
        character = self._text[self._at]
        if character == "(":
            return self._group()
        if character in "*+?{":
            raise self._error(f"nothing to repeat before {character!r}")
        if character in "^$":
            raise self._error(f"{character!r} stands at an end of the pattern only")
        self._at += 1
        if character == "[":
            return self._place(self._class())
        if character == ".":
            return self._place(_DOT)
        if character == "\\":
            return self._place(self._escape())
        return self._place(((ord(character), ord(character)),))

    def _place(self, ranges: Ranges) -> _Part:
        if len(self._sets) == _MAX_PLACES:
            raise self._error("the pattern has too many parts")
        self._sets.append(ranges)
        self._follow.append([])
        self._written.append(_source(ranges))
        place = len(self._sets) - 1
        return _Part(nullable=False, first=[place], last=[place], single=True)

    def _group(self) -> _Part:
        if self._text.startswith("(?", self._at) and not self._text.startswith("(?:", self._at):
            raise self._error("only plain groups ( ) and (?: ) are understood, no lookaround")
        self._at += 3 if self._text.startswith("(?:", self._at) else 1
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("groups are nested too deeply")
        self._written.append("(?:")
        part = self._alternatives()
        if not self._take(")"):
            raise self._error("a '(' without its ')'")
        self._written.append(")")
        self._depth -= 1
        return _Part(part.nullable, part.first, part.last)

    def _escape(self) -> Ranges:
        """Read what follows a backslash."""
        character = self._text[self._at : self._at + 1]
        found = _HEX.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            code = int(found[1] or found[2], 16)
            return ((code, code),)
        self._at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return ((_CONTROLS[character], _CONTROLS[character]),)
        if not character or character.isalnum():
            self._at -= 1
            raise self._error("this escape is not understood (no back references, no \\b, no \\p)")
        return ((ord(character), ord(character)),)

    def _class(self) -> Ranges:
        is_negated = self._take("^")
        found: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._class_item()
            is_range = self._text.startswith("-", self._at) and self._text[
                self._at + 1 : self._at + 2
            ] not in ("", "]")
            if is_range:
                self._at += 1
                high = self._class_item()
                if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or low > high:
                    raise self._error("a range goes from one character up to another")
                found.append((low[0][0], high[0][1]))
            else:
                found.extend(low)
        ranges = _ranges(found)
        if not ranges:
            raise self._error("an empty class: write \\[ for the character")
        return _others(ranges) if is_negated else ranges

    def _class_item(self) -> Ranges:
        if self._at >= len(self._text):
            raise self._error("a '[' without its ']'")
        character = self._text[self._at]
        if character == "[":
            raise self._error("'[' within a class: write \\[ for the character")
        self._at += 1
        if character == "\\":
            return self._escape()
        return ((ord(character), ord(character)),)

    def _take(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False

    def _error(self, message: str) -> UnsafePattern:
        return UnsafePattern(f"{message} (at character {self._at + 1} of the pattern)")
