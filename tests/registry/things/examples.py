"""Descriptions written for these tests."""

import json
from typing import Any

from registry.model import ThingRecord
from registry.things.contexts import TD_1_1
from registry.things.document import Thing, read
from registry.things.mapping import Mapped, object_of
from registry.things.naming import registration_id
from registry.things.view import Bases, view_of

ID = "urn:uuid:0804d572-cce8-422a-bb7c-4412fcd56f06"
BASES = Bases("http://gw.test:8080", "ws://gw.test:8080", "mqtt://gw.test", "coap://gw.test")
HOST = "device.test"


def thing(**members: Any) -> dict[str, Any]:
    """A valid description, with members added or replaced."""
    return {
        "@context": TD_1_1,
        "id": ID,
        "title": "Lamp",
        "base": f"http://{HOST}:8080/lamp/",
        "securityDefinitions": {"none": {"scheme": "nosec"}},
        "security": "none",
        **members,
    }


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def mapped(document: dict[str, Any], **settings: Any) -> Mapped:
    return object_of(read(encoded(document), **settings), "localhost")


def record_of(one: Thing, made: Mapped, id_: str = ID) -> ThingRecord:
    registration = registration_id(one.data, made.name)
    return ThingRecord(id_, made.name, registration, "user:ann", one.text, 1, 2, 1)


def viewed(document: dict[str, Any], bases: Bases = BASES) -> dict[str, Any]:
    one = read(encoded(document))
    made = object_of(one, "localhost", id_=ID)
    return view_of(made.name, made.object, record_of(one, made), bases)
