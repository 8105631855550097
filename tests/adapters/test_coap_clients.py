"""The clients that people use: libcoap's ``coap-client`` and aiocoap."""

import asyncio
import logging

import aiocoap
import pytest
from aiocoap.numbers.codes import Code

from tests.adapters.coap_site import PLAN, running_coap
from tests.support import require_program

CLIENT = "coap-client-notls"


@pytest.fixture
async def site(tmp_path):
    async with running_coap(tmp_path) as running:
        yield running


@pytest.fixture
async def context():
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    made = await aiocoap.Context.create_client_context(transports=["simple6"])
    yield made
    await made.shutdown()


@pytest.fixture
def client(site):
    program = require_program(CLIENT)

    async def run(*arguments, path, stdin=None):
        process = await asyncio.create_subprocess_exec(
            program,
            *("-B", "5", *arguments, f"coap://127.0.0.1:{site.port}/{path}"),
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(10):
            out, _ = await process.communicate(stdin)
        return out

    return run


async def test_coap_client_calls_a_method(client):
    said = await client("-m", "post", "-t", "50", "-e", '{"a":1}', path=f"{PLAN}/make")
    assert said.strip() == b'{"a":1}'


async def test_coap_client_gets_a_safe_method_with_a_query(client):
    assert (await client(path=f"{PLAN}/show?x=1")).strip() == b'{"asked": "x=1"}'


@pytest.mark.parametrize("method", ["fetch"])
async def test_coap_client_fetches(client, method):
    assert (await client("-m", method, "-e", "q", path=f"{PLAN}/show")).strip() == b"q"


@pytest.mark.parametrize("method", ["delete", "patch", "ipatch", "put"])
async def test_coap_client_is_told_what_a_method_is_not_for(client, method):
    assert (await client("-m", method, "-e", "q", path=f"{PLAN}/make")).startswith(b"4.05")


async def test_coap_client_publishes_and_reads_the_last_value(client):
    assert await client("-m", "put", "-e", "hello", path=f"{PLAN}/news") == b""
    assert (await client(path=f"{PLAN}/news")).strip() == b"hello"
    assert await client("-N", "-m", "post", "-e", "again", path=f"{PLAN}/news") == b""
    assert (await client("-N", path=f"{PLAN}/news")).strip() == b"again"


async def test_coap_client_sends_and_fetches_blocks(client):
    data = bytes(n % 96 + 32 for n in range(9000))
    for size in ("1024", "64"):
        arguments = ("-b", size, "-m", "post", "-t", "42", "-f", "-")
        assert (await client(*arguments, path=f"{PLAN}/make", stdin=data)).strip() == data.strip()


async def test_coap_client_observes(site, client):
    site.publish(b"zero")
    observing = asyncio.create_task(client("-s", "1", path=f"{PLAN}/news"))
    await asyncio.sleep(0.3)
    for number in (b"one", b"two"):
        site.publish(number)
    assert (await observing).strip() == b"zeroonetwo"
    assert not site.listener.service.events.observing


async def test_coap_client_discovers(client):
    assert b"</Plan/make>" in await client(path=".well-known/core")
    found = await client(path=".well-known/core?rt=hilum.channel")
    assert found.count(b"<") == 3


async def test_coap_client_asks_for_the_format_of_a_description(client):
    path = "Planner/introspect"
    assert b'"microservice"' in await client(path=path)
    assert (await client("-A", "0", path=path)).startswith(b"Microservice Planner\n")
    assert b"ThingCollection" in await client("-A", "432", path=path)
    assert b"td:Thing" not in await client("-A", "60", path=path), "JSON, as CBOR"
    assert b"@prefix" in await client(path=f"{path}?format=turtle")
    assert (await client("-A", "41", path=path)).startswith(b"4.06")


async def test_coap_client_waits_for_a_slow_method(site, client):
    asyncio.get_running_loop().call_later(0.3, site.responder.gate.set)
    assert (await client("-m", "post", "-e", "slow", path=f"{PLAN}/late")).strip() == b"slow"


async def test_coap_client_comes_over_ipv6(site):
    program = require_program(CLIENT)
    port = await site.listener.listen("::1", 0)
    process = await asyncio.create_subprocess_exec(
        *(program, "-B", "5", "-m", "post", "-e", "six", f"coap://[::1]:{port}/{PLAN}/make"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert out.strip() == b"six"


async def ask(context, site, code, path, payload=b"", **options):
    message = aiocoap.Message(
        code=code, uri=f"coap://127.0.0.1:{site.port}/{path}", payload=payload
    )
    for name, value in options.items():
        setattr(message.opt, name, value)
    return await asyncio.wait_for(context.request(message).response, 5)


async def test_aiocoap_calls_publishes_and_reads(site, context):
    answer = await ask(context, site, Code.POST, f"{PLAN}/make", b"hello")
    assert (answer.code, answer.payload) == (Code.CHANGED, b"hello")
    await ask(context, site, Code.PUT, f"{PLAN}/news", b"hello", content_format=0)
    answer = await ask(context, site, Code.GET, f"{PLAN}/news")
    assert (answer.payload, answer.opt.content_format) == (b"hello", 0)


async def test_aiocoap_sends_and_fetches_blocks_although_it_knows_no_echo(site, context):
    data = bytes(n % 251 for n in range(9000))
    answer = await ask(context, site, Code.POST, f"{PLAN}/make", data)
    assert answer.payload == data
    answer = await ask(context, site, Code.GET, f"{PLAN}/large?3000")
    assert len(answer.payload) == 3000


async def test_aiocoap_observes_once_it_has_shown_where_it_is(site, context):
    uri = f"coap://127.0.0.1:{site.port}/{PLAN}/news"
    answer = await ask(context, site, Code.GET, f"{PLAN}/news", observe=0)
    assert answer.code == Code.UNAUTHORIZED
    message = aiocoap.Message(code=Code.GET, uri=uri, observe=0, echo=answer.opt.echo)
    request = context.request(message)
    assert (await asyncio.wait_for(request.response, 5)).code == Code.CONTENT
    observed = asyncio.create_task(anext(aiter(request.observation)))
    await asyncio.sleep(0.05)
    site.publish(b"news")
    assert (await asyncio.wait_for(observed, 5)).payload == b"news"
    request.observation.cancel()
