"""Accounts of a running site: listed, exported, kept over a restart."""

import csv
import json
import time

import pytest

from tests.running import Gateway


@pytest.fixture
def site(tmp_path):
    with Gateway(tmp_path) as site:
        site.register(
            {"microservice": "Meter", "objects": [{"name": "meter", "channels": {"kwh": {}}}]}
        )
        yield site


def used(site, by="principal", token=None):
    items = site.client(token).ask("accounts/list", {"by": by})["items"]
    return {item[by]: item for item in items}


def test_what_a_principal_and_a_binding_used_is_listed_exported_and_kept(site):
    token = site.token_for("device:m1", "device")
    site.allow("meters", {"principal": "device:m1"}, "publish call", "meter/** $site/accounts/list")
    for _ in range(3):
        assert site.http("POST", "/meter/kwh", b"12345", token=token).status == 200
    mine = used(site, token=token)
    assert list(mine) == ["device:m1"]
    assert (mine["device:m1"]["events"], mine["device:m1"]["received"]) == (3, 15)
    assert site.http("GET", "/$site/accounts/list?by=binding", token=token).status == 403
    assert used(site, "binding")["localhost/meter/kwh"]["events"] == 3
    reader = site.token_for("user:reader", "user")
    site.allow("reader", {"principal": "user:reader"}, "subscribe", "meter/**")
    watching = site.cli(
        "watch", "meter/kwh", "--after", "oldest", "--count", "3", HILUM_TOKEN=reader
    )
    assert watching.returncode == 0
    assert used(site)["user:reader"]["sent"] == 15
    assert site.http("GET", "/$site/accounts/list?by=colour").status == 400
    metrics = site.http("GET", "/metrics", control=True).body.decode()
    assert 'hilum_principal_bytes{principal="device:m1"}' in metrics

    rows = list(csv.DictReader(site.cli("accounts", "--csv").stdout.splitlines()))
    assert next(r for r in rows if r["principal"] == "device:m1")["events"] == "3"
    table = site.cli("accounts", "--bindings").stdout
    assert "meter/kwh" in table
    assert "1970" not in table  # what nobody has stored yet has no time
    document = json.loads(site.cli("accounts", "--output", "json", "--limit", "1").stdout)
    assert len(document["items"]) == 1

    site.restart()
    assert used(site)["device:m1"]["events"] == 3
    assert used(site)["device:m1"]["cpu"] > 0


def test_a_kill_takes_no_more_than_the_last_seconds(site):
    site.http("POST", "/meter/kwh", b"1")
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if used(site, "binding").get("localhost/meter/kwh", {}).get("updated"):
            break
        time.sleep(0.2)
    time.sleep(0.5)
    site.kill()
    site.start()
    assert used(site, "binding")["localhost/meter/kwh"]["events"] == 1
