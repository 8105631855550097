"""The index follows a site: current when a change is acknowledged, built anew beside itself."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

from msgspec.structs import replace

from gateway.directory import kept
from gateway.directory.indexing import Indexing
from registry.changes import (
    Deregistered,
    ObjectDestroyed,
    OntologyLoaded,
    OntologyUnloaded,
    Registered,
    ThingDescribed,
    ThingForgotten,
)
from registry.index.index import Index
from registry.index.rdf import Iri, Literal, Quad, Rdf
from registry.index.triples import graph_of
from registry.model import OntologyRecord, Registration, RegistrationId, ThingRecord, VirtualObject
from registry.names import Name
from tests.gateway.sites import Time, opened, running

ROOM = Name("s/Room")
ID = RegistrationId("Rooms", "1", "a")
MODEL = """
@prefix hilum: <https://w3id.org/hilum#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<urn:x:room> hilum:partOf <urn:x:floor> .
<urn:x:VAV> rdfs:subClassOf <urn:x:Equipment> .
"""


def registered(*, place: str = "urn:x:room", generation: int = 1, name: str = ROOM) -> Registered:
    obj = VirtualObject(name, types=("urn:x:VAV",), place=place)
    return Registered(Registration(ID, "service:rooms", "", 0, generation, (obj,)))


def loaded(text: str = MODEL) -> OntologyLoaded:
    return OntologyLoaded(OntologyRecord("building", "user:op", text, 1))


def thing(text: str = '{"title": "Room"}', id_: str = "urn:dev:1") -> ThingDescribed:
    return ThingDescribed(ThingRecord(id_, ROOM, ID, "service:rooms", text, 1, 1, 1))


@asynccontextmanager
async def indexed(folder, **how):
    async with opened(folder) as store, running(store, Time()) as site:
        indexing = Indexing(site, folder / "index.nq", **how)
        indexing.start()
        await indexing.wait()

        async def change(*changes):
            await site.ledger.change("user:op", lambda _: changes)

        yield indexing, change
        await indexing.stop()


def ask(indexing, text: str) -> bool:
    return bool(indexing.index.store.query(f"PREFIX x: <urn:x:> ASK {{ {text} }}"))


async def test_what_is_registered_is_found_once_it_is_acknowledged(tmp_path):
    async with indexed(tmp_path) as (indexing, change):
        assert indexing.ready
        before = indexing.generation
        await change(registered())
        assert ask(indexing, "<urn:hilum:s/Room> hilum:place x:room")
        assert indexing.generation == before + 1
        await change(registered(generation=2))
        assert indexing.generation == before + 1
        await change(registered(place="urn:x:floor", generation=3))
        assert not ask(indexing, "?s hilum:place x:room")
        await change(Deregistered(ID))
        assert not ask(indexing, "<urn:hilum:s/Room> ?p ?o")
        await change(registered(generation=4), ObjectDestroyed(ROOM))
        assert not ask(indexing, "<urn:hilum:s/Room> ?p ?o")


async def test_a_description_gives_an_object_its_id(tmp_path):
    async with indexed(tmp_path) as (indexing, change):
        await change(registered(), thing())
        assert ask(indexing, '<urn:dev:1> td:title "Room"; hilum:place x:room')
        await change(thing('{"title": "Hall"}'))
        assert ask(indexing, '<urn:dev:1> td:title "Hall"')
        await change(thing('{"title": "Hall"}', "urn:dev:2"))
        assert indexing.index.name_of("urn:dev:2") == ROOM
        assert not ask(indexing, "<urn:dev:1> ?p ?o")
        await change(ThingForgotten("urn:dev:2"))
        assert indexing.index.subject_of(ROOM) == "urn:hilum:s/Room"


async def test_an_ontology_changes_what_follows_and_the_old_index_serves_meanwhile(
    tmp_path, monkeypatch
):
    gate = threading.Event()
    gate.set()

    def slow(ontologies=None):
        gate.wait()
        return Index(ontologies)

    monkeypatch.setattr("gateway.directory.indexing.Index", slow)
    async with indexed(tmp_path) as (indexing, change):
        await change(registered())
        gate.clear()
        assert not ask(indexing, "<urn:hilum:s/Room> hilum:within x:floor")
        await change(loaded())
        old = indexing.index
        await change(registered(place="urn:x:floor", generation=2))
        assert indexing.index is old
        assert ask(indexing, "<urn:hilum:s/Room> hilum:place x:floor")
        gate.set()
        await indexing.wait()
        assert indexing.index is not old
        assert ask(indexing, "<urn:hilum:s/Room> a x:Equipment; hilum:within x:floor")
        await change(OntologyUnloaded("building"))
        await change(loaded("no turtle"))
        await indexing.wait()
        assert not ask(indexing, "<urn:hilum:s/Room> a x:Equipment")
        assert list(indexing.index.unread) == ["building"]


async def test_a_replica_that_applies_what_is_told_has_the_same(tmp_path):
    async with indexed(tmp_path) as (indexing, change):
        replica = Rdf()

        def follow(delta):
            if delta.whole:
                replica.replace(
                    {q.graph_name for q in replica.quads()}, indexing.index.store.quads()
                )
            else:
                replica.replace(delta.cleared, delta.quads)

        indexing.changed.append(follow)
        await change(loaded(), registered())
        await indexing.rebuild()
        await change(registered(place="urn:x:floor", generation=2), thing())
        assert set(replica.quads()) == set(indexing.index.store.quads())
        await change(Deregistered(ID))
        assert set(replica.quads()) == set(indexing.index.store.quads())


async def test_one_damaged_record_is_left_out_and_told(tmp_path, caplog):
    async with indexed(tmp_path) as (indexing, change):
        with caplog.at_level(logging.ERROR):
            nameless = RegistrationId("", "1", "a")
            broken = replace(registered().registration, id=nameless)
            other = VirtualObject("s/Other")
            more = Registration(RegistrationId("O", "1", "a"), "service:o", "", 0, 2, (other,))
            await change(Registered(broken), Registered(more))
        assert list(indexing.failures) == [ROOM]
        assert ask(indexing, "<urn:hilum:s/Other> a hilum:VirtualObject")
        await indexing.rebuild()
        assert list(indexing.failures) == [ROOM]
        await change(Deregistered(nameless), registered(generation=3))
        assert not indexing.failures
        assert "left out of the index" in caplog.text


async def test_the_next_start_takes_the_index_from_disk_and_mends_it(tmp_path):
    extra = Quad(Iri("urn:hilum:s/Room"), Iri("urn:x:colour"), Literal("red"), graph_of(ROOM))
    async with indexed(tmp_path) as (indexing, change):
        await change(loaded(), registered())
        await indexing.wait()
        indexing.enrich(ROOM, "", (extra,))
        assert ask(indexing, '<urn:hilum:s/Room> x:colour "red"')
    async with indexed(tmp_path) as (indexing, change):
        assert ask(indexing, '<urn:hilum:s/Room> a x:Equipment; x:colour "red"')
        assert indexing.is_enriched(ROOM, "")
        await indexing.stop()
        await change(registered(name="s/Hall", generation=2))
    async with indexed(tmp_path) as (indexing, change):
        assert ask(indexing, "<urn:hilum:s/Hall> a x:Equipment")
        assert not ask(indexing, "<urn:hilum:s/Room> ?p ?o")


async def test_a_file_that_does_not_fit_is_built_anew(tmp_path, caplog):
    async with indexed(tmp_path) as (indexing, change):
        await change(registered())
    file = tmp_path / "index.nq"
    whole = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept.read(file, Index()) is not None
    assert kept.read(file, Index({"other": MODEL})) is None
    for damaged in (
        whole[:-9],
        whole.replace(b"Room", b"Hall"),
        b"",
        b"# hilum index \n",
        whole[:90],
    ):
        file.write_bytes(damaged)
        assert kept.read(file, Index()) is None
    async with indexed(tmp_path) as (indexing, change):
        assert ask(indexing, "<urn:hilum:s/Room> a hilum:VirtualObject")
    assert "built anew" in caplog.text
    async with indexed(tmp_path, ontologies=lambda: {"building": MODEL}) as (indexing, change):
        assert ask(indexing, "<urn:hilum:s/Room> a x:Equipment")


async def test_an_index_that_cannot_be_kept_costs_no_more_than_time(tmp_path, caplog):
    async with indexed(tmp_path) as (_, change):
        (tmp_path / "index.nq.new").mkdir()
        await change(registered())
    assert "cannot be kept" in caplog.text


async def test_an_index_that_cannot_follow_or_be_built_never_harms_the_site(
    tmp_path, caplog, monkeypatch
):
    async with indexed(tmp_path) as (indexing, change):
        await change(registered())

        def breaks(*_):
            raise RuntimeError("it broke")

        with monkeypatch.context() as patched:
            patched.setattr(Index, "put", breaks)
            patched.setattr(Index, "remove", breaks)
            await change(registered(place="urn:x:floor", generation=2))
            assert "could not follow a change" in caplog.text
        await indexing.wait()
        assert ask(indexing, "<urn:hilum:s/Room> hilum:place x:floor")
        monkeypatch.setattr("gateway.directory.indexing.Index", breaks)
        old = indexing.index
        await indexing.rebuild()
        assert "could not be built" in caplog.text
        assert indexing.index is old
        await change(registered(generation=3))
        assert ask(indexing, "<urn:hilum:s/Room> hilum:place x:room")


async def test_a_build_ends_when_the_site_stops(tmp_path):
    async with indexed(tmp_path) as (indexing, change):
        await change(loaded(), registered())
        building = asyncio.create_task(indexing.rebuild())
        await asyncio.sleep(0)
        await indexing.stop()
        await building
    async with indexed(tmp_path) as (indexing, _):
        assert ask(indexing, "<urn:hilum:s/Room> hilum:place x:room")
