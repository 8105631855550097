"""First uses over MQTT and CoAP, and controllers behind MQTT, CoAP and in the process."""

import asyncio
import contextlib
import json
import threading
from itertools import count
from types import SimpleNamespace

import aiocoap
import pytest
import pytest_asyncio
from aiocoap import resource

from adapters.main import Application
from gateway.settings import Coap, Config, Control, FirstUse, Limits, Listen, Mqtt, Site
from tests.adapters.live import until
from tests.adapters.mqtt_site import Client
from tests.adapters.relay import echo, service
from tests.adapters.test_first_use import Desk, Place
from tests.support import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)
PLUGINS = ("decide", "decide_later", "stuck", "wrong", "leave", "no_function", "missing")
asked = []
release = threading.Event()


def decide(question):
    """A plug-in: a function."""
    asked.append(question)
    assert threading.current_thread() is not threading.main_thread()
    return {"allow": question["action"] == "publish"}


async def decide_later(question):
    """A plug-in: a coroutine function."""
    await asyncio.sleep(0)
    return {"allow": True}


def stuck(question):
    """A plug-in that takes longer than anybody waits."""
    release.wait(20)
    return {"allow": True}


def wrong(question):
    """A plug-in whose answer is no JSON."""
    return {"allow": object()}


def leave(question):
    """A plug-in that wants to end the process."""
    raise SystemExit


