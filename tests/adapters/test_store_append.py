"""Appending to the change log: order, conflicts, groups, limits, a full disk, one process."""

import asyncio
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from adapters.store import open_store
from adapters.store.writer import Limits
from gateway.ports import StoreBusy, StoreConflict, StoreError
from tests.support import ROOT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "changes.db"


async def entries(store, after=0):
    """Return all (seq, body) that are committed now."""
    found, head = [], await store.head()
    if after == head:
        return found
    async for batch in store.follow(after):
        found += [(entry.seq, entry.body) for entry in batch]
        if found[-1][0] >= head:
            return found
    raise AssertionError("the log ended early")


async def test_appends_get_consecutive_numbers_and_outlive_a_restart(path):
    store = await open_store(path)
    assert await store.head() == 0
    assert await store.append(0, [b"a"]) == 1
    assert await store.append(1, [b"b", b"", b"c" * 100_000]) == 4
    await store.close()

    store = await open_store(path)
    assert await store.head() == 4
    assert await entries(store) == [(1, b"a"), (2, b"b"), (3, b""), (4, b"c" * 100_000)]
    assert store.findings == ()
    await store.close()


async def test_a_stale_append_fails_alone(path):
    store = await open_store(path)
    results = await asyncio.gather(
        store.append(0, [b"a"]),
        store.append(0, [b"stale"]),
        store.append(1, [b"b"]),
        store.append(7, [b"ahead"]),
        store.append(2, [b"c"]),
        return_exceptions=True,
    )
    assert [results[0], results[2], results[4]] == [1, 2, 3]
    assert all(isinstance(results[stale], StoreConflict) for stale in (1, 3))
    assert (results[1].expected, results[1].head) == (0, 1)
    assert (results[3].expected, results[3].head) == (7, 2)
    assert await entries(store) == [(1, b"a"), (2, b"b"), (3, b"c")]
    await store.close()


async def test_an_append_of_nothing_only_checks_the_head(path):
    store = await open_store(path)
    await store.append(0, [b"a"])
    assert await store.append(1, []) == 1
    with pytest.raises(StoreConflict):
        await store.append(0, [])
    await store.close()


async def test_appends_in_flight_share_commits(path):
    store = await open_store(path)
    statements = []
    store._database.writer.set_trace_callback(statements.append)
    await asyncio.gather(*(store.append(seq, [b"x"]) for seq in range(500)))
    store._database.writer.set_trace_callback(None)
    commits = [sql for sql in statements if sql == "COMMIT" or sql.startswith("INSERT")]
    assert await store.head() == 500
    assert len(commits) < 50
    await store.close()


async def test_too_much_in_flight_is_busy_at_once(path):
    store = await open_store(path, limits=Limits(jobs=10, bytes=1_000))
    tasks = [asyncio.create_task(store.append(seq, [b"x"])) for seq in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy, match=r"10 writes \(10 bytes\) wait"):
        await store.append(10, [b"x"])
    assert await asyncio.gather(*tasks) == list(range(1, 11))

    first = asyncio.create_task(store.append(10, [bytes(600)]))
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy):
        await store.append(11, [bytes(600)])
    assert await first == 11
    with pytest.raises(StoreError, match="1001 bytes at once are too many"):
        await store.append(11, [bytes(1_001)])
    assert await store.append(11, [bytes(600)]) == 12  # room again
    await store.close()


