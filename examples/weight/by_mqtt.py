"""A site's API in MQTT 5, as the wristband uses it. Nothing of Hilum is needed."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from paho.mqtt.client import MQTTMessage

from examples.weight.common import Event, SiteError
from examples.weight.mqtt_client import PATIENCE, MqttClient

JSON = "application/json"


class MqttSite:
    """A gateway as one principal sees it: what common.Site is over HTTP, over MQTT."""

    def __init__(self, url: str, token: str) -> None:
        self._calls: dict[bytes, Future[MQTTMessage]] = {}
        self._takers: dict[str, Callable[[MQTTMessage], object]] = {}
        self._client = MqttClient(url, token, self._take)

    def call(self, name: str, args: object = None) -> Any:
        """Call a method: publish to it, and wait for what comes back with the same correlation."""
        key, reply = uuid4().bytes, Future[MQTTMessage]()
        self._calls[key] = reply
        try:
            self._send(name, args or {}, ResponseTopic="reply", CorrelationData=key)
            message = reply.result(PATIENCE)
        except TimeoutError:
            raise SiteError(0, f"{name} did not answer") from None
        finally:
            del self._calls[key]
        document = json.loads(message.payload or b"null")
        if ("hilum-status", "ok") not in message.properties.UserProperty:
            raise SiteError(document["status"], document["detail"])
        return document

    def publish(self, name: str, event: object) -> str:
        """Publish to a channel, and wait until the site has it; the event's id is not told."""
        self._send(name, event)
        return ""

    def events(self, name: str) -> Iterator[Event]:
        """Yield a channel's last value and then live events, for ever."""
        queue = SimpleQueue[MQTTMessage]()
        self._takers[name] = queue.put
        self._client.subscribe(name)
        while True:
            yield Event("", json.loads(queue.get().payload))

    def provide(self, name: str, answer: Callable[[Any], Any]) -> None:
        """Offer a method: who calls it, by whatever protocol, is answered from here."""

        def work(message: MQTTMessage) -> None:
            call = message.properties
            value = answer(json.loads(message.payload or b"{}"))
            self._send(call.ResponseTopic, value, CorrelationData=call.CorrelationData)

        # An answer may need calls of its own, which only the client's thread can hear.
        self._takers[name] = lambda it: threading.Thread(target=work, args=[it]).start()
        self._client.subscribe(name)

    def _send(self, topic: str, value: object, **properties: Any) -> None:
        self._client.publish(topic, json.dumps(value), ContentType=JSON, **properties)

    def _take(self, message: MQTTMessage) -> None:
        call = self._calls.get(getattr(message.properties, "CorrelationData", b""))
        if call is not None:
            call.set_result(message)
        elif message.topic in self._takers:
            self._takers[message.topic](message)
