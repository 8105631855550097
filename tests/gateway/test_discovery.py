"""Typed discovery and matching at a site: what callers find, page by page."""

import base64
import json
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.directory import latencies
from gateway.directory.finding import Finding
from gateway.directory.indexing import Indexing
from gateway.directory.latencies import Latencies
from gateway.message import Call, Refusal, Status
from gateway.objects.discovery import DiscoveryObject
from gateway.objects.discovery_search import read_cursor
from gateway.view import Meter, Route
from policy.model import Action, Principal
from registry.changes import Deregistered, OntologyLoaded, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Kind,
    Method,
    OntologyRecord,
    Profile,
    Registration,
    RegistrationId,
    ServiceLevel,
    VirtualObject,
)
from registry.names import Name
from tests.gateway.sites import Time, applied, opened, rule, running

MODEL = """
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix geo: <http://www.w3.org/2003/01/geo/wgs84_pos#> .
@prefix hilum: <https://w3id.org/hilum#> .
@prefix brick: <https://brickschema.org/schema/Brick#> .
@prefix : <urn:b:> .
brick:Temperature_Sensor rdfs:subClassOf brick:Sensor ; rdfs:label "Temperature Sensor" .
brick:Air_Temperature_Sensor rdfs:subClassOf brick:Temperature_Sensor .
brick:CO2_Sensor rdfs:subClassOf brick:Sensor .
:r21 hilum:partOf :floor2 . :r22 hilum:partOf :floor2 . :r11 hilum:partOf :floor1 .
:floor1 hilum:partOf :house . :floor2 hilum:partOf :house .
:floor1 rdfs:label "Floor 1" ; geo:lat 33.42 ; geo:long -111.93 .
:floor2 rdfs:label "Floor 2" ; geo:lat "33.43" ; geo:long "-111.93" .
:a rdfs:label "twin" . :b rdfs:label "Twin" .
"""
AIR, CO2 = "brick:Air_Temperature_Sensor", "brick:CO2_Sensor"
BRICK = "https://brickschema.org/schema/Brick#"
ANN = Principal("user:ann", "user", credential="t1")
ROUTE = Route(Name("s/$site/registry/discover"), Kind.METHOD, "", Meter("$site"))


def iri(term: str) -> str:
    return term.replace("brick:", BRICK)


def room(
    name: str, place: str = "", *, sensor: str = "", latency: float = 0, types: tuple[str, ...] = ()
) -> VirtualObject:
    profile = Profile(outputs={"value": iri(sensor)} if sensor else {})
    profile = msgspec.structs.replace(profile, level=ServiceLevel(latency=latency))
    method = Method(
        endpoints=(Endpoint("http://h.test/"),),
        types=(iri(sensor),) if sensor else (),
        profile=profile,
    )
    where = f"urn:b:{place}" if place else ""
    return VirtualObject(
        name, "", {"read": method}, {"news": EventChannel()}, types=types, place=where
    )


def registered(*objects: VirtualObject, instance: str = "a") -> Registered:
    id_ = RegistrationId("Rooms", "1", instance)
    return Registered(Registration(id_, "service:rooms", "", 0, 1, objects))


class Asking:
    """A site with discovery, and who asks."""

    def __init__(self, site, indexing, finding) -> None:
        self.site, self.indexing, self.finding = site, indexing, finding
        self.handlers = DiscoveryObject(site, finding).handlers()

    async def change(self, *changes) -> None:
        await self.site.ledger.change("user:op", lambda _: changes)

    async def ask(self, method: str = "discover", **asked):
        call = Call(Action.CALL, Name(f"s/$site/registry/{method}"), ANN, 1e9)
        result = await self.handlers[method](call, ROUTE, json.dumps(asked).encode())
        return json.loads(result.body)

    async def names(self, **asked) -> list[str]:
        return [item["name"] for item in (await self.ask(**asked))["items"]]

    async def refused(self, method: str = "discover", **asked) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.ask(method, **asked)
        return caught.value


@asynccontextmanager
async def asking(folder, *objects: VirtualObject, allow: bool = True):
    async with opened(folder) as store, running(store, Time()) as site:
        indexing = Indexing(site)
        finding = Finding(site, indexing)
        one = Asking(site, indexing, finding)
        await one.change(OntologyLoaded(OntologyRecord("model", "user:op", MODEL, 1)))
        if allow:
            await one.change(applied("all", rule("allow", Action.DESCRIBE)))
        await one.change(registered(*objects))
        indexing.start()
        await indexing.wait()
        await finding.wait()
        yield one
        await finding.stop()
        await indexing.stop()


