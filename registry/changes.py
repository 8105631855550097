"""The union of Changes: the only way configuration state moves (design 5)."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

from registry.model import (
    CredentialRecord,
    OntologyRecord,
    PolicyRecord,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name


class Registered(Struct, frozen=True, tag="registered"):
    """A microservice registered, or replaced its registration of the same id."""

    registration: Registration


class Deregistered(Struct, frozen=True, tag="deregistered"):
    """A microservice went: its names go with it, unless somebody else offers them too."""

    id: RegistrationId


class Expired(Struct, frozen=True, tag="expired"):
    """A lease ran out: bindings go, names stay. A newer ``generation`` is not touched."""

    id: RegistrationId
    generation: int


class ObjectCreated(Struct, frozen=True, tag="object-created"):
    """A service created an object at run time; it stays bound to that instance."""

    id: RegistrationId
    object: VirtualObject


class ObjectDestroyed(Struct, frozen=True, tag="object-destroyed"):
    """An object and its members are gone, whoever offered them."""

    name: Name


class ThingDescribed(Struct, frozen=True, tag="thing-described"):
    """A Thing Description was submitted or changed; its registration is a Change of its own."""

    thing: ThingRecord


class ThingForgotten(Struct, frozen=True, tag="thing-forgotten"):
    """A Thing Description was deleted or expired; its registration ends by a Change of its own."""

    id: str


class OntologyLoaded(Struct, frozen=True, tag="ontology-loaded"):
    """An operator loaded an ontology, or replaced the one of its name."""

    ontology: OntologyRecord


class OntologyUnloaded(Struct, frozen=True, tag="ontology-unloaded"):
    """An operator took an ontology out."""

    name: str


class PolicyApplied(Struct, frozen=True, tag="policy-applied"):
    """An operator created or replaced a policy."""

    policy: PolicyRecord


class PolicyDeleted(Struct, frozen=True, tag="policy-deleted"):
    """An operator deleted a policy."""

    kind: str
    name: str


class TokenIssued(Struct, frozen=True, tag="token-issued"):
    """A bearer token was issued."""

    token: TokenRecord


class TokenRevoked(Struct, frozen=True, tag="token-revoked"):
    """A bearer token was revoked (or expired and was swept away)."""

    id: str


class CredentialIssued(Struct, frozen=True, tag="credential-issued"):
    """A credential was issued, or replaced the one of its id."""

    credential: CredentialRecord


class CredentialRevoked(Struct, frozen=True, tag="credential-revoked"):
    """A credential was revoked, used up, or expired and was swept away."""

    id: str


class PrincipalRevoked(Struct, frozen=True, tag="principal-revoked"):
    """Whatever was issued to a principal before ``at`` (Unix seconds) is void, by whomever."""

    principal: str
    at: int


Change: TypeAlias = (
    Registered
    | Deregistered
    | Expired
    | ObjectCreated
    | ObjectDestroyed
    | ThingDescribed
    | ThingForgotten
    | OntologyLoaded
    | OntologyUnloaded
    | PolicyApplied
    | PolicyDeleted
    | TokenIssued
    | TokenRevoked
    | CredentialIssued
    | CredentialRevoked
    | PrincipalRevoked
)


class Batch(Struct, frozen=True):
    """One entry of the log: Changes that happen together or not at all.

    ``at`` is Unix time in milliseconds, ``actor`` the principal that asked for it.
    """

    at: int
    actor: str
    changes: tuple[Change, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """Return the log's text of a batch: JSON, so that a site can be inspected with any tool."""
    return _encoder.encode(batch)


def decode(body: bytes) -> Batch:
    """Read what ``encode`` wrote; raises msgspec.ValidationError for anything else."""
    return _decoder.decode(body)
