"""A Thing Description as it arrives: strict JSON, kept verbatim, every error told (TD 1.1)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from registry import json_text
from registry.documents import MAX_BYTES
from registry.problems import InvalidDocument, read_text
from registry.things.findings import Path
from registry.things.problems import InvalidThing, Problem, pointer
from registry.things.rules import rule_problems
from registry.things.validation import shape_problems

__all__ = ["MAX_BYTES", "MAX_VALUES", "InvalidThing", "Problem", "Thing", "read"]

MAX_VALUES: Final = 20_000
"""Values within one description, whatever their size."""


MAX_PATH: Final = 2048
"""Characters of all keys on the way to a value, in a description of more than 16 KiB."""

_SMALL: Final = 16 * 1024
_MOST: Final = 2.0**63
_LARGE = re.compile(r"[0-9](?:[0-9]{18}|[eE]\+?[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Thing:
    """One description that is valid: its text as submitted, and the same as data.

    ``id`` is "" for an anonymous one. ``warnings`` say what is kept but not understood.
    """

    text: str
    data: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The identifier that the description gives itself."""
        return str(self.data.get("id", ""))

    @property
    def title(self) -> str:
        """What people call the thing."""
        return str(self.data["title"])


def read(data: bytes, *, limit: int = MAX_BYTES, unknown_contexts: bool = False) -> Thing:
    """Read and check a description. Raises InvalidThing with all that is wrong.

    ``limit`` is in bytes. With ``unknown_contexts`` a remote context that the site does not know
    is kept and what its terms mean is not; otherwise it is an error. None is ever fetched.
    """
    try:
        text = read_text(data, limit)
        if _count(text) > MAX_VALUES:
            message = f"it has more than {MAX_VALUES} values"
            raise InvalidThing([Problem("", message, "describe its parts as things of their own")])
        json_text.check(text)
    except InvalidDocument as error:
        raise InvalidThing(
            Problem("", f"line {each.line}, column {each.column}: {each.message}", each.hint)
            for each in error.problems
        ) from None
    document = json.loads(text)
    if not isinstance(document, dict):
        raise InvalidThing([Problem("", "a Thing Description is a JSON object")])
    if len(text) > _SMALL and _longest(document) > MAX_PATH:
        # Each problem repeats its path.
        message = f"the keys on the way to a value have more than {MAX_PATH} characters"
        raise InvalidThing([Problem("", message, "use shorter names")])
    problems = shape_problems(document)
    if _LARGE.search(text):
        problems += _large_numbers((), document)
    warnings: list[str] = []
    rule_problems(document, problems, warnings, unknown_contexts=unknown_contexts)
    if problems:
        raise InvalidThing(problems)
    return Thing(text, document, warnings)


def _count(text: str) -> int:
    """Return at least how many values a text has, before it is parsed.

    Each value follows a comma or an opening bracket; what strings hold of these counts too.
    """
    return text.count(",") + text.count("{") + text.count("[")


def _longest(value: object) -> int:
    """Return the length of the longest path to a value."""
    if isinstance(value, dict):
        return max((len(key) + 1 + _longest(each) for key, each in value.items()), default=0)
    if isinstance(value, list):
        return max(map(_longest, value), default=0)
    return 0


def _large_numbers(path: Path, value: object) -> Iterator[Problem]:
    """Return the numbers that others cannot read: without end, or of more than 64 bits."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in inner:
            yield from _large_numbers((*path, key), each)
    elif isinstance(value, int | float) and not -_MOST <= value <= _MOST:
        yield Problem(pointer(*path), "the number is too large", f"use at most {_MOST:.0f}")
