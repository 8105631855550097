"""Snapshots of the change log: finished or as if never begun, pruning, speed."""

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from adapters.store import open_store, snapshots
from gateway.ports import StoreError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "changes.db"


def query(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_a_snapshot_comes_back_after_a_restart(path):
    store = await open_store(path)
    assert await store.snapshot() is None
    await store.append(0, [b"a", b"b", b"c"])
    records = [b"", b"x", os.urandom(700_000), *(b"%d" % number for number in range(5_000))]
    await store.save_snapshot(2, iter(records))
    for _ in range(2):
        found = await store.snapshot()
        assert (found.seq, found.records) == (2, records)
        assert [entry.seq for entry in await anext(store.follow(found.seq))] == [3]
        await store.close()
        store = await open_store(path)
    await store.close()


async def test_an_empty_state_can_be_a_snapshot(path):
    store = await open_store(path)
    await store.save_snapshot(0, [])
    found = await store.snapshot()
    assert (found.seq, found.records) == (0, [])
    await store.close()


async def test_the_newest_two_stay_and_older_entries_go(path):
    store = await open_store(path, keep_entries=50)
    await store.append(0, [b"x"] * 5_000)
    for seq in (1_000, 2_500, 4_000, 4_980):
        await store.save_snapshot(seq, [b"%d" % seq] * 10)
    assert (await store.snapshot()).seq == 4_980
    await store.close()
    assert query(path, "SELECT seq FROM snapshots ORDER BY seq") == [(4_000,), (4_980,)]
    assert query(path, "SELECT count(DISTINCT snapshot) FROM snapshot_parts") == [(2,)]
    # The one at 4,000 stays without its body, as the start of the chain of checksums.
    assert query(path, "SELECT min(seq), max(seq), count(body) FROM entries") == [
        (4_000, 5_000, 1_000)
    ]
    store = await open_store(path, keep_entries=50)
    assert store.findings == ()
    assert await store.append(5_000, [b"next"]) == 5_001
    await store.close()


async def test_followers_keep_their_entries(path):
    store = await open_store(path, keep_entries=700)
    await store.append(0, [b"x"] * 1_000)
    await store.save_snapshot(900, [b"state"])
    await store.save_snapshot(1_000, [b"state"])
    assert (await anext(store.follow(300)))[0].seq == 301
    await store.close()


async def test_appends_go_on_during_a_snapshot(path):
    store = await open_store(path)
    head, waited = await store.append(0, [b"x"]), []
    records = [os.urandom(600)] * 50_000
    saving = asyncio.create_task(store.save_snapshot(1, records))
    while not saving.done():
        begin = time.perf_counter()
        head = await store.append(head, [b"y"])
        waited.append(time.perf_counter() - begin)
    await saving
    assert len(waited) > 20
    assert sorted(waited)[len(waited) // 2] < 0.1
    assert (await store.snapshot()).records == records
    await store.close()


async def test_records_are_consumed_off_the_loop_a_piece_at_a_time(path):
    store = await open_store(path)
    threads = set()

    def records():
        for _ in range(1_000):
            threads.add(threading.current_thread())
            yield bytes(1_000)

    await store.save_snapshot(0, records())
    assert threads
    assert threading.current_thread() not in threads
    await store.close()


async def test_a_snapshot_that_fails_leaves_the_older_one(path):
    store = await open_store(path)
    await store.append(0, [b"a"])
    await store.save_snapshot(1, [b"good"])

    def records():
        yield bytes(1_000_000)
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        await store.save_snapshot(1, records())
    with pytest.raises(StoreError, match="a snapshot record has 16777217 bytes"):
        await store.save_snapshot(1, [bytes((16 << 20) + 1)])
    assert (await store.snapshot()).records == [b"good"]
    await store.close()
    assert query(path, "SELECT count(*) FROM snapshots") == [(1,)]
    assert query(path, "SELECT count(*) FROM snapshot_parts") == [(1,)]


async def test_a_snapshot_must_be_of_an_entry_in_the_log(path):
    store = await open_store(path)
    await store.append(0, [b"a"])
    with pytest.raises(StoreError, match="entry 2: it is not in the log"):
        await store.save_snapshot(2, [])
    await store.close()


async def test_what_a_crash_left_of_a_snapshot_is_removed(path):
    store = await open_store(path)
    await store.append(0, [b"a"])
    await store.save_snapshot(1, [b"good"])
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO snapshots VALUES (9, 1, x'', 0, 0, x'', 0)")
        connection.execute("INSERT INTO snapshot_parts VALUES (9, 0, 1, x'00', x'00')")
    store = await open_store(path)
    assert (await store.snapshot()).records == [b"good"]
    assert store.findings == ()
    await store.close()
    assert query(path, "SELECT id FROM snapshots") == [(1,)]
    assert query(path, "SELECT DISTINCT snapshot FROM snapshot_parts") == [(1,)]


async def test_a_hundred_thousand_records_are_read_well_below_a_second(path):
    store = await open_store(path)
    records = [os.urandom(600)] * 100_000
    await store.save_snapshot(0, records)
    await store.close()
    fastest, rounds = 9.0, 0
    while fastest > 1.0 and rounds < 5:  # usually 0.25 s; other tests run beside this one
        begin = time.perf_counter()
        store = await open_store(path)
        found = await store.snapshot()
        fastest = min(fastest, time.perf_counter() - begin)
        rounds += 1
        await store.close()
    assert len(found.records) == 100_000
    assert fastest < 1.0


def test_parts_hold_bounded_bytes_and_all_records():
    records = [bytes([number % 256]) * (number % 3_000) for number in range(2_000)]
    parts = list(snapshots.pack(records))
    assert [record for part in parts for record in snapshots.unpack(part.data)] == records
    assert sum(part.records for part in parts) == len(records)
    assert max(len(part.data) for part in parts) < snapshots.PART_BYTES + 3_004
