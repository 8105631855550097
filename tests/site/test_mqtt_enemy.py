"""Hostile MQTT clients: others keep their latency, the site its memory and its log."""

import asyncio

import pytest

from tests.running import Gateway
from tests.site.mqtt_attacker import ATTACKS
from tests.site.siege import CONFIG, besiege, check, mqtt_client, prepare

MODULE = "tests.site.mqtt_attacker"
ALWAYS = ("silent", "unfinished", "queue-flood", "large-subscribes", "responses", "deaf")
"""What once took a gigabyte, or made everybody wait for a second; and what steals."""


@pytest.fixture(scope="module")
def besieged(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("mqtt-enemy"), config=CONFIG) as site:
        prepare(site)
        yield site


async def attack(site, name, seconds, place):
    token = await asyncio.to_thread(site.token_for, "service:evil")
    return await besiege(site, mqtt_client, MODULE, name, place, token, seconds)


@pytest.mark.parametrize("name", ALWAYS)
async def test_an_attack_costs_others_little(besieged, name):
    seen = await attack(besieged, name, 1.0, besieged.mqtt)
    check(seen, half=0.5, nearly_all=2.0, megabytes=400)


@pytest.mark.full
@pytest.mark.parametrize("name", ATTACKS)
async def test_nobody_waits_for_an_attack(besieged, name):
    seen = await attack(besieged, name, 5.0, besieged.mqtt)
    check(seen, half=0.2, nearly_all=0.6, megabytes=600)
