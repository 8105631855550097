"""Documents from outside, JSON or YAML, read into msgspec types with errors that say where.

Types should forbid unknown fields. A YAML document becomes JSON first, so that both languages mean
exactly the same; its positions are kept.
"""

import bisect
import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from registry import json_text, yaml_text
from registry.names import near
from registry.problems import (
    InvalidDocument,
    Path,
    Place,
    Positions,
    Problem,
    quoted,
    read_text,
    show_path,
)
from registry.yaml_text import yaml_to_json

__all__ = [
    "Document",
    "InvalidDocument",
    "Path",
    "Place",
    "Positions",
    "Problem",
    "decode",
    "read",
    "read_one",
    "show_path",
    "yaml_to_json",
]

T = TypeVar("T")

MAX_BYTES: Final = 1024 * 1024
"""Default limit of a document; YAML has a lower one of its own."""

_MEDIA_TYPE = re.compile(r"(?:application|text)/(?:[^/]+\+|x-)?(json|yaml)")
# How msgspec says where: " - at `$.objects[0][...]`", with "`key` in" before it for a bad key.
_WHERE = re.compile(r" - at (`key` in )?`\$([.\[][^`]*)?`\Z")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = "Object contains unknown field "
_MISSING = "Object missing required field "
_JSON_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


