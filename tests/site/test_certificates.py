"""Certificates of clients at a running site, with the clients that people use."""

import json
import os
import socket
import ssl
import subprocess
import time
from unittest import mock
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest

from tests.running import Gateway, hilum
from tests.site.provisioning import URN, OpensslCa, ask, https
from tests.support import require_program

LAMP = f"URI:{URN}device:lamp"
PAST = ("20200101000000Z", "20200201000000Z")
FUTURE = ("20400101000000Z", "20400201000000Z")
CONFIG = """
[http]
{tls}
[control]
{tls}
[mqtt]
{tls}
websocket_port = 0
[coap]
{tls}
tls_port = 0
"""
TLS = """
tls_certificate = "{folder}/listener.pem"
tls_key = "{folder}/listener.key"
client_certificates = "optional"
client_ca = "{other}/ca.pem"
client_crl = "{other}/crl.pem"
client_realm = "acme"
"""


class World:
    """A site with an authority of its own that trusts another one too."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.other = OpensslCa(folder / "other")
        self.other.crl()
        self.stranger = OpensslCa(folder / "stranger", "Hilum site")
        self.hilum("ca", "init", "--state", str(self.state))
        self.ca = self.state / "ca" / "ca.pem"
        hosts = ("--host", "localhost", "--host", "127.0.0.1")
        self.hilum("ca", "issue", *hosts, "--state", str(self.state), "--out", f"{folder}/listener")
        tls = TLS.format(folder=folder, other=self.other.folder)
        self.gateway = Gateway(folder, config=CONFIG.format(tls=tls))

    def hilum(self, *words):
        done = hilum(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def own(self, principal, *more):
        """Have the running site certify a principal; return the file with certificate and key."""
        prefix = self.folder / principal.replace(":", "-")
        done = self.gateway.cli("ca", "issue", principal, *more, "--out", str(prefix))
        assert done.returncode == 0, done.stderr
        pem = prefix.with_suffix(".both")
        parts = [prefix.with_suffix(end).read_text() for end in (".pem", ".key")]
        pem.write_text("".join(parts))
        return pem

    def whoami(self, pem=None, **fields):
        """Return the status of a call that only the lamp, acme's lamp and the admin may make."""
        connection = https(self.gateway.url, self.ca, pem)
        try:
            return ask(connection, "/$site/policy/schema", **fields)[0]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("pki"))
    with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(made.ca)}), made.gateway as gateway:
        for number, who in enumerate(("device:lamp", "acme:device:lamp")):
            gateway.allow(f"lamp-{number}", {"principal": who}, "call", "$site/policy/schema")
        yield made


@pytest.fixture(scope="module")
def lamp(world):
    return world.own("device:lamp", "--kind", "device")


def test_a_certificate_of_the_site_is_its_principal_over_http(world, lamp):
    assert world.whoami() == 401
    assert world.whoami(lamp) == 200
    assert world.whoami(world.own("device:other", "--kind", "user")) == 403


def test_the_other_authority_has_a_realm_of_its_own(world):
    pem = world.other.issue("lamp", san=LAMP)
    assert world.whoami(pem) == 200
    world.gateway.cli("delete", "AccessPolicy", "lamp-1")
    try:
        assert world.whoami(pem) == 403, "the site's own lamp may; this one may not"
    finally:
        world.gateway.allow(
            "lamp-1", {"principal": "acme:device:lamp"}, "call", "$site/policy/schema"
        )


def test_a_token_counts_before_the_certificate(world, lamp):
    token = world.gateway.token_for("user:ann", "user")
    assert world.whoami(lamp, authorization=f"Bearer {token}") == 403
    assert world.whoami(lamp, authorization="Bearer nonsense") == 401


def test_a_web_page_does_not_borrow_its_readers_certificate(world, lamp):
    assert world.whoami(lamp, origin="https://evil.example") == 401
    assert world.whoami(lamp, **{"Sec-Fetch-Site": "cross-site"}) == 401


