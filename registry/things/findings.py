"""What rules find in a description that may be wrong in any way. Pure."""

import re
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from registry.things import addresses
from registry.things.problems import Problem, pointer

Path: TypeAlias = tuple[str | int, ...]

_SECRET_QUERY = re.compile(
    r"passw(or)?d|secret|apikey|accesstoken|credential|^token$|^auth$|^sig(nature)?$"
)


class Findings:
    """What is wrong with one description, and what is kept but not understood."""

    def __init__(self, problems: list[Problem], warnings: list[str]) -> None:
        self._problems = problems
        self._warnings = warnings

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Add a problem with the value at ``path``."""
        self._problems.append(Problem(pointer(*path), message, hint))

    def warn(self, message: str) -> None:
        """Add a warning, once."""
        if message not in self._warnings:
            self._warnings.append(message)

    def address(self, path: Path, uri: str) -> None:
        """Check that an address holds no credential."""
        if "@" in addresses.authority_of(uri):
            hint = "remove what stands before '@'; a site keeps it with: hilum endpoint-secret put"
            self.add(path, "an address must hold no user and no password", hint)
        query = addresses.query_of(uri)
        if not query or query.count("&") >= 999:
            return
        for name, value in parse_qsl(query, max_num_fields=1000):
            word = re.sub(r"[^a-z]", "", name.lower())
            if _SECRET_QUERY.search(word) and not value.startswith("{"):
                hint = "remove it; a site keeps it with: hilum endpoint-secret put"
                self.add(path, f"the query {name[:40]!r} holds a secret", hint)


def dict_of(value: object) -> dict[str, Any]:
    """Return an object, or an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the objects in a list, with their places."""
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield index, item


def words_of(value: object) -> list[str]:
    """Return the texts that a member holds: one, or a list of them."""
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str)]
