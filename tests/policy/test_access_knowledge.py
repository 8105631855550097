"""Attributes of names, whose word they are, and which of them count."""

import pytest

from policy.access.index import AccessIndex
from policy.access.knowledge import Claim, Fact, Known, alone
from policy.conditions.condition import InvalidCondition, parse
from policy.conditions.kinds import Schema
from policy.language import parse_manifests
from policy.model import (
    AccessPolicy,
    Action,
    Assertion,
    Attribute,
    ObjectAttributes,
    Principal,
    Role,
    Subject,
)
from registry.documents import InvalidDocument
from registry.names import Name

NAME = Name("s/Room/door")
ANN = Principal("user:ann", "person")
MAKER = Principal("service:doors", "service")
OTHER = Principal("service:other", "service")
DOOR, GATE, HALL, HOUSE = "urn:x:Door", "urn:x:Gate", "urn:x:hall", "urn:x:house"
ABOVE = {GATE: frozenset({GATE, DOOR}), HALL: frozenset({HALL, HOUSE})}


def above(_: str, value: str) -> frozenset[str]:
    return ABOVE.get(value, frozenset({value}))


def claim(attribute: str, value: str, owner: Principal = MAKER) -> Claim:
    return Claim(attribute, value, owner)  # type: ignore[arg-type]


def index(when: str, *claims: Claim, stated: tuple[tuple[str, str], ...] = ()) -> AccessIndex:
    known = Known({"kind": "method"}, stated, claims, above)  # type: ignore[arg-type]
    built = AccessIndex("s", facts_of=lambda _: known)
    built.put(
        "AccessPolicy", "a", AccessPolicy("allow", (Subject(),), (Action.CALL,), ("**",), (), when)
    )
    return built


def asserting(*attributes: str, who: Subject = Subject(), **more) -> Assertion:  # noqa: B008
    return Assertion((who,), ("**",), attributes, **more)  # type: ignore[arg-type]


def may(built: AccessIndex) -> bool:
    return built.check(ANN, Action.CALL, NAME, "").allowed


def facts(built: AccessIndex) -> dict[tuple[str, str, str], str]:
    return {
        (f.source, f.attribute, str(f.value)): f.why if not f.counts else "counts"
        for f in built.circumstances.explain(NAME)
    }


def test_a_claim_counts_only_where_a_policy_lets_its_owner_say_so():
    built = index(f"object.types contains '{DOOR}'", claim("type", GATE))
    assert not may(built)
    assert facts(built)["claim", "type", GATE] == "no Assertion lets its owner say so"
    built.put("Assertion", "doors", asserting("type"))
    assert may(built)
    assert facts(built)["claim", "type", GATE] == "counts"
    assert Fact("type", GATE, "claim", MAKER.id, True, "Assertion/doors") in (
        built.circumstances.explain(NAME)
    )
    built.remove("Assertion", "doors")
    assert not may(built)


@pytest.mark.parametrize(
    ("assertion", "counts"),
    [
        (asserting("type", who=Subject(MAKER.id)), True),
        (asserting("type", who=Subject(OTHER.id)), False),
        (asserting("type", who=Subject("*", "service")), True),
        (asserting("type", who=Subject("*", "device")), False),
        (asserting("place"), False),
        (asserting("type", values=(GATE,)), True),
        (asserting("type", values=(DOOR,)), False),
        (asserting("type", under=(DOOR,)), True),
        (asserting("type", under=(HOUSE,)), False),
        (asserting("type", values=(DOOR,), under=(DOOR,)), True),
        (Assertion((Subject(),), ("Room/*",), ("type",)), True),
        (Assertion((Subject(),), ("Hall/**",), ("type",)), False),
    ],
)
def test_an_assertion_says_who_may_say_what_of_which_names(assertion, counts):
    built = index(f"object.type == '{GATE}'", claim("type", GATE))
    built.put("Assertion", "a", assertion)
    assert may(built) is counts


def test_roles_may_be_let_say_things():
    built = index(f"object.type == '{GATE}'", claim("type", GATE))
    built.put("Assertion", "a", asserting("type", who=Subject(role="makers")))
    assert not may(built)
    built.put("Role", "makers", Role((Subject(MAKER.id),)))
    assert may(built)
    built.remove("Role", "makers")
    assert not may(built)


def test_what_operators_state_is_not_for_services_to_say():
    places = f"object.places contains '{HOUSE}'"
    built = index(places, claim("place", HALL), stated=(("place", "urn:x:yard"),))
    built.put("Assertion", "a", asserting("place"))
    assert not may(built)
    assert facts(built)["claim", "place", HALL] == "an operator states it"
    assert facts(built)["operator", "place", "urn:x:yard"] == "counts"
    built.put("ObjectAttributes", "o", ObjectAttributes(("**",), {"place": HALL}))
    assert may(built)
    assert facts(built)["operator", "place", "urn:x:yard"] == "a policy states otherwise"
    assert facts(built)["claim", "place", HALL] == "an operator states it"
    built.remove("ObjectAttributes", "o")
    assert not may(built)


