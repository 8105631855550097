"""What is taken away ends at once, over real sockets: streams, WebSockets, calls under way."""

import asyncio
import contextlib
import json

import pytest

from tests.adapters import sockets
from tests.site.wire import Place, Service, Wire, stream

SOON = 1.0
"""Seconds within which a withdrawal must be felt, on a busy machine too."""
EXPIRY = 3


class Open:
    """Everything that one principal can have open with a site, and how it ended."""

    def __init__(self, site, name, token):
        self.site, self.name, self.token = site, name, token

    async def begin(self, stack, service):
        """Open all of it, and see that events come through."""
        streaming, ready = asyncio.Event(), asyncio.Event()
        self.events = []
        wire = await stack.enter_async_context(Wire(self.site.url, self.token))

        async def listen():
            async for event in stream(wire, f"/{self.name}/log", opened=streaming.set):
                self.events.append(event)
                ready.set()

        self.listening = asyncio.create_task(listen())
        self.socket = await sockets.Client.open(Place(self.site.url, self.token))
        stack.callback(self.socket.writer.close)
        reply = await self.socket.ask("subscribe", id="s", name=f"{self.name}/log")
        assert reply["status"] == "ok"
        caller = await stack.enter_async_context(Wire(self.site.url, self.token))
        self.calling = asyncio.create_task(caller.ask("POST", f"/{self.name}/slow", b"1"))
        self.socket.say(op="call", id="c", name=f"{self.name}/slow")
        await streaming.wait()
        while service.calls < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await self.publish("before") == 200
        await asyncio.wait_for(ready.wait(), 5)
        assert (await self.socket.op("event"))["payload"] == "before"

    async def publish(self, text):
        reply = await asyncio.to_thread(self.site.http, "POST", f"/{self.name}/log", text)
        return reply.status

    async def everything_ended(self, service):
        """The stream said why, the call was answered, the socket closed, and the service heard."""
        await asyncio.wait_for(self.listening, SOON)
        first, last = self.events
        assert (first.data, last.kind) == ("before", "end")
        assert json.loads(last.data)["status"] == 401
        assert (await asyncio.wait_for(self.calling, SOON)).status == 401
        assert (await asyncio.wait_for(self.socket.closed(), SOON)).code == 1008
        assert [message["op"] for message in self.socket.messages if message["op"] == "event"] == []
        end = asyncio.get_running_loop().time() + SOON
        while service.cancelled < 2:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(site, name, ttl=3600):
    """An object with a channel and a slow method, and all that a user can open with it."""
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service(seconds=30))
        methods = {"slow": {"endpoints": [{"url": service.url}]}}
        objects = [{"name": name, "methods": methods, "channels": {"log": {"durable": True}}}]
        await asyncio.to_thread(site.register, {"microservice": name, "objects": objects})
        user = f"user:{name}"
        await asyncio.to_thread(
            site.allow, name, {"principal": user}, "call subscribe", f"{name}/**"
        )
        token = await asyncio.to_thread(site.token_for, user, "user", ttl)
        client = Open(site, name, token)
        await client.begin(stack, service)
        yield client, service


async def ask(site, method, document):
    return await asyncio.to_thread(site.ask, method, document)


@pytest.mark.parametrize("by", ["id", "principal"])
async def test_revocation_ends_everything(running_site, by):
    name = f"revoked-{by}"
    async with opened(running_site, name) as (client, service):
        which = {"id": client.token.split("_")[1], "principal": f"user:{name}"}
        done = await ask(running_site, "token/revoke", {by: which[by]})
        assert done["durable"]
        await client.everything_ended(service)
        async with Wire(running_site.url, client.token) as wire:
            assert (await wire.ask("GET", f"/{name}/log")).status == 401


async def test_expiry_ends_everything(running_site):
    async with opened(running_site, "expired", EXPIRY) as (client, service):
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.wait({client.calling}, timeout=EXPIRY + 2 * SOON)
        assert loop.time() - begin < EXPIRY + 1.5
        await client.everything_ended(service)


async def test_a_deny_ends_subscriptions_and_nothing_else(running_site):
    async with opened(running_site, "denied") as (client, service):
        deny = {
            "apiVersion": "hilum/v1",
            "kind": "AccessPolicy",
            "metadata": {"name": "denied-log"},
            "spec": {
                "effect": "deny",
                "subjects": [{"principal": "user:denied"}],
                "actions": ["subscribe"],
                "names": ["denied/log"],
            },
        }
        await ask(running_site, "policy/apply", deny)
        assert await client.publish("after") == 200
        await asyncio.wait_for(client.listening, SOON)
        first, last = client.events
        assert (first.data, last.kind) == ("before", "end")
        assert json.loads(last.data)["status"] == 403
        ended = await asyncio.wait_for(client.socket.op("end"), SOON)
        assert (ended["sub"], ended["status"]) == ("s", "denied")
        assert not client.calling.done()
        assert service.cancelled == 0
        assert (await client.socket.ask("subscribe", name="denied/log"))["status"] == "denied"
        assert [m for m in client.socket.messages if m["op"] == "event"] == []
        # What allowed calls is gone: there are no new ones.
        which = {"kind": "AccessPolicy", "name": "denied"}
        await ask(running_site, "policy/delete", which)
        async with Wire(running_site.url, client.token) as wire:
            assert (await wire.ask("POST", "/denied/slow", b"1")).status == 403


async def test_a_revoked_service_behind_a_socket_answers_nobody(running_site):
    site = running_site
    token = await asyncio.to_thread(site.token_for, "service:nat")
    await asyncio.to_thread(
        site.allow, "nat", {"principal": "service:nat"}, "register bind call", "nat/**"
    )
    objects = [{"name": "nat", "methods": {"ask": {}}}]
    await asyncio.to_thread(site.register, {"microservice": "Nat", "objects": objects}, token)
    service = await sockets.Client.open(Place(site.url, token))
    with contextlib.closing(service.writer):
        assert (await service.ask("provide", name="nat/ask"))["status"] == "ok"
        async with Wire(site.url, site.token) as wire:
            call = asyncio.create_task(wire.ask("POST", "/nat/ask", b"{}"))
            await service.op("call")
            await ask(site, "token/revoke", {"principal": "service:nat"})
            assert (await asyncio.wait_for(call, SOON)).status == 503
            assert (await asyncio.wait_for(service.closed(), SOON)).code == 1008
            assert (await wire.ask("POST", "/nat/ask", b"{}")).status == 503
