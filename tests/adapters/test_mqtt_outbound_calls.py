"""Methods that live on somebody's broker, with a real mosquitto."""

import asyncio
import contextlib

import pytest

from gateway.message import Refusal, Status
from tests.adapters.brokers import Mosquitto, answer, calls, service, until


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


async def echo(client, message):
    await answer(client, message, b"<" + message.payload + b">", ContentType="text/plain")


async def silence(client, message):
    pass


async def test_a_call_is_a_message_and_its_reply_another(broker):
    async with calls() as world, service(broker.port, "plug/do it", echo) as heard:
        world.method("s/plug/do", f"{broker.url}/plug/do%20it")
        fields = [b"ce-id", b": ", b"r-1", b"\r\n", b"Cookie", b": ", b"x", b"\r\n"]
        head, body = await world.ask("s/plug/do", b"on", fields=fields, content_type=b"text/plain")
    assert (head.status, head.code, body) == (Status.OK, 200, b"<on>")
    assert head.content_type == b"text/plain"
    asked = heard[0]
    assert (str(asked.topic), asked.payload, asked.qos) == ("plug/do it", b"on", 1)
    assert asked.properties.ContentType == "text/plain"
    assert asked.properties.ResponseTopic.startswith("hilum/5173abcd/reply/")
    assert 1 <= asked.properties.MessageExpiryInterval <= 5
    assert asked.properties.UserProperty == [("id", "r-1")]


async def test_many_calls_at_once_get_each_its_own_reply(broker):
    async def late(client, message):
        await asyncio.sleep(0.05 if message.payload in b"3579" else 0)
        await echo(client, message)

    async with calls() as world, service(broker.port, "m", late):
        world.method("s/m", f"{broker.url}/m")
        answers = await asyncio.gather(*(world.ask("s/m", b"%d" % n) for n in range(300)))
    assert [body for _, body in answers] == [b"<%d>" % n for n in range(300)]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [("not-found", Status.NOT_FOUND, 404), ("429", Status.THROTTLED, 429), ("201", Status.OK, 201)],
)
async def test_a_reply_says_its_status(broker, said, status, code):
    async def fail(client, message):
        await answer(client, message, b"why", UserProperty=[("hilum-status", said)])

    async with calls() as world, service(broker.port, "m", fail):
        world.method("s/m", f"{broker.url}/m")
        head, body = await world.ask("s/m")
    assert (head.status, head.code, body) == (status, code, b"why")


@pytest.mark.parametrize("said", ["", "nonsense", "99", "٢٠٠"])
async def test_a_reply_with_an_unknown_status_is_the_providers_error(broker, said):
    async def fail(client, message):
        await answer(client, message, b"why", UserProperty=[("hilum-status", said or "x" * 999)])

    async with calls() as world, service(broker.port, "m", fail):
        world.method("s/m", f"{broker.url}/m")
        with pytest.raises(Refusal, match="unknown hilum-status") as refused:
            await world.ask("s/m")
    assert refused.value.status is Status.PROVIDER_ERROR


async def test_nobody_there_is_known_at_once(broker):
    async with calls() as world:
        world.method("s/m", f"{broker.url}/m")
        with pytest.raises(Refusal, match="nobody subscribes") as refused:
            await world.ask("s/m")
    assert refused.value.status is Status.UNAVAILABLE


async def test_no_reply_before_the_deadline(broker):
    async with calls() as world, service(broker.port, "m", silence):
        world.method("s/m", f"{broker.url}/m")
        with pytest.raises(Refusal) as refused:
            await world.ask("s/m", within=0.3)
    assert refused.value.status is Status.TIMEOUT


async def test_a_reply_for_another_call_is_dropped(broker):
    """Whoever guesses a Response Topic still has to know what it belongs to."""

    async def wrong(client, message):
        await answer(client, message, b"forged", CorrelationData=b"another")
        await answer(client, message, b"real")
        await answer(client, message, b"twice")

    async with calls() as world, service(broker.port, "m", wrong):
        world.method("s/m", f"{broker.url}/m")
        assert (await world.ask("s/m")).body == b"real"
        assert (await world.ask("s/m")).body == b"real"


