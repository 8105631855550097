"""Following the change log: order, wake-ups, bounded batches, slow and late followers."""

import asyncio
import tracemalloc

import pytest

from adapters.store import open_store
from adapters.store.tail import BATCH_ENTRIES, Tail
from gateway.ports import Entry, StoreError, StorePruned


@pytest.fixture
async def store(tmp_path):
    store = await open_store(tmp_path / "changes.db", keep_entries=100)
    yield store
    await store.close()


async def fill(store, count, size=10):
    head = await store.head()
    for start in range(0, count, 1_000):
        bodies = [bytes(size)] * min(1_000, count - start)
        head = await store.append(head, bodies)
    return head


async def collect(store, after, last):
    """Return the sequence numbers and the batch sizes up to ``last``."""
    seqs, sizes = [], []
    async for batch in store.follow(after):
        seqs += [entry.seq for entry in batch]
        sizes.append(len(batch))
        if seqs[-1] >= last:
            break
    return seqs, sizes


async def test_followers_see_what_was_there_and_what_comes(store):
    await fill(store, 3)
    followers = [asyncio.create_task(collect(store, after, 6)) for after in (0, 2, 3)]
    await asyncio.sleep(0)
    await store.append(3, [b"x", b"y"])
    await store.append(5, [b"z"])
    seqs = [(await follower)[0] for follower in followers]
    assert seqs == [[1, 2, 3, 4, 5, 6], [3, 4, 5, 6], [4, 5, 6]]


async def test_an_entry_is_visible_when_its_append_returns(store):
    head = 0
    for _ in range(50):
        head = await store.append(head, [b"x"])
        batch = await anext(store.follow(head - 1))
        assert [entry.seq for entry in batch] == [head]


async def test_a_waiting_follower_is_woken_not_polling(store):
    loop = asyncio.get_running_loop()
    follower = asyncio.create_task(anext(store.follow(0)))
    await asyncio.sleep(0.02)
    timers = len(loop._scheduled)
    assert timers == 0
    await store.append(0, [b"x"])
    for _ in range(3):  # no time passes, only turns of the loop
        await asyncio.sleep(0)
    assert follower.done()


async def test_nothing_uncommitted_is_seen(store):
    """While a commit hangs (another program holds the write lock) followers see nothing of it."""
    connection = store._database.reader
    connection.execute("PRAGMA query_only=OFF")
    connection.execute("BEGIN IMMEDIATE")
    follower = asyncio.create_task(anext(store.follow(0)))
    append = asyncio.create_task(store.append(0, [b"x"]))
    await asyncio.sleep(0.1)
    assert not append.done()
    assert not follower.done()
    assert await store.head() == 0
    connection.execute("ROLLBACK")
    assert await append == 1
    assert [entry.seq for entry in await follower] == [1]


async def test_a_late_follower_reads_bounded_batches_from_disk(store):
    last = await fill(store, 10_000)
    seqs, sizes = await collect(store, 0, last)
    assert seqs == list(range(1, last + 1))
    assert max(sizes) <= BATCH_ENTRIES
    last = await fill(store, 20, size=300_000)
    seqs, sizes = await collect(store, last - 20, last)
    assert seqs == list(range(last - 19, last + 1))
    assert max(sizes) <= 4


async def test_a_slow_follower_misses_nothing_and_costs_no_memory(store):
    follower = store.follow(0)
    await store.append(0, [b"first"])
    seqs = [entry.seq for entry in await anext(follower)]
    tracemalloc.start()
    last = await fill(store, 20_000, size=1_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 6_000_000  # of the 20 MB that were appended
    while seqs[-1] < last:
        seqs += [entry.seq for entry in await anext(follower)]
    assert seqs == list(range(1, last + 1))


async def test_many_followers_under_load_all_see_the_same_order(store):
    followers = [asyncio.create_task(collect(store, 0, 3_000)) for _ in range(20)]
    for start in range(0, 3_000, 100):
        await asyncio.gather(*(store.append(start + n, [b"x"]) for n in range(100)))
    for follower in followers:
        assert (await follower)[0] == list(range(1, 3_001))


async def test_followers_end_when_the_store_closes(tmp_path):
    store = await open_store(tmp_path / "other.db")
    await store.append(0, [b"a"])
    follower = asyncio.create_task(collect(store, 0, 99))
    waiting = asyncio.create_task(collect(store, 1, 99))
    await asyncio.sleep(0)
    await store.append(1, [b"b"])
    await store.close()
    assert (await follower)[0] == [1, 2]
    assert (await waiting)[0] == [2]


async def test_a_follower_of_pruned_entries_is_told_to_take_the_snapshot(store):
    last = await fill(store, 5_000)
    for seq in (4_000, last):
        await store.save_snapshot(seq, [b"state"])
    for after in (0, 1, 2_000):
        with pytest.raises(StorePruned, match="begin with the snapshot"):
            await anext(store.follow(after))
    assert (await collect(store, 4_000, last))[0] == list(range(4_001, last + 1))


async def test_a_position_beyond_the_log_is_refused(store):
    await store.append(0, [b"a"])
    for after in (-1, 2):
        with pytest.raises(StoreError, match="belongs to another log"):
            await anext(store.follow(after))


async def test_a_damaged_entry_is_never_handed_out(store):
    await fill(store, 10_000)
    store._database.writer.execute("UPDATE entries SET body=x'00' WHERE seq=600")
    with pytest.raises(StoreError, match="entry 600 of the change log was damaged"):
        await collect(store, 0, 10_000)


def test_the_tail_holds_a_bounded_end_of_the_log():
    tail = Tail(0, entries=10, limit_bytes=100)
    for seq in range(1, 1_000):
        tail.extend([Entry(seq, b"x")])
        assert len(tail._entries) <= 20
        assert tail._bytes == len(tail._entries)
        assert [entry.seq for entry in tail.after(seq - 1)] == [seq]
        assert tail.after(seq) == []
    assert [entry.seq for entry in tail.after(995)] == [996, 997, 998, 999]
    assert tail.after(900) is None
    tail.extend([Entry(1_000, bytes(1_000))])
    assert tail.after(999) is None  # larger than what is kept at all: on disk only
    assert tail.after(1_000) == []
    tail.extend([Entry(1_001, b"y")])
    assert [entry.seq for entry in tail.after(1_000)] == [1_001]
    assert tail.after(999) is None
