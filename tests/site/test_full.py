"""More connections than are allowed: those that are idle give way to those that ask."""

import asyncio

from tests.running import Gateway
from tests.site.wire import Wire


async def test_idle_connections_give_way_and_busy_ones_stay(tmp_path):
    with Gateway(tmp_path, config="[limits]\nconnections = 20\n") as site:
        async with Wire(site.url, site.token) as mine:
            idle = [await asyncio.open_connection(mine.host, mine.port) for _ in range(60)]
            await asyncio.sleep(1.2)
            assert (await mine.ask("GET", "/$site/registry/list?limit=1")).status == 200
            for _ in range(30):
                async with Wire(site.url, site.token) as wire:
                    listing = await wire.ask("GET", "/$site/registry/list?limit=1")
                    assert listing.status == 200
            assert (await mine.ask("GET", "/$site/registry/list?limit=1")).status == 200
            for _, writer in idle:
                writer.close()


async def test_when_all_are_busy_one_more_is_told_to_come_back(tmp_path):
    with Gateway(tmp_path, config="[limits]\nconnections = 3\n") as site:
        objects = [{"name": "s", "channels": {"c": {}}}]
        await asyncio.to_thread(site.register, {"microservice": "S", "objects": objects})
        streams = [Wire(site.url, site.token) for _ in range(3)]
        for stream in streams:
            await stream.send("GET", "/s/c", accept="text/event-stream")
            assert (await stream.head())[0] == 200
        await asyncio.sleep(1.1)
        async with Wire(site.url, site.token) as wire:
            await wire.connect()
            answer = await wire.answer()
            assert (answer.status, answer.fields["retry-after"]) == (503, "1")
        for stream in streams:
            stream.close()
