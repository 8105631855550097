"""Devices that all come back at once: everyone gets in, and the site goes on meanwhile."""

import asyncio
from urllib.parse import urlsplit

import pytest

from bench.reconnect import blow, calm, enrol
from tests.running import Gateway


@pytest.mark.parametrize(
    ("method", "devices"),
    [
        ("secret", 300),
        ("password", 100),
        pytest.param("secret", 10_000, marks=pytest.mark.full),
        pytest.param("password", 2_000, marks=pytest.mark.full),
    ],
)
def test_a_storm_of_reconnects(tmp_path, method, devices):
    site = Gateway(tmp_path)
    with site:
        pass
    secrets = asyncio.run(enrol(site.state, devices, passwords=method == "password"))
    with site.start():
        port, mqtt = urlsplit(site.url).port, urlsplit(site.mqtt).port
        quiet = calm(port, site.token, 1.0)
        found = blow(mqtt, port, site.token, method, secrets)
    print(
        f"{devices} with a {method}: all in after {found.all_in:.1f} s, {found.refused} sent away; "
        f"calls beside it p50 {found.late(0.5) * 1e3:.1f} ms, p99 {found.late() * 1e3:.1f} ms, "
        f"slowest {found.calls[-1] * 1e3:.0f} ms "
        f"(without: {quiet.late(0.5) * 1e3:.1f}, {quiet.late() * 1e3:.1f})"
    )
    assert found.calls[-1] < 3.0
    assert len(found.calls) > 10
