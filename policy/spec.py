"""Where the spec of one policy stands while it is checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from policy.conditions.kinds import Schema
from registry.checks import Findings
from registry.documents import Path


@dataclass(frozen=True, slots=True)
class Spec:
    """Where one policy's spec stands, and where to tell what is wrong with it."""

    findings: Findings
    path: Path
    schema: Schema
    """The attributes that conditions may use."""

    def add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """Add a problem with something in the spec."""
        self.findings.add((*self.path, *path), message, hint, key=key)

    def names(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Check the patterns under ``names``."""
        path = (*self.path, "names")
        return tuple(self.findings.pattern((*path, i), text) for i, text in enumerate(texts))
