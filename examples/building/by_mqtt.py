"""A device that speaks MQTT 5: it registers by a request with a response topic, then publishes."""

import asyncio
import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 20.0


class MqttDevice:
    """One connection; ``secret`` is the password that the site issued to this device."""

    def __init__(self, url: str, user: str, secret: str) -> None:
        self._where = urlsplit(url)
        self._user, self._secret = user, secret

    async def __aenter__(self) -> "MqttDevice":
        self._client = aiomqtt.Client(
            self._where.hostname or "",
            self._where.port or 1883,
            identifier=self._user,
            username=self._user,
            password=self._secret,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=PATIENCE,
        )
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def call(self, name: str, document: object) -> Any:
        """Call a method of the site; raises RuntimeError with what it answered."""
        given = Properties(PacketTypes.PUBLISH)
        given.ResponseTopic, given.CorrelationData = "reply", b"1"
        given.ContentType = "application/json"
        await self._client.publish(name, json.dumps(document), qos=1, properties=given)
        async with asyncio.timeout(PATIENCE):
            message = await anext(self._client.messages)
        answer = json.loads(bytes(message.payload))  # type: ignore[arg-type]
        said = getattr(message.properties, "UserProperty", [])
        if ("hilum-status", "ok") not in said:
            raise RuntimeError(f"{name}: {answer.get('detail', answer)}")
        return answer

    async def publish(self, channel: str, value: object) -> None:
        """Publish a measurement."""
        given = Properties(PacketTypes.PUBLISH)
        given.ContentType = "application/json"
        await self._client.publish(channel, json.dumps(value), qos=1, properties=given)
