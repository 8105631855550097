"""A whole site with a broker and a device behind it; who has to be killed is killed."""

import base64
import hashlib
import json
import subprocess
import time

import pytest

from tests.adapters.brokers import Mosquitto
from tests.adapters.devices import Device
from tests.running import Gateway
from tests.support import require_program

PASSWORD = "only mosquitto knows it"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker")
    (folder / "users").write_text(f"hilum:{hashed(PASSWORD)}\n")
    rights = ["user hilum", "topic readwrite plant/#", "topic readwrite hilum/#"]
    (folder / "rights").write_text("\n".join(rights) + "\n")
    settings = [
        "allow_anonymous false",
        f"password_file {folder}/users",
        f"acl_file {folder}/rights",
    ]
    with Mosquitto(folder, *settings) as mosquitto:
        yield mosquitto


@pytest.fixture(scope="module")
def site(broker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "password").write_text(PASSWORD + "\n")
    config = f"""
[[broker]]
url = "{broker.url}/plant"
username = "hilum"
password_file = "password"
"""
    with Gateway(folder, config=config) as gateway:
        yield gateway
        assert PASSWORD not in gateway.logged()


def hashed(password):
    """Return a password as mosquitto_passwd writes it."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def account(broker):
    return ["-p", str(broker.port), "-u", "hilum", "-P", PASSWORD, "-V", "5"]


def publish(broker, topic, payload, *options):
    program = require_program("mosquitto_pub")
    command = [program, *account(broker), "-t", topic, "-m", payload, "-q", "1", *options]
    subprocess.run(command, check=True, timeout=10)


def binding(policy, **spec):
    document = {"apiVersion": "hilum/v1", "kind": "Binding", "metadata": {"name": policy}}
    return json.dumps({**document, "spec": spec})


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def history(site, channel):
    asked = {"name": channel, "limit": 1000}
    return [item["payload"] for item in site.ask("channel/history", asked)["items"]]


def subscriber(broker, topic, count):
    program = require_program("mosquitto_sub")
    options = ["-t", topic, "-q", "1", "-C", str(count), "-W", "30", "-F", "%P|%p"]
    options += ["-c", "-i", "watcher", "-x", "3600"]  # a session that outlives it
    process = subprocess.Popen([program, *account(broker), *options], stdout=subprocess.PIPE)
    time.sleep(0.3)  # until it has subscribed
    return process


def test_a_service_registers_methods_that_live_on_a_broker(site, broker):
    token = site.token_for("service:plug")
    site.allow("plug", {"principal": "service:plug"}, "register bind", "plug/**")
    url = f"{broker.url}/plant/plug/set?reply=none"
    methods = {"set": {"endpoints": [{"url": url}]}}
    objects = [{"name": "plug", "methods": methods}]
    site.register({"microservice": "Plug", "objects": objects}, token)
    heard = subscriber(broker, "plant/plug/set", 1)
    reply = site.http("POST", "/plug/set", b"on", content_type="text/plain", traceparent="00-1")
    assert (reply.status, reply.body) == (200, b"")
    said, _ = heard.communicate(timeout=20)
    assert b"hilum-principal:site:admin;kind=administrator;t=" in said
    assert said.endswith(b"|on\n")


def test_a_topic_beside_the_accounts_is_nobodys(site, broker):
    """The account serves what is below its URL only."""
    site.apply(binding("beside", name="beside", endpoint=f"{broker.url}/other/x?reply=none"))
    reply = site.http("POST", "/beside", b"x")
    assert reply.status == 503
    assert "refuses the connection" in reply.json()["detail"]
    site.apply(binding("within", name="within", endpoint=f"{broker.url}/plant/x"))
    reply = site.http("POST", "/within", b"x")
    assert reply.status == 503
    assert "nobody subscribes" in reply.json()["detail"]


def test_a_channel_is_fed_from_a_broker_through_kills_of_both(site, broker):
    channels = {"temp": {"durable": True}}
    site.register({"microservice": "Room", "objects": [{"name": "room", "channels": channels}]})
    site.apply(binding("feed", name="room/temp", source=f"{broker.url}/plant/room/temp"))
    until(lambda: "connected to the broker" in site.logged())
    time.sleep(0.3)
    publish(broker, "plant/room/temp", "1")
    until(lambda: history(site, "room/temp") == ["1"])
    site.kill()
    publish(broker, "plant/room/temp", "2")
    time.sleep(1.2)  # mosquitto saves once a second
    broker.kill()
    site.start()
    time.sleep(0.5)
    broker.start()
    publish(broker, "plant/room/temp", "3")
    until(lambda: set(history(site, "room/temp")) == {"1", "2", "3"})


def test_a_durable_channel_goes_out_to_a_broker_that_is_killed(site, broker):
    channels = {"alarm": {"durable": True}}
    site.register({"microservice": "Hall", "objects": [{"name": "hall", "channels": channels}]})
    url = f"{broker.url}/plant/hall/alarm?reply=none"
    site.apply(binding("send", name="hall/send", endpoint=url))
    site.apply(binding("out", name="hall/alarm", call="hall/send"))
    heard = subscriber(broker, "plant/hall/alarm", 1)
    assert site.http("POST", "/hall/alarm", b"a", content_type="text/plain").status == 200
    said, _ = heard.communicate(timeout=20)
    assert b"specversion:1.0" in said
    assert b"|a\n" in said
    time.sleep(1.2)  # mosquitto saves once a second
    broker.kill()
    assert site.http("POST", "/hall/alarm", b"b", content_type="text/plain").status == 200
    time.sleep(0.3)
    broker.start()
    heard = subscriber(broker, "plant/hall/alarm", 1)
    said, _ = heard.communicate(timeout=30)
    assert b"|b\n" in said


def test_a_device_that_speaks_coap(site):
    with Device(max_age=2) as device:
        objects = [
            {
                "name": "sensor",
                "methods": {
                    "set": {"endpoints": [{"url": device.url("sensor"), "method": "PUT"}]},
                    "slow": {"endpoints": [{"url": device.url("slow", "coap+tcp")}]},
                },
                "channels": {"value": {"sources": [device.url("sensor")]}},
            }
        ]
        site.register({"microservice": "Sensor", "objects": objects})
        until(lambda: history(site, "sensor/value") == ["0"])
        assert site.http("POST", "/sensor/set", b"7", content_type="application/json").status == 200
        until(lambda: history(site, "sensor/value") == ["0", "7"])
        assert site.http("POST", "/sensor/slow", b"0.2").body == b"done"
        device.kill()
        device.start()
        until(lambda: history(site, "sensor/value")[-1] == "0")
        assert site.http("POST", "/sensor/set", b"8", content_type="application/json").status == 200
        until(lambda: history(site, "sensor/value")[-1] == "8")


def test_a_source_of_who_has_a_security_context_and_no_token(site):
    context = site.state / "oscore" / "gauge"
    context.mkdir(parents=True)
    (context / "settings.json").write_text('{"sender-id_hex": "01", "recipient-id_hex": "02"}')
    (context / "secret.json").write_text(json.dumps({"secret_hex": "07" * 16}))
    (context / "principal.json").write_text('{"principal": "device:gauge", "kind": "device"}')
    site.allow("gauge", {"principal": "device:gauge"}, "register bind", "gauge/**")
    with Device(max_age=2) as device:
        channels = {"value": {"sources": [device.url("sensor")]}}
        manifest = {"microservice": "Gauge", "objects": [{"name": "gauge", "channels": channels}]}
        site.register(manifest, site.token_for("device:gauge", "device"))
        site.ask("token/revoke", {"principal": "device:gauge"})
        site.stop()
        before = len(site.logged())  # it said so as soon as the token was revoked
        site.start()
        until(lambda: history(site, "gauge/value") == ["0"])
        assert "no valid credential" not in site.logged()[before:]


def test_where_no_source_may_be(site):
    token = site.token_for("service:spy")
    site.allow("spy", {"principal": "service:spy"}, "register", "spy/**")
    for url in ("mqtt://127.0.0.1:1883/t", "coap://127.0.0.1/t"):
        document = {
            "apiVersion": "hilum/v1",
            "microservice": "Spy",
            "version": "1",
            "objects": [{"name": "spy", "channels": {"x": {"sources": [url]}}}],
        }
        body = json.dumps(document)
        reply = site.http("POST", "/$site/registry/register", body, token=token)
        assert reply.status == 403, "it may register, but bind nothing"
    site.allow("spy", {"principal": "service:spy"}, "register bind", "spy/**")
    body = body.replace("127.0.0.1/t", "10.9.9.9/t")
    reply = site.http("POST", "/$site/registry/register", body, token=token)
    assert reply.status == 403
    assert "10.9.9.9" in reply.json()["detail"]
