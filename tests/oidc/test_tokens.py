"""The provider's access tokens over HTTP, WebSocket and MQTT; its keys change, and it goes down."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from adapters.main.identity import Issuers
from gateway.identity.identity import Authentication, awaited
from gateway.message import Refusal, Status
from gateway.settings import Config, Issuer
from policy.model import Principal
from tests.adapters.live import until
from tests.adapters.sockets import Client
from tests.oidc.provider import Provider
from tests.oidc.sites import running_site
from tests.running import Gateway, Service
from tests.support import require_program


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture(scope="module")
def site(provider, service, tmp_path_factory) -> Iterator[Gateway]:
    with running_site(provider, tmp_path_factory.mktemp("site")) as running:
        welcome(running, service)
        yield running


def welcome(site: Gateway, service: Service) -> None:
    """Let the person and the device call a method, as whom their tokens say they are."""
    methods = {"say": {"endpoints": [{"url": f"{service.url}/say"}]}}
    site.register({"microservice": "Echo", "objects": [{"name": "Echo", "methods": methods}]})
    for name in ("ann", "thermometer"):
        site.allow(name, {"principal": f"corp:{name}"}, "call", "Echo/**")


def say(site: Gateway, token: str) -> int:
    return site.http("POST", "/Echo/say", b'"hello"', token=token).status


class Remote:
    """What a WebSocket client needs to know of a site in another process."""

    object = "Echo"

    def __init__(self, site: Gateway, token: str) -> None:
        self.token = token
        self._port = urlsplit(site.url).port

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self._port)


def test_people_and_programs_call_over_http(site, provider, service):
    for token in (provider.user_tokens("ann")["access_token"], provider.service_token()):
        for _ in range(2):
            answer = site.http("POST", "/Echo/say", b'"hello"', token=token)
            assert (answer.status, answer.json()) == (200, "hello")
    assert say(site, provider.user_tokens("bob")["access_token"]) == 403
    assert say(site, provider.service_token()[:-9] + "AAAAAAAAA") == 401


def test_an_id_token_is_no_access_token(site, provider):
    assert say(site, provider.user_tokens("ann")["id_token"]) == 401


async def test_a_token_calls_over_websocket(site, provider):
    client = await Client.open(Remote(site, await asyncio.to_thread(provider.service_token)))
    reply = await client.ask("call", name="Echo/say", payload="hello")
    assert (reply["status"], reply["payload"]) == ("ok", "hello")
    client.writer.close()
    await client.writer.wait_closed()


def test_a_token_is_a_password_over_mqtt(site, provider):
    program = require_program("mosquitto_rr")
    port = str(urlsplit(site.mqtt).port)
    for token, said in ((provider.service_token(), '"hello"'), ("no.such.token", "")):
        command = [program, "-p", port, "-V", "mqttv5", "-i", "t", "-u", "any", "-P", token]
        command += ["-t", "Echo/say", "-e", "$reply/t", "-m", '"hello"', "-W", "5"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.strip() == said, done.stderr


class Verifying:
    """The site's verification with a real provider's keys, in this process: it asks again soon."""

    def __init__(self, provider: Provider) -> None:
        clock = asyncio.get_running_loop().time
        known = Issuer(provider.issuer, "corp", "hilum", leeway=0, insecure=True)
        self.identity = Authentication(time.time, clock)
        self._issuers = Issuers(self.identity, Config(issuer=(known,)), clock)
        self.keys = self._issuers.keys["corp"]
        self.keys._refetch = 0.2

    async def __aenter__(self) -> "Verifying":
        self._tasks = [asyncio.create_task(work) for work in self._issuers.work()]
        await until(lambda: self.keys.keys)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._issuers.close()

    async def who(self, token: str) -> Principal | Refusal:
        return await awaited(lambda then: self.identity.bearer(token, "127.0.0.1", then))

    async def accepts(self, token: str) -> bool:
        found = await self.who(token)
        if isinstance(found, Principal):
            return True
        assert found.status is Status.UNAUTHENTICATED
        return False


async def test_a_token_ends_with_its_lifetime(provider):
    async with Verifying(provider) as site:
        provider.set(tokenSeconds=2)
        token = provider.service_token()
        provider.set(tokenSeconds=300)
        found = await site.who(token)
        assert isinstance(found, Principal)
        await asyncio.sleep(found.expires - time.time())
        assert not await site.accepts(token)


async def test_new_keys_are_learnt_and_old_ones_forgotten():
    with Provider() as provider:
        async with Verifying(provider) as site:
            assert await site.accepts(provider.service_token())
            early, late = provider.service_token(), provider.service_token()
            await asyncio.sleep(0.2)
            provider.set(keys=2, keep=1)
            assert await site.accepts(provider.service_token()), "asks once, and it is there"
            assert await site.accepts(early)
            await asyncio.sleep(0.2)
            provider.set(keys=3, keep=0)
            assert await site.accepts(provider.service_token())
            assert not await site.accepts(late), "its key is published no more"


async def test_known_keys_go_on_while_the_provider_is_down():
    with Provider() as provider:
        async with Verifying(provider) as site:
            old = [provider.service_token() for _ in range(2)]
            provider.set(keys=2)
            new = provider.service_token()
            provider.stop()
            assert await site.accepts(old[0])
            assert not await site.accepts(new), "nobody says that its key is the provider's"
            assert await site.accepts(old[1])


@pytest.mark.full
def test_a_running_site_learns_new_keys_within_its_bound(tmp_path, service):
    with Provider() as provider, running_site(provider, tmp_path) as site:
        welcome(site, service)
        assert say(site, provider.service_token()) == 200
        provider.set(keys=2)
        new, end = provider.service_token(), time.monotonic() + 15
        while (code := say(site, new)) != 200 and time.monotonic() < end:
            assert code in (401, 429)
            time.sleep(1.5)
        assert code == 200
        provider.stop()
        assert say(site, new) == 200
        assert say(site, site.token_for("corp:ann")) == 200
