"""Values against the schemas of methods and channels: compiled once to closures, never to code.

Only for schemas that ``registry.schemas`` accepted: references do not recur, patterns are linear.
A check takes a bounded number of steps, so that no value holds up the loop for long; what would
take more is refused. ``format`` and other notes are not checked (JSON Schema 2020-12, 7.2.1).
"""

from collections.abc import Mapping
from typing import Any

from registry.keywords import MAKERS, Check, InvalidValue, Steps, TooManySteps

__all__ = ["InvalidValue", "Validator"]


class Validator:
    """One schema, compiled."""

    __slots__ = ("_check",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._check = _Compiler(schema).compile(schema)

    def check(self, value: object) -> None:
        """Raise InvalidValue unless a JSON value (as ``json.loads`` returns it) fits."""
        try:
            self._check(value, Steps())
        except TooManySteps:
            message = "it would take too long to check so large a value against this schema"
            raise InvalidValue(message) from None


class _Compiler:
    """Turns the parts of one schema into closures, each definition once."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._definitions: dict[str, Check] = {}

    def compile(self, schema: Any) -> Check:
        """Return the check of a schema."""
        if isinstance(schema, bool):
            return _anything if schema else _nothing
        checks = [
            (MAKERS[key][0], MAKERS[key][1](self, value, schema))
            for key, value in schema.items()
            if key in MAKERS
        ]
        size = 1 + len(checks)

        def check(value: Any, steps: Steps) -> None:
            steps.take(size)
            # JSON's true is no number, but Python's is.
            meant: object = None if isinstance(value, bool) else value
            for type_, each in checks:
                if type_ is object or isinstance(meant, type_):
                    each(value, steps)

        return check

    def definition(self, reference: str) -> Check:
        """Return the check that ``#/$defs/name`` stands for."""
        if reference not in self._definitions:
            _, table, name = reference.split("/")
            self._definitions[reference] = self.compile(self._root[table][name])
        return self._definitions[reference]


def _anything(_: object, steps: Steps) -> None:
    steps.take(1)


def _nothing(_: object, __: Steps) -> None:
    raise InvalidValue("nothing may stand here")
