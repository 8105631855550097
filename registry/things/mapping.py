"""A Thing Description as a virtual object: its affordances become methods and channels.

An action becomes a method. A property becomes a safe method ``P`` that reads it, ``P;write``, and a
channel ``P;observe`` where its changes can be heard. An event becomes a channel.
"""

from collections.abc import Callable, Container
from typing import Any, Final, NamedTuple

import msgspec

from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Profile,
    ServiceLevel,
    VirtualObject,
)
from registry.names import MAX_NAME, Name
from registry.problems import quoted
from registry.terms import HILUM
from registry.things.contexts import Vocabulary
from registry.things.document import Thing
from registry.things.naming import Naming, object_name
from registry.things.problems import InvalidThing, Problem
from registry.things.upstream import Unreachable, Upstream, operations

MAX_SOURCES: Final = 16
MAX_SCHEMA: Final = 16 * 1024
"""Bytes of one schema; a larger one stays in the description and is not checked in calls."""
MAX_TERMS: Final = 32

_PLAIN = (
    *("type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum"),
    *("exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "multipleOf"),
    *("pattern", "title", "description", "unit", "default", "format", "readOnly", "writeOnly"),
    *("contentEncoding", "contentMediaType"),
)
_PLACES = ("https://schema.org/", "http://schema.org/", "http://iotschema.org/")
_IN_PLACES = ("containedInPlace", "location", "isLocatedIn", "hasLocation")

Node = dict[str, Any]


class Mapped(NamedTuple):
    """What a description became, and what of it could not be used."""

    name: Name
    object: VirtualObject
    warnings: list[str]


def object_of(
    thing: Thing,
    authority: str,
    *,
    id_: str = "",
    aliases: Container[str] = (),
    remotes: Container[str] = (),
) -> Mapped:
    """Return the object that a description stands for.

    ``id_`` is the one that the site gave an anonymous description. Raises InvalidThing if no name
    of this site can be made of it.
    """
    return _Mapping(thing, authority, id_ or thing.id, aliases, remotes).run()


class _Mapping:
    def __init__(
        self,
        thing: Thing,
        authority: str,
        id_: str,
        aliases: Container[str],
        remotes: Container[str],
    ) -> None:
        self._data = thing.data
        self._words = Vocabulary(thing.data["@context"])
        self._name = object_name(
            thing.data, self._words, authority, id_, aliases=aliases, remotes=remotes
        )
        self._naming = Naming(thing.data)
        self._upstream = Upstream(thing.data, self._words, self._name)
        self._warnings = list(thing.warnings)
        self._unknown: dict[str, None] = {}
        self._methods: dict[str, Method] = {}
        self._channels: dict[str, EventChannel] = {}

    def run(self) -> Mapped:
        """Map everything."""
        data = self._data
        for name, node in data.get("actions", {}).items():
            self._action(name, node)
        for name, node in data.get("properties", {}).items():
            self._property(name, node)
        for name, node in data.get("events", {}).items():
            self._event(name, node)
        obj = VirtualObject(
            name=self._name,
            description=_text(data),
            methods=self._methods,
            channels=self._channels,
            types=self._types(data),
            place=self._place(data),
        )
        for name, _ in obj.members():
            if len(name) > MAX_NAME:
                message = f"{name[:200]}… has more than {MAX_NAME} bytes as a name"
                raise InvalidThing([Problem("", message, "say a shorter one as hilum:name")])
        for each in list(self._unknown)[:MAX_TERMS]:
            hint = "declare it in @context, or nobody finds this by what it is"
            self._warnings.append(f"@type {quoted(each)}: this prefix is not known; {hint}")
        return Mapped(self._name, obj, self._warnings)

    def _action(self, name: str, node: Node) -> None:
        forms = _forms(node, "actions", "invokeaction")
        given, variables = node.get("input"), self._variables(node)
        if given is not None and variables and not _is_plain(given):
            inner = given.get("properties", {})
            given = {**given, "type": "object", "properties": {**inner, **variables}}
        self._methods[self._naming.action(name)] = Method(
            description=_text(node),
            safe=node.get("safe", False),
            idempotent=node.get("idempotent", False) or node.get("safe", False),
            input=self._schema(given, forms),
            output=self._schema(node.get("output"), forms),
            endpoints=self._endpoints(
                name, forms, "invokeaction", answers="output" in node, plain=_is_plain(given)
            ),
            types=self._types(node),
            profile=self._profile(node, given or {"properties": variables}, node.get("output")),
        )

    def _property(self, name: str, node: Node) -> None:
        names, types, text = self._naming.property(name), self._types(node), _text(node)
        variables = {"properties": self._variables(node)}
        reading = _forms(node, "properties", "readproperty")
        topics = [form for form in reading if self._upstream.is_topic(form)]
        # What is read of a broker is observed there: the channel has the last value.
        observing = _forms(node, "properties", "observeproperty")
        observing += [form for form in topics if form not in observing]
        sources = self._sources(name, observing)
        asked = [form for form in reading if form not in topics]
        if asked or (reading and not sources):
            self._methods[names.read] = Method(
                description=text,
                safe=True,
                idempotent=True,
                output=self._schema(node, asked),
                endpoints=self._endpoints(name, asked, "readproperty"),
                types=types,
                profile=self._profile(node, variables, node),
            )
        if forms := _forms(node, "properties", "writeproperty"):
            self._methods[names.write] = Method(
                description=text,
                idempotent=True,
                input=self._schema(node, forms),
                endpoints=self._endpoints(name, forms, "writeproperty", plain=_is_plain(node)),
                types=types,
                profile=self._profile(node, node, None),
            )
        if sources:
            self._channels[names.observe] = EventChannel(
                description=text,
                schema=self._schema(node, observing),
                sources=sources,
                types=types,
                profile=self._profile(node, None, node),
            )

    def _event(self, name: str, node: Node) -> None:
        forms = _forms(node, "events", "subscribeevent")
        self._channels[self._naming.event(name)] = EventChannel(
            description=_text(node),
            schema=self._schema(node.get("data"), forms),
            sources=self._sources(name, forms),
            types=self._types(node),
            profile=self._profile(node, None, node.get("data")),
        )

    def _variables(self, node: Node) -> Node:
        """Return the variables of an affordance, those of the whole thing included."""
        return {**self._data.get("uriVariables", {}), **node.get("uriVariables", {})}

    def _endpoints(
        self, name: str, forms: list[Node], op: str, *, answers: bool = False, plain: bool = False
    ) -> tuple[Endpoint, ...]:
        found = self._used(
            name,
            forms,
            lambda form: self._upstream.endpoint(form, op, answers=answers, plain=plain),
        )
        unique: dict[tuple[str, str], Endpoint] = {}
        for each in found:
            unique.setdefault((each.url, each.method), each)
        return tuple(unique.values())

    def _sources(self, name: str, forms: list[Node]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._used(name, forms, self._upstream.source)))[:MAX_SOURCES]

    def _used(self, name: str, forms: list[Node], use: Callable[[Node], Any]) -> list[Any]:
        found = []
        for form in forms:
            try:
                found.append(use(form))
            except Unreachable as error:
                self._warnings.append(f"{name}: a form is kept and not used: {error}")
        return found

    def _types(self, node: Node) -> tuple[str, ...]:
        value = node.get("@type")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and ":" in each and self._words.expand(each) is None:
                self._unknown.setdefault(each)
        return self._words.types(value)[:MAX_TERMS] if value else ()

    def _place(self, data: Node) -> str:
        said = self._words.meanings(data, HILUM).get("place")
        for base in _PLACES:
            if said is not None:
                break
            found = self._words.meanings(data, base)
            said = next((found[key] for key in _IN_PLACES if key in found), None)
        if isinstance(said, dict):
            said = said.get("@id", said.get("id"))
        return self._words.expand(said) or ""

    def _profile(self, node: Node, given: Any, result: Any) -> Profile | None:
        """Return what a member means, None if the description does not say."""
        said = self._words.meanings(node, HILUM)
        inputs, outputs = self._classes(given), self._classes(result)
        if not said and not inputs and not outputs:
            return None
        level = ServiceLevel(
            latency=_number(said.get("latency"), 86_400_000),
            availability=_number(said.get("availability"), 1),
            rate=_number(said.get("rate"), 1e9),
        )
        category = said.get("category")
        profile = Profile(
            category=self._words.expand(category) or "",
            inputs=inputs,
            outputs=outputs,
            preconditions=self._words.types(said.get("precondition"))[:MAX_TERMS],
            effects=self._words.types(said.get("effect"))[:MAX_TERMS],
            level=level,
        )
        return None if profile == Profile() else profile

    def _classes(self, schema: Any) -> dict[str, str]:
        """Return the class of each parameter: of an object's members, else of the ``value``."""
        if not isinstance(schema, dict):
            return {}
        inner = schema.get("properties") if schema.get("type") != "array" else None
        parts = inner or {"value": schema}
        found = {name: self._words.types(each.get("@type")) for name, each in parts.items()}
        return {name: types[0] for name, types in list(found.items())[:MAX_TERMS] if types}

    def _schema(self, schema: Any, forms: list[Node]) -> dict[str, Any] | None:
        """Return what a schema of TD 1.1 checks, in the keywords of JSON Schema.

        None for payloads that are no JSON: calls and events would be refused as such.
        """
        if not isinstance(schema, dict) or not all(map(_is_json, forms)):
            return None
        found = _projected(schema)
        if not found:
            return None
        if len(msgspec.json.encode(found)) > MAX_SCHEMA:
            self._warnings.append(f"a schema of more than {MAX_SCHEMA} bytes is not checked")
            return None
        return found


def _is_plain(schema: Any) -> bool:
    """Return whether what is sent is no object, which arguments could be put into."""
    return isinstance(schema, dict) and schema.get("type", "object") != "object"


def _is_json(form: Node) -> bool:
    media = str(form.get("contentType", "application/json")).partition(";")[0].strip().lower()
    return media == "application/json" or media.endswith("+json")


def _forms(node: Node, kind: str, op: str) -> list[Node]:
    return [form for form in node["forms"] if op in operations(form, kind, node)]


def _projected(schema: Node) -> dict[str, Any]:
    found = {key: schema[key] for key in _PLAIN if key in schema}
    if "properties" in schema:
        found["properties"] = {k: _projected(v) for k, v in schema["properties"].items()}
    if "oneOf" in schema:
        found["oneOf"] = [_projected(each) for each in schema["oneOf"]]
    items = schema.get("items")
    if isinstance(items, dict):
        found["items"] = _projected(items)
    elif items:
        found["prefixItems"] = [_projected(each) for each in items]
    return found


def _number(value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return 0
    return float(value)


def _text(node: Node) -> str:
    return str(node.get("description") or node.get("title") or "")[:4096]
