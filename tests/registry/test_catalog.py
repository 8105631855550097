"""The catalog against a naive model, its invariants under any log, and drafts over it."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from registry.catalog import Catalog, Clash, Touched, kind_of
from registry.changes import (
    Batch,
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
    decode,
    encode,
)
from registry.draft import Draft
from registry.model import (
    CredentialRecord,
    Endpoint,
    EventChannel,
    Kind,
    Method,
    OntologyRecord,
    PolicyRecord,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name

A1 = RegistrationId("weather", "1", "a")
A2 = RegistrationId("weather", "1", "b")
B1 = RegistrationId("weather", "2", "a")
IDS = (A1, A2, B1)


def obj(name: str, methods: str = "", channels: str = "") -> VirtualObject:
    return VirtualObject(
        f"s/{name}",
        methods={m: Method(endpoints=(Endpoint(f"http://h/{m}"),)) for m in methods},
        channels={c: EventChannel() for c in channels},
    )


def registered(
    id_: RegistrationId, *objects: VirtualObject, owner: str = "user:a", generation: int = 1
) -> Registered:
    return Registered(Registration(id_, owner, "127.0.0.1", 60, generation, objects))


def apply(catalog: Catalog, *changes: Change) -> list[Touched]:
    return [catalog.apply(change) for change in changes]


def offers(catalog: Catalog, name: str) -> list[RegistrationId]:
    return [offer.registration for offer in catalog.names[Name(name)].offers]


# --- what a site relies on -------------------------------------------------------------------


def test_registering_makes_each_name_one_object_method_or_channel() -> None:
    catalog = Catalog()
    (touched,) = apply(catalog, registered(A1, obj("w", "m", "c")))
    kinds = {name: record.kind for name, record in catalog.names.items()}
    assert kinds == {"s/w": Kind.OBJECT, "s/w/m": Kind.METHOD, "s/w/c": Kind.CHANNEL}
    assert touched == Touched(names=frozenset(catalog.names), registrations=frozenset({A1}))


def test_the_same_id_replaces_and_others_stand_beside_it() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "mn")), registered(B1, obj("w", "m")))
    assert offers(catalog, "s/w/m") == [A1, B1]
    (touched,) = apply(catalog, registered(A1, obj("w", "mo"), generation=2))
    assert offers(catalog, "s/w/m") == [A1, B1]
    assert "s/w/n" not in catalog.names
    assert touched.names == {"s/w", "s/w/m", "s/w/n", "s/w/o"}


def test_a_replaced_registration_keeps_its_place_and_its_ownership() -> None:
    catalog = Catalog()
    apply(
        catalog,
        registered(A1, obj("w", "m"), owner="user:a"),
        registered(B1, obj("w", "m"), owner="user:b"),
        registered(A1, obj("w", "m"), owner="user:a", generation=2),
    )
    assert catalog.names[Name("s/w/m")].owner == "user:a"
    assert offers(catalog, "s/w/m") == [A1, B1]


def test_an_owner_keeps_his_names_after_expiry_and_loses_them_when_he_deregisters() -> None:
    catalog = Catalog()
    apply(
        catalog,
        registered(A1, obj("w", "m"), owner="user:a", generation=1),
        registered(B1, obj("w", "m"), owner="user:b", generation=2),
        Expired(A1, 1),
    )
    record = catalog.names[Name("s/w/m")]
    assert record.owner == "user:a"
    assert [offer.registration for offer in catalog.live_offers(record)] == [B1]
    apply(catalog, Deregistered(A1))
    assert catalog.names[Name("s/w/m")].owner == "user:b"
    (touched,) = apply(catalog, Deregistered(B1))
    assert touched.names == {"s/w", "s/w/m"}
    assert not catalog.names


def test_another_instance_of_the_owner_keeps_the_name_his() -> None:
    catalog = Catalog()
    apply(
        catalog,
        registered(A1, obj("w", "m"), owner="user:a"),
        registered(B1, obj("w", "m"), owner="user:b"),
        registered(A2, obj("w", "m"), owner="user:a"),
        Deregistered(A1),
    )
    assert catalog.names[Name("s/w/m")].owner == "user:a"


def test_ownership_follows_a_registration_that_somebody_else_replaced() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w"), owner="user:a"))
    apply(catalog, registered(A1, obj("w"), owner="user:b", generation=2))
    assert catalog.names[Name("s/w")].owner == "user:b"


def test_a_late_expiry_never_ends_a_newer_registration() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m"), generation=1))
    apply(catalog, registered(A1, obj("w", "m"), generation=2))
    late, real, again = apply(catalog, Expired(A1, 1), Expired(A1, 2), Expired(A1, 2))
    assert (late, again) == (Touched(), Touched())
    assert real.names == {"s/w", "s/w/m"}
    assert catalog.live_offers(catalog.names[Name("s/w/m")]) == ()
    assert catalog.next_generation() == 3
    assert str(A1) == "weather/1/a"


def test_created_objects_stay_bound_to_their_instance_until_it_goes() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")), ObjectCreated(A1, obj("w/p1", "g")))
    apply(catalog, registered(A1, obj("w", "m"), generation=2))
    assert offers(catalog, "s/w/p1/g") == [A1]
    apply(catalog, Expired(A1, 2))
    assert "s/w/p1/g" in catalog.names
    apply(catalog, Deregistered(A1))
    assert not catalog.names


def test_a_manifest_that_lists_a_created_object_takes_it_over() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1), ObjectCreated(A1, obj("w", "mn")))
    apply(catalog, registered(A1, obj("w", "m"), generation=2))
    assert set(catalog.names) == {"s/w", "s/w/m"}
    assert catalog.registrations[A1].created == ()


def test_creating_an_object_again_replaces_it() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")), ObjectCreated(A1, obj("p", "gh")))
    (touched,) = apply(catalog, ObjectCreated(A1, obj("p", "g", "h")))
    assert catalog.names[Name("s/p/h")].kind is Kind.CHANNEL
    assert touched.names == {"s/p", "s/p/g", "s/p/h"}
    apply(catalog, ObjectCreated(A1, obj("w", "n")))
    assert set(catalog.names) == {"s/w", "s/w/n", "s/p", "s/p/g", "s/p/h"}
    assert [o.name for o in catalog.registrations[A1].everything()] == ["s/p", "s/w"]


def test_destroying_an_object_takes_it_from_everybody() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m"), obj("v")), registered(B1, obj("w", "n")))
    (touched,) = apply(catalog, ObjectDestroyed(Name("s/w")))
    assert touched == Touched(frozenset(map(Name, ("s/w", "s/w/m", "s/w/n"))))
    assert set(catalog.names) == {"s/v"}
    assert catalog.registrations[B1].objects == ()


@pytest.mark.parametrize(
    "change",
    [
        Deregistered(A2),
        Expired(A2, 1),
        ObjectCreated(A2, obj("p")),
        ObjectDestroyed(Name("s/nothing")),
        ObjectDestroyed(Name("s/w/m")),
    ],
)
def test_a_change_about_what_is_not_there_does_nothing(change: Change) -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")))
    before = tables(catalog)
    assert catalog.apply(change) == Touched()
    assert tables(catalog) == before


def test_policies_and_tokens_come_and_go() -> None:
    catalog = Catalog()
    policy = PolicyRecord("AccessPolicy", "p", 1, "user:admin", "{}")
    token = TokenRecord("t", "00", "user:a", "person", 1, 2)
    assert apply(catalog, PolicyApplied(policy), TokenIssued(token)) == [
        Touched(policies=frozenset({("AccessPolicy", "p")})),
        Touched(tokens=frozenset({"t"})),
    ]
    assert catalog.policies == {("AccessPolicy", "p"): policy}
    assert catalog.tokens == {"t": token}
    for _ in range(2):
        apply(catalog, PolicyDeleted("AccessPolicy", "p"), TokenRevoked("t"))
    assert not catalog.policies
    assert not catalog.tokens


# --- clashes ---------------------------------------------------------------------------------


def test_clashes_say_whose_a_name_is_and_what_it_is() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m", "c"), owner="user:a"))
    assert list(catalog.clashes("user:a", [obj("w", "m"), obj("new", "m")])) == []
    assert list(catalog.clashes("user:b", [obj("w", "n")])) == [
        Clash(Name("s/w"), "user:a", "s/w belongs to user:a")
    ]
    assert [c.why for c in catalog.clashes("user:a", [obj("w", "c"), obj("w/m")])] == [
        "s/w/c is already a channel",
        "s/w/m is already a method",
    ]
    (clash,) = catalog.clashes("user:b", [VirtualObject("s", methods={"w": Method()})])
    assert clash == Clash(Name("s/w"), "", "s/w is already an object")


def test_a_name_may_change_its_kind_only_when_nobody_else_offers_it() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")))
    assert list(catalog.clashes("user:a", [obj("w", "", "m")], A1)) == []
    apply(catalog, registered(A1, obj("w", "", "m"), generation=2))
    assert catalog.names[Name("s/w/m")].kind is Kind.CHANNEL
    apply(catalog, registered(A2, obj("w", "", "m")))
    (clash,) = catalog.clashes("user:a", [obj("w", "m")], A1)
    assert clash.why == "s/w/m is already a channel"


def test_the_owner_of_a_new_name_is_the_owner_of_what_is_above_it() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m"), owner="user:a"))
    apply(catalog, registered(B1, obj("w/x/y"), owner="user:b"))
    owners = {
        name: catalog.owner_of(Name(name)) for name in ("s/w/p1/g", "s/w/x/y/z", "s/v", "s/w")
    }
    assert owners == {"s/w/p1/g": "user:a", "s/w/x/y/z": "user:b", "s/v": "", "s/w": "user:a"}


# --- any log ---------------------------------------------------------------------------------


def test_credentials_come_and_go_and_a_revocation_only_moves_on() -> None:
    catalog = Catalog()
    secret = CredentialRecord("c", "secret", "x", "00", "device:x", "device", 1)
    apply(catalog, CredentialIssued(secret), PrincipalRevoked("device:x", 7))
    assert catalog.credentials == {"c": secret}
    for _ in range(2):
        apply(catalog, CredentialRevoked("c"), PrincipalRevoked("device:x", 5))
    assert not catalog.credentials
    assert catalog.revoked == {"device:x": 7}


def described(id_: str, name: str, by: RegistrationId = A1, revision: int = 1) -> ThingDescribed:
    return ThingDescribed(ThingRecord(id_, Name(f"s/{name}"), by, "user:a", "{}", 1, 2, revision))


def test_a_description_goes_with_what_it_describes() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w"), obj("v")), registered(B1, obj("w")))
    apply(catalog, described("urn:w", "w"), described("urn:v", "v"), described("urn:b", "w", B1))
    assert set(catalog.things) == {"urn:v", "urn:b"}
    assert apply(catalog, ObjectDestroyed(Name("s/v")))[0].things == {"urn:v"}
    assert apply(catalog, Deregistered(A1))[0].things == set()
    assert catalog.thing_of == {Name("s/w"): "urn:b"}
    assert apply(catalog, registered(B1, obj("x")))[0].things == {"urn:b"}
    assert not catalog.things


def test_ontologies_come_and_go() -> None:
    catalog = Catalog()
    ontology = OntologyRecord("building", "user:a", "", 1)
    assert apply(catalog, OntologyLoaded(ontology))[0].ontologies == {"building"}
    assert catalog.ontologies == {"building": ontology}
    assert apply(catalog, OntologyUnloaded("building"))[0].ontologies == {"building"}
    assert not catalog.ontologies


members = st.sampled_from(["", "m", "n", "mn"])
objects = st.builds(obj, st.sampled_from(["w", "v", "w/m"]), members, members).filter(
    lambda o: not o.methods.keys() & o.channels.keys()
)
object_lists = st.lists(objects, max_size=3, unique_by=lambda o: o.name)
ids = st.sampled_from(IDS)
owners = st.sampled_from(["user:a", "user:b"])
generations = st.integers(1, 3)
policies = st.builds(
    PolicyRecord, st.just("AccessPolicy"), st.sampled_from("pq"), generations, owners, st.just("{}")
)
tokens = st.builds(
    TokenRecord, st.sampled_from("tu"), st.just("00"), owners, st.just("k"), st.just(1), generations
)
credentials = st.builds(
    CredentialRecord,
    st.sampled_from("cd"),
    st.sampled_from(["secret", "certificate"]),
    st.sampled_from("xy"),
    st.just("00"),
    owners,
    st.just("k"),
    st.just(1),
    generations,
)
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        Registered,
        st.builds(
            Registration,
            ids,
            owners,
            st.just("::1"),
            st.just(60),
            generations,
            object_lists.map(tuple),
            created=st.one_of(st.just(()), object_lists.map(tuple)),
        ),
    ),
    st.builds(Deregistered, ids),
    st.builds(Expired, ids, generations),
    st.builds(ObjectCreated, ids, objects),
    st.builds(ObjectDestroyed, st.sampled_from([Name("s/w"), Name("s/v"), Name("s/w/m")])),
    st.builds(
        described, st.sampled_from(["urn:1", "urn:2"]), st.sampled_from("wv"), ids, generations
    ),
    st.builds(ThingForgotten, st.sampled_from(["urn:1", "urn:2"])),
    st.builds(
        OntologyLoaded, st.builds(OntologyRecord, st.just("o"), owners, st.just(""), generations)
    ),
    st.builds(OntologyUnloaded, st.just("o")),
    st.builds(PolicyApplied, policies),
    st.builds(PolicyDeleted, st.just("AccessPolicy"), st.sampled_from("pq")),
    st.builds(TokenIssued, tokens),
    st.builds(TokenRevoked, st.sampled_from("tu")),
    st.builds(CredentialIssued, credentials),
    st.builds(CredentialRevoked, st.sampled_from("cd")),
    st.builds(PrincipalRevoked, owners, generations),
)
logs = st.lists(changes, max_size=30)


def tables(catalog: Catalog) -> tuple[object, ...]:
    return (
        dict(catalog.names),
        dict(catalog.registrations),
        dict(catalog.things),
        dict(catalog.thing_of),
        dict(catalog.ontologies),
        dict(catalog.policies),
        dict(catalog.tokens),
        dict(catalog.credentials),
        dict(catalog.revoked),
        catalog.generation,
    )


def test_a_name_of_two_kinds_follows_the_owner_of_its_registration() -> None:
    """Only a log that ``clashes`` would not have let through holds such a name."""
    catalog = Catalog()
    mine, theirs = obj("w/m"), obj("w", "m")
    apply(catalog, registered(A1, mine, owner="user:b"), ObjectCreated(A1, theirs))
    apply(catalog, registered(A1, owner="user:a"))
    assert catalog.names[Name("s/w/m")].owner == "user:a"
    check_invariants(catalog)
    apply(catalog, ObjectDestroyed(Name("s/w/m")), Deregistered(A1))
    assert not catalog.names


@given(logs)
def test_any_log_leaves_a_catalog_that_holds_together(log: list[Change]) -> None:
    catalog, twin = Catalog(), Catalog()
    for change in log:
        before = visible(catalog)
        touched = catalog.apply(change)
        assert twin.apply(change) == touched
        told_all = (
            touched.names,
            touched.registrations,
            touched.policies,
            touched.tokens,
            touched.things,
            touched.ontologies,
        )
        for old, new, told in zip(before, visible(catalog), told_all, strict=True):
            assert {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)} <= told
        check_invariants(catalog)
    assert tables(twin) == tables(catalog)


def visible(catalog: Catalog) -> list[dict[Any, Any]]:
    """What followers compile from; of a registration, whether and how long it lives."""
    return [
        dict(catalog.names),
        {id_: (r.live, r.generation, r.lease) for id_, r in catalog.registrations.items()},
        dict(catalog.policies),
        dict(catalog.tokens),
        dict(catalog.things),
        dict(catalog.ontologies),
    ]


def check_invariants(catalog: Catalog) -> None:
    for name, record in catalog.names.items():
        assert record.name == name
        who = [offer.registration for offer in record.offers]
        assert who
        assert len(set(who)) == len(who)
        assert record.owner in {catalog.registrations[id_].owner for id_ in who}
        assert {kind_of(offer.definition) for offer in record.offers} == {record.kind}
    assert {t.name: t.id for t in catalog.things.values()} == catalog.thing_of
    for id_, registration in catalog.registrations.items():
        assert registration.id == id_
        assert registration.generation <= catalog.generation


@given(logs)
def test_every_change_survives_its_way_through_the_log(log: list[Change]) -> None:
    batch = Batch(1, "user:a", tuple(log))
    assert decode(encode(batch)) == batch


@given(logs, logs)
def test_a_draft_over_a_base_equals_a_copy_with_the_same_changes(
    first: list[Change], second: list[Change]
) -> None:
    base = Catalog()
    apply(base, *first)
    before = tables(base)
    draft, twin = Draft(base), copy.deepcopy(base)
    assert apply(draft, *second) == apply(twin, *second)
    assert tables(draft) == tables(twin)
    for mine, theirs in ((draft.names, twin.names), (draft.policies, twin.policies)):
        assert len(mine) == len(theirs)
        assert all(key in theirs for key in mine)
    assert tables(base) == before
    # The base then catches up with what the draft announced.
    apply(base, *second)
    assert tables(base) == tables(draft)


def test_a_draft_does_not_find_what_is_not_there() -> None:
    draft = Draft(Catalog())
    with pytest.raises(KeyError):
        del draft.policies["AccessPolicy", "p"]


# --- the naive model -------------------------------------------------------------------------


class Model:
    """Offers per name in order of arrival; every registration is compared whole."""

    def __init__(self) -> None:
        self.registrations: dict[RegistrationId, Registration] = {}
        self.offers: dict[str, dict[RegistrationId, object]] = {}
        self.owners: dict[str, str] = {}

    def apply(self, change: Change) -> None:
        match change:
            case Registered(new):
                self.register(new)
            case Deregistered(id_):
                self.registrations.pop(id_, None)
            case Expired(id_, generation) if self.generation(id_) == generation:
                self.registrations[id_] = replace(self.registrations[id_], live=False)
            case ObjectCreated(id_, created) if id_ in self.registrations:
                old = without(self.registrations[id_], created.name)
                self.registrations[id_] = replace(old, created=(*old.created, created))
            case ObjectDestroyed(name):
                for id_, old in self.registrations.items():
                    self.registrations[id_] = without(old, name)
        self.refresh()

    def register(self, new: Registration) -> None:
        old = self.registrations.get(new.id)
        if old is not None and not new.created:
            listed = {o.name for o in new.objects}
            new = replace(new, created=tuple(o for o in old.created if o.name not in listed))
        self.registrations[new.id] = new

    def generation(self, id_: RegistrationId) -> int:
        return self.registrations[id_].generation if id_ in self.registrations else 0

    def refresh(self) -> None:
        wanted = {id_: definitions(r.everything()) for id_, r in self.registrations.items()}
        for name in {*self.offers, *(n for table in wanted.values() for n in table)}:
            here = self.offers.setdefault(name, {})
            for id_ in [id_ for id_ in here if name not in wanted.get(id_, {})]:
                del here[id_]
            here.update({id_: table[name] for id_, table in wanted.items() if name in table})
            people = [self.registrations[id_].owner for id_ in here]
            if self.owners.get(name) not in people:
                self.owners[name] = people[0] if people else ""
            if not here:
                del self.offers[name], self.owners[name]


def without(registration: Registration, name: str) -> Registration:
    return replace(
        registration,
        objects=tuple(o for o in registration.objects if o.name != name),
        created=tuple(o for o in registration.created if o.name != name),
    )


def definitions(objects: Iterable[VirtualObject]) -> dict[str, object]:
    found: dict[str, object] = {}
    for o in objects:
        found[o.name] = o
        for table in (o.methods, o.channels):
            found.update({f"{o.name}/{member}": table[member] for member in table})
    return found


def is_admitted(catalog: Catalog, change: Change) -> bool:
    """What the site asks before it appends: nothing may change its kind under others."""
    match change:
        case Registered(registration):
            everything = list(registration.everything())
            old = catalog.registrations.get(registration.id)
            if old is not None and not registration.created:
                everything += old.created
            asked, by = everything, registration.id
        case ObjectCreated(id_, created):
            asked, by = [created], id_
            old = catalog.registrations.get(id_)
            everything = [*(old.everything() if old else ()), created]
        case _:
            return True
    named = [(n, kind_of(d)) for o in everything for n, d in definitions([o]).items()]  # type: ignore[arg-type]
    coherent = len({n for n, _ in named}) == len(set(named))
    return coherent and not any(c.owner == "" for c in catalog.clashes("user:a", asked, by))


@given(logs)
def test_the_catalog_agrees_with_a_naive_model(log: list[Change]) -> None:
    catalog, model = Catalog(), Model()
    for change in log:
        if is_admitted(catalog, change):
            catalog.apply(change)
            model.apply(change)
    assert dict(catalog.registrations) == model.registrations
    assert {n: r.owner for n, r in catalog.names.items()} == model.owners
    assert {
        n: [(o.registration, o.definition) for o in r.offers] for n, r in catalog.names.items()
    } == {n: list(table.items()) for n, table in model.offers.items()}
