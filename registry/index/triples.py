"""A registered object as RDF: its own names and members, in the words of the ontology.

Only what its service says of these goes into its graph: the owner and upstream addresses never
do. What follows from it by the ontologies is kept in a graph of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from registry import vocabulary
from registry.index.closure import TYPE, Closure, Triple
from registry.index.rdf import BlankNode, Iri, Literal, Quad
from registry.model import (
    Deployment,
    EventChannel,
    Method,
    Profile,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name, authority_of, encode_segment, member, urn
from registry.terms import HILUM, is_iri
from registry.urls import scheme_of
from registry.vocabulary import ONTOLOGIES, PLACE, WITHIN

CLOSURE: Final = Iri(vocabulary.CLOSURE)
A, PLACED, IN = Iri(TYPE), Iri(PLACE), Iri(WITHIN)
_THING, _OBJECT = Iri(vocabulary.THING), Iri(vocabulary.VIRTUAL_OBJECT)
_SERVICE, _METHOD = Iri(vocabulary.MICROSERVICE), Iri(vocabulary.METHOD)
_CHANNEL, _NAME = Iri(vocabulary.EVENT_CHANNEL), Iri(vocabulary.NAME)
_TITLE, _DESCRIPTION = Iri(vocabulary.TITLE), Iri(vocabulary.DESCRIPTION)
_TD_NAME, _OF = Iri(vocabulary.MEMBER_NAME), Iri(vocabulary.OF_MICROSERVICE)
_OFFERS, _VERSION = Iri(vocabulary.OFFERS), Iri(vocabulary.VERSION)
_DEPLOYED, _PROTOCOL = Iri(vocabulary.DEPLOYMENT), Iri(vocabulary.PROTOCOL)
_CATEGORY = Iri(vocabulary.CATEGORY)
_INPUT, _OUTPUT = Iri(vocabulary.INPUT_CLASS), Iri(vocabulary.OUTPUT_CLASS)
_BEFORE, _AFTER = Iri(vocabulary.PRECONDITION), Iri(vocabulary.EFFECT)
_LEVEL: Final = {
    "latency": Iri(vocabulary.LATENCY),
    "availability": Iri(vocabulary.AVAILABILITY),
    "rate": Iri(vocabulary.RATE),
}
_HAS_ACTION, _ACTION = Iri(vocabulary.HAS_ACTION), Iri(vocabulary.ACTION)
_HAS_EVENT, _EVENT = Iri(vocabulary.HAS_EVENT), Iri(vocabulary.EVENT)
_HAS_PROPERTY, _PROPERTY = Iri(vocabulary.HAS_PROPERTY), Iri(vocabulary.PROPERTY)
_OF_PROPERTY: Final = (";write", ";read", ";observe")
"""How names end of members that a property became beside, or instead of, its bare name."""
_DEPLOYMENTS: Final = {word: Iri(each) for word, each in vocabulary.DEPLOYMENTS.items()}
_PROTOCOLS: Final = {"https": "http", "mqtts": "mqtt", "coaps": "coap", "coap+tcp": "coap"}


class Service(NamedTuple):
    """A registration that offers an object."""

    id: RegistrationId
    deployment: Deployment = ""


class Offered(NamedTuple):
    """An object and what is known of it: ``text`` is its Thing Description as it was submitted.

    ``extra`` are triples that an extension vocabulary gave it (``registry.things.expansion``).
    """

    name: Name
    obj: VirtualObject
    services: tuple[Service, ...] = ()
    id: str = ""
    text: str = ""
    extra: tuple[Quad, ...] = ()


class _Said(Struct):
    title: str = ""
    description: str = ""
    properties: dict[str, msgspec.Raw] = {}
    actions: dict[str, msgspec.Raw] = {}


_said = msgspec.json.Decoder(_Said)


def graph_of(name: Name) -> Iri:
    """Return the graph of what is said of an object."""
    return Iri(urn(name))


def inferred_of(name: Name) -> Iri:
    """Return the graph of what follows from it."""
    return Iri(f"{urn(name)}#inferred")


def subject_of(offered: Offered, closure: Closure) -> str:
    """Return the IRI of an object: its description's id, where that is its own to take.

    Names of others and terms of an ontology are not: then its name stands for it.
    """
    own = urn(offered.name)
    id_ = offered.id
    if not id_ or not is_iri(id_) or id_.startswith(("urn:hilum:", HILUM, ONTOLOGIES)):
        return own
    return own if closure.speaks_of(id_) else id_


def asserted(offered: Offered, subject: str) -> list[Quad]:
    """Return what is said of an object and its members."""
    name, obj = offered.name, offered.obj
    thing, graph = Iri(subject), graph_of(name)
    found = [
        Quad(thing, A, _THING, graph),
        Quad(thing, A, _OBJECT, graph),
        Quad(thing, _NAME, Literal(name), graph),
    ]
    found += (Quad(thing, A, Iri(each), graph) for each in obj.types if is_iri(each))
    said = _read(offered.text)
    if said.title:
        found.append(Quad(thing, _TITLE, Literal(said.title), graph))
    if description := said.description or obj.description:
        found.append(Quad(thing, _DESCRIPTION, Literal(description), graph))
    if is_iri(obj.place):
        found.append(Quad(thing, PLACED, Iri(obj.place), graph))
    for service in offered.services:
        found += _service(service, name, thing, graph)
    properties = {encode_segment(each) for each in said.properties if each not in said.actions}
    for each, definition in obj.members():
        found += _member(each, definition, thing, graph)
        if member(each) in properties or each.endswith(_OF_PROPERTY):
            found.append(Quad(thing, _HAS_PROPERTY, Iri(urn(each)), graph))
            found.append(Quad(Iri(urn(each)), A, _PROPERTY, graph))
    own = {subject, *(urn(each) for each, _ in obj.members())}
    found += (quad for quad in offered.extra if _is_own(quad, own, name))
    return found


def _is_own(quad: Quad, own: set[str], name: Name) -> bool:
    """Whether a triple is about an object's own names, or about what has none (``extended``)."""
    subject = quad.subject
    return isinstance(subject, Iri) and (
        subject.value in own or subject.value.startswith(f"{urn(name)}#")
    )


