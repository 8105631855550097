"""What conditions see of a name beside what policies state: what the registry knows.

It comes from the catalog and the closure of the ontologies, without any query.
"""

from collections.abc import Callable, Iterator

from policy.access.knowledge import Claim, Key, Known
from policy.model import Principal, Value
from registry.catalog import Catalog
from registry.index.closure import Closure
from registry.model import Kind, NameRecord, VirtualObject
from registry.names import Name, parent, urn


class NameFacts:
    """What the catalog and the ontologies know of names.

    ``principal_of`` says who an owner is now, None when the site knows no credential of his.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.principal_of: Callable[[str], Principal | None] = lambda _: None
        self._catalog = catalog
        self._closure = Closure()
        self._owners: dict[str, tuple[str, tuple[str, ...]] | None] = {}

    def learn(self, closure: Closure) -> None:
        """Let it be the closure of other ontologies."""
        self._closure = closure

    def of(self, name: Name) -> Known:
        """Return what is known of a name: of a member, also of the object that it belongs to."""
        record = self._catalog.names.get(name)
        if record is None:
            return Known(stated=tuple(self._stated(name)), above=self._above)
        microservice, version, _ = record.offers[0].registration
        registry: dict[str, Value] = {
            "kind": str(record.kind),
            "microservice": microservice,
            "version": version,
        }
        names, records = [name], [record]
        if record.kind is not Kind.OBJECT:
            above = parent(name)
            owner = self._catalog.names.get(above) if above is not None else None
            if above is not None and owner is not None:
                names, records = [above, name], [owner, record]
        stated = tuple(dict.fromkeys(fact for each in names for fact in self._stated(each)))
        claims = tuple(dict.fromkeys(claim for each in records for claim in self._claims(each)))
        return Known(registry, stated, claims, self._above)

    def have_changed(self) -> bool:
        """Whether somebody whose word was weighed is another now, by his credentials."""
        changed = [o for o, was in self._owners.items() if _is(self.principal_of(o)) != was]
        for owner in changed:
            del self._owners[owner]
        return bool(changed)

    def _stated(self, name: Name) -> Iterator[tuple[Key, str]]:
        """Yield what ontologies say of a name: they are loaded by operators alone."""
        iri = urn(name)
        for value in sorted(self._closure.types_of(iri)):
            yield "type", value
        for value in sorted(self._closure.places_of(iri)):
            yield "place", value

    def _claims(self, record: NameRecord) -> Iterator[Claim]:
        """Yield what those who offer a name say of it, each for himself."""
        for registration, definition in record.offers:
            owner = self._owner(self._catalog.registrations[registration].owner)
            for type_ in definition.types:
                yield Claim("type", type_, owner)
            if isinstance(definition, VirtualObject):
                if definition.place:
                    yield Claim("place", definition.place, owner)
            elif definition.profile is not None and definition.profile.category:
                yield Claim("category", definition.profile.category, owner)

    def _owner(self, id_: str) -> Principal:
        """Return who an owner is; one of whom no credential is known has no kind."""
        known = self.principal_of(id_)
        self._owners[id_] = _is(known)
        return known or Principal(id_, "")

    def _above(self, attribute: str, value: str) -> frozenset[str]:
        if attribute == "place":
            return self._closure.above(value)
        return self._closure.superclasses(value)


def _is(principal: Principal | None) -> tuple[str, tuple[str, ...]] | None:
    return None if principal is None else (principal.kind, principal.roles)
