"""A WebSocket client for tests, over wsproto."""

import asyncio
import json
from itertools import count

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Client:
    """A WebSocket client over wsproto."""

    def __init__(self, site, reader, writer, connection):
        self.site = site
        self.reader, self.writer, self.connection = reader, writer, connection
        self.messages = []
        self.close = None
        self._parts = ""
        self._ids = count(1)

    @classmethod
    async def open(cls, site, token=None):
        reader, writer = await site.connect()
        connection = WSConnection(ConnectionType.CLIENT)
        token = site.token if token is None else token
        headers = [(b"Authorization", f"Bearer {token}".encode())] if token else []
        writer.write(connection.send(Request("localhost", "/$site/socket", extra_headers=headers)))
        client = cls(site, reader, writer, connection)
        while True:
            connection.receive_data(await asyncio.wait_for(reader.read(65536), 5))
            for event in connection.events():
                assert isinstance(event, AcceptConnection), event
                return client

    def say(self, **document):
        if "name" in document:
            document["name"] = document["name"].replace("Band/", f"{self.site.object}/", 1)
        self.text(json.dumps(document, ensure_ascii=False))

    def text(self, text):
        self.writer.write(self.connection.send(TextMessage(text)))

    async def ask(self, op, **document):
        """Send a message with an id and return the reply."""
        key = document.setdefault("id", next(self._ids))
        self.say(op=op, **document)
        return await self.hear(lambda m: m["op"] == "reply" and m["id"] == key)

    async def hear(self, wanted):
        """Return the first message that is wanted, and forget it."""
        while True:
            for message in self.messages:
                if wanted(message):
                    self.messages.remove(message)
                    return message
            assert self.close is None, self.close
            await asyncio.wait_for(self.read(), 5)

    async def op(self, op):
        return await self.hear(lambda m: m["op"] == op)

    async def read(self):
        data = await self.reader.read(65536)
        if not data:
            self.close = self.close or CloseConnection(1006, "")
            return
        self.connection.receive_data(data)
        for event in self.connection.events():
            if isinstance(event, TextMessage):
                self._parts += event.data
                if event.message_finished:
                    self.messages.append(json.loads(self._parts))
                    self._parts = ""
            elif isinstance(event, Ping):
                self.writer.write(self.connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.close = event
                self.writer.write(self.connection.send(event.response()))

    async def closed(self):
        while self.close is None:
            await asyncio.wait_for(self.read(), 5)
        return self.close

    def gone(self):
        self.writer.transport.abort()
