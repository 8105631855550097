"""MQTT clients as providers: who may offer what, how calls come, who may answer; real clients."""

import asyncio

import pytest
import pytest_asyncio

from adapters.mqtt.desk.desk import DeskSettings
from gateway.calls import ask
from gateway.message import Call, Origin, Refusal, Status
from policy.model import Action, Principal
from registry.names import Name
from tests.adapters.live import until
from tests.adapters.mqtt_site import BAND, mqtt_site, settle

PHONE = Principal("site:phone", "service")


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


def call(site, member="add", payload=b"[1]", seconds=5.0):
    """Call a method as any protocol does."""
    plane = site.site.plane
    asked = Call(Action.CALL, Name(f"{BAND}/{member}"), PHONE, plane.now + seconds)
    asked.content_type = b"application/json"
    return asyncio.create_task(ask(plane, asked, payload))


class TestVersion5:
    async def test_an_exact_subscription_offers_a_method(self, site):
        client = await site.client("p")
        assert await client.subscribe("localhost/Band/add", id_=3) == [0]
        asking = call(site)
        asked = await client.hear()
        assert asked.topic == "localhost/Band/add"
        assert asked.payload == b"[1]"
        assert asked.content_type == "application/json"
        assert asked.response_topic == f"$ret/localhost/Band/add/{asked.correlation.decode()}"
        assert asked.expiry in (4, 5)
        assert asked.attributes == {"hilum-principal": "site:phone"}
        assert asked.ids == [3]
        assert await client.publish(asked.response_topic, b"42", ContentType="text/plain") == 0
        answered = await asking
        assert answered.body == b"42"
        assert answered.head.status is Status.OK
        assert answered.head.origin is Origin.PROVIDER
        assert answered.head.content_type == b"text/plain"

    @pytest.mark.parametrize("how", ["property", "topic"])
    async def test_errors(self, site, how):
        client = await site.client("p")
        await client.subscribe("Band/add")
        asking = call(site)
        asked = await client.hear()
        if how == "property":
            said = {"UserProperty": [("hilum-status", "invalid")]}
            await client.publish(asked.response_topic, b"no", **said)
        else:
            await client.publish(f"{asked.response_topic}/invalid", b"no")
        answered = await asking
        assert (answered.head.status, answered.body) == (Status.INVALID, b"no")

    async def test_an_answer_must_make_sense(self, site):
        client = await site.client("p")
        await client.subscribe("Band/add")
        asking = call(site)
        asked = await client.hear()
        assert await client.publish(f"{asked.response_topic}/nonsense", b"") == 0x83
        assert "'nonsense' is no status; use one of ok, bad-request" in client.why
        assert await client.publish("$ret/Band/add", b"") == 0x83
        assert await client.publish(asked.response_topic, b"", ContentType="a\nb") == 0x83
        assert await client.publish(asked.response_topic, b"1") == 0
        assert await client.publish(asked.response_topic, b"2") == 0x10
        assert (await asking).body == b"1"

    async def test_unsubscribing_withdraws(self, site):
        client = await site.client("p")
        await client.subscribe("Band/add")
        await client.unsubscribe("Band/add")
        with pytest.raises(Refusal, match="no live endpoint"):
            await call(site)

    async def test_the_same_filter_again_changes_nothing(self, site):
        client = await site.client("p")
        assert await client.subscribe("Band/add") == [0]
        assert await client.subscribe("Band/add", id_=2) == [0]
        assert await client.subscribe("$call/Band/add/+") == [0x83]
        assert "offered by this session already" in client.why
        call(site).cancel()
        assert len(site.site.sessions.of(Name(f"{BAND}/add"))) == 1

    async def test_two_sessions_share_the_calls(self, site):
        clients = [await site.client(f"p{n}") for n in range(2)]
        for client in clients:
            await client.subscribe("Band/add")
        asking = [call(site) for _ in range(20)]

        async def serve(client):
            while True:
                asked = await client.hear(60)
                await client.publish(asked.response_topic, client.paho._client_id)

        serving = [asyncio.create_task(serve(client)) for client in clients]
        answers = {(await one).body for one in asking}
        for one in serving:
            one.cancel()
        assert answers == {b"p0", b"p1"}

    async def test_which_registration_it_is_can_be_said(self, site):
        await site.register(instance="b")
        client = await site.client("p")
        said = [("hilum-instance", "b")]
        assert await client.subscribe("Band/add", attributes=said) == [0]
        (source,) = site.site.sessions.of(Name(f"{BAND}/add"))
        assert source.registration.instance == "b"
        assert await client.subscribe("Band/echo", attributes=[("hilum-version", "9")]) == [0x83]
        assert "is offered by Band/1.0.0/a" in client.why


class TestVersion311:
    async def test_calls_come_on_a_topic_of_their_own(self, site):
        client = await site.client("p", version=4)
        assert await client.subscribe("$call/Band/add/+") == [0]
        asking = call(site)
        asked = await client.hear()
        name, _, number = asked.topic.rpartition("/")
        assert name == "$call/Band/add"
        await client.publish(f"$ret/Band/add/{number}/ok", b"42")
        assert (await asking).body == b"42"
        asking = call(site)
        await client.hear()
        await client.publish(f"$ret/Band/add/{int(number) + 1}/conflict", b"no")
        assert (await asking).head.status is Status.CONFLICT

    async def test_a_plain_subscription_cannot_offer(self, site):
        client = await site.client("p", version=4)
        assert await client.subscribe("Band/add", "$call/Band/add", "$call/Band/+/+") == [0x80] * 3


