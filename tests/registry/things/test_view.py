"""Views: the site's own forms, no way to the thing itself, and everything else kept."""

from typing import Any

import pytest
from msgspec.structs import replace

from registry.model import EventChannel, Method, Profile, ServiceLevel, ThingRecord, VirtualObject
from registry.names import Name
from registry.things.contexts import TD_1_0, TD_1_1
from registry.things.document import read
from registry.things.mapping import object_of
from registry.things.validation import shape_problems
from registry.things.view import Bases, view_of
from tests.registry.things.examples import BASES, HOST, ID, encoded, record_of, thing, viewed

PATH = "device/0804d572-cce8-422a-bb7c-4412fcd56f06"
HTTP = f"http://gw.test:8080/{PATH}"


def hrefs(affordance: dict[str, Any], op: str) -> list[str]:
    return [form["href"] for form in affordance["forms"] if op in form["op"]]


def test_everything_but_the_ways_to_the_thing_is_kept():
    kept = {
        "@type": ["Thing", "saref:LightSwitch"],
        "titles": {"de": "Lampe"},
        "description": "On the desk.",
        "version": {"instance": "1.0.0"},
        "uriVariables": {"v": {"type": "string"}},
        "schemaDefinitions": {"s": {"type": "null"}},
        "x:serial": {"y": [1, None, {"z": True}]},
        "hilum:place": {"@id": "urn:hall"},
    }
    submitted = thing(
        **kept,
        support="mailto:help@makers.test",
        profile=["https://www.w3.org/2022/wot/profile/http-basic/v1"],
        properties={
            "on": {"type": "boolean", "title": "On", "x:y": 1, "forms": [{"href": "on"}]},
        },
    )
    view = viewed(submitted)
    assert {key: view[key] for key in kept} == kept
    assert view["support"] == submitted["support"]
    assert view["id"] == ID
    assert not {"base", "profile", "links"} & set(view)
    on = view["properties"]["on"]
    assert (on["type"], on["title"], on["x:y"], on["observable"]) == ("boolean", "On", 1, False)
    assert view["hilum:view"] == f"localhost/{PATH}"
    assert view["registration"] == {
        "created": "1970-01-01T00:00:00.001Z",
        "modified": "1970-01-01T00:00:00.002Z",
    }
    assert shape_problems(view) == []


def test_a_property_is_folded_back():
    mqtt = {"href": "mqtt://b.test/on", "op": "observeproperty", "contentType": "text/plain"}
    view = viewed(thing(properties={"on": {"forms": [{"href": "on"}, mqtt]}}))
    on = view["properties"]["on"]
    assert hrefs(on, "readproperty")[0] == f"{HTTP}/on"
    assert hrefs(on, "writeproperty") == [
        f"{HTTP}/on;write",
        f"coap://gw.test/{PATH}/on;write",
        f"mqtt://gw.test/{PATH}/on;write",
        "ws://gw.test:8080/$site/socket",
    ]
    observed = [form for form in on["forms"] if "observeproperty" in form["op"]]
    assert observed[0] == {
        "href": f"{HTTP}/on;observe",
        "htv:methodName": "GET",
        "subprotocol": "sse",
        "op": ["observeproperty", "unobserveproperty"],
        "contentType": "text/plain",
    }
    assert observed[1]["subprotocol"] == "cov:observe"
    assert observed[2] == {
        "href": f"mqtt://gw.test/{PATH}/on;observe",
        "mqv:filter": f"{PATH}/on;observe",
        "mqv:controlPacket": "subscribe",
        "op": ["observeproperty", "unobserveproperty"],
        "contentType": "text/plain",
        "security": ["basic_sc"],
    }
    assert on["observable"]


def test_what_a_caller_may_not_describe_is_not_shown():
    mqtt = {"href": "mqtt://b.test/on", "op": "observeproperty"}
    one = read(
        encoded(
            thing(
                properties={"on": {"forms": [{"href": "on"}, mqtt]}},
                actions={"go": {"forms": [{"href": "go"}]}},
                events={"e": {"forms": [{"href": "e"}]}},
            )
        )
    )
    made = object_of(one, "localhost")
    record = record_of(one, made)

    def seen(*members: str) -> dict[str, Any]:
        methods = {key: each for key, each in made.object.methods.items() if key in members}
        channels = {key: each for key, each in made.object.channels.items() if key in members}
        obj = replace(made.object, methods=methods, channels=channels)
        return view_of(made.name, obj, record, BASES)

    assert not {"properties", "actions", "events"} & set(seen())
    assert set(seen("go")) & {"properties", "actions", "events"} == {"actions"}
    assert set(seen("e")) & {"properties", "actions", "events"} == {"events"}
    on = seen("on")["properties"]["on"]
    assert (on["readOnly"], on["observable"]) == (True, False)
    on = seen("on;write")["properties"]["on"]
    assert (on["writeOnly"], "readOnly" in on) == (True, False)
    on = seen("on;observe")["properties"]["on"]
    assert on["observable"]
    assert hrefs(on, "readproperty")[0] == f"{HTTP}/on;observe"


