"""Matching of services: the degrees, the best assignment, the filters; beside brute force."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.discovery.matching import (
    Degree,
    Match,
    Pair,
    Taxonomy,
    Wanted,
    assign,
    degree_of,
    match,
    order_of,
)
from registry.model import Profile, ServiceLevel

EDGES = {
    "Sensor": {"Point"},
    "Setpoint": {"Point"},
    "Temperature": {"Sensor"},
    "Humidity": {"Sensor"},
    "Temp": {"Temperature"},  # two names of one class
    "AirTemperature": {"Temperature", "Sensor"},
    "Point": {"http://www.w3.org/2002/07/owl#Thing"},
    "Room": {"http://www.w3.org/2002/07/owl#Thing"},
}
EDGES["Temperature"].add("Temp")


def closed(edges: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    """What is above each class, by following edges until nothing is new."""
    above = {term: {term} for term in edges} | {
        term: {term} for wider in edges.values() for term in wider
    }
    changed = True
    while changed:
        changed = False
        for term, reached in above.items():
            fresh = {w for each in reached for w in edges.get(each, ())} - reached
            changed = changed or bool(fresh)
            above[term] |= fresh
    return {term: frozenset(reached) for term, reached in above.items()}


TABLE = closed(EDGES)


def taxonomy(table: dict[str, frozenset[str]]) -> Taxonomy:
    return Taxonomy(lambda term: table.get(term, frozenset({term})))


CLASSES = taxonomy(TABLE)


@pytest.mark.parametrize(
    ("there", "needed", "degree"),
    [
        ("Sensor", "Sensor", Degree.EXACT),
        ("Temp", "Temperature", Degree.EXACT),
        ("AirTemperature", "Point", Degree.PLUGIN),
        ("Point", "Temperature", Degree.SUBSUMES),
        ("Temperature", "Humidity", Degree.SIBLING),
        ("Sensor", "Setpoint", Degree.SIBLING),
        ("AirTemperature", "Humidity", Degree.FAIL),  # its direct parent is Temperature alone
        ("Point", "Room", Degree.FAIL),  # all that they share is owl:Thing
        ("Unknown", "Room", Degree.FAIL),
    ],
)
def test_degrees(there: str, needed: str, degree: Degree) -> None:
    assert degree_of(there, needed, CLASSES) is degree


def test_a_direct_parent_has_nothing_between() -> None:
    assert CLASSES.parents("AirTemperature") == {"Temperature", "Temp"}
    assert CLASSES.parents("Point") == set()


def test_not_every_class_that_somebody_asks_for_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.discovery.matching.REMEMBERED", 1)
    classes = taxonomy(TABLE)
    for _ in range(2):
        assert classes.parents("Humidity") == classes.parents("AirTemperature") - {
            "Temperature",
            "Temp",
        } | {"Sensor"}


def test_the_worst_pair_is_as_good_as_it_can_be() -> None:
    needed = {"a": "Sensor", "b": "Temperature"}
    # Greedily "a" would take the exact Sensor's rival; the only good way is crosswise.
    there = {"x": "Temperature", "y": "AirTemperature"}
    assert assign(needed, there, CLASSES) == (
        Pair("a", "y", Degree.PLUGIN),
        Pair("b", "x", Degree.EXACT),
    )
    assert assign({"a": "Sensor", "b": "Sensor"}, {"x": "Sensor"}, CLASSES) is None
    assert assign({}, there, CLASSES) == ()


PROFILE = Profile(
    category="Temperature",
    inputs={"where": "Room"},
    outputs={"value": "AirTemperature"},
    preconditions=("Sensor",),
    effects=("Temperature",),
    level=ServiceLevel(latency=50, availability=0.99, rate=10),
)


@pytest.mark.parametrize(
    ("wanted", "degree"),
    [
        (Wanted({"r": "Room"}, {"t": "AirTemperature"}, ("Sensor",)), Degree.EXACT),
        (Wanted({"r": "Room"}, {"t": "Temperature"}, ("Temp",)), Degree.PLUGIN),
        (Wanted({"r": "Room"}, {}, ("Sensor",), category="Sensor"), Degree.EXACT),
        (Wanted({"r": "Room"}, {}, ("Sensor",), category="Humidity"), None),
        (Wanted({}, {"t": "Temperature"}, ("Sensor",)), None),  # an input is missing
        (Wanted({"r": "Room"}, {"t": "Room"}, ("Sensor",)), None),
        (Wanted({"r": "Room"}, {}, ("Point",)), None),  # wider than what is needed
        (Wanted({"r": "Room"}, {}, ("Sensor",), ("Point",)), Degree.EXACT),
        (Wanted({"r": "Room"}, {}, ("Sensor",), ("Humidity",)), None),
        (Wanted({"r": "Room"}, {}, ("Sensor",), level=ServiceLevel(50, 0.9, 10)), Degree.EXACT),
        (Wanted({"r": "Room"}, {}, ("Sensor",), level=ServiceLevel(49)), None),
        (Wanted({"r": "Room"}, {}, ("Sensor",), level=ServiceLevel(availability=1)), None),
        (Wanted({"r": "Room"}, {}, ("Sensor",), level=ServiceLevel(rate=11)), None),
        (Wanted({"r": "Room"}, {"t": "Temp"}, ("Sensor",), least=Degree.EXACT), None),
    ],
)
def test_a_service_is_as_good_as_its_worst_pair(wanted: Wanted, degree: Degree | None) -> None:
    found = match(PROFILE, wanted, CLASSES)
    assert (found and found.degree) == degree


def test_what_promises_no_latency_meets_none() -> None:
    assert match(Profile(), Wanted(level=ServiceLevel(latency=1000)), CLASSES) is None


def test_better_promises_come_first_among_equals() -> None:
    plugin, exact = Match(Degree.PLUGIN, (), ()), Match(Degree.EXACT, (), ())
    fast, slow, silent = ServiceLevel(10), ServiceLevel(20), ServiceLevel()
    keys = [
        order_of(exact, fast, "z"),
        order_of(exact, slow, "a"),
        order_of(exact, silent, "a"),
        order_of(plugin, fast, "a"),
        order_of(plugin, fast, "b"),
    ]
    assert keys == sorted(keys)
    assert Degree.PLUGIN.word == "plugin"


# Beside brute force

LETTERS = "ABCDEFGH"
taxonomies = st.dictionaries(
    st.sampled_from(LETTERS), st.sets(st.sampled_from(LETTERS), max_size=3), max_size=8
).map(closed)
classes = st.sampled_from(LETTERS)
parameters = st.lists(classes, max_size=4).map(lambda all_: dict(zip("pqrs", all_, strict=False)))


def naive_degree(there: str, needed: str, table: dict[str, frozenset[str]]) -> int:
    def within(a: str, b: str) -> bool:
        return b in table.get(a, frozenset({a}))

    def strictly(a: str, b: str) -> bool:
        return within(a, b) and not within(b, a)

    if within(there, needed) and within(needed, there):
        return 4
    if within(there, needed):
        return 3
    if within(needed, there):
        return 2
    for up in LETTERS:
        if all(
            strictly(one, up)
            and not any(strictly(one, mid) and strictly(mid, up) for mid in LETTERS)
            for one in (there, needed)
        ):
            return 1
    return 0


def naive_best(
    needed: dict[str, str], there: dict[str, str], table: dict[str, frozenset[str]]
) -> int:
    """The best worst degree of all ways to assign; 5 when nothing is needed, 0 for no way."""
    return max(
        (
            min(
                (naive_degree(there[o], c, table) for o, c in zip(way, needed.values())),  # noqa: B905
                default=5,
            )
            for way in permutations(there, len(needed))
        ),
        default=0,
    )


@given(taxonomies, parameters, parameters)
def test_assignments_agree_with_brute_force(
    table: dict[str, frozenset[str]], needed: dict[str, str], there: dict[str, str]
) -> None:
    found = assign(needed, there, taxonomy(table))
    best = naive_best(needed, there, table)
    if found is None:
        assert best == 0
        return
    assert min((pair.degree for pair in found), default=5) == best
    assert [pair.needed for pair in found] == sorted(needed)
    assert len({pair.there for pair in found}) == len(needed)
    for pair in found:
        assert pair.degree == naive_degree(there[pair.there], needed[pair.needed], table)


@given(taxonomies, parameters, parameters, parameters, parameters, st.lists(classes, max_size=2))
def test_services_agree_with_brute_force(
    table: dict[str, frozenset[str]],
    gives: dict[str, str],
    wants: dict[str, str],
    takes: dict[str, str],
    makes: dict[str, str],
    terms: list[str],
) -> None:
    profile = Profile(inputs=takes, outputs=makes, preconditions=tuple(terms[:1]))
    wanted = Wanted(gives, wants, tuple(terms[1:]))
    met = all(any(p in table.get(f, {f}) for f in terms[1:]) for p in terms[:1])
    best = min(naive_best(wants, makes, table), naive_best(takes, gives, table))
    found = match(profile, wanted, taxonomy(table))
    assert (0 if found is None else found.degree) == (min(best, 4) if met else 0)
