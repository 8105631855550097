"""YAML as JSON with positions: the safe subset of YAML 1.2. The only file that imports ruamel.yaml.

Tags, anchors and aliases are refused, so that nothing is constructed and nothing multiplies.
Scalars follow the core schema of YAML 1.2.2 (section 10.3): ``on``, ``no`` and dates are strings.
Reads about 100 kB/s, so a caller with an event loop does it in a thread.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError

from registry.problems import (
    MAX_DEPTH,
    InvalidDocument,
    Path,
    Place,
    Positions,
    Problem,
    place,
    quoted,
    read_text,
    shorten,
    show_path,
)

MAX_BYTES: Final = 256 * 1024
"""Default limit of a file; YAML is read some hundred times more slowly than JSON."""

_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGERS: Final = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o[0-7]+"), 8),
    (re.compile(r"0x[0-9a-fA-F]+"), 16),
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class YamlPositions:
    """Where the keys and values of one YAML document stand."""

    start: Place
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    styles: dict[Path, str] = field(default_factory=dict)
    """How strings are written that are not plain: a quote, ``|`` or ``>``."""

    def locate(self, path: Path, *, key: bool = False) -> Place:
        """The place of the value at ``path`` (or of its key), else of the nearest one around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, self.start)

    def inside(self, path: Path, text: str, offset: int) -> Place:
        """The place of a character of the string ``text`` at ``path``.

        Exact on one line; in a block, when it is indented by two; else in the string's first line.
        """
        line, column = self.locate(path)
        style = self.styles.get(path, "")
        if style == "|":
            start = text.rfind("\n", 0, offset) + 1
            indent = self.locate(path, key=True)[1] + 2
            return line + 1 + text.count("\n", 0, offset), indent + offset - start
        return (line + 1, column) if style == ">" else (line, column + len(style) + offset)


def yaml_to_json(data: bytes, limit: int = MAX_BYTES) -> list[tuple[object, Positions]]:
    """The documents of a YAML file as JSON data, each with its positions; empty ones are skipped.

    Raises InvalidDocument for bad YAML, tags, anchors, aliases, keys that are not strings or come
    twice, NaN and infinity, and more than `MAX_DEPTH` levels.
    """
    return list(_Composer(_events(read_text(data, limit))).documents())


def _events(text: str) -> Iterator[Event]:
    where = (1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            where = _place(event.end_mark)
            yield event
    except MarkedYAMLError as error:
        message = shorten(": ".join(filter(None, (error.context, error.problem))), 200)
        where = _place(error.problem_mark or error.context_mark)
        raise InvalidDocument(Problem(message, "", *where)) from None
    except ReaderError as error:
        message = f"the character U+{error.character:04X} is not allowed"
        hint = "write it as an escape in double quotes"
        where = place(text, error.position)
        raise InvalidDocument(Problem(message, "", *where, hint)) from None
    except Exception as error:
        # The parser lets ValueError, OverflowError and AssertionError out for hostile escapes and
        # directives; none of that may be more than a bad document.
        message = f"the YAML after this cannot be read: {shorten(str(error))}"
        raise InvalidDocument(Problem(message, "", *where)) from None


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


class _Composer:
    """Builds JSON data and positions from the parser's events, by recursion to `MAX_DEPTH`."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._positions = YamlPositions((1, 1))

    def documents(self) -> Iterator[tuple[object, Positions]]:
        """The documents that hold something. Raises InvalidDocument."""
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                self._positions = YamlPositions(_place(event.start_mark))
                if event.version == (1, 1):
                    raise self._error(event, (), "YAML 1.1 is not read", "remove the directive")
                root = next(self._events)
                value = self._node(root, ())
                if not (isinstance(root, ScalarEvent) and _is_absent(root)):
                    yield value, self._positions

    def _node(self, event: Event, path: Path) -> object:
        self._refuse_extras(event, path)
        self._positions.values[path] = _place(event.start_mark)
        if isinstance(event, ScalarEvent):
            if _is_absent(event) and path in self._positions.keys:
                # The parser's place for it is the next token; its key says more.
                self._positions.values[path] = self._positions.keys[path]
            if event.style:
                self._positions.styles[path] = event.style
            return self._scalar(event, path)
        if len(path) == MAX_DEPTH:
            message = f"more than {MAX_DEPTH} levels of nesting"
            raise self._error(event, path, message, "nest less deeply")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        return self._sequence(path)

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            self._refuse_extras(event, path)
            key = self._scalar(event, path) if isinstance(event, ScalarEvent) else None
            if not isinstance(key, str):
                raise self._error(event, path, "a key must be a string", "put it in quotes")
            if key in entries:
                message = f"the key {quoted(key)} is there twice"
                raise self._error(event, path, message, "keep one of the two")
            self._positions.keys[*path, key] = _place(event.start_mark)
            entries[key] = self._node(next(self._events), (*path, key))
        return entries

    def _refuse_extras(self, event: Event, path: Path) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            message = "anchors and aliases are not allowed"
            raise self._error(event, path, message, "write the value again")
        if tag := getattr(event, "tag", None):
            message = f"the tag {quoted(tag)} is not allowed"
            hint = "leave it out, or quote a text that starts with '!'"
            raise self._error(event, path, message, hint)

    def _scalar(self, event: ScalarEvent, path: Path) -> object:
        text: str = event.value
        try:
            text.encode()
            return _plain_value(text) if _is_plain(event) else text
        except UnicodeEncodeError:
            message, hint = "half of a surrogate pair is no character", "write the character"
        except ValueError:
            message, hint = (
                f"{shorten(text)} is no JSON number",
                "leave it out, or put it in quotes",
            )
        raise self._error(event, path, message, hint)

    def _error(self, event: Event, path: Path, message: str, hint: str) -> InvalidDocument:
        where = _place(event.start_mark)
        return InvalidDocument(Problem(message, show_path(path), *where, hint))


def _is_plain(event: ScalarEvent) -> bool:
    return event.style is None


def _is_absent(event: ScalarEvent) -> bool:
    return _is_plain(event) and not event.value


def _plain_value(text: str) -> object:
    """What an unquoted scalar means. Raises ValueError for numbers that JSON cannot hold."""
    if text in _WORDS:
        return _WORDS[text]
    for form, base in _INTEGERS:
        if form.fullmatch(text):
            number = int(text, base)
            str(number)  # Raises ValueError where json could not write it.
            return number
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _FLOAT.fullmatch(text) or _NO_NUMBER.fullmatch(text):
        raise ValueError(text)
    return text