def test_variables():
    variable = {"type": "string"}
    view = viewed(
        thing(
            uriVariables={"shared": variable, "unused": variable},
            properties={
                "p": {"uriVariables": {"v": variable}, "forms": [{"href": "p{?v,shared}"}]},
                "level": {"type": "number", "forms": [{"href": "level{?shared}"}]},
            },
            actions={
                "bare": {"uriVariables": {"v": variable}, "forms": [{"href": "b{?v}"}]},
                "number": {
                    "uriVariables": {"v": variable},
                    "input": {"type": "number"},
                    "forms": [{"href": "n{?v}"}],
                },
                "full": {
                    "uriVariables": {"v": variable},
                    "input": {"properties": {"a": {}}},
                    "forms": [{"href": "f{?v}"}],
                },
            },
        )
    )
    reading = view["properties"]["p"]
    assert reading["readOnly"] is True
    assert [form["href"] for form in reading["forms"]] == [
        f"{HTTP}/p{{?shared,v}}",
        f"coap://gw.test/{PATH}/p{{?shared,v}}",
    ]
    assert view["actions"]["bare"]["forms"][0]["href"] == f"{HTTP}/bare{{?v}}"
    number = view["actions"]["number"]
    assert (number["forms"][0]["href"], number["input"]) == (f"{HTTP}/number", {"type": "number"})
    level = view["properties"]["level"]
    assert hrefs(level, "writeproperty")[0] == f"{HTTP}/level;write"
    assert "readOnly" not in level
    full = view["actions"]["full"]
    assert full["forms"][0]["href"] == f"{HTTP}/full"
    assert full["input"] == {"type": "object", "properties": {"a": {}, "v": variable}}


def test_cbor_is_json_on_this_side():
    form = {"href": "coap://d.test/x", "contentType": "application/cbor"}
    plain = {"href": "y", "contentType": "text/plain", "op": ["invokeaction"]}
    view = viewed(thing(actions={"x": {"forms": [form]}, "y": {"forms": [plain]}}))
    assert view["actions"]["x"]["forms"][0]["contentType"] == "application/json"
    assert view["actions"]["y"]["forms"][0]["contentType"] == "text/plain"


@pytest.mark.parametrize(
    ("context", "first"),
    [
        (TD_1_0, [TD_1_1]),
        ([TD_1_0, TD_1_1], [TD_1_0, TD_1_1]),
        ([TD_1_0, {"a": "urn:a:"}], [TD_1_1]),
    ],
)
def test_a_view_is_of_td_1_1(context: object, first: list[str]):
    found = viewed(thing(**{"@context": context}))["@context"]
    assert found[: len(first)] == first
    assert found[-1]["hilum"] == "https://w3id.org/hilum#"


# Nothing of the thing's own addresses


def test_addresses_of_the_thing_are_not_shown():
    hidden = {
        "x:panel": f"https://{HOST}/panel",
        "x:host": HOST,
        "x:port": f"{HOST.upper()}:8080",
        "x:list": ["kept", f"coap://{HOST}", {"y": f"see //{HOST}/z"}],
        "x:id": {"id": {"href": f"http://{HOST}/"}},
        "x:more": "ask 10.0.0.7 please",
        "support": f"http://{HOST}/help",
    }
    view = viewed(
        thing(
            **hidden,
            description=f"See http://{HOST}:8080/doc, or {HOST}:99. Not http://other.test/.",
            titles={"en": f"Lamp of {HOST}"},
            properties={
                "p": {
                    "enum": [f"http://{HOST}/a"],
                    "const": "http://other.test/",
                    "forms": [{"href": "http://10.0.0.7/p"}, {"href": "coap://[2001:db8::7]/p"}],
                }
            },
        )
    )
    assert view["x:list"] == ["kept", {}]
    assert view["x:id"] == {"id": {}}
    assert set(hidden) & set(view) == {"x:list", "x:id"}
    assert view["description"] == "See …, or …. Not http://other.test/."
    assert view["titles"] == {"en": "Lamp of …"}
    shown = view["properties"]["p"]
    assert shown["const"] == "http://other.test/"
    assert "enum" not in shown
    for address in (HOST, "10.0.0.7", "2001:db8::7"):
        assert address not in encoded(view).decode().lower()


@pytest.mark.parametrize(
    ("href", "is_kept"),
    [
        ("https://models.test/lamp.tm.jsonld", True),
        ("urn:uuid:0804d572-cce8-422a-bb7c-4412fcd56f07", True),
        ("/panel", False),
        (f"https://{HOST.upper()}/panel", False),
        ("wss://other.test/", False),
        ("http://10.0.0.9/", False),
        ("http://[::1]/", False),
        ("http://localhost/", False),
    ],
)
def test_links_that_lead_away_are_kept(href: str, is_kept: bool):
    link = {"rel": "type", "type": "application/tm+json", "href": href}
    assert viewed(thing(links=[link])).get("links", []) == ([link] if is_kept else [])


