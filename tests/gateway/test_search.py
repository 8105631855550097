"""Search at a site: what is seen follows changes and rights, also while a query waits."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from adapters.sparql.answering import Held, answer
from adapters.sparql.messages import Documents, Feed
from gateway.directory.indexing import Indexing
from gateway.directory.replicating import Replicating
from gateway.directory.texts import Texts
from gateway.directory.views import Views
from gateway.directory.visibility import Visibility
from gateway.message import Call, Refusal, Status
from gateway.objects.search import SearchObject
from gateway.settings import Search
from gateway.view import Meter, Route
from policy.model import AccessPolicy, Action, Principal, Subject
from registry.changes import Deregistered, OntologyLoaded, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Kind,
    Method,
    OntologyRecord,
    Registration,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name
from registry.things.view import Bases
from tests.gateway.sites import Time, applied, opened, running

ANN = Principal("user:ann", "user", credential="t1")
ROUTE = Route(Name("s/$site/registry/query"), Kind.METHOD, "", Meter("$site"))
NAMES = "SELECT DISTINCT ?name { ?s a hilum:VirtualObject ; hilum:name ?name } ORDER BY ?name"
MEMBERS = "SELECT ?name { ?o hilum:name ?o2 . ?o ?has ?m . ?m td:name ?name } ORDER BY ?name"


class Beside:
    """An engine without processes: what happens while a query waits is ``meanwhile``."""

    def __init__(self) -> None:
        self.held = Held()
        self.replicating = None
        self.meanwhile = None
        self.started = False

    async def ask(self, principal, make):
        if not self.started:
            self.started = True
            await self.replicating.refill()
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile
        asked = make()
        replica, self.held.replica = self.held.replica, copied(self.held.replica)
        try:
            return answer(self.held, asked)
        finally:
            self.held.replica = replica

    def feed(self, generation, cleared, quads):
        self.held.feed(Feed(generation, cleared=cleared, quads=quads))

    def load(self, generation, path):
        self.held.feed(Feed(generation, path=str(path)))

    def documents(self, put, gone=()):
        self.held.documents(Documents(put, gone))


def copied(replica):
    """Return a copy: a query takes out what may not be seen, as a fork does."""
    made = type(replica)()
    made._store.extend(replica._store)
    return made


class Asking:
    def __init__(self, site, engine, search) -> None:
        self.site, self.engine = site, engine
        self.handlers = search.handlers()

    async def change(self, *changes) -> None:
        await self.site.ledger.change("user:op", lambda _: changes)

    async def ask(self, method, query, who=ANN, **more):
        call = Call(Action.CALL, Name(f"s/$site/registry/{method}"), who, 1e9)
        payload = json.dumps({"query": query, **more}).encode()
        return json.loads((await self.handlers[method](call, ROUTE, payload)).body)

    async def names(self, query=NAMES, who=ANN, **more) -> list[str]:
        found = await self.ask("query", query, who, **more)
        return [row["name"]["value"] for row in found["results"]["bindings"]]


@asynccontextmanager
async def asking(folder, *objects):
    async with opened(folder) as store, running(store, Time()) as site:
        views, indexing, engine = Views(site, Bases()), Indexing(site), Beside()
        engine.replicating = Replicating(indexing, engine, folder)
        texts, visibility = Texts(site, views), Visibility(site, views, indexing)
        one = Asking(site, engine, SearchObject(Search(), engine, visibility, texts, indexing))
        await one.change(registered(*objects))
        views.load()
        indexing.start()
        await indexing.wait()
        yield one
        await engine.replicating.stop()
        await indexing.stop()


def thing(name: str) -> VirtualObject:
    method = Method(endpoints=(Endpoint("http://h.test/"),))
    return VirtualObject(name, f"About {name}", {"read": method}, {"news": EventChannel()})


def registered(*objects: VirtualObject, instance: str = "a") -> Registered:
    id_ = RegistrationId("Things", "1", instance)
    return Registered(Registration(id_, "service:things", "", 0, 1, objects))


def sees(name: str, *names: str, effect: str = "allow"):
    policy = AccessPolicy(effect, (Subject("*"),), (Action.DESCRIBE,), names)
    return applied(name, policy)


async def test_a_right_that_goes_while_a_query_waits_counts(tmp_path):
    async with asking(tmp_path, thing("s/a"), thing("s/b")) as one:
        await one.change(sees("all", "s/**"))
        assert await one.names() == ["s/a", "s/b"]
        assert len(await one.ask("xpath", "?*?title")) == 2
        one.engine.meanwhile = one.change(sees("none", "s/b/**", effect="deny"))
        assert await one.names() == ["s/a"]
        one.engine.meanwhile = one.change(sees("neither", "s/a/**", effect="deny"))
        assert await one.ask("jsonpath", "$..['hilum:name', 'id']") == []


async def test_what_is_registered_while_a_query_waits_is_seen_only_if_it_may_be(tmp_path):
    async with asking(tmp_path, thing("s/a")) as one:
        await one.change(sees("some", "s/a/**", "s/open/**"))
        assert await one.names() == ["s/a"]
        new = registered(thing("s/open"), thing("s/closed"), instance="b")
        one.engine.meanwhile = one.change(new)
        assert await one.names() == ["s/a", "s/open"]
        late = registered(thing("s/closed/late"), instance="c")
        one.engine.meanwhile = one.change(late)
        found = await one.ask("jsonpath", "$..id")
        assert [each for each in found if "closed" in each] == []
        assert len(found) == 2
        assert await one.ask("jsonpath", "$.*.id") == found
        await one.change(Deregistered(RegistrationId("Things", "1", "b")))
        assert await one.names() == ["s/a"]
        assert await one.ask("jsonpath", "$.*.id") == found[:1]
        assert await one.ask("jsonpath", "$..id") == found[:1]


async def test_members_are_hidden_too_and_come_back(tmp_path):
    async with asking(tmp_path, thing("s/a"), thing("s/b")) as one:
        await one.change(sees("some", "s/a", "s/a/read", "s/b/**"))
        assert set(await one.names(MEMBERS)) == {"read", "news"}
        only_a = {"defaultGraphs": ["urn:hilum:s/a"]}
        assert set(await one.names(MEMBERS, **only_a)) == {"read"}
        assert len(await one.ask("jsonpath", "$[?@.events]")) == 1
        assert len(await one.ask("jsonpath", "$[?@.events || @.nothing]")) == 1
        assert len(await one.ask("xpath", "?*[exists(?events)]")) == 1
        await one.change(sees("more", "s/a/news"))
        assert set(await one.names(MEMBERS, **only_a)) == {"read", "news"}
        assert len(await one.ask("jsonpath", "$[?@.events]")) == 2


@pytest.mark.parametrize("query", ["$[?@.events].id", "$..events"])
async def test_what_many_objects_hide_is_found_out_while_others_run(tmp_path, monkeypatch, query):
    async with asking(tmp_path, *(thing(f"s/a{n}") for n in range(200))) as one:
        await one.change(sees("some", "s/*", "s/*/read"))
        made, at_once, turns = 0, 0, 0
        text_for = Texts.text_for

        def counted(self, name, principal):
            nonlocal made
            made += 1
            return text_for(self, name, principal)

        async def others():
            nonlocal at_once, made, turns
            while True:
                at_once, made, turns = max(at_once, made), 0, turns + 1
                await asyncio.sleep(0)

        monkeypatch.setattr(Texts, "text_for", counted)
        task = asyncio.ensure_future(others())
        assert await one.ask("jsonpath", query) == []
        task.cancel()
        assert turns > 10
        assert 0 < at_once <= 64


async def test_an_object_that_changes_is_searched_as_it_is_now(tmp_path):
    async with asking(tmp_path, thing("s/a")) as one:
        await one.change(sees("some", "s/a", "s/a/read", "s/a/news"))
        assert await one.ask("jsonpath", "$[?@.actions.more].title") == []
        assert len(await one.ask("jsonpath", "$..id")) == 1
        more = thing("s/a")
        more.methods["more"] = Method(endpoints=(Endpoint("http://h.test/"),))
        await one.change(registered(more))
        for query in ("$[?@.actions.more].id", "$[?@.actions.more]..id"):
            assert await one.ask("jsonpath", query) == []
        assert set(await one.names(MEMBERS)) == {"read", "news"}
        await one.change(sees("new", "s/a/more"))
        for query in ("$[?@.actions.more].id", "$[?@.actions.more]..id"):
            assert len(await one.ask("jsonpath", query)) == 1, query
        assert set(await one.names(MEMBERS)) == {"read", "news", "more"}


async def test_each_principal_sees_what_is_its_own(tmp_path):
    bob = Principal("user:bob", "user", credential="t2")
    async with asking(tmp_path, *(thing(f"s/o{n}") for n in range(200))) as one:
        await one.change(sees("most", *(f"s/o{n}/**" for n in range(120))))
        assert len(await one.names()) == 120
        await one.change(sees("ann", "s/o130/**"))
        assert len(await one.names()) == 121
        assert len(await one.names(who=bob)) == 121
        await one.change(sees("nobody", "s/**", effect="deny"))
        assert await one.names() == await one.names(who=bob) == []


async def test_a_new_index_takes_the_place_of_the_replica(tmp_path):
    async with asking(tmp_path, thing("s/a")) as one:
        await one.change(sees("all", "s/**"))
        assert await one.names() == ["s/a"]
        text = "<urn:x:Lamp> <http://www.w3.org/2000/01/rdf-schema#label> 'Lamp' ."
        await one.change(OntologyLoaded(OntologyRecord("lamps", "user:op", text, 1)))
        indexing = one.engine.replicating._indexing
        await indexing.wait()
        await one.engine.replicating._again
        label = "SELECT (STR(?l) AS ?name) { <urn:x:Lamp> rdfs:label ?l }"
        assert await one.names(label) == ["Lamp"]
        assert await one.names() == ["s/a"]


async def test_who_may_see_little_sees_ontologies_all_the_same(tmp_path):
    async with asking(tmp_path, *(thing(f"s/o{n}") for n in range(5))) as one:
        text = "<urn:x:Lamp> <http://www.w3.org/2000/01/rdf-schema#label> 'Lamp' ."
        await one.change(OntologyLoaded(OntologyRecord("lamps", "user:op", text, 1)))
        await one.engine.replicating._indexing.wait()
        label = "SELECT (STR(?l) AS ?name) { <urn:x:Lamp> rdfs:label ?l }"
        assert await one.names(label) == ["Lamp"]
        assert await one.names() == []
        await one.change(sees("one", "s/o1/**"))
        assert (await one.names(), await one.names(label)) == (["s/o1"], ["Lamp"])


async def test_what_goes_while_the_replica_is_written_anew_is_gone(tmp_path):
    async with asking(tmp_path, thing("s/a"), thing("s/b")) as one:
        await one.change(sees("a", "s/a/**"))
        assert await one.names() == ["s/a"]
        replicating = one.engine.replicating
        await one.change(registered(thing("s/c"), instance="c"))
        again = asyncio.create_task(replicating.refill())
        await asyncio.sleep(0)
        await one.change(Deregistered(RegistrationId("Things", "1", "c")))
        assert await one.names() == ["s/a"]
        await again
        assert await one.names() == ["s/a"]
        assert one.engine.held.generation == replicating._indexing.generation


async def test_an_index_that_is_being_built_is_waited_for(tmp_path):
    async with asking(tmp_path, thing("s/a")) as one:
        one.engine.replicating._indexing.ready = False
        with pytest.raises(Refusal) as refused:
            await one.names()
        assert (refused.value.status, refused.value.retry_after) == (Status.UNAVAILABLE, 1)
        one.engine.replicating._indexing.ready = True
