"""A busy event loop neither starves the writer's thread nor gives it more than its share."""

import asyncio
import time

import uvloop

from adapters.store import open_store
from adapters.store.turns import Turns


class Meter:
    """A lock's stand-in that nobody releases, and that counts how long the loop stood still."""

    def __init__(self):
        self.waited = 0.0

    def acquire(self, blocking=True, timeout=0.0):
        time.sleep(timeout)
        self.waited += timeout
        return False


async def keep_busy(seconds, turn):
    """Keep the loop from ever sleeping, as a relay under load does."""
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        while time.perf_counter() < begin + turn:
            pass
        await asyncio.sleep(0)


async def test_a_busy_loop_gives_a_bounded_share_of_its_time():
    turns = Turns(asyncio.get_running_loop(), lambda: awaited)
    turns._taken = meter = Meter()
    awaited = True
    turns.watch()
    await keep_busy(0.5, 100e-6)
    awaited = False
    await asyncio.sleep(0.01)
    assert 0 < meter.waited < 0.002 + 0.1 * 0.5 + 0.001
    assert not turns._watching


async def test_an_idle_loop_goes_to_sleep():
    asked = 0

    def collect():
        nonlocal asked
        asked += 1
        return asked < 1_000

    turns = Turns(asyncio.get_running_loop(), collect)
    turns._taken = meter = Meter()
    turns.watch()
    await asyncio.sleep(0.2)
    assert 0 < asked <= 210
    assert meter.waited < 0.002
    asked = 1_000
    await asyncio.sleep(0.01)


async def test_nothing_is_given_while_the_thread_is_at_the_disk():
    turns = Turns(asyncio.get_running_loop(), lambda: awaited)
    turns.taken(busy_for=10.0)
    turns._taken = meter = Meter()
    awaited = True
    turns.watch()
    await keep_busy(0.05, 100e-6)
    awaited = False
    await asyncio.sleep(0.01)
    assert meter.waited == 0


def test_appends_are_answered_beside_a_busy_loop(tmp_path):
    async def run():
        store = await open_store(tmp_path / "changes.db")
        busy = asyncio.create_task(keep_busy(60, 50e-6))
        times = []
        for head in range(100):
            begin = time.perf_counter()
            await store.append(head, [b"x"])
            times.append(time.perf_counter() - begin)
        busy.cancel()
        await store.close()
        return sorted(times)

    times = uvloop.run(run())
    assert times[50] < 0.05  # usually 0.5 ms
