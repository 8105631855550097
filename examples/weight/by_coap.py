"""A site's API in CoAP, as the phone uses it: aiocoap in a thread, and nothing of Hilum."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any

from aiocoap import CHANGED, GET, POST, Context, Message, resource
from aiocoap.error import Error

from examples.weight.common import RETRY, Event, SiteError

JSON, PATIENCE = 50, 10.0


class CoapSite:
    """A gateway as one principal sees it; ``context`` is the folder of its security context."""

    def __init__(self, url: str, context: str) -> None:
        self.url = url
        self._resources = resource.Site()
        self._address = _free_address()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        # One endpoint is client and server alike.
        made = Context.create_server_context(self._resources, bind=self._address)
        self._context = self._wait(made)
        secret = {f"{url}/*": {"oscore": {"basedir": context}}}
        self._context.client_credentials.load_from_dict(secret)

    def call(self, name: str, args: object = None) -> Any:
        """Call a method."""
        payload = json.dumps({} if args is None else args).encode()
        uri = f"{self.url}/{name}"
        asked = Message(code=POST, uri=uri, payload=payload, content_format=JSON)
        return _value(name, self._wait(self._ask(asked)))

    def publish(self, name: str, event: object) -> str:
        """Publish to a channel, and wait until the site has it; the event's id is not told."""
        return str(self.call(name, event) or "")

    def events(self, name: str) -> Iterator[Event]:
        """Yield a channel's last value and then its news, for ever."""
        queue = SimpleQueue[Event]()
        watching = asyncio.run_coroutine_threadsafe(self._observe(name, queue.put), self._loop)
        try:
            while True:
                yield queue.get()
        finally:
            watching.cancel()

    def serve(self, path: str, answer: Callable[[Any], Any]) -> dict[str, Any]:
        """Answer POST requests for a path; returns the method to register."""

        class Handler(resource.Resource):
            async def render_post(self, request: Message) -> Message:
                # An answer may take calls of its own, which only this loop can hear.
                value = await asyncio.to_thread(answer, json.loads(request.payload or b"{}"))
                payload = json.dumps(value).encode()
                return Message(code=CHANGED, payload=payload, content_format=JSON)

        self._loop.call_soon_threadsafe(self._resources.add_resource, [path], Handler())
        return {"endpoints": [{"url": "coap://{}:{}/".format(*self._address) + path}]}

    async def _ask(self, request: Message) -> Message:
        return await self._context.request(request).response

    async def _observe(self, name: str, take: Callable[[Event], None]) -> None:
        while True:
            asked = Message(code=GET, uri=f"{self.url}/{name}", observe=0)
            request = self._context.request(asked)
            try:
                take(Event("", _value(name, await request.response)))
                async for news in request.observation:
                    take(Event("", _value(name, news)))
            except (Error, SiteError):
                await asyncio.sleep(RETRY)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)
        except (Error, TimeoutError) as error:
            raise SiteError(0, f"{self.url}: {type(error).__name__}: {error}") from error


def _value(name: str, response: Message) -> Any:
    if not response.code.is_successful():
        # 4.04 is one byte: the class in its upper three bits.
        raise SiteError((response.code >> 5) * 100 + (response.code & 31), f"{name}: {response}")
    return json.loads(response.payload or b"null")


def _free_address() -> tuple[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()
