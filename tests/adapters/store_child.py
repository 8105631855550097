"""A process for the crash tests: writes to both stores and prints what was acknowledged.

``store_child.py load FOLDER`` writes until it is killed, ``store_child.py few FOLDER`` a little.
"""

import asyncio
import os
import sys
from pathlib import Path

from adapters.store import open_event_log, open_store
from gateway.ports import Keep, StoredEvent

CHANNELS = ("a/one", "a/two", "a/three")


def body(seq):
    return b"%d " % seq * (seq % 100)


def state(seq):
    return [body(seq)] * 400


def event(channel, seq):
    return StoredEvent(0, seq, "text/plain", channel, b"%d " % seq * (seq % 50))


def acknowledge(text):
    os.write(1, text.encode() + b"\n")


async def write_changes(store):
    head = await store.head()

    async def append(expected, count):
        bodies = [body(expected + number + 1) for number in range(count)]
        acknowledge(f"change {await store.append(expected, bodies)}")

    while True:
        appends = []
        for count in (1, 3, 1, 7):
            appends.append(append(head, count))
            head += count
        await asyncio.gather(*appends)


async def write_snapshots(store):
    while True:
        seq = await store.head()
        await store.save_snapshot(seq, (record for record in state(seq)))
        acknowledge(f"snapshot {seq}")
        await asyncio.sleep(0.02)


async def write_events(log, channel):
    last = (await log.open(channel)).last
    while True:
        last = await log.append(channel, event(channel, last + 1), Keep(count=1_000))
        acknowledge(f"event {channel} {last}")


async def load(folder):
    store = await open_store(folder / "changes.db", keep_entries=2_000)
    log = await open_event_log(folder / "events.db")
    acknowledge("open")
    await asyncio.gather(
        write_changes(store),
        write_snapshots(store),
        *(write_events(log, channel) for channel in CHANNELS),
    )


async def few(folder):
    store = await open_store(folder / "changes.db")
    log = await open_event_log(folder / "events.db")
    await log.open("a")
    for number in range(1, 21):
        head = await store.append(number - 1, [body(number)])
        acknowledge(f"change {head}")
        seq = await log.append("a", event("a", number), Keep())
        acknowledge(f"event a {seq}")
    await store.close()
    await log.close()


if __name__ == "__main__":
    asyncio.run({"load": load, "few": few}[sys.argv[1]](Path(sys.argv[2])))