def test_a_bare_word_that_is_a_host_may_mean_something_else():
    view = viewed(
        thing(base="http://lamp/", description="A lamp.", **{"x:a": "lamp", "x:b": "lamps"})
    )
    assert view["description"] == "A lamp."
    assert "x:a" not in view
    assert view["x:b"] == "lamps"


# Security and listeners


@pytest.mark.parametrize(
    ("bases", "used", "first"),
    [
        (Bases(http="http://gw.test"), {"bearer_sc"}, "bearer_sc"),
        (Bases(http="http://gw.test", anonymous=("http",)), {"nosec_sc"}, "nosec_sc"),
        (Bases(coap="coap://gw.test"), {"auto_sc"}, "auto_sc"),
        (Bases(coap="coaps://gw.test", mqtt="mqtt://gw.test"), {"psk_sc", "basic_sc"}, "basic_sc"),
        (Bases(), {"nosec_sc"}, "nosec_sc"),
    ],
)
def test_how_one_authenticates(bases: Bases, used: set[str], first: str):
    actions = {"go": {"forms": [{"href": "go"}]}}
    events = {"e": {"forms": [{"href": "e"}]}}
    view = viewed(thing(actions=actions, events=events, properties={"p": actions["go"]}), bases)
    assert set(view["securityDefinitions"]) == used
    assert view["security"] == [first]
    assert shape_problems(view) == []


# Manifests


def manifest() -> VirtualObject:
    any_of = {
        "anyOf": [{"type": ["string", "null"]}, {"$ref": "#/$defs/n"}],
        "$defs": {"n": {"type": "number"}},
    }
    profile = Profile(
        category="urn:c",
        preconditions=("urn:p",),
        effects=("urn:e",),
        level=ServiceLevel(latency=5),
    )
    return VirtualObject(
        name="localhost/Hall/scale%201",
        description="Weighs.",
        methods={
            "tare": Method(description="To zero.", input=any_of, profile=profile, types=("urn:t",)),
            "goal": Method(
                safe=True, output={"type": "integer", "prefixItems": [True, {"const": 1}]}
            ),
        },
        channels={
            "weight": EventChannel(schema={"type": "object", "properties": {"kg": {"items": {}}}}),
        },
        types=("https://saref.etsi.org/core/Sensor",),
        place="urn:hall",
    )


def test_a_manifest_is_told_in_the_words_of_td():
    obj = manifest()
    view = view_of(Name(obj.name), obj, None, BASES)
    assert shape_problems(view) == []
    assert (view["id"], view["title"]) == ("urn:hilum:localhost/Hall/scale%201", "scale 1")
    assert view["@type"] == ["td:Thing", "https://saref.etsi.org/core/Sensor"]
    assert view["hilum:place"] == {"@id": "urn:hall"}
    tare, goal = view["actions"]["tare"], view["actions"]["goal"]
    assert tare["input"]["oneOf"][1] == {"type": "number"}
    assert tare["input"]["oneOf"][0] == {"oneOf": [{"type": "string"}, {"type": "null"}]}
    assert tare["hilum:category"] == {"@id": "urn:c"}
    assert (tare["hilum:latency"], "hilum:rate" in tare) == (5, False)
    assert goal["output"] == {"type": "integer", "items": [{}, {"const": 1}]}
    assert goal["safe"]
    assert "hilum:latency" not in goal
    weight = view["properties"]["weight"]
    assert weight["observable"]
    assert weight["properties"] == {"kg": {"items": {}}}
    assert hrefs(weight, "readproperty")[0] == "http://gw.test:8080/Hall/scale%201/weight"
    assert hrefs(weight, "writeproperty")[-1] == "ws://gw.test:8080/$site/socket"
    event = view["events"]["weight"]
    assert event["data"]["type"] == "object"
    assert hrefs(event, "subscribeevent")[2] == "mqtt://gw.test/Hall/scale%201/weight"


def test_an_object_without_members_has_a_view_too():
    view = view_of(Name("localhost/a"), VirtualObject("localhost/a"), None, BASES)
    assert shape_problems(view) == []
    assert "actions" not in view


def test_schemas_that_grow_are_cut():
    bomb: dict[str, Any] = {"$defs": {"a0": {"type": "string"}}}
    for i in range(1, 12):
        name = f"#/$defs/a{i - 1}"
        bomb["$defs"][f"a{i}"] = {"oneOf": [{"$ref": name}, {"$ref": name}, {"$ref": name}]}
    bomb["$ref"] = "#/$defs/a11"
    obj = VirtualObject("localhost/a", methods={"m": Method(input=bomb)})
    view = view_of(Name("localhost/a"), obj, None, BASES)
    assert len(encoded(view)) < 100_000
    assert shape_problems(view) == []


def test_times_of_a_record():
    one = read(encoded(thing()))
    made = object_of(one, "localhost")
    registration = record_of(one, made).registration
    record = ThingRecord(ID, made.name, registration, "o", one.text, 0, 1, 1, expires=2**63)
    found = view_of(made.name, made.object, record, BASES)["registration"]
    assert found == {"modified": "1970-01-01T00:00:00.001Z", "expires": "9999-12-31T23:59:59.000Z"}
