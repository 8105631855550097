"""What is wrong with a Thing Description, and where: JSON pointers (RFC 6901). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_PROBLEMS: Final = 100
"""Problems that are told at once; what is wrong in one place is often wrong in a thousand."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``pointer`` is a JSON pointer, "" the whole description."""

    pointer: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.pointer or 'the description'}: {self.message}{hint}"


class InvalidThing(ValueError):
    """A Thing Description that cannot be accepted, with all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)[:MAX_PROBLEMS]
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def pointer(*steps: str | int) -> str:
    """Return the JSON pointer of a path from the root."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
