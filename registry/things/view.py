"""A virtual object as a Thing Description with the forms of this site (TD 1.1, design 8). Pure.

What was submitted is shown but for the ways to the thing itself; what a manifest said is told in
the words of TD 1.1. A marker tells a view from a description that may be submitted.
"""

import json
from datetime import UTC, datetime
from typing import Any

from registry.model import EventChannel, Method, ThingRecord, VirtualObject
from registry.names import Name, decoded, member, urn
from registry.terms import HILUM
from registry.things.addresses import template
from registry.things.contexts import DISCOVERY, TD_1_0, TD_1_1, TD_PREFIXES
from registry.things.data_schemas import data_schema
from registry.things.forms import (
    INVOKE,
    LAST,
    OBSERVE,
    PUBLISH,
    READ,
    SECURITY,
    SUBSCRIBE,
    WRITE,
    Bases,
    Form,
    Way,
    forms_of,
)
from registry.things.naming import Naming
from registry.things.scrub import Hidden

__all__ = ["Bases", "view_of"]

Node = dict[str, Any]

_LEFT_OUT = frozenset(
    # `profile` would promise what our forms do not.
    {"base", "forms", "security", "securityDefinitions", "links", "registration", "profile"}
)
_AFFORDANCES = ("properties", "actions", "events")
_PREFIXES = {"hilum": HILUM, "cov": TD_PREFIXES["cov"], "mqv": TD_PREFIXES["mqv"]}


def view_of(name: Name, obj: VirtualObject, record: ThingRecord | None, bases: Bases) -> Node:
    """Return the Thing Description of an object; with a ``record``, what was submitted of it.

    Only affordances of which ``obj`` still has a member are shown, so that a caller who may not
    describe all of them is given an object without the others.
    """
    view = _of_manifest(name, obj, bases)
    if record is not None:
        view = _of_submitted(name, obj, record, bases)
    used = {word for form in _forms(view) for word in form["security"]} or {"nosec_sc"}
    first = bases.scheme("http") if bases.scheme("http") in used else min(used)
    view["securityDefinitions"] = {word: SECURITY[word] for word in SECURITY if word in used}
    view["security"] = [first]
    for form in _forms(view):
        # What holds for the whole thing needs no word in a form, and some clients read none there.
        if form["security"] == [first]:
            del form["security"]
    return view


def _forms(view: Node) -> list[Form]:
    return [
        form
        for kind in _AFFORDANCES
        for affordance in view.get(kind, {}).values()
        for form in affordance["forms"]
    ]


def _context(submitted: Any, *, registered: bool) -> list[Any]:
    entries = submitted if isinstance(submitted, list) else [submitted]
    if TD_1_1 not in entries:
        entries = [TD_1_1 if entry == TD_1_0 else entry for entry in entries]
    defined = {key for entry in entries if isinstance(entry, dict) for key in entry}
    ours = {prefix: iri for prefix, iri in _PREFIXES.items() if prefix not in defined}
    return [
        *entries,
        *([DISCOVERY] if registered and DISCOVERY not in entries else []),
        *([ours] if ours else []),
    ]


def _said(context: list[Any], name: Name) -> Node:
    """Return the marker of a view, in a form that no binding of its prefix can change."""
    bound = [entry.get("hilum") for entry in context if isinstance(entry, dict)]
    prefix = "hilum:" if all(iri in (None, HILUM) for iri in bound) else HILUM
    return {f"{prefix}view": name}


def _of_submitted(name: Name, obj: VirtualObject, record: ThingRecord, bases: Bases) -> Node:
    data = json.loads(record.text)
    hidden, naming = Hidden(data), Naming(data)
    context = _context(data["@context"], registered=True)
    kept = hidden.members(
        {k: v for k, v in data.items() if k not in _LEFT_OUT and k not in _AFFORDANCES}
    )
    view: Node = {**kept, "@context": context, "id": record.id}
    if links := [link for each in data.get("links", ()) if (link := hidden.link(each))]:
        view["links"] = links
    shared = kept.get("uriVariables", {})
    makers = {
        "properties": lambda key, node: _property(obj, naming.property(key), node, shared, bases),
        "actions": lambda key, node: _action(obj, naming.action(key), node, shared, bases),
        "events": lambda key, node: _event(obj, naming.event(key), node, bases),
    }
    for kind in _AFFORDANCES:
        shown = {}
        for key, node in data.get(kind, {}).items():
            clean = {**hidden.members(_without(node, "forms")), "forms": node["forms"]}
            made = makers[kind](key, clean)
            if made is not None:
                shown[key] = {**clean, **made}
        if shown:
            view[kind] = shown
    view["registration"] = _registration(record)
    return {**view, **_said(context, name)}


def _registration(record: ThingRecord) -> Node:
    """Return the registration information of WoT Discovery (section 6.2.2.1)."""
    times = {"created": record.created, "modified": record.modified, "expires": record.expires}
    return {key: _date(millis) for key, millis in times.items() if millis}


def _date(millis: int) -> str:
    seconds = min(max(millis, 0) / 1000, 253_402_300_799)  # The last second of the year 9999.
    date = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return date.replace("+00:00", "Z")


def _without(node: Node, *keys: str) -> Node:
    return {key: value for key, value in node.items() if key not in keys}


def _content_type(node: Node, op: str) -> str:
    """Return the content type of the form of an operation; CBOR is JSON on this side."""
    for form in node["forms"]:
        said = form.get("op", op)
        if op in (said if isinstance(said, list) else [said]) and "contentType" in form:
            found = str(form["contentType"])
            return "application/json" if found.startswith("application/cbor") else found
    return ""


def _query(variables: Node) -> str:
    return "{?" + ",".join(variables) + "}" if variables else ""


