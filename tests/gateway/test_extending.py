"""Descriptions in other vocabularies: in the index within a second, about their own names only."""

import asyncio
import json
from contextlib import asynccontextmanager

from gateway.directory import extending
from gateway.directory.extending import Extending
from gateway.directory.indexing import Indexing
from registry.changes import Deregistered, Registered, ThingDescribed
from registry.model import Method, Registration, RegistrationId, ThingRecord, VirtualObject
from registry.names import Name
from tests.gateway.sites import Time, opened, running, until

LAMP = Name("s/Lamp")
ID = RegistrationId("lamp", "1", "a")
TD = "https://www.w3.org/2022/wot/td/v1.1"


def described(*, id_: str = "urn:dev:lamp", **more) -> ThingDescribed:
    text = {
        "@context": [TD, {"ex": "urn:ex:"}],
        "id": id_,
        "title": "Lamp",
        "actions": {"on": {"ex:takes": 3, "forms": [{"href": "http://10.0.0.9/on"}]}},
        **more,
    }
    return ThingDescribed(ThingRecord(id_, LAMP, ID, "service:l", json.dumps(text), 1, 1, 1))


def lamp() -> Registered:
    obj = VirtualObject(LAMP, methods={"on": Method()})
    return Registered(Registration(ID, "service:l", "", 0, 1, (obj,)))


@asynccontextmanager
async def site_of(folder):
    async with opened(folder) as store, running(store, Time()) as site:
        indexing = Indexing(site, folder / "index.nq")
        indexing.start()
        working = Extending(site, indexing)
        working.start()

        async def change(*changes):
            await site.ledger.change("user:op", lambda _: changes)

        yield indexing, change, working
        await working.stop()
        await indexing.stop()


def asked(indexing, text: str):
    query = f"PREFIX ex: <urn:ex:> ASK {{ GRAPH <urn:hilum:s/Lamp> {{ {text} }} }}"
    return lambda: bool(indexing.index.store.query(query))


async def test_what_is_said_in_another_vocabulary_is_found_within_a_second(tmp_path):
    async with site_of(tmp_path) as (indexing, change, _):
        await change(
            lamp(),
            described(**{"ex:colour": "red", "ex:lies": {"ex:x": 1}, "ex:near": {"@id": "urn:a"}}),
        )
        await until(asked(indexing, '<urn:dev:lamp> ex:colour "red"'), 1)
        assert asked(indexing, "<urn:dev:lamp> ex:lies ?where . ?where ex:x 1")()
        assert asked(indexing, "<urn:hilum:s/Lamp/on> ex:takes 3")()
        assert not asked(indexing, "?s ?p ?o FILTER(isBlank(?o))")()
        await change(described(**{"ex:colour": "blue"}))
        assert not asked(indexing, '?s ex:colour "red"')()
        await until(asked(indexing, '<urn:dev:lamp> ex:colour "blue"'), 1)
        await change(Deregistered(ID))
        assert not asked(indexing, "?s ?p ?o")()


async def test_it_is_kept_over_a_restart(tmp_path, monkeypatch):
    async with site_of(tmp_path) as (indexing, change, _):
        await change(lamp(), described(**{"ex:colour": "red"}))
        await until(asked(indexing, '<urn:dev:lamp> ex:colour "red"'))
    monkeypatch.delattr("gateway.directory.extending.expand")
    async with site_of(tmp_path) as (indexing, change, working):
        await until(asked(indexing, '<urn:dev:lamp> ex:colour "red"'))
        assert working.waiting == 0
    (tmp_path / "index.nq").unlink()
    monkeypatch.undo()
    async with site_of(tmp_path) as (indexing, change, _):
        await until(asked(indexing, '<urn:dev:lamp> ex:colour "red"'))


async def test_a_description_says_nothing_of_others(tmp_path):
    async with site_of(tmp_path) as (indexing, change, _):
        evil = {"@id": "urn:hilum:s/Neighbour", "ex:colour": "stolen"}
        claims = {"@id": "urn:ex:Class", "rdfs:subClassOf": {"@id": "urn:ex:Public"}}
        await change(lamp(), described(**{"ex:has": [evil, claims], "ex:done": 1}))
        await until(asked(indexing, "<urn:dev:lamp> ex:done 1"))
        for about in ("<urn:hilum:s/Neighbour>", "<urn:ex:Class>"):
            assert not indexing.index.store.query(f"ASK {{ {about} ?p ?o }}")


async def test_what_cannot_be_read_costs_its_extensions_only(tmp_path, caplog, monkeypatch):
    async with site_of(tmp_path) as (indexing, change, working):
        await change(lamp(), described(**{"@context": [TD, {"ex": {"@id": 1}}], "ex:a": 1}))
        await until(lambda: "without its extensions" in caplog.text)
        monkeypatch.setattr(extending, "expand", lambda *_: {}["no"])
        await change(described(**{"ex:a": 2}))
        await until(lambda: "KeyError" in caplog.text)
        assert asked(indexing, '<urn:dev:lamp> td:title "Lamp"')()
        monkeypatch.setattr(extending, "WAITING", 0)
        await change(described(**{"ex:a": 3}))
        assert working.missed == 1


async def test_plain_descriptions_are_not_expanded(tmp_path):
    async with site_of(tmp_path) as (_, change, working):
        await asyncio.sleep(0.01)
        text = '{"@context": "https://www.w3.org/2022/wot/td/v1.1", "id": "urn:dev:lamp"}'
        await change(
            lamp(), ThingDescribed(ThingRecord("urn:dev:lamp", LAMP, ID, "", text, 1, 1, 1))
        )
        assert working.waiting == 0
