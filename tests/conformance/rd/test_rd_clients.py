"""Clients that people use, in our directory: libcoap's ``coap-client``, and aiocoap."""

import asyncio
import logging

import aiocoap
import pytest
import pytest_asyncio
from aiocoap import resource
from aiocoap.resourcedirectory.client.register import Registerer

from tests.adapters.live import until
from tests.conformance.clauses import clause
from tests.conformance.rd.nodes import is_live, node
from tests.support import free_port, require_program

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT = "coap-client-notls"


@pytest.fixture
def client(site):
    program = require_program(CLIENT)

    async def run(*arguments):
        port = site.application.devices.coap_port
        *options, path = arguments
        process = await asyncio.create_subprocess_exec(
            program,
            *("-v", "6", "-B", "5", *options, f"coap://127.0.0.1:{port}/{path}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(10):
            out, _ = await process.communicate()
        return out.decode()

    return run


@clause("RFC9176-4.3", "RFC9176-5", "RFC9176-5.3.1", "RFC9176-5.3.2", "RFC9176-6.1")
async def test_coap_client_registers_and_looks_up(site, client):
    assert '</rd>;rt="core.rd"' in await client(".well-known/core?rt=core.rd")
    async with node() as home:
        base = f"base=coap://127.0.0.1:{home.port}"
        links = "</temp>;rt=libcoap-temp;obs,</light>;rt=light"
        said = await client("-m", "post", "-t", "40", "-e", links, f"rd?ep=libcoap&lt=600&{base}")
        assert "2.01" in said
        location = said.partition("Location-Path:rd, Location-Path:")[2][:16]
        assert "endpoints/libcoap/temp" in await client("rd-lookup/res?rt=libcoap-temp")
        assert f"</rd/{location}>" in await client("rd-lookup/ep?ep=libcoap")
        assert "this is temp" in await client("endpoints/libcoap/temp")
        assert "2.04" in await client("-m", "post", f"rd/{location}?lt=700")
        assert "2.02" in await client("-m", "delete", f"rd/{location}")
        assert "endpoints" not in await client("rd-lookup/res?rt=libcoap-temp")


class Temperature(resource.Resource):
    rt = "aiocoap-temp"

    async def render_get(self, request):
        return aiocoap.Message(payload=b"21.5")


@pytest_asyncio.fixture(loop_scope="module")
async def device():
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    root = resource.Site()
    root.add_resource(["temp"], Temperature())
    links = resource.WKCResource(root.get_resources_as_linkheader)
    root.add_resource([".well-known", "core"], links)
    port = free_port()
    context = await aiocoap.Context.create_server_context(
        root, bind=("127.0.0.1", port), transports=["udp6"]
    )
    yield context, port
    await context.shutdown()


@clause("RFC9176-5", "RFC9176-5.3.1")
async def test_aiocoaps_client_registers_itself(site, device):
    """It knows no Echo over plain datagrams: it says its base, which an operator has allowed."""
    coap = f"coap://127.0.0.1:{site.application.devices.coap_port}"
    device, port = device
    site.application.egress._add(f"127.0.0.1:{port}")
    registerer = Registerer(
        device,
        rd=coap,
        lt=2,
        link_source=None,
        registration_parameters={"ep": "aiocoap", "base": f"coap://127.0.0.1:{port}"},
    )
    try:
        await until(lambda: registerer.state == "registered")
        request = aiocoap.Message(code=aiocoap.GET, uri=f"{coap}/rd-lookup/res?rt=aiocoap-temp")
        found = await device.request(request).response
        assert found.payload.decode().startswith(f"<{coap}/endpoints/aiocoap/temp>")
        request = aiocoap.Message(code=aiocoap.GET, uri=f"{coap}/endpoints/aiocoap/temp")
        assert (await device.request(request).response).payload == b"21.5"
        assert is_live(site, "aiocoap")
    finally:
        await registerer.shutdown()
