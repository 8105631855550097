"""The catalog: what exists, as the fold of the change log (design 5). Pure: no I/O, no clock.

``apply`` is total and deterministic: every replica that applies the same log has the same
catalog. What may be asked for is checked before a Change is appended, by ``clashes``.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from registry.changes import (
    Change,
    Deregistered,
    Expired,
    ObjectCreated,
    ObjectDestroyed,
    PolicyApplied,
    PolicyDeleted,
    Registered,
    TokenIssued,
    TokenRevoked,
)
from registry.model import (
    Kind,
    Method,
    NameRecord,
    Offer,
    PolicyRecord,
    Registration,
    RegistrationId,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name

K = TypeVar("K")
V = TypeVar("V")


class Touched(NamedTuple):
    """What one Change touched: only this is compiled anew."""

    names: frozenset[Name] = frozenset()
    policies: frozenset[tuple[str, str]] = frozenset()
    tokens: frozenset[str] = frozenset()
    registrations: frozenset[RegistrationId] = frozenset()


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
        self.policies: MutableMapping[tuple[str, str], PolicyRecord] = {}
        self.tokens: MutableMapping[str, TokenRecord] = {}
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
            case PolicyApplied(policy):
                self.policies[policy.kind, policy.name] = policy
                return Touched(policies=frozenset({(policy.kind, policy.name)}))
            case PolicyDeleted(kind, policy_name):
                self.policies.pop((kind, policy_name), None)
                return Touched(policies=frozenset({(kind, policy_name)}))
            case TokenIssued(token):
                self.tokens[token.id] = token
                return Touched(tokens=frozenset({token.id}))
            case TokenRevoked(token_id):
                self.tokens.pop(token_id, None)
                return Touched(tokens=frozenset({token_id}))

    def next_generation(self) -> int:
        """Return the generation that the next registration gets."""
        return self.generation + 1

    def clashes(self, owner: str, objects: Iterable[VirtualObject]) -> Iterator[Clash]:
        """Yield what keeps ``owner`` from registering ``objects``: names of another kind or owner.

        A clash of owners may still be allowed by policy (``bind``); one of kinds never is:
        ``owner`` is then empty.
        """
        for obj in objects:
            yield from self._clash(Name(obj.name), Kind.OBJECT, owner)
            for member, definition in obj.members():
                yield from self._clash(member, kind_of(definition), owner)

    def _clash(self, name: Name, kind: Kind, owner: str) -> Iterator[Clash]:
        record = self.names.get(name)
        if record is None:
            return
        if record.kind is not kind:
            yield Clash(name, "", f"{name} is already {_article(record.kind)}")
        elif record.owner != owner:
            yield Clash(name, record.owner, f"{name} belongs to {record.owner}")

    def live_offers(self, record: NameRecord) -> tuple[Offer, ...]:
        """Return the offers of a name whose registration has not expired."""
        registrations = self.registrations
        return tuple(o for o in record.offers if registrations[o.registration].live)

    def _register(self, registration: Registration) -> Touched:
        id_ = registration.id
        old = self.registrations.get(id_)
        if old is not None and old.created and not registration.created:
            registration = replace(registration, created=old.created)
        self.generation = max(self.generation, registration.generation)
        self.registrations[id_] = registration
        touched = set()
        for obj in registration.everything():
            touched.update(self._offer(obj, registration))
        if old is not None:
            gone = _names_of(old.everything()) - touched
            self._withdraw(id_, gone)
            touched |= gone
        return Touched(names=frozenset(touched), registrations=frozenset({id_}))

    def _deregister(self, id_: RegistrationId) -> Touched:
        old = self.registrations.pop(id_, None)
        if old is None:
            return Touched()
        names = _names_of(old.everything())
        self._withdraw(id_, names)
        return Touched(names=frozenset(names), registrations=frozenset({id_}))

    def _expire(self, id_: RegistrationId, generation: int) -> Touched:
        old = self.registrations.get(id_)
        if old is None or old.generation != generation or not old.live:
            return Touched()
        self.registrations[id_] = replace(old, live=False)
        return Touched(names=frozenset(_names_of(old.everything())), registrations=frozenset({id_}))

    def _create(self, id_: RegistrationId, created: VirtualObject) -> Touched:
        old = self.registrations.get(id_)
        if old is None:
            return Touched()
        others = tuple(o for o in old.created if o.name != created.name)
        replaced = _names_of(o for o in old.created if o.name == created.name)
        new = replace(old, created=(*others, created))
        self.registrations[id_] = new
        touched = self._offer(created, new)
        gone = replaced - touched
        self._withdraw(id_, gone)
        return Touched(names=frozenset(touched | gone))

    def _destroy(self, name: Name) -> Touched:
        record = self.names.get(name)
        if record is None or record.kind is not Kind.OBJECT:
            return Touched()
        touched = {name}
        for offer in record.offers:
            old = self.registrations[offer.registration]
            gone = _names_of(o for o in old.everything() if o.name == name)
            self._withdraw(offer.registration, gone)
            touched |= gone
            self.registrations[offer.registration] = replace(
                old,
                objects=tuple(o for o in old.objects if o.name != name),
                created=tuple(o for o in old.created if o.name != name),
            )
        return Touched(names=frozenset(touched))

    def _offer(self, obj: VirtualObject, registration: Registration) -> set[Name]:
        name = Name(obj.name)
        self._offer_one(name, Kind.OBJECT, Offer(registration.id, obj), registration.owner)
        touched = {name}
        for member, definition in obj.members():
            offer = Offer(registration.id, definition)
            self._offer_one(member, kind_of(definition), offer, registration.owner)
            touched.add(member)
        return touched

    def _offer_one(self, name: Name, kind: Kind, offer: Offer, owner: str) -> None:
        record = self.names.get(name)
        if record is None:
            self.names[name] = NameRecord(name, kind, owner, (offer,))
            return
        offers = record.offers
        for place, other in enumerate(offers):
            if other.registration == offer.registration:
                offers = (*offers[:place], offer, *offers[place + 1 :])
                break
        else:
            offers = (*offers, offer)
        self.names[name] = NameRecord(name, record.kind, record.owner, offers)

    def _withdraw(self, id_: RegistrationId, names: Iterable[Name]) -> None:
        for name in names:
            record = self.names[name]
            offers = tuple(o for o in record.offers if o.registration != id_)
            if not offers:
                del self.names[name]
                continue
            owners = [self.registrations[o.registration].owner for o in offers]
            owner = record.owner if record.owner in owners else owners[0]
            self.names[name] = NameRecord(name, record.kind, owner, offers)


class Draft(Catalog):
    """A catalog beside another: reads fall through, writes stay here.

    Changes that were appended but not yet committed are applied to a draft, so that the next one
    is checked against them (design 5: the pending tail).
    """

    def __init__(self, base: Catalog) -> None:
        super().__init__()
        self.names = _Overlay(base.names)
        self.registrations = _Overlay(base.registrations)
        self.policies = _Overlay(base.policies)
        self.tokens = _Overlay(base.tokens)
        self.generation = base.generation


class _Overlay(MutableMapping[K, V], Generic[K, V]):
    """A mapping over another that is never written."""

    def __init__(self, base: MutableMapping[K, V]) -> None:
        self._base = base
        self._own: dict[K, V] = {}
        self._gone: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key in self._own:
            return self._own[key]
        if key in self._gone:
            raise KeyError(key)
        return self._base[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value
        self._gone.discard(key)

    def __delitem__(self, key: K) -> None:
        self[key]
        self._own.pop(key, None)
        self._gone.add(key)

    def __iter__(self) -> Iterator[K]:
        yield from self._own
        yield from (k for k in self._base if k not in self._own and k not in self._gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _names_of(objects: Iterable[VirtualObject]) -> set[Name]:
    names = set()
    for obj in objects:
        names.add(Name(obj.name))
        names.update(member for member, _ in obj.members())
    return names


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind is Kind.OBJECT else f"a {kind}"


def kind_of(definition: object) -> Kind:
    """Return the kind of a member's definition."""
    return Kind.METHOD if isinstance(definition, Method) else Kind.CHANNEL
