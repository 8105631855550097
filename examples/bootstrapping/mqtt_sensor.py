"""The sensor over MQTT 5: its claim token is the first password, its secret the next one."""

import json
import threading
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 10.0


class MqttSensor:
    """A device that knows where its gateway is, and the claim token that it was given."""

    name = "MQTT"

    def __init__(self, addresses: dict[str, str], claim: str) -> None:
        self._url = urlsplit(addresses["mqtt"])
        self._claim = claim
        self._user = self._password = ""
        self._client: Client | None = None
        self._gone = threading.Event()

    def connect_as_stranger(self) -> str:
        """Try to connect with nothing to show."""
        return self._connect("", "")

    def connect_with_claim(self) -> str:
        """Connect with the claim token."""
        return self._connect("SensorA", self._claim)

    def connect(self) -> str:
        """Connect with the credential of one's own."""
        return self._connect(self._user, self._password)

    def claim(self) -> str:
        """Exchange the claim token for a device secret; return its id."""
        answer = self._call("$site/identity/claim", {"want": "secret"})
        self._user, self._password = answer["user"], answer["password"]
        return str(answer["id"])

    def publish(self, channel: str, value: object) -> str:
        """Publish a measurement; return what became of it."""
        assert self._client is not None
        said = SimpleQueue[Any]()
        self._client.on_publish = lambda _c, _u, _id, reason, _p: said.put(reason)
        self._client.publish(channel, json.dumps(value), qos=1)
        return str(said.get(timeout=PATIENCE))

    def is_cut_off(self) -> bool:
        """Wait until the gateway ends the connection."""
        return self._gone.wait(PATIENCE)

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _connect(self, user: str, password: str) -> str:
        self.close()
        self._gone = gone = threading.Event()
        said = SimpleQueue[Any]()
        client = Client(
            CallbackAPIVersion.VERSION2, client_id="SensorA", protocol=MQTTProtocolVersion.MQTTv5
        )
        if user:
            client.username_pw_set(user, password)
        client.on_connect = lambda _c, _u, _f, reason, _p: said.put(reason)
        client.on_disconnect = lambda *_: gone.set()
        client.connect(str(self._url.hostname), self._url.port or 1883)
        client.loop_start()
        self._client = client
        return str(said.get(timeout=PATIENCE))

    def _call(self, method: str, document: object) -> Any:
        assert self._client is not None
        answers = SimpleQueue[bytes]()

        def take(_client: Client, _data: object, message: MQTTMessage) -> None:
            answers.put(message.payload)

        self._client.on_message = take
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = "SensorA/answers"
        self._client.publish(method, json.dumps(document), qos=1, properties=properties)
        try:
            return json.loads(answers.get(timeout=PATIENCE))
        except Empty:
            raise TimeoutError(f"{method} was not answered") from None
