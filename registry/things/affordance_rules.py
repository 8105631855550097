"""Rules of properties, actions and events: their names, operations, addresses and schemas. Pure."""

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final

from registry.names import MAX_SEGMENT, InvalidName, encode_segment
from registry.regex import UnsafePattern, check_pattern
from registry.things import addresses
from registry.things.findings import Findings, Path, dict_of, items_of, words_of
from registry.things.schema import OPS

KINDS: Final = ("properties", "actions", "events")
MAX_PATTERNS: Final = 256
"""Patterns in the schemas of one description."""
MAX_HOSTS: Final = 32
"""Hosts that one thing is at; each is looked for in all that is shown of it."""
WRITE: Final = ";write"
OBSERVE: Final = ";observe"
READ: Final = ";read"
EVENT: Final = ";event"
"""What is added to a name where one affordance becomes several members."""

_SCHEMAS = {
    "properties": (),
    "actions": ("input", "output"),
    "events": ("subscription", "data", "dataResponse", "cancellation"),
}
_OF_SCHEMAS = ("items", "oneOf")

Check = Callable[[Path, dict[str, Any]], None]


class Affordances:
    """Checks the affordances of one description; ``names`` checks names of security schemes."""

    def __init__(
        self, document: dict[str, Any], findings: Findings, names: Check, languages: Check
    ) -> None:
        self._document = document
        self._found = findings
        self._names = names
        self._languages = languages
        base = document.get("base")
        self._base = base if isinstance(base, str) else ""
        self._shared = dict_of(document.get("uriVariables"))
        self._patterns = 0
        self._hosts: set[str] = set()

    def check(self) -> None:
        """Check them all."""
        self._forms((), self._document, "")
        for name, schema in dict_of(self._document.get("schemaDefinitions")).items():
            self._schema(("schemaDefinitions", name), schema)
        taken: dict[str, Path] = {}
        for kind in KINDS:
            for name, affordance in dict_of(self._document.get(kind)).items():
                path: Path = (kind, name)
                self._name(path, name, taken)
                if isinstance(affordance, dict):
                    self._affordance(path, kind, affordance)

    def _name(self, path: Path, name: str, taken: dict[str, Path]) -> None:
        """Check that a name is a segment, and that no other one looks the same."""
        try:
            encode_segment(name)
        except InvalidName as error:
            self._found.add(path, f"{name[:80]!r} cannot be a name: {error.reason}")
            return
        if len(name.encode()) > MAX_SEGMENT - len(OBSERVE):
            message = f"the name has more than {MAX_SEGMENT - len(OBSERVE)} bytes"
            self._found.add(path, message, "choose a shorter one")
        for suffix in (WRITE, OBSERVE, READ, EVENT):
            if name.endswith(suffix):
                message = f"{suffix!r} at the end of a name is what the site itself adds"
                self._found.add(path, message, "choose another name")
        normal = f"{path[0]}/{unicodedata.normalize('NFC', name)}"
        if normal in taken:
            message = f"it cannot be told from {taken[normal][1]!r}: both are the same characters"
            self._found.add(path, message, "write names in Unicode's form NFC")
        taken[normal] = path

    def _affordance(self, path: Path, kind: str, affordance: dict[str, Any]) -> None:
        self._languages(path, affordance)
        self._forms(path, affordance, kind)
        for name, schema in dict_of(affordance.get("uriVariables")).items():
            self._schema((*path, "uriVariables", name), schema)
        if kind == "properties":
            self._schema(path, affordance)
        for key in _SCHEMAS[kind]:
            if key in affordance:
                self._schema((*path, key), affordance[key])

    def _forms(self, path: Path, node: dict[str, Any], kind: str) -> None:
        variables = {**self._shared, **dict_of(node.get("uriVariables"))}
        for index, form in items_of(node.get("forms")):
            here = (*path, "forms", index)
            self._names(here, form)
            self._operations(here, form, kind, node)
            if isinstance(form.get("href"), str):
                self._address((*here, "href"), form["href"], variables)

    def _operations(
        self, path: Path, form: dict[str, Any], kind: str, node: dict[str, Any]
    ) -> None:
        if not kind and "op" not in form:
            self._found.add(path, "the member 'op' is missing: a form of the thing must say it")
        for op in words_of(form.get("op")):
            if op not in OPS[kind]:
                what = kind or "the whole thing"
                hint = f"use one of {', '.join(OPS[kind])}"
                self._found.add((*path, "op"), f"{op[:80]!r} is no operation of {what}", hint)
            if (op == "writeproperty" and node.get("readOnly") is True) or (
                op == "readproperty" and node.get("writeOnly") is True
            ):
                other = "readOnly" if op == "writeproperty" else "writeOnly"
                self._found.warn(f"{'/'.join(map(str, path))}: {op} of what is {other} is not used")

    def _address(self, path: Path, href: str, variables: dict[str, Any]) -> None:
        self._found.address(path, href)
        try:
            template = addresses.template(href)
        except ValueError as error:
            self._found.add(path, f"{error}", "write {name} in the path, {?a,b} at the end")
            return
        for name in (*template.places, *template.query):
            if name not in variables:
                hint = "describe it in uriVariables"
                self._found.add(path, f"the variable {name!r} is not described", hint)
        whole = addresses.resolve(self._base, template.href)
        known = len(self._hosts)
        self._hosts.add(addresses.host_of(whole or ""))
        if known == MAX_HOSTS < len(self._hosts):
            hint = "describe its parts as things of their own"
            self._found.add(path, f"the forms lead to more than {MAX_HOSTS} hosts", hint)
        if whole is None:
            hint = "write a whole address, or a base"
            self._found.add(path, f"{href[:200]!r} is relative, and there is no base", hint)

    def _schema(self, path: Path, schema: object) -> None:
        """Check patterns and languages of a schema and of those within it."""
        for here, each in _within(path, schema):
            self._languages(here, each)
            pattern = each.get("pattern")
            if isinstance(pattern, str):
                self._pattern((*here, "pattern"), pattern)
            low, high = each.get("minimum"), each.get("maximum")
            if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
                self._found.add((*here, "minimum"), "the minimum is above the maximum")

    def _pattern(self, path: Path, pattern: str) -> None:
        self._patterns += 1
        if self._patterns == MAX_PATTERNS + 1:
            self._found.add(path, f"more than {MAX_PATTERNS} patterns in one description")
        if self._patterns > MAX_PATTERNS:
            return
        try:
            check_pattern(pattern)
        except UnsafePattern as error:
            self._found.add(path, str(error))


def _within(path: Path, schema: object) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not isinstance(schema, dict):
        return
    yield path, schema
    for name, inner in dict_of(schema.get("properties")).items():
        yield from _within((*path, "properties", name), inner)
    for key in _OF_SCHEMAS:
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from _within((*path, key), inner)
        for index, each in items_of(inner):
            yield from _within((*path, key, index), each)
