"""The words of a condition, each with its place; bounded in length and number."""

import re
from typing import Final, NamedTuple

MAX_LENGTH: Final = 4096
MAX_TOKENS: Final = 512


class InvalidCondition(ValueError):
    """A condition that cannot be read: ``offset`` is the character where it goes wrong."""

    def __init__(self, message: str, offset: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


class Token(NamedTuple):
    """One word: ``kind`` is a group of ``_TOKEN``, or ``end``."""

    kind: str
    text: str
    offset: int


KEYWORDS: Final = frozenset(
    {"and", "or", "not", "in", "contains", "within", "startsWith", "has", "true", "false"}
)

_TOKEN = re.compile(
    r"""\s+
    | (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9]))
    | (?P<time>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?![0-9:]))
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<string>"(?:[^"\\\n]|\\["\\])*"|'[^'\n]*')
    | (?P<attribute>(?:subject|object|environment)\.[A-Za-z_][A-Za-z0-9_]*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>\.\.|==|!=|<=|>=|[<>+\-*/%(){},])
    """,
    re.ASCII | re.VERBOSE,
)


def tokens(text: str) -> list[Token]:
    """Return the words of a condition and an ``end``. Raises InvalidCondition."""
    if len(text) > MAX_LENGTH:
        raise InvalidCondition(f"a condition has at most {MAX_LENGTH} characters", MAX_LENGTH)
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidCondition(*_stray(text, at))
        if match.lastgroup is not None:
            found.append(Token(match.lastgroup, match[0], at))
        at = match.end()
    if len(found) > MAX_TOKENS:
        raise InvalidCondition(f"a condition has at most {MAX_TOKENS} words", found[-1].offset)
    found.append(Token("end", "", len(text)))
    return found


def _stray(text: str, at: int) -> tuple[str, int, str]:
    character = text[at]
    if character in "\"'":
        return "a string without its end", at, f"close it with {character}"
    hints = {"=": "compare with ==", "&": "write and", "|": "write or", "!": "write not"}
    return f"{character!r} means nothing here", at, hints.get(character, "")