def extended(name: Name, statements: Iterable[Quad]) -> list[Quad]:
    """Return what is said of an object in other vocabularies, in its graph.

    What has no name of its own gets one below the object's.
    """
    graph = graph_of(name)
    names: dict[BlankNode, Iri] = {}

    def named(node: BlankNode) -> Iri:
        return names.setdefault(node, Iri(f"{urn(name)}#_{len(names)}"))

    found = []
    for quad in statements:
        subject, value = quad.subject, quad.object
        if isinstance(subject, BlankNode):
            subject = named(subject)
        if isinstance(value, BlankNode):
            value = named(value)
        found.append(Quad(subject, quad.predicate, value, graph))
    return found


def inferred(quads: Iterable[Quad], graph: Iri, closure: Closure) -> Iterator[Quad]:
    """Yield what follows from an object's own triples; of others nothing follows here."""
    own: set[str] = set()
    said: set[Triple] = set()
    for quad in quads:
        if isinstance(quad.subject, Iri) and isinstance(quad.object, Iri):
            own.add(quad.subject.value)
            said.add((quad.subject.value, quad.predicate.value, quad.object.value))
    fresh: set[Triple] = set()
    for triple in said:
        if triple[1] == TYPE:
            fresh |= {(triple[0], TYPE, above) for above in closure.superclasses(triple[2])}
        elif closure.implies(triple[1]):
            fresh |= {each for each in closure.consequences([triple]) if each[0] in own}
    for subject, _, value in [each for each in (*said, *fresh) if each[1] == PLACE]:
        fresh |= {(subject, WITHIN, above) for above in closure.above(value)}
    for subject, name, value in fresh - said:
        yield Quad(Iri(subject), Iri(name), Iri(value), graph)


def _read(text: str) -> _Said:
    """Return what a description says; one that cannot be read costs its title alone."""
    try:
        return _said.decode(text) if text else _Said()
    except msgspec.DecodeError:
        return _Said()


def _service(service: Service, name: Name, thing: Iri, graph: Iri) -> Iterator[Quad]:
    parts = "/".join(encode_segment(part) for part in service.id)
    microservice = Iri(f"urn:hilum:{authority_of(name)}/$site/microservice/{parts}")
    yield Quad(thing, _OF, microservice, graph)
    yield Quad(microservice, A, _SERVICE, graph)
    yield Quad(microservice, _OFFERS, thing, graph)
    yield Quad(microservice, _VERSION, Literal(service.id.version), graph)
    if service.deployment:
        yield Quad(microservice, _DEPLOYED, _DEPLOYMENTS[service.deployment], graph)


def _member(
    name: Name, definition: Method | EventChannel, thing: Iri, graph: Iri
) -> Iterator[Quad]:
    subject = Iri(urn(name))
    last = member(name)
    if isinstance(definition, Method):
        has, kinds = _HAS_ACTION, (_ACTION, _METHOD)
        urls: Iterable[str] = (endpoint.url for endpoint in definition.endpoints)
    else:
        has, kinds = _HAS_EVENT, (_EVENT, _CHANNEL)
        urls = definition.sources
    yield Quad(thing, has, subject, graph)
    for kind in kinds:
        yield Quad(subject, A, kind, graph)
    for each in definition.types:
        if is_iri(each):
            yield Quad(subject, A, Iri(each), graph)
    yield Quad(subject, _NAME, Literal(name), graph)
    yield Quad(subject, _TD_NAME, Literal(last), graph)
    for protocol in dict.fromkeys(map(_protocol, urls)):
        yield Quad(subject, _PROTOCOL, Literal(protocol), graph)
    if definition.profile is not None:
        yield from _profile(definition.profile, subject, graph)


def _profile(profile: Profile, subject: Iri, graph: Iri) -> Iterator[Quad]:
    terms = (
        (_CATEGORY, (profile.category,)),
        (_INPUT, profile.inputs.values()),
        (_OUTPUT, profile.outputs.values()),
        (_BEFORE, profile.preconditions),
        (_AFTER, profile.effects),
    )
    for name, values in terms:
        for value in values:
            if is_iri(value):
                yield Quad(subject, name, Iri(value), graph)
    for key, name in _LEVEL.items():
        number = getattr(profile.level, key)
        if number:
            yield Quad(subject, name, Literal(float(number)), graph)


def _protocol(url: str) -> str:
    scheme = scheme_of(url)
    return _PROTOCOLS.get(scheme, scheme)
