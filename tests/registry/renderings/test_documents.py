"""Descriptions as Thing Descriptions, RDF, OpenAPI and AsyncAPI, read by the tools of others."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from registry.index.rdf import parsed
from registry.model import EventChannel, Method, ThingRecord, VirtualObject
from registry.names import Name
from registry.renderings.asyncapi import render_asyncapi
from registry.renderings.openapi import openapi, render_openapi
from registry.renderings.rdf import render_rdfxml, render_turtle
from registry.renderings.td import render_td
from registry.terms import HILUM, PREFIXES
from registry.things.view import Bases
from tests.npm import installed
from tests.registry.renderings.examples import ID, PLAN, SCALE, microservice, one_object, part
from tests.support import require_program

ODD = VirtualObject(
    Name("localhost/a%20b/%7Bc%7D"),
    methods={
        "%7Bx%7D": Method(safe=True, input={"type": "object", "required": ["a", "a"]}),
        "x.y": Method(input={"title": 5, "examples": 3, "description": ["no text"]}),
        "x": Method(output={"$schema": "x:y", "type": ["string", "string"]}),
    },
    channels={"x/y": EventChannel(schema={"$ref": "#/definitions/a", "definitions": {"a": {}}})},
)


def problems_of(document: dict[str, Any]) -> list[str]:
    return [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_openapi_is_what_a_validator_takes():
    for shown in (microservice(), one_object(), microservice(ODD, bases=Bases())):
        assert problems_of(json.loads(render_openapi(shown))) == []
    assert problems_of({"openapi": "3.1.1"}), "or this proves nothing"


def test_openapi_has_a_path_for_each_method():
    document = openapi(microservice())
    paths = document["paths"]
    assert {path: list(item) for path, item in paths.items()} == {
        "/Scale/weigh": ["post", "get"],
        "/Scale/setGoal": ["post"],
        "/plans/ann/look": ["post"],
    }
    assert document["servers"][0]["url"] == "http://127.0.0.1:8080"
    weigh = paths["/Scale/weigh"]["post"]
    assert weigh["x-hilum"]["may"] == ["call"]
    answer = weigh["responses"]["200"]["content"]["application/json"]
    schema = document["components"]["schemas"][answer["schema"]["$ref"].rpartition("/")[2]]
    assert schema["properties"]["parts"]["items"] == {
        "$ref": "#/components/schemas/Scale.weigh.output/$defs/part"
    }
    assert answer["example"] == {"kg": 1, "parts": [{"name": "text"}]}
    goal = paths["/Scale/setGoal"]["post"]["requestBody"]
    assert goal["required"]
    assert document["security"] == [{"token": []}]


def test_openapi_says_where_no_credential_is_needed():
    shown = microservice()
    shown = shown._replace(bases=shown.bases._replace(anonymous=("http",)))
    assert openapi(shown)["security"] == [{"token": []}, {}]


def test_asyncapi_is_what_its_own_parser_takes():
    documents = [
        render_asyncapi(shown)
        for shown in (microservice(), one_object(), microservice(ODD), microservice(bases=Bases()))
    ]
    documents.append(b'{"asyncapi": "3.0.0"}')
    folder = installed(Path(__file__).parent / "asyncapi")
    done = subprocess.run(
        [require_program("node"), "check.mjs"],
        cwd=folder,
        input=b"\n".join(json.dumps(json.loads(each)).encode() for each in documents),
        capture_output=True,
        timeout=60,
        check=True,
    )
    *ours, wrong = map(json.loads, done.stdout.splitlines())
    assert ours == [{"parsed": True, "errors": []}] * 4
    assert wrong["errors"], "or this proves nothing"


def test_asyncapi_has_each_channel_over_each_protocol():
    document = json.loads(render_asyncapi(microservice()))
    assert [each["address"] for each in document["channels"].values()] == [
        "Scale/weights",
        "plans/ann/alarms",
        "/$site/socket",
    ]
    assert {key: each["protocol"] for key, each in document["servers"].items()} == {
        "mqtt": "mqtt",
        "http": "http",
        "websocket": "ws",
    }
    actions = {key: each["action"] for key, each in document["operations"].items()}
    assert (actions["Scale.weights.subscribe"], actions["Scale.weights.publish"]) == (
        "send",
        "receive",
    )
    assert json.loads(render_asyncapi(microservice(bases=Bases())))["servers"] == {}


@pytest.mark.parametrize(
    ("render", "media_type"),
    [(render_turtle, "text/turtle"), (render_rdfxml, "application/rdf+xml")],
)
def test_rdf_speaks_of_the_visible_members(render, media_type):
    said = {
        (quad.subject.value, quad.predicate.value, quad.object.value)
        for quad in parsed(render(microservice()), media_type)
    }
    td, weigh = PREFIXES["td"], "urn:hilum:localhost/Scale/weigh"
    service = f"urn:hilum:localhost/$site/microservice/{'/'.join(ID)}"
    assert {
        ("urn:hilum:localhost/Scale", td + "hasActionAffordance", weigh),
        (weigh, HILUM + "category", HILUM + "Measuring"),
        (weigh, HILUM + "latency", "50"),
        (service, HILUM + "deployment", HILUM + "Edge"),
        (service, HILUM + "offers", "urn:hilum:localhost/plans/ann"),
    } <= said
    text = " ".join(value for triple in said for value in triple)
    assert "service:scale" not in text, "nothing of owners is in RDF"
    assert "10.0.0.7" not in text, "nor of endpoints"


def test_turtle_declares_the_prefixes_that_it_uses():
    text = render_turtle(one_object(PLAN)).decode()
    declared = [line.split()[1] for line in text.splitlines() if line.startswith("@prefix")]
    assert declared == ["hilum:", "td:"]


def test_rdfxml_holds_no_character_that_xml_forbids():
    hostile = VirtualObject(Name("localhost/x"), "a\x00b\x1bc\x0b]]>&<\ufffe")
    text = render_rdfxml(one_object(hostile)).decode()
    assert not any(bad in text for bad in "\x00\x1b\x0b\ufffe")
    assert "a\N{REPLACEMENT CHARACTER}b" in text
    assert "&lt;" in text


def test_an_object_is_a_thing_description_and_a_microservice_a_collection():
    thing = json.loads(render_td(one_object()))
    assert thing["id"] == "urn:hilum:localhost/Scale"
    assert thing["actions"]["weigh"]["forms"][0]["href"].startswith("http://127.0.0.1:8080/Scale/")
    collection = json.loads(render_td(microservice()))
    assert (collection["@type"], collection["total"]) == ("ThingCollection", 2)
    assert [each["id"] for each in collection["members"]] == [
        "urn:hilum:localhost/Scale",
        "urn:hilum:localhost/plans/ann",
    ]


def test_what_was_submitted_is_shown_with_our_forms():
    text = json.dumps(
        {
            "@context": "https://www.w3.org/2022/wot/td/v1.1",
            "id": "urn:uuid:6f0c0f6e-7d0a-4d1b-9c0e-2f1f6a3b5c4d",
            "title": "Lamp",
            "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
            "security": "nosec_sc",
            "actions": {"toggle": {"forms": [{"href": "http://10.0.0.9/toggle"}]}},
        }
    )
    obj = VirtualObject(Name("localhost/lamp"), methods={"toggle": Method()})
    record = ThingRecord("urn:uuid:6f0c", Name(obj.name), ID, "a:b", text, 1, 1, 1)
    shown = one_object(obj)
    shown = shown._replace(parts=(part(obj)._replace(record=record, subject="urn:uuid:6f0c"),))
    thing = json.loads(render_td(shown))
    assert (thing["title"], thing["id"]) == ("Lamp", "urn:uuid:6f0c")
    assert "10.0.0.9" not in json.dumps(thing)
    assert b"<urn:uuid:6f0c> a td:Thing" in render_turtle(shown)
    assert b'td:title "Lamp"' in render_turtle(shown)


def test_an_object_of_bindings_alone_has_no_thing():
    shown = one_object(SCALE)._replace(parts=())
    assert json.loads(render_td(shown))["total"] == 0
    assert b"hilum" not in render_turtle(shown)
