"""Strict TOML into a Struct: every unknown setting and wrong value is told, with its line."""

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from registry.problems import quoted

MAX_FILE = 1 << 20
"""Bytes of a configuration file."""

_LOOKUPS = 200  # Beginnings of the file that are parsed to find a line: enough for any real file.
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `\$?(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")

_SIMILAR = 0.65
_BARE = re.compile(r"[A-Za-z0-9_-]{1,80}")

_Step = str | int
_Table = TypeVar("_Table", bound=Struct)


class ConfigError(ValueError):
    """A configuration that cannot be used; ``problems`` say what, where and what to do."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(_printable, problems))
        super().__init__("\n".join(self.problems))


def _printable(text: str) -> str:
    """Escape what a text from outside could do to a terminal or a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parse(data: bytes, kind: type[_Table], folder: Path) -> _Table:
    """Read a file's bytes as a table of tables; raises ConfigError.

    Paths in it are relative to ``folder``.
    """
    if len(data) > MAX_FILE:
        raise ConfigError(f"the file is larger than {MAX_FILE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError("not TOML that can be read: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"not TOML: {error}") from None
    return kind(**_Reader(text, kind, folder).read(document))


class _Reader:
    """Turns a parsed document into its Struct and collects what is wrong with it."""

    def __init__(self, text: str, root: type[Struct], folder: Path) -> None:
        self._text = text
        self._root = root
        self._folder = folder
        self._problems: list[str] = []

    def read(self, document: dict[str, Any]) -> dict[str, Any]:
        tables = {info.name: info for info in fields(self._root)}
        values = {}
        for name, raw in self._known(self._root, document, ()).items():
            try:
                kind = tables[name].type
                values[name] = msgspec.convert(raw, kind, dec_hook=self._path)
            except msgspec.ValidationError as error:
                self._invalid(name, str(error))
        if self._problems:
            raise ConfigError(*self._problems)
        return values

    def _known(self, kind: type[Struct], raw: Any, path: tuple[_Step, ...]) -> Any:
        """Return ``raw`` without what ``kind`` does not know, which is reported."""
        if not isinstance(raw, dict):
            return raw
        infos = {info.name: info for info in fields(kind)}
        kept = {}
        for key, value in raw.items():
            info = infos.get(key)
            if info is None:
                self._problems.append(
                    self._at((*path, key)) + self._unknown(key, path, list(infos))
                )
            else:
                kept[key] = self._deeper(info, value, (*path, key))
        return kept

    def _deeper(self, info: FieldInfo, value: Any, path: tuple[_Step, ...]) -> Any:
        kind = _table_of(info.type)
        if kind is None:
            return value
        if isinstance(value, list):
            return [self._known(kind, one, (*path, at)) for at, one in enumerate(value)]
        return self._known(kind, value, path)

    def _unknown(self, key: str, path: tuple[_Step, ...], names: list[str]) -> str:
        said = f"{_show((*path, key))} is not a {'setting' if path else 'table'}"
        close = get_close_matches(key[:64], names, 1, _SIMILAR)
        if close:
            return f"{said}; did you mean {close[0]}?"
        homes = [
            info.name
            for info in fields(self._root)
            if (kind := _table_of(info.type)) and key in [inner.name for inner in fields(kind)]
        ]
        if homes:
            return f"{said}; {key} belongs to {_show((homes[0],))}"
        return f"{said}; there are {', '.join(names)}"

    def _invalid(self, table: str, said: str) -> None:
        match = _MESSAGE.fullmatch(said)
        what, inner = (match["what"], match["path"] or "") if match else (said, "")
        steps = [int(at) if at else key for key, at in _STEP.findall(inner)]
        path = (table, *steps)
        self._problems.append(f"{self._at(path)}{_show(path)}: {what[:1].lower()}{what[1:]}")

    def _path(self, kind: type, value: object) -> Path:
        """Read a path, the one type that msgspec does not know."""
        if kind is not Path or not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("expected a path, and not an empty one")
        return self._folder / value

    def _at(self, path: tuple[_Step, ...]) -> str:
        line = _line_of(self._text, path)
        return f"line {line}: " if line else ""


def _table_of(kind: Any) -> type[Struct] | None:
    """Return the Struct that a setting is a table of, or an array of tables of."""
    inner = (get_args(kind) or (kind,))[0]
    return inner if isinstance(inner, type) and issubclass(inner, Struct) else None


def _show(path: tuple[_Step, ...]) -> str:
    """Return a path as people write it: ``[http] port``, ``[[remote]] 2 url``."""
    table, *rest = (_word(step) if isinstance(step, str) else step for step in path)
    if not rest:
        return f"[{table}]"
    shown = (
        f"[[{table}]] {int(rest[0]) + 1}" if isinstance(rest[0], int) else f"[{table}] {rest[0]}"
    )
    for step in rest[1:]:
        shown += f"[{step}]" if isinstance(step, int) else f" {step}"
    return shown


def _word(key: str) -> str:
    return key if _BARE.fullmatch(key) else quoted(key)


def _line_of(text: str, path: tuple[_Step, ...]) -> int:
    """Return the line that a setting stands in, 0 when it is not found soon.

    It is in the first beginning of the file that can be parsed and has the setting; a value of
    several lines begins where the one before could be parsed last.
    """
    word = next(step for step in reversed(path) if isinstance(step, str))
    lines = text.split("\n")
    first = tried = 0
    for number, line in enumerate(lines, 1):
        if not first and word not in line:
            continue
        first = first or number
        tried += 1
        if tried > _LOOKUPS:
            return 0
        try:
            document = tomllib.loads("\n".join(lines[:number]))
        except (ValueError, RecursionError):
            continue
        if _has(document, path):
            return first
        first = 0
    return 0


def _has(document: Any, path: tuple[_Step, ...]) -> bool:
    for step in path:
        if isinstance(document, dict):
            found = step in document
        else:
            found = isinstance(step, int) and isinstance(document, list) and step < len(document)
        if not found:
            return False
        document = document[step]
    return True
