"""Descriptions as objects: names, endpoints, sources, and what they mean."""

from typing import Any

import pytest

from registry.model import Endpoint, Profile, ServiceLevel
from registry.things.contexts import TD_1_1
from registry.things.document import read
from registry.things.mapping import object_of
from registry.things.naming import registration_id
from registry.things.problems import InvalidThing
from tests.registry.things.examples import ID, encoded, mapped, thing

NAME = "localhost/device/0804d572-cce8-422a-bb7c-4412fcd56f06"


def forms(*hrefs: str, **members: Any) -> dict[str, Any]:
    return {"forms": [{"href": href, **members} for href in hrefs]}


def endpoints(kind: str, node: dict[str, Any], member: str = "x", **members: Any) -> list[Endpoint]:
    made = mapped(thing(**{kind: {"x": node}}, **members))
    return list(made.object.methods[member].endpoints)


# Names


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("urn:uuid:0804D572-CCE8-422A-BB7C-4412FCD56F06", NAME),
        ("urn:hilum:localhost/kitchen/lamp", "localhost/kitchen/lamp"),
        ("urn:dev:ops:32473-Lamp", "localhost/things/urn:dev:ops:32473-Lamp"),
        ("urn:lampe:ü", "localhost/things/urn:lampe:%C3%BC"),
        ("https://a.test/things/lamp-7", "localhost/things/lamp-7-56b9d0ba08d5e0e0d0a2"),
        ("urn:a/", "localhost/things/3e8a9ddea1c5ab3c2a45"),
    ],
)
def test_the_name_comes_from_the_id(id_: str, name: str):
    made = mapped(thing(id=id_)).name
    if id_.startswith(("https", "urn:a/")):  # The end of it, and a digest.
        assert made.rpartition("-")[0] == name.rpartition("-")[0]
        assert len(made.rpartition("-")[2].rpartition("/")[2]) == 20
    else:
        assert made == name


def test_a_long_id_is_told_by_its_digest():
    one, other = (mapped(thing(id="urn:" + "ä" * 300 + end)).name for end in "ab")
    assert one != other
    assert len(one) < 100


def test_a_description_says_its_name_and_the_site_gives_an_id():
    assert mapped(thing(**{"hilum:name": "Hall/lamp 1"})).name == "localhost/Hall/lamp%201"
    bound = {"@context": [TD_1_1, {"h": "https://w3id.org/hilum#"}], "h:name": "localhost/lamp"}
    assert mapped(thing(**bound)).name == "localhost/lamp"
    anonymous = thing()
    del anonymous["id"]
    assert object_of(read(encoded(anonymous)), "localhost", id_=ID).name == NAME


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"id": "urn:hilum:other.test/lamp"}, "/id"),
        ({"id": "urn:hilum:localhost/$site/x"}, "/id"),
        ({"id": "urn:hilum:localhost/hall/lamp", "hilum:name": "kitchen/lamp"}, "/id"),
        ({"id": "URN:hilum:localhost/hall/lamp", "hilum:name": "kitchen/lamp"}, "/id"),
        ({"id": "urn:hilum:localhost/$site/x", "hilum:name": "kitchen/lamp"}, "/id"),
        ({"hilum:name": "remote.test/lamp"}, "/hilum:name"),
        ({"hilum:name": ".well-known/lamp"}, "/hilum:name"),
        ({"hilum:name": "a/" * 500 + "a", "events": {"x" * 200: forms("e")}}, ""),
    ],
)
def test_names_that_a_site_cannot_give(members: dict[str, Any], pointer: str):
    with pytest.raises(InvalidThing) as caught:
        object_of(read(encoded(thing(**members))), "localhost", remotes={"remote.test"})
    assert [each.pointer for each in caught.value.problems] == [pointer]


@pytest.mark.parametrize(
    ("title", "version", "expected"),
    [
        ("My Lamp (new)", {"instance": "1.2.0"}, ("My-Lamp-new", "1.2.0")),
        ("灯", {"instance": "-"}, ("thing", "1")),
        ("x" * 100, {}, ("x" * 64, "1")),
    ],
)
def test_the_registration_of_a_thing(title: str, version: dict[str, str], expected: tuple):
    document = thing(title=title)
    if version:
        document["version"] = version
    one = read(encoded(document))
    found = registration_id(one.data, mapped(document).name)
    assert found[:2] == expected
    assert len(found.instance) == 20


