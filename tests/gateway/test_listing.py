"""Listings and descriptions: every name once, in order, and only to those who may know it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.message import Call
from gateway.objects.describe import DescribeObject
from gateway.objects.listing import ListObject, _below, _key
from gateway.site import Site
from gateway.view import Route, View
from policy.model import Action, Binding, Principal
from registry.model import Kind
from registry.names import Name
from tests.gateway.sites import (
    ASK,
    NEWS,
    B,
    Time,
    W,
    applied,
    change,
    opened,
    registered,
    rule,
    running,
)

ANN = Principal("user:ann", "user")
BOB = Principal("user:bob", "user")
SEGMENTS = st.text("ab-.0", min_size=1, max_size=3)


@given(st.sets(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)), st.integers(1, 5))
def test_pages_of_any_size_show_each_name_once(paths, size):
    view = View()
    names = {Name(f"s/{path}") for path in paths}
    meter = view.meter_of("m")
    view.install({name: Route(name, Kind.OBJECT, "", meter) for name in names})
    seen: list[Name] = []
    while True:
        page = [r.name for r in _below(view, Name("s"), _key(seen[-1] if seen else ""))][:size]
        if not page:
            break
        seen += page
    assert seen == sorted(names, key=_key)


async def ask(site: Site, what: str, who: Principal, **payload: Any) -> Any:
    handlers = ListObject(site).handlers() | DescribeObject(site).handlers()
    call = Call(Action.CALL, Name(f"s/$site/registry/{what}"), who, 0.0)
    result = await handlers[what](call, site.view.routes[W], json.dumps(payload).encode())
    return json.loads(result.body)


async def test_who_asks_sees_what_policy_lets_it_describe(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        await change(site, registered(), registered(B, obj=Name("s/other")))
        await change(site, applied("all", rule("allow", names="**", who="user:ann")))
        await change(site, applied("w", rule("allow", Action.DESCRIBE, names="w", who="user:bob")))
        await change(site, applied("n", rule("allow", Action.DESCRIBE, names=NEWS, who="user:bob")))

        listed = await ask(site, "list", ANN)
        assert [item["name"] for item in listed["items"]][:3] == [
            "s/other",
            "s/other/ask",
            "s/other/news",
        ]
        assert len(listed["items"]) == 6
        listed = await ask(site, "list", BOB)
        assert [item["name"] for item in listed["items"]] == [W, NEWS]

        assert len((await ask(site, "registrations", ANN))["items"]) == 2
        assert [r["instance"] for r in (await ask(site, "registrations", BOB))["items"]] == ["a"]

        seen = await ask(site, "introspect", BOB, name="w")
        assert (list(seen["methods"]), list(seen["channels"])) == ([], ["news"])
        seen = await ask(site, "introspect", BOB, name="Weather")
        assert [obj["name"] for obj in seen["objects"]] == [W]
        assert list(seen["objects"][0]["methods"]) == []


async def test_a_member_is_described_by_itself(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        await change(site, registered(), applied("all", rule("allow", names="**")))
        seen = await ask(site, "introspect", ANN, name=ASK)
        assert (seen["name"], list(seen["methods"]), seen["channels"]) == (W, ["ask"], {})
        seen = await ask(site, "introspect", ANN, name=NEWS)
        assert (seen["methods"], list(seen["channels"])) == ({}, ["news"])


async def test_what_a_binding_gives_an_object_is_described(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        await change(site, registered(), applied("all", rule("allow", names="**", who=ANN.id)))
        for name in (f"{W}/tell", f"{W}/ask", "s/lamp/set"):
            await change(site, applied(name[2:], Binding(name, "http://b.test/", safe=True)))
        seen = await ask(site, "introspect", ANN, name="w")
        assert list(seen["methods"]) == ["ask", "tell"]
        assert not seen["methods"]["ask"].get("safe"), "its service's own word comes first"
        seen = await ask(site, "introspect", ANN, name="lamp/set")
        assert list(seen["methods"]) == ["set"]
        assert seen["methods"]["set"]["bindings"]


async def test_pages_go_on_where_they_ended(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        await change(site, registered(), registered(B, obj=Name("s/other")))
        await change(site, applied("all", rule("allow", names="**")))
        first = await ask(site, "list", ANN, limit=4)
        second = await ask(site, "list", ANN, limit=4, after=first["next"])
        names = [item["name"] for item in first["items"] + second["items"]]
        assert len(names) == len(set(names)) == 6
        assert second["next"] == ""
        first = await ask(site, "registrations", ANN, limit=1)
        second = await ask(site, "registrations", ANN, limit=1, after=first["next"])
        assert [r["items"][0]["instance"] for r in (first, second)] == ["a", "b"]
