"""Schemas of methods and channels: the subset that is understood, and what bounds it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.checks import Findings, Scope
from registry.documents import read_one
from registry.schemas import SchemaChecks


def problems(*schemas: Any) -> list[str]:
    document = read_one(json.dumps(schemas).encode())
    findings = Findings(document, Scope("snac.asu.edu"))
    checks = SchemaChecks(findings)
    for index, schema in enumerate(schemas):
        checks.check((index,), schema)
    return [str(problem) for problem in findings.problems]


FULL: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Plan",
    "@type": "qudt:Thing",
    "x-unit": "kg",
    "qudt:unit": "kg",
    "type": ["object", "null"],
    "properties": {
        "goal": {"type": "number", "minimum": 30, "exclusiveMaximum": 300, "multipleOf": 0.5},
        "name": {"type": "string", "minLength": 1, "maxLength": 40, "pattern": "^[a-z]+$"},
        "days": {
            "type": "array",
            "prefixItems": [{"const": 1}, True],
            "items": {"enum": ["a", 1, None]},
            "contains": {"type": "string"},
            "minContains": 1,
            "uniqueItems": True,
            "maxItems": 7,
        },
        "pattern": {"$ref": "#/$defs/text"},
    },
    "patternProperties": {"^x_": {"type": "string", "format": "date"}},
    "propertyNames": {"maxLength": 20},
    "additionalProperties": False,
    "required": ["goal"],
    "dependentRequired": {"name": ["goal"]},
    "dependentSchemas": {"days": {"minProperties": 2}},
    "allOf": [{"if": {"required": ["name"]}, "then": True, "else": {"not": {"maxProperties": 1}}}],
    "anyOf": [{"type": "object"}, {"$ref": "#/definitions/nothing"}],
    "$defs": {"text": {"type": "string", "default": {"$ref": "http://not.a/reference"}}},
    "definitions": {"nothing": {"type": "null"}},
}


def test_the_subset_is_understood() -> None:
    assert problems(FULL, {}, {"properties": {}}) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properti": {}}, "([0].properti): this keyword of schemas is not understood; did you"),
        ({"zzzzzzz": {}}, "write it into the description"),
        ({"$dynamicRef": "#x"}, "is not understood"),
        ({"$id": "http://x"}, "is not understood"),
        ({"type": "int"}, "type is one or a list of array, boolean"),
        ({"type": []}, "type is one"),
        ({"type": [["string"]]}, "type is one"),
        ({"enum": []}, "enum is a list of values"),
        ({"required": "a"}, "required is a list of strings"),
        ({"required": [1]}, "required is a list of strings"),
        ({"dependentRequired": {"a": "b"}}, "an object of lists of strings"),
        ({"minimum": "1"}, "minimum is a number"),
        ({"maximum": True}, "maximum is a number"),
        ({"multipleOf": 0}, "multipleOf is a number above 0"),
        ({"minItems": -1}, "minItems is a whole number from 0"),
        ({"minItems": 1.5}, "minItems is a whole number from 0"),
        ({"uniqueItems": 1}, "uniqueItems is true or false"),
        ({"pattern": 1}, "pattern is a string"),
        ({"pattern": "a+"}, "must begin with '^'"),
        ({"patternProperties": {"(": True}}, "without its ')'"),
        ({"patternProperties": []}, "patternProperties is an object of schemas"),
        ({"allOf": []}, "allOf is a list of schemas"),
        ({"anyOf": {}}, "anyOf is a list of schemas"),
        ({"items": []}, "a schema is an object, true or false"),
        ({"properties": {"a": 1}}, "([0].properties.a): a schema is an object, true or false"),
        ({"not": {"not": {"typ": 1}}}, "[0].not.not.typ"),
        ({"allOf": [{"$ref": 1}]}, "$ref is a string"),
        ({"$ref": "http://evil/"}, "'http://evil/' cannot be followed"),
        ({"$ref": "#"}, "cannot be followed"),
        ({"$ref": "#/properties/a"}, "cannot be followed"),
        ({"$ref": "#/$defs/a"}, "there is no definition #/$defs/a"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "leads back to itself"),
        (
            {
                "$defs": {
                    "a": {"items": {"$ref": "#/$defs/b"}},
                    "b": {"not": {"$ref": "#/$defs/a"}},
                },
                "$ref": "#/$defs/a",
            },
            "leads back to itself",
        ),
    ],
)
def test_each_mistake_is_refused_with_its_place(schema: Any, said: str) -> None:
    (problem,) = problems(schema)
    assert said in problem


def test_schemas_are_bounded() -> None:
    assert "bytes, more than 16384" in problems({"title": "x" * 16_384})[0]
    deep: dict[str, Any] = {}
    for _ in range(16):
        deep = {"not": deep}
    assert "more than 16 schemas within each other" in problems(deep)[0]
    doubling: dict[str, Any] = {"a0": {}}
    for level in range(40):
        doubling[f"a{level + 1}"] = {"allOf": [{"$ref": f"#/$defs/a{level}"}] * 2}
    (problem,) = problems({"$defs": doubling, "$ref": "#/$defs/a40"})
    assert "schemas after references are followed, more than 2000" in problem
    many = {"properties": {f"p{i}": {"pattern": "^a"} for i in range(200)}}
    assert problems(many) == []
    assert "more than 256 patterns" in problems(many, many)[0]


KEYS = ("type", "properties", "items", "allOf", "$ref", "$defs", "pattern", "required", "enum")
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2),
    st.sampled_from(["string", "object", "#/$defs/a", "^a+$", "a", *KEYS]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*KEYS, "a", "not", "anyOf"]), inner, max_size=4),
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from([*KEYS, "a", "not", "anyOf"]), values, max_size=5))
def test_any_value_is_accepted_or_refused(schema: dict[str, Any]) -> None:
    for problem in problems(schema):
        assert problem.startswith("line 1, column ")
