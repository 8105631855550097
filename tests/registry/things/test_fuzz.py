"""Whatever is sent: a description is taken or refused, and a view of what is taken is sound."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.things import addresses
from registry.things.contexts import TD_1_0, TD_1_1, Vocabulary
from registry.things.document import Thing, read
from registry.things.expansion import NotExpandable, expand
from registry.things.mapping import object_of
from registry.things.patch import merge, patched
from registry.things.problems import InvalidThing
from registry.things.schema import SCHEMA
from registry.things.shape import problems_of
from registry.things.validation import fits, shape_problems
from registry.things.view import view_of
from tests.registry.things.examples import BASES, HOST, ID, encoded, record_of, thing

WORDS = st.sampled_from(
    [
        *(
            "",
            "a",
            "b",
            "a b",
            "a/b",
            "ü",
            "u\u0308",
            "$a",
            "@a",
            "on;write",
            "x" * 250,
            "%2f",
            "{a}",
        ),
        *(
            "id",
            "title",
            "type",
            "forms",
            "properties",
            "enum",
            "hilum:name",
            "hilum:place",
            "my:x",
        ),
        *("@type", "@id", "@context", "description", "unit", "const", "items", "oneOf", "a.b[0]"),
    ]
)
HREFS = st.sampled_from(
    [
        *(
            "on",
            "/on",
            "../x",
            f"http://{HOST}/x",
            f"HTTP://{HOST.upper()}:80/{{a}}",
            "x{?a,b}",
            "",
        ),
        *(
            "coap://10.0.0.7/x",
            "mqtt://broker.test/t",
            "mqtt://broker.test",
            "wss://10.0.0.8/",
            "#f",
        ),
        *("coaps://[2001:db8::7]/x", "urn:x", "http://", "//a.test", "http://a b/", "x{", "é", "%"),
        "http://u:p@device.test/",
    ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS, HREFS
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OPS = st.sampled_from(
    [
        *("readproperty", "writeproperty", "observeproperty", "invokeaction", "subscribeevent"),
        *("unobserveproperty", "queryaction", "nonsense"),
    ]
)


def loose(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these members, and now and then one of any kind."""
    extra = st.dictionaries(WORDS, ANY, max_size=1)
    return st.builds(lambda a, b: {**b, **a}, st.fixed_dictionaries({}, optional=known), extra)


SCHEMAS = loose(
    {
        "type": st.sampled_from(["object", "array", "string", "integer"]),
        "@type": WORDS,
        "properties": st.dictionaries(WORDS, st.just({"type": "string"}), max_size=2),
        "items": st.sampled_from([{}, [{}, {"type": "null"}], {"items": [{}]}]),
        "enum": st.lists(SCALARS, max_size=2),
        "pattern": st.sampled_from(["^a$", "(a+)+", "["]),
        "readOnly": st.booleans(),
    }
)
FORM = st.builds(
    lambda form, href: {"href": href, **form},
    loose(
        {
            "op": OPS | st.lists(OPS, max_size=2),
            "contentType": st.sampled_from(["application/json", "application/cbor", "text/plain"]),
            "security": st.sampled_from(["none", "login", ["login"]]),
            "htv:methodName": st.sampled_from(["GET", "BREW"]),
            "mqv:topic": st.sampled_from(["t", "t/+", ""]),
            "mqv:qos": st.sampled_from([0, "1", 9]),
        }
    ),
    HREFS,
)
FORMS = st.lists(FORM, min_size=1, max_size=3)


