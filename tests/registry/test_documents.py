"""JSON documents: strict reading, and errors that name the line, the column and the remedy."""

import contextlib
import json
import pickle
import time
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from registry.documents import InvalidDocument, Problem, decode, read
from registry.problems import quoted, show_path


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class Method(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    idempotent: bool = False
    timeout: Annotated[float, msgspec.Meta(gt=0, description="seconds")] = 30.0
    kind: Literal["call", "publish"] = "call"
    level: Level = Level.LOW
    retries: int | None = None

    def __post_init__(self):
        if self.kind == "publish" and self.idempotent:
            raise ValueError("URL and idempotent exclude each other")


class Object(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    methods: dict[str, Method] = {}
    tags: tuple[str, ...] = ()
    pair: tuple[int, Literal["a", "b"]] | None = None
    mode: Literal["fast", "slow"] | None = None
    codes: dict[Annotated[str, msgspec.Meta(max_length=3)], dict[str, int]] = {}


class Access(msgspec.Struct, tag="AccessPolicy", tag_field="kind", forbid_unknown_fields=True):
    allow: dict[str, int]


class Tie(msgspec.Struct, tag="Binding", tag_field="kind", forbid_unknown_fields=True):
    target: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    api_version: str = "v1"
    objects: list[Annotated[Object, msgspec.Meta(description="an object")]] = []
    policies: list[Access | Tie] = []
    extra: Any = None


def refusal(data: bytes | str, type_: Any = Manifest, **options: Any) -> Problem:
    with pytest.raises(InvalidDocument) as caught:
        decode(data.encode() if isinstance(data, str) else data, type_, **options)
    (problem,) = caught.value.problems
    return problem


def message(data: bytes | str, type_: Any = Manifest, **options: Any) -> str:
    return str(refusal(data, type_, **options))


TYPE_ERRORS = [
    (
        '{"objects": [\n  {"name": "a"},\n  {"name": "b",\n   "methods": {\n'
        '     "ok": {"idempotent": true},\n     "createPlan": {"idempotant": true}}}]}',
        "line 6, column 21 (objects[1].methods.createPlan): "
        'unknown key "idempotant"; did you mean "idempotent"?',
    ),
    (
        '{"objects": [{"name": "a", "methods": {"m": {"zzz": 1}}}]}',
        "line 1, column 46 (objects[0].methods.m): "
        'unknown key "zzz"; known keys: "idempotent", "kind", "level", "retries", "timeout"',
    ),
    (
        '{"api_version": "v1"}',
        'line 1, column 2: unknown key "api_version"; did you mean "apiVersion"?',
    ),
    ('{"objects": [{}]}', 'line 1, column 14 (objects[0]): missing key "name"'),
    ('{"objects": {}}', "line 1, column 13 (objects): expected array, got object"),
    ("[]", "line 1, column 1: expected object, got array"),
    ('\n\n  {"apiVersion":\n  1}', "line 4, column 3 (apiVersion): expected string, got integer"),
    (
        '{"objects": [{"name": "a", "methods": {"x": {}, "create plan": {"timeout": "1"}}}]}',
        'line 1, column 76 (objects[0].methods["create plan"].timeout): '
        "expected number, got string",
    ),
    (
        '{"objects": [{"name": "a", "methods": {"x": {"timeout": 0}}}]}',
        "line 1, column 57 (objects[0].methods.x.timeout): expected number > 0.0",
    ),
    (
        '{"objects": [{"name": "a", "methods": {"x": {"retries": "2"}}}]}',
        "line 1, column 57 (objects[0].methods.x.retries): expected integer or null, got string",
    ),
    (
        '{"objects": [{"name": "a", "methods": {"x": {"kind": "calll"}}}]}',
        "line 1, column 54 (objects[0].methods.x.kind): "
        "invalid enum value 'calll'; did you mean \"call\"?",
    ),
    (
        '{"objects": [{"name": "a", "methods": {"x": {"level": "zzz"}}}]}',
        "line 1, column 55 (objects[0].methods.x.level): "
        'invalid enum value \'zzz\'; use one of "high", "low"',
    ),
    (
        '{"objects": [{"name": "a", "methods": {"x": {"kind": "publish", "idempotent": true}}}]}',
        "line 1, column 45 (objects[0].methods.x): URL and idempotent exclude each other",
    ),
    (
        '{"objects": [{"name": "a", "tags": ["b", "ü", 3]}]}',
        "line 1, column 47 (objects[0].tags[2]): expected string, got integer",
    ),
    (
        '{"objects": [{"name": "a", "pair": ["1", 2]}]}',
        "line 1, column 37 (objects[0].pair[0]): expected integer, got string",
    ),
    (
        '{"objects": [{"name": "a", "pair": [1, "c"]}]}',
        "line 1, column 40 (objects[0].pair[1]): invalid enum value 'c'",
    ),
    (
        '{"objects": [{"name": "a", "mode": "flow"}]}',
        "line 1, column 36 (objects[0].mode): invalid enum value 'flow'; did you mean \"slow\"?",
    ),
    (
        '{"objects": [{"name": "a", "codes": {"abc": {}, "abcd": {}}}]}',
        "line 1, column 49 (objects[0].codes.abcd): expected string of length <= 3",
    ),
    (
        '{"objects": [{"name": "a", "codes": {"a": {"x": 1}, "b": {"y": 2, "z": "3"},'
        ' "c": {"u": "v"}}}]}',
        "line 1, column 72 (objects[0].codes.b.z): expected integer, got string",
    ),
    (
        '{"policies": [{"allow": {"a": 1, "b": null}, "kind": "AccessPolicy"}]}',
        "line 1, column 39 (policies[0].allow.b): expected integer, got null",
    ),
    (
        '{"policies": [{"kind": "Binding", "targt": ""}]}',
        'line 1, column 35 (policies[0]): unknown key "targt"; did you mean "target"?',
    ),
    (
        '{"policies": [{"kind": "AcessPolicy"}]}',
        "line 1, column 24 (policies[0].kind): "
        "invalid value 'AcessPolicy'; did you mean \"AccessPolicy\"?",
    ),
    (
        '{"policies": [{"kind": "x"}]}',
        "line 1, column 24 (policies[0].kind): "
        'invalid value \'x\'; use one of "AccessPolicy", "Binding"',
    ),
    ('{"policies": [{"target": ""}]}', 'line 1, column 15 (policies[0]): missing key "kind"'),
    ('{"extra": [1, 1e999]}', "line 1, column 15 (extra[1]): number out of range"),
]


@pytest.mark.parametrize(("text", "expected"), TYPE_ERRORS)
def test_type_errors_say_where(text, expected):
    assert message(text) == expected


SYNTAX_ERRORS = [
    ("", 1, 1, "is empty"),
    (" \n ", 2, 2, "is empty"),
    ('{"a": [1, 2', 1, 12, "ends too early"),
    ('{"a":\n  1,\n}', 2, 4, "a comma after the last entry; remove it"),
    ("[1,\n 2, ]", 2, 3, "a comma after the last entry; remove it"),
    ("[1] [2]", 1, 5, "text after the end of the document; remove it"),
    ("['a']", 1, 2, "use double quotes"),
    ('{"a" 1}', 1, 6, "expecting ':'"),
    ('{"a": 1 "b": 2}', 1, 9, "expecting ','"),
    ("{a: 1}", 1, 2, "property name"),
    ('["a\nb"]', 1, 4, "control character"),
    ('["a', 1, 2, "unterminated string"),
    (r'["\x"]', 1, 3, "escape"),
    ("[tru]", 1, 2, "expecting value"),
    ("[01]", 1, 3, "expecting ','"),
    ("\ufeff[]", 1, 1, "a byte order mark; save the file without one"),
    ('{"a": 1, "a": 2}', 1, 10, 'the key "a" is there twice; keep one of the two'),
    ('{"a": 1,\n"\\u0061": 2}', 2, 1, 'the key "a" is there twice'),
    (
        '[1, {"b": [[], {}, {"c": 1, "c": [],\n "d": 1}]}]',
        1,
        29,
        '([1].b[2]): the key "c" is there twice',
    ),
    ("[1, NaN]", 1, 5, "([1]): NaN is no JSON number"),
    ('{"a": -Infinity}', 1, 7, "(a): -Infinity is no JSON number"),
    ("NaN", 1, 1, "NaN is no JSON number"),
    (f"[{'1' * 5000}]", 1, 2, "an integer of 5000 digits; write it as a string"),
    (r'["ok \ud83e\udec0", "\ud83e"]', 1, 21, "half of a surrogate pair"),
    (r'{"a": {"\udec0x": 1}}', 1, 8, "(a): half of a surrogate pair"),
    ("[" * 65 + "]" * 65, 1, 65, "more than 64 levels"),
    ("[" * 100_000, 1, 65, "more than 64 levels"),
    ('{"a":' * 65 + "1" + "}" * 65, 1, 321, "more than 64 levels"),
    (b'["a", "\xff"]', 1, 8, "the byte 0xFF is not UTF-8; save the file as UTF-8"),
    ('["ü",\n "ü'.encode() + b"\xc3", 2, 4, "the byte 0xC3 is not UTF-8"),
]


@pytest.mark.parametrize(("text", "line", "column", "expected"), SYNTAX_ERRORS)
def test_syntax_errors_say_where(text, line, column, expected):
    problem = refusal(text, object)
    assert (problem.line, problem.column) == (line, column)
    assert expected in str(problem)


def test_limits():
    assert decode(b"[1]", list[int], limit=3) == [1]
    assert message(b"[12]", list[int], limit=3) == (
        "line 1, column 1: the document has 4 bytes, more than the 3 allowed; split it"
    )
    assert "1048576 allowed" in message(b" " * (1024 * 1024 + 1), list[int])
    deep = "[" * 64 + "]" * 64
    assert decode(deep.encode(), object) == json.loads(deep)
    brackets = json.dumps("[{" * 100)
    assert decode(brackets.encode(), str) == "[{" * 100


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON; charset=utf-8", "text/json", "application/td+json"],
)
def test_media_types(media_type):
    assert decode(b"[1]", list[int], media_type=media_type) == [1]


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/xml", "application/json5"])
def test_other_media_types_are_refused(media_type):
    assert "send application/json or application/yaml" in message(
        b"[1]", list[int], media_type=media_type
    )


def test_what_json_allows_is_read_exactly():
    text = r'{"big": 123456789012345678901234567890, "s": "\ud83e\udec0\u0000", "f": -0.5e-3}'
    assert decode(text.encode(), object) == json.loads(text)


def test_checks_of_ones_own_can_say_where():
    (document,) = read(b'{"a": {"b":\n [1, 2]}}')
    assert str(document.problem(("a", "b", 1), "wrong", "do right")) == (
        "line 2, column 6 (a.b[1]): wrong; do right"
    )
    assert document.problem(("a", "b"), "wrong", key=True).column == 8
    assert document.problem(("a", "x"), "nearest", key=True).column == 7
    assert document.problem(("a", "b", 7, "c"), "nearest").line == 2
    assert document.problem((), "whole").column == 1


def test_problems_together():
    first = Problem("one", "a", 1, 2)
    error = InvalidDocument(first, Problem("two", "", 3, 4, "fix it"))
    assert str(error) == "line 1, column 2 (a): one\nline 3, column 4: two; fix it"
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_text_from_outside_is_shown_on_one_line_and_bounded():
    hostile = "\x1b[31m\n" + "x" * 10_000
    text = message(json.dumps({hostile: 1}))
    assert text.isprintable()
    assert len(text) < 300
    assert len(show_path(("a" * 1000,) * 64)) == 200
    assert show_path(("a", 0, "b c", "@context", "1")) == 'a[0]["b c"]["@context"]["1"]'
    assert quoted("\u202e") == '"\\u202e"'


@pytest.mark.parametrize(
    "key",
    ["x` - at `$.objects", "x` - at `$[...]", "x` - at `$.objects[...]", "x` - at `$.a[0][...].b"],
)
def test_a_key_that_imitates_a_path_does_no_harm(key):
    assert "unknown key" in message(json.dumps({"objects": [], key: 1}))


# Speed: nothing that comes from outside may take more than linear time.


def elapsed(data: bytes, type_: Any) -> float:
    begin = time.process_time()
    with contextlib.suppress(InvalidDocument):
        decode(data, type_)
    return time.process_time() - begin


def test_a_large_manifest_is_read_in_milliseconds():
    methods = {f"m{i}": {"idempotent": True, "timeout": 1.5} for i in range(10)}
    manifest = {"objects": [{"name": f"o{i}", "methods": methods} for i in range(250)]}
    data = json.dumps(manifest).encode()
    assert len(data) > 100_000
    assert min(elapsed(data, Manifest) for _ in range(5)) < 0.03


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"1," * 150_000 + b"NaN]",
        b"{" + b",".join(b'"%d":1' % i for i in range(30_000)) + b',"0":1}',
        b'"' + b'\\"' * 400_000,
        b'"' * 800_000,
        b'"\\' * 400_000,
        b'["a"' + b" " * 800_000 + b"NaN]",
        (b"[" * 64 + b"]" * 64 + b",") * 5000,
        b"[" + b'"\\ud800",' * 80_000,
        b'{"objects":[' + b'{"name":"a"},' * 50_000 + b'{"name":1}]}',
        b'{"extra":' + b"[" * 60 + b"1," * 100_000 + b"1" + b"]" * 60 + b',"x":1}',
    ],
)
def test_hostile_documents_take_linear_time(data):
    assert elapsed(data, Manifest) < 3.0


def test_finding_the_culprit_among_many_takes_no_quadratic_time():
    entries = ",".join(f'"k{i}":{{}}' for i in range(20_000))
    assert elapsed(f'{{{entries},"z":{{"a":1}}}}'.encode(), dict[str, Method]) < 3.0
