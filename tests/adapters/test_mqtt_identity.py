"""How MQTT clients authenticate: users with secrets or passwords, tokens of issuers, AUTH."""

import asyncio
import secrets

import pytest

from adapters.mqtt.wire.packets import AUTH, CONNACK, DISCONNECT, PUBLISH, SUBACK
from gateway.identity.issuers import IssuerKeys
from gateway.settings import Mqtt
from policy.identity import jwt
from policy.identity.claims import Expected
from policy.identity.credentials import new_secret
from policy.identity.passwords import hash_password
from registry.changes import CredentialIssued, CredentialRevoked
from registry.model import CredentialRecord
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_site import mqtt_site
from tests.adapters.mqtt_sockets import Client
from tests.issuers import AUDIENCE, URL, claims, jwks, key, token

BEARER = b"\x15" + wire.string("bearer")


@pytest.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path, Mqtt(port=0)) as running:
        await running.allow("d", "iot:d", "subscribe publish")
        await running.allow("idp", "idp:ann", "subscribe publish")
        running.raw = []
        yield running
        for client in running.raw:
            await client.close()


async def add(site, method, lookup, verifier, **more):
    said = {"principal": f"iot:{lookup}", "kind": "device", "issued": int(site.time()), **more}
    record = CredentialRecord(f"{method}-{lookup}", method, lookup, verifier, **said)
    await site.change(CredentialIssued(record))
    return record.id


def trust(site):
    expected = Expected(URL, "idp", frozenset({AUDIENCE}), frozenset(jwt.DEFAULT_ALGORITHMS))
    issuer = IssuerKeys(expected, asyncio.get_running_loop().time)
    issuer.asking()
    issuer.fetched(jwt.read_keys(jwks(key())))
    site.site.identity.trust([issuer])
    return issuer


async def raw(site, version=5):
    client = Client(*await asyncio.open_connection("127.0.0.1", site.port), version)
    site.raw.append(client)
    return client


async def entered(site, client_id, user, secret, version=5, *more):
    """Return a raw client that sent CONNECT with a user and a password, and what came back."""
    client = await raw(site, version)
    payload = wire.string(user) + wire.string(secret)
    client.write(wire.connect(client_id, version, flags=0xC2, payload=payload), *more)
    return client, await client.read()


async def bearer(site, text, client_id="c"):
    """Return a raw client that authenticates by AUTH's method, and its CONNACK."""
    client = await raw(site)
    client.write(wire.connect(client_id, props=BEARER + b"\x16" + wire.string(text)))
    return client, await client.read()


def again(text, method=BEARER):
    return wire.packet(0xF0, b"\x19", wire.properties(method + b"\x16" + wire.string(text)))


async def test_a_user_with_a_device_secret(site):
    secret, verifier = new_secret(secrets.token_bytes)
    id_ = await add(site, "secret", "d", verifier)
    for version, bad in ((5, 0x86), (4, 4)):
        client, connack = await entered(site, "c", "d", secret, version)
        assert connack.reason == 0
        client.write(wire.subscribe(("Band/steps", 1), version=version))
        assert (await client.read()).reasons == (1,)
        _, connack = await entered(site, "x", "d", secret + "x", version)
        assert connack.reason == bad
    await site.change(CredentialRevoked(id_))
    assert await client.read() is None  # 3.1.1 has no DISCONNECT from a server
    _, connack = await entered(site, "c", "d", secret)
    assert connack.reason == 0x86


async def test_a_chosen_password_and_what_follows_connect(site):
    """The password takes a while: what the client sends at once behind CONNECT is not lost."""
    await add(site, "password", "d", hash_password("correct horse", bytes(16)))
    listener = await site.client("listener")
    await listener.subscribe("Band/steps")
    for version, bad in ((5, 0x86), (4, 4)):
        more = [wire.publish("Band/steps", b"%d" % n, version) for n in range(20)]
        _, connack = await entered(site, "c", "d", "correct horse", version, *more)
        assert connack.reason == 0
        assert [(await listener.hear()).payload for _ in range(20)] == [
            b"%d" % n for n in range(20)
        ]
        _, connack = await entered(site, "x", "d", "wrong horse", version, *more)
        assert connack.reason == bad
    assert await listener.silent()


async def test_who_guesses_is_told_to_wait(site):
    await add(site, "password", "d", hash_password("correct horse", bytes(16)))
    reasons = []
    for guess in range(8):
        _, connack = await entered(site, "x", "d", f"guess {guess}")
        reasons.append(connack.reason)
    assert reasons == [0x86] * 6 + [0x9F] * 2
    _, connack = await entered(site, "x", "d", "correct horse", 4)
    assert connack.reason == 3


