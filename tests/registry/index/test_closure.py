"""What ontologies imply."""

from hypothesis import given
from hypothesis import strategies as st

from registry.index.closure import (
    EQUIVALENT_CLASS,
    EQUIVALENT_PROPERTY,
    INVERSE,
    PART_OF,
    PLACE,
    SUBCLASS,
    SUBPROPERTY,
    SYMMETRIC,
    TYPE,
    WITHIN,
    Closure,
)

MODEL = [
    ("x:Co2", SUBCLASS, "x:Gas"),
    ("x:Gas", SUBCLASS, "x:Sensor"),
    ("x:Sensor", EQUIVALENT_CLASS, "y:Sensor"),
    ("x:Gas", SUBCLASS, "_:restriction"),
    ("_:restriction", SUBCLASS, "x:Never"),
    ("x:isPartOf", SUBPROPERTY, PART_OF),
    ("x:hasPart", INVERSE, "x:isPartOf"),
    ("x:contains", EQUIVALENT_PROPERTY, "x:hasPart"),
    ("x:location", SUBPROPERTY, PLACE),
    ("x:locationOf", INVERSE, "x:location"),
    ("x:beside", TYPE, SYMMETRIC),
    ("p:room", "x:isPartOf", "p:floor"),
    ("p:site", "x:contains", "p:floor"),
    ("p:room", "x:beside", "p:hall"),
    ("p:room", "x:locationOf", "d:one"),
    ("d:two", "x:location", "p:hall"),
    ("d:one", TYPE, "x:Co2"),
    ("_:b", "x:isPartOf", "p:floor"),
    ("p:room", "x:isPartOf", "_:b"),
]


def test_classes_contain_each_other_over_any_distance():
    closure = Closure(MODEL)
    assert closure.superclasses("x:Co2") == {"x:Co2", "x:Gas", "x:Sensor", "y:Sensor"}
    assert closure.superclasses("y:Sensor") == {"x:Sensor", "y:Sensor"}
    assert closure.superclasses("z:Other") == {"z:Other"}
    assert closure.superclasses("x:Co2") is closure.superclasses("x:Co2")


def test_cycles_end():
    closure = Closure([("a:A", SUBCLASS, "a:B"), ("a:B", SUBCLASS, "a:A")])
    assert closure.superclasses("a:A") == closure.superclasses("a:B") == {"a:A", "a:B"}


def test_places_are_part_of_each_other_by_whatever_property_says_so():
    closure = Closure(MODEL)
    assert closure.above("p:room") == {"p:room", "p:floor", "p:site"}
    assert closure.places_of("d:one") == {"p:room"}
    assert closure.places_of("d:two") == {"p:hall"}
    assert closure.places_of("d:three") == frozenset()
    assert closure.types_of("d:one") == {"x:Co2"}


def test_properties_imply_wider_and_inverse_ones():
    closure = Closure(MODEL)
    assert closure.meaning("x:contains").backward >= {"x:isPartOf", PART_OF}
    assert ("p:hall", "x:beside", "p:room") in closure.consequences([MODEL[13]])


def test_what_is_implied_is_told_once_for_the_whole_model():
    implied = set(Closure(MODEL).implied(MODEL))
    assert ("x:Co2", SUBCLASS, "y:Sensor") in implied
    assert ("x:isPartOf", SUBPROPERTY, PART_OF) in implied
    assert ("d:one", TYPE, "x:Sensor") in implied
    assert ("p:room", PART_OF, "p:site") in implied
    assert ("d:one", WITHIN, "p:site") in implied
    assert not any("x:Never" in triple for triple in implied)


def test_it_is_known_of_what_an_ontology_speaks():
    closure = Closure(MODEL)
    assert closure.speaks_of("d:one")
    assert not closure.speaks_of("d:three")


TERMS = st.sampled_from([f"t:{number}" for number in range(7)])


@given(st.lists(st.tuples(TERMS, TERMS), max_size=14))
def test_it_agrees_with_a_closure_that_anybody_can_check(pairs):
    reach = {(a, b) for a, b in pairs} | {(t, t) for pair in pairs for t in pair}
    while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
        reach |= more
    classes = Closure([(a, SUBCLASS, b) for a, b in pairs])
    places = Closure([(a, PART_OF, b) for a, b in pairs])
    for term in {t for pair in pairs for t in pair}:
        expected = {b for a, b in reach if a == term}
        assert classes.superclasses(term) == places.above(term) == expected
