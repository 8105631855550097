"""Connections to brokers: TLS, accounts, and brokers that misbehave."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.mqtt.outbound import link as outbound
from adapters.mqtt.outbound.mapping import attributes, replied
from gateway.message import Call, Refusal, Status
from gateway.settings import Broker
from policy.model import ANONYMOUS, Action
from registry.names import Name
from tests.adapters.brokers import Mosquitto, calls

CERTIFICATE = Path(__file__).with_name("localhost.pem")
OTHER = Path(__file__).with_name("localhost2.pem")


@pytest.fixture
def encrypted(tmp_path):
    settings = [
        "allow_anonymous true",
        f"certfile {CERTIFICATE}",
        f"keyfile {CERTIFICATE}",
    ]
    with Mosquitto(tmp_path, *settings) as mosquitto:
        yield mosquitto


def secure(broker, host="localhost"):
    return f"mqtts://{host}:{broker.port}"


async def why_not(url, *accounts):
    async with calls(accounts=accounts) as world:
        world.method("s/m", f"{url}/m?reply=none")
        with pytest.raises(Refusal) as refused:
            await world.ask("s/m", b"x")
        assert refused.value.status is Status.UNAVAILABLE
        return refused.value.detail


async def test_tls_checks_the_name_that_was_meant(encrypted):
    """Egress connects to an address; the certificate is for the host of the URL."""
    account = Broker(secure(encrypted), ca=CERTIFICATE)
    async with calls(accounts=[account]) as world:
        world.method("s/m", f"{secure(encrypted)}/m?reply=none")
        assert (await world.ask("s/m", b"x")).head.status is Status.OK


async def test_tls_with_another_certificate_than_expected(encrypted):
    assert "certificate" in await why_not(secure(encrypted))
    account = Broker(secure(encrypted), ca=OTHER)
    assert "certificate" in await why_not(secure(encrypted), account)
    account = Broker(secure(encrypted, "127.0.0.2"), ca=CERTIFICATE)
    assert "cannot connect" in await why_not(secure(encrypted, "127.0.0.2"), account)


async def test_a_password_that_is_wrong_is_not_told(tmp_path, caplog):
    caplog.set_level("DEBUG")
    password = tmp_path / "password"
    password.write_text("hush-hush\n")
    settings = ["allow_anonymous false", f"password_file {tmp_path}/users"]
    (tmp_path / "users").write_text("")
    with Mosquitto(tmp_path, *settings) as broker:
        account = Broker(broker.url, "ann", password)
        said = await why_not(broker.url, account)
        assert "refuses the connection" in said
        password.unlink()
        assert "password file" in await why_not(broker.url, account)
    assert "hush-hush" not in said + caplog.text


@contextlib.asynccontextmanager
async def hostile(*answers, hold=False):
    """A broker that answers each read with the next of some bytes, then closes (or not)."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            for answer in answers:
                if not await reader.read(65_536):
                    break
                writer.write(answer)
                await writer.drain()
            while hold and await reader.read(65_536):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.sleep(0.05)  # until it has heard that its clients are gone


CONNACK = b"\x20\x03\x00\x00\x00"
SUBACK = b"\x90\x04\x00\x01\x00\x01"


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\x20\x02\x00\x01",),
        (b"\x20\x03\x00\x87\x00",),
        (CONNACK,),
        (CONNACK, b"\x90\xff\xff\xff\xff\xff"),
        (CONNACK, SUBACK + b"\x32\x05\x00\x02\xff\xff\x00"),
        (CONNACK, SUBACK, b"\x40\x00"),
        (CONNACK, SUBACK, b"\x40\x04\x00\x02\x99\x7f"),
    ],
)
async def test_a_broker_that_misbehaves_makes_its_calls_fail(answers, monkeypatch):
    monkeypatch.setattr(outbound, "ANSWER_SECONDS", 0.5)
    async with hostile(*answers) as url, calls() as world:
        world.method("s/m", f"{url}/m?reply=none")
        with pytest.raises(Refusal) as refused:
            await world.ask("s/m", b"x", within=3.0)
        assert refused.value.status is Status.UNAVAILABLE


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
@example(data=b"\x32\x07\x00\x01m\x00\x01\x01\xff")
@example(data=b"\x62\x02\x00\x01\x70\x02\x00\x01\xe0\x01\x8e")
async def test_any_bytes_of_a_broker(data):
    async with hostile(CONNACK, SUBACK, data) as url, calls() as world:
        world.method("s/m", f"{url}/m?reply=none")
        with contextlib.suppress(Refusal):
            await world.ask("s/m", b"x", within=1.0)


