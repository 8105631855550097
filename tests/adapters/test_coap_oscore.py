"""OSCORE with aiocoap as the client, over the same socket as everything else."""

import asyncio
import json
import logging
import secrets
import shutil
from pathlib import Path

import aiocoap
import pytest
from aiocoap.message import Direction
from aiocoap.message import Message as Plain
from aiocoap.numbers.codes import Code
from aiocoap.oscore import FilesystemSecurityContext

from adapters.coap.wire.codec import FETCH, POST, code_text
from adapters.coap.wire.formats import read_problem
from adapters.coap.wire.options import OSCORE
from policy.model import Action
from tests.adapters.coap_site import PLAN, CoapSettings, Device, running_coap

WHO = "device:thermometer"


def make_context(server: Path, client: Path, name: str = "thermometer", who: str = WHO) -> None:
    """Make the two sides of a security context."""
    secret = {"secret_hex": secrets.token_hex(16), "salt_hex": "9e7c"}
    for folder, mine, other in ((server / name, "01", "02"), (client / name, "02", "01")):
        folder.mkdir(parents=True)
        ids = {"sender-id_hex": mine, "recipient-id_hex": other, "algorithm": "AES-CCM-16-64-128"}
        if name != "thermometer":
            ids["id-context_hex"] = name.encode().hex()
        (folder / "settings.json").write_text(json.dumps(ids))
        (folder / "secret.json").write_text(json.dumps(secret))
    (server / name / "principal.json").write_text(json.dumps({"principal": who, "kind": "device"}))


@pytest.fixture
def folders(tmp_path):
    server, client = tmp_path / "server", tmp_path / "client"
    make_context(server, client)
    return server, client


@pytest.fixture
async def site(tmp_path, folders):
    settings = CoapSettings(oscore=folders[0])
    async with running_coap(tmp_path / "site", settings, everything=False) as running:
        await running.allow("thermometer", *Action, who=WHO)
        yield running


@pytest.fixture
async def client(site, folders):
    async with Connected(site, folders[1] / "thermometer") as made:
        yield made


class Connected:
    """An aiocoap context that speaks OSCORE with the site."""

    def __init__(self, site, folder, scheme="coap", transport="simple6"):
        self.site = site
        self._folder = folder
        self._base = f"{scheme}://127.0.0.1:{site.port}"
        self._transports = ["oscore", transport]

    async def __aenter__(self):
        logging.getLogger("coap").setLevel(logging.CRITICAL)
        self._context = await aiocoap.Context.create_client_context(transports=self._transports)
        self._secret = FilesystemSecurityContext(str(self._folder))
        self._context.client_credentials[f"{self._base}/*"] = self._secret
        return self

    async def __aexit__(self, *_):
        self._context.client_credentials.clear()
        await self._context.shutdown()
        self._secret._destroy()

    def request(self, code, path, payload=b"", **options):
        uri = f"{self._base}/{path}"
        message = aiocoap.Message(code=code, uri=uri, payload=payload)
        for name, value in options.items():
            setattr(message.opt, name, value)
        return self._context.request(message)

    async def ask(self, *what, **options):
        return await asyncio.wait_for(self.request(*what, **options).response, 5)


async def test_a_protected_call_is_made_as_the_contexts_principal(site, client):
    answer = await client.ask(Code.POST, f"{PLAN}/make", b"hello", content_format=0)
    assert (answer.code, answer.payload, answer.opt.content_format) == (Code.CHANGED, b"hello", 0)
    assert site.responder.calls == [("make", b"hello", b"")]
    assert site.responder.peers == {"127.0.0.1"}, "no address would be the operator's own"
    answer = await client.ask(Code.GET, f"{PLAN}/show?x=1")
    assert (answer.code, answer.payload) == (Code.CONTENT, b'{"asked": "x=1"}')


async def test_events_are_published_as_the_contexts_principal(site, client):
    assert (await client.ask(Code.PUT, f"{PLAN}/news", b"hello")).code == Code.CHANGED
    event = await site.channels.last(site.news())
    assert (event.source, event.payload) == (WHO, b"hello")
    assert (await client.ask(Code.GET, f"{PLAN}/news")).payload == b"hello"


async def test_errors_come_protected_and_tell_what_the_principal_may_know(site, client):
    answer = await client.ask(Code.GET, f"{PLAN}/nothing")
    assert answer.code == Code.NOT_FOUND
    assert "nothing is not registered" in read_problem(answer.payload)
    await site.deny("nobody", Action.CALL)
    assert (await client.ask(Code.POST, f"{PLAN}/make")).code == Code.FORBIDDEN


async def test_strangers_stay_outside(site, client):
    await client.ask(Code.POST, f"{PLAN}/make")
    with Device(site.port) as device:
        assert code_text((await device.ask(POST, f"{PLAN}/make")).code) == "4.01"


async def test_large_payloads_go_in_blocks(client):
    data = bytes(n % 251 for n in range(5000))
    assert (await client.ask(Code.POST, f"{PLAN}/make", data)).payload == data
    assert (await client.ask(Code.GET, f"{PLAN}/large?3000")).payload == bytes(
        n % 251 for n in range(3000)
    )


async def test_a_slow_answer_comes_protected_too(site, client):
    asking = asyncio.create_task(client.ask(Code.POST, f"{PLAN}/late", b"slow"))
    await asyncio.sleep(0.2)
    site.responder.gate.set()
    assert (await asking).payload == b"slow"


