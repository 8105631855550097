"""What was acknowledged survives kill -9, because it was synced before (seen with strace)."""

import asyncio
import random
import signal
import subprocess
import sys

import pytest

from adapters.store import open_event_log, open_store
from tests.adapters import store_child
from tests.support import ROOT, require_program
from tests.tracing import system_calls

CHILD = [sys.executable, "-m", "tests.adapters.store_child"]


async def run_and_kill(folder, seconds):
    """Let a child write under load for a while, kill it and return its acknowledgements."""
    child = await asyncio.create_subprocess_exec(
        *CHILD, "load", str(folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert await child.stdout.readline() == b"open\n"
    reading = asyncio.create_task(child.stdout.read())
    await asyncio.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines = (await reading).decode().splitlines()
    assert await child.wait() == -signal.SIGKILL
    return [line.split() for line in lines]


async def check_changes(folder, acknowledged):
    store = await open_store(folder / "changes.db", keep_entries=2_000)
    assert store.findings == ()
    head = await store.head()
    assert head >= max([int(line[1]) for line in acknowledged if line[0] == "change"], default=0)
    found = await store.snapshot()
    saved = [int(line[1]) for line in acknowledged if line[0] == "snapshot"]
    seq = 0
    if found:
        seq = found.seq
        assert list(found.records) == store_child.state(seq)
    assert seq >= max(saved, default=0)
    follower = store.follow(seq)
    while seq < head:
        for entry in await anext(follower):
            assert (entry.seq, entry.body) == (seq + 1, store_child.body(seq + 1))
            seq += 1
    await follower.aclose()
    await store.close()


async def check_events(folder, acknowledged):
    log = await open_event_log(folder / "events.db")
    for channel in (*store_child.CHANNELS, store_child.MARKED):
        seqs = [int(line[2]) for line in acknowledged if line[:2] == ["event", channel]]
        tail = await log.open(channel)
        assert tail.last >= max(seqs, default=0)
        assert tail.last - tail.first < 1_100
        seq = tail.first - 1
        while events := await log.read(channel, seq, 500):
            for event in events:
                seq += 1
                assert event.seq == event.time == seq
                assert event.payload == store_child.event(channel, seq).payload
        assert seq == tail.last
    await check_sessions(log, acknowledged)
    assert log.findings == ()
    await log.close()


async def check_sessions(log, acknowledged):
    """They are what they were after one of their steps, and none that was acknowledged is lost."""
    found = {one.key: one for one in await log.sessions.load()}
    steps = [int(line[1]) for line in acknowledged if line[0] == "session"]
    pair = [found.get(key) for key in store_child.PAIR]
    number = int(pair[0].record) if pair[0] else 0
    assert number >= max(steps, default=0)
    if number:
        assert pair == [store_child.queued(key, number) for key in store_child.PAIR]
    last = (await log.open(store_child.MARKED)).last
    marked = [int(line[1]) for line in acknowledged if line[0] == "marked"]
    assert last >= max(marked, default=0)
    if last:
        assert list(found["marked"].marks) in ([store_child.packet_id(last)], [])


async def steps_of_sessions(folder):
    log = await open_event_log(folder / "events.db")
    found = {one.key: one for one in await log.sessions.load()}
    await log.close()
    return int(found[store_child.PAIR[0]].record)


async def crash(folder, rounds):
    chance = random.Random()
    total = 0
    for _ in range(rounds):
        acknowledged = await run_and_kill(folder, chance.uniform(0.02, 0.4))
        await check_changes(folder, acknowledged)
        await check_events(folder, acknowledged)
        total += len(acknowledged)
    assert total > rounds
    assert await steps_of_sessions(folder) > rounds


async def test_kill_9_loses_nothing_acknowledged(tmp_path):
    await crash(tmp_path, 3)


@pytest.mark.full
async def test_kill_9_thirty_times_loses_nothing_acknowledged(tmp_path):
    await crash(tmp_path, 30)


def test_every_acknowledgement_comes_after_the_sync_of_its_log(tmp_path):
    trace = tmp_path / "trace"
    strace = [require_program("strace"), "-f", "-y", "-o", str(trace)]
    calls = ["-e", "trace=fsync,fdatasync,write,pwrite64", "-s", "32"]
    subprocess.run(
        [*strace, *calls, *CHILD, "few", str(tmp_path / "state")],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    unsynced = {"changes.db-wal": 0, "events.db-wal": 0}
    written = dict(unsynced)
    acknowledged = {"change": 0, "event": 0, "session": 0}
    logs = {"change": "changes.db-wal", "event": "events.db-wal", "session": "events.db-wal"}
    for name, text, finished in system_calls(trace.read_text()):
        log = next((log for log in unsynced if f"/{log}>" in text.split(",")[0]), None)
        if log and name == "pwrite64" and not finished:
            unsynced[log] += 1
            written[log] += 1
        elif log and name in {"fsync", "fdatasync"} and finished:
            assert text.rstrip().endswith("= 0")
            unsynced[log] = 0
        elif name == "write" and not finished and text.startswith("1<"):
            (kind,) = (kind for kind in logs if f'"{kind} ' in text)
            acknowledged[kind] += 1
            assert unsynced[logs[kind]] == 0, f"{text} came before the sync"
            assert written[logs[kind]] >= 1, f"{text} came without a write to the log"
            written[logs[kind]] = 0
    assert acknowledged == {"change": 20, "event": 20, "session": 20}