def test_the_control_api_takes_certificates(world, lamp):
    def status(pem, **fields):
        connection = https(world.gateway.control, world.ca, pem)
        try:
            connection.request("GET", "/api/v1/policies", headers=fields)
            return connection.getresponse().status
        finally:
            connection.close()

    assert status(None) == 401
    assert status(lamp) == 403
    assert status(world.own("user:root", "--kind", "administrator")) == 200
    assert status(lamp, origin="https://evil.example") == 401


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("nobody", {"san": ""}),
        ("cn", {"san": "", "cn": "device:lamp"}),
        ("dns", {"san": "DNS:lamp.example"}),
        ("two", {"san": f"{LAMP},URI:{URN}site:admin"}),
        ("expired", {"san": LAMP, "when": PAST}),
        ("early", {"san": LAMP, "when": FUTURE}),
    ],
)
def test_what_names_nobody_now_gets_no_connection(world, name, how):
    pem = world.other.issue(name, **how)
    with pytest.raises((ssl.SSLError, OSError, ConnectionError)):
        world.whoami(pem)


def test_an_authority_of_the_sites_name_is_a_stranger(world):
    with pytest.raises((ssl.SSLError, OSError)):
        world.whoami(world.stranger.issue("lamp", san=LAMP))


def test_curl_shows_a_certificate(world, lamp):
    words = ["-sS", "--cacert", str(world.ca), "--cert", str(lamp), "-o", "/dev/null"]
    words += ["-w", "%{http_code}", "-d", "{}", f"{world.gateway.url}/$site/policy/schema"]
    done = subprocess.run([require_program("curl"), *words], capture_output=True, check=True)
    assert done.stdout == b"200"


