"""The forms of JSONPath queries that are answered from columns, and what they select.

``$[?TERM && TERM …]`` and ``$[*]`` (or ``$.*``), each followed by names or not, where a TERM is

1. equality        ``@.title == 'Lamp'``
2. existence       ``@.events``, also on paths with wildcards: ``@.properties.*.observable``
3. prefix          ``match(@.title, 'Lamp.*')``: literal characters, then ``.*``
4. within          ``@.properties[?@.unit == 'Cel']``: any child whose member equals a literal
5. conjunction     ``@.title == 'Lamp' && @.events``
6. projection      ``$[?@.title == 'Lamp'].id``, ``$.*.title``

Documents are the values of the root; what a form finds is what RFC 9535 says it finds.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

WILDCARD: Final = None
"""Stands in a path for every child."""
Path: TypeAlias = tuple[str | None, ...]
Scalar: TypeAlias = str | int | float | bool | None
Key: TypeAlias = tuple[str, Any]
"""A literal and its type: 1 and 1.0 are equal in JSON, 1 and true are not."""


class Equal(NamedTuple):
    """Whether any value at a path equals a literal."""

    path: Path
    key: Key


class Exists(NamedTuple):
    """Whether there is any value at a path."""

    path: Path


class Prefix(NamedTuple):
    """Whether a text at a path begins so, and stays on one line (RFC 9485: ``.``)."""

    path: Path
    prefix: str


Test: TypeAlias = Equal | Exists | Prefix


class Form(NamedTuple):
    """A query: all tests must hold of a document; of it ``projection`` is selected."""

    tests: tuple[Test, ...]
    projection: Path = ()


def key_of(value: Scalar) -> Key:
    """Return what equal literals, and no others, have in common."""
    if value is None or isinstance(value, bool):
        return "word", value
    if isinstance(value, str):
        return "text", value
    return "number", value


def values_at(document: Any, path: Path) -> Iterator[Any]:
    """Yield the values at a path (RFC 9535 2.3.1, 2.3.2)."""
    found = [document]
    for step in path:
        if step is None:
            found = [child for value in found for child in _children(value)]
        else:
            found = [v[step] for v in found if isinstance(v, dict) and step in v]
    yield from found


def keys_at(document: Any, path: Path) -> Iterator[Key]:
    """Yield the keys of the literals at a path."""
    for value in values_at(document, path):
        if not isinstance(value, dict | list):
            yield key_of(value)


def holds(test: Test, document: Any) -> bool:
    """Whether a test holds of a document."""
    match test:
        case Equal(path, key):
            return any(found == key for found in keys_at(document, path))
        case Prefix(path, prefix):
            return any(begins(found, prefix) for found in keys_at(document, path))
        case Exists(path):
            return any(True for _ in values_at(document, path))


def begins(key: Key, prefix: str) -> bool:
    """Whether a literal is a text that matches the prefix and ``.*`` after it."""
    kind, text = key
    if kind != "text" or not text.startswith(prefix):
        return False
    rest = text[len(prefix) :]
    return "\n" not in rest and "\r" not in rest


def selected(form: Form, document: Any) -> Iterator[Any]:
    """Yield what a form selects of a document."""
    if all(holds(test, document) for test in form.tests):
        yield from values_at(document, form.projection)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
