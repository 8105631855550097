"""Attributes that conditions may use, and their types."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from policy.model import Attribute

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Type(NamedTuple):
    """A type; ``values`` are those of an ordered domain, the lowest first."""

    name: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"one of {', '.join(self.values[:5])}" if self.values else f"a {self.name}"


STRING: Final = Type("string")
NUMBER: Final = Type("number")
BOOLEAN: Final = Type("boolean")
SET: Final = Type("set")
PATH: Final = Type("path")
TIME: Final = Type("time")
DATE: Final = Type("date")
WEEKDAY: Final = Type("ordered", WEEKDAYS)

BUILT_IN: Final[Mapping[str, Type]] = {
    "subject.id": STRING,
    "subject.kind": STRING,
    "subject.realm": STRING,
    "subject.method": STRING,
    "subject.roles": SET,
    "object.name": PATH,
    "object.kind": STRING,
    "object.owner": STRING,
    "object.microservice": STRING,
    "object.version": STRING,
    "environment.time": TIME,
    "environment.weekday": WEEKDAY,
    "environment.date": DATE,
    "environment.threat": NUMBER,
    "environment.site": STRING,
}
"""What every site knows: times are the site's local ones."""

TERMS: Final[Mapping[str, Type]] = {
    "object.type": STRING,
    "object.types": SET,
    "object.place": STRING,
    "object.places": SET,
    "object.category": STRING,
    "object.categories": SET,
}
"""What ontologies say of a name: IRIs. A declaration of such an attribute makes it another."""

_DECLARED: Final = {t.name: t for t in (STRING, NUMBER, BOOLEAN, SET, PATH)}


def type_of(attribute: Attribute) -> Type:
    """Return the type that a declaration gives an attribute."""
    return _DECLARED.get(attribute.type) or Type("ordered", attribute.values)


def fits(type_: Type, value: object) -> bool:
    """Whether a value can be one of a declared type."""
    if type_.values:
        return value in type_.values
    if type_ == NUMBER:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, {BOOLEAN: bool, SET: tuple}.get(type_, str))


class Schema:
    """The attributes there are, by name: built in and declared; ``terms`` hold IRIs."""

    __slots__ = ("terms", "types")

    def __init__(self, declared: Iterable[Attribute] = ()) -> None:
        said = {a.attribute: type_of(a) for a in declared}
        self.terms = TERMS.keys() - said.keys()
        self.types: dict[str, Type] = {**TERMS, **said}
        self.types.update(BUILT_IN)