async def test_a_cancelled_caller_does_not_disturb_the_others(path):
    store = await open_store(path)
    tasks = [asyncio.create_task(store.append(seq, [b"x"])) for seq in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert await tasks[0] == 1
    assert await tasks[2] == 3
    await store.close()


async def test_a_broken_append_fails_alone(path):
    store = await open_store(path)
    results = await asyncio.gather(
        store.append(0, [b"a"]), store.append(1, ["text"]), store.append(1, [b"b"]),
        return_exceptions=True,
    )  # fmt: skip
    assert (results[0], results[2]) == (1, 2)
    assert isinstance(results[1], StoreError)
    assert await entries(store) == [(1, b"a"), (2, b"b")]
    await store.close()


async def test_close_finishes_what_is_in_flight_and_refuses_what_comes_later(path):
    store = await open_store(path)
    tasks = [asyncio.create_task(store.append(seq, [b"x"])) for seq in range(100)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert await asyncio.gather(*tasks) == list(range(1, 101))
    with pytest.raises(StoreError, match="closed"):
        await store.append(100, [b"x"])
    with pytest.raises(StoreError, match="closed"):
        await store.snapshot()
    assert not path.with_name("changes.db-wal").exists()
    store = await open_store(path)
    assert await store.head() == 100
    await store.close()


async def test_only_the_owner_may_read_the_files(path):
    store = await open_store(path)
    await store.append(0, [b"secret"])
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {"changes.db", "changes.db-wal", "changes.db-shm", "changes.db.lock"}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()} == {0o600}
    await store.close()

    path.chmod(0o644)
    await (await open_store(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# A full disk.


def tmpfs_works():
    """Whether this machine lets us mount (root, outside of most containers)."""
    with subprocess.Popen(
        ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"],
        stderr=subprocess.DEVNULL,
    ) as process:
        return process.wait() == 0


CAN_MOUNT = os.geteuid() == 0 and tmpfs_works()


@pytest.fixture(params=["page limit", "file size", *(["tmpfs"] if CAN_MOUNT else [])])
def disk(request, tmp_path):
    """Return (path of a store, function that leaves no space, function that frees it)."""
    if request.param == "tmpfs":
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=True
        )
        filler = tmp_path / "filler"

        def fill(store):
            usage = os.statvfs(tmp_path)
            filler.write_bytes(bytes(max(0, usage.f_bavail * usage.f_frsize - 40_000)))

        yield tmp_path / "changes.db", fill, lambda store: filler.unlink()
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    elif request.param == "page limit":

        def limit(pages):
            return lambda store: store._database.writer.execute(f"PRAGMA max_page_count={pages}")

        yield tmp_path / "changes.db", limit(20), limit(1 << 30)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def limit_files(store):
            size = (tmp_path / "changes.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40_000, hard))

        def free(store):
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        yield tmp_path / "changes.db", limit_files, free
        free(None)


async def test_a_full_disk_fails_appends_clearly_and_loses_nothing(disk, caplog):
    path, fill, free = disk
    store = await open_store(path)
    await store.append(0, [b"first"])
    fill(store)
    head, error = 1, None
    while error is None and head < 200:
        try:
            head = await store.append(head, [os.urandom(2_000)])
        except StoreError as refused:
            error = refused
    assert "nothing was written: the disk" in str(error)
    # Clients read the error, operators the log.
    assert str(path) not in str(error)
    assert str(path) in caplog.text

    assert await store.head() == head
    assert len(await entries(store)) == head
    group = await asyncio.gather(
        *(store.append(head + number, [bytes(50_000)]) for number in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(result, StoreError) for result in group)
    assert await store.head() == head

    free(store)
    assert await store.append(head, [b"later"]) == head + 1
    found = await entries(store)
    await store.close()
    store = await open_store(path)
    assert await entries(store) == found
    assert store.findings == ()
    await store.close()


async def test_a_snapshot_that_finds_the_disk_full_leaves_nothing_behind(disk):
    path, fill, free = disk
    store = await open_store(path)
    head = await store.append(0, [bytes(100)] * 10)
    await store.save_snapshot(5, [b"good"])
    fill(store)
    with pytest.raises(StoreError, match="nothing was written"):
        await store.save_snapshot(head, [os.urandom(100_000) for _ in range(30)])
    free(store)
    assert (await store.snapshot()).records == [b"good"]
    assert await store.append(head, [b"more"]) == head + 1
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        (unfinished,) = connection.execute(
            "SELECT count(*) FROM snapshots WHERE NOT complete"
        ).fetchone()
    assert unfinished == 0
    store = await open_store(path)
    assert (await store.snapshot()).seq == 5
    await store.close()


# What is refused at open.


async def test_a_file_is_used_once_at_a_time(path):
    store = await open_store(path)
    with pytest.raises(StoreError, match=f"changes.db is in use by process {os.getpid()}"):
        await open_store(path)
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(StoreError, match="in use by process"):
        await open_store(link)
    assert await store.append(0, [b"still works"]) == 1
    await store.close()
    await (await open_store(path)).close()


async def test_the_lock_dies_with_its_process(path):
    script = (
        "import asyncio, pathlib, sys\n"
        "from adapters.store import open_store\n"
        "async def main():\n"
        "    store = await open_store(pathlib.Path(sys.argv[1]))\n"
        "    print(await store.append(0, [b'x']), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"1\n"
    with pytest.raises(StoreError, match=f"in use by process {process.pid}"):
        await open_store(path)
    process.kill()
    await process.wait()
    store = await open_store(path)
    assert await entries(store) == [(1, b"x")]
    await store.close()


async def test_a_newer_schema_is_refused(path):
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=2")
    with pytest.raises(StoreError, match="schema version 2, this program knows 1: use the newer"):
        await open_store(path)


async def test_files_of_another_kind_are_refused(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE guests (name)")
    with pytest.raises(StoreError, match="is not a change log of Hilum"):
        await open_store(path)
    path.write_bytes(b"This is a text, and long enough to be read as a header." * 10)
    with pytest.raises(StoreError, match="is no database"):
        await open_store(path)
    folder = path.with_name("folder.db")
    folder.mkdir()
    with pytest.raises(
        StoreError, match=r"cannot open the change log .*folder\.db: Is a directory"
    ):
        await open_store(folder)


async def test_a_log_that_vanished_is_not_begun_anew_silently(path):
    store = await open_store(path)
    await store.append(0, [b"a", b"b"])
    await store.close()
    path.unlink()
    with pytest.raises(StoreError, match=r"missing or empty, but 2 entries .* delete .*\.lock"):
        await open_store(path)
    path.with_name("changes.db.lock").unlink()
    store = await open_store(path)
    assert await store.head() == 0
    await store.close()
