"""The catalog: what exists, as the fold of the change log (design 5). Pure: no I/O, no clock.

``apply`` is total and deterministic: every replica that applies the same log has the same
catalog. What may be asked for is checked before a Change is appended, by ``clashes``.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from registry.changes import (
    Change,
    CredentialIssued,
    CredentialRevoked,
    Deregistered,
    Expired,
    ObjectCreated,
    ObjectDestroyed,
    OntologyLoaded,
    OntologyUnloaded,
    PolicyApplied,
    PolicyDeleted,
    PrincipalRevoked,
    Registered,
    ThingDescribed,
    ThingForgotten,
    TokenIssued,
    TokenRevoked,
)
from registry.model import (
    CredentialRecord,
    Definition,
    EventChannel,
    Kind,
    Method,
    NameRecord,
    Offer,
    OntologyRecord,
    PolicyRecord,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name, parent

Definitions: TypeAlias = dict[Name, Definition]


class Touched(NamedTuple):
    """What one Change touched: only this is compiled anew.

    ``registrations`` are those whose lease began or ended.
    """

    names: frozenset[Name] = frozenset()
    policies: frozenset[tuple[str, str]] = frozenset()
    tokens: frozenset[str] = frozenset()
    credentials: frozenset[str] = frozenset()
    registrations: frozenset[RegistrationId] = frozenset()
    things: frozenset[str] = frozenset()
    ontologies: frozenset[str] = frozenset()


class Clash(NamedTuple):
    """A name that cannot be registered as asked, and whose it is."""

    name: Name
    owner: str
    why: str


class Catalog:
    """Tables of immutable records; the only writer is ``apply``."""

    def __init__(self) -> None:
        self.names: MutableMapping[Name, NameRecord] = {}
        self.registrations: MutableMapping[RegistrationId, Registration] = {}
        self.things: MutableMapping[str, ThingRecord] = {}
        """Thing Descriptions by their ids."""
        self.thing_of: MutableMapping[Name, str] = {}
        """The id of the Thing Description that an object comes from."""
        self.ontologies: MutableMapping[str, OntologyRecord] = {}
        self.policies: MutableMapping[tuple[str, str], PolicyRecord] = {}
        self.tokens: MutableMapping[str, TokenRecord] = {}
        self.credentials: MutableMapping[str, CredentialRecord] = {}
        self.revoked: MutableMapping[str, int] = {}
        """Principals whose credentials of before a Unix time (seconds) are void."""
        self.generation = 0

    def apply(self, change: Change) -> Touched:
        """Apply one Change of the log and say what it touched."""
        match change:
            case Registered(registration):
                return self._register(registration)
            case Deregistered(id_):
                return self._deregister(id_)
            case Expired(id_, generation):
                return self._expire(id_, generation)
            case ObjectCreated(id_, created):
                return self._create(id_, created)
            case ObjectDestroyed(name):
                return self._destroy(name)
            case ThingDescribed() | ThingForgotten() | OntologyLoaded() | OntologyUnloaded():
                return self._describe(change)
            case PolicyApplied(policy):
                self.policies[policy.kind, policy.name] = policy
                return Touched(policies=frozenset({(policy.kind, policy.name)}))
            case PolicyDeleted(kind, policy_name):
                self.policies.pop((kind, policy_name), None)
                return Touched(policies=frozenset({(kind, policy_name)}))
        return self._credential(change)

    def next_generation(self) -> int:
        """Return the generation that the next registration gets."""
        return self.generation + 1

    def owner_of(self, name: Name) -> str:
        """Return the owner of a name or of the nearest registered name above it, "" for nobody.

        This is what a name that does not exist yet is created under (design 4).
        """
        above: Name | None = name
        while above is not None:
            record = self.names.get(above)
            if record is not None:
                return record.owner
            above = parent(above)
        return ""

    def clashes(
        self, owner: str, objects: Iterable[VirtualObject], by: RegistrationId | None = None
    ) -> Iterator[Clash]:
        """Yield what keeps ``owner`` from registering ``objects``: names of another kind or owner.

        A clash of owners may still be allowed by policy (``bind``); one of kinds never is:
        ``owner`` is then empty. ``by`` is the registration that these objects replace: a name
        that only it offers may change its kind.
        """
        for obj in objects:
            for name, definition in _definitions((obj,)).items():
                yield from self._clash(name, kind_of(definition), owner, by)

    def _clash(
        self, name: Name, kind: Kind, owner: str, by: RegistrationId | None
    ) -> Iterator[Clash]:
        record = self.names.get(name)
        if record is None:
            return
        if record.kind is not kind and any(o.registration != by for o in record.offers):
            yield Clash(name, "", f"{name} is already {_article(record.kind)}")
        elif record.owner != owner:
            yield Clash(name, record.owner, f"{name} belongs to {record.owner}")

    def live_offers(self, record: NameRecord) -> tuple[Offer, ...]:
        """Return the offers of a name whose registration has not expired."""
        registrations = self.registrations
        return tuple(o for o in record.offers if registrations[o.registration].live)

    def _credential(
        self,
        change: TokenIssued
        | TokenRevoked
        | CredentialIssued
        | CredentialRevoked
        | PrincipalRevoked,
    ) -> Touched:
        match change:
            case TokenIssued(token):
                self.tokens[token.id] = token
                return Touched(tokens=frozenset({token.id}))
            case TokenRevoked(id_):
                self.tokens.pop(id_, None)
                return Touched(tokens=frozenset({id_}))
            case CredentialIssued(credential):
                self.credentials[credential.id] = credential
                return Touched(credentials=frozenset({credential.id}))
            case CredentialRevoked(id_):
                self.credentials.pop(id_, None)
                return Touched(credentials=frozenset({id_}))
        self.revoked[change.principal] = max(change.at, self.revoked.get(change.principal, 0))
        return Touched()

    def _describe(
        self, change: ThingDescribed | ThingForgotten | OntologyLoaded | OntologyUnloaded
    ) -> Touched:
        match change:
            case ThingDescribed(thing):
                before = self.thing_of.get(thing.name, thing.id)
                self._forget(before)
                self._forget(thing.id)
                self.things[thing.id] = thing
                self.thing_of[thing.name] = thing.id
                return Touched(things=frozenset({thing.id, before}))
            case ThingForgotten(id_):
                self._forget(id_)
                return Touched(things=frozenset({id_}))
            case OntologyLoaded(ontology):
                self.ontologies[ontology.name] = ontology
                return Touched(ontologies=frozenset({ontology.name}))
        self.ontologies.pop(change.name, None)
        return Touched(ontologies=frozenset({change.name}))

    def _forget(self, id_: str) -> None:
        old = self.things.pop(id_, None)
        if old is not None and self.thing_of.get(old.name) == id_:
            del self.thing_of[old.name]

    def _undescribed(self, names: Iterable[Name]) -> frozenset[str]:
        """Forget the descriptions of objects that their registration offers no longer."""
        described = (self.things[self.thing_of[name]] for name in names if name in self.thing_of)
        gone = frozenset(t.id for t in described if not self._offers(t.registration, t.name))
        for id_ in gone:
            self._forget(id_)
        return gone

    def _register(self, registration: Registration) -> Touched:
        id_ = registration.id
        old = self.registrations.get(id_)
        before: Definitions = {}
        if old is not None:
            before = _definitions(old.everything())
            if old.created and not registration.created:
                fresh = {o.name for o in registration.objects}
                kept = tuple(o for o in old.created if o.name not in fresh)
                registration = replace(registration, created=kept)
        self.generation = max(self.generation, registration.generation)
        self.registrations[id_] = registration
        names = self._move(id_, before, _definitions(registration.everything()))
        things = self._undescribed(names)
        return Touched(names=names, registrations=frozenset({id_}), things=things)

    def _deregister(self, id_: RegistrationId) -> Touched:
        old = self.registrations.pop(id_, None)
        if old is None:
            return Touched()
        names = self._move(id_, _definitions(old.everything()), {})
        things = self._undescribed(names)
        return Touched(names=names, registrations=frozenset({id_}), things=things)

    def _expire(self, id_: RegistrationId, generation: int) -> Touched:
        old = self.registrations.get(id_)
        if old is None or old.generation != generation or not old.live:
            return Touched()
        self.registrations[id_] = replace(old, live=False)
        names = frozenset(_definitions(old.everything()))
        return Touched(names=names, registrations=frozenset({id_}))

    def _create(self, id_: RegistrationId, created: VirtualObject) -> Touched:
        old = self.registrations.get(id_)
        if old is None:
            return Touched()
        before: Definitions = {}
        if self._offers(id_, Name(created.name)):
            before = _definitions(o for o in old.everything() if o.name == created.name)
            old = _without(old, created.name)
        self.registrations[id_] = replace(old, created=(*old.created, created))
        return Touched(names=self._move(id_, before, _definitions((created,))))

    def _destroy(self, name: Name) -> Touched:
        record = self.names.get(name)
        if record is None or record.kind is not Kind.OBJECT:
            return Touched()
        names: set[Name] = set()
        for id_, _ in record.offers:
            old = self.registrations[id_]
            self.registrations[id_] = _without(old, name)
            gone = _definitions(o for o in old.everything() if o.name == name)
            names |= self._move(id_, gone, {})
        return Touched(names=frozenset(names), things=self._undescribed(names))

    def _offers(self, id_: RegistrationId, name: Name) -> bool:
        record = self.names.get(name)
        return record is not None and any(o.registration == id_ for o in record.offers)

    def _move(
        self, id_: RegistrationId, before: Definitions, after: Definitions
    ) -> frozenset[Name]:
        """Replace what one registration offers, keeping its place beside others."""
        for name, definition in before.items():
            if name not in after or kind_of(after[name]) is not kind_of(definition):
                self._withdraw(id_, name)
        for name, definition in after.items():
            self._offer(name, kind_of(definition), Offer(id_, definition))
        return frozenset(before.keys() | after.keys())

    def _offer(self, name: Name, kind: Kind, offer: Offer) -> None:
        record = self.names.get(name)
        if record is None:
            owner = self.registrations[offer.registration].owner
            self.names[name] = NameRecord(name, kind, owner, (offer,))
        elif record.kind is kind:
            offers = record.offers
            places = [o.registration for o in offers]
            if offer.registration in places:
                place = places.index(offer.registration)
                offers = (*offers[:place], offer, *offers[place + 1 :])
            else:
                offers = (*offers, offer)
            self._record(record, offers)
        else:
            # The log disagrees with ``clashes``: what the name was first stays, its owner may not.
            self._record(record, record.offers)

    def _withdraw(self, id_: RegistrationId, name: Name) -> None:
        record = self.names.get(name)
        if record is None:
            return
        offers = tuple(o for o in record.offers if o.registration != id_)
        if offers:
            self._record(record, offers)
        else:
            del self.names[name]

    def _record(self, record: NameRecord, offers: tuple[Offer, ...]) -> None:
        """Keep the owner while he offers the name; after him it is the earliest one's."""
        owners = [self.registrations[o.registration].owner for o in offers]
        owner = record.owner if record.owner in owners else owners[0]
        self.names[record.name] = NameRecord(record.name, record.kind, owner, offers)


def _definitions(objects: Iterable[VirtualObject]) -> Definitions:
    definitions: Definitions = {}
    for obj in objects:
        definitions[Name(obj.name)] = obj
        definitions.update(obj.members())
    return definitions


def _without(registration: Registration, name: str) -> Registration:
    return replace(
        registration,
        objects=tuple(o for o in registration.objects if o.name != name),
        created=tuple(o for o in registration.created if o.name != name),
    )


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind is Kind.OBJECT else f"a {kind}"


def kind_of(definition: Definition) -> Kind:
    """Return what a name with this definition is."""
    if isinstance(definition, Method):
        return Kind.METHOD
    return Kind.CHANNEL if isinstance(definition, EventChannel) else Kind.OBJECT
