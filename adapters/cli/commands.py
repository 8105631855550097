"""What a command of ``hilum`` is, and the panels of the help."""

from collections.abc import Callable
from typing import Any, NamedTuple

SITE, POLICY, TRAFFIC, OPERATION = "The site", "Policies", "Traffic", "Operation"
FINDING = "Descriptions and discovery"


class Command(NamedTuple):
    """One command: ``words`` after ``hilum``, the panel of the help that it stands in."""

    words: str
    function: Callable[..., Any]
    panel: str
    examples: tuple[str, ...]
