"""Reading descriptions: what is refused, and that every error is told with its pointer."""

import json

import pytest

from registry.things.contexts import TD_1_1
from registry.things.document import read
from registry.things.problems import InvalidThing

SECRET = "https://user:geheim@10.0.0.5/lamp"


def lamp(**members: object) -> dict:
    return {
        "@context": TD_1_1,
        "id": "urn:uuid:0804d572-cce8-422a-bb7c-4412fcd56f06",
        "title": "Lamp",
        "base": "http://10.0.0.5:8080/lamp/",
        "securityDefinitions": {"none": {"scheme": "nosec"}},
        "security": "none",
        **members,
    }


def property_(**members: object) -> dict:
    return {"properties": {"on": {"type": "boolean", "forms": [{"href": "on"}], **members}}}


def problems(document: object, **settings: bool) -> dict[str, str]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(InvalidThing) as caught:
        read(data, **settings)
    assert str(caught.value)
    return {each.pointer: each.message for each in caught.value.problems}


def test_the_text_is_kept_verbatim():
    text = '{"title":"Lamp",\n  "@context": "https://www.w3.org/2022/wot/td/v1.1", "x:y": 1e2,'
    text += '"security":["n"],"securityDefinitions":{"n":{"scheme":"nosec"}}}'
    thing = read(text.encode())
    assert (thing.text, thing.id, thing.title) == (text, "", "Lamp")


def test_every_error_is_told():
    document = lamp(
        **{"@type": 3},
        id="no iri",
        title=7,
        security=["basic"],
        securityDefinitions={"none": {"scheme": "magic", "password": "geheim"}},
        properties={"a/b": {"forms": [{"href": "on", "op": "invokeaction"}], "type": "text"}},
        actions={"go": {"forms": []}, "a.b[0]": {"forms": [{"op": []}]}},
        events={"e": {}},
    )
    assert problems(document) == {
        "/@type": "it must be of the type string or array",
        "/title": "it must be of the type string",
        "/properties/a~1b/type": "it must be one of array, boolean, integer, null, number, object, "
        "string",
        "/actions/go/forms": "it must have at least 1 items",
        "/actions/a.b[0]/forms/0": "the member 'href' is missing",
        "/actions/a.b[0]/forms/0/op": "it must have at least 1 items",
        "/events/e": "the member 'forms' is missing",
        "/id": "'no iri' is no absolute IRI",
        "/security": "'basic' is not defined",
        "/securityDefinitions/none/scheme": "'magic' is no security scheme",
        "/securityDefinitions/none/password": "a description is public and must hold no secret",
        "/properties/a~1b": "'a/b' cannot be a name: a segment cannot hold '/' or NUL, raw or "
        "encoded; use another character",
        "/properties/a~1b/forms/0/op": "'invokeaction' is no operation of properties",
    }
