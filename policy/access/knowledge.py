"""What is known of a name, by whom: an operator, the registry, or its own service. Pure.

A service's word (a claim) counts only where an ``Assertion`` lets its owner say so, and never
against what an operator states.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from policy.model import Assertion, Principal, Value
from registry.terms import expand

Source: TypeAlias = Literal["operator", "registry", "claim"]
Key: TypeAlias = Literal["type", "place", "category"]
SETS: Final[Mapping[Key, str]] = {"type": "types", "place": "places", "category": "categories"}
"""The set of all that is above an attribute's values, by attribute."""


class Claim(NamedTuple):
    """What a service says of its own name, and whose it is."""

    attribute: Key
    value: str
    owner: Principal


def alone(_: str, value: str) -> frozenset[str]:
    """Know nothing that is above a term: there is no ontology here."""
    return frozenset({value})


class Known(NamedTuple):
    """What is known of a name beside policies: ``stated`` by ontologies that operators loaded.

    ``above`` returns the classes or places above a value of an attribute, itself included.
    """

    registry: Mapping[str, Value] = {}
    stated: tuple[tuple[Key, str], ...] = ()
    claims: tuple[Claim, ...] = ()
    above: Callable[[str, str], frozenset[str]] = alone


class Fact(NamedTuple):
    """An attribute of a name as it is explained: ``by`` says who says so, ``why`` if it counts."""

    attribute: str
    value: Value
    source: Source
    by: str
    counts: bool
    why: str = ""


Allows: TypeAlias = Callable[[Claim, frozenset[str]], str]
"""Returns the policy by which a claim counts, "" for none; given what is above its value."""


def merged(
    known: Known, statements: Iterable[tuple[str, Mapping[str, Value]]], allows: Allows
) -> tuple[dict[str, Value], list[Fact]]:
    """Return the attributes of a name, and how each is known.

    ``statements`` are what operators state, policy name and attributes, the wider ones first.
    """
    said: dict[str, tuple[Value, str]] = {}
    for policy, attributes in statements:
        said.update({key: (value, policy) for key, value in attributes.items()})
    values: dict[str, Value] = {key: value for key, (value, _) in said.items()}
    facts = [Fact(k, v, "operator", f"ObjectAttributes/{p}", True) for k, (v, p) in said.items()]
    for key, all_of in SETS.items():
        found = _values(key, known, values.get(key), facts, allows)
        if found:
            values.setdefault(key, found[0])
            above = {term for value in found for term in known.above(key, value)}
            values.setdefault(all_of, tuple(sorted(above)))
    values.update(known.registry)
    facts += [Fact(k, v, "registry", "", True) for k, v in known.registry.items()]
    return values, facts


def _values(
    key: Key, known: Known, policy: Value | None, facts: list[Fact], allows: Allows
) -> list[str]:
    """Return the values of an attribute that count, the most trusted first."""
    found: dict[str, None] = {}
    if policy is not None:
        each = policy if isinstance(policy, tuple) else (str(policy),)
        found.update(dict.fromkeys(map(_iri, each)))
    for name, value in known.stated:
        if name == key:
            wins = policy is None
            why = "" if wins else "a policy states otherwise"
            facts.append(Fact(key, value, "operator", "ontology", wins, why))
            if wins:
                found[value] = None
    is_stated = bool(found) and (policy is not None or key == "place")
    for claim in known.claims:
        if claim.attribute != key:
            continue
        by = allows(claim, known.above(key, claim.value))
        counts = bool(by) and not is_stated and not (key == "place" and found)
        why = by if counts else _why(by, is_stated=is_stated)
        facts.append(Fact(key, claim.value, "claim", claim.owner.id, counts, why))
        if counts:
            found[claim.value] = None
    return list(found)


def _why(by: str, *, is_stated: bool) -> str:
    if is_stated:
        return "an operator states it"
    return "another claim came first" if by else "no Assertion lets its owner say so"


def covers(policy: Assertion, claim: Claim, above: frozenset[str]) -> bool:
    """Whether a policy lets a value of an attribute be claimed, whoever claims it."""
    if claim.attribute not in policy.attributes:
        return False
    if not policy.values and not policy.under:
        return True
    return claim.value in policy.values or not above.isdisjoint(policy.under)


def _iri(text: str) -> str:
    try:
        return expand(text)
    except ValueError:
        return text
