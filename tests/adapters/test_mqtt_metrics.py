"""What went wrong with MQTT clients is counted where Prometheus reads it."""

import re
from urllib.parse import urlsplit
from urllib.request import urlopen

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.running import Gateway


@pytest.fixture
def site(tmp_path):
    with Gateway(tmp_path) as gateway:
        yield gateway


def counted(site, name):
    """Return a counter's values by their label."""
    with urlopen(f"{site.control}/metrics") as reply:
        text = reply.read().decode()
    assert f"# TYPE {name} counter" in text
    found = re.findall(rf'^{name}(?:{{why="(.*)"}})? (\S+)$', text, re.MULTILINE)
    return {why: float(number) for why, number in found}


def connect(site, password, on_connect):
    """Let a client connect, and go on until it is disconnected."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "client", protocol=mqtt.MQTTv5)
    client.username_pw_set("client", password)
    client.on_connect = lambda *said: on_connect(client, said[3])
    address = urlsplit(site.mqtt)
    client.connect(address.hostname, address.port)
    client.loop_forever(retry_first_connection=False)


def test_a_wrong_password_is_counted(site):
    connect(site, "wrong", lambda client, _: client.disconnect())
    ended = counted(site, "hilum_mqtt_connections_ended_total")
    assert ended == {"refused": 1, "protocol-error": 0}


def test_a_refused_publication_of_any_qos_is_counted(site):
    def publish(client, reason):
        assert reason == "Success"
        client.on_publish = lambda *said: client.disconnect() if said[2] == number else None
        client.publish("nowhere/x", "lost", qos=0)
        number = client.publish("nowhere/y", "refused", qos=1).mid

    connect(site, site.token, publish)
    assert counted(site, "hilum_mqtt_publications_refused_total") == {"": 2}
    dropped = counted(site, "hilum_mqtt_messages_dropped_total")
    assert dropped == {"slow": 0, "queue-full": 0, "expired": 0, "too-large": 0}