def _used_variables(node: Node, shared: Node) -> Node:
    """Return the variables that the forms of an affordance have places for."""
    known = {**shared, **node.get("uriVariables", {})}
    parts = [template(form["href"]) for form in node["forms"]]
    used = {name for part in parts for name in (*part.places, *part.query)}
    return {name: schema for name, schema in known.items() if name in used}


def _property(
    obj: VirtualObject, names: Any, node: Node, shared: Node, bases: Bases
) -> Node | None:
    """Return the forms of a property, of the members that there are."""
    full = {each: Name(f"{obj.name}/{each}") for each in names}
    variables = _used_variables(node, shared)
    forms: list[Form] = []
    readable = next((each for each in (names.read, names.observe) if _has(obj, each)), None)
    if readable is not None:
        content = _content_type(node, "readproperty")
        query = _query(variables) if readable == names.read else ""
        way = READ if readable == names.read else LAST
        forms += forms_of(full[readable], way, bases, content_type=content, query=query)
    writable = names.write in obj.methods
    # Variables and an object go in one object of arguments, which no form can say.
    writable = writable and not (variables and node.get("type", "object") == "object")
    if writable:
        content = _content_type(node, "writeproperty")
        forms += forms_of(full[names.write], WRITE, bases, content_type=content)
    observable = names.observe in obj.channels
    if observable:
        content = _content_type(node, "observeproperty")
        forms += forms_of(full[names.observe], OBSERVE, bases, content_type=content)
    if readable is None and names.write not in obj.methods:
        return None
    made: Node = {"forms": forms or _nowhere(), "observable": observable}
    if not writable:
        made["readOnly"] = True
    elif readable is None:
        made["writeOnly"] = True
    return made


def _nowhere() -> list[Form]:
    """Return the form of what no listener serves; TD 1.1 demands one."""
    return [{"href": "urn:hilum:unreachable", "security": ["nosec_sc"]}]


def _has(obj: VirtualObject, key: str) -> bool:
    return key in obj.methods or key in obj.channels


def _action(obj: VirtualObject, key: str, node: Node, shared: Node, bases: Bases) -> Node | None:
    if key not in obj.methods:
        return None
    full = Name(f"{obj.name}/{key}")
    content = _content_type(node, "invokeaction")
    variables = _used_variables(node, shared)
    given = node.get("input")
    made: Node = {}
    if variables and given is not None and given.get("type", "object") != "object":
        variables = {}  # There is no room for them.
    elif variables and given is not None:
        # A call's arguments are one object here, whatever place each has upstream.
        inner = given.get("properties", {})
        made["input"] = {**given, "type": "object", "properties": {**inner, **variables}}
        variables = {}
    forms = forms_of(full, INVOKE, bases, content_type=content, query=_query(variables))
    return {**made, "forms": forms or _nowhere()}


def _event(obj: VirtualObject, key: str, node: Node, bases: Bases) -> Node | None:
    if key not in obj.channels:
        return None
    content = _content_type(node, "subscribeevent")
    forms = forms_of(Name(f"{obj.name}/{key}"), SUBSCRIBE, bases, content_type=content)
    return {"forms": forms or _nowhere()}


def _of_manifest(name: Name, obj: VirtualObject, bases: Bases) -> Node:
    context = [TD_1_1, _PREFIXES]
    view: Node = {
        "@context": context,
        "id": urn(name),
        "title": decoded(member(name)),
        **_types(("td:Thing", *obj.types)),
        "description": obj.description,
    }
    if obj.place:
        view["hilum:place"] = {"@id": obj.place}
    actions, properties, events = {}, {}, {}
    for key, method in obj.methods.items():
        actions[decoded(key)] = _method(Name(f"{name}/{key}"), method, bases)
    for key, channel in obj.channels.items():
        full, shown = Name(f"{name}/{key}"), _channel(channel)
        schema = data_schema(channel.schema)
        subscribed = forms_of(full, SUBSCRIBE, bases) or _nowhere()
        events[decoded(key)] = {**shown, "data": schema, "forms": subscribed}
        ways: tuple[Way, ...] = (LAST, PUBLISH, OBSERVE)
        forms = [form for way in ways for form in forms_of(full, way, bases)] or _nowhere()
        properties[decoded(key)] = {**schema, **shown, "observable": True, "forms": forms}
    for kind, shown in (("actions", actions), ("properties", properties), ("events", events)):
        if shown:
            view[kind] = shown
    return {**view, "hilum:name": name, **_said(context, name)}


def _types(types: tuple[str, ...]) -> Node:
    return {"@type": list(types)} if types else {}


def _method(name: Name, method: Method, bases: Bases) -> Node:
    shown: Node = {
        **_types(method.types),
        "description": method.description,
        "safe": method.safe,
        "idempotent": method.idempotent,
        **_profile(method),
        "forms": forms_of(name, INVOKE, bases) or _nowhere(),
    }
    for side in ("input", "output"):
        schema = getattr(method, side)
        if schema is not None:
            shown[side] = data_schema(schema)
    return shown


def _channel(channel: EventChannel) -> Node:
    return {
        **_types(channel.types),
        "description": channel.description,
        **_profile(channel),
    }


def _profile(definition: Method | EventChannel) -> Node:
    profile = definition.profile
    if profile is None:
        return {}
    said = {
        "category": {"@id": profile.category} if profile.category else None,
        "precondition": [{"@id": each} for each in profile.preconditions],
        "effect": [{"@id": each} for each in profile.effects],
        "latency": profile.level.latency,
        "availability": profile.level.availability,
        "rate": profile.level.rate,
    }
    return {f"hilum:{key}": value for key, value in said.items() if value}
