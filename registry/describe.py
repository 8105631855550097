"""Descriptions of objects and microservices, as data and as text to read (S3 III-D).

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
    name: Name, owner: str, objects: Sequence[VirtualObject], bindings: Bindings
) -> Description:
    """Describe an object that one or more registrations offer, the first one's word first."""
    methods: Description = {}
    channels: Description = {}
    for obj in objects:
        for full, definition in obj.members():
            table = methods if isinstance(definition, Method) else channels
            if member(full) not in table:
                table[member(full)] = _describe_member(full, definition, bindings)
    return {
        "name": name,
        "kind": "object",
        "owner": owner,
        "description": next((o.description for o in objects if o.description), ""),
        "methods": methods,
        "channels": channels,
    }


def describe_microservice(
    name: str, registrations: Iterable[Registration], bindings_of: Callable[[Name], Bindings]
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
            describe_object(each, owners[each], objects, bindings_of(each))
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
    }


def _describe_member(
    name: Name, definition: Method | EventChannel, bindings: Bindings
) -> Description:
    described: Description = {"name": name, **structs.asdict(definition)}
    for meaning in ("types", "profile"):
        if not described[meaning]:
            del described[meaning]
    if isinstance(definition, Method):
        # Not as the service wrote them, but where calls go now.
        del described["endpoints"]
        described["bindings"] = [dict(each) for each in bindings.get(name, ())]
    else:
        described["retain"] = structs.asdict(definition.retain)
    described["protocols"] = {key: forms(name, definition) for key, forms in PROTOCOLS.items()}
    return described


def render_text(described: Description) -> str:
    """Render a description of an object or a microservice as text for developers."""
    lines: list[str] = []
    if "microservice" in described:
        lines.append(f"Microservice {described['microservice']}")
        for each in described["registrations"]:
            state = f"live, lease {each['lease']} s" if each["live"] else "expired"
            lines.append(f"  {each['version']}/{each['instance']}: {state}, {each['owner']}")
            lines += _prose(each["description"], 4)
        for obj in described["objects"]:
            lines += ["", *_object_lines(obj)]
    else:
        lines += _object_lines(described)
    return "\n".join(map(_printable, lines)) + "\n"


def _object_lines(obj: Description) -> list[str]:
    lines = [
        f"Object {obj['name']} (of {obj['owner'] or 'nobody'})",
        *_prose(obj["description"], 2),
    ]
    for name, method in obj["methods"].items():
        lines += [f"  Method {name}", *_prose(method["description"], 4)]
        lines += [f"    {text}" for text in _method_lines(method)]
    for name, channel in obj["channels"].items():
        lines += [f"  Channel {name}", *_prose(channel["description"], 4)]
        lines += [f"    {text}" for text in _channel_lines(channel)]
    return lines


def _method_lines(method: Description) -> list[str]:
    kind = "safe" if method["safe"] else "idempotent" if method["idempotent"] else "not idempotent"
    timeout = f", answers within {method['timeout']} ms" if method["timeout"] else ""
    lines = [*_form_lines(method), f"{kind}{timeout}"]
    lines += [f"{side}: {_json(method[side])}" for side in ("input", "output") if method[side]]
    for binding in method["bindings"]:
        health = "healthy" if binding["healthy"] else "not healthy"
        lines.append(f"bound to {binding['target']} ({health})")
    return lines if method["bindings"] else [*lines, "bound to nothing now"]


def _channel_lines(channel: Description) -> list[str]:
    limits = {"count": "events", "bytes": "bytes", "age": "seconds"}
    kept = ", ".join(
        f"{channel['retain'][key]} {unit}" for key, unit in limits.items() if channel["retain"][key]
    )
    durable = "durable" if channel["durable"] else "in memory"
    lines = [
        *_form_lines(channel),
        f"{durable}, keeps {kept}",
        f"slow subscribers: {channel['overflow']}",
    ]
    return [*lines, f"schema: {_json(channel['schema'])}"] if channel["schema"] else lines


def _form_lines(described: Description) -> list[str]:
    return [
        f"{protocol} {form['op']}: {form['method']} {form['path']}"
        + (f" with Accept: {form['accept']}" if "accept" in form else "")
        + (f" with {form['option']}" if "option" in form else "")
        for protocol, forms in described["protocols"].items()
        for form in forms
    ]


def _prose(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in text.splitlines()]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _printable(line: str) -> str:
    """Take out what a service's words could do to a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
