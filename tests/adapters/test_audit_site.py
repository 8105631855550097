"""A running site's audit log: denials, changes with their actors, failed logins, kills."""

import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import paho.mqtt.client as paho
import pytest

from adapters.audit.folder import newest, verify
from tests.running import Gateway, hilum


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("audit")) as gateway:
        yield gateway


def records(site):
    return [one.body for one in newest(site.state / "audit", 10_000)]


def found(site, *, seconds=5.0, **wanted):
    """Return the first record with these fields once it is written."""
    until = time.monotonic() + seconds
    while True:
        for body in records(site):
            if all(body.get(key) == value for key, value in wanted.items()):
                return body
        assert time.monotonic() < until, (wanted, records(site))
        time.sleep(0.05)


def ask(site, method, document, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{site.url}/$site/{method}", json=document, headers=headers)


def test_changes_are_recorded_with_their_actor_and_without_secrets(site):
    answer = ask(site, "token/issue", {"principal": "service:w"}, site.token).json()
    body = found(site, event="token-issued", principal="service:w")
    assert body["actor"] == "user:admin" or ":" in body["actor"]
    assert body["credential"] == answer["id"]
    revoked = ask(site, "token/revoke", {"id": answer["id"]}, site.token)
    assert revoked.status_code == 200
    found(site, event="token-revoked", credential=answer["id"])
    text = "".join(path.read_text() for path in (site.state / "audit").glob("*.jsonl"))
    assert answer["token"] not in text
    assert site.token not in text


def test_a_flood_of_denials_is_a_few_records(site):
    with httpx.Client() as client:
        for number in range(300):
            client.post(f"{site.url}/secret/{number % 100}/do")
    body = found(site, event="denied", principal="anonymous:http")
    assert body["action"] in ("call", "describe") or body["action"]
    denials = [one for one in records(site) if one["event"] == "denied"]
    assert len(denials) <= 40


def test_failed_authentication_is_recorded_without_what_was_presented(site):
    ask(site, "registry/list", {}, "hlm_0123456789abcdef_" + "x" * 43)
    body = found(site, event="refused")
    assert body["peer"].startswith("127.0.0.1")
    assert "xxxx" not in json.dumps(records(site))


def test_sessions_that_begin_are_recorded(site):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "c", protocol=paho.MQTTv5)
    client.username_pw_set("x", site.token)
    at = urlsplit(site.mqtt)
    client.connect(at.hostname, at.port)
    client.loop_start()
    body = found(site, event="authenticated", protocol="mqtt")
    client.disconnect()
    client.loop_stop()
    assert (body["principal"], body["method"]) == ("site:admin", "token")
    assert body["peer"].startswith("127.0.0.1")


def test_a_right_that_a_payload_needs_is_recorded_when_it_is_missing(site):
    token = site.token_for("service:issuer")
    site.allow("issuer", {"principal": "service:issuer"}, "call", "$site/token/**")
    assert ask(site, "token/issue", {"principal": "user:me"}, token).status_code == 403
    found(site, event="denied", principal="service:issuer", action="administer")


def test_metrics_show_denials_by_policy_and_the_log(site):
    ask(site, "token/list", {})
    text = httpx.get(f"{site.control}/metrics").text
    assert "# HELP hilum_denials_total" in text
    assert "hilum_audit_records_total" in text
    assert "hilum_audit_failing 0.0" in text
    assert 'hilum_breakers{state="open"} 0.0' in text
    assert 'hilum_denials_total{policy="built-in"}' in text
    assert "hilum_authentication_failures_total" in text
    for line in text.splitlines():
        if line.startswith("# TYPE hilum"):
            assert f"# HELP {line.split()[2]} " in text


