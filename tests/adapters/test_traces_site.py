"""One trace over four protocols: its spans at the collector, and what each provider hears of it."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.coap.wire import options as o
from adapters.coap.wire.codec import CON, Message, code_of, decode, encode
from adapters.coap.wire.traces import option_value, traceparent_of
from tests.adapters.collector import Collector
from tests.running import Gateway

TRACE, ROOT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{ROOT_SPAN}-01"
CHANGED = code_of("2.04")


class CoapService(threading.Thread):
    """Answers every datagram; keeps the traceparent that came with it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"coap://127.0.0.1:{self.socket.getsockname()[1]}/c"
        self.heard = []

    def run(self):
        while True:
            data, peer = self.socket.recvfrom(2048)
            if not data:
                return
            asked = decode(data)
            self.heard.append(traceparent_of(asked.value(o.TRACEPARENT) or b"").decode())
            answer = Message(2, CHANGED, asked.message_id, asked.token, [], b"done")
            self.socket.sendto(encode(answer), peer)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", self.socket.getsockname())
        self.join()
        self.socket.close()


class HttpService:
    """Answers calls by calling the next name in the chain, within the trace that it heard of."""

    def __init__(self):
        self.heard = []
        self.site = None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                trace = self.headers.get("traceparent", "")
                service.heard.append(trace)
                answer = b"alone"
                if self.path == "/chain":
                    answer = httpx.post(
                        f"{service.site.url}/tv/mqtt",
                        headers={
                            "traceparent": trace,
                            "Authorization": f"Bearer {service.site.token}",
                        },
                        timeout=10,
                    ).content
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class MqttService:
    """Provides a method over its session, and answers with what another method answers."""

    def __init__(self, site):
        self.heard = []
        self._asked = None
        self._ready = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, "service", protocol=paho.MQTTv5)
        self.client.username_pw_set("x", site.token)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._message
        at = urlsplit(site.mqtt)
        self.client.connect(at.hostname, at.port)
        self.client.loop_start()
        assert self._ready.wait(10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client, *_):
        client.subscribe("tv/mqtt", qos=1)

    def _message(self, client, _, message):
        properties = message.properties
        if message.topic == "replies/mine":
            self._answer(self._asked, message.payload)
            return
        self._asked = properties
        said = dict(properties.UserProperty)
        self.heard.append(said.get("traceparent", ""))
        made = Properties(PacketTypes.PUBLISH)
        made.ResponseTopic = "replies/mine"
        made.CorrelationData = b"1"
        made.UserProperty = [("traceparent", said.get("traceparent", ""))]
        client.publish("tv/coap", b"next", qos=1, properties=made)

    def _answer(self, asked, payload):
        made = Properties(PacketTypes.PUBLISH)
        made.CorrelationData = asked.CorrelationData
        self.client.publish(asked.ResponseTopic, payload, qos=1, properties=made)


class Stage:
    def __init__(self, folder):
        self.collector = Collector()
        self.coap = CoapService()
        self.coap.start()
        self.http = HttpService()
        endpoint = self.collector.url.removesuffix("/v1/traces")
        config = f'[trace]\nendpoint = "{endpoint}"\nsample = 0.0\n[coap]\nanonymous = true\n'
        self.site = Gateway(folder, config=config).start()
        self.http.site = self.site
        methods = {
            "http": {"endpoints": [{"url": f"{self.http.url}/chain"}]},
            "alone": {"endpoints": [{"url": f"{self.http.url}/alone"}]},
            "coap": {"endpoints": [{"url": self.coap.url}]},
            "mqtt": {},
        }
        objects = [{"name": "tv", "methods": methods}]
        self.site.register({"microservice": "Tv", "objects": objects})
        self.site.allow("coap", {"principal": "anonymous:coap"}, "call", "tv/**")
        self.mqtt = MqttService(self.site)

    def call(self, name, **headers):
        headers["Authorization"] = f"Bearer {self.site.token}"
        return httpx.post(f"{self.site.url}/tv/{name}", headers=headers, timeout=10)

    def close(self):
        self.mqtt.close()
        self.site.stop()
        self.http.close()
        self.coap.close()
        self.collector.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    found = Stage(tmp_path_factory.mktemp("traces"))
    yield found
    found.close()


def test_one_trace_crosses_http_mqtt_and_coap(stage):
    answer = stage.call("http", traceparent=SAMPLED)
    assert (answer.status_code, answer.content) == (200, b"done")
    spans = {one["name"].rpartition("/")[2]: one for one in stage.collector.wait(3)}
    assert {one["trace"] for one in spans.values()} == {TRACE}
    assert spans["http"]["parent"] == ROOT_SPAN
    assert spans["mqtt"]["parent"] == spans["http"]["span"]
    assert spans["coap"]["parent"] == spans["mqtt"]["span"]
    providers = [spans[name]["attributes"]["hilum.provider"] for name in ("http", "mqtt", "coap")]
    assert providers == ["http", "mqtt", "coap"]
    for name, heard in (("http", stage.http), ("mqtt", stage.mqtt), ("coap", stage.coap)):
        assert heard.heard[0] == f"00-{TRACE}-{spans[name]['span']}-01"
        assert spans[name]["attributes"]["hilum.microservice"] == "Tv"
        assert spans[name]["attributes"]["enduser.id"] == "site:admin"
        assert 0 < spans[name]["seconds"] < 10


def test_a_trace_begins_at_a_coap_device(stage):
    known = len(stage.collector.spans)
    at = urlsplit(stage.site.coap)
    trace = option_value(SAMPLED.encode())
    path = [(o.URI_PATH, b"tv"), (o.URI_PATH, b"alone"), (o.TRACEPARENT, trace)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(5)
        asked = Message(CON, code_of("0.02"), 7, b"t", path, b"")
        device.sendto(encode(asked), (at.hostname, at.port))
        answer = decode(device.recv(2048))
    assert answer.payload == b"alone"
    span = stage.collector.wait(known + 1)[known]
    assert (span["trace"], span["parent"]) == (TRACE, ROOT_SPAN)
    assert stage.http.heard[-1] == f"00-{TRACE}-{span['span']}-01"
    assert span["attributes"]["enduser.id"] == "anonymous:coap"


def test_what_is_not_sampled_passes_as_it_came(stage):
    not_sampled = SAMPLED[:-1] + "0"
    known = len(stage.collector.spans)
    stage.call("alone", traceparent=not_sampled)
    assert stage.http.heard[-1] == not_sampled
    stage.call("coap", traceparent=not_sampled)
    assert stage.coap.heard[-1] == not_sampled
    stage.call("alone")
    assert stage.http.heard[-1] == ""
    assert stage.call("nothing", traceparent=SAMPLED).status_code == 404
    stage.call("alone", traceparent=SAMPLED)
    assert len(stage.collector.wait(known + 1)) == known + 1
