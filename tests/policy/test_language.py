"""Policy manifests: what is accepted, what is refused where, and the way through the change log."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.language import (
    ManifestDoc,
    diff,
    from_record,
    json_schema,
    parse_manifests,
    to_manifest,
    to_record,
)
from policy.model import (
    KINDS,
    AccessPolicy,
    Action,
    Binding,
    Choice,
    HealthCheck,
    LifecyclePolicy,
    Passive,
    ResolutionPolicy,
    Subject,
)
from registry.documents import InvalidDocument

YAML = "application/yaml"
JSON = "application/json"
ALL_KINDS = b"""\
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: phones, labels: {team: health}, revision: 3}
spec:
  effect: allow
  subjects: [{principal: "iot:phone"}, {kind: device}]
  actions: [publish, subscribe]
  names: [intake/*, localhost/intake/**]
  groups: [red]
---
apiVersion: hilum/v1
kind: LifecyclePolicy
metadata: {name: services.v1}
spec:
  effect: allow
  subjects: [{}]
  actions: [register, bind]
  names: ["**"]
  endpoints: ["http://10.0.0.1", "https://h:8443/base/"]
---
apiVersion: hilum/v1
kind: Binding
metadata: {name: plan}
spec:
  name: Plan/create
  endpoint: http://10.0.0.1/plans/{user}?at={at}
  method: PUT
  args: {user: path, at: query, X-Trace: header, "*": body}
---
apiVersion: hilum/v1
kind: Binding
metadata: {name: hook}
spec: {name: Plan/progress, call: Plan/notify}
---
apiVersion: hilum/v1
kind: ResolutionPolicy
metadata: {name: canary}
spec:
  names: [Plan/**]
  choices:
    - {microservice: Recommender, version: "1.0.0", weight: 9}
    - {microservice: Recommender, version: "2.0.0", weight: 1}
    - {site: "https://other.example/base", order: 1}
  sticky: header:X-User
  health: {path: /healthz, interval: 1}
  passive: {failures: 5}
  delivery: one-of-group
"""


def parse(data: bytes | str, media_type: str = YAML) -> list[ManifestDoc]:
    raw = data.encode() if isinstance(data, str) else data
    return parse_manifests(raw, media_type, "snac.asu.edu", ("localhost",), ("other.example",))


def problems(data: bytes | str, media_type: str = YAML) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        parse(data, media_type)
    return [str(problem) for problem in caught.value.problems]


def manifest(kind: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hilum/v1",
        "kind": kind,
        "metadata": {"name": "p", **metadata},
        "spec": spec,
    }


def test_every_kind_is_read_with_canonical_names() -> None:
    assert parse(ALL_KINDS) == [
        ManifestDoc(
            "AccessPolicy",
            "phones",
            {"team": "health"},
            3,
            AccessPolicy(
                "allow",
                (Subject("iot:phone"), Subject(kind="device")),
                (Action.PUBLISH, Action.SUBSCRIBE),
                ("snac.asu.edu/intake/*", "snac.asu.edu/intake/**"),
                ("red",),
            ),
        ),
        ManifestDoc(
            "LifecyclePolicy",
            "services.v1",
            {},
            0,
            LifecyclePolicy(
                "allow",
                (Subject(),),
                ("register", "bind"),
                ("snac.asu.edu/**",),
                ("http://10.0.0.1", "https://h:8443/base/"),
            ),
        ),
        ManifestDoc(
            "Binding",
            "plan",
            {},
            0,
            Binding(
                "snac.asu.edu/Plan/create",
                "http://10.0.0.1/plans/{user}?at={at}",
                "PUT",
                {"user": "path", "at": "query", "X-Trace": "header", "*": "body"},
            ),
        ),
        ManifestDoc(
            "Binding",
            "hook",
            {},
            0,
            Binding("snac.asu.edu/Plan/progress", call="snac.asu.edu/Plan/notify"),
        ),
        ManifestDoc(
            "ResolutionPolicy",
            "canary",
            {},
            0,
            ResolutionPolicy(
                ("snac.asu.edu/Plan/**",),
                (
                    Choice("Recommender", "1.0.0", weight=9),
                    Choice("Recommender", "2.0.0", weight=1),
                    Choice(site="https://other.example/base", order=1),
                ),
                "header:X-User",
                HealthCheck("/healthz", 1.0),
                Passive(5),
                "one-of-group",
            ),
        ),
    ]


def test_json_is_one_manifest_or_a_list_and_means_the_same() -> None:
    docs = parse(ALL_KINDS)
    as_json = [to_manifest(to_record(doc, owner="user:a", revision=doc.revision)) for doc in docs]
    assert parse(json.dumps(as_json), JSON) == docs
    assert parse(json.dumps(as_json[0]), JSON) == docs[:1]


def test_every_problem_is_told_with_its_place_and_what_to_do() -> None:
    text = """\
apiVersion: hilum/v1
kind: AccessPolicy
metadata:
  name: Phones
  labels: {"-x": "y"}
spec:
  effect: allow
  subjects:
    - {principal: phone}
    - {kind: Device}
  actions: [call]
  names: [intake/**/x, ok]
  groups: [a/b]
