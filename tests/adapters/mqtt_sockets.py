"""A listener of a play on real sockets, and a client that speaks bytes."""

import asyncio
import contextlib

from adapters.mqtt.sessions.ports import Settings
from adapters.mqtt.sockets.listener import MqttListener
from adapters.mqtt.wire.packets import V5
from tests.adapters import mqtt_bytes as wire
from tests.adapters.mqtt_plays import Play, Store, read_one


class Client:
    """One connection of a client; ``read`` returns the next packet, None at the end."""

    def __init__(self, reader, writer, version=V5):
        self.reader = reader
        self.writer = writer
        self.version = version
        self._data = b""

    def write(self, *packets):
        self.writer.write(b"".join(packets))

    async def connect(self, client="c", **said):
        self.write(wire.connect(client, self.version, **said))
        return await self.read()

    async def read(self, seconds=5.0):
        async with asyncio.timeout(seconds):
            while True:
                packet, self._data = read_one(self._data, self.version)
                if packet is not None:
                    return packet
                try:
                    more = await self.reader.read(65536)
                except ConnectionError:
                    return None
                if not more:
                    assert not self._data
                    return None
                self._data += more

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Site:
    """A listener with the desk of a play; ``now`` can be moved on."""

    def __init__(self, settings=Settings(cloudevents=False), tls=None):  # noqa: B008
        self.play = Play(settings, Store(automatic=True))
        self.desk = self.play.desk
        self.ahead = 0.0
        self.tls = tls
        self.listener = MqttListener(self.play.engine, self.desk, self.clock)
        self.port = 0
        self.clients = []

    def clock(self):
        return asyncio.get_running_loop().time() + self.ahead

    async def __aenter__(self):
        self.port = await self.listener.listen("127.0.0.1", 0, self.tls)
        return self

    async def __aexit__(self, *_exc):
        for client in self.clients:
            await client.close()
        await self.listener.drain(1.0)

    async def client(self, version=V5, **said):
        if "sock" not in said:
            said |= {"host": "127.0.0.1", "port": self.port}
        client = Client(*await asyncio.open_connection(**said), version)
        self.clients.append(client)
        return client

    async def connected(self, name="c", version=V5, **said):
        client = await self.client(version)
        connack = await client.connect(name, **said)
        assert connack.reason == 0
        return client

    def sweep(self, seconds=0.0):
        self.ahead += seconds
        self.listener.sweep(self.clock())


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
