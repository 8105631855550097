"""A mosquitto that is a bridge to a site: it connects there as a client."""

import subprocess
import time
from urllib.parse import urlsplit

import pytest

from tests.adapters.brokers import Mosquitto
from tests.running import Gateway
from tests.support import require_program

SPACE = """
apiVersion: hilum/v1
kind: TopicSpace
metadata: {name: plant}
spec: {names: ["plant/**"]}
"""


@pytest.fixture
def site(tmp_path):
    with Gateway(tmp_path) as gateway:
        gateway.apply(SPACE)
        gateway.allow("plant", {"principal": "service:plant"}, "publish subscribe", "plant/**")
        yield gateway


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_a_bridge_carries_messages_both_ways(site, tmp_path, version):
    """In 3.1.1 it tries mosquitto's own protocol level first, and comes again when refused."""
    settings = [
        "allow_anonymous true",
        "connection site",
        f"address {urlsplit(site.mqtt).netloc}",
        f"remote_password {site.token_for('service:plant')}",
        "remote_username plant",
        f"bridge_protocol_version {version}",
        "restart_timeout 1 1",
        "notifications false",
        "topic out/# out 1 local/ plant/",
        "topic in/# in 1 local/ plant/",
    ]
    publish, subscribe = require_program("mosquitto_pub"), require_program("mosquitto_sub")
    with Mosquitto(tmp_path, *settings) as broker:
        port = ["-p", str(broker.port)]
        command = [publish, *port, "-t", "local/out/x", "-q", "1", "-r", "-m", "out"]
        subprocess.run(command, check=True)
        end = time.monotonic() + 15
        while (reply := site.http("GET", "/plant/out/x")).body != b"out":
            assert time.monotonic() < end, reply
            time.sleep(0.1)
        command = [subscribe, *port, "-t", "local/in/#", "-C", "1", "-W", "10", "-v"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as heard:
            while heard.poll() is None:
                site.http("POST", "/plant/in/y", b"in")
                time.sleep(0.2)
            assert heard.stdout.read() == b"local/in/y in\n"