def test_members_of_properties_actions_and_events():
    mqtt = {"href": "mqtt://b.test/on", "op": "observeproperty"}
    made = mapped(
        thing(
            properties={
                "on": {"forms": [{"href": "on"}, mqtt]},
                "level": {"readOnly": True, **forms("level")},
                "pin": {"writeOnly": True, **forms("pin")},
                "both": forms("both"),
            },
            actions={"both": forms("do"), "a b": {"safe": True, **forms("ab")}},
            events={"alarm": forms("coap://d.test/alarm"), "both": forms("e"), "on": forms("e")},
        )
    ).object
    assert set(made.methods) == {
        *("on", "on;write", "level", "pin;write", "both", "both;read", "both;write", "a%20b"),
    }
    assert set(made.channels) == {"on;observe", "alarm", "both;event", "on;event"}
    assert made.methods["on"].safe
    assert made.methods["on;write"].idempotent
    assert not made.methods["on;write"].safe
    assert made.methods["a%20b"].safe
    assert made.channels["on;observe"].sources == ("mqtt://b.test/on",)
    assert made.channels["alarm"].sources == ("coap://d.test/alarm",)


# Forms


def test_http_forms():
    node = forms("on", "https://b.test/on", "on", "wss://b.test/on", "%zz", "é b")
    made = mapped(thing(properties={"x": node}))
    read_, write = made.object.methods["x"], made.object.methods["x;write"]
    urls = ["http://device.test:8080/lamp/on", "https://b.test/on"]
    urls.append("http://device.test:8080/lamp/%C3%A9%20b")
    assert [(each.url, each.method) for each in read_.endpoints] == [(url, "GET") for url in urls]
    assert [(each.url, each.method) for each in write.endpoints] == [(url, "PUT") for url in urls]
    assert len(made.warnings) == 4


@pytest.mark.parametrize(
    ("href", "base", "url"),
    [
        ("//c.test/x", "http://d.test/a/b", "http://c.test/x"),
        ("../x?y=1", "http://d.test/a/b/c", "http://d.test/a/x?y=1"),
        ("./", "http://d.test/a/b/c", "http://d.test/a/b/"),
        ("?y=1", "http://d.test/a", "http://d.test/a?y=1"),
        ("../../../x", "http://d.test/a", "http://d.test/x"),
        ("x", "http://d.test", "http://d.test/x"),
        ("/x", "coap://d.test/a/b", "coap://d.test/x"),
        ("x/..", "coap://d.test/a/b", "coap://d.test/a/"),
    ],
)
def test_references_are_resolved(href: str, base: str, url: str):
    assert endpoints("actions", forms(href), base=base)[0].url == url


@pytest.mark.parametrize("key", ["htv:methodName", "http:methodName"])
def test_the_method_of_http(key: str):
    context = [TD_1_1, {"http": "http://www.w3.org/2011/http#"}]
    node = forms("x", **{key: "DELETE"})
    assert endpoints("actions", node, **{"@context": context})[0].method == "DELETE"
    assert endpoints("actions", forms("x", **{"htv:methodName": "BREW"})) == []


def test_variables_become_arguments():
    variables = {name: {"type": "string"} for name in ("room", "from", "to", "unit")}
    node = {"uriVariables": variables, **forms("r/{room}?unit={unit}{&from,to}")}
    [endpoint] = endpoints("actions", node)
    assert endpoint.url == "http://device.test:8080/lamp/r/{room}?unit={unit}"
    assert endpoint.args == {"room": "path", "unit": "query", "from": "query", "to": "query"}
    shared = endpoints("actions", forms("x{?a}"), uriVariables={"a": {"type": "integer"}})
    assert shared[0].args == {"a": "query"}
    over_coap = {"uriVariables": variables, **forms("coap://d.test/{room}", "mqtt://d.test/{room}")}
    assert endpoints("actions", over_coap) == []


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ("POST", "")),
        ({"cov:method": "PUT"}, ("PUT", "")),
        ({"cov:methodName": "FETCH", "contentType": "application/cbor"}, ("FETCH", "cbor")),
    ],
)
def test_coap_forms(members: dict[str, str], expected: tuple[str, str]):
    [endpoint] = endpoints("actions", forms("coap://d.test/x", **members))
    assert (endpoint.method, endpoint.encoding) == expected


