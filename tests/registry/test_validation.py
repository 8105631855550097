"""Values against schemas: each keyword as JSON Schema 2020-12 means it, in bounded time."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.checks import Findings, Scope
from registry.documents import read_one
from registry.keywords import MAKERS
from registry.schemas import SchemaChecks
from registry.validation import InvalidValue, Validator


def is_sound(schema: dict[str, Any]) -> bool:
    findings = Findings(read_one(json.dumps(schema).encode()), Scope("snac.asu.edu"))
    SchemaChecks(findings).check((), schema)
    return not findings.problems


def fits(schema: dict[str, Any], value: object) -> bool:
    try:
        Validator(schema).check(value)
    except InvalidValue:
        return False
    return True


CASES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({}, [None, 1, "a", [], {}], []),
    ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None, 1e999]),
    ({"type": "number"}, [1, 1.5], [False, "1"]),
    ({"type": "boolean"}, [True], [1, 0]),
    ({"type": "null"}, [None], [0, "", False]),
    ({"type": ["array", "object", "string"]}, [[], {}, ""], [1]),
    ({"enum": [1, "a", [True], {"a": 1}]}, [1, 1.0, "a", [True], {"a": 1.0}], [True, [1], {}]),
    ({"const": False}, [False], [0, None]),
    ({"const": 0}, [0, 0.0], [False]),
    ({"minimum": 2}, [2, 2.0, "x", True, None], [1.9, -5]),
    ({"maximum": 2}, [2], [2.1]),
    ({"exclusiveMinimum": 2}, [2.1], [2]),
    ({"exclusiveMaximum": 2}, [1.9, True], [2]),
    ({"multipleOf": 0.1}, [0.3, 1, 1e22, "x"], [0.35, 1e999]),
    ({"multipleOf": 2}, [4, 4.0, 10**400], [3, 10**400 + 1]),
    ({"minLength": 2}, ["ab", "éé", 1], ["a", ""]),
    ({"maxLength": 2}, ["ab", "\U0001f600b"], ["abc"]),
    ({"pattern": "b[0-9]"}, ["ab1", 5], ["ab", ""]),
    ({"pattern": "^a$"}, ["a"], ["a\n"]),
    ({"minItems": 1}, [[1], "", {}], [[]]),
    ({"maxItems": 1}, [[1]], [[1, 2]]),
    ({"uniqueItems": True}, [[1, True, "1", [1], [True]]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    (
        {"prefixItems": [{"type": "string"}, {"type": "number"}]},
        [["a", 1, None], ["a"], []],
        [[1], ["a", "b"]],
    ),
    ({"prefixItems": [True], "items": {"type": "string"}}, [[1, "a"], [1]], [["a", 1]]),
    ({"items": False}, [[], {}], [[1]]),
    ({"contains": {"const": 1}}, [[2, 1]], [[], [2]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[]], []),
    ({"contains": {"const": 1}, "maxContains": 1}, [[1]], [[1, 1]]),
    ({"minProperties": 1}, [{"a": 1}, []], [{}]),
    ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 2}]),
    ({"required": ["a"]}, [{"a": None}, []], [{}, {"b": 1}]),
    ({"properties": {"a": {"type": "string"}, "b": False}}, [{"a": ""}, {}], [{"a": 1}, {"b": 1}]),
    ({"patternProperties": {"^x": {"type": "string"}}}, [{"x1": "", "y": 1}], [{"x1": 1}]),
    (
        {
            "properties": {"a": True},
            "patternProperties": {"^x": True},
            "additionalProperties": False,
        },
        [{"a": 1, "x": 2}, {}],
        [{"b": 1}],
    ),
    ({"additionalProperties": {"type": "string"}}, [{"a": ""}], [{"a": 1}]),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, {"b": 1}, {}], [{"a": 1}]),
    (
        {"dependentSchemas": {"a": {"minProperties": 2}}},
        [{"a": 1, "b": 2}, {"b": 1}],
        [{"a": 1}],
    ),
    ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, [1, 3], [0, 4]),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 3], [2]),
    ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, [2, 6], [4]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    (
        {"if": {"minimum": 10}, "then": {"multipleOf": 10}, "else": {"multipleOf": 2}},
        [20, 4],
        [15, 5],
    ),
    ({"if": {"minimum": 10}, "else": False}, [10, "x"], [9]),
    ({"$ref": "#/$defs/s", "$defs": {"s": {"type": "string"}}}, ["a"], [1]),
    (
        {
            "items": {"$ref": "#/definitions/s"},
            "contains": {"$ref": "#/definitions/s"},
            "definitions": {"s": {"enum": ["a"]}},
        },
        [["a"]],
        [["a", "b"]],
    ),
    ({"format": "email", "title": "x", "x-note": 1}, ["not an email"], []),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES)
def test_each_keyword_asks_what_the_standard_says(
    schema: dict[str, Any], valid: list[Any], invalid: list[Any]
) -> None:
    assert is_sound(schema)
    assert [value for value in valid if not fits(schema, value)] == []
    assert [value for value in invalid if fits(schema, value)] == []


def test_every_keyword_is_tested() -> None:
    assert {key for schema, _, _ in CASES for key in schema} >= set(MAKERS)


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "string"}, 1, "it must be of type string"),
        (
            {"properties": {"plan": {"items": {"required": ["goal"]}}}},
            {"plan": [{"goal": 1}, {}]},
            "plan[1]: the key 'goal' is missing",
        ),
        ({"additionalProperties": False}, {"a b": 1}, '["a b"]: nothing may stand here'),
        ({"prefixItems": [{"maximum": 3}]}, [4], "[0]: it must be at most 3"),
    ],
)
def test_a_mismatch_says_where_and_what(schema: dict[str, Any], value: Any, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Validator(schema).check(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"anyOf": [{"const": str(i)} for i in range(300)]}}, ["299"] * 5000),
        ({"uniqueItems": True}, list(range(200_000))),
        ({"enum": [[1]]}, [list(range(100)) for _ in range(2000)]),
        (
            {"patternProperties": {f"^{i}": True for i in range(200)}},
            {str(i): 1 for i in range(5000)},
        ),
        ({"items": {"pattern": "^a*$"}}, ["a" * 100_000] * 100),
        ({"not": {"items": True}}, [0] * 200_000),
    ],
)
def test_no_check_takes_long(schema: dict[str, Any], value: Any) -> None:
    assert is_sound(schema)
    validator = Validator(schema)
    begun = time.process_time()
    with pytest.raises(InvalidValue, match="too long to check"):
        validator.check(value)
    assert time.process_time() - begun < 1


keys = st.sampled_from(["a", "b", "x"])
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 3),
        st.floats(allow_nan=False, allow_infinity=False),
        keys,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
schemas = st.recursive(
    st.one_of(
        st.booleans(),
        st.builds(lambda v: {"const": v}, values),
        st.sampled_from(
            [{"type": t} for t in ("string", "number", "integer", "array", "object", "null")]
        ),
        st.sampled_from([{"minimum": 1}, {"multipleOf": 0.5}, {"minLength": 1}, {"pattern": "^a"}]),
        st.sampled_from([{"uniqueItems": True}, {"required": ["a"]}, {"maxProperties": 1}]),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"properties": st.dictionaries(keys, inner, max_size=2)}),
        st.fixed_dictionaries({"additionalProperties": inner, "propertyNames": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
        st.fixed_dictionaries({"contains": inner, "dependentSchemas": st.just({"a": True})}),
        st.sampled_from(["allOf", "anyOf", "oneOf"]).flatmap(
            lambda key: st.fixed_dictionaries({key: st.lists(inner, min_size=1, max_size=3)})
        ),
    ),
    max_leaves=6,
)


@given(schemas, values)
def test_any_value_fits_a_schema_or_its_opposite(schema: Any, value: Any) -> None:
    plain = {"allOf": [schema]}
    assert is_sound(plain)
    does = fits(plain, value)
    assert fits({"not": schema}, value) is not does
    assert fits({"anyOf": [schema, False]}, value) is does
    assert fits({"oneOf": [schema, {"not": schema}]}, value)
    assert fits({"if": schema, "then": True, "else": False}, value) is does
    assert fits({"$ref": "#/$defs/s", "$defs": {"s": schema}}, value) is does
    assert fits({"items": schema, "minItems": 1}, [value, value]) is does
    assert fits({"additionalProperties": schema}, {"a": value}) is does
    assert fits({"enum": [value]}, json.loads(json.dumps(value)))
