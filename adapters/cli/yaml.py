"""JSON values as YAML that people like to read, and that reads back as the same values."""

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_$/][A-Za-z0-9_$/.@-]*(?: [A-Za-z0-9_$/.@(-][A-Za-z0-9_$/.,;()@-]*)*")
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
"""What YAML 1.1 or 1.2 reads as something else than text."""


def to_yaml(document: Any) -> str:
    """Return a document in block style; strings that could be read otherwise are quoted."""
    return "\n".join(_lines(document)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        lines = []
        for key, inner in value.items():
            lines += _entry(f"{_scalar(str(key))}:", inner)
        return lines
    if isinstance(value, list) and value:
        lines = []
        for inner in value:
            first, *rest = _lines(inner)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
        return lines
    return [_scalar(value)]


def _entry(key: str, value: Any) -> list[str]:
    if isinstance(value, dict | list) and value:
        indent = "  " if isinstance(value, dict) else ""
        return [key, *(indent + line for line in _lines(value))]
    return [f"{key} {_scalar(value)}"]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # JSON is YAML, but for characters that JSON lets stand and YAML takes for ends of lines.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
