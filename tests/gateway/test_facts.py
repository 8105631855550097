"""What services say of themselves counts in decisions only where policy lets them say it."""

from contextlib import asynccontextmanager

from gateway.directory.indexing import Indexing
from policy.model import AccessPolicy, Action, Assertion, Principal, Subject
from registry.changes import OntologyLoaded, PolicyDeleted, Registered, ThingDescribed, TokenIssued
from registry.model import (
    EventChannel,
    Method,
    OntologyRecord,
    Profile,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name
from tests.gateway.sites import Time, applied, opened, running

ANN = Principal("user:ann", "person")
DOOR, READ = Name("s/Door"), Name("s/Door/read")
ID = RegistrationId("Doors", "1", "a")
MODEL = """
@prefix hilum: <https://w3id.org/hilum#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<urn:x:hall> hilum:partOf <urn:x:house> .
<urn:x:cellar> hilum:partOf <urn:x:below> .
<urn:x:Gate> rdfs:subClassOf <urn:x:Entrance> .
"""
PUBLIC = "object.types contains 'urn:x:Entrance' and object.places contains 'urn:x:house'"


def door(place: str = "urn:x:hall", *types: str, name: str = DOOR, id_=ID, owner="service:d"):
    read = Method(profile=Profile(category="urn:x:Opening"), types=("urn:x:Reading",))
    obj = VirtualObject(
        name,
        methods={"read": read},
        channels={"news": EventChannel()},
        types=types or ("urn:x:Gate",),
        place=place,
    )
    return Registered(Registration(id_, owner, "", 0, 1, (obj,)))


def loaded(text: str = MODEL) -> OntologyLoaded:
    return OntologyLoaded(OntologyRecord("house", "user:op", text, 1))


def public(when: str = PUBLIC) -> AccessPolicy:
    return AccessPolicy("allow", (Subject(),), (Action.CALL,), ("**",), (), when)


def trusted(*attributes: str, who: Subject = Subject(), under=()) -> Assertion:  # noqa: B008
    return Assertion((who,), ("**",), attributes or ("type", "place"), under=under)


@asynccontextmanager
async def site_of(folder):
    async with opened(folder) as store, running(store, Time()) as site:
        indexing = Indexing(site)
        indexing.start()

        async def change(*changes):
            await site.ledger.change("user:op", lambda _: changes)
            await indexing.wait()

        yield site, change, indexing


def may(site, name: Name = READ) -> bool:
    return site.allowed(ANN, Action.CALL, name)


def known(site, name: Name = READ):
    return site.policies.access.circumstances.object(name)


async def test_a_description_that_reclassifies_itself_changes_no_decision(tmp_path):
    async with site_of(tmp_path) as (site, change, _):
        await change(loaded(), applied("p", public()), door())
        assert not may(site)
        await change(applied("t", trusted("type", "place", under=("urn:x:Entrance",))))
        assert not may(site)
        await change(applied("u", trusted("place", who=Subject("service:d"))))
        assert may(site)
        assert known(site)["places"] == ("urn:x:hall", "urn:x:house")
        await change(PolicyDeleted("Assertion", "u"))
        assert not may(site)


async def test_a_description_changes_nothing_of_a_neighbour_or_a_class(tmp_path):
    evil = RegistrationId("Evil", "1", "a")
    text = (
        '{"@context": ["https://www.w3.org/2022/wot/td/v1.1"], "id": "urn:hilum:s/Door",'
        '"title": "x", "@type": "urn:x:Gate", "@graph": [{"@id": "urn:x:Gate",'
        '"rdfs:subClassOf": {"@id": "urn:x:Public"}}]}'
    )
    record = ThingRecord("urn:hilum:s/Door", Name("s/Evil"), evil, "service:e", text, 1, 1, 1)
    async with site_of(tmp_path) as (site, change, indexing):
        await change(
            loaded(),
            applied("p", public("object.types contains 'urn:x:Public'")),
            applied("t", trusted()),
            door("urn:x:cellar"),
            door(name="s/Evil", id_=evil, owner="service:e"),
            ThingDescribed(record),
        )
        assert not may(site)
        assert not may(site, Name("s/Evil/read"))
        assert indexing.index.subject_of(Name("s/Evil")) == "urn:hilum:s/Evil"
        assert indexing.index.name_of("urn:hilum:s/Door") == DOOR
        assert known(site)["place"] == "urn:x:cellar"


async def test_an_object_that_moves_loses_access_at_once_and_open_things_are_told(tmp_path):
    async with site_of(tmp_path) as (site, change, _):
        await change(loaded(), applied("p", public()), applied("t", trusted()), door())
        assert may(site)
        told = []
        site.watchers.access.append(lambda: told.append(may(site)))
        await change(door("urn:x:cellar"))
        assert told == [False]
        assert not may(site)
        await change(door())
        assert may(site)


async def test_an_ontology_that_changes_changes_decisions(tmp_path):
    async with site_of(tmp_path) as (site, change, _):
        await change(applied("p", public()), applied("t", trusted()), door())
        assert not may(site)
        told = []
        site.watchers.access.append(lambda: told.append(1))
        await change(loaded())
        assert told
        assert may(site)


async def test_what_an_operator_s_model_says_of_a_name_counts_for_itself(tmp_path):
    model = MODEL + "<urn:hilum:s/Door> a <urn:x:Gate> ; hilum:place <urn:x:hall> ."
    async with site_of(tmp_path) as (site, change, _):
        await change(loaded(model), applied("p", public()), door("urn:x:cellar", "urn:x:Window"))
        assert may(site)
        assert known(site)["place"] == "urn:x:hall"
        facts = site.policies.access.circumstances.explain(READ)
        said = {(f.source, f.attribute, f.value, f.counts) for f in facts}
        assert ("operator", "place", "urn:x:hall", True) in said
        assert ("claim", "place", "urn:x:cellar", False) in said
        assert ("claim", "category", "urn:x:Opening", False) in said
        assert ("registry", "version", "1", True) in said


async def test_the_kind_of_an_owner_is_that_of_his_credentials(tmp_path):
    async with site_of(tmp_path) as (site, change, indexing):
        devices = trusted(who=Subject("*", "device"))
        await change(loaded(), applied("p", public()), applied("t", devices), door())
        assert not may(site)
        indexing.sweep()
        assert not may(site)
        token = TokenRecord("t1", "digest", "service:d", "device", 1, 2_000_000_000)
        await change(TokenIssued(token))
        indexing.sweep()
        assert may(site)


async def test_a_deny_by_class_holds_from_the_first_moment_of_a_restart(tmp_path):
    deny = AccessPolicy("deny", (Subject(),), (Action.CALL,), ("**",), (), PUBLIC)
    allow = AccessPolicy("allow", (Subject(),), (Action.CALL,), ("**",))
    async with site_of(tmp_path) as (site, change, _):
        await change(loaded(), applied("a", allow), applied("t", trusted()), door())
        assert may(site)
        await change(applied("d", deny))
        assert not may(site)
    async with opened(tmp_path) as store, running(store, Time()) as site:
        indexing = Indexing(site)
        indexing.start()
        assert not indexing.ready
        assert not may(site)
        await indexing.stop()


async def test_nothing_is_known_of_what_is_not_there(tmp_path):
    async with site_of(tmp_path) as (site, change, _):
        await change(loaded(MODEL + "<urn:hilum:s/free> a <urn:x:Gate> ."))
        assert known(site, Name("s/nothing")) == {}
        assert known(site, Name("s/free"))["type"] == "urn:x:Gate"
        await change(door())
        assert known(site, DOOR)["kind"] == "object"
