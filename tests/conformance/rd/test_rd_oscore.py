"""Endpoints whose names are safe: devices that register with OSCORE."""

import asyncio

from aiocoap.numbers.codes import Code

from adapters.coap.wire.codec import code_text
from gateway.settings import Coap
from tests.adapters.live import live_site
from tests.adapters.test_coap_oscore import WHO, Connected, make_context
from tests.conformance.clauses import clause
from tests.conformance.rd.nodes import LINK_FORMAT, Registrant, open_directory


class Target:
    """What ``Connected`` asks of a site."""

    def __init__(self, port: int) -> None:
        self.port = port


@clause("RFC9176-7.5")
async def test_a_device_with_a_context_registers_itself_and_keeps_its_name(tmp_path):
    state, client = tmp_path / "state", tmp_path / "client"
    await asyncio.to_thread(make_context, state / "oscore", client)
    coap = Coap(host="127.0.0.1", port=0, anonymous=True)
    async with live_site(state, coap=coap) as site:
        await open_directory(site)
        port = site.application.devices.coap_port
        async with Connected(Target(port), client / "thermometer") as device:
            answer = await device.ask(
                Code.POST, "rd?ep=safe", b"</temp>;rt=safe-temp", content_format=40
            )
            assert answer.code == Code.CREATED, answer.payload
            location = "/".join(answer.opt.location_path)
            found = await device.ask(Code.GET, "rd-lookup/ep?ep=safe&view=submitted")
            assert b'base="coap://127.0.0.1:' in found.payload
            assert (await device.ask(Code.POST, f"{location}?lt=100")).code == Code.CHANGED
            with Registrant(port) as stranger:
                answer = await stranger.rd("POST", "rd?ep=safe", b"</x>", LINK_FORMAT)
                assert code_text(answer.code) == "4.09"
                assert code_text((await stranger.rd("DELETE", location)).code) == "4.03"
                answer = await stranger.rd("GET", "rd-lookup/ep?ep=safe&view=submitted")
                assert answer.payload == b""
            owners = {r.owner for r in site.application.site.catalog.registrations.values()}
            assert WHO in owners
            assert (await device.ask(Code.DELETE, location)).code == Code.DELETED
