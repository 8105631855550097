"""What a durable append costs beside a bare SQLite commit: ``python bench/store.py``.

The two alternate within one run, on the same disk, with the same pragmas and row size.
"""

import argparse
import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from adapters.store import SqliteStore, open_store

BODY = os.urandom(600)


def bare_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB, sum BLOB)")
    return connection


def summary(seconds: list[float]) -> tuple[float, float]:
    """Return median and 95th percentile in microseconds."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e6, ordered[len(ordered) * 95 // 100] * 1e6


async def latency(title: str, store: SqliteStore, bare: sqlite3.Connection, rounds: int) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    head = await store.head()
    for _ in range(rounds):
        begin = time.perf_counter()
        head = await store.append(head, [BODY])
        middle = time.perf_counter()
        bare.execute("INSERT INTO entries VALUES (?,?,?)", (head, BODY, bytes(16)))
        ours.append(middle - begin)
        theirs.append(time.perf_counter() - middle)
    median, p95 = summary(ours)
    bare_median, bare_p95 = summary(theirs)
    print(f"{title:17s}  median µs     p95 µs   ({rounds} of each, alternated)")
    print(f"  bare commit      {bare_median:9.0f}  {bare_p95:9.0f}")
    print(f"  durable append   {median:9.0f}  {p95:9.0f}")
    print(f"  ratio            {median / bare_median:9.2f}  {p95 / bare_p95:9.2f}")


async def keep_busy() -> None:
    """Leave the event loop no time to sleep, in turns of 100 µs."""
    while True:
        end = time.perf_counter() + 100e-6
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def throughput(store: SqliteStore, appenders: int, seconds: float) -> float:
    """Return appends per second with so many in flight, each durable before its next."""
    head = await store.head()
    done = 0
    end = time.perf_counter() + seconds

    async def appender() -> None:
        nonlocal head, done
        while time.perf_counter() < end:
            expected, head = head, head + 1
            await store.append(expected, [BODY])
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(appender() for _ in range(appenders)))
    return done / (time.perf_counter() - begin)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=None, help="where to write (its disk is measured)")
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        store = await open_store(Path(folder) / "changes.db")
        bare = bare_connection(Path(folder) / "bare.db")
        await latency("one at a time", store, bare, args.rounds)
        busy = asyncio.create_task(keep_busy())
        await latency("beside a full loop", store, bare, args.rounds // 4)
        busy.cancel()
        print("in groups       appends/s")
        for appenders in (1, 16, 256):
            rate = await throughput(store, appenders, args.seconds)
            print(f"  {appenders:4d} in flight {rate:9.0f}")
        bare.close()
        await store.close()


if __name__ == "__main__":
    uvloop.run(main())
