"""A barrage at a device on a battery: what reaches it is what a QualityPolicy lets pass (S0)."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest

from tests.adapters.mqtt_bytes import connect, string
from tests.running import Gateway, HttpReply

RATE, BURST = 2, 4
SHOTS = 120


def manifest(kind: str, called: str, **spec: object) -> str:
    document = {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": called}, "spec": spec}
    return json.dumps(document)


class CoapDevice:
    """A device that counts what wakes it, and answers 2.04 to it."""

    def __init__(self) -> None:
        self.woken = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"coap://127.0.0.1:{self.socket.getsockname()[1]}/blink"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, address = self.socket.recvfrom(1500)
            if not data:
                return
            self.woken += 1
            token = data[4 : 4 + (data[0] & 15)]
            self.socket.sendto(bytes([0x60 | len(token), 0x44]) + data[2:4] + token, address)

    def close(self) -> None:
        self.socket.sendto(b"", self.socket.getsockname())
        self._thread.join(5)
        self.socket.close()


class MqttDevice:
    """A device that counts the events which wake it."""

    def __init__(self, site: Gateway, token: str, topic: str) -> None:
        self.woken = 0
        self._ready = threading.Event()
        self._client = client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.username_pw_set("device", token)
        client.on_connect = lambda *_: client.subscribe(topic, 0)
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_message = self._wake
        client.connect("127.0.0.1", urlsplit(site.mqtt).port or 0)
        client.loop_start()
        assert self._ready.wait(10)

    def _wake(self, *_: object) -> None:
        self.woken += 1

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("barrage")) as running:
        objects = [{"name": "battery", "channels": {"wake": {}}}]
        running.register({"microservice": "Battery", "objects": objects})
        everybody = {"kind": "service"}
        running.allow("everybody", everybody, "call publish subscribe", "battery/** lamp/**")
        messages = {"rate": RATE, "burst": BURST}
        names = ["battery/**", "lamp/**"]
        running.apply(
            manifest("QualityPolicy", "battery", names=names, per=["name"], messages=messages)
        )
        yield running


def barrage(site: Gateway, path: str) -> tuple[list[HttpReply], float]:
    """Ask as several principals at once, as fast as it goes; return replies and the seconds."""
    tokens = [site.token_for(f"service:enemy{n}") for n in range(4)]
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        replies = list(
            pool.map(lambda n: site.http("POST", path, "1", token=tokens[n % 4]), range(SHOTS))
        )
    return replies, time.monotonic() - begun


def at_most(seconds: float) -> float:
    return BURST + RATE * seconds + 1


def test_a_coap_device_is_woken_no_more_often_than_its_policy_says(site):
    device = CoapDevice()
    try:
        site.apply(manifest("Binding", "lamp", name="lamp/blink", endpoint=device.url))
        replies, seconds = barrage(site, "/lamp/blink")
        assert {reply.status for reply in replies} == {200, 429}
        assert BURST <= device.woken <= at_most(seconds)
        assert all("Retry-After" in r.fields for r in replies if r.status == 429)
        stranger = site.token_for("user:stranger", "user")
        woken = device.woken
        for token in ("", stranger):
            assert site.http("POST", "/lamp/blink", "1", token=token).status in (401, 403)
        assert device.woken == woken
    finally:
        device.close()


def test_an_mqtt_device_is_woken_no_more_often_than_its_policy_says(site):
    device = MqttDevice(site, site.token_for("service:battery"), "battery/wake")
    try:
        replies, seconds = barrage(site, "/battery/wake")
        assert {reply.status for reply in replies} == {200, 429}
        time.sleep(0.3)
        assert BURST <= device.woken <= at_most(seconds)
    finally:
        device.close()


def enter(site: Gateway, source: str, password: str) -> int:
    """Connect over MQTT 3.1.1 from an address; return what CONNACK says."""
    where = urlsplit(site.mqtt)
    with socket.create_connection((where.hostname, where.port), 10, (source, 0)) as client:
        said = string("ann") + string(password)
        client.sendall(connect("c", 4, flags=0xC2, payload=said))
        answer = client.recv(4)
    assert answer[:2] == b"\x20\x02"
    return answer[3]


def test_who_tries_passwords_waits_and_locks_nobody_out(site):
    """Credential stuffing from one address: its owner gets in from another one all the while."""
    asked = {"user": "ann", "password": "correct horse battery", "kind": "user"}
    site.ask("identity/password", asked)
    guesses = [enter(site, "127.0.0.66", f"guess {n}") for n in range(12)]
    assert guesses[0] == 4, "bad user name or password"
    assert guesses[-1] == 3, "come again later"
    assert enter(site, "127.0.0.66", "correct horse battery") == 3
    assert enter(site, "127.0.0.77", "correct horse battery") == 0
