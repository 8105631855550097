"""Tokens of an issuer on a whole site: over HTTP, event streams, WebSocket and MQTT alike."""

import asyncio
import json
import time

import pytest

from adapters.mqtt.wire.packets import DISCONNECT
from gateway.settings import Issuer
from tests.adapters import mqtt_bytes as wire
from tests.adapters.live import live_site, until
from tests.adapters.mqtt_sockets import Client as Mqtt
from tests.adapters.sockets import Client as Socket
from tests.issuers import AUDIENCE, claims, key, running_provider, token

ISSUED = {
    "roles_claim": "roles",
    "attributes": {"rank": "rank"},
    "kinds": ("operator",),
    "kind_claim": "kind",
    "insecure": True,
}


@pytest.fixture(scope="module")
def provider():
    with running_provider() as running:
        yield running


@pytest.fixture
async def site(tmp_path, provider):
    provider.delay, provider.status = 0.0, 200
    provider.publish(key())
    issuer = Issuer(provider.url, "idp", AUDIENCE, **ISSUED)
    async with live_site(tmp_path, issuer=(issuer,)) as running:
        running.keys = running.application.issuers.keys["idp"]
        running.identity = running.application.site.identity
        await until(lambda: running.keys.keys)
        await running.allow("ann", "call publish subscribe describe", "idp:ann")
        yield running


def short(provider, **more):
    """Return a token that expires in about a second: the leeway is 30 of them."""
    return provider.token(exp=time.time() - 28.5, iat=time.time() - 60, **more)


async def revoke(site):
    await site.call("identity/revoke", {"principal": "idp:ann"})


async def test_a_token_counts_over_http_and_is_checked_once(site, provider, monkeypatch):
    text = provider.token(rank=3, roles=["nurse"])
    answer = await site.ask("POST", "/Band/steps", b"1", token=text)
    assert answer.status == 200
    known = site.identity.known("idp:ann")
    assert (known.roles, known.attributes["rank"]) == (("nurse",), 3.0)
    monkeypatch.setattr("gateway.identity.identity.verify", lambda *_: 1 / 0)
    assert (await site.ask("POST", "/Band/steps", b"1", token=text)).status == 200


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"exp": 1000}, "expired"),
        ({"nbf": time.time() + 900}, "not valid yet"),
        ({"aud": "somebody"}, "somebody else"),
        ({"iss": "http://other.test"}, "believed"),
        ({"kind": "administrator"}, "no kind"),
    ],
)
async def test_a_token_that_is_not_valid_is_401(site, provider, said, why):
    answer = await site.ask("POST", "/Band/steps", b"1", token=provider.token(**said))
    assert answer.status == 401
    assert "WWW-Authenticate: Bearer" in answer.head
    assert why in answer.json()["detail"]


async def test_huge_tokens_are_refused_unread(site):
    for size in (8193, 20_000):
        answer = await site.ask("GET", "/Band/steps", token="a.b." + "c" * size)
        assert answer.status == 401


async def test_a_rotated_key_holds_the_request_until_it_is_known(site, provider):
    site.keys._refetch = 0.0
    provider.publish(key("EC"))
    provider.delay = 0.3
    text = token(claims(iss=provider.url), alg="ES256", signer=key("EC"))
    began = time.perf_counter()
    answers = await asyncio.gather(
        *(site.ask("POST", "/Band/steps", b"%d" % n, token=text) for n in range(5)),
        site.ask("POST", "/Band/steps", b"x" * 300_000, token=text),
    )
    assert [one.status for one in answers] == [200] * 6
    assert time.perf_counter() - began > 0.25
    old = await site.ask("POST", "/Band/steps", b"1", token=provider.token(sub="bob"))
    assert old.status == 401


async def test_a_client_that_leaves_while_it_is_held(site, provider):
    site.keys._refetch = 0.0
    provider.delay = 0.5
    _reader, writer = await site.connect()
    head = site.head("GET", "/Band/steps", token=provider.token(sub="eve") + "x")
    unknown = token(claims(iss=provider.url), kid="new")
    writer.write(site.head("GET", "/Band/steps", token=unknown).encode() + b"\r\n")
    await until(lambda: site.keys._waiting)
    writer.close()
    await until(lambda: not site.keys._waiting)
    assert head