def test_variables_beside_a_payload():
    variables = {"uriVariables": {"v": {"@type": "my:V"}}}
    context = {"@context": [TD_1_1, {"my": "urn:my:"}]}
    parts = {"input": {"properties": {"a": {"type": "null"}}}}
    made = mapped(thing(**context, actions={"x": {**variables, **parts, **forms("x{?v}")}})).object
    assert made.methods["x"].input == {
        "type": "object",
        "properties": {"a": {"type": "null"}, "v": {}},
    }
    assert made.methods["x"].endpoints[0].args == {"v": "query"}
    assert made.methods["x"].profile == Profile(inputs={"v": "urn:my:V"})
    # What is no object passes as it is.
    number = {"input": {"type": "number"}, **variables, **forms("x{?v}", "x/{v}")}
    [endpoint] = endpoints("actions", number, **context)
    assert (endpoint.url, endpoint.args) == ("http://device.test:8080/lamp/x", {})


def test_only_json_is_checked():
    text = {"type": "string", **forms("x", contentType="text/plain")}
    made = mapped(thing(properties={"x": text}, actions={"a": {"input": text, **text}})).object
    assert made.methods["x;write"].input is None
    assert made.methods["x"].output is None
    assert made.methods["a"].input is None
    senml = {"input": {"type": "string"}, **forms("x", contentType="application/senml+json;v=1")}
    assert mapped(thing(actions={"a": senml})).object.methods["a"].input == {"type": "string"}


def test_coap_forms_that_cannot_be_used():
    node = forms("coaps://d.test/x", "coap://d.test/x#f")
    assert endpoints("actions", node) == []
    assert mapped(thing(events={"x": node})).object.channels["x"].sources == ()


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({"href": "mqtt://b.test/a/b"}, "mqtt://b.test/a/b?reply=none"),
        ({"href": "mqtt://b.test", "mqv:topic": "a b/c"}, "mqtt://b.test/a%20b/c?reply=none"),
        (
            {"href": "mqtts://b.test:8884/", "mqv:topic": "t", "mqv:qos": "2"},
            "mqtts://b.test:8884/t?qos=2&reply=none",
        ),
        (
            {"href": "mqtt://b.test/t", "mqv:controlPacket": "mqv:publish"},
            "mqtt://b.test/t?reply=none",
        ),
        ({"href": "mqtt://b.test/t", "mqv:controlPacket": "subscribe"}, None),
        ({"href": "mqtt://b.test/"}, None),
        ({"href": "mqtt://b.test/", "mqv:topic": "a/#"}, None),
    ],
)
def test_mqtt_forms_of_an_action(members: dict[str, str], url: str | None):
    found = endpoints("actions", {"forms": [members]})
    assert [each.url for each in found] == ([url] if url else [])


def test_an_action_over_mqtt_that_has_an_output_waits_for_it():
    [endpoint] = endpoints("actions", {"output": {}, **forms("mqtt://b.test/t")})
    assert endpoint.url == "mqtt://b.test/t"


def test_a_property_of_a_broker_is_observed():
    made = mapped(thing(properties={"x": forms("mqtt://b.test", **{"mqv:filter": "t/1"})})).object
    assert made.channels["x;observe"].sources == ("mqtt://b.test/t/1",)
    assert set(made.methods) == {"x;write"}
    unheard = {"readOnly": True, **forms("mqtt://b.test/t/+")}
    assert mapped(thing(properties={"x": unheard})).object.methods["x"].endpoints == ()
    assert mapped(thing(base="mqtt://b.test", properties={"x": forms("/t")})).warnings == []
    wild = mapped(thing(events={"x": forms("mqtt://b.test", **{"mqv:filter": "t/+"})}))
    assert wild.object.channels["x"].sources == ()
    assert "wildcards" in wild.warnings[0]


def test_a_form_of_an_event_that_nothing_here_observes():
    made = mapped(
        thing(
            events={"x": forms("e", "coap://d.test/{v}", uriVariables={})} | {},
            uriVariables={"v": {}},
        )
    )
    assert made.object.channels["x"].sources == ()
    assert len(made.warnings) == 2


# Secrets


@pytest.mark.parametrize(
    ("security", "name"),
    [
        ("none", ""),
        (["none", "login"], "login"),
        ("both", "key"),
        ("one", "login"),
        ("a b/c", "a_b_c"),
    ],
)
def test_the_secret_that_a_form_needs(security: object, name: str):
    definitions = {
        "none": {"scheme": "nosec"},
        "login": {"scheme": "basic"},
        "key": {"scheme": "apikey", "in": "header", "name": "X-Key"},
        "both": {"scheme": "combo", "allOf": ["key", "login"]},
        "one": {"scheme": "combo", "oneOf": ["none", "login"]},
        "a b/c": {"scheme": "bearer"},
    }
    found = endpoints("actions", forms("x"), security=security, securityDefinitions=definitions)
    assert found[0].security == (f"{NAME}#{name}" if name else "")
    own = forms("x", security=security)
    assert endpoints("actions", own, securityDefinitions=definitions) == found


