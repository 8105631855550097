"""What is wrong with a document, and where: lines and columns count from 1, in characters."""

import json
import re
from dataclasses import dataclass
from typing import Protocol

Path = tuple[str | int, ...]
"""Keys and indices from the document's root to a value."""
Place = tuple[int, int]
"""Line and column."""

MAX_DEPTH = 64
"""Objects and arrays within each other."""

_MAX_SHOWN = 200
_WORD = re.compile(r"[^\W\d][\w$@-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it stands, and what to do about it."""

    message: str
    path: str
    line: int
    column: int
    hint: str = ""

    def __str__(self) -> str:
        path = f" ({self.path})" if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"line {self.line}, column {self.column}{path}: {self.message}{hint}"


class InvalidDocument(ValueError):
    """A document that cannot be accepted, with the problems found in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Positions(Protocol):
    """Where the values of one document stand in its source."""

    def locate(self, path: Path, *, key: bool = False) -> Place:
        """The place of the value at ``path`` (or of its key), else of the nearest one around it."""
        ...

    def inside(self, path: Path, text: str, offset: int) -> Place:
        """The place of a character of the string ``text`` at ``path``, as well as it is known."""
        ...


def place(text: str, offset: int) -> Place:
    """The line and column of a character offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def show_path(path: Path) -> str:
    """A path as people write it: ``objects[0].methods["create plan"]``."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif _WORD.fullmatch(step):
            shown += f".{shorten(step)}"
        else:
            shown += f"[{quoted(step)}]"
    shown = shown.removeprefix(".")
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:50]}…{shown[-_MAX_SHOWN + 51 :]}"


def quoted(text: str) -> str:
    """Text from outside in double quotes: on one line, bounded, control characters escaped."""
    return json.dumps(shorten(text), ensure_ascii=not text.isprintable())


def shorten(text: str, limit: int = 80) -> str:
    """At most ``limit`` characters of ``text``."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_text(data: bytes, limit: int) -> str:
    """The bytes as text. Raises InvalidDocument beyond ``limit`` bytes and if not UTF-8."""
    if len(data) > limit:
        message = f"the document has {len(data)} bytes, more than the {limit} allowed"
        raise InvalidDocument(Problem(message, "", 1, 1, "split it"))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8"
        where = place(before, len(before))
        raise InvalidDocument(Problem(message, "", *where, "save the file as UTF-8")) from None
