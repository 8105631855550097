"""An MQTT 5 client that waits for acknowledgements, and says what the server refused: paho's."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from examples.weight.common import RETRY, SiteError

PATIENCE = 10.0
NOT_AUTHORIZED = 0x87


class MqttClient:
    """A connection; when it breaks, paho opens it again and everything is subscribed to again."""

    def __init__(self, url: str, token: str, take: Callable[[MQTTMessage], object]) -> None:
        self._topics: list[str] = []
        self._subscribing = threading.Lock()
        self._granted = Future[bool]()
        self._refused: dict[int, int] = {}
        self._connected = threading.Event()
        self._paho = paho = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        paho.username_pw_set("token", token)
        paho.on_connect, paho.on_subscribe = self._on_connect, self._on_subscribe
        paho.on_publish = self._on_publish
        paho.on_message = lambda _client, _data, message: take(message)
        where = urlsplit(url)
        paho.connect(where.hostname or "", where.port or 1883, keepalive=30)
        paho.loop_start()
        if not self._connected.wait(PATIENCE):
            raise SiteError(0, f"{url} does not let this device in")

    def publish(self, topic: str, payload: str, **properties: Any) -> None:
        """Publish at QoS 1, and wait for the acknowledgement; raises SiteError."""
        given = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(given, name, value)
        sent = self._paho.publish(topic, payload, 1, properties=given)
        sent.wait_for_publish(PATIENCE)
        reason = self._refused.pop(sent.mid, 0)
        if reason or not sent.is_published():
            raise SiteError(403 if reason == NOT_AUTHORIZED else 0, f"{topic}: reason {reason:#x}")

    def subscribe(self, topic: str) -> None:
        """Subscribe, as often as it takes until the site grants it."""
        with self._subscribing:
            while True:
                self._granted = Future()
                self._paho.subscribe(topic, 1)
                if self._granted.result(PATIENCE):
                    break
                time.sleep(RETRY)
        self._topics.append(topic)

    def _on_connect(self, *args: Any) -> None:
        _, _, _, reason, _ = args
        if not reason.is_failure:
            self._connected.set()
            for topic in self._topics:
                self._paho.subscribe(topic, 1)

    def _on_subscribe(self, *args: Any) -> None:
        _, _, _, (reason, *_), _ = args
        if not self._granted.done():
            self._granted.set_result(not reason.is_failure)

    def _on_publish(self, *args: Any) -> None:
        _, _, number, reason, _ = args
        if reason.is_failure:
            self._refused[number] = reason.value
