"""Descriptions of objects and microservices (S3 III-D introspect)."""

import json

import pytest

from registry import describe
from registry.describe import describe_microservice, describe_object
from registry.model import (
    EventChannel,
    Method,
    Registration,
    RegistrationId,
    Retain,
    VirtualObject,
)
from registry.names import Name
from registry.renderings.text import render_text

PLAN = Name("snac.asu.edu/Plan")
OBJECT = VirtualObject(
    PLAN,
    "A plan.\nOf one user.",
    {
        "create": Method(
            "Creates one.", timeout=500, input={"type": "object"}, output={"type": "string"}
        ),
        "look": Method(safe=True),
    },
    {
        "progress": EventChannel("Events.", durable=True, schema={"type": "number"}),
        "noise": EventChannel(retain=Retain(count=0, bytes=100, age=60), overflow="block"),
    },
)
BINDINGS = {
    Name(f"{PLAN}/create"): [
        {"target": "Plan/1/a at http://10.0.0.1", "healthy": True},
        {"target": "Plan/1/b at http://10.0.0.2", "healthy": False},
    ]
}
TEXT = """\
Object snac.asu.edu/Plan (of iot:cloud)
  A plan.
  Of one user.
  Method create
    Creates one.
    http call: POST /Plan/create
    mqtt call: PUBLISH Plan/create
    coap call: POST /Plan/create
    not idempotent, answers within 500 ms
    input: {"type":"object"}
    output: {"type":"string"}
    bound to Plan/1/a at http://10.0.0.1 (healthy)
    bound to Plan/1/b at http://10.0.0.2 (not healthy)
  Method look
    http call: POST /Plan/look
    http call: GET /Plan/look
    mqtt call: PUBLISH Plan/look
    coap call: POST /Plan/look
    coap call: GET /Plan/look
    safe
    bound to nothing now
  Channel progress
    Events.
    http publish: POST /Plan/progress
    http subscribe: GET /Plan/progress with Accept: text/event-stream
    http last value: GET /Plan/progress
    mqtt publish: PUBLISH Plan/progress
    mqtt subscribe: SUBSCRIBE Plan/progress
    coap publish: PUT /Plan/progress
    coap subscribe: GET /Plan/progress with Observe
    coap last value: GET /Plan/progress
    durable, keeps 1000 events, 16777216 bytes
    slow subscribers: drop-oldest
    schema: {"type":"number"}
  Channel noise
    http publish: POST /Plan/noise
    http subscribe: GET /Plan/noise with Accept: text/event-stream
    http last value: GET /Plan/noise
    mqtt publish: PUBLISH Plan/noise
    mqtt subscribe: SUBSCRIBE Plan/noise
    coap publish: PUT /Plan/noise
    coap subscribe: GET /Plan/noise with Observe
    coap last value: GET /Plan/noise
    in memory, keeps 100 bytes, 60 seconds
    slow subscribers: block
"""


def registration(id_: RegistrationId, *objects: VirtualObject, live: bool = True) -> Registration:
    return Registration(id_, "iot:cloud", "::1", 60, 1, objects, "First.", live=live)


def test_an_object_is_described_as_data() -> None:
    described = describe_object(PLAN, "iot:cloud", [OBJECT], BINDINGS)
    json.dumps(described)
    assert described["methods"]["create"] == {
        "name": "snac.asu.edu/Plan/create",
        "description": "Creates one.",
        "safe": False,
        "idempotent": False,
        "timeout": 500,
        "input": {"type": "object"},
        "output": {"type": "string"},
        "bindings": BINDINGS[Name(f"{PLAN}/create")],
        "protocols": {
            "http": [{"op": "call", "method": "POST", "path": "/Plan/create"}],
            "mqtt": [{"op": "call", "method": "PUBLISH", "path": "Plan/create"}],
            "coap": [{"op": "call", "method": "POST", "path": "/Plan/create"}],
        },
    }
    assert described["channels"]["noise"]["retain"] == {"count": 0, "bytes": 100, "age": 60}


def test_an_object_is_described_as_text() -> None:
    assert render_text(describe_object(PLAN, "iot:cloud", [OBJECT], BINDINGS)) == TEXT


def test_what_several_registrations_offer_is_described_once() -> None:
    other = VirtualObject(PLAN, "Other.", {"create": Method("Later."), "drop": Method()})
    described = describe_object(PLAN, "", [OBJECT, other], {})
    assert list(described["methods"]) == ["create", "look", "drop"]
    assert described["methods"]["create"]["description"] == "Creates one."
    assert render_text(described).startswith("Object snac.asu.edu/Plan (of nobody)\n  A plan.")


def test_a_microservice_shows_its_registrations_and_all_its_objects() -> None:
    one = registration(RegistrationId("Plan", "1", "a"), OBJECT)
    two = registration(RegistrationId("Plan", "2", "b"), OBJECT, VirtualObject("s/x"), live=False)
    described = describe_microservice("Plan", [one, two], lambda name: BINDINGS)
    json.dumps(described)
    assert [obj["name"] for obj in described["objects"]] == [PLAN, "s/x"]
    assert described["registrations"][1] == {
        "version": "2",
        "instance": "b",
        "owner": "iot:cloud",
        "live": False,
        "lease": 60,
        "description": "First.",
    }
    head = """\
Microservice Plan
  1/a: live, lease 60 s, iot:cloud
    First.
  2/b: expired, iot:cloud
    First.

"""
    assert render_text(described) == f"{head}{TEXT}\nObject s/x (of iot:cloud)\n"
    described["registrations"][0]["lease"] = 0
    assert "  1/a: live, stays, iot:cloud\n" in render_text(described)


def test_the_words_of_a_service_cannot_drive_a_terminal() -> None:
    hostile = VirtualObject(PLAN, "\x1b[31mred\x07\u202e\r\x9b2J\nnext")
    text = render_text(describe_object(PLAN, "a:b", [hostile], {}))
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "red" in text


def test_another_protocol_only_adds_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        describe.PROTOCOLS,
        "amqp",
        lambda name, _: [{"op": "publish", "method": "SEND", "path": name}],
    )
    described = describe_object(PLAN, "a:b", [OBJECT], {})
    assert list(described["channels"]["noise"]["protocols"])[-1] == "amqp"
    assert "    amqp publish: SEND snac.asu.edu/Plan/noise\n" in render_text(described)
