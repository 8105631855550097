"""Hostile CoAP clients, all of them strangers: others are served, the site keeps its memory."""

import pytest

from tests.running import Gateway
from tests.site.coap_attacker import ATTACKS, STREAMS
from tests.site.siege import CONFIG, besiege, check, coap_client, mqtt_client, prepare

MODULE = "tests.site.coap_attacker"
ALWAYS = ("strange", "cached", "huge", "unread-gets")
"""What once took hundreds of megabytes, or made everybody wait."""


@pytest.fixture(scope="module")
def besieged(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("coap-enemy"), config=CONFIG) as site:
        prepare(site)
        yield site


async def attack(site, name, seconds):
    # A flood of datagrams fills the kernel's buffer, where those of others are lost as well: what
    # the site does is seen by a client of TCP.
    client = coap_client if name in STREAMS else mqtt_client
    return await besiege(site, client, MODULE, name, site.coap, "", seconds)


@pytest.mark.parametrize("name", ALWAYS)
async def test_an_attack_costs_others_little(besieged, name):
    seen = await attack(besieged, name, 1.0)
    check(seen, half=0.5, nearly_all=2.0, megabytes=200)


@pytest.mark.full
@pytest.mark.parametrize("name", ATTACKS)
async def test_nobody_waits_for_an_attack(besieged, name):
    seen = await attack(besieged, name, 5.0)
    check(seen, half=0.2, nearly_all=0.6, megabytes=400)


async def test_datagrams_are_answered_again_after_a_flood(besieged):
    await attack(besieged, "noise", 0.5)
    turns = iter(range(20))
    took = await coap_client(besieged, lambda: next(turns, None) is None)
    assert sorted(took)[10] < 1.0