async def test_a_token_of_an_issuer_as_the_password(site):
    trust(site)
    client, connack = await entered(site, "c", "", token(claims(site.time())))
    assert connack.reason == 0
    client.write(wire.subscribe(("Band/steps", 1)))
    assert (await client.read()).reasons == (1,)
    site.ahead = 400
    await site.site.sweep_tokens()
    got = await client.read()
    assert (got.kind, got.reason) == (DISCONNECT, 0xA0)
    _, connack = await entered(site, "c", "", token(claims(site.time()), kid="x"))
    assert connack.reason == 0x86


async def test_a_token_whose_key_is_still_to_come(site):
    expected = Expected(URL, "idp", frozenset({AUDIENCE}), frozenset(jwt.DEFAULT_ALGORITHMS))
    issuer = IssuerKeys(expected, asyncio.get_running_loop().time)
    site.site.identity.trust([issuer])
    asked = asyncio.create_task(entered(site, "c", "", token(claims(site.time()))))
    await asyncio.sleep(0.1)
    assert not asked.done()
    issuer.fetched(jwt.read_keys(jwks(key())))
    _, connack = await asked
    assert connack.reason == 0


async def test_enhanced_authentication(site):
    """AUTH moves the end of a session on; what it has open stays open (section 4.12.1)."""
    trust(site)
    client, connack = await bearer(site, token(claims(site.time())))
    assert (connack.kind, connack.reason, connack.properties[0x15]) == (CONNACK, 0, "bearer")
    client.write(wire.subscribe(("Band/steps", 0)))
    assert (await client.read()).kind == SUBACK
    site.ahead = 200
    client.write(again(token(claims(site.time()))))
    got = await client.read()
    assert (got.kind, got.reason, got.properties[0x15]) == (AUTH, 0, "bearer")
    site.ahead = 400  # the first token has expired
    await site.site.sweep_tokens()
    phone = await site.client("phone", token=await site.issue("site:phone"))
    await site.allow("phone", "site:phone", "publish")
    await phone.publish("Band/steps", b"still here")
    got = await client.read()
    assert (got.kind, got.payload) == (PUBLISH, b"still here")
    site.ahead = 600
    await site.site.sweep_tokens()
    got = await client.read()
    assert (got.kind, got.reason) == (DISCONNECT, 0xA0)


async def test_who_authenticates_again_has_to_be_the_same(site):
    trust(site)
    for text in (token(claims(site.time(), sub="bob")), "nonsense", ""):
        client, _ = await bearer(site, token(claims(site.time())))
        client.write(again(text))
        got = await client.read()
        assert (got.kind, got.reason) == (DISCONNECT, 0x87)


async def test_what_is_not_allowed_any_more_ends_with_the_new_credential(site):
    trust(site)
    issuer = site.site.identity._issuers[URL].expected
    assert issuer.roles_claim == ""
    client, _ = await bearer(site, token(claims(site.time())))
    client.write(wire.subscribe(("Band/steps", 0)))
    assert (await client.read()).reasons == (0,)
    await site.revoke_principal("idp:ann")
    got = await client.read()
    assert (got.kind, got.reason) == (DISCONNECT, 0x87)


@pytest.mark.parametrize(
    ("props", "reason"),
    [
        (b"\x15" + wire.string("SCRAM-SHA-1"), 0x8C),
        (BEARER, 0x86),
        (BEARER + b"\x16" + wire.string(b"\xff\xfe"), 0x86),
        (BEARER + b"\x16" + wire.string("x" * 60_000), 0x86),
        (b"\x16" + wire.string("t"), 0x82),
    ],
)
async def test_methods_and_data_that_are_refused(site, props, reason):
    client = await raw(site)
    client.write(wire.connect(props=props))
    assert (await client.read()).reason == reason
    assert await client.read() is None


async def test_secrets_are_in_no_log(site, caplog):
    caplog.set_level("DEBUG")
    trust(site)
    await add(site, "password", "d", hash_password("correct horse", bytes(16)))
    text = token(claims(site.time(), aud="other"))
    for secret in (text, "wrong horse", "hlm_1234567890abcdef_" + "x" * 43):
        _, connack = await entered(site, "c", "d", secret)
        assert connack.reason == 0x86
        assert secret not in caplog.text