def affordances(more: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    variables = st.just({"a": {}, "b": {"type": "integer"}})
    known = {"uriVariables": variables, "description": WORDS, "safe": st.booleans(), **more}
    one = st.builds(lambda node, forms: {**node, "forms": forms}, loose(known), FORMS)
    return st.dictionaries(WORDS, one, max_size=2)


DOCUMENTS = st.builds(
    lambda members: thing(
        securityDefinitions={"none": {"scheme": "nosec"}, "login": {"scheme": "basic"}}, **members
    ),
    loose(
        {
            "@context": st.sampled_from([TD_1_0, [TD_1_1, {"my": "urn:my:"}], [TD_1_1, {"a": 1}]]),
            "@type": st.lists(WORDS, max_size=2),
            "id": st.sampled_from([ID, "urn:x", "https://device.test/x", "urn:hilum:localhost/a"]),
            "base": st.sampled_from(["", f"http://{HOST}/", "coap://10.0.0.7", "urn:x"]),
            "properties": affordances({"items": SCHEMAS, "readOnly": st.booleans()}),
            "actions": affordances({"input": SCHEMAS, "output": SCHEMAS}),
            "events": affordances({"data": SCHEMAS}),
            "links": st.lists(
                st.builds(lambda href: {"href": href, "rel": "my:x"}, HREFS), max_size=2
            ),
            "uriVariables": st.just({"a": {}}),
        }
    ),
)
LEAN = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(LEAN, max_examples=5000)


def taken(data: bytes) -> Thing | None:
    with suppress(InvalidThing):
        return read(data, unknown_contexts=True)
    return None


def check_view(document: Any) -> bool:
    """Map and show a description if it is taken, and look at what comes of it."""
    one = taken(json.dumps(document).encode())
    if one is None:
        return False
    try:
        made = object_of(one, "localhost", id_=one.id or ID)
    except InvalidThing:
        return False
    record = record_of(one, made, one.id or ID)
    view = view_of(made.name, made.object, record, BASES)
    assert shape_problems(view) == []
    assert taken(encoded(view)) is None
    assert shape_problems(view_of(made.name, made.object, None, BASES)) == []
    shown = json.dumps(unnamed({**view, "hilum:view": "", "hilum:name": ""}))
    shown = shown.replace(made.name.partition("/")[2], "").lower()
    for affordance in (
        each
        for kind in ("properties", "actions", "events")
        for each in one.data.get(kind, {}).values()
    ):
        for form in affordance["forms"]:
            host = addresses.host_of(
                addresses.resolve(one.data.get("base", ""), form["href"]) or ""
            )
            assert "." not in host or host not in shown
    with suppress(NotExpandable):
        expand(one.text, made.object, record.id)
    return True


def unnamed(value: Any) -> Any:
    """Return a value without what only names things: names may look like addresses."""
    if isinstance(value, dict):
        names = ("@context", "@id", "@type", "id")
        return {key: unnamed(each) for key, each in value.items() if key not in names}
    return [unnamed(each) for each in value] if isinstance(value, list) else value


def test_the_documents_are_of_both_kinds():
    assert check_view(thing(properties={"a": {"forms": [{"href": "on"}]}}))
    assert not check_view(thing(properties={"a": {"forms": []}}))


@LEAN
@given(DOCUMENTS)
def test_descriptions(document: dict[str, Any]):
    check_view(document)


@pytest.mark.full
@LONG
@given(DOCUMENTS)
def test_many_descriptions(document: dict[str, Any]):
    check_view(document)


@LEAN
@given(st.binary(max_size=60) | ANY.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(data: bytes):
    taken(data)
    with suppress(InvalidThing):
        patched('{"title": "x"}', data)


@LEAN
@given(DOCUMENTS | ANY | st.builds(lambda a, b: {**a, "schemaDefinitions": b}, DOCUMENTS, ANY))
def test_what_lists_errors_agrees_with_what_finds_them(document: Any):
    assert fits(document) == (next(problems_of(SCHEMA, document), None) is None)


@LEAN
@given(ANY, ANY)
def test_merging_anything(target: Any, patch: Any):
    merged = merge(target, patch)
    assert merge(merged, patch) == merged or json.dumps(patch).count("NaN")


@LEAN
@given(st.text(max_size=30) | HREFS, st.text(max_size=30) | HREFS)
def test_any_addresses(base: str, href: str):
    addresses.resolve(base, href)
    addresses.host_of(href)
    with suppress(ValueError):
        addresses.template(href)


@LEAN
@given(ANY, SCALARS)
def test_any_context(context: Any, term: Any):
    words = Vocabulary(context)
    words.expand(term)
    words.types(context)
