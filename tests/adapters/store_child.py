"""A process for the crash tests: writes to both stores and prints what was acknowledged.

``store_child.py load FOLDER`` writes until it is killed, ``store_child.py few FOLDER`` a little.
"""

import asyncio
import os
import sys
from pathlib import Path

from adapters.store import open_event_log, open_store
from gateway.message import Mark
from gateway.ports import Keep, StoredEvent
from gateway.session_port import StoredMessage, StoredSession

CHANNELS = ("a/one", "a/two", "a/three")
MARKED = "a/marked"
# A pair has the same messages at any moment.
PAIR = ("sensor", "user:1/☃")
WAITING = 5


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


def packet_id(number):
    return number % 65_535 + 1


def queued(key, number):
    """Return a session of the pair after its step ``number``."""
    waiting = range(max(1, number - WAITING + 1), number + 1)
    messages = [StoredMessage(packet_id(n), 1, body(n), False) for n in waiting]
    return StoredSession(key, b"%d" % number, messages, [], [("c", f"x-{number}")])


async def write_sessions(store):
    """Each step is a callback: a message comes for both of a pair, and an old one goes."""
    stored = {one.key: one for one in await store.load()}
    number = int(stored[PAIR[0]].record) if PAIR[0] in stored else 0
    while True:
        number += 1
        kept = store.keep(body(number))
        for key in PAIR:
            store.put(key, b"%d" % number)
            store.enqueue(key, packet_id(number), 1, kept)
            store.position(key, "c", f"x-{number}")
            if number > WAITING:
                store.acknowledge(key, packet_id(number - WAITING))
        if number % 3:
            await asyncio.sleep(0)
        else:
            await store.synced()
            acknowledge(f"session {number}")


async def write_marks(log):
    """Each event comes with a mark, which goes before the next one comes."""
    log.sessions.put("marked", b"")
    last = (await log.open(MARKED)).last
    log.sessions.unmark(Mark("marked", packet_id(last)))
    while True:
        mark = Mark("marked", packet_id(last + 1))
        last = await log.append(MARKED, event(MARKED, last + 1), Keep(count=1_000), mark)
        acknowledge(f"marked {last}")
        log.sessions.unmark(mark)


async def load(folder):
    store = await open_store(folder / "changes.db", keep_entries=2_000)
    log = await open_event_log(folder / "events.db")
    acknowledge("open")
    await asyncio.gather(
        write_changes(store),
        write_snapshots(store),
        write_sessions(log.sessions),
        write_marks(log),
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
        log.sessions.put("a", body(number))
        await log.sessions.synced()
        acknowledge(f"session {number}")
    await store.close()
    await log.close()


if __name__ == "__main__":
    asyncio.run({"load": load, "few": few}[sys.argv[1]](Path(sys.argv[2])))
