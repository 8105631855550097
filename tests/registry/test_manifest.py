"""Registration manifests: what is accepted, what is refused where, and hostile input."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.documents import InvalidDocument
from registry.manifest import Manifest, decode_manifest, decode_object
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Profile,
    RegistrationId,
    Retain,
    ServiceLevel,
    VirtualObject,
)

RECOMMENDER = b"""\
{"apiVersion": "hilum/v1", "microservice": "Recommender", "version": "1.0.0", "instance": "a",
 "lease": 60, "description": "Plans.",
 "objects": [{"name": "WeightManagementPlan",
   "methods": {"createPlan": {"idempotent": false, "timeout": 5000,
     "input": {"type": "object", "properties": {"goal": {"type": "number", "minimum": 30}}},
     "output": {"type": "string", "pattern": "^plan[0-9]+$"},
     "endpoints": [{"url": "http://10.0.0.1:9000/plans/{user}", "method": "POST",
                    "args": {"user": "path", "*": "body"}}]},
     "check goal": {"safe": true}},
   "channels": {"progress": {"durable": true, "retain": {"count": 1000}, "overflow": "block",
     "schema": {"type": "number"}}}}]}
"""


def decode(data: bytes | str, media_type: str = "application/json") -> Manifest:
    raw = data.encode() if isinstance(data, str) else data
    return decode_manifest(
        raw,
        media_type=media_type,
        authority="snac.asu.edu",
        aliases=("localhost",),
        remotes=("other.example",),
    )


def refused(document: object) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        decode(json.dumps(document))
    return [str(problem) for problem in caught.value.problems]


MANY: Any = {f"c{i}": {} for i in range(200)}


def manifest(*objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hilum/v1",
        "microservice": "Recommender",
        "version": "1.0.0",
        "objects": objects,
        **more,
    }


def offering(**method: Any) -> dict[str, Any]:
    return manifest({"name": "plan", "methods": {"create": method}})


def at(url: str, **more: Any) -> dict[str, Any]:
    return offering(endpoints=[{"url": url, **more}])


def test_a_manifest_becomes_canonical() -> None:
    assert decode(RECOMMENDER) == Manifest(
        "hilum/v1",
        "Recommender",
        "1.0.0",
        "a",
        60,
        "Plans.",
        (
            VirtualObject(
                "snac.asu.edu/WeightManagementPlan",
                methods={
                    "createPlan": Method(
                        timeout=5000,
                        input={
                            "type": "object",
                            "properties": {"goal": {"type": "number", "minimum": 30}},
                        },
                        output={"type": "string", "pattern": "^plan[0-9]+$"},
                        endpoints=(
                            Endpoint(
                                "http://10.0.0.1:9000/plans/{user}",
                                "POST",
                                {"user": "path", "*": "body"},
                            ),
                        ),
                    ),
                    "check%20goal": Method(safe=True),
                },
                channels={
                    "progress": EventChannel(
                        durable=True,
                        retain=Retain(count=1000),
                        overflow="block",
                        schema={"type": "number"},
                    )
                },
            ),
        ),
    )


def test_everything_but_the_identity_has_a_default() -> None:
    plain = {"apiVersion": "hilum/v1", "microservice": "w", "version": "1"}
    found = decode(json.dumps(plain))
    assert (found.instance, found.lease, found.objects) == ("default", 60, ())


def test_yaml_says_the_same() -> None:
    text = "apiVersion: hilum/v1\nmicroservice: w\nversion: '1'\nobjects: [{name: localhost/a}]\n"
    assert decode(text, "application/yaml").objects == (VirtualObject("snac.asu.edu/a"),)


def test_problems_say_line_and_column() -> None:
    text = RECOMMENDER.replace(b"http://10.0.0.1:9000", b"ftp://10.0.0.1").replace(
        b'"Recommender"', b'"-"'
    )
    with pytest.raises(InvalidDocument) as caught:
        decode(text)
    assert [str(problem) for problem in caught.value.problems] == [
        "line 1, column 44 (microservice): '-' cannot be the microservice; "
        "use letters, digits and . _ + ~ - between them, at most 128",
        "line 7, column 28 (objects[0].methods.createPlan.endpoints[0].url): "
        "the scheme 'ftp' is not supported: use http or https or mqtt or mqtts or coap or coap+tcp",
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, 'missing key "apiVersion"'),
        (manifest(apiVersion="v1"), "hilum/v1"),
        (manifest(object=[]), 'did you mean "objects"?'),
        (manifest(lease=4), ">= 5"),
        (manifest(lease=86_401), "<= 86400"),
        (manifest(version=""), "cannot be the version"),
        (manifest(instance="a/b"), "cannot be the instance"),
        (manifest(microservice="$binding"), "cannot be the microservice"),
        (manifest(description="x" * 4097), "<= 4096"),
        (manifest(*[{"name": f"o{i}"} for i in range(1001)]), "length <= 1000"),
        (manifest({"name": "a//b", "methods": {"m": {}}}), "empty segment"),
        (manifest({"name": "$site/x"}), "cannot start with '$'"),
        (manifest({"name": ".well-known/x"}), "belongs to HTTP"),
        (manifest({"name": "other.example/x"}), "belongs to the site"),
        (manifest({"name": "a" * 256}), "255 bytes"),
        (manifest({"name": "a"}, {"name": "localhost/a"}), "is already an object"),
        (
            manifest({"name": "a", "methods": {"b": {}}}, {"name": "a/b"}),
            "snac.asu.edu/a/b is already a method of this manifest",
        ),
        (
            manifest({"name": "a", "methods": {"b": {}}, "channels": {"b": {}}}),
            "snac.asu.edu/a/b is already a method of this manifest",
        ),
        (
            manifest({"name": "a", "methods": {"b c": {}, "b%20c": {}}}),
            "snac.asu.edu/a/b%20c is already a method",
        ),
        (manifest({"name": "a", "methods": {"b/c": {}}}), "cannot be a member"),
        (manifest({"name": "a", "methods": {"": {}}}), "empty segment"),
        (manifest({"name": "a", "methods": {"..": {}}}), "'.' and '..'"),
        (manifest({"name": "a", "methods": {"$x": {}}}), "cannot start with '$'"),
        (
            manifest({"name": "a", "methods": {f"m{i}": {} for i in range(257)}}),
            "257 members, more than 256",
        ),
        (
            manifest(*({"name": f"o{i}", "channels": MANY} for i in range(50))),
            "10050 names, more than 10000",
        ),
        (manifest({"name": "a", "method": {}}), 'did you mean "methods"?'),
        (offering(idempotend=True), 'did you mean "idempotent"?'),
        (offering(timeout=300_001), "<= 300000"),
        (offering(endpoints=[{"url": "http://h"}] * 65), "length <= 64"),
        (at("/plans"), "not an absolute URL"),
        (at("http://user:pw@h/"), "user information"),
        (at("http://h/#x"), "fragment"),
        (at("http://h:99999/"), "the port '99999'"),
        (at("amqp://h/"), "the scheme 'amqp'"),
        (at("http://{host}/"), "not a host name"),
        (at("http://h/{user}"), "args does not say so"),
        (at("http://h/", method="BREW"), "is no HTTP method"),
        (at("http://h/", args={"user": "path"}), "has no place in the URL"),
        (at("http://h/", args={"Content-Length": "header"}), "the gateway's own"),
        (offering(input=3), "expected object"),
        (offering(input={"type": "objekt"}), "type is one or a list of"),
        (offering(output={"pattern": "^(a+)+$"}), "linear time"),
        (
            manifest({"name": "a", "channels": {"c": {"retain": {"count": 0, "bytes": 0}}}}),
            "would keep everything",
        ),
        (
            manifest({"name": "a", "channels": {"c": {"retain": {"count": -1}}}}),
            ">= 0",
        ),
        (
            manifest({"name": "a", "channels": {"c": {"schema": {"$ref": "http://evil/"}}}}),
            "cannot be followed",
        ),
        (
            manifest({"name": "a", "channels": {"c": {"overflow": "drop"}}}),
            "drop-oldest",
        ),
    ],
)
def test_each_mistake_is_refused(document: dict[str, Any], said: str) -> None:
    (problem,) = refused(document)
    assert said in problem
    assert problem.startswith("line 1, column ")


def test_at_most_twenty_problems_are_told() -> None:
    assert len(refused(manifest(*[{"name": f"a//{i}"} for i in range(50)]))) == 20


def test_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidDocument, match="more than the"):
        decode(b" " * (1024 * 1024 + 1))


# --- create ----------------------------------------------------------------------------------

CREATION = {
    "microservice": "Recommender",
    "version": "1.0.0",
    "instance": "a",
    "object": {"name": "Plan/plan1", "methods": {"checkGoal": {"safe": True}}},
}


def create(document: object) -> tuple[RegistrationId, VirtualObject]:
    return decode_object(json.dumps(document).encode(), authority="snac.asu.edu")


def test_a_creation_says_whose_object_it_is() -> None:
    id_, obj = create(CREATION)
    assert id_ == RegistrationId("Recommender", "1.0.0", "a")
    assert obj == VirtualObject("snac.asu.edu/Plan/plan1", methods={"checkGoal": Method(safe=True)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"object": {"name": ""}}, "empty segment"),
        ({"object": {}}, 'missing key "name"'),
        ({"instance": ""}, "cannot be the instance"),
        ({"objects": []}, 'did you mean "object"?'),
        ({"apiVersion": "hilum/v2"}, "hilum/v1"),
    ],
)
def test_a_bad_creation_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        create({**CREATION, **change})
    assert said in str(caught.value)


# --- hostile input ---------------------------------------------------------------------------

KEYS = ("apiVersion", "microservice", "version", "objects", "name", "methods", "channels", "url")
MORE = ("endpoints", "args", "input", "output", "schema", "retain", "count", "type", "pattern")
WORDS = ("hilum/v1", "a", "a/b", "http://h/{x}", "path", "^a+$", "object", "$ref", "#/$defs/x")
words = st.sampled_from(KEYS + MORE + WORDS)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 9), words, st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(words, st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=12,
)


def check_any(data: bytes) -> None:
    found: InvalidDocument | None = None
    manifests = []
    try:
        manifests = [decode(data)]
    except InvalidDocument as error:
        found = error
    assert (found is None) == bool(manifests)
    for problem in found.problems if found else ():
        assert problem.message
        assert min(problem.line, problem.column) >= 1
    for each in manifests:
        again = json.dumps(json.loads(data) | {"objects": [plain(o) for o in each.objects]})
        assert decode(again).objects == each.objects


def plain(obj: VirtualObject) -> Any:
    return msgspec.to_builtins(obj)


@given(st.one_of(st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes) -> None:
    check_any(data)


@given(st.data())
def test_a_manifest_with_one_damaged_value_is_read_or_refused(data: st.DataObject) -> None:
    document = json.loads(RECOMMENDER)
    target: Any = document
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        inner = target[key]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            target = inner
            continue
        target[key] = data.draw(values)
        break
    check_any(json.dumps(document).encode())


@given(st.integers(0, len(RECOMMENDER) - 1), st.binary(max_size=3))
def test_a_manifest_with_damaged_bytes_is_read_or_refused(place: int, noise: bytes) -> None:
    check_any(RECOMMENDER[:place] + noise + RECOMMENDER[place + 1 :])


# --- meaning ---------------------------------------------------------------------------------

MEANING = b"""{"apiVersion": "hilum/v1", "microservice": "hvac", "version": "1",
 "deployment": "edge",
 "objects": [{"name": "vav1", "types": ["brick:VAV"], "place": "urn:plant:floor2",
   "methods": {"set": {"types": ["urn:plant:Set"], "profile": {"category": "urn:plant:Climate",
     "inputs": {"t": "qudt:Quantity"}, "outputs": {"ok": "urn:plant:Ok"},
     "preconditions": ["urn:plant:On"], "effects": ["urn:plant:Warm"], "level": {"latency": 50}}}},
   "channels": {"temp": {"profile": {"outputs": {"value": "brick:Temperature_Sensor"}}}}}]}"""


def test_terms_become_whole_iris() -> None:
    manifest = decode(MEANING)
    assert manifest.deployment == "edge"
    (vav,) = manifest.objects
    assert vav.types == ("https://brickschema.org/schema/Brick#VAV",)
    assert vav.place == "urn:plant:floor2"
    assert vav.methods["set"].types == ("urn:plant:Set",)
    assert vav.methods["set"].profile == Profile(
        category="urn:plant:Climate",
        inputs={"t": "http://qudt.org/schema/qudt/Quantity"},
        outputs={"ok": "urn:plant:Ok"},
        preconditions=("urn:plant:On",),
        effects=("urn:plant:Warm",),
        level=ServiceLevel(latency=50),
    )
    assert vav.channels["temp"].profile == Profile(
        outputs={"value": "https://brickschema.org/schema/Brick#Temperature_Sensor"}
    )


def test_a_term_that_is_none_is_told_with_its_place() -> None:
    data = MEANING.replace(b"brick:VAV", b"VAV").replace(b"urn:plant:On", b"no iri")
    with pytest.raises(InvalidDocument) as caught:
        decode(data)
    assert [(p.path, p.line) for p in caught.value.problems] == [
        ("objects[0].methods.set.profile.preconditions[0]", 6),
        ("objects[0].types[0]", 3),
    ]
    assert "brick:" in caught.value.problems[0].hint


# --- secrets ---------------------------------------------------------------------------------

SECURED = b"""{"apiVersion": "hilum/v1", "microservice": "m", "version": "1", "objects": [
 {"name": "lamp", "methods": {"on": {"endpoints": [
   {"url": "http://h/on", "security": "basic"}, {"url": "http://h/other"}]}}}]}"""


def test_an_endpoint_names_a_secret_of_its_own_object_only() -> None:
    (lamp,) = decode(SECURED).objects
    assert [e.security for e in lamp.methods["on"].endpoints] == [f"{lamp.name}#basic", ""]
    with pytest.raises(InvalidDocument) as caught:
        decode(SECURED.replace(b'"basic"', b'"door#basic"'))
    assert caught.value.problems[0].path == "objects[0].methods.on.endpoints[0].security"