@dataclass(frozen=True, slots=True)
class Document:
    """One document that is well formed: its JSON text, and where things stood in its source."""

    text: str
    positions: Positions

    def decode(self, type_: type[T]) -> T:
        """The document as a value of ``type_``, strictly. Raises InvalidDocument."""
        try:
            return msgspec.json.decode(self.text, type=type_)
        except msgspec.MsgspecError as error:
            raise InvalidDocument(_diagnose(self, type_, str(error))) from None

    def problem(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem with the value at ``path`` (or with its key), for checks beyond types."""
        return Problem(message, show_path(path), *self.positions.locate(path, key=key), hint)

    def problem_inside(
        self, path: Path, text: str, offset: int, message: str, hint: str = ""
    ) -> Problem:
        """A problem with a character of the string ``text`` at ``path``."""
        place = self.positions.inside(path, text, offset)
        return Problem(message, show_path(path), *place, hint)


def read(
    data: bytes, *, media_type: str = "application/json", limit: int = MAX_BYTES
) -> tuple[Document, ...]:
    """The documents in ``data``: one of JSON, any number of YAML. Raises InvalidDocument."""
    form = _MEDIA_TYPE.fullmatch(media_type.partition(";")[0].strip().lower())
    if form is None:
        message = f"the media type {quoted(media_type)} is not understood"
        hint = "send application/json or application/yaml"
        raise InvalidDocument(Problem(message, "", 1, 1, hint))
    if form[1] == "json":
        text = read_text(data, limit)
        json_text.check(text)
        return (Document(text, json_text.JsonPositions(text)),)
    found = yaml_to_json(data, min(limit, yaml_text.MAX_BYTES))
    return tuple(
        Document(json.dumps(plain, ensure_ascii=False), positions) for plain, positions in found
    )


def decode(
    data: bytes,
    type_: type[T],
    *,
    media_type: str = "application/json",
    limit: int = MAX_BYTES,
) -> T:
    """The one document in ``data`` as a value of ``type_``. Raises InvalidDocument."""
    return read_one(data, media_type=media_type, limit=limit).decode(type_)


def read_one(
    data: bytes, *, media_type: str = "application/json", limit: int = MAX_BYTES
) -> Document:
    """The one document in ``data``. Raises InvalidDocument."""
    documents = read(data, media_type=media_type, limit=limit)
    if not documents:
        raise InvalidDocument(Problem("the document is empty", "", 1, 1))
    if len(documents) > 1:
        raise InvalidDocument(documents[1].problem((), "a second document", "send one at a time"))
    return documents[0]


def _diagnose(document: Document, type_: Any, error: str) -> Problem:
    """What msgspec's error message means, and where."""
    where = _WHERE.search(error)
    what = error[: where.start()] if where else error
    steps = _STEP.findall(where[2] or "") if where else []
    is_key = bool(where and where[1])
    path = _concrete(document.text, type_, error, [*steps, ("", "...")] if is_key else steps)
    if what.startswith(_UNKNOWN):
        key = what[len(_UNKNOWN) + 1 : -1]
        place = document.positions.locate((*path, key), key=True)
        hint = _suggestion(key, _known_keys(type_, document.text, path), "known keys:")
        return Problem(f"unknown key {quoted(key)}", show_path(path), *place, hint)
    if what.startswith(_MISSING):
        key = what[len(_MISSING) + 1 : -1]
        return document.problem(path, f"missing key {quoted(key)}")
    hint = ""
    if what.startswith(("Invalid enum value", "Invalid value")):
        wrong, allowed = _allowed(type_, document.text, path)
        hint = _suggestion(wrong, allowed, "use one of")
    return document.problem(path, _in_words(what), hint, key=is_key)


def _in_words(message: str) -> str:
    """A message of msgspec in the words of JSON; those of our own types stay as they are."""
    if not message.startswith(("Expected", "Integer", "Invalid", "Number")):
        return message
    plain = re.sub(r"`([^`]*)`", lambda found: _type_in_words(found[1]), message)
    return plain[0].lower() + plain[1:]


def _type_in_words(types: str) -> str:
    return " or ".join(_JSON_WORDS.get(word, word) for word in types.split(" | "))


def _suggestion(wrong: str, known: list[str], label: str) -> str:
    if close := near(wrong, known, 1):
        return f"did you mean {quoted(close[0])}?"
    return f"{label} {', '.join(map(quoted, known[:20]))}" if known else ""


def _concrete(text: str, type_: Any, error: str, steps: list[tuple[str, str]]) -> Path:
    """The path with real keys where msgspec says ``[...]``, as far as the document has it."""
    at = json_text.start_of(text)
    path: list[str | int] = []
    for name, index in steps:
        if index == "...":
            text, found = _culprit(text, at, type_, error)
        else:
            step = int(index) if index else name
            found = next((m for m in json_text.members(text, at) if m.key == step), None)
        if found is None:
            break
        path.append(found.key)
        at = found.value_at
    return tuple(path)


def _culprit(text: str, at: int, type_: Any, error: str) -> tuple[str, json_text.Member | None]:
    """The entry of the object at ``at`` that gives ``error``, and the text without later ones.

    msgspec stops at the first error, so the shortest run of entries that still gives it ends
    with the culprit: found by bisection.
    """
    close = json_text.end_of(text, at) - 1
    entries = list(json_text.members(text, at))

    def fails(index: int) -> bool:
        try:
            msgspec.json.decode(text[: entries[index].end] + text[close:], type=type_)
        except msgspec.MsgspecError as other:
            return str(other) == error
        return False

    index = bisect.bisect_left(range(len(entries)), True, key=fails)
    if index == len(entries):
        return text, None
    return text[: entries[index].end] + text[close:], entries[index]


def _known_keys(type_: Any, text: str, path: Path) -> list[str]:
    kinds, _ = _kinds(type_, text, path)
    structs = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    return sorted({item.encode_name for kind in structs for item in kind.fields})


def _allowed(type_: Any, text: str, path: Path) -> tuple[str, list[str]]:
    """The value at ``path`` and what could stand there: literals, enum values or tags."""
    kinds, value = _kinds(type_, text, path)
    allowed: list[object] = []
    for kind in kinds:
        if isinstance(kind, inspect.LiteralType):
            allowed += kind.values
        elif isinstance(kind, inspect.EnumType):
            allowed += [item.value for item in kind.cls]
    for kind in _kinds(type_, text, path[:-1])[0]:
        if isinstance(kind, inspect.StructType) and path[-1:] == (kind.tag_field,):
            allowed.append(kind.tag)
    return str(value), sorted(map(str, allowed))


def _kinds(type_: Any, text: str, path: Path) -> tuple[list[inspect.Type], Any]:
    """The types that the value at ``path`` could have, and the value."""
    value = json.loads(text)
    kinds = _options(inspect.type_info(type_), value)
    for step in path:
        value = value[step]
        inner = [each for kind in kinds for each in _inside(kind, step)]
        kinds = [option for kind in inner for option in _options(kind, value)]
    return kinds, value


def _options(kind: inspect.Type, value: Any) -> list[inspect.Type]:
    """The members of a union, only those with the value's tag where there is one."""
    if isinstance(kind, inspect.Metadata):
        return _options(kind.type, value)
    options = list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]
    return [option for option in options if _has_tag_of(option, value)] or options


def _has_tag_of(kind: inspect.Type, value: Any) -> bool:
    if isinstance(value, dict) and isinstance(kind, inspect.StructType):
        return kind.tag_field is not None and value.get(kind.tag_field) == kind.tag
    return False


def _inside(kind: inspect.Type, step: str | int) -> list[inspect.Type]:
    """The types of what stands at ``step`` in a value of type ``kind``."""
    match kind:
        case inspect.StructType():
            return [item.type for item in kind.fields if item.encode_name == step]
        case inspect.DictType():
            return [kind.value_type]
        case inspect.CollectionType():
            return [kind.item_type]
        case _:
            return []