class TestWhoMayOffer:
    async def test_bind_is_needed(self, site):
        await site.allow("a", "device:a", "bind", "Band/add")
        client = await site.client("p", token=await site.issue("device:a"))
        assert await client.subscribe("Band/add", "Band/echo") == [0, 0x87]
        assert await client.subscribe("$call/Band/echo/+", "$call/Band/steps/+") == [0x87, 0x87]

    async def test_wildcards_and_groups_never_bind(self, site):
        client = await site.client("p")
        assert await client.subscribe("Band/+", "#", "$share/g/Band/add") == [1, 1, 0x87]
        with pytest.raises(Refusal, match="no live endpoint"):
            await call(site)
        assert await client.silent()

    async def test_a_withdrawn_permission_withdraws_the_offer(self, site):
        await site.allow("a", "device:a", "bind", "Band/add")
        client = await site.client("p", token=await site.issue("device:a"))
        await client.subscribe("Band/add")
        await site.forget_policy("a")
        await until(lambda: not site.site.sessions.of(Name(f"{BAND}/add")))
        await site.allow("a", "device:a", "bind", "Band/add")
        await until(lambda: site.site.sessions.of(Name(f"{BAND}/add")))

    async def test_methods_are_bounded(self, site, monkeypatch):
        settings = DeskSettings(methods=1)
        desk = site.broker._desk._replace(settings=settings)
        monkeypatch.setattr(site.broker._subscribing, "_desk", desk)
        client = await site.client("p")
        assert await client.subscribe("Band/add", "Band/echo") == [0, 0x97]


class TestWhoMayAnswer:
    async def test_only_the_session_that_was_asked(self, site):
        client, thief = await site.client("p"), await site.client("thief")
        await client.subscribe("Band/add")
        await thief.subscribe("Band/echo")
        asking = call(site)
        asked = await client.hear()
        assert await thief.publish(asked.response_topic, b"forged") == 0x10
        nobody = await site.client("nobody", version=4)
        assert await nobody.publish(asked.response_topic, b"forged") == 0
        await client.publish(asked.response_topic, b"true")
        assert (await asking).body == b"true"

    async def test_nobody_listens_in(self, site):
        client, thief = await site.client("p"), await site.client("thief")
        await client.subscribe("Band/add")
        filters = ("$ret/#", "$ret/Band/add/1", "$rpc/#", "$call/#", "$call/+/+/+")
        for text in filters:
            assert (await thief.subscribe(text))[0] >= 0x80, text
        await thief.subscribe("#", "+/+", "Band/#")
        asking = call(site)
        asked = await client.hear()
        await client.publish(asked.response_topic, b"1")
        await asking
        assert await thief.silent()


class TestComingAndGoing:
    async def test_outstanding_calls_fail_when_the_client_goes(self, site):
        client = await site.client("p")
        await client.subscribe("Band/add")
        asking = call(site)
        await client.hear()
        await client.vanish()
        with pytest.raises(Refusal) as refused:
            await asking
        assert refused.value.status is Status.UNAVAILABLE

    async def test_a_durable_session_offers_again_when_it_is_back(self, site):
        kept = {"clean": False, "expiry": 60}
        client = await site.client("p", **kept)
        await client.subscribe("Band/add")
        await client.disconnect()
        with pytest.raises(Refusal, match="no live endpoint"):
            await call(site)
        client = await site.client("p", **kept)
        asking = call(site)
        asked = await client.hear()
        await client.publish(asked.response_topic, b"1")
        assert (await asking).body == b"1"

    async def test_it_offers_again_after_a_restart(self, tmp_path):
        kept = {"clean": False, "expiry": 60}
        async with mqtt_site(tmp_path) as site:
            token = site.token
            await site.register(instance="b")
            client = await site.client("p", **kept)
            said = [("hilum-instance", "b")]
            await client.subscribe("$call/Band/add/+", attributes=said)
        async with mqtt_site(tmp_path, welcome=False) as site:
            with pytest.raises(Refusal, match="no live endpoint"):
                await call(site)
            client = await site.client("p", token=token, **kept)
            (source,) = site.site.sessions.of(Name(f"{BAND}/add"))
            assert source.registration.instance == "b"
            asking = call(site)
            asked = await client.hear()
            await client.publish(asked.response_topic, b"1")
            assert (await asking).body == b"1"

    async def test_an_answer_of_an_earlier_connection_answers_nothing(self, site):
        client = await site.client("p")
        await client.subscribe("Band/add")
        asking = call(site)
        old = await client.hear()
        await client.vanish()
        with pytest.raises(Refusal):
            await asking
        client = await site.client("p")
        await client.subscribe("Band/add")
        asking = call(site)
        asked = await client.hear()
        assert await client.publish(old.response_topic, b"old") == 0x10
        await client.publish(asked.response_topic, b"new")
        assert (await asking).body == b"new"

    async def test_what_the_client_does_not_take_fails(self, site):
        client = await site.client("p", MaximumPacketSize=500)
        await client.subscribe("Band/add")
        answered = await call(site, payload=b"x" * 1000)
        assert answered.head.status is Status.UNAVAILABLE
        await settle(site)
        assert not client.gone.done()
