"""A device: an aiocoap server in a process of its own. Arguments: port, Max-Age of its sensor."""

import asyncio
import sys

import aiocoap
from aiocoap import CHANGED, CONTENT, resource
from aiocoap.numbers.codes import Code


class Echo(resource.Resource):
    async def render_post(self, request):
        return aiocoap.Message(
            code=CHANGED, payload=request.payload, content_format=request.opt.content_format
        )

    render_put = render_fetch = render_patch = render_ipatch = render_post

    async def render_get(self, request):
        said = repr((request.opt.uri_path, request.opt.uri_query, request.opt.accept))
        return aiocoap.Message(code=CONTENT, payload=said.encode(), content_format=0)

    async def render_delete(self, request):
        return aiocoap.Message(code=aiocoap.DELETED)


class Slow(resource.Resource):
    """Answers later: an empty acknowledgement, then a separate response."""

    async def render_post(self, request):
        await asyncio.sleep(float(request.payload))
        return aiocoap.Message(code=CHANGED, payload=b"done")


class Large(resource.Resource):
    async def render_get(self, request):
        size = int(request.opt.uri_query[0])
        body = bytes(at % 251 for at in range(size))
        return aiocoap.Message(code=CONTENT, payload=body, content_format=42)


class Wrong(resource.Resource):
    async def render_get(self, request):
        code = Code(int(request.opt.uri_query[0]))
        return aiocoap.Message(code=code, payload=b"because", max_age=7)


class Sensor(resource.ObservableResource):
    """Its value is what was PUT last; GET of ``?etag`` is not needed to see it change."""

    def __init__(self, max_age):
        super().__init__()
        self.value = b"0"
        self.max_age = max_age

    async def render_get(self, request):
        message = aiocoap.Message(code=CONTENT, payload=self.value, content_format=50)
        message.opt.max_age = self.max_age
        return message

    async def render_put(self, request):
        self.value = request.payload
        self.updated_state()
        return aiocoap.Message(code=CHANGED)


class Fixed(resource.Resource):
    """Cannot be observed."""

    async def render_get(self, request):
        return aiocoap.Message(code=CONTENT, payload=b"fixed", content_format=60_000)


async def main() -> None:
    port, max_age = int(sys.argv[1]), int(sys.argv[2])
    site = resource.Site()
    for name, made in {
        "echo": Echo(),
        "slow": Slow(),
        "large": Large(),
        "wrong": Wrong(),
        "sensor": Sensor(max_age),
        "fixed": Fixed(),
    }.items():
        site.add_resource([name], made)
    await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port), transports=["udp6", "tcpserver"]
    )
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
