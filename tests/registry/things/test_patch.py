"""Merge patches (RFC 7396)."""

import json

import pytest

from registry.things.patch import merge, patched
from registry.things.problems import InvalidThing

# The table of RFC 7396, appendix A.
CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), CASES)
def test_merging(target: object, patch: object, result: object):
    before = json.dumps(target)
    assert merge(target, patch) == result
    assert json.dumps(target) == before


def test_a_submitted_text_is_patched():
    found = patched('{"title": "Lämp", "x:y": 1}', b'{"x:y": null, "title": "L\xc3\xa4mpe"}')
    assert json.loads(found) == {"title": "Lämpe"}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (b"[]", "a merge patch of a description is a JSON object"),
        (b'{"a": 1, "a": 2}', "is there twice"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "levels of nesting"),
        (b'"' + b"x" * 1_048_576 + b'"', "more than the 1048576 allowed"),
    ],
)
def test_patches_that_are_refused(patch: bytes, message: str):
    with pytest.raises(InvalidThing, match=message):
        patched("{}", patch)