async def test_a_service_that_forgets_the_correlation_data_is_understood(broker):
    """mosquitto_sub in a shell pipe can copy a topic, but no Correlation Data."""

    async def plain(client, message):
        await client.publish(message.properties.ResponseTopic, b"plain", qos=0)

    async with calls() as world, service(broker.port, "m", plain):
        world.method("s/m", f"{broker.url}/m")
        assert (await world.ask("s/m")).body == b"plain"


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_one_way_the_brokers_acknowledgement_is_the_reply(broker, qos):
    async with calls() as world, service(broker.port, "m", silence) as heard:
        world.method("s/m", f"{broker.url}/m?reply=none&qos={qos}")
        for number in range(200):
            head, body = await world.ask("s/m", b"%d" % number)
            assert (head.status, head.code, body) == (Status.OK, 200, b"")
        await until(lambda: len(heard) == 200)
    assert [m.payload for m in heard] == [b"%d" % n for n in range(200)]
    assert {m.qos for m in heard} == {qos}
    assert not hasattr(heard[0].properties, "ResponseTopic")
    assert not hasattr(heard[0].properties, "MessageExpiryInterval")


async def test_one_way_nobody_need_be_there(broker):
    async with calls() as world:
        world.method("s/m", f"{broker.url}/m?reply=none")
        assert (await world.ask("s/m")).head.status is Status.OK


async def test_a_broker_that_is_not_there(broker):
    broker.kill()
    async with calls() as world:
        world.method("s/m", f"{broker.url}/m")
        for _ in range(2):
            with pytest.raises(Refusal, match="cannot connect") as refused:
                await world.ask("s/m")
            assert refused.value.status is Status.UNAVAILABLE


async def test_calls_go_on_after_the_broker_was_killed(broker):
    async with calls() as world:
        world.method("s/m", f"{broker.url}/m")
        async with service(broker.port, "m", echo):
            assert (await world.ask("s/m", b"1")).body == b"<1>"
        with contextlib.suppress(Exception):
            async with service(broker.port, "m", silence):
                waiting = asyncio.create_task(world.ask("s/m", b"2"))
                await asyncio.sleep(0.2)
                broker.kill()
                with pytest.raises(Refusal, match="was lost") as refused:
                    await waiting
        assert refused.value.status is Status.UNAVAILABLE
        broker.start()
        async with service(broker.port, "m", echo):
            async with asyncio.timeout(5):
                while True:
                    with contextlib.suppress(Refusal):
                        assert (await world.ask("s/m", b"3")).body == b"<3>"
                        break
                    await asyncio.sleep(0.1)


async def test_what_is_too_large_for_the_broker_is_not_sent(tmp_path):
    settings = ["allow_anonymous true", "max_packet_size 2000"]
    with Mosquitto(tmp_path, *settings) as broker:
        async with calls() as world, service(broker.port, "m", echo):
            world.method("s/m", f"{broker.url}/m")
            assert (await world.ask("s/m", b"x" * 1000)).head.status is Status.OK
            with pytest.raises(Refusal, match="2000 bytes") as refused:
                await world.ask("s/m", b"x" * 2000)
    assert refused.value.status is Status.TOO_LARGE


async def test_a_large_payload_in_parts(broker):
    async with calls(limit=1000) as world, service(broker.port, "m", echo):
        world.method("s/m", f"{broker.url}/m")
        assert len((await world.ask("s/m", b"x" * 998)).body) == 1000
        with pytest.raises(Refusal, match="the reply is larger than 1000 bytes") as refused:
            await world.ask("s/m", b"x" * 999)
        assert refused.value.status is Status.TOO_LARGE
        with pytest.raises(Refusal, match="1000 bytes"):
            await world.ask("s/m", b"x" * 1001)


async def test_who_may_not_connect_there_does_not(broker):
    async with calls() as world:
        world.method("s/m", f"{broker.url}/m", peer="10.1.2.3")
        with pytest.raises(Refusal, match=r"is not the address 10\.1\.2\.3"):
            await world.ask("s/m")
