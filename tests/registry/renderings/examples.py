"""A microservice as an operator of a small site would see it."""

from registry.describe import describe_microservice, describe_object
from registry.index.triples import Service
from registry.model import (
    EventChannel,
    Method,
    Profile,
    Registration,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name, urn
from registry.renderings.shown import Part, Shown
from registry.terms import expand
from registry.things.view import Bases

BASES = Bases(
    "http://127.0.0.1:8080",
    "ws://127.0.0.1:8080",
    "mqtt://127.0.0.1:1883",
    "coap://127.0.0.1:5683",
)
ID = RegistrationId("Scale", "1.4.0", "a")
MASS = expand("quantitykind:Mass")
SCALE = VirtualObject(
    Name("localhost/Scale"),
    "A bathroom scale.\nWeights are in kilograms.",
    {
        "weigh": Method(
            "Weigh whoever stands on it.",
            safe=True,
            timeout=2000,
            input={"type": "object", "properties": {"unit": {"enum": ["kg", "lb"]}}},
            output={
                "type": "object",
                "required": ["kg"],
                "properties": {
                    "kg": {"type": "number", "minimum": 0, "unit": "kg"},
                    "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
                },
                "$defs": {"part": {"type": "object", "properties": {"name": {"type": "string"}}}},
            },
            types=(expand("brick:Weight_Sensor"),),
            profile=Profile(
                expand("hilum:Measuring"),
                outputs={"kg": MASS},
                effects=(expand("hilum:Measured"),),
                level=ServiceLevel(50, 0.999, 10),
            ),
        ),
        "setGoal": Method(
            idempotent=True,
            input={
                "type": "object",
                "required": ["user"],
                "properties": {"user": {"type": "string", "maxLength": 64, "description": "Who."}},
                "additionalProperties": False,
            },
        ),
    },
    {"weights": EventChannel("Every weight.", durable=True, schema={"type": "number"})},
    (expand("brick:Sensor_Equipment"),),
    "https://example.org/building#Bathroom",
)
PLAN = VirtualObject(
    Name("localhost/plans/ann"), "", {"look": Method()}, {"alarms": EventChannel()}
)
BINDINGS = {
    Name("localhost/Scale/weigh"): [
        {"target": "Scale/1.4.0/a at http://10.0.0.7:9001/weigh", "healthy": True},
        {"target": "Scale/1.4.0/b at http://10.0.0.8:9001/weigh", "healthy": False},
    ]
}


def may(name: Name, definition: Method | EventChannel) -> list[str]:
    """Let the reader call all but ``setGoal``, and subscribe."""
    if name.endswith("setGoal"):
        return []
    return ["call"] if isinstance(definition, Method) else ["subscribe"]


def part(obj: VirtualObject) -> Part:
    return Part(Name(obj.name), obj, urn(Name(obj.name)), None, (Service(ID, "edge"),))


def microservice(*objects: VirtualObject, bases: Bases = BASES, title: str = "Scale") -> Shown:
    """Return a microservice that offers some objects, those of a scale unless others are given."""
    offered = objects or (SCALE, PLAN)
    registration = Registration(
        ID, "service:scale", "::1", 60, 1, offered, "Body weight.", deployment="edge"
    )
    described = describe_microservice(title, [registration], lambda _: BINDINGS, may)
    return Shown("localhost", described, tuple(map(part, offered)), bases)


def one_object(obj: VirtualObject = SCALE) -> Shown:
    described = describe_object(Name(obj.name), "service:scale", [obj], BINDINGS, may)
    return Shown("localhost", described, (part(obj),), BASES)
