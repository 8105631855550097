"""What policies mask, nobody sees, over whichever protocol he asks."""

import asyncio
import contextlib
import json
from itertools import count

import aiocoap
import pytest
import pytest_asyncio

from adapters.main import Application
from gateway.settings import Coap, Config, Control, Limits, Listen, Mqtt, Site
from tests.adapters.relay import echo, service
from tests.adapters.sockets import Client as WebSocket
from tests.adapters.test_first_use import Place
from tests.adapters.test_first_use_protocols import coap, mqtt, request

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)
DATA = '{"secret": 1, "open": 2}'
SEEN = {"secret": None, "open": 2}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    state = tmp_path_factory.mktemp("site")
    config = Config(
        site=Site(state=state),
        http=Listen(port=0),
        control=Control(port=0),
        mqtt=Mqtt(port=0),
        coap=Coap(port=0, anonymous=True),
        limits=Limits(drain_seconds=1.0),
    )
    application = Application(config)
    await application.start()
    yield Place(application, state)
    await application.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    mine = Place(shared.application, shared.state, f"Ward{next(_objects)}")
    await mine.begin()
    for who in (mine.who, "anonymous:coap"):
        name = who.replace(":", "-")
        duties = {"mask": ["/secret"], "headers": {"X-Purpose": "care"}}
        await mine.allow(name, "call subscribe", who, f"{mine.object}/**", obligations=duties)
    await mine.allow("site", "call", mine.who, "$site/channel/**")
    yield mine
    await mine.end()


@contextlib.asynccontextmanager
async def service_of(site):
    seen = []
    async with service(echo(seen)) as url:
        endpoint = {"endpoints": [{"url": url}]}
        channels = {"steps": {}, "kept": {"durable": True}}
        objects = [{"name": site.object, "methods": {"sum": endpoint}, "channels": channels}]
        await site.register(instance="http", objects=objects)
        yield seen


async def test_replies_and_last_values_over_http(site):
    kind = "Content-Type: application/json"
    async with service_of(site) as seen:
        answer = await site.ask("POST", site.path("sum"), DATA.encode(), kind, token=site.ann)
        assert (answer.status, answer.json()) == (200, SEEN), answer
        assert b"\r\nX-Purpose: care\r\n" in seen[0][0]
        answer = await site.ask("POST", site.path("sum"), b"secret", kind, token=site.ann)
        assert answer.status == 403
        assert b"it is no JSON" in answer.body
    for member in ("steps", "kept"):
        await site.publish(member, DATA, kind="application/json")
        answer = await site.ask("GET", site.path(member), token=site.ann)
        assert (answer.status, answer.json()) == (200, SEEN), answer
        asked = json.dumps({"name": site.name(member)}).encode()
        answer = await site.ask("POST", "/$site/channel/history", asked, kind, token=site.ann)
        assert answer.status == 200, answer
        assert "secret" in answer.body.decode()
        assert '"secret":1' not in answer.body.decode().replace(" ", "").replace("\\", "")


async def test_event_streams(site):
    await site.publish("steps", DATA, kind="application/json")
    reader, writer = await site.connect()
    lines = ("Accept: text/event-stream", "Last-Event-ID: oldest")
    writer.write(site.head("GET", site.path("steps"), *lines, token=site.ann).encode() + b"\r\n")
    heard = b""
    await asyncio.sleep(0.05)
    await site.publish("steps", '{"secret": 3}', kind="application/json")
    async with asyncio.timeout(5):
        while b'{"secret":null}' not in heard:
            heard += await reader.read(4096)
    assert b"3}" not in heard


async def test_websockets(site):
    await site.publish("steps", DATA, kind="application/json")
    client = await WebSocket.open(site, token=site.ann)
    assert (await client.ask("get", name=site.name("steps")))["payload"] == SEEN
    assert (await client.ask("subscribe", name=site.name("steps")))["status"] == "ok"
    await site.publish("steps", DATA, kind="application/json")
    assert (await client.op("event"))["payload"] == SEEN


@pytest.mark.parametrize("version", [4, 5])
async def test_mqtt(site, version):
    for member in ("steps", "kept"):
        await site.publish(member, DATA, kind="application/json")
    async with mqtt(site, version=version) as screen:
        names = [f"{site.object}/{member}" for member in ("steps", "kept")]
        await screen.subscribe(*names, qos=1)
        assert [(await screen.hear()).json() for _ in names] == [SEEN, SEEN]
        for member in ("steps", "kept"):
            await site.publish(member, DATA, kind="application/json")
            assert (await screen.hear()).json() == SEEN


async def test_coap(site):
    path = f"{site.object}/steps"
    await site.publish("steps", DATA, kind="application/json")
    async with coap() as context:
        _, answer = await request(context, site, aiocoap.GET, path)
        assert json.loads(answer.payload) == SEEN
        sent, answer = await request(context, site, aiocoap.GET, path, observe=0)
        assert json.loads(answer.payload) == SEEN
        await site.publish("steps", DATA.replace("2", "3"), kind="application/json")
        event = await asyncio.wait_for(anext(aiter(sent.observation)), 5)
        assert json.loads(event.payload) == {"secret": None, "open": 3}
        await site.publish("steps", "secret", kind="text/plain")
        _, answer = await request(context, site, aiocoap.GET, path)
        assert answer.code == aiocoap.FORBIDDEN
        assert b"no JSON" in answer.payload
