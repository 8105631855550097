"""What is asked of the process that checks descriptions, and what it answers."""

from typing import Final

from msgspec import Struct

SEVERITIES: Final = ("info", "warning", "violation")
"""From the mildest (SHACL 2.1.4)."""


class Asked(Struct, frozen=True):
    """A graph as N-Triples."""

    data: str


class Finding(Struct, frozen=True, omit_defaults=True):
    """What a shape says of a node: of its property ``path``, of a ``value`` if of one."""

    node: str
    severity: str
    message: str
    path: str = ""
    value: str = ""


class Answered(Struct, frozen=True, omit_defaults=True):
    """What was found, or why it could not be checked."""

    findings: tuple[Finding, ...] = ()
    error: str = ""