def test_no_client_can_make_a_series_of_its_own(site):
    def series():
        text = httpx.get(f"{site.control}/metrics").text
        return {line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"}

    ask(site, "token/list", {}, "hlm_wrong")
    ask(site, "nothing/nothing", {})
    before = series()
    with httpx.Client() as client:
        for number in range(300):
            headers = {"Authorization": f"Bearer eyJ{number}", "traceparent": f"00-{number}"}
            client.post(f"{site.url}/hostile{number}/x", headers=headers if number % 2 else {})
            client.request("GET", f"{site.url}/$site/registry/list?hostile{number}=1")
    after = series()
    assert len(after - before) <= 10
    assert "hostile" not in "".join(after)


def test_the_command_verifies_and_says_the_first_wrong_record(site, tmp_path):
    folder = site.state / "audit"
    whole = hilum("audit", "verify", str(folder), "--output", "json")
    assert whole.returncode == 0, whole.stderr
    document = json.loads(whole.stdout)
    assert document["whole"] is True
    copy = tmp_path / "audit"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    last = max(copy.glob("*.jsonl"))
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join([lines[0].replace(b"start", b"sturt"), *lines[1:-1]]))
    broken = hilum("audit", "verify", str(copy))
    assert broken.returncode == 9
    assert "changed" in broken.stdout
    assert "truncated" in broken.stdout
    anchored = hilum("audit", "verify", str(folder), "--anchor", f"1:{'0' * 64}")
    assert anchored.returncode == 9
    assert "replaced" in anchored.stdout
    assert hilum("audit", "verify", str(tmp_path / "nothing")).returncode == 5
    assert hilum("audit", "verify", str(folder), "--anchor", "x").returncode == 2


def test_the_command_shows_the_newest_records(site):
    for name in ("service:x", "service:y", "service:z"):
        ask(site, "token/issue", {"principal": name}, site.token)
    found(site, event="token-issued", principal="service:z")
    shown = hilum("audit", "tail", str(site.state / "audit"), "--count", "3")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.strip().splitlines()) == 3
    as_json = hilum("audit", "tail", str(site.state / "audit"), "--output", "json")
    assert json.loads(as_json.stdout.splitlines()[0])["seq"] >= 1


def test_times_in_records_are_shown_as_people_read_them(site):
    site.cli("secret", "issue", "device:always")
    site.cli("secret", "issue", "device:soon", "--ttl", "1h")
    found(site, event="credential-issued", principal="device:soon")
    shown = hilum("audit", "tail", str(site.state / "audit"), "--count", "9").stdout.splitlines()
    assert any("device:always" in line and "expires=never" in line for line in shown)
    this_year = time.strftime("expires=%Y-", time.localtime(time.time() + 3600))
    assert any("device:soon" in line and this_year in line for line in shown)


def test_a_killed_site_goes_on_with_its_chain_and_forgets_no_change(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.start()
    try:
        ids = []
        for number in range(20):
            answer = ask(gateway, "token/issue", {"principal": f"service:{number}"}, gateway.token)
            ids.append(answer.json()["id"])
        gateway.kill()
        assert verify(gateway.state / "audit").findings == []
        gateway.start()
        for id_ in ids:
            found(gateway, event="token-issued", credential=id_)
    finally:
        gateway.stop()
    assert verify(gateway.state / "audit").findings == []
    assert records(gateway)[-1] == {"event": "stop"}


def test_a_required_log_that_cannot_be_written_stops_changes(tmp_path):
    with Gateway(tmp_path, config="[audit]\nrequired = true\n") as gateway:
        found(gateway, event="start")
        folder = Path(gateway.state / "audit")
        folder.rename(gateway.state / "away")
        (gateway.state / "audit").write_text("no folder")
        ask(gateway, "token/issue", {"principal": "service:a"}, gateway.token)
        until = time.monotonic() + 5
        while True:
            answer = ask(gateway, "token/issue", {"principal": "service:b"}, gateway.token)
            if answer.status_code == 503:
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "audit log cannot be written" in answer.json()["detail"]
        (gateway.state / "audit").unlink()
        folder.parent.joinpath("away").rename(folder)
        until = time.monotonic() + 5
        while ask(gateway, "token/issue", {"principal": "s:c"}, gateway.token).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