async def test_an_issuer_that_was_never_there_is_503(tmp_path):
    issuer = Issuer("http://127.0.0.1:1", "idp", AUDIENCE, insecure=True)
    async with live_site(tmp_path, issuer=(issuer,)) as site:
        text = token(claims(iss="http://127.0.0.1:1"))
        await until(lambda: "cannot be asked" in site.application.issuers.keys["idp"].problem)
        answer = await site.ask("GET", "/Band/steps", token=text)
        assert answer.status == 503
        assert "Retry-After: 5" in answer.head
        assert (await site.ask("GET", "/$site/registry/list")).status == 200


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_everything_that_is_open_ends_with_the_token(site, provider, how):
    """An HTTP call under way, an event stream, a WebSocket and an MQTT session."""
    text = provider.token() if how == "revoked" else short(provider)
    service = await Socket.open(site)
    assert (await service.ask("provide", name=f"{site.object}/add"))["status"] == "ok"
    call = asyncio.create_task(site.ask("POST", "/Band/add", b"{}", token=text))
    await service.op("call")
    stream, writer = await site.connect()
    writer.write(
        site.head("GET", "/Band/steps", "Accept: text/event-stream", token=text).encode() + b"\r\n"
    )
    assert b"200 OK" in await stream.readuntil(b"\r\n\r\n")
    socket = await Socket.open(site, text)
    assert (await socket.ask("subscribe", name=f"{site.object}/steps"))["status"] == "ok"
    mqtt = Mqtt(*await asyncio.open_connection("127.0.0.1", site.application.devices.mqtt_port))
    mqtt.write(wire.connect(flags=0xC2, payload=wire.string("") + wire.string(text)))
    assert (await mqtt.read()).reason == 0
    if how == "revoked":
        await revoke(site)
    assert (await call).status == 401
    rest = await asyncio.wait_for(stream.readuntil(b"0\r\n\r\n"), 5)
    assert b"no longer valid" in rest
    await asyncio.wait_for(socket.closed(), 5)
    got = await mqtt.read()
    assert (got.kind, got.reason) == (DISCONNECT, 0x87 if how == "revoked" else 0xA0)
    await mqtt.close()
    assert (await site.ask("GET", "/Band/steps", token=text)).status == 401


async def test_a_socket_authenticates_again(site, provider):
    socket = await Socket.open(site, short(provider))
    assert (await socket.ask("subscribe", name=f"{site.object}/steps"))["status"] == "ok"
    assert (await socket.ask("auth", token=provider.token(sub="bob")))["status"] == "conflict"
    assert (await socket.ask("auth", token=provider.token()))["status"] == "ok"
    await asyncio.sleep(2.5)  # the first token has expired
    await site.publish("steps", "still here")
    event = await socket.op("event")
    assert (event["op"], event["payload"]) == ("event", "still here")


async def test_the_control_api_takes_the_same_tokens(site, provider):
    await site.allow("see", "call", "idp:ann", names="$site/**")
    port = site.application.control_port
    for text, status in ((provider.token(), b"200"), (provider.token(exp=1), b"401")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = site.head("GET", "/api/v1/policies", "Connection: close", token=text)
        writer.write(head.encode() + b"\r\n")
        assert (await reader.read())[9:12] == status
        writer.close()


async def test_guessing_is_answered_with_429_and_the_right_token_with_200(site):
    statuses = [(await site.ask("GET", "/Band/steps", token=f"t{n}")).status for n in range(22)]
    assert statuses[:20] == [401] * 20
    assert statuses[-1] == 429
    answer = await site.ask("GET", "/Band/steps", token="t")
    assert "Retry-After: " in answer.head
    assert (await site.ask("GET", "/$site/registry/list")).status == 200
    assert json.dumps(answer.json())


async def test_what_follows_auth_on_a_socket_waits_for_it(site, provider):
    site.keys._refetch = 0.0
    provider.publish(key("EC"))
    provider.delay = 0.2
    text = token(claims(iss=provider.url), alg="ES256", signer=key("EC"))
    socket = await Socket.open(site, "")
    socket.say(op="auth", token=text, id="a")
    for number in range(50):
        socket.say(op="publish", name=f"{site.object}/steps", payload=number, id=number)
    assert (await socket.op("reply"))["principal"] == "idp:ann"
    assert [(await socket.op("reply"))["status"] for _ in range(50)] == ["ok"] * 50
