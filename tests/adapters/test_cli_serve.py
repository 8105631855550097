"""``hilum serve`` and what looks at a site that is not running: real processes, real state."""

import asyncio
import json
import signal
import socket
import ssl
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from adapters.cli import options
from adapters.client import Problem
from adapters.store.eventlog import open_event_log
from gateway.message import Status
from gateway.ports import DeadLetter
from tests.running import HILUM, Gateway, Service, cli, environment, hilum
from tests.support import ROOT

INVALID, UNAVAILABLE = Status.INVALID.wire.exit, Status.UNAVAILABLE.wire.exit


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The state of a site that ran once."""
    site = Gateway(tmp_path_factory.mktemp("stopped"))
    site.start()
    site.allow("kept", {"principal": "user:ann"}, "call", "plans/**")
    assert site.stop() == 0
    return site


ANYWHERE = ("--http", ":0", "--control", ":0", "--mqtt", ":0", "--coap", ":0")


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path):
    with Gateway(tmp_path) as site:
        site.allow("kept", {"principal": "user:ann"}, "call", "plans/**")
        token = site.token_for("user:ann", "user")
        url = site.url
        site.kill()
        site.start()
        assert site.url == url
        items = site.ask("policy/get", {"kind": "AccessPolicy", "name": "kept"})["items"]
        assert items[0]["metadata"]["name"] == "kept"
        with pytest.raises(Problem) as refused:
            site.client(token).ask("policy/get", {})
        assert refused.value.status is Status.DENIED


def test_ctrl_c_ends_a_site_cleanly(tmp_path):
    site = Gateway(tmp_path).start()
    site.process.send_signal(signal.SIGINT)
    assert site.stop() == 0
    assert "Traceback" not in site.logged()
    assert "KeyboardInterrupt" not in site.logged()


def test_a_person_is_told_where_everything_is(tmp_path):
    arguments = ["--state", "state", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    arguments += ["--mqtt", ":0", "--coap", ":0"]
    (tmp_path / "site.toml").write_text("[mqtt]\nwebsocket_port = 0\n[coap]\ntcp = true\n")
    arguments += ["--config", "site.toml"]
    process = subprocess.Popen(
        [*HILUM, "serve", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline()]
    while "hilum --help" not in lines[-1] and lines[-1]:
        lines.append(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=30)
    said = "".join(lines)
    path = tmp_path / "state" / "admin.token"
    assert f"export HILUM_TOKEN_FILE={path}" in said
    assert "export HILUM_URL=http://127.0.0.1:" in said
    for line in (
        "  MQTT           mqtt://127.0.0.1:",
        "  MQTT WebSocket ws://127.0.0.1:",
        "  CoAP           coap://127.0.0.1:",
        "  CoAP over TCP  coap+tcp://127.0.0.1:",
    ):
        assert line in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in said


def test_two_processes_on_one_state_are_refused(tmp_path):
    with Gateway(tmp_path) as site:
        done = cli(
            "serve",
            "--state",
            str(site.state),
            "--http",
            ":0",
            "--control",
            ":0",
            "--mqtt",
            ":0",
            "--coap",
            ":0",
        )
        assert done.returncode == UNAVAILABLE
        assert f"in use by process {site.process.pid}" in done.stderr
        done = hilum("token", "issue", "--offline", "--state", str(site.state))
        assert done.returncode == UNAVAILABLE
        assert "stop `hilum serve` first" in done.stderr


@pytest.mark.parametrize("listener", ["--http", "--control", "--mqtt", "--coap"])
def test_an_address_in_use_is_told(tmp_path, listener):
    kind = socket.SOCK_DGRAM if listener == "--coap" else socket.SOCK_STREAM
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ports = dict.fromkeys(("--http", "--control", "--mqtt", "--coap"), ":0")
        ports[listener] = f"127.0.0.1:{port}"
        arguments = [each for option in ports.items() for each in option]
        done = cli("serve", "--state", str(tmp_path / "state"), *arguments)
    assert done.returncode == UNAVAILABLE
    assert str(port) in done.stderr
    assert "--http, --control, --mqtt and --coap choose other ports" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[htpp]\nport = 1\n", "line 1: [htpp] is not a table; did you mean http?"),
        ("[http]\nport = 70000\n", "line 2: [http] port"),
        ("[http\n", "not TOML"),
        ('[http]\nhost = "0.0.0.0"\n', "without TLS"),
    ],
)
@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_wrong_configuration_is_told_with_its_line(tmp_path, command, config, said):
    path = tmp_path / "site.toml"
    path.write_text(config)
    done = hilum(command, "--config", str(path))
    assert done.returncode == INVALID
    assert f"{path}: " in done.stderr
    assert said in done.stderr


def test_check_prints_what_is_in_force(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text('[site]\nauthority = "home.example"\n')
    done = hilum("check", "--config", str(path), "--output", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["site"]["authority"] == "home.example"
    assert "home.example" in hilum("check", "-c", str(path)).stdout
    assert hilum("check", "-c", str(tmp_path / "none.toml")).returncode == INVALID


def test_a_configured_site_runs(tmp_path):
    with Gateway(
        tmp_path, config='[site]\nauthority = "home.example"\n[log]\nformat = "json"\n'
    ) as site:
        name = site.ask("registry/list", {"limit": 1})["items"][0]["name"]
        assert name.startswith("home.example/")
        assert json.loads(site.logged().splitlines()[0])["logger"].startswith("hilum")


@pytest.mark.parametrize("text", ["8080", "a:b", "127.0.0.1:70000", "[::1]", "http://a:1"])
def test_an_address_must_be_one(text):
    done = hilum("serve", "--http", text)
    assert done.returncode == Status.BAD_REQUEST.wire.exit
    assert "HOST:PORT" in done.stderr


def test_a_lost_admin_token_is_recovered(stopped):
    done = hilum(
        "token", "issue", "--offline", "--state", str(stopped.state), "--ttl", "5m", "--save"
    )
    secret = done.stdout.strip()
    assert done.returncode == 0, done.stderr
    path = stopped.state / "admin.token"
    assert path.read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with stopped.restart() as site:
        assert site.token == secret
        tokens = {item["note"]: item for item in site.ask("token/list")["items"]}
        assert tokens["offline"]["kind"] == "administrator"
        assert site.ask("policy/get", {"name": "kept"})["items"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--state", "{none}"], Status.NOT_FOUND, "no site's state"),
        (["ann", "--state", "{state}"], Status.INVALID, "realm:subject"),
        (["user:ann", "--ttl", "99999d", "--state", "{state}"], Status.INVALID, "lifetime"),
    ],
)
def test_an_offline_token_that_cannot_be(stopped, tmp_path, arguments, code, said):
    places = {"none": tmp_path, "state": stopped.state}
    arguments = [argument.format(**places) for argument in arguments]
    done = hilum("token", "issue", "--offline", *arguments)
    assert done.returncode == code.wire.exit
    assert said in done.stderr


def test_state_and_save_mean_nothing_online(tmp_path):
    done = hilum("token", "issue", "user:ann", "--save")
    assert done.returncode == Status.BAD_REQUEST.wire.exit
    assert "--offline" in done.stderr


def test_the_token_of_a_local_site_is_found_and_stays_on_this_machine(tmp_path, monkeypatch):
    (tmp_path / "admin.token").write_text("hlm_local\n")
    monkeypatch.setenv("HILUM_STATE", str(tmp_path))
    for name in ("HILUM_TOKEN", "HILUM_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert options.connect("http://127.0.0.1:8080", "", None)._token == "hlm_local"
    assert options.connect("https://[::1]", "", None)._token == "hlm_local"
    assert options.connect("https://gateway.example", "", None)._token == ""
    assert options.connect("https://gateway.example", "hlm_given", None)._token == "hlm_given"


BOUND = """\
apiVersion: hilum/v1
kind: Binding
metadata: {name: bound}
spec: {name: letters/events, call: letters/take}
"""


async def bury(path, *payloads):
    """Put dead letters where eight failed attempts would have put them."""
    log = await open_event_log(path)
    letter = DeadLetter(
        0, "bound", "localhost/letters/events", "abc-1", 0, 8, "no", "text/plain", b""
    )
    ids = [await log.bury(replace(letter, payload=payload)) for payload in payloads]
    await log.close()
    return ids


def test_dead_letters_are_listed_redriven_and_deleted(tmp_path):
    with Service() as service, Gateway(tmp_path) as site:
        take = {"endpoints": [{"url": service.url + "/take"}]}
        objects = [{"name": "letters", "methods": {"take": take}, "channels": {"events": {}}}]
        site.register({"microservice": "Letters", "objects": objects})
        site.apply(BOUND)
        assert json.loads(site.cli("deadletter", "list", "-o", "json").stdout) == {"items": []}
        site.stop()
        first, second = map(str, asyncio.run(bury(site.state / "events.db", b"one", b"\xff")))
        site.start()
        listed = site.cli("deadletter", "list").stdout.splitlines()
        assert [line.split()[0] for line in listed] == ["ID", first, second]
        service.status = 500
        done = site.cli("deadletter", "redrive", first)
        assert done.returncode == Status.PROVIDER_ERROR.wire.exit, done.stderr
        service.status = 200
        done = site.cli("deadletter", "redrive", first)
        assert done.stdout == f"dead letter {first} delivered\n"
        assert service.seen[-1] == ("/take", b"one")
        done = site.cli("deadletter", "delete", second, "--output", "json")
        assert json.loads(done.stdout)["items"] == [{"id": int(second), "deleted": True}]
        assert json.loads(site.cli("deadletter", "list", "-o", "json").stdout) == {"items": []}


CERTIFICATE = Path(__file__).with_name("localhost.pem")
TLS = "".join(
    f"[{table}]\ntls_certificate = '{CERTIFICATE}'\ntls_key = '{CERTIFICATE}'\n"
    for table in ("http", "control")
)


def test_both_listeners_speak_tls(tmp_path):
    with Gateway(tmp_path, config=TLS) as site:
        assert site.url.startswith("https://")
        done = site.cli("get", SSL_CERT_FILE=str(CERTIFICATE))
        assert "administrators" in done.stdout, done.stderr
        done = site.cli("get")
        assert done.returncode == UNAVAILABLE
        assert "is not trusted" in done.stderr
        assert "SSL_CERT_FILE" in done.stderr
        done = site.cli("get", HILUM_URL=site.url.replace("https", "http"))
        assert done.returncode == UNAVAILABLE
        assert "http or https" in done.stderr
        with urlopen(f"{site.control}/readyz", context=context()) as reply:
            assert reply.read() == b"ready\n"


def context():
    return ssl.create_default_context(cafile=CERTIFICATE)


def test_a_certificate_that_does_not_load_is_told(tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    path = tmp_path / "site.toml"
    path.write_text(TLS.replace(str(CERTIFICATE), str(wrong)))
    arguments = (
        "--config",
        str(path),
        "--http",
        ":0",
        "--control",
        ":0",
        "--mqtt",
        ":0",
        "--coap",
        ":0",
    )
    done = cli("serve", "--state", str(tmp_path / "state"), *arguments)
    assert done.returncode == INVALID
    assert f"[http] {wrong} and {wrong} do not load" in done.stderr
    done = cli("check", "--config", str(path))
    assert done.returncode == INVALID
    assert str(wrong) in done.stderr


def test_version():
    assert hilum("version").stdout.startswith("hilum ")
    assert set(json.loads(hilum("version", "-o", "json").stdout)) >= {"hilum", "python", "uvloop"}
    done = subprocess.run(
        [*HILUM, "version"], cwd=ROOT, env=environment(), capture_output=True, check=True
    )
    assert done.stdout.startswith(b"hilum ")