def test_classes_of_ontologies_and_of_claims_are_joined_and_places_are_not():
    built = index(
        f"object.types contains '{DOOR}' and object.type == 'urn:x:Thing'",
        claim("type", GATE),
        claim("place", HALL),
        claim("place", "urn:x:yard", OTHER),
        claim("category", "urn:x:Opening"),
        stated=(("type", "urn:x:Thing"),),
    )
    built.put("Assertion", "a", asserting("type", "place", "category"))
    assert may(built)
    attributes = built.circumstances.object(NAME)
    assert attributes["place"] == HALL
    assert attributes["places"] == (HALL, HOUSE)
    assert attributes["categories"] == ("urn:x:Opening",)
    assert attributes["kind"] == "method"
    assert facts(built)["claim", "place", "urn:x:yard"] == "another claim came first"
    assert facts(built)["registry", "kind", "method"] == "counts"


def test_a_policy_states_with_prefixes_and_may_state_several_or_the_whole_set():
    brick = "https://brickschema.org/schema/Brick#"
    built = index("object.types contains 'brick:VAV'")
    built.put("ObjectAttributes", "o", ObjectAttributes(("**",), {"type": "brick:VAV"}))
    assert may(built)
    built.put("ObjectAttributes", "o", ObjectAttributes(("**",), {"type": ("a:b", "brick:VAV")}))
    assert built.circumstances.object(NAME)["types"] == ("a:b", brick + "VAV")
    built.put("ObjectAttributes", "o", ObjectAttributes(("**",), {"types": (brick + "VAV",)}))
    assert may(built)
    built.put("ObjectAttributes", "o", ObjectAttributes(("**",), {"place": "clinic/east"}))
    assert built.circumstances.object(NAME)["places"] == ("clinic/east",)


def test_where_there_is_no_ontology_a_term_is_above_itself_only():
    assert alone("type", DOOR) == {DOOR}
    built = AccessIndex("s")
    assert built.circumstances.object(NAME) == {}


def test_what_was_known_can_be_forgotten():
    built = index(f"object.type == '{GATE}'", claim("type", GATE))
    built.put("Assertion", "a", asserting("type"))
    assert may(built)
    built.circumstances.facts_of = lambda _: Known()
    built.circumstances.forget()
    built.forget()
    assert not may(built)


# --- terms in conditions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        "object.type == 'brick:VAV'",
        "'brick:VAV' == object.type",
        "object.types contains 'brick:VAV'",
        "'brick:VAV' in object.types",
        "object.type in {'brick:VAV', 'brick:AHU'}",
        "not (object.type != 'brick:VAV' or false)",
        "has object.type and object.type == 'https://brickschema.org/schema/Brick#VAV'",
    ],
)
def test_a_prefix_stands_for_its_iri(when):
    built = index(when, stated=(("type", "https://brickschema.org/schema/Brick#VAV"),))
    assert may(built)


@pytest.mark.parametrize("when", ["object.type == 'VAV'", "'x' in object.places or true"])
def test_a_text_that_can_be_no_term_is_refused(when):
    with pytest.raises(InvalidCondition, match="no IRI") as caught:
        parse(when, Schema())
    assert when[caught.value.offset] == "'"


def test_who_declares_such_an_attribute_gives_it_another_meaning():
    schema = Schema([Attribute("object.place", "path")])
    assert parse("object.place == 'clinic'", schema).reads == {"object.place"}
    assert parse("object.place == object.category", Schema()).reads
    assert parse("object.type startsWith 'https:'", Schema()).reads


# --- the manifest ------------------------------------------------------------------------------


def manifest(spec: str) -> bytes:
    return (
        '{"apiVersion": "hilum/v1", "kind": "Assertion", "metadata": {"name": "a"}, "spec": {'
        '"subjects": [{"kind": "device"}], "names": ["Room/**"], ' + spec + "}}"
    ).encode()


def test_an_assertion_is_read_with_whole_names_and_iris():
    text = '"attributes": ["type", "place"], "values": ["brick:VAV"], "under": ["urn:x:hall"]'
    (found,) = parse_manifests(manifest(text), "application/json", "s")
    assert isinstance(found.spec, Assertion)
    assert found.spec.names == ("s/Room/**",)
    assert found.spec.values == ("https://brickschema.org/schema/Brick#VAV",)
    assert found.spec.under == ("urn:x:hall",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('"attributes": ["owner"]', "attributes"),
        ('"attributes": []', "attributes"),
        ('"attributes": ["type"], "values": ["VAV"]', "spec.values"),
        ('"attributes": ["type"], "under": ["nowhere"]', "spec.under"),
    ],
)
def test_what_is_wrong_with_an_assertion_is_told(spec, message):
    with pytest.raises(InvalidDocument) as caught:
        parse_manifests(manifest(spec), "application/json", "s")
    assert message in str(caught.value.problems[0])
