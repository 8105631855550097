"""Keys of issuers over real sockets: rotation, issuers that are down, slow, or answer garbage."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.fetch import BYTES, Fetcher
from adapters.oidc.keys import DISCOVERY, KeyRefresher, discover
from gateway.identity.issuers import IssuerKeys
from gateway.web import FetchError
from policy.identity import jwt
from policy.identity.claims import Expected
from tests.adapters.live import until
from tests.issuers import AUDIENCE, jwks, key, running_provider, token


@pytest.fixture
def provider():
    with running_provider() as running:
        yield running


@pytest.fixture
def fetcher():
    fetcher = Fetcher(seconds=1.0)
    yield fetcher
    fetcher.close()


@contextlib.asynccontextmanager
async def refreshing(provider, fetcher, *, jwks_uri="", retry=0.05, refresh=60.0, refetch=0.0):
    expected = Expected(provider.url, "idp", frozenset({AUDIENCE}), jwt.ALGORITHMS)
    issuer = IssuerKeys(expected, asyncio.get_running_loop().time, refetch=refetch)
    warned = []
    refresher = KeyRefresher(
        issuer, fetcher, jwks_uri, refresh, retry, warn=lambda *what: warned.append(what)
    )
    task = asyncio.create_task(refresher.run())
    issuer.warned = warned
    yield issuer
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("direct", [False, True])
async def test_keys_are_fetched_by_discovery_or_directly(provider, fetcher, direct):
    where = f"{provider.url}/jwks" if direct else ""
    async with refreshing(provider, fetcher, jwks_uri=where) as issuer:
        await until(lambda: issuer.keys)
        assert [one.kid for one in issuer.keys] == ["RSA-1"]
        assert issuer.problem == ""
    assert provider.asked == ([] if direct else [DISCOVERY]) + ["/jwks"]


async def test_rotation_is_noticed_by_a_token_and_asked_for_once(provider, fetcher):
    async with refreshing(provider, fetcher, jwks_uri=f"{provider.url}/jwks") as issuer:
        await until(lambda: issuer.keys)
        provider.publish(key("RSA", 2))
        new = jwt.read(token(signer=key("RSA", 2)))
        assert not issuer.knows(new)
        told = []
        for _ in range(50):
            assert issuer.wait(lambda: told.append(issuer.knows(new)))
        await until(lambda: len(told) == 50)
        assert all(told)
        assert not issuer.knows(jwt.read(token()))
    assert provider.asked == ["/jwks"] * 2


async def test_unknown_keys_do_not_make_a_flood(provider, fetcher):
    where = f"{provider.url}/jwks"
    async with refreshing(provider, fetcher, jwks_uri=where, refetch=60.0) as issuer:
        await until(lambda: issuer.keys)
        assert not any(issuer.wait(lambda: None) for _ in range(100))
        await asyncio.sleep(0.1)
    assert provider.asked == ["/jwks"]


async def test_keys_go_on_while_the_issuer_is_down_and_it_is_asked_again(provider, fetcher):
    where = f"{provider.url}/jwks"
    async with refreshing(provider, fetcher, jwks_uri=where, refresh=0.02) as issuer:
        await until(lambda: issuer.keys)
        provider.status = 503
        await until(lambda: issuer.problem)
        assert issuer.knows(jwt.read(token()))
        await until(lambda: len(provider.asked) > 5)
        assert len(issuer.warned) == 1  # the same trouble is told once
        provider.status = 200
        provider.publish(key("EC"))
        await until(lambda: [one.kid for one in issuer.keys] == ["EC-1"])
        assert issuer.problem == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [{"kty": "oct", "k": "AAAA"}]}',
        b"[" * 100_000,
        b" " * (BYTES + 1),
        b"\xff\xfe",
    ],
)
async def test_garbage_is_no_key_set(provider, fetcher, body):
    provider.documents["/jwks"] = body
    async with refreshing(provider, fetcher) as issuer:
        await until(lambda: issuer.warned)
        assert issuer.keys == ()
        provider.publish(key())
        await until(lambda: issuer.keys)


async def test_a_provider_that_hangs_holds_up_nobody(provider, fetcher):
    provider.delay = 3.0
    async with refreshing(provider, fetcher, jwks_uri=f"{provider.url}/jwks") as issuer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        beats = 0
        while not issuer.warned:
            await asyncio.sleep(0.01)
            beats += 1
        assert loop.time() - began < 2.5
        assert beats > 30
    assert "does not answer within 1 s" in str(issuer.warned[0])


async def test_a_provider_that_drips_is_left(fetcher):
    """One byte at a time keeps each read of the socket happy, but not the whole question."""

    async def drip(reader, writer):
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    left = asyncio.Event()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(FetchError, match="within 1 s"):
        await fetcher.get(f"http://127.0.0.1:{port}/jwks")
    await asyncio.wait_for(left.wait(), 5)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("status", [204, 301, 302, 400, 404, 500])
async def test_other_answers_are_none(provider, fetcher, status):
    provider.status = status
    with pytest.raises(FetchError, match=str(status)):
        await fetcher.get(f"{provider.url}/jwks")


async def test_nobody_is_there(fetcher):
    for url in ("http://127.0.0.1:1/jwks", "http://no-such-host.invalid/", "https://127.0.0.1:1/"):
        with pytest.raises(FetchError, match=r"cannot be asked|does not answer"):
            await fetcher.get(url)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"issuer": "http://other.test"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"jwks_uri": "gopher://x"},
        {"token_endpoint": "javascript:alert(1)"},
    ],
)
async def test_metadata_that_is_refused(provider, fetcher, said):
    document = {"issuer": provider.url, "jwks_uri": f"{provider.url}/jwks", **said}
    if not said:
        document.pop("jwks_uri")
    provider.documents[DISCOVERY] = json.dumps(document).encode()
    with pytest.raises(FetchError):
        await discover(fetcher, provider.url)


async def test_metadata_with_a_member_twice(provider, fetcher):
    text = f'{{"issuer":"{provider.url}","jwks_uri":"{provider.url}/a","jwks_uri":"http://b/"}}'
    provider.documents[DISCOVERY] = text.encode()
    with pytest.raises(FetchError, match="not the metadata"):
        await discover(fetcher, provider.url)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_metadata_is_read_or_refused(provider, body):
    async def ask():
        fetcher = Fetcher(seconds=1.0)
        try:
            with pytest.raises(FetchError):
                await discover(fetcher, provider.url)
        finally:
            fetcher.close()

    provider.documents[DISCOVERY] = body
    asyncio.run(ask())


async def test_a_key_set_of_many_is_cut(provider, fetcher):
    keys = json.loads(jwks(key("EC")))["keys"] * 100
    data = json.dumps({"keys": keys}).encode()
    assert len(jwt.read_keys(data)) == jwt.KEYS
