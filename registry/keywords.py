"""The keywords of JSON Schema as closures: what each asks of a value (``registry.validation``).

Each maker is handed the keyword's value and the schema it stands in, and returns a check for
values of the type that the keyword speaks of.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, Protocol, TypeAlias

from registry.problems import Path, show_path
from registry.regex import compile_pattern

MAX_STEPS: Final = 100_000
"""Applications of a keyword to a value in one check: some 20 ms."""

_CHARACTERS = 64  # Characters of a string that a pattern reads in the time of one step.


class InvalidValue(ValueError):
    """A value that does not fit its schema; ``path`` leads to the part that does not."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.message}" if self.path else self.message


class TooManySteps(Exception):
    """The steps are used up; unlike a mismatch, no keyword may make anything of that."""


class Steps:
    """What is left of the steps of one check."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def take(self, count: int) -> None:
        """Take some steps. Raises TooManySteps."""
        self.left -= count
        if self.left < 0:
            raise TooManySteps


Check: TypeAlias = Callable[[Any, Steps], None]
Schema: TypeAlias = Mapping[str, Any]


class Compiler(Protocol):
    """What makers need of the compiler of the whole schema."""

    def compile(self, schema: Any) -> Check:
        """Return the check of a schema within the schema."""
        ...

    def definition(self, reference: str) -> Check:
        """Return the check that a reference names."""
        ...


Maker: TypeAlias = Callable[[Compiler, Any, Schema], Check]


def _fits(check: Check, value: Any, steps: Steps) -> bool:
    try:
        check(value, steps)
    except InvalidValue:
        return False
    return True


def _within(step: str | int, check: Check, value: Any, steps: Steps) -> None:
    try:
        check(value, steps)
    except InvalidValue as error:
        raise InvalidValue(error.message, (step, *error.path)) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


def _is_multiple(value: float, of: float) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    exact, unit = (Fraction(n if isinstance(n, int) else str(n)) for n in (value, of))
    return (exact / unit).denominator == 1


def _identity(value: Any, steps: Steps) -> Any:
    """Return what values share exactly if JSON Schema calls them equal: 1 and 1.0 but not true."""
    steps.take(1)
    if isinstance(value, list):
        return ("array", *(_identity(each, steps) for each in value))
    if isinstance(value, dict):
        return ("object", frozenset((key, _identity(value[key], steps)) for key in value))
    return (isinstance(value, bool), value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_whole,
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def _demand(is_right: Callable[[Any, Any], bool], words: str) -> Maker:
    """Make a maker for a keyword that holds a bound."""

    def make(_: Compiler, bound: Any, __: Schema) -> Check:
        def check(value: Any, _: Steps) -> None:
            if not is_right(value, bound):
                raise InvalidValue(words.format(bound))

        return check

    return make


def _type(_: Compiler, wanted: Any, __: Schema) -> Check:
    names = wanted if isinstance(wanted, list) else [wanted]
    tests = tuple(_TYPES[name] for name in names)

    def check(value: Any, _: Steps) -> None:
        if not any(test(value) for test in tests):
            raise InvalidValue(f"it must be of type {' or '.join(names)}")

    return check


def _enum(_: Compiler, values: Any, __: Schema) -> Check:
    known = frozenset(_identity(value, Steps()) for value in values)

    def check(value: Any, steps: Steps) -> None:
        if _identity(value, steps) not in known:
            raise InvalidValue("it is not one of the values that are allowed")

    return check


def _const(compiler: Compiler, value: Any, schema: Schema) -> Check:
    return _enum(compiler, [value], schema)


def _pattern(_: Compiler, text: Any, __: Schema) -> Check:
    pattern = compile_pattern(text)

    def check(value: Any, steps: Steps) -> None:
        steps.take(len(value) // _CHARACTERS)
        if not pattern.search(value):
            raise InvalidValue(f"it does not match the pattern {text}")

    return check


def _required(_: Compiler, names: Any, __: Schema) -> Check:
    def check(value: Any, _: Steps) -> None:
        for name in names:
            if name not in value:
                raise InvalidValue(f"the key {name!r} is missing")

    return check


def _dependent_required(compiler: Compiler, table: Any, schema: Schema) -> Check:
    return _when_present({key: _required(compiler, table[key], schema) for key in table})


def _dependent_schemas(compiler: Compiler, table: Any, _: Schema) -> Check:
    return _when_present({key: compiler.compile(table[key]) for key in table})


def _when_present(checks: Mapping[str, Check]) -> Check:
    def check(value: Any, steps: Steps) -> None:
        for key, each in checks.items():
            if key in value:
                each(value, steps)

    return check


def _properties(compiler: Compiler, table: Any, _: Schema) -> Check:
    checks = {key: compiler.compile(schema) for key, schema in table.items()}

    def check(value: Any, steps: Steps) -> None:
        for key, each in checks.items():
            if key in value:
                _within(key, each, value[key], steps)

    return check


def _pattern_properties(compiler: Compiler, table: Any, _: Schema) -> Check:
    checks = [(compile_pattern(text), compiler.compile(table[text])) for text in table]

    def check(value: Any, steps: Steps) -> None:
        for key, inner in value.items():
            steps.take(len(checks) * (1 + len(key) // _CHARACTERS))
            for pattern, each in checks:
                if pattern.search(key):
                    _within(key, each, inner, steps)

    return check


def _additional_properties(compiler: Compiler, other: Any, schema: Schema) -> Check:
    check_other = compiler.compile(other)
    named = frozenset(schema.get("properties", ()))
    patterns = [compile_pattern(text) for text in schema.get("patternProperties", ())]

    def check(value: Any, steps: Steps) -> None:
        for key, inner in value.items():
            steps.take(1 + len(patterns) * (len(key) // _CHARACTERS))
            if key not in named and not any(pattern.search(key) for pattern in patterns):
                _within(key, check_other, inner, steps)

    return check


def _property_names(compiler: Compiler, schema: Any, _: Schema) -> Check:
    check_name = compiler.compile(schema)

    def check(value: Any, steps: Steps) -> None:
        for key in value:
            _within(key, check_name, key, steps)

    return check


def _prefix_items(compiler: Compiler, schemas: Any, _: Schema) -> Check:
    checks = [compiler.compile(schema) for schema in schemas]

    def check(value: Any, steps: Steps) -> None:
        for index, (each, inner) in enumerate(zip(checks, value, strict=False)):
            _within(index, each, inner, steps)

    return check


def _items(compiler: Compiler, other: Any, schema: Schema) -> Check:
    each, start = compiler.compile(other), len(schema.get("prefixItems", ()))

    def check(value: Any, steps: Steps) -> None:
        for index in range(start, len(value)):
            _within(index, each, value[index], steps)

    return check


def _contains(compiler: Compiler, inner: Any, schema: Schema) -> Check:
    each = compiler.compile(inner)
    least, most = schema.get("minContains", 1), schema.get("maxContains", math.inf)

    def check(value: Any, steps: Steps) -> None:
        count = sum(_fits(each, one, steps) for one in value)
        if not least <= count <= most:
            raise InvalidValue(f"{count} entries are of the kind that {least} to {most} must be of")

    return check


def _unique(_: Compiler, wanted: Any, __: Schema) -> Check:
    def check(value: Any, steps: Steps) -> None:
        if wanted and len({_identity(each, steps) for each in value}) < len(value):
            raise InvalidValue("an entry is there twice")

    return check


def _all_of(compiler: Compiler, schemas: Any, _: Schema) -> Check:
    checks = [compiler.compile(schema) for schema in schemas]

    def check(value: Any, steps: Steps) -> None:
        for each in checks:
            each(value, steps)

    return check


def _any_of(compiler: Compiler, schemas: Any, _: Schema) -> Check:
    checks = [compiler.compile(schema) for schema in schemas]

    def check(value: Any, steps: Steps) -> None:
        if not any(_fits(each, value, steps) for each in checks):
            raise InvalidValue("it fits none of the alternatives")

    return check


def _one_of(compiler: Compiler, schemas: Any, _: Schema) -> Check:
    checks = [compiler.compile(schema) for schema in schemas]

    def check(value: Any, steps: Steps) -> None:
        count = sum(_fits(each, value, steps) for each in checks)
        if count != 1:
            raise InvalidValue(f"it fits {count} of the alternatives, not exactly one")

    return check


def _not(compiler: Compiler, schema: Any, _: Schema) -> Check:
    inner = compiler.compile(schema)

    def check(value: Any, steps: Steps) -> None:
        if _fits(inner, value, steps):
            raise InvalidValue("it is what the schema excludes")

    return check


def _if(compiler: Compiler, condition: Any, schema: Schema) -> Check:
    test = compiler.compile(condition)
    then = compiler.compile(schema.get("then", True))
    otherwise = compiler.compile(schema.get("else", True))

    def check(value: Any, steps: Steps) -> None:
        (then if _fits(test, value, steps) else otherwise)(value, steps)

    return check


def _ref(compiler: Compiler, reference: Any, _: Schema) -> Check:
    return compiler.definition(reference)


ANY: Final = object
NUMBER: Final = (int, float)
MAKERS: Final[dict[str, tuple[type | tuple[type, ...], Maker]]] = {
    "type": (ANY, _type),
    "enum": (ANY, _enum),
    "const": (ANY, _const),
    "$ref": (ANY, _ref),
    "allOf": (ANY, _all_of),
    "anyOf": (ANY, _any_of),
    "oneOf": (ANY, _one_of),
    "not": (ANY, _not),
    "if": (ANY, _if),
    "minimum": (NUMBER, _demand(lambda v, b: v >= b, "it must be at least {}")),
    "maximum": (NUMBER, _demand(lambda v, b: v <= b, "it must be at most {}")),
    "exclusiveMinimum": (NUMBER, _demand(lambda v, b: v > b, "it must be more than {}")),
    "exclusiveMaximum": (NUMBER, _demand(lambda v, b: v < b, "it must be less than {}")),
    "multipleOf": (NUMBER, _demand(_is_multiple, "it must be a multiple of {}")),
    "minLength": (str, _demand(lambda v, b: len(v) >= b, "it needs at least {} characters")),
    "maxLength": (str, _demand(lambda v, b: len(v) <= b, "it may have at most {} characters")),
    "pattern": (str, _pattern),
    "minItems": (list, _demand(lambda v, b: len(v) >= b, "it needs at least {} entries")),
    "maxItems": (list, _demand(lambda v, b: len(v) <= b, "it may have at most {} entries")),
    "uniqueItems": (list, _unique),
    "prefixItems": (list, _prefix_items),
    "items": (list, _items),
    "contains": (list, _contains),
    "minProperties": (dict, _demand(lambda v, b: len(v) >= b, "it needs at least {} keys")),
    "maxProperties": (dict, _demand(lambda v, b: len(v) <= b, "it may have at most {} keys")),
    "required": (dict, _required),
    "properties": (dict, _properties),
    "patternProperties": (dict, _pattern_properties),
    "additionalProperties": (dict, _additional_properties),
    "propertyNames": (dict, _property_names),
    "dependentRequired": (dict, _dependent_required),
    "dependentSchemas": (dict, _dependent_schemas),
}
"""Each keyword that is checked, and the type of values that it speaks of."""
