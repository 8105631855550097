"""The WebSocket facade of a site in its own process: a service behind NAT, called over HTTP."""

import asyncio
from urllib.parse import urlsplit

from tests.adapters.sockets import Client


class Remote:
    """What a client needs to know of a site elsewhere."""

    object = "Thermostat"

    def __init__(self, gateway):
        self.token = gateway.token
        self._port = urlsplit(gateway.url).port

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self._port)


async def test_a_service_behind_nat(running_site):
    channels, methods = {"set": {}}, {"warm": {}}
    objects = [{"name": "Thermostat", "channels": channels, "methods": methods}]
    running_site.register({"microservice": "Thermostat", "instance": "a", "objects": objects})
    service, phone = (
        await Client.open(Remote(running_site)),
        await Client.open(Remote(running_site)),
    )
    assert (await service.ask("provide", name="Thermostat/warm"))["status"] == "ok"
    assert (await phone.ask("subscribe", id="t", name="Thermostat/set"))["status"] == "ok"
    calling = asyncio.create_task(
        asyncio.to_thread(running_site.http, "POST", "/Thermostat/warm", b'{"to": 21}')
    )
    asked = await service.op("call")
    service.say(op="publish", name="Thermostat/set", payload={"to": 21})
    service.say(op="reply", id=asked["id"], payload="done")
    reply = await calling
    assert (reply.status, reply.json()) == (200, "done")
    assert (await phone.op("event"))["payload"] == {"to": 21}
    for client in (service, phone):
        client.writer.close()
        await client.writer.wait_closed()
