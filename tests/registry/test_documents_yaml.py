"""YAML documents: the safe subset, as strict as JSON, with positions in the YAML itself."""

import json
import time

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from registry.documents import InvalidDocument, decode, read, yaml_to_json

YAML_TYPE = "application/yaml"


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    allow: list[str] = []
    weight: int = 1


class Policy(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    rules: dict[str, Rule] = {}


def values(text: str) -> list[object]:
    return [value for value, _ in yaml_to_json(text.encode())]


def message(data: str | bytes, type_: object = Policy) -> str:
    with pytest.raises(InvalidDocument) as caught:
        decode(data.encode() if isinstance(data, str) else data, type_, media_type=YAML_TYPE)
    return str(caught.value)


def test_a_manifest():
    text = """\
# Who may call what.
kind: AccessPolicy
rules:
  nurses: {allow: [call, "describe"], weight: 2}
  'on call':
    allow:
    - call   # at night
    - >-
      sub
      scribe
"""
    policy = decode(text.encode(), Policy, media_type="application/yaml; charset=utf-8")
    assert policy == Policy(
        "AccessPolicy",
        {"nurses": Rule(["call", "describe"], 2), "on call": Rule(["call", "sub scribe"])},
    )


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ('""', ""),
        ("'null'", "null"),
        ("12", 12),
        ("-0012", -12),
        ("+3", 3),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("12e03", 12000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".", "."),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("=", "="),
        ("<<", "<<"),
        ("1.2.3", "1.2.3"),
        ('"\\u00fc\\U0001FAC0"', "ü🫀"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_scalars_follow_yaml_1_2(scalar, value):
    (found,) = values(f"a: {scalar}\n")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_several_documents():
    text = "a: 1\n---\n# nothing\n---\n- b\n...\n---\nnull\n---\n"
    assert values(text) == [{"a": 1}, ["b"], None]
    assert values("") == []
    assert values("# nothing\n") == []
    assert values("%YAML 1.2\n---\non") == ["on"]
    documents = read(text.encode(), media_type=YAML_TYPE)
    assert documents[1].decode(list[str]) == ["b"]
    assert str(documents[1].problem((0,), "wrong")) == "line 5, column 3 ([0]): wrong"


TYPE_ERRORS = [
    ("kind: a\nrules:\n  x: {}\n  y:\n    weigth: 2\n",
     'line 5, column 5 (rules.y): unknown key "weigth"; did you mean "weight"?'),
    ("kind: a\nrules:\n  x:\n    weight: on\n",
     "line 4, column 13 (rules.x.weight): expected integer, got string"),
    ("kind: a\nrules:\n  x:\n    allow: [a,\n      1]\n",
     "line 5, column 7 (rules.x.allow[1]): expected string, got integer"),
    ("\nrules: {}\n", 'line 2, column 1: missing key "kind"'),
    ("kind:\n", "line 1, column 1 (kind): expected string, got null"),
    ("kind: a\n---\nkind: b\n", "line 3, column 1: a second document; send one at a time"),
    ("# nothing", "line 1, column 1: the document is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TYPE_ERRORS)
def test_type_errors_say_where(text, expected):
    assert message(text) == expected


REFUSED = [
    ("a: 1\nb: 2\na: 3\n", 'line 3, column 1: the key "a" is there twice; keep one of the two'),
    ('a:\n  b: 1\n  "b": 2\n', 'line 3, column 3 (a): the key "b" is there twice'),
    ("a: &x 1\n", "line 1, column 4 (a): anchors and aliases are not allowed"),
    ("a: *x\n", "line 1, column 4 (a): anchors and aliases are not allowed"),
    ("&x a: 1\n", "line 1, column 1: anchors and aliases are not allowed"),
    ("- &x [*x]\n", "line 1, column 3 ([0]): anchors and aliases are not allowed"),
    ("a: !!python/object:os.system x\n", "line 1, column 4 (a): the tag"),
    ("a: !secret\n  b: 1\n", "line 1, column 4 (a): the tag \"!secret\" is not allowed"),
    ("!!str a: 1\n", "line 1, column 1: the tag"),
    ("a: ! 1\n", "line 1, column 4 (a): the tag \"!\" is not allowed"),
    ("1: a\n", "line 1, column 1: a key must be a string; put it in quotes"),
    ("a: {true: 1}\n", "line 1, column 5 (a): a key must be a string"),
    ("? [a]\n: 1\n", "line 1, column 3: a key must be a string"),
    (": 1\n", "line 1, column 1: a key must be a string"),
    ("a: .inf\n", "line 1, column 4 (a): .inf is no JSON number"),
    ("a: -.Inf\n", "line 1, column 4 (a): -.Inf is no JSON number"),
    ("- .NaN\n", "line 1, column 3 ([0]): .NaN is no JSON number"),
    ("- 1e999\n", "line 1, column 3 ([0]): 1e999 is no JSON number"),
    (f"- {'9' * 5000}\n", "line 1, column 3 ([0]): 999"),
    (f"- 0x{'f' * 5000}\n", "line 1, column 3 ([0]): 0xf"),
    ('- "\\ud800"\n', "line 1, column 3 ([0]): half of a surrogate pair"),
    ("- " * 64 + "- a", "more than 64 levels"),
    ("[" * 5000, "more than 64 levels"),
    ("a: [1\nb: 2\n", "line 2, column 2: while parsing a flow sequence: expected ',' or ']'"),
    ("a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
    ("a:\n\t- b\n", "line 2, column 1: while scanning for the next token"),
    ("a: \x07\n", "line 1, column 4: the character U+0007 is not allowed; write it as an escape"),
    ('a: "\\U0011FFFF"\n', "the YAML after this cannot be read"),
    ('a: "\\UFFFFFFFF"\n', "the YAML after this cannot be read"),
    ("%YAML 1.1\n---\na: on\n", "YAML 1.1 is not read; remove the directive"),
    ("%YAML 1.9\n---\na: on\n", "the YAML after this cannot be read"),
    ("%YAML 2.0\n---\na: on\n", "line 1, column 1: found incompatible YAML document"),
    (b"a: \xff\n", "line 1, column 4: the byte 0xFF is not UTF-8"),
    (b"a" * (256 * 1024 + 1), "more than the 262144 allowed; split it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_refused(text, expected):
    assert expected in message(text, object)


def test_depth_limit_is_that_of_json():
    text = "[" * 64 + "]" * 64
    assert values(text) == [json.loads(text)]


def test_positions():
    ((_, positions),) = yaml_to_json(b"\na:\n  - b: 1\n    c d: [x, y]\n")
    assert positions.locate(()) == (2, 1)
    assert positions.locate(("a", 0)) == (3, 5)
    assert positions.locate(("a", 0, "c d"), key=True) == (4, 5)
    assert positions.locate(("a", 0, "c d", 1)) == (4, 14)
    assert positions.locate(("a", 0, "zzz"), key=True) == (3, 5)
    assert positions.locate(("a", 7, "zzz")) == (3, 3)


@pytest.mark.parametrize(
    "unit", ["[", "{a: ", "- ", "a: [", "? ", "- a\n", "[a, ", "'", '"a": ', "|\n", "---\n", "&a "]
)
def test_hostile_documents_take_linear_time(unit):
    data = (unit * 50_000)[:50_000].encode()
    begin = time.process_time()
    try:
        yaml_to_json(data)
    except InvalidDocument as error:
        assert error.problems  # noqa: PT017
    assert time.process_time() - begin < 4.0


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("abc01:-#? ", max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150)
@given(plain)
def test_json_is_yaml(value):
    text = json.dumps(value, ensure_ascii=True)
    assert [repr(found) for found in values(text)] == [repr(value)]


@settings(max_examples=150)
@given(plain)
def test_agrees_with_another_reader(value):
    text = json.dumps(value, indent=2, ensure_ascii=True)
    assert values(text) == [YAML(typ="safe", pure=True).load(text)]


fragments = st.lists(
    st.sampled_from(
        ["a", "b:", "- ", "? ", ": ", "[", "]", "{", "}", ",", "\n", "\n  ", "\t", "'", '"', "\\",
         "\\U0011ffff", "\\UFFFFFFFF", "\\ud800", "|", ">+9\n", "&x ", "*x ", "!", "!!", "!<",
         "---",
         "%YAML 1.9\n", "%YAML x", "%TAG", "...", "#", "\x85", "\x00", "\ufeff", "é", "1", "0x",
         ".inf", "<<: ", "~", "null", " ", "@", "`", "%", "\r", "!%c3%28 "]
    ),
    max_size=14,
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@settings(max_examples=1000)
@given(st.one_of(st.binary(max_size=40), fragments))
@example(b"\xff\xfea\x00")
def test_any_bytes_are_documents_or_invalid(data):
    try:
        found = yaml_to_json(data)
    except InvalidDocument as error:
        problem = error.problems[0]
    else:
        json.dumps([value for value, _ in found], allow_nan=False, ensure_ascii=False).encode()
        return
    assert problem.line >= 1
    assert problem.column >= 1
    assert str(problem)
