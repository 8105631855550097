"""Whatever a valid manifest says, every format can be made of it, and read back."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from registry.describe import describe_microservice
from registry.documents import InvalidDocument
from registry.index.rdf import parsed
from registry.manifest import decode_manifest
from registry.media_types import MAX_ACCEPT
from registry.model import Registration, RegistrationId
from registry.names import Name
from registry.renderings.asyncapi import render_asyncapi
from registry.renderings.formats import FORMATS, NAMES, named, negotiated
from registry.renderings.samples import sample
from registry.renderings.schema_rows import ROWS, rows_of
from registry.renderings.shown import Shown
from tests.npm import installed
from tests.registry.renderings.examples import BASES, may, part
from tests.registry.renderings.test_page import Page
from tests.support import require_program

TEXT = st.text(max_size=12)
KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.none() | st.booleans() | NUMBERS | TEXT | st.lists(TEXT, max_size=2)
COUNTS = st.integers(0, 5)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
PLAIN = {
    "type": TYPES | st.lists(TYPES, min_size=1, max_size=3),
    "enum": st.lists(ANYTHING, min_size=1, max_size=3),
    "required": st.lists(KEYS, max_size=3),
    "minimum": NUMBERS,
    "maximum": NUMBERS,
    "exclusiveMaximum": NUMBERS,
    "multipleOf": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    "minLength": COUNTS,
    "maxLength": COUNTS,
    "maxItems": COUNTS,
    "pattern": st.just("^a*$"),
    "$ref": st.just("#/$defs/a"),
    **dict.fromkeys(
        ["const", "default", "description", "title", "format", "examples", "unit", "deprecated"],
        ANYTHING,
    ),
}


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named_ = st.lists(inner, min_size=1, max_size=2), st.dictionaries(KEYS, inner, max_size=3)
    more = {
        **dict.fromkeys(["items", "additionalProperties", "not", "if"], inner),
        **dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], some),
        "properties": named_,
    }
    return st.fixed_dictionaries({}, optional=PLAIN | more) | st.booleans()


SCHEMAS = st.builds(
    lambda schema, definition: {**schema, "$defs": {"a": definition}},
    st.recursive(st.fixed_dictionaries({}, optional=PLAIN), _schemas, max_leaves=6).filter(
        lambda schema: isinstance(schema, dict)
    ),
    st.fixed_dictionaries({}, optional={k: v for k, v in PLAIN.items() if k != "$ref"}),
)
IRIS = st.sampled_from(["brick:VAV", "javascript:alert(1)", "urn:x:é", "https://x.test/a#b_c"])
TERMS = st.lists(IRIS, max_size=2)
PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "category": IRIS,
        "inputs": st.dictionaries(KEYS, IRIS, max_size=2),
        "effects": TERMS,
        "level": st.fixed_dictionaries({}, optional={"latency": st.floats(0, 1e6)}),
    },
)
MEANING = {"description": TEXT, "types": TERMS, "profile": PROFILE}
METHODS = st.fixed_dictionaries(
    {}, optional={**MEANING, "safe": st.booleans(), "input": SCHEMAS, "output": SCHEMAS}
)
CHANNELS = st.fixed_dictionaries({}, optional={**MEANING, "schema": SCHEMAS})
SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="/+#"), min_size=1, max_size=5)
OBJECTS = st.fixed_dictionaries(
    {"name": SEGMENTS},
    optional={
        "description": TEXT,
        "types": TERMS,
        "place": IRIS,
        "methods": st.dictionaries(SEGMENTS, METHODS, max_size=2),
        "channels": st.dictionaries(SEGMENTS, CHANNELS, max_size=2),
    },
)


def shown_of(objects: list[dict[str, Any]], deployment: str) -> Shown:
    document = {
        "apiVersion": "hilum/v1",
        "microservice": "Fuzz",
        "version": "1",
        "deployment": deployment,
        "objects": objects,
    }
    try:
        manifest = decode_manifest(json.dumps(document).encode(), authority="localhost")
    except InvalidDocument:
        assume(False)
    id_ = RegistrationId("Fuzz", "1", "a")
    registration = Registration(id_, "a:b", "", 60, 1, manifest.objects, deployment=deployment)
    described = describe_microservice("Fuzz", [registration], lambda _: {}, may)
    return Shown("localhost", described, tuple(map(part, manifest.objects)), BASES)


@given(st.lists(OBJECTS, max_size=2), st.sampled_from(["device", "edge", "fog", "cloud"]))
def test_every_format_of_any_valid_manifest_reads_back(objects, deployment):
    shown = shown_of(objects, deployment)
    made = {each.name: each.render(shown) for each in FORMATS}
    assert made.keys() == set(NAMES)
    for name in ("json", "td", "openapi", "asyncapi"):
        assert isinstance(json.loads(made[name]), dict)
    Page(made["html"])
    made["text"].decode()
    turtle = set(map(str, parsed(made["turtle"], "text/turtle")))
    xml = set(map(str, parsed(made["rdfxml"], "application/rdf+xml")))
    assert len(turtle) == len(xml)
    assert bool(turtle) == bool(shown.parts)


@pytest.mark.full
def test_asyncapis_own_parser_takes_any_of_them():
    documents: list[bytes] = []

    @settings(max_examples=40)
    @given(st.lists(OBJECTS, min_size=1, max_size=2))
    def collect(objects):
        document = json.loads(render_asyncapi(shown_of(objects, "edge")))
        documents.append(json.dumps(document).encode())

    collect()
    done = subprocess.run(
        [require_program("node"), "check.mjs"],
        cwd=installed(Path(__file__).parent / "asyncapi"),
        input=b"\n".join(documents),
        capture_output=True,
        timeout=300,
        check=True,
    )
    answers = list(map(json.loads, done.stdout.splitlines()))
    assert len(answers) == len(documents)
    assert [each["errors"] for each in answers if each["errors"]] == []


@given(SCHEMAS)
def test_any_schema_has_a_sample_and_rows(schema):
    json.dumps(sample(schema))
    assert len(rows_of(schema)) <= ROWS


@given(st.text(max_size=200) | st.just("a/b," * MAX_ACCEPT))
def test_any_accept_asks_for_something_or_nothing(accept):
    choice = negotiated(accept)
    assert choice is None or choice.format in FORMATS
    assert named(accept) is None or accept.strip()


def test_names_are_those_of_the_site():
    shown = shown_of([{"name": "a b", "methods": {"ü": {}}}], "edge")
    assert shown.parts[0].name == Name("localhost/a%20b")