async def test_observing_is_protected(site, client):
    request = client.request(Code.GET, f"{PLAN}/news", observe=0)
    await asyncio.wait_for(request.response, 5)
    notifications = aiter(request.observation)
    for payload in (b"one", b"two", b"three"):
        following = asyncio.ensure_future(anext(notifications))
        await asyncio.sleep(0.02)
        site.publish(payload)
        assert (await asyncio.wait_for(following, 5)).payload == payload
    request.observation.cancel()


async def test_a_protected_call_may_come_over_tcp(tmp_path, folders):
    settings = CoapSettings(oscore=folders[0], tcp=True)
    async with running_coap(tmp_path / "site", settings, everything=False) as site:
        await site.allow("thermometer", *Action, who=WHO)
        async with Connected(site, folders[1] / "thermometer", "coap+tcp", "tcpclient") as client:
            data = bytes(n % 251 for n in range(3000))
            assert (await client.ask(Code.POST, f"{PLAN}/make", data)).payload == data
            request = client.request(Code.GET, f"{PLAN}/news", observe=0)
            await asyncio.wait_for(request.response, 5)
            following = asyncio.ensure_future(anext(aiter(request.observation)))
            await asyncio.sleep(0.02)
            site.publish(b"news")
            assert (await asyncio.wait_for(following, 5)).payload == b"news"
            request.observation.cancel()


async def test_a_replayed_message_is_refused(site, folders):
    context = FilesystemSecurityContext(str(folders[1] / "thermometer"))
    inner = Plain(code=Code.POST, payload=b"once")
    inner.opt.uri_path = (PLAN, "make")
    inner.direction = Direction.OUTGOING
    outer, _ = context.protect(inner)
    with Device(site.port) as device:
        option = (OSCORE, outer.opt.oscore)
        assert code_text((await device.ask(POST, "", outer.payload, option)).code) == "2.04"
        assert code_text((await device.ask(POST, "", outer.payload, option)).code) == "4.01"
        assert len(site.responder.calls) == 1
        changed = outer.payload[:-1] + bytes((outer.payload[-1] ^ 1,))
        assert code_text((await device.ask(POST, "", changed, option)).code) in ("4.00", "4.01")


@pytest.mark.parametrize(
    "value", [b"", b"\x09", b"\x09\x01\x07", b"\xff" * 9, b"\x1f", b"\x19\x01\x30"]
)
@pytest.mark.parametrize("method", [POST, FETCH, 1])
async def test_what_no_context_opens_is_refused(site, value, method):
    with Device(site.port) as device:
        answer = await device.ask(method, "", b"ciphertext-of-something", (OSCORE, value))
        assert code_text(answer.code) in ("4.00", "4.01", "4.02", "4.05")


async def test_after_a_crash_freshness_is_shown_with_an_echo(tmp_path, folders):
    settings = CoapSettings(oscore=folders[0])
    state = folders[0] / "thermometer" / "sequence.json"
    for number in range(2):
        async with running_coap(tmp_path / "site", settings, everything=False) as site:
            await site.allow(f"thermometer{number}", *Action, who=WHO)
            async with Connected(site, folders[1] / "thermometer") as client:
                answer = await client.ask(Code.POST, f"{PLAN}/make", b"hello")
                if answer.code == Code.UNAUTHORIZED:
                    answer = await client.ask(
                        Code.POST, f"{PLAN}/make", b"hello", echo=answer.opt.echo
                    )
                assert answer.payload == b"hello"
            kept = await asyncio.to_thread(state.read_text)
        await asyncio.to_thread(state.write_text, kept)  # as a crash would leave it


async def test_a_context_whose_folder_is_gone_ends_at_once(site, client, folders, caplog):
    request = client.request(Code.GET, f"{PLAN}/news", observe=0)
    await asyncio.wait_for(request.response, 5)
    assert len(site.listener.service.events.observing) == 1
    await asyncio.to_thread(shutil.rmtree, folders[0] / "thermometer")
    site.listener.service.security.refresh()
    assert not site.listener.service.events.observing
    assert "not written" not in caplog.text  # as it is whenever a claim is spent
    with pytest.raises((aiocoap.error.Error, ValueError)):
        await client.ask(Code.POST, f"{PLAN}/make", b"hello")
    request.observation.cancel()


async def test_who_holds_a_context_is_known_as_long_as_it_is_there(site, folders):
    server, client = folders
    assert site.listener.known(WHO).kind == "device"
    assert site.listener.known("device:barometer") is None
    make_context(server, client, "spare")
    site.listener.service.security.refresh()
    await asyncio.to_thread(shutil.rmtree, server / "thermometer")
    site.listener.service.security.refresh()
    assert site.listener.known(WHO).credential == "oscore:spare"
    await asyncio.to_thread(shutil.rmtree, server / "spare")
    site.listener.service.security.refresh()
    assert site.listener.known(WHO) is None


async def test_new_contexts_are_found_and_faulty_ones_reported(site, folders, caplog):
    server, client = folders
    make_context(server, client, "barometer", "device:barometer")
    make_context(server, client, "broken")
    (server / "broken" / "secret.json").write_text("{}")
    make_context(server, client, "nobody", "no principal")
    site.listener.service.security.refresh()
    await site.allow("barometer", *Action, who="device:barometer")
    async with Connected(site, client / "barometer") as other:
        await other.ask(Code.PUT, f"{PLAN}/news", b"x")
    assert (await site.channels.last(site.news())).source == "device:barometer"
    assert "broken cannot be used" in caplog.text
    assert "nobody cannot be used" in caplog.text