def mqtt(world, *more, port=None):
    url = urlsplit(world.gateway.mqtt)
    words = ["-h", "127.0.0.1", "-p", str(url.port), "--cafile", str(world.ca), *more]
    return subprocess.run(
        [require_program("mosquitto_pub"), *words, "-V", "5", "-t", "x/y", "-m", "1", "-q", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_mosquitto_connects_with_a_certificate(world, lamp):
    shown = ("--cert", str(lamp), "--key", str(lamp))
    assert "denied" in mqtt(world, *shown).stderr.lower() or mqtt(world, *shown).returncode == 0
    done = mqtt(world)
    assert "not authorized" in done.stderr.lower()
    nobody = world.other.issue("nobody-mqtt", san="")
    assert mqtt(world, "--cert", str(nobody), "--key", str(nobody)).returncode != 0


class Paho:
    """An MQTT client that stays, over TCP or WebSocket."""

    def __init__(self, world, pem, transport="tcp"):
        self.reasons = []
        client = self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, transport=transport
        )
        context = ssl.create_default_context(cafile=world.ca)
        context.load_cert_chain(pem)
        client.tls_set_context(context)
        client.on_connect = lambda *a: self.reasons.append(str(a[3]))
        client.on_disconnect = lambda *a: self.reasons.append(f"gone: {a[3]}")
        url = world.gateway.mqtt if transport == "tcp" else world.gateway.mqtt_websocket
        if transport != "tcp":
            client.ws_set_options(path=urlsplit(url).path)
        client.connect("127.0.0.1", urlsplit(url).port)
        client.loop_start()
        self.wait(1)

    def wait(self, count, seconds=10.0):
        end = time.monotonic() + seconds
        while len(self.reasons) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.reasons[:count]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_paho_connects_with_a_certificate(world, lamp, transport):
    client = Paho(world, lamp, transport)
    try:
        assert client.wait(1) == ["Success"]
    finally:
        client.close()


def gone_or_nothing(connection):
    """Raise ConnectionError, or what the system says, when the site has closed a connection."""
    if not connection.sock.recv(1):
        raise ConnectionError


def test_a_revocation_list_ends_what_is_open_within_seconds(world):
    pem = world.other.issue("thief", san=f"URI:{URN}device:thief")
    stays = world.other.issue("stays", san=f"URI:{URN}device:stays")
    client, other = Paho(world, pem), Paho(world, stays)
    connection = https(world.gateway.url, world.ca, pem)
    try:
        assert ask(connection, "/$site/policy/schema")[0] == 403
        world.other.crl("thief")
        began = time.monotonic()
        assert "gone" in client.wait(2)[1]
        assert time.monotonic() - began < 8
        with pytest.raises(OSError):
            gone_or_nothing(connection)
        assert other.wait(2, 0.1) == ["Success"]
        with pytest.raises((ssl.SSLError, OSError)):
            world.whoami(pem)
    finally:
        client.close()
        other.close()
        connection.close()


def test_hilum_ca_revoke_ends_a_certificate_of_the_site(world):
    pem = world.own("device:old", "--kind", "device")
    client = Paho(world, pem)
    try:
        assert client.wait(1) == ["Success"]
        listed = json.loads(
            world.hilum("ca", "list", "--state", str(world.state), "--output", "json")
        )
        serial = next(one["serial"] for one in listed["items"] if one["for"] == "device:old")
        world.hilum("ca", "revoke", serial, "--state", str(world.state))
        assert "gone" in client.wait(2)[1]
    finally:
        client.close()
    with pytest.raises((ssl.SSLError, OSError)):
        world.whoami(pem)


def test_device_revoke_ends_it_at_once(world):
    client = Paho(world, world.own("device:lost", "--kind", "device"))
    try:
        assert client.wait(1) == ["Success"]
        began = time.monotonic()
        done = world.gateway.cli("device", "revoke", "--principal", "device:lost")
        assert "revoked" in done.stdout
        assert "gone" in client.wait(2)[1]
        assert time.monotonic() - began < 1.5
    finally:
        client.close()


def test_a_list_that_does_not_load_is_reported_and_changes_nothing(world, lamp):
    path = world.other.folder / "crl.pem"
    good = path.read_bytes()
    path.write_text("rubbish")
    try:
        end = time.monotonic() + 8
        while "what was loaded goes on" not in world.gateway.logged() and time.monotonic() < end:
            time.sleep(0.05)
        assert "what was loaded goes on" in world.gateway.logged()
        assert world.whoami(lamp) == 200
    finally:
        path.write_bytes(good)


def coap_over_tls(world, pem, path):
    """Ask over CoAP over TLS by hand (RFC 8323): return the code of the answer."""
    port = urlsplit(world.gateway.ready["coap_tls"]).port
    context = ssl.create_default_context(cafile=world.ca)
    context.set_alpn_protocols(["coap"])
    if pem is not None:
        context.load_cert_chain(pem)
    options, last = b"", 0
    for part in path.split("/"):
        text = part.encode()
        head = bytes([(11 - last) << 4 | min(len(text), 13)])
        options += head + (bytes([len(text) - 13]) if len(text) >= 13 else b"") + text
        last = 11
    body = options + b"\xff{}"
    size = len(body)
    head = bytes([13 << 4 | 1, size - 13]) if size >= 13 else bytes([size << 4 | 1])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(b"\x00\xe1" + head + b"\x02\x77" + body)
        received = b""
        while True:
            data = wrapped.recv(4096)
            if not data:
                return None
            received += data
            code = received.find(b"\x77")
            if code > 0:
                return f"{received[code - 1] >> 5}.{received[code - 1] & 31:02d}"


def test_coap_over_tls_takes_certificates(world, lamp):
    assert coap_over_tls(world, lamp, "$site/policy/schema") == "2.04"
    assert coap_over_tls(world, None, "$site/policy/schema") == "4.01"
    pem = world.other.issue("coap", san=LAMP.replace("lamp", "door"))
    assert coap_over_tls(world, pem, "$site/policy/schema") == "4.03"
