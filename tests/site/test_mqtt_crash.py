"""``kill -9`` under MQTT load: QoS 1 is not lost, and QoS 2 comes exactly once."""

import pytest

from tests.site import mailbook


async def test_a_killed_site_owes_its_mqtt_clients_nothing(tmp_path):
    told = await mailbook.run(tmp_path, rounds=2, longest=0.8)
    assert all(one.acknowledged for one in (*told.publishers, *told.posters))


@pytest.mark.full
async def test_twenty_kills_owe_mqtt_clients_nothing(tmp_path):
    told = await mailbook.run(tmp_path, rounds=20, longest=1.0)
    assert all(len(one.acknowledged) > 100 for one in told.publishers)
