"""How devices come to credentials, change them and lose them, over HTTP, MQTT and CoAP."""

import asyncio
import json
import shutil
import subprocess
import time
from importlib.util import find_spec
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest

from gateway.identity.device_keys import claim_keys
from policy.identity.site_ca import new_key, new_request, read_certificate
from tests.running import Gateway, hilum
from tests.site.provisioning import oscore, write_context
from tests.support import require_dtls, require_program

CONFIG = "[coap]\ndtls_port = 0\n" if find_spec("mbedtls") else ""
METHOD = "$site/policy/schema"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    assert hilum("ca", "init", "--state", str(folder / "state")).returncode == 0
    with Gateway(folder, config=CONFIG) as gateway:
        gateway.allow("devices", {"kind": "device"}, "call", METHOD)
        gateway.allow("devices-talk", {"kind": "device"}, "publish subscribe", "talk/**")
        yield gateway


def added(site, principal, *more):
    done = site.cli("device", "add", principal, *more, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["claim"]


def claim(site, token, **wish):
    return site.http("POST", "/$site/identity/claim", json.dumps(wish), token=token)


def told(site, token, **wish):
    reply = claim(site, token, **wish)
    assert reply.status == 200, reply.body
    return reply.json()


class Mqtt:
    """An MQTT 5 client that says what became of it, and calls methods."""

    def __init__(self, site, user, password):
        self.said = []
        self.replies = []
        client = self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.username_pw_set(user, password)
        client.on_connect = lambda *a: self.said.append(str(a[3]))
        client.on_disconnect = lambda *a: self.said.append(f"gone: {a[3]}")
        client.on_message = lambda _c, _u, message: self.replies.append(message.payload)
        client.connect("127.0.0.1", urlsplit(site.mqtt).port)
        client.loop_start()
        assert self.wait(self.said, 1)

    @staticmethod
    def wait(what, count, seconds=10.0):
        end = time.monotonic() + seconds
        while len(what) < count and time.monotonic() < end:
            time.sleep(0.02)
        return what[count - 1] if len(what) >= count else None

    def call(self, name, document):
        self.client.subscribe("reply/here")
        properties = paho.Properties(paho.PacketTypes.PUBLISH)
        properties.ResponseTopic = "reply/here"
        properties.CorrelationData = b"1"
        count = len(self.replies)
        self.client.publish(name, json.dumps(document), qos=1, properties=properties)
        return json.loads(self.wait(self.replies, count + 1))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_who_has_a_claim_token_may_claim_and_nothing_else(site):
    token = added(site, "device:first")
    assert site.http("POST", f"/{METHOD}", "{}", token=token).status == 403
    assert site.http("POST", "/$site/registry/list", "{}", token=token).status == 403
    assert site.http("POST", "/$site/identity/claim", "{}", token="").status == 401
    secret = told(site, token, want="secret")
    client = Mqtt(site, secret["user"], secret["password"])
    try:
        assert client.said == ["Success"]
    finally:
        client.close()


def test_a_claim_token_counts_once_also_after_a_crash(tmp_path):
    with Gateway(tmp_path) as site:
        token = added(site, "device:once")
        told(site, token)
        assert claim(site, token).status == 409
        site.kill()
        site.start()
        assert claim(site, token).status in (401, 409)


def test_a_claim_token_expires(site):
    token = added(site, "device:late", "--ttl", "1s")
    time.sleep(1.2)
    assert claim(site, token).status == 401


@pytest.mark.parametrize("token", ["service:x", "user:y"])
def test_other_tokens_claim_nothing(site, token):
    ordinary = site.token_for(token, "device")
    assert claim(site, ordinary).status == 403
    assert claim(site, site.token).status == 403


def test_only_administrators_add_and_revoke_devices(site):
    token = site.token_for("user:mallory", "user")
    site.allow("mallory", {"principal": "user:mallory"}, "call", "$site/identity/**")
    for method, document in [
        ("add", {"principal": "device:x"}),
        ("certify", {"principal": "device:x", "request": "x"}),
        ("list", {}),
        ("revoke", {"principal": "device:first"}),
    ]:
        reply = site.http("POST", f"/$site/identity/{method}", json.dumps(document), token=token)
        assert reply.status == 403, method


@pytest.mark.parametrize(
    "document",
    [
        {"principal": "nobody"},
        {"principal": "anonymous:x"},
        {"principal": "newcomer:x"},
        {"principal": "device:x", "kind": "newcomer"},
        {"principal": "device:x", "kind": "anonymous"},
        {"principal": "device:x", "ttl": 0},
        {"principal": "device:x", "overlap": -2},
    ],
)
def test_what_cannot_be_a_device_is_refused(site, document):
    reply = site.http("POST", "/$site/identity/add", json.dumps(document))
    assert reply.status in (400, 422), reply.body


def test_a_certificate_is_claimed_with_a_request(site):
    token = added(site, "device:cert")
    assert claim(site, token, want="certificate").status == 422
    assert claim(site, token, want="certificate", request="rubbish").status == 422
    answer = told(site, token, want="certificate", request=new_request(new_key()).decode(), days=3)
    said = read_certificate(answer["certificate"].encode())
    assert said.uris == ("urn:hilum:principal:device:cert",)
    assert answer["authority"].encode() == (site.state / "ca" / "ca.pem").read_bytes()


def test_a_claim_over_mqtt_has_the_token_as_its_password(site):
    token = added(site, "device:mqtt")
    newcomer = Mqtt(site, "anybody", token)
    try:
        assert newcomer.said == ["Success"]
        secret = newcomer.call("$site/identity/claim", {"want": "secret"})
        assert secret["principal"] == "device:mqtt"
        assert "gone" in newcomer.wait(newcomer.said, 2)
    finally:
        newcomer.close()
    device = Mqtt(site, secret["user"], secret["password"])
    try:
        assert device.said == ["Success"]
    finally:
        device.close()
    assert Mqtt.wait(Mqtt(site, "anybody", token).said, 1) != "Success"


async def test_a_claim_over_coap_is_protected_by_the_token(site, tmp_path):
    """Nothing secret is readable: the request's context is derived from the claim token."""
    token = added(site, "device:coap")
    mine = write_context(tmp_path / "claim", claim_keys(token).told())
    assert (await oscore(site.coap, mine, METHOD, b"{}")).code.dotted == "4.03"
    reply = await oscore(site.coap, mine, "$site/identity/claim", b'{"want": "oscore"}')
    assert reply.code.dotted == "2.04", reply.payload
    keys = json.loads(reply.payload)
    again = await oscore(site.coap, mine, "$site/identity/claim", b'{"want": "oscore"}')
    assert again.code.dotted in ("4.09", "4.01")
    device = write_context(tmp_path / "device", keys)
    assert (await oscore(site.coap, device, METHOD, b"{}")).code.dotted == "2.04"
    rotated = await oscore(site.coap, device, "$site/identity/rotate", b'{"overlap": 2}')
    fresh = write_context(tmp_path / "fresh", json.loads(rotated.payload))
    assert (await oscore(site.coap, fresh, METHOD, b"{}")).code.dotted == "2.04"
    assert (await oscore(site.coap, device, METHOD, b"{}")).code.dotted == "2.04"
    await asyncio.sleep(3.5)
    assert (await oscore(site.coap, device, METHOD, b"{}")).code.dotted == "4.01"
    assert (await oscore(site.coap, fresh, METHOD, b"{}")).code.dotted == "2.04"
    assert site.cli("device", "revoke", "--principal", "device:coap").returncode == 0
    assert (await oscore(site.coap, fresh, METHOD, b"{}")).code.dotted == "4.01"


def coap_client(site, program, identity, key, path=METHOD):
    require_dtls()
    port = urlsplit(site.ready["coap_dtls"]).port
    words = ["-B", "2", "-v", "4", "-m", "post", "-t", "50", "-e", "{}", "-u", identity, "-k", key]
    done = subprocess.run(
        [require_program(program), *words, f"coaps://127.0.0.1:{port}/{path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("program", ["coap-client-openssl", "coap-client-gnutls"])
def test_a_pre_shared_key_is_its_devices_over_dtls(site, program):
    principal = f"device:{program}"
    psk = told(site, added(site, principal), want="psk")
    assert '"$schema"' in coap_client(site, program, psk["identity"], psk["key"])
    assert '"$schema"' not in coap_client(site, program, psk["identity"], "f" * 32)
    assert '"$schema"' not in coap_client(site, program, "admin", psk["key"])
    assert '"$schema"' not in coap_client(site, program, "site:admin", psk["key"])
    assert site.cli("device", "revoke", psk["id"]).returncode == 0
    assert '"$schema"' not in coap_client(site, program, psk["identity"], psk["key"])
    assert not (site.state / "psk" / psk["identity"]).exists()


def test_keys_survive_a_restart_and_are_nowhere_else(tmp_path):
    with Gateway(tmp_path, config=CONFIG) as site:
        site.allow("devices", {"kind": "device"}, "call", METHOD)
        psk = told(site, added(site, "device:key"), want="psk")
        secret = told(site, added(site, "device:secret"), want="secret")
        context = told(site, added(site, "device:oscore"), want="oscore")
        site.restart()
        program = "coap-client-openssl"
        assert '"$schema"' in coap_client(site, program, psk["identity"], psk["key"])
    path = site.state / "psk" / psk["identity"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (site.state / "oscore" / context["senderId"] / "secret.json").stat().st_mode & 0o77 == 0
    kept = b"".join(file.read_bytes() for file in site.state.glob("*.db*"))
    kept += site.log.read_bytes()
    for word in (psk["key"], secret["password"], context["masterSecret"]):
        assert word.encode() not in kept
    shutil.rmtree(site.state)


def test_rotation_overlaps(site):
    first = told(site, added(site, "device:turn"), want="secret")
    device = Mqtt(site, first["user"], first["password"])
    second = device.call("$site/identity/rotate", {"overlap": 2})
    both = [Mqtt(site, one["user"], one["password"]) for one in (first, second)]
    try:
        assert [client.said[0] for client in both] == ["Success", "Success"]
        assert "gone" in both[0].wait(both[0].said, 2)
        assert "gone" in device.wait(device.said, 2)
        assert both[1].said == ["Success"]
    finally:
        for client in (device, *both):
            client.close()
    assert Mqtt(site, first["user"], first["password"]).said[0] != "Success"


def test_a_device_that_rotates_all_the_time_is_held_back(site):
    first = told(site, added(site, "device:eager"), want="secret")
    device = Mqtt(site, first["user"], first["password"])
    try:
        answers = [device.call("$site/identity/rotate", {}) for _ in range(8)]
        assert all("password" in answer for answer in answers[:7])
        assert "password" not in answers[7]
    finally:
        device.close()


def test_an_operator_replaces_what_a_device_has(site):
    first = told(site, added(site, "device:worn"), want="secret")
    done = site.cli("device", "rotate", "device:worn", "--overlap", "0s", "--output", "json")
    second = told(site, json.loads(done.stdout)["claim"], want="secret")
    time.sleep(1.5)
    assert Mqtt(site, first["user"], first["password"]).said[0] != "Success"
    assert Mqtt(site, second["user"], second["password"]).said[0] == "Success"


def test_nothing_is_replaced_of_a_device_that_has_nothing(site):
    done = site.cli("device", "rotate", "device:stranger")
    assert done.returncode == 5
    assert "hilum device add" in done.stderr
    assert "hlm_" not in done.stdout
    done = site.cli("device", "revoke", "--principal", "device:stranger")
    assert done.returncode == 0
    assert "device:stranger had no credential here" in done.stderr


def test_the_list_shows_what_is_public(site):
    added(site, "device:listed", "--note", "in the hall")
    out = site.cli("device", "list").stdout
    assert "device:listed" in out
    assert "claim" in out
    listed = site.cli("device", "list", "--output", "json").stdout
    assert "verifier" not in listed


def test_a_revoked_claim_is_worth_nothing(site):
    token = added(site, "device:never")
    assert site.cli("device", "revoke", "--principal", "device:never").returncode == 0
    assert claim(site, token).status == 401