# Meaning


def test_types_places_and_profiles():
    context = [
        TD_1_1,
        {
            "my": "https://my.test/",
            "bad": "https://my.test/x",
            "Pump": "my:Pump",
            "@language": "en",
        },
        {"@vocab": "https://vocab.test/", "T": {"@id": "my:T", "@prefix": True}, "gone": None},
    ]
    degrees = {"type": "number", "@type": "my:Celsius"}
    made = mapped(
        thing(
            **{
                "@context": context,
                "@type": ["brick:VAV", "my:VAV", "Pump", "Lamp", "bad:X", "foo:X", "T:x", "gone"],
                "hilum:place": {"@id": "my:floor2"},
                "description": "Cools.",
            },
            actions={
                "cool": {
                    "@type": "my:Cooling",
                    "hilum:category": "my:Climate",
                    "hilum:latency": 50,
                    "hilum:availability": 2,
                    "hilum:rate": True,
                    "hilum:precondition": "my:On",
                    "hilum:effect": ["my:Cool", "my:Quiet"],
                    "input": {"type": "object", "properties": {"to": degrees, "by": {}}},
                    "output": degrees,
                    **forms("cool"),
                }
            },
            properties={"p": {"@type": "my:P", "type": "array", "properties": {}, **forms("p")}},
        )
    ).object
    vav = "https://brickschema.org/schema/Brick#VAV"
    my = "https://my.test/"
    assert made.types == (vav, my + "VAV", my + "Pump", "https://vocab.test/Lamp", my + "Tx")
    assert (made.place, made.description) == (my + "floor2", "Cools.")
    assert made.methods["cool"].types == (my + "Cooling",)
    assert made.methods["cool"].profile == Profile(
        category=my + "Climate",
        inputs={"to": my + "Celsius"},
        outputs={"value": my + "Celsius"},
        preconditions=(my + "On",),
        effects=(my + "Cool", my + "Quiet"),
        level=ServiceLevel(latency=50),
    )
    assert made.methods["p"].profile == Profile(outputs={"value": my + "P"})


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"schema:containedInPlace": "urn:hall"}, "urn:hall"),
        ({"schema:containedInPlace": {"id": "urn:hall"}}, "urn:hall"),
        ({"iot:hasLocation": "urn:hall"}, "urn:hall"),
        ({"hilum:place": "urn:a", "schema:location": "urn:b"}, "urn:a"),
        ({"hilum:place": "the hall"}, ""),
        ({"hilum:place": ["urn:a"]}, ""),
        ({}, ""),
    ],
)
def test_where_a_thing_is(members: dict[str, Any], place: str):
    context = [TD_1_1, {"iot": "http://iotschema.org/"}]
    assert mapped(thing(**{"@context": context}, **members)).object.place == place


def test_an_empty_profile_is_none():
    made = mapped(thing(actions={"x": {"hilum:latency": "fast", **forms("x")}})).object
    assert made.methods["x"].profile is None


def test_schemas_become_json_schema():
    schema = {
        "@type": "my:X",
        "type": "array",
        "items": [{"type": "string", "x:y": 1}, {"oneOf": [{"const": 1}]}],
        "minItems": 1,
        "unit": "m",
    }
    action = {"input": schema, "output": {"items": {"type": "null"}, "x:y": 1}, **forms("x")}
    method = mapped(thing(actions={"x": action})).object.methods["x"]
    assert method.input == {
        "type": "array",
        "minItems": 1,
        "unit": "m",
        "prefixItems": [{"type": "string"}, {"oneOf": [{"const": 1}]}],
    }
    assert method.output == {"items": {"type": "null"}}


def test_a_schema_that_says_nothing_or_too_much_is_not_checked():
    large = {"enum": ["x" * 1000] * 20}
    made = mapped(thing(actions={"x": {"input": large, "output": {"x:y": 1}, **forms("x")}}))
    assert made.object.methods["x"].input is None
    assert made.object.methods["x"].output is None
    assert made.warnings == ["a schema of more than 16384 bytes is not checked"]


def test_types_with_a_prefix_that_nobody_declared_are_told_once():
    typed = {"@type": ["bric:Room", "brick:Room", "Room"]}
    made = mapped(thing(**typed, actions={"x": {**typed, **forms("http://b.test/x")}}))
    assert made.object.types == ("https://brickschema.org/schema/Brick#Room",)
    (warning,) = made.warnings
    assert '"bric:Room"' in warning
    assert "@context" in warning
