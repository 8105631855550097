"""A service on somebody else's broker: paho and a real mosquitto, which the site connects to."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import paho.mqtt.client as paho

from tests.conformance.pairs.model import Answering, Place
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


def _await(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("mosquitto did not start")
