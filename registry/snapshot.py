"""A catalog as opaque records, and back: what a snapshot of the change log holds. Pure.

Definitions are written once, with their registration; a name only says who offers it.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from registry.catalog import Catalog, kind_of
from registry.model import (
    CredentialRecord,
    Definition,
    Kind,
    NameRecord,
    Offer,
    OntologyRecord,
    PolicyRecord,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
)
from registry.names import Name


class _Registration(Struct, frozen=True, tag="registration"):
    record: Registration


class _Name(Struct, frozen=True, tag="name"):
    name: Name
    kind: Kind
    owner: str
    offers: tuple[RegistrationId, ...]


class _Thing(Struct, frozen=True, tag="thing"):
    record: ThingRecord


class _Ontology(Struct, frozen=True, tag="ontology"):
    record: OntologyRecord


class _Policy(Struct, frozen=True, tag="policy"):
    record: PolicyRecord


class _Token(Struct, frozen=True, tag="token"):
    record: TokenRecord


class _Credential(Struct, frozen=True, tag="credential"):
    record: CredentialRecord


class _Revoked(Struct, frozen=True, tag="revoked"):
    principal: str
    at: int


class _Generation(Struct, frozen=True, tag="generation"):
    generation: int


_Other = _Thing | _Ontology | _Policy | _Token | _Credential | _Revoked
_Record = _Registration | _Name | _Other | _Generation
_decoder: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(_Record)
_encoder = msgspec.json.Encoder()


def dump(catalog: Catalog) -> Iterator[bytes]:
    """Return an iterator over the records of a catalog as it is now.

    Only references are taken here; encoding happens as the iterator is consumed, which may be in
    another thread because all records are immutable.
    """
    registrations = list(catalog.registrations.values())
    names = list(catalog.names.values())
    rest: list[Struct] = [_Thing(thing) for thing in catalog.things.values()]
    rest += [_Ontology(ontology) for ontology in catalog.ontologies.values()]
    rest += [_Policy(policy) for policy in catalog.policies.values()]
    rest += [_Token(token) for token in catalog.tokens.values()]
    rest += [_Credential(credential) for credential in catalog.credentials.values()]
    rest += [_Revoked(principal, at) for principal, at in catalog.revoked.items()]
    rest.append(_Generation(catalog.generation))
    return _encode(registrations, names, rest)


def _encode(
    registrations: list[Registration], names: list[NameRecord], rest: list[Struct]
) -> Iterator[bytes]:
    for registration in registrations:
        yield _encoder.encode(_Registration(registration))
    for name in names:
        offers = tuple(offer.registration for offer in name.offers)
        yield _encoder.encode(_Name(name.name, name.kind, name.owner, offers))
    for record in rest:
        yield _encoder.encode(record)


def load(catalog: Catalog, records: Iterable[bytes]) -> None:
    """Fill an empty catalog from what ``dump`` wrote.

    Raises ValueError when the records are not a whole dump.
    """
    definitions: dict[tuple[RegistrationId, Name, Kind], Definition] = {}
    whole = False
    for body in records:
        match _decoder.decode(body):
            case _Registration(registration):
                catalog.registrations[registration.id] = registration
                for obj in registration.everything():
                    for name, definition in ((Name(obj.name), obj), *obj.members()):
                        definitions[registration.id, name, kind_of(definition)] = definition
            case _Name() as record:
                catalog.names[record.name] = _linked(record, definitions)
            case _Generation(generation):
                catalog.generation = generation
                whole = True
            case other:
                _load_other(catalog, other)
    if not whole:
        raise ValueError("the snapshot ends too early")


def _load_other(catalog: Catalog, record: _Other) -> None:
    match record:
        case _Thing(thing):
            catalog.things[thing.id] = thing
            catalog.thing_of[thing.name] = thing.id
        case _Ontology(ontology):
            catalog.ontologies[ontology.name] = ontology
        case _Policy(policy):
            catalog.policies[policy.kind, policy.name] = policy
        case _Token(token):
            catalog.tokens[token.id] = token
        case _Credential(credential):
            catalog.credentials[credential.id] = credential
        case revoked:
            catalog.revoked[revoked.principal] = revoked.at


def _linked(
    record: _Name, definitions: Mapping[tuple[RegistrationId, Name, Kind], Definition]
) -> NameRecord:
    """Return a name's record with the definitions that its registrations hold."""
    try:
        offers = tuple(Offer(i, definitions[i, record.name, record.kind]) for i in record.offers)
    except KeyError:
        raise ValueError(f"the snapshot says of {record.name} what nobody registered") from None
    return NameRecord(record.name, record.kind, record.owner, offers)