no_function = "text"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    state = tmp_path_factory.mktemp("site")
    config = Config(
        site=Site(state=state),
        http=Listen(port=0),
        control=Control(port=0),
        mqtt=Mqtt(port=0),
        coap=Coap(port=0, anonymous=True),
        limits=Limits(drain_seconds=1.0, body=100_000),
        first_use=FirstUse(tuple(f"{__name__}:{name}" for name in PLUGINS)),
    )
    application = Application(config)
    await application.start()
    yield Place(application, state)
    await application.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    mine = Place(shared.application, shared.state, f"Band{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


@pytest_asyncio.fixture(loop_scope="module")
async def desk(site):
    made = Desk()
    async with service(made.talk) as url:
        await site.http_desk(url)
        yield made


@contextlib.asynccontextmanager
async def mqtt(site, token=None, version=5):
    port = site.application.devices.mqtt_port
    place = SimpleNamespace(port=port, token=token or site.ann, clients=[])
    client = Client(place, version=version)
    assert await client.connect() == 0
    yield client
    client.paho.disconnect()
    await client.stop()


async def test_a_body_that_is_too_large_for_services_is_so_after_a_hold_too(site, desk):
    async with service(echo()) as url:
        await site.register(
            instance="http",
            objects=[{"name": site.object, "methods": {"sum": {"endpoints": [{"url": url}]}}}],
        )
        await site.cover()
        assert (await site.post("sum", bytes(200_000))).status == 413
        assert (await site.post("sum", b"{}")).status == 200


class TestMqtt:
    @pytest.mark.parametrize("version", [4, 5])
    async def test_a_publish_waits_and_nothing_overtakes_it(self, site, desk, version):
        await site.cover()
        await site.allow("listen", "subscribe", "site:admin", f"{site.object}/**")
        desk.delay = 0.1
        async with mqtt(site, site.token) as screen, mqtt(site, version=version) as band:
            await screen.subscribe(f"{site.object}/#", qos=1)
            infos = [
                band.paho.publish(f"{site.object}/{member}", str(number), number % 3)
                for number, member in enumerate(["steps", "short", "steps", "steps"])
            ]
            heard = [(await screen.hear()).payload for _ in range(4)]
            await until(lambda: all(info.is_published() for info in infos))
        assert heard == [b"0", b"1", b"2", b"3"]
        assert [q["name"].rpartition("/")[2] for q in desk.questions] == ["steps", "short"]

    async def test_a_refusal_comes_with_its_reason_code(self, site, desk):
        await site.cover()
        desk.answer = {"allow": False}
        async with mqtt(site) as band:
            assert await band.publish(f"{site.object}/steps", "1") == 0x87
            desk.answer = {"allow": True}
            assert await band.publish(f"{site.object}/short", "1", qos=2) == 0

    async def test_a_subscription_is_acknowledged_when_it_is_decided(self, site, desk):
        await site.cover()
        desk.delay = 0.1
        desk.answer = lambda q: {"allow": q["name"].endswith("/steps")}
        async with mqtt(site) as band:
            names = [f"{site.object}/{member}" for member in ("kept", "steps", "+")]
            assert await band.subscribe(*names) == [0x87, 1, 1]
            await site.publish("steps", "7")
            assert (await band.hear()).payload == b"7"
            await site.call("policy/revoke", {"principal": site.who})
            await site.publish("steps", "8")
            assert await band.silent()

    async def test_a_call_waits(self, site, desk):
        await site.cover()
        async with mqtt(site) as band:
            to = f"$reply/{band.paho._client_id.decode()}/1"
            await band.subscribe(to)
            assert await band.publish(f"{site.object}/add", "{}", ResponseTopic=to) == 0
            reply = await band.hear()
        assert reply.attributes["hilum-status"] == "unavailable"  # allowed, nothing provides it
        assert desk.questions[0]["action"] == "call"

    async def test_a_controller_behind_mqtt(self, site):
        token = await site.token_for("token:desk", "service")
        await site.allow("desk", "register call bind", "token:desk", "**")
        await site.allow("desk-registry", "call", "token:desk", "$site/registry/**")
        await site.http_desk("http://127.0.0.1:9/", token)
        name = site.desk_name
        async with mqtt(site, token) as controller:
            assert await controller.subscribe(name) == [0]
            await site.cover(timeout=2000)
            asking = asyncio.create_task(site.post())
            question = await controller.hear()
            assert question.json()["principal"] == site.who
            controller.paho.publish(
                question.response_topic,
                json.dumps({"allow": True}),
                0,
                properties=_correlated(question),
            )
            assert (await asking).status == 200


def _correlated(question):
    from paho.mqtt.packettypes import PacketTypes

    from tests.adapters.mqtt_site import properties_of

    return properties_of(PacketTypes.PUBLISH, CorrelationData=question.correlation)


class Decide(resource.Resource):
    """A controller behind CoAP."""

    def __init__(self):
        super().__init__()
        self.questions = []

    async def render_post(self, request):
        self.questions.append(json.loads(request.payload))
        payload = json.dumps({"allow": True}).encode()
        return aiocoap.Message(code=aiocoap.CHANGED, payload=payload, content_format=50)


@contextlib.asynccontextmanager
async def coap():
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    yield context
    await context.shutdown()


async def request(context, site, code, path, **what):
    uri = f"coap://127.0.0.1:{site.application.devices.coap_port}/{path}"
    sent = context.request(aiocoap.Message(code=code, uri=uri, **what))
    answer = await asyncio.wait_for(sent.response, 5)
    if answer.code == aiocoap.UNAUTHORIZED and answer.opt.echo:
        again = aiocoap.Message(code=code, uri=uri, echo=answer.opt.echo, **what)
        sent = context.request(again)
        answer = await asyncio.wait_for(sent.response, 5)
    return sent, answer


class TestCoap:
    async def test_events_and_observations_wait(self, site, desk):
        await site.cover()
        desk.delay = 0.1
        async with coap() as context:
            path = f"{site.object}/steps"
            _, answer = await request(context, site, aiocoap.POST, path, payload=b"1")
            assert answer.code == aiocoap.CHANGED
            sent, answer = await request(context, site, aiocoap.GET, path, observe=0)
            assert answer.payload == b"1"
            await site.publish("steps", "2")
            events = aiter(sent.observation)
            assert (await asyncio.wait_for(anext(events), 5)).payload == b"2"
            desk.answer = {"allow": False}
            await site.call("policy/revoke", {"principal": "anonymous:coap"})
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(events), 5)
            _, answer = await request(context, site, aiocoap.POST, path, payload=b"3")
            assert answer.code == aiocoap.UNAUTHORIZED
        assert desk.questions[0]["principal"] == "anonymous:coap"

    async def test_a_large_event_waits_before_its_second_block(self, site, desk):
        await site.cover()
        payload = bytes(5000)
        async with coap() as context:
            path = f"{site.object}/kept"
            _, answer = await request(context, site, aiocoap.POST, path, payload=payload)
            assert answer.code == aiocoap.CHANGED
        assert len(desk.questions) == 1

    async def test_a_controller_behind_coap(self, site):
        root, resource_, port = resource.Site(), Decide(), free_port()
        root.add_resource(["decide"], resource_)
        bind = ("127.0.0.1", port)
        server = await aiocoap.Context.create_server_context(
            root, bind, transports=["simplesocketserver"]
        )
        try:
            await site.http_desk(f"coap://127.0.0.1:{port}/decide")
            await site.cover(timeout=2000)
            assert (await site.post()).status == 200
            assert resource_.questions[0]["principal"] == site.who
        finally:
            await server.shutdown()


class TestPlugins:
    async def cover(self, site, name, **policy):
        spec = {"names": [f"{site.object}/**"], "plugin": f"{__name__}:{name}", "timeout": 5000}
        await site.apply("FirstUsePolicy", "first", {**spec, **policy})

    async def test_a_function_is_asked_in_a_thread(self, site):
        asked.clear()
        await self.cover(site, "decide")
        assert (await site.post()).status == 200
        assert (await site.ask("GET", site.path("steps"), token=site.ann)).status == 403
        assert [q["action"] for q in asked] == ["publish", "subscribe"]

    async def test_a_coroutine_function_is_asked_on_the_loop(self, site):
        await self.cover(site, "decide_later")
        assert (await site.post()).status == 200

    @pytest.mark.parametrize("name", ["wrong", "leave", "no_function", "missing", "unlisted"])
    async def test_one_that_is_broken_denies(self, site, name):
        await self.cover(site, name)
        assert (await site.post()).status == 403

    async def test_one_that_is_stuck_holds_up_nobody_else(self, site):
        await self.cover(site, "stuck", timeout=50, deny=0)
        for _ in range(9):  # one more than there are threads
            assert (await site.post()).status == 403
        await self.cover(site, "decide_later")
        assert (await site.post()).status == 200
        release.set()
