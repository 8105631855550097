"""The directory over CoAP: sections 6.4 and 7.2.2 of W3C WoT Discovery, with aiocoap's client."""

import asyncio
import contextlib
import json
import logging

import aiocoap
import pytest
from aiocoap.numbers.codes import Code

from tests.conformance.clauses import clause
from tests.conformance.wot.things import DISCOVERY
from tests.running import Gateway

TD = 432


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    settings = "[coap]\nanonymous = true\n"
    with Gateway(tmp_path_factory.mktemp("coap"), config=settings) as running:
        names = ".well-known/wot $site/registry/* **"
        running.allow("open", {"principal": "anonymous:coap"}, "call describe", names)
        yield running


@contextlib.asynccontextmanager
async def client():
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        yield context
    finally:
        await context.shutdown()


async def got(site, path, **options):
    async with client() as context, asyncio.timeout(10):
        message = aiocoap.Message(code=Code.GET, uri=f"{site.coap}{path}", **options)
        return await context.request(message).response


@clause(
    "WOT-exploration-server-coap-method",
    "WOT-exploration-server-coap-resp",
    "WOT-introduction-well-known-uri",
)
async def test_the_directory_describes_itself_over_coap(site):
    answer = await got(site, "/.well-known/wot")
    assert (answer.code, answer.opt.content_format) == (Code.CONTENT, TD)
    own = json.loads(answer.payload)
    assert own["@type"] == "ThingDirectory"
    assert DISCOVERY in own["@context"]


@clause("WOT-introduction-core-rd", "WOT-introduction-core-rd-resource-type-directory")
async def test_it_is_among_the_links_of_the_site(site):
    answer = await got(site, "/.well-known/core?rt=wot.directory")
    assert answer.code is Code.CONTENT
    link = answer.payload.decode()
    assert link.startswith("</.well-known/wot>")
    assert 'rt="wot.directory"' in link


@clause("WOT-exploration-server-coap-size2")
async def test_the_size_of_a_description_is_told(site):
    answer = await got(site, "/.well-known/wot", size2=0)
    assert answer.opt.size2
