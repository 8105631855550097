"""JSON documents from a fuzzer: each is read exactly, or refused with a position inside it."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry import json_text
from registry.documents import InvalidDocument, decode, read


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    kind: int = 0


class Access(msgspec.Struct, tag="AccessPolicy", tag_field="kind", forbid_unknown_fields=True):
    name: dict[str, int]


class Tie(msgspec.Struct, tag="Binding", tag_field="kind", forbid_unknown_fields=True):
    a: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    objects: list[Access | Tie] = []
    methods: dict[str, dict[str, Inner]] = {}
    a: Any = None


plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=300)
@given(plain_json, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_is_read_as_json_loads_does(value, ascii_only, indent):
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    read_back = decode(data, object)
    assert read_back == value
    assert repr(read_back) == repr(json.loads(data))
    assert list(json_text._Scanner(data.decode()).problems()) == []


@settings(max_examples=300)
@given(plain_json, st.data())
def test_every_value_has_a_position(value, data):
    text = json.dumps(value, indent=2, ensure_ascii=False)
    (document,) = read(text.encode())
    path: tuple[str | int, ...] = ()
    while isinstance(value, dict | list) and value:
        step = data.draw(
            st.sampled_from(list(value) if isinstance(value, dict) else range(len(value)))
        )
        path, value = (*path, step), value[step]
    line, column = document.positions.locate(path)
    rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
    found = json.JSONDecoder().raw_decode(rest)[0]
    assert found == value
    assert type(found) is type(value)


tokens = st.lists(
    st.sampled_from(
        [
            '"a"',
            '"name"',
            '"objects"',
            '"methods"',
            '"kind"',
            '"Binding"',
            ":",
            ",",
            "[",
            "]",
            "{",
            "}",
            "1",
            "-0",
            "1.5e3",
            "1e999",
            "NaN",
            "-Infinity",
            "null",
            "true",
            " ",
            "\n",
            '"',
            "\\",
            r'"\ud800"',
            r'"\u0061"',
            "\x00",
            "é",
            "'",
            "/*",
        ]
    ),
    max_size=25,
).map(lambda parts: "".join(parts).encode())


@settings(max_examples=1000)
@given(st.one_of(st.binary(max_size=60), tokens))
@example(b"\xff\xfe[\x00]\x00")
@example(b"9" * 5000)
@example(b'{"a":' * 70)
def test_any_bytes_are_a_document_or_invalid(data):
    for type_ in (Manifest, object, dict[str, Inner], list[Access | Tie]):
        try:
            decode(data, type_)
        except InvalidDocument as error:
            problem = error.problems[0]
        else:
            json.loads(data)
            continue
        lines = data.decode("utf-8", "replace").split("\n")
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


@settings(max_examples=500)
@given(tokens)
def test_what_json_loads_accepts_is_read_or_refused_for_a_reason(data):
    try:
        value = json.loads(data)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return  # Bad grammar, or NaN, infinity or a lone surrogate.
    if json.detect_encoding(data) != "utf-8":
        return  # With NUL among the first bytes json.loads takes it for UTF-16 or UTF-32.
    with contextlib.suppress(InvalidDocument):
        assert decode(data, object) == value
        return
    with pytest.raises(InvalidDocument, match="twice"):
        decode(data, object)