ROOMS = (
    room("s/r11", "r11", sensor=AIR, latency=20),
    room("s/r21", "r21", sensor=AIR, latency=80),
    room("s/r22", "r22", sensor=CO2, latency=10),
    room("s/van", types=(BRICK + "Sensor",)),
)


async def test_types_and_places_are_found_with_all_they_contain(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        assert await one.names(type="brick:Temperature_Sensor") == ["s/r11", "s/r21"]
        assert await one.names(type=BRICK + "Sensor", place="floor 2") == ["s/r21", "s/r22"]
        assert await one.names(type="Temperature Sensor", place="urn:b:floor2") == ["s/r21"]
        assert await one.names(type=AIR, maxLatencyMs=50) == ["s/r11"]
        assert await one.names(protocol="HTTP", place="urn:b:r22") == ["s/r22"]
        assert await one.names(protocol="mqtt") == []
        assert await one.names(capability="td:EventAffordance", limit=2) == ["s/r11", "s/r21"]
        assert await one.names() == ["s/r11", "s/r21", "s/r22", "s/van"]
        answer = await one.ask(type="brick:Temperature_Sensor", place="urn:b:r11")
        assert answer["asked"] == {"type": "brick:Temperature_Sensor", "place": "urn:b:r11"}
        assert (answer["ranking"], answer["next"], answer["notes"]) == ("by name", "", [])
        (item,) = answer["items"]
        assert (item["id"], item["place"]) == ("urn:hilum:s/r11", "urn:b:r11")
        (member,) = item["members"]
        assert (member["name"], member["kind"], member["exact"]) == ("s/r11/read", "method", False)
        assert member["latency"] == {"ms": 20, "source": "declared"}
        assert member["protocols"] == ["http"]
        # A type that the object has counts for all its members.
        (item,) = (await one.ask(type="brick:Sensor", near="urn:b:nowhere", limit=9))["items"][3:]
        assert [m["name"] for m in item["members"]] == ["s/van/news", "s/van/read"]


async def test_what_is_near_comes_first_and_pages_go_on_from_ring_to_ring(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        answer = await one.ask(near="urn:b:r22", limit=1)
        found = []
        while True:
            found += [(i["name"], i.get("distance", {}).get("steps")) for i in answer["items"]]
            if not answer["next"]:
                break
            answer = await one.ask(near="urn:b:r22", limit=1, cursor=answer["next"])
        assert found == [("s/r22", 0), ("s/r21", 1), ("s/r11", 2), ("s/van", None)]
        answer = await one.ask(near="33.42,-111.93")
        distances = [i.get("distance") for i in answer["items"]]
        assert [i["name"] for i in answer["items"]] == ["s/r11", "s/r21", "s/r22", "s/van"]
        assert distances[0] == {"metres": 0, "at": "urn:b:floor1"}
        assert 1100 < distances[1]["metres"] < 1120
        assert distances[3] is None
        assert "metres" in answer["ranking"]


async def test_only_what_may_be_described_is_found_and_pages_are_full(tmp_path) -> None:
    objects = [room(f"s/r{n:03}", "r21", sensor=AIR) for n in range(300)]
    async with asking(tmp_path, *objects, allow=False) as one:
        assert await one.names(type=AIR) == []
        for n in range(0, 300, 10):
            await one.change(applied(f"p{n}", rule("allow", Action.DESCRIBE, names=f"r{n:03}/**")))
        # The object without its member is not enough for what only the member is.
        await one.change(applied("bare", rule("allow", Action.DESCRIBE, names="r001")))
        page = await one.ask(type=AIR, limit=10)
        assert [i["name"] for i in page["items"]] == [f"s/r{n:03}" for n in range(0, 100, 10)]
        page = await one.ask(type=AIR, limit=25, cursor=page["next"])
        assert [i["name"] for i in page["items"]] == [f"s/r{n:03}" for n in range(100, 300, 10)]
        assert page["next"] == ""
        assert await one.names(place="urn:b:r21", limit=2) == ["s/r000", "s/r001"]


async def test_what_is_registered_is_found_when_it_is_acknowledged(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        await one.change(registered(room("s/new", "r21", sensor=AIR), instance="b"))
        assert await one.names(type=AIR) == ["s/new", "s/r11", "s/r21"]
        # While another index takes over, changes are neither missed nor lost.
        more = 'brick:New rdfs:subClassOf brick:Sensor ; rdfs:label "New"'
        text = MODEL + more + " ."
        await one.change(OntologyLoaded(OntologyRecord("model", "user:op", text, 2)))
        await one.change(registered(room("s/late", "r21", sensor=AIR), instance="c"))
        assert "s/late" in await one.names(type=AIR)
        await one.change(Deregistered(RegistrationId("Rooms", "1", "b")))
        assert await one.names(type=AIR) == ["s/late", "s/r11", "s/r21"]
        await one.indexing.wait()
        await one.change(Deregistered(RegistrationId("Rooms", "1", "c")))
        await one.change(registered(room("s/last", "r21", sensor="brick:New"), instance="d"))
        await one.finding.wait()
        assert await one.names(type=AIR) == ["s/r11", "s/r21"]
        assert await one.names(type="new") == ["s/last"]


async def test_the_observed_latency_counts_once_there_are_enough_calls(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:

        def calls(name: str, number: int, seconds: float, status: Status = Status.OK) -> None:
            for _ in range(number):
                one.finding.latencies.ended(Exchange(name), status, seconds)

        calls("s/r11/read", 19, 0.2)
        assert await one.names(type=AIR, maxLatencyMs=50) == ["s/r11"]  # declared
        calls("s/r11/read", 1, 0.2)
        assert await one.names(type=AIR, maxLatencyMs=50) == []
        calls("s/r21/read", 95, 0.03)
        calls("s/r21/read", 5, 3)
        answer = await one.ask(type=AIR, maxLatencyMs=50)
        (latency,) = (m["latency"] for i in answer["items"] for m in i["members"])
        assert (latency["source"], latency["calls"]) == ("observed", 100)
        assert 30 <= latency["ms"] <= 36
        # Who registers anew has nothing to do with who was there.
        await one.change(registered(*ROOMS[1:]))
        await one.change(registered(*ROOMS))
        assert await one.names(type=AIR, maxLatencyMs=50) == ["s/r11", "s/r21"]


class Exchange:
    """What an exchange shows of a call that ended."""

    def __init__(self, name: str, action: Action = Action.CALL, target: object = "there") -> None:
        self.call = Call(action, Name(name), ANN, 1e9)
        self.target = target


def test_only_answers_of_providers_are_observed_and_old_ones_fade(monkeypatch) -> None:
    seen = Latencies()
    for _ in range(30):
        seen.ended(Exchange("s/a"), Status.DENIED, 1)
        seen.ended(Exchange("s/a", target=None), Status.OK, 1)
        seen.ended(Exchange("s/a", Action.PUBLISH), Status.OK, 1)
    assert seen.of(Name("s/a")) is None
    for _ in range(900):
        seen.ended(Exchange("s/a"), Status.OK, 100)  # longer than any bound
    observed = seen.of(Name("s/a"))
    assert observed is not None
    assert observed.calls == 900
    assert observed.milliseconds > 50_000
    for _ in range(20_000):
        seen.ended(Exchange("s/a"), Status.OK, 0.001)
    observed = seen.of(Name("s/a"))
    assert observed is not None
    assert observed.calls < 1024
    assert 1 <= observed.milliseconds <= 1.25
    monkeypatch.setattr(latencies, "MOST", 8)
    for number in range(20):
        seen.ended(Exchange(f"s/{number}"), Status.OK, 1)
    assert len(seen._counts) <= 8


async def test_errors_say_what_may_be_meant(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        refusal = await one.refused(type="Temprature Sensor")
        assert refusal.status is Status.BAD_REQUEST
        assert "near: temperature sensor" in refusal.detail
        assert refusal.extra["candidates"][0] == "temperature sensor"
        refusal = await one.refused(place="twin")
        assert (
            refusal.extra["candidates"] == ["urn:a", "urn:b"]
            or len(refusal.extra["candidates"]) == 2
        )
        answer = await one.ask(type="brick:Temperatur_Sensor")
        assert answer["items"] == []
        assert "no loaded ontology speaks of the type" in answer["notes"][0]
        assert "brick:Temperature_Sensor" in answer["notes"][0]
        answer = await one.ask(protocol="gopher")
        assert answer["notes"] == ["endpoints speak http, mqtt, coap, not gopher"]
        assert "-90 to 90" in (await one.refused(near="95, 400")).detail


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "x" * 1025},
        {"type": "\x00"},
        {"type": "urn:a b"},
        {"place": "é" * 1000},
        {"near": "91,0 "},
        {"near": "1,2,3"},
        {"near": "nan,nan"},
        {"limit": 0},
        {"limit": -1},
        {"limit": 1 << 40},
        {"maxLatencyMs": -1},
        {"maxLatencyMs": 1e300},
        {"cursor": "x" * 9000},
        {"cursor": "é"},
        {"cursor": "AAAA"},
        {"protocol": "p" * 33},
        {"unknown": "1"},
    ],
    ids=lambda asked: next(iter(asked)),
)
async def test_hostile_parameters_are_refused(tmp_path, asked) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        assert (await one.refused(**asked)).status.wire.http in (400, 422)


async def test_a_cursor_belongs_to_its_question_and_its_places(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        next_ = (await one.ask(near="urn:b:r22", limit=1))["next"]
        assert "another question" in (await one.refused(limit=1, cursor=next_)).detail
        forged = msgspec.msgpack.decode(base64.urlsafe_b64decode(next_ + "=="))
        forged[1] = "urn:b:elsewhere"
        text = base64.urlsafe_b64encode(msgspec.msgpack.encode(forged)).decode()
        assert "not where it was" in (await one.refused(near="urn:b:r22", cursor=text)).detail


@given(st.text(max_size=60))
def test_cursors_from_outside_are_read_or_refused(text: str) -> None:
    if not text:
        assert read_cursor(text, "asked") is None
        return
    with pytest.raises(Refusal) as caught:
        read_cursor(text, "asked")
    assert caught.value.status is Status.BAD_REQUEST


async def test_nothing_is_found_before_there_is_an_index(tmp_path) -> None:
    async with opened(tmp_path) as store, running(store, Time()) as site:
        indexing = Indexing(site)
        one = Asking(site, indexing, Finding(site, indexing))
        assert (await one.refused()).status is Status.UNAVAILABLE
        assert (await one.refused("match")).status is Status.UNAVAILABLE


async def test_matching_says_how_well_services_fit(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        answer = await one.ask("match", outputs={"t": "brick:Temperature_Sensor"})
        found = [(i["name"], i["degree"]) for i in answer["items"]]
        assert found == [
            ("s/r11/read", "plugin"),
            ("s/r21/read", "plugin"),
            ("s/r22/read", "sibling"),
        ]
        assert answer["items"][0]["outputs"] == [
            {"wanted": "t", "offered": "value", "degree": "plugin"}
        ]
        assert answer["items"][0]["declared"] == {"latencyMs": 20}
        one_page = await one.ask(
            "match", outputs={"t": AIR}, maxLatencyMs=50, least="exact", limit=1
        )
        assert [i["name"] for i in one_page["items"]] == ["s/r11/read"]
        assert "sibling" in (await one.refused("match", least="fail")).detail
        assert answer["notes"] == []
        answer = await one.ask("match", outputs={"t": "brik:Temperature_Sensor"})
        assert "no loaded ontology speaks of the class brik:" in answer["notes"][0]
        many = {str(n): AIR for n in range(33)}
        assert (await one.refused("match", outputs=many)).status.wire.http in (400, 422)
        await one.change(applied("no", rule("deny", Action.DESCRIBE, names="r11/read")))
        answer = await one.ask("match", outputs={"t": "temperature sensor"}, least="plugin")
        assert [i["name"] for i in answer["items"]] == ["s/r21/read"]


class Untouched:
    """Stands in the place of the index and of what discovery knows: nobody may look at it."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the index was asked for {name}")


async def test_from_a_name_to_its_endpoints_the_index_is_never_asked(tmp_path) -> None:
    async with asking(tmp_path, *ROOMS) as one:
        index, facts = one.indexing.index, one.finding.facts
        one.indexing.index = one.finding.facts = Untouched()
        try:
            route = one.site.view.find(Name("s/r11/read"))
            assert route is not None
            assert [t.provider for t in route.selection.targets()] == ["http"]
            assert one.site.allowed(ANN, Action.DESCRIBE, route.name)
            one.finding.latencies.ended(Exchange(route.name), Status.OK, 0.01)
        finally:
            one.indexing.index, one.finding.facts = index, facts
