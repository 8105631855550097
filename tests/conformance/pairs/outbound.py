"""A service on somebody else's broker: paho and a real mosquitto, which the site connects to."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import paho.mqtt.client as paho

from gateway.message import Status
from tests.conformance.pairs.model import Answering, Outcome, Place
from tests.conformance.pairs.mqtt import V5, Connection, serve, stop
from tests.support import free_port, require_program

START_SECONDS = 10.0


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[int]:
    """Run mosquitto; yields its port."""
    program, port = require_program("mosquitto"), free_port()
    config = directory / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    with (directory / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    try:
        _await(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class BrokerService(Connection):
    """Serves methods by request topics of its own; the site's endpoint is such a topic."""

    def __init__(self, place: Place, key: str, answer: Answering, *, port: int) -> None:
        super().__init__(port, f"{key}-service", V5)
        self._answer = answer
        self._key = key
        self._answering: set[asyncio.Task[None]] = set()

    def endpoint(self, method: str) -> str:
        return f"mqtt://127.0.0.1:{self._port}/pairs/{self._key}/{method}"

    async def open(self, names: Mapping[str, str] = {}) -> None:
        await super().open()
        for method in names:
            assert await self.listen(f"pairs/{self._key}/{unquote(method)}") < 0x80

    async def vanish(self) -> None:
        self.cut()

    async def close(self) -> None:
        await super().close()
        await stop(self._answering)

    def said(self, message: paho.MQTTMessage) -> None:
        method = message.topic.rpartition("/")[2]
        task = asyncio.create_task(serve(self, message, self._answer, method))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)


class BrokerPublisher(Connection):
    """A device that publishes to its own broker; channels have their source there.

    It is a publisher only: the broker acknowledges, before the site has the event.
    """

    protocol = "mqtt5"
    refused = Status.DENIED

    def __init__(self, key: str, *, port: int) -> None:
        super().__init__(port, f"{key}-device", V5)
        self._key = key

    def source(self, member: str) -> str:
        """Return the URL that a channel's manifest gives."""
        return f"mqtt://127.0.0.1:{self._port}/pairs/{self._key}/{member}"

    async def publish(
        self,
        name: str,
        payload: bytes,
        content_type: str = "",
        attributes: Mapping[str, str] = {},
    ) -> Outcome:
        """Publish to the topic that is the source of a channel."""
        more: dict[str, Any] = {"ContentType": content_type} if content_type else {}
        more |= {"UserProperty": list(attributes.items())} if attributes else {}
        member = unquote(name.rpartition("/")[2])
        reason = await self.send(f"pairs/{self._key}/{member}", payload, **more)
        return Outcome("mqtt5", reason)

    async def until_followed(self, name: str) -> None:
        """Publish until the broker says that somebody, the site, subscribes to the topic."""
        for _ in range(100):
            if (await self.publish(name, b"probe")).code == 0:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the site does not follow the source of {name}")

    async def vanish(self) -> None:
        """Go away without a word."""
        self.cut()


def _await(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("mosquitto did not start")
