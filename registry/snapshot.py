"""A catalog as opaque records, and back: what a snapshot of the change log holds. Pure.

Definitions are written once, with their registration; a name only says who offers it.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from registry.catalog import Catalog, kind_of
from registry.model import (
    Definition,
    Kind,
    NameRecord,
    Offer,
    PolicyRecord,
    Registration,
    RegistrationId,
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


class _Policy(Struct, frozen=True, tag="policy"):
    record: PolicyRecord


class _Token(Struct, frozen=True, tag="token"):
    record: TokenRecord


class _Generation(Struct, frozen=True, tag="generation"):
    generation: int


_Record = _Registration | _Name | _Policy | _Token | _Generation
_decoder: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(_Record)
_encoder = msgspec.json.Encoder()


def dump(catalog: Catalog) -> Iterator[bytes]:
    """Return an iterator over the records of a catalog as it is now.

    Only references are taken here; encoding happens as the iterator is consumed, which may be in
    another thread because all records are immutable.
    """
    registrations = list(catalog.registrations.values())
    names = list(catalog.names.values())
    policies = list(catalog.policies.values())
    tokens = list(catalog.tokens.values())
    return _encode(registrations, names, policies, tokens, catalog.generation)


def _encode(
    registrations: list[Registration],
    names: list[NameRecord],
    policies: list[PolicyRecord],
    tokens: list[TokenRecord],
    generation: int,
) -> Iterator[bytes]:
    for registration in registrations:
        yield _encoder.encode(_Registration(registration))
    for name in names:
        offers = tuple(offer.registration for offer in name.offers)
        yield _encoder.encode(_Name(name.name, name.kind, name.owner, offers))
    for policy in policies:
        yield _encoder.encode(_Policy(policy))
    for token in tokens:
        yield _encoder.encode(_Token(token))
    yield _encoder.encode(_Generation(generation))


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
            case _Policy(policy):
                catalog.policies[policy.kind, policy.name] = policy
            case _Token(token):
                catalog.tokens[token.id] = token
            case last:
                catalog.generation = last.generation
                whole = True
    if not whole:
        raise ValueError("the snapshot ends too early")


def _linked(
    record: _Name, definitions: Mapping[tuple[RegistrationId, Name, Kind], Definition]
) -> NameRecord:
    """Return a name's record with the definitions that its registrations hold."""
    try:
        offers = tuple(Offer(i, definitions[i, record.name, record.kind]) for i in record.offers)
    except KeyError:
        raise ValueError(f"the snapshot says of {record.name} what nobody registered") from None
    return NameRecord(record.name, record.kind, record.owner, offers)
