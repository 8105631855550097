"""An object that says that it is elsewhere: what was open because of its place ends at once."""

import asyncio
import json

from tests.site.wire import Wire, stream

SOON = 1.0
POLICIES = """
apiVersion: hilum/v1
kind: Assertion
metadata: {name: moving}
spec: {subjects: [{principal: "service:lifts"}], names: ["Lift/**"], attributes: [place]}
---
apiVersion: hilum/v1
kind: LifecyclePolicy
metadata: {name: moving}
spec: {effect: allow, subjects: [{principal: "service:lifts"}], actions: [register], names: ["Lift/**"]}
---
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: moving}
spec:
  effect: allow
  subjects: [{principal: "user:guest"}]
  actions: [subscribe]
  names: ["Lift/**"]
  when: object.place == "urn:example:hall"
"""  # noqa: E501


async def test_a_stream_ends_when_its_object_leaves_the_place_that_allowed_it(running_site):
    site = running_site
    await asyncio.to_thread(site.apply, POLICIES)
    lifts = await asyncio.to_thread(site.token_for, "service:lifts", "service")
    guest = await asyncio.to_thread(site.token_for, "user:guest", "user")

    async def register(place: str) -> None:
        obj = {"name": "Lift/one", "place": place, "channels": {"floor": {}}}
        manifest = {"microservice": "Lift", "instance": "a", "objects": [obj]}
        await asyncio.to_thread(site.register, manifest, lifts)

    await register("urn:example:hall")
    opened = asyncio.Event()
    async with Wire(site.url, guest) as wire:

        async def listen():
            return [e async for e in stream(wire, "/Lift/one/floor", opened=opened.set)]

        listening = asyncio.create_task(listen())
        await asyncio.wait_for(opened.wait(), 5)
        await register("urn:example:hall")
        await asyncio.sleep(0.05)
        assert not listening.done()
        await register("urn:example:cellar")
        (end,) = await asyncio.wait_for(listening, SOON)
        assert (end.kind, json.loads(end.data)["status"]) == ("end", 403)
    question = {"principal": "user:guest", "action": "subscribe", "name": "Lift/one/floor"}
    answer = await asyncio.to_thread(site.ask, "policy/explain", question)
    assert not answer["allowed"]
    (fact,) = [fact for fact in answer["objectAttributes"] if fact["source"] == "claim"]
    assert fact == {
        "attribute": "place",
        "value": "urn:example:cellar",
        "source": "claim",
        "by": "service:lifts",
        "counts": True,
        "why": "Assertion/moving",
    }
