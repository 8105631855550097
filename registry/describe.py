"""Descriptions of objects and microservices as data (S3 III-D); ``registry.renderings`` shows them.

Each protocol adds to ``PROTOCOLS`` how one reaches a method or channel over it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import structs

from registry.model import EventChannel, Method, Registration, VirtualObject
from registry.names import Name, member

Description: TypeAlias = dict[str, Any]
Bindings: TypeAlias = Mapping[Name, Sequence[Mapping[str, Any]]]
"""Where the methods of an object go now: ``target`` and ``healthy`` of each endpoint."""
Forms: TypeAlias = list[dict[str, str]]
May: TypeAlias = Callable[[Name, Method | EventChannel], Sequence[str]]
"""What the reader may do with a member now, such as ``call``: policy decides each time anew."""

_EVENTS = "text/event-stream"


def _http(name: Name, definition: Method | EventChannel) -> Forms:
    path = f"/{name.partition('/')[2]}"
    if isinstance(definition, Method):
        verbs = ["POST", "GET"] if definition.safe else ["POST"]
        return [{"op": "call", "method": verb, "path": path} for verb in verbs]
    return [
        {"op": "publish", "method": "POST", "path": path},
        {"op": "subscribe", "method": "GET", "path": path, "accept": _EVENTS},
        {"op": "last value", "method": "GET", "path": path},
    ]


def _mqtt(name: Name, definition: Method | EventChannel) -> Forms:
    topic = name.partition("/")[2]
    if isinstance(definition, Method):
        return [{"op": "call", "method": "PUBLISH", "path": topic}]
    return [
        {"op": "publish", "method": "PUBLISH", "path": topic},
        {"op": "subscribe", "method": "SUBSCRIBE", "path": topic},
    ]


def _coap(name: Name, definition: Method | EventChannel) -> Forms:
    path = f"/{name.partition('/')[2]}"
    if isinstance(definition, Method):
        verbs = ["POST", "GET"] if definition.safe else ["POST"]
        return [{"op": "call", "method": verb, "path": path} for verb in verbs]
    return [
        {"op": "publish", "method": "PUT", "path": path},
        {"op": "subscribe", "method": "GET", "path": path, "option": "Observe"},
        {"op": "last value", "method": "GET", "path": path},
    ]


PROTOCOLS: Final[dict[str, Callable[[Name, Method | EventChannel], Forms]]] = {
    "http": _http,
    "mqtt": _mqtt,
    "coap": _coap,
}
"""How each protocol reaches a member."""


def describe_object(
    name: Name,
    owner: str,
    objects: Sequence[VirtualObject],
    bindings: Bindings,
    may: May | None = None,
) -> Description:
    """Describe an object that one or more registrations offer, the first one's word first."""
    methods: Description = {}
    channels: Description = {}
    for obj in objects:
        for full, definition in obj.members():
            table = methods if isinstance(definition, Method) else channels
            if member(full) not in table:
                table[member(full)] = _describe_member(full, definition, bindings, may)
    types = next((o.types for o in objects if o.types), ())
    place = next((o.place for o in objects if o.place), "")
    return {
        "name": name,
        "kind": "object",
        "owner": owner,
        "description": next((o.description for o in objects if o.description), ""),
        **({"types": list(types)} if types else {}),
        **({"place": place} if place else {}),
        "methods": methods,
        "channels": channels,
    }


def describe_microservice(
    name: str,
    registrations: Iterable[Registration],
    bindings_of: Callable[[Name], Bindings],
    may: May | None = None,
) -> Description:
    """Describe a microservice: its registrations, and all objects and members with protocols."""
    registrations = list(registrations)
    offered: dict[Name, list[VirtualObject]] = {}
    owners: dict[Name, str] = {}
    for registration in registrations:
        for obj in registration.everything():
            offered.setdefault(Name(obj.name), []).append(obj)
            owners.setdefault(Name(obj.name), registration.owner)
    return {
        "microservice": name,
        "registrations": [_describe_registration(each) for each in registrations],
        "objects": [
            describe_object(each, owners[each], objects, bindings_of(each), may)
            for each, objects in offered.items()
        ],
    }


def _describe_registration(registration: Registration) -> Description:
    return {
        "version": registration.id.version,
        "instance": registration.id.instance,
        "owner": registration.owner,
        "live": registration.live,
        "lease": registration.lease,
        "description": registration.description,
        **({"deployment": registration.deployment} if registration.deployment else {}),
    }


def _describe_member(
    name: Name, definition: Method | EventChannel, bindings: Bindings, may: May | None
) -> Description:
    described: Description = {"name": name, **structs.asdict(definition)}
    for meaning in ("types", "profile"):
        if not described[meaning]:
            del described[meaning]
    if definition.profile is not None:
        described["profile"] = msgspec.to_builtins(definition.profile)
    if isinstance(definition, Method):
        # Not as the service wrote them, but where calls go now.
        del described["endpoints"]
        described["bindings"] = [dict(each) for each in bindings.get(name, ())]
    else:
        described["retain"] = structs.asdict(definition.retain)
    described["protocols"] = {key: forms(name, definition) for key, forms in PROTOCOLS.items()}
    if may is not None:
        described["may"] = list(may(name, definition))
    return described
