"""Descriptions by what stands at a path, so that a query of a fast form reads none of them.

A column is made when its path is first asked for, and kept current from then on.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from registry.search.forms import (
    Equal,
    Exists,
    Form,
    Key,
    Path,
    Prefix,
    Test,
    begins,
    keys_at,
    values_at,
)

COLUMNS: Final = 64
"""Paths that are kept; the one asked for longest ago goes first."""
Read = Callable[[bytes], Any]


class Column:
    """What stands at one path: where anything does, and where which literal does."""

    __slots__ = ("by_key", "keys_of", "path", "there")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.there: set[str] = set()
        self.by_key: dict[Key, set[str]] = {}
        self.keys_of: dict[str, tuple[Key, ...]] = {}

    def put(self, id_: str, document: Any) -> None:
        """Look at a document that is not there."""
        if not any(True for _ in values_at(document, self.path)):
            return
        self.there.add(id_)
        keys = tuple(set(keys_at(document, self.path)))
        if keys:
            self.keys_of[id_] = keys
        for key in keys:
            self.by_key.setdefault(key, set()).add(id_)

    def remove(self, id_: str) -> None:
        """Forget a document."""
        self.there.discard(id_)
        for key in self.keys_of.pop(id_, ()):
            ids = self.by_key[key]
            ids.discard(id_)
            if not ids:
                del self.by_key[key]

    def matching(self, test: Test) -> set[str]:
        """Return the ids of documents that a test holds of; the set is not to be changed."""
        match test:
            case Equal(_, key):
                return self.by_key.get(key, set())
            case Exists(_):
                return self.there
            case Prefix(_, prefix):
                found: set[str] = set()
                for key, ids in self.by_key.items():
                    if begins(key, prefix):
                        found |= ids
                return found


class Columns:
    """JSON documents by id, and the columns that were asked for."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        """The documents, as they are sent."""
        self._columns: OrderedDict[Path, Column] = OrderedDict()
        self.decode: Read = msgspec.json.Decoder().decode

    def put(self, id_: str, text: bytes) -> None:
        """Add or replace a document."""
        old = self.texts.get(id_)
        if old == text:
            return
        self.texts[id_] = text
        if self._columns:
            document = self.decode(text)
            for column in self._columns.values():
                if old is not None:
                    column.remove(id_)
                column.put(id_, document)

    def remove(self, id_: str) -> None:
        """Forget a document."""
        if self.texts.pop(id_, None) is not None:
            for column in self._columns.values():
                column.remove(id_)

    def missing(self, form: Form) -> list[Path]:
        """Return the paths of a form that have no column yet."""
        paths = dict.fromkeys(test.path for test in form.tests)
        return [path for path in paths if path not in self._columns]

    def build(self, path: Path) -> Iterator[None]:
        """Make the column of a path, and pause after each document: others may come and go."""
        column = Column(path)
        seen: dict[str, bytes] = {}
        # What changes meanwhile is looked at again: until a round finds nothing new.
        while todo := [i for i, text in self.texts.items() if seen.get(i) is not text]:
            for id_ in todo:
                text = self.texts.get(id_)
                column.remove(id_)
                if text is not None:
                    column.put(id_, self.decode(text))
                    seen[id_] = text
                yield
        for id_ in seen.keys() - self.texts.keys():
            column.remove(id_)
        self._columns[path] = column
        if len(self._columns) > COLUMNS:
            self._columns.popitem(last=False)

    def matching(self, form: Form) -> Iterable[str]:
        """Return the ids of what a form holds of, in no order; its columns must be there.

        Raises KeyError when one is not.
        """
        if not form.tests:
            return self.texts.keys()
        sets = []
        for test in form.tests:
            self._columns.move_to_end(test.path)
            sets.append(self._columns[test.path].matching(test))
        sets.sort(key=len)
        return sets[0].intersection(*sets[1:]) if len(sets) > 1 else sets[0]