"""
    assert problems(text) == [
        "line 4, column 9 (metadata.name): 'Phones' is no name of a policy; "
        "use at most 253 lower-case letters, digits, - and . as in host names",
        'line 5, column 12 (metadata.labels["-x"]): this is no key of a label; '
        "use at most 63 letters, digits and . _ / -",
        "line 9, column 19 (spec.subjects[0].principal): 'phone' is no principal; "
        "write realm:subject, such as user:ann, or '*' alone for anybody",
        "line 10, column 14 (spec.subjects[1].kind): 'Device' is no kind of principals; "
        "use lower-case letters, digits and hyphens, or '*' alone for any kind",
        "line 12, column 11 (spec.names[0]): invalid name 'intake/**/x' at character 8: "
        "'**' stands at the end only; use '*' for one segment",
        "line 13, column 12 (spec.groups[0]): 'a/b' is no name of a group; "
        "use letters, digits and . _ ~ : = @ -, or '*' alone for every group",
        "line 13, column 3 (spec.groups): groups matter to subscribe only; "
        "add subscribe to the actions or remove the groups",
    ]


ACCESS = {"effect": "allow", "subjects": [{}], "actions": ["call"], "names": ["**"]}
LIFECYCLE = {**ACCESS, "actions": ["bind"]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"kind": "AccessPolicy"}, "missing key"),
        (manifest("AcessPolicy", ACCESS), 'did you mean "AccessPolicy"?'),
        (manifest("AccessPolicy", {**ACCESS, "subject": []}), 'did you mean "subjects"?'),
        (manifest("AccessPolicy", {**ACCESS, "subjects": []}), "length >= 1"),
        (manifest("AccessPolicy", {**ACCESS, "actions": []}), "length >= 1"),
        (manifest("AccessPolicy", {**ACCESS, "names": []}), "length >= 1"),
        (manifest("AccessPolicy", {**ACCESS, "actions": ["cal"]}), 'did you mean "call"?'),
        (manifest("AccessPolicy", {**ACCESS, "effect": "permit"}), '"allow", "deny"'),
        (manifest("AccessPolicy", {**ACCESS, "names": ["x"] * 257}), "length <= 256"),
        (
            manifest("AccessPolicy", {**ACCESS, "names": ["x"] * 200, "subjects": [{}] * 51}),
            "10200 combinations",
        ),
        (manifest("AccessPolicy", ACCESS, name=""), "is no name of a policy"),
        (manifest("AccessPolicy", ACCESS, name="a" * 254), "is no name of a policy"),
        (manifest("AccessPolicy", ACCESS, name="a..b"), "is no name of a policy"),
        (manifest("AccessPolicy", ACCESS, revision=-1), ">= 0"),
        (manifest("AccessPolicy", ACCESS, labels={"a": "x" * 254}), "longer than 253"),
        (
            manifest("AccessPolicy", ACCESS, labels={f"k{i}": "" for i in range(65)}),
            "more than 64 labels",
        ),
        ({**manifest("AccessPolicy", ACCESS), "apiVersion": "hilum/v2"}, "hilum/v1"),
        ({**manifest("AccessPolicy", ACCESS), "status": {}}, 'unknown key "status"'),
        (manifest("LifecyclePolicy", {**LIFECYCLE, "actions": ["call"]}), "register"),
        (
            manifest("LifecyclePolicy", {**LIFECYCLE, "endpoints": ["ftp://h"]}),
            "the scheme 'ftp' is not supported",
        ),
        (
            manifest("LifecyclePolicy", {**LIFECYCLE, "endpoints": ["http://h/{x}"]}),
            "percent-encode it",
        ),
        (
            manifest("LifecyclePolicy", {**LIFECYCLE, "endpoints": ["http://h/?x"]}),
            "a query cannot be compared",
        ),
        (
            manifest(
                "LifecyclePolicy",
                {**LIFECYCLE, "actions": ["create"], "endpoints": ["http://h"]},
            ),
            "endpoints matter to bind only",
        ),
        (manifest("Binding", {"name": "a", "source": "http://h/t"}), "'http' is not supported"),
        (manifest("Binding", {"name": "a", "source": "mqtt://h"}), "topic is missing"),
        (
            manifest("Binding", {"name": "a", "source": "mqtt://h/t", "call": "b"}),
            "call and source",
        ),
        (
            manifest("Binding", {"name": "a", "source": "mqtt://h/t", "safe": True}),
            "belong to an endpoint, not to a source",
        ),
        (manifest("Binding", {"name": "a/b"}), "this one none"),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h", "call": "b"}),
            "endpoint and call",
        ),
        (manifest("Binding", {"name": "$site/x", "call": "b"}), "cannot start with '$'"),
        (manifest("Binding", {"name": "other.example/x", "call": "b"}), "belongs to the site"),
        (manifest("Binding", {"name": "a", "call": "a"}), "cannot be bound to itself"),
        (manifest("Binding", {"name": "a", "call": "b", "safe": True}), "belong to an endpoint"),
        (manifest("Binding", {"name": "a", "call": "b//"}), "empty segment"),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://u@h"}),
            "user information",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h", "method": "pots"}),
            "did you mean POST?",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h", "method": "OPTIONS"}),
            "is no HTTP method we send",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h/{u}"}),
            "{u} is in the path of the URL, but args does not say so",
        ),
        (
            manifest(
                "Binding", {"name": "a", "endpoint": "http://h/?u={u}", "args": {"u": "path"}}
            ),
            "{u} is in the query of the URL, but args says path",
        ),
        (
            manifest(
                "Binding", {"name": "a", "endpoint": "http://h/{u}/{u}", "args": {"u": "path"}}
            ),
            "{u} is in the URL twice",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h/x", "args": {"u": "path"}}),
            "the argument u has no place in the URL",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h/x", "args": {"*": "path"}}),
            '"*" cannot be in the path',
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h/x", "args": {"1u": "body"}}),
            "'1u' is no name of an argument",
        ),
        (
            manifest(
                "Binding", {"name": "a", "endpoint": "http://h/x", "args": {"Host": "header"}}
            ),
            "the header Host is the gateway's own",
        ),
        (
            manifest(
                "Binding",
                {"name": "a", "endpoint": "http://h/x", "args": {"Hilum-Principal": "header"}},
            ),
            "the gateway's own",
        ),
        (
            manifest(
                "Binding",
                {"name": "a", "endpoint": "http://h", "method": "GET", "args": {"x": "body"}},
            ),
            "a GET has no body",
        ),
        (
            manifest(
                "Binding",
                {"name": "a", "endpoint": "http://h", "args": {f"x{i}": "body" for i in range(65)}},
            ),
            "more than 64 arguments",
        ),
        (
            manifest("Binding", {"name": "a", "endpoint": "http://h", "args": {"x": "cookie"}}),
            "cookie",
        ),
        (manifest("ResolutionPolicy", {"names": ["**"], "choices": [{}]}), "names nothing"),
        (
            manifest(
                "ResolutionPolicy",
                {"names": ["**"], "choices": [{"version": "1", "site": "http://h"}]},
            ),
            "not both",
        ),
        (
            manifest("ResolutionPolicy", {"names": ["**"], "choices": [{"site": "h"}]}),
            "not an absolute URL",
        ),
        (
            manifest(
                "ResolutionPolicy", {"names": ["**"], "choices": [{"version": "1", "weight": 0}]}
            ),
            "every weight is 0",
        ),
        (
            manifest(
                "ResolutionPolicy", {"names": ["**"], "choices": [{"version": "1", "weight": -1}]}
            ),
            ">= 0",
        ),
        (manifest("ResolutionPolicy", {"names": ["**"], "sticky": "cookie"}), "sticky cannot be"),
        (
            manifest("ResolutionPolicy", {"names": ["**"], "health": {"path": "healthz"}}),
            "write a path such as /healthz",
        ),
        (
            manifest("ResolutionPolicy", {"names": ["**"], "health": {"path": "/", "interval": 0}}),
            ">= 0.1",
        ),
    ],
)
def test_each_mistake_is_refused(document: dict[str, Any], said: str) -> None:
    (problem,) = problems(json.dumps(document), JSON)
    assert said in problem
    assert problem.startswith("line 1, column ")


def test_what_is_no_manifest_is_refused() -> None:
    assert problems(b"") == ["line 1, column 1: there is no manifest in the document"]
    assert problems(b"[]", JSON) == ["line 1, column 1: there is no manifest in the document"]
    assert "not understood" in problems(b"{}", "text/csv")[0]
    assert "expected object" in problems(b"3", JSON)[0]
    assert "not UTF-8" in problems(b"\xff", JSON)[0]
    assert "more than the" in problems(b" " * (1024 * 1024 + 1), JSON)[0]
    assert "more than the" in problems(b" " * (256 * 1024 + 1), YAML)[0]


def test_the_same_policy_twice_in_one_input_is_refused() -> None:
    text = "\n---\n".join([json.dumps(manifest("AccessPolicy", ACCESS))] * 2)
    assert problems(text) == [
        "line 3, column 73 (metadata.name): a second AccessPolicy/p; "
        "give each policy of a kind its own name"
    ]


def test_one_input_holds_a_bounded_number_of_manifests_and_problems() -> None:
    many = [manifest("AccessPolicy", ACCESS, name=f"p{i}") for i in range(257)]
    assert len(parse(json.dumps(many[:256]), JSON)) == 256
    (problem,) = problems(json.dumps(many), JSON)
    assert "more than 256 manifests" in problem
    assert len(problems(json.dumps([manifest("AccessPolicy", ACCESS, name="P")] * 99), JSON)) == 20


# --- records, renderings ---------------------------------------------------------------------


def test_records_keep_the_policy_and_give_the_manifest_back() -> None:
    for doc in parse(ALL_KINDS):
        record = to_record(doc, owner="user:ann", revision=7)
        assert (record.kind, record.name, record.revision, record.owner) == (
            doc.kind,
            doc.name,
            7,
            "user:ann",
        )
        assert from_record(record) == doc.spec
        again = parse(json.dumps(to_manifest(record)), JSON)
        assert again == [doc._replace(revision=7)]


def test_the_schema_knows_every_kind_and_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {ref["$ref"] for ref in schema["anyOf"]} == {f"#/$defs/{kind}Manifest" for kind in KINDS}
    for kind, type_ in KINDS.items():
        body = schema["$defs"][kind]
        assert set(body["properties"]) == {f.encode_name for f in msgspec.structs.fields(type_)}
        assert body["additionalProperties"] is False
        assert "    " not in body["description"]
    refs = set(find_refs(schema))
    assert refs <= {f"#/$defs/{name}" for name in schema["$defs"]}
    json.dumps(schema)


def find_refs(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if "$ref" in schema else []
        return own + [ref for value in schema.values() for ref in find_refs(value)]
    if isinstance(schema, list):
        return [ref for value in schema for ref in find_refs(value)]
    return []


def test_diff_says_in_lines_what_changes() -> None:
    (doc,) = parse(json.dumps(manifest("AccessPolicy", ACCESS, labels={"a": "b"})), JSON)
    assert isinstance(doc.spec, AccessPolicy)
    old = to_record(doc, owner="user:a", revision=1)
    spec = msgspec.structs.replace(
        doc.spec, effect="deny", names=("snac.asu.edu/x", *doc.spec.names)
    )
    new = to_record(doc._replace(spec=spec, labels={}), owner="user:b", revision=2)
    assert diff(old, new) == [
        "~ AccessPolicy/p",
        '  - labels.a: "b"',
        '  ~ effect: "allow" -> "deny"',
        '  + names: "snac.asu.edu/x"',
    ]
    assert diff(old, old) == []
    assert diff(None, None) == []
    assert diff(None, old)[:2] == ["+ AccessPolicy/p", '  + labels.a: "b"']
    assert diff(old, None)[-1] == '  - names: "snac.asu.edu/**"'


# --- hostile input ---------------------------------------------------------------------------

KEYS = ("apiVersion", "kind", "metadata", "spec", "name", "effect", "subjects", "principal")
MORE = ("actions", "names", "choices", "weight", "health", "args", "endpoint", "call", "method")
WORDS = (
    "hilum/v1",
    "Binding",
    "allow",
    "**",
    "a/*",
    "{x}",
    "http://h/{x}",
    "path",
    "site",
    "sticky",
)
words = st.sampled_from(KEYS + MORE + WORDS)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(allow_nan=False),
    words,
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(words, st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=12,
)
specs = st.dictionaries(words, values, max_size=6)


def check_any(data: bytes, media_type: str) -> None:
    found: InvalidDocument | None = None
    docs: list[ManifestDoc] = []
    try:
        docs = parse(data, media_type)
    except InvalidDocument as error:
        found = error
    assert (found is None) == bool(docs)
    for problem in found.problems if found else ():
        assert problem.message
        assert min(problem.line, problem.column) >= 1
    for doc in docs:
        record = to_record(doc, owner="user:a", revision=1)
        assert from_record(record) == doc.spec
        again = parse(json.dumps(to_manifest(record)), JSON)
        assert [d.spec for d in again] == [doc.spec]


@given(st.one_of(st.binary(max_size=200), values.map(lambda v: json.dumps(v).encode())))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes) -> None:
    check_any(data, JSON)
    check_any(data, YAML)


@given(st.sampled_from(list(KINDS)), specs)
def test_any_spec_is_read_or_refused_with_a_place(kind: str, spec: dict[str, Any]) -> None:
    check_any(json.dumps(manifest(kind, spec)).encode(), JSON)


@given(st.data())
def test_manifests_with_one_damaged_value_are_read_or_refused(data: st.DataObject) -> None:
    docs = parse(ALL_KINDS)
    doc = data.draw(st.sampled_from(docs))
    plain = to_manifest(to_record(doc, owner="user:a", revision=1))
    target: Any = plain
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], dict | list) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = data.draw(values)
        break
    check_any(json.dumps(plain).encode(), JSON)