async def test_a_broker_that_says_nothing(monkeypatch):
    monkeypatch.setattr(outbound, "ANSWER_SECONDS", 0.3)
    async with hostile(b"", hold=True) as url:
        assert "cannot connect" in await why_not(url)


async def test_a_packet_without_end_ends_the_connection(monkeypatch):
    """We announce a Maximum Packet Size; paho would read on without any limit."""
    monkeypatch.setattr(outbound, "ANSWER_SECONDS", 0.5)
    endless = b"\x30\xff\xff\xff\x7f" + b"x" * 100_000
    async with hostile(CONNACK, SUBACK, endless, hold=True) as url:
        assert "sends a packet of more than" in await why_not(url)


@given(st.text(max_size=20))
def test_any_status_of_a_reply(said):
    status, code = replied(said)
    assert code == 0 or 200 <= code < 600
    assert status in Status


def properties_of(*pairs):
    call = Call(Action.CALL, Name("s/m"), ANONYMOUS, 0.0)
    call.fields = [part for name, value in pairs for part in (name, b": ", value, b"\r\n")]
    return attributes(call)


FIELD_NAMES = st.sampled_from([b"ce-id", b"CE-x", b"Traceparent", b"tracestate", b"X-Any"])


@given(st.lists(st.tuples(FIELD_NAMES | st.binary(max_size=9), st.binary(max_size=9)), max_size=5))
def test_whatever_becomes_a_user_property_is_one(pairs):
    for name, value in properties_of(*pairs):
        assert name in ("traceparent", "tracestate") or f"ce-{name}".encode() in {
            name.lower() for name, _ in pairs
        }
        assert value.isprintable() or not value.isascii()
        assert len(value.encode()) <= 3 * 9


def test_attributes_are_decoded_and_traces_pass():
    trace = (b"traceparent", b"00-4bf9-00f0-01")
    said = properties_of((b"ce-id", b"a%20b"), (b"Ce-Subject", b"caf%C3%A9"), trace, (b"x", b"y"))
    assert said == [("id", "a b"), ("subject", "café"), ("traceparent", "00-4bf9-00f0-01")]


@pytest.mark.parametrize(
    "pair",
    [(b"ce-id", b"a%00b"), (b"ce-id", b"x" * 9000), (b"ce-%", b"x"), (b"tracestate", b"x" * 600)],
)
def test_what_no_user_property_should_hold_is_left_out(pair):
    assert properties_of(pair, (b"traceparent", b"00")) == [("traceparent", "00")]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("text/plain", "text/plain"),
        ("text/plain\r\nSet-Cookie: evil=1", ""),
        ("text/é", ""),
        ("a/" + "b" * 600, ""),
    ],
)
def test_a_content_type_that_would_not_fit_into_a_header_field_is_left_out(said, kept):
    message = MQTTMessage(topic=b"t")
    message.properties = Properties(PacketTypes.PUBLISH)
    message.properties.ContentType = said
    assert outbound._received(message).content_type == kept


async def test_brokers_that_stall_do_not_keep_others_waiting(tmp_path):
    """Only so many threads connect at once; whoever accepts and then says nothing has none."""
    with Mosquitto(tmp_path) as broker:
        async with hostile(hold=True) as stalling, calls() as world:
            urls = [f"{stalling}/m{n}" for n in range(6)]
            for number, url in enumerate(urls):
                world.method(f"s/stall{number}", url, peer=f"127.0.0.{number + 1}")
            world.method("s/well", f"{broker.url}/m?reply=none")
            waiting = [
                asyncio.create_task(world.ask(f"s/stall{n}", within=1.0)) for n in range(len(urls))
            ]
            await asyncio.sleep(0.2)
            assert (await world.ask("s/well", within=1.0)).head.status is Status.OK
            failed = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(error, Refusal) for error in failed)
