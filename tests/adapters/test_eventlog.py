"""The event log of durable channels: order, retention, incarnations, cursors, dead letters."""

import asyncio
import contextlib
import os
import random
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.store import channels, open_event_log, open_store
from adapters.store.channels import LetterLimits
from adapters.store.writer import Limits
from gateway.ports import ChannelTail, DeadLetter, Keep, StoreBusy, StoredEvent, StoreError

ALL = Keep()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
async def log(path):
    log = await open_event_log(path)
    yield log
    await log.close()


def event(time=0, payload=b"payload", content_type="text/plain", source="device/1"):
    return StoredEvent(0, time, content_type, source, payload)


def letter(number, payload=b"payload"):
    return DeadLetter(
        0, f"binding {number}", "a/b", f"ab12-{number}", number, 8, "refused", "text/plain", payload
    )


async def publish(log, channel, count, keep=ALL, payload=b"payload"):
    return await asyncio.gather(
        *(log.append(channel, event(number, payload), keep) for number in range(count))
    )


async def seqs(log, channel):
    found, after = [], 0
    while events := await log.read(channel, after, 1_000):
        found += [one.seq for one in events]
        after = found[-1]
    return found


async def test_events_come_back_as_they_were_after_a_restart(path):
    log = await open_event_log(path)
    opened = await log.open("a/b")
    assert (opened.first, opened.last, len(opened.incarnation)) == (1, 0, 16)
    assert await log.open("a/b") == opened
    events = [
        event(5, b"one"),
        event(7, b"", "", ""),
        event(6, os.urandom(100_000), "application/cbor; ü", "snac.asu.edu/☃"),
        StoredEvent(0, 8, "text/plain", "device/1", b"four", 2, os.urandom(100)),
    ]
    assert [await log.append("a/b", one, ALL) for one in events] == [1, 2, 3, 4]
    await log.close()

    log = await open_event_log(path)
    assert await log.open("a/b") == ChannelTail(opened.incarnation, 1, 4)
    found = await log.read("a/b", 0, 10)
    assert [one.seq for one in found] == [1, 2, 3, 4]
    for one, was in zip(found, events, strict=True):
        assert (one.time, one.content_type) == (was.time, was.content_type)
        assert (one.source, one.payload) == (was.source, was.payload)
        assert (one.qos, one.extras) == (was.qos, was.extras)
    assert await log.append("a/b", event(), ALL) == 5
    await log.close()


async def test_channels_count_for_themselves_and_share_commits(log):
    names = ["a", "b", "c"]
    tails = [await log.open(name) for name in names]
    assert len({tail.incarnation for tail in tails}) == 3
    statements = []
    log._database.writer.set_trace_callback(statements.append)
    results = await asyncio.gather(*(publish(log, name, 200) for name in names))
    log._database.writer.set_trace_callback(None)
    assert results == [list(range(1, 201))] * 3
    assert sum(sql == "COMMIT" for sql in statements) < 50
    for name in names:
        assert await seqs(log, name) == list(range(1, 201))


async def test_reading_is_bounded(log):
    await log.open("a")
    await publish(log, "a", 20)
    assert [one.seq for one in await log.read("a", 5, 3)] == [6, 7, 8]
    assert await log.read("a", 20, 3) == []
    assert await log.read("unknown", 0, 3) == []
    await publish(log, "a", 12, payload=bytes(1 << 20))
    large = await log.read("a", 20, 100)
    assert [one.seq for one in large] == [21, 22, 23, 24]
    assert await seqs(log, "a") == list(range(1, 33))


async def test_an_append_needs_an_open_channel(log):
    with pytest.raises(StoreError, match="channel a has no log"):
        await log.append("a", event(), ALL)


async def test_one_broken_event_fails_alone(log):
    await log.open("a")
    results = await asyncio.gather(
        log.append("a", event(), ALL),
        log.append("a", event(content_type="\udc80"), ALL),
        log.append("a", event(time=1 << 70), ALL),
        log.append("a", event(), ALL),
        return_exceptions=True,
    )
    assert (results[0], results[3]) == (1, 2)
    assert [type(result) for result in results[1:3]] == [StoreError] * 2
    assert await seqs(log, "a") == [1, 2]


# Retention.


@pytest.mark.parametrize(
    ("keep", "least", "most"),
    [
        (Keep(count=5), 5, 5),
        (Keep(count=320), 320, 340),
        (Keep(bytes=5 * 7), 5, 5),
        (Keep(bytes=5 * 7 + 6), 5, 5),
        (Keep(bytes=320 * 7), 320, 340),
        (Keep(age_ms=5), 6, 6),
        (Keep(age_ms=319), 320, 340),
        (Keep(count=100, bytes=50 * 7, age_ms=200), 50, 54),
        (ALL, 1_000, 1_000),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_retention_keeps_what_it_says_and_a_sixteenth_more(log, keep, least, most, at_once):
    await log.open("a")
    if at_once:
        await publish(log, "a", 1_000, keep)
    else:
        for number in range(0, 1_000, 10):
            await asyncio.gather(*(log.append("a", event(number + n), keep) for n in range(10)))
    found = await seqs(log, "a")
    assert least <= len(found) <= most
    assert found == list(range(1_001 - len(found), 1_001))
    tail = await log.open("a")
    assert (tail.first, tail.last) == (found[0], 1_000)


async def test_the_newest_event_always_stays(log):
    await log.open("a")
    keep = Keep(count=1, bytes=3, age_ms=1)
    for time in (0, 1_000, 50_000):
        seq = await log.append("a", event(time, bytes(100)), keep)
        assert await seqs(log, "a") == [seq]


async def test_retention_goes_on_after_a_restart_and_when_it_shrinks(path):
    log = await open_event_log(path)
    await log.open("a")
    await publish(log, "a", 500)
    await log.close()
    log = await open_event_log(path)
    await log.append("a", event(500), Keep(bytes=70))
    assert await seqs(log, "a") == list(range(492, 502))
    await log.close()


async def test_a_huge_backlog_is_deleted_a_piece_at_a_time(log):
    await log.open("a")
    await publish(log, "a", 7_000)
    await log.append("a", event(7_000), Keep(count=10))
    assert len(await seqs(log, "a")) == 2_001
    await log.append("a", event(7_001), Keep(count=10))
    assert await seqs(log, "a") == list(range(6_993, 7_003))


@given(
    events=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=60),
    keep=st.builds(Keep, st.integers(0, 20), st.integers(0, 200), st.integers(0, 100)),
    groups=st.integers(1, 10),
)
@settings(max_examples=60)
def test_retention_is_that_of_a_list(events, keep, groups):
    """Never less than ``keep`` covers, never more than a sixteenth beyond it."""

    async def run(folder):
        log = await open_event_log(Path(folder) / "events.db")
        await log.open("a")
        time, times, sizes = 0, [], []
        for number in range(0, len(events), groups):
            appends = []
            for step, size in events[number : number + groups]:
                time += step
                times.append(time)
                sizes.append(size)
                appends.append(log.append("a", event(time, bytes(size)), keep))
            await asyncio.gather(*appends)
        kept = len(await seqs(log, "a"))
        await log.close()

        def fits(count, sixteenth):
            return count <= 1 or (
                (not keep.count or count <= keep.count + keep.count * sixteenth // 16)
                and (
                    not keep.bytes
                    or sum(sizes[-count:]) <= keep.bytes + keep.bytes * sixteenth // 16
                )
                and (
                    not keep.age_ms
                    or time - times[-count] <= keep.age_ms + keep.age_ms * sixteenth // 16
                )
            )

        due = max((count for count in range(1, len(events) + 1) if fits(count, 0)), default=0)
        assert kept >= due
        assert fits(kept, 1)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))


# Dropping.


async def test_a_dropped_channel_begins_anew(log, monkeypatch):
    monkeypatch.setattr(channels, "_DELETED_AT_ONCE", 10)
    first = await log.open("a")
    await log.open("b")
    await publish(log, "a", 95)
    await publish(log, "b", 5)
    await log.save_cursor("a", "binding", 90)
    await log.drop("a")
    await log.drop("a")
    await log.drop("never there")
    assert await seqs(log, "a") == []
    with pytest.raises(StoreError, match="it was dropped"):
        await log.append("a", event(), ALL)
    again = await log.open("a")
    assert again.incarnation != first.incarnation
    assert (again.first, again.last) == (1, 0)
    assert await log.cursor("a", "binding") is None
    assert await log.append("a", event(), ALL) == 1
    assert await seqs(log, "b") == [1, 2, 3, 4, 5]
    counts = log._database.reader.execute(
        "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM channels)"
    ).fetchone()
    assert counts == (6, 2)


async def test_appends_drops_and_opens_may_cross(log, monkeypatch):
    monkeypatch.setattr(channels, "_DELETED_AT_ONCE", 10)
    chance = random.Random(7)

    async def work(name):
        for _ in range(60):
            with contextlib.suppress(StoreError):
                match chance.randrange(12):
                    case 0:
                        await log.drop(name)
                    case 1 | 2:
                        await log.open(name)
                    case _:
                        await log.append(name, event(), Keep(count=5))

    await asyncio.gather(*(work(name) for name in "abcabcabc"))
    for name in "abc":
        tail = await log.open(name)
        assert await seqs(log, name) == list(range(tail.first, tail.last + 1))


async def test_what_a_crash_left_of_a_dropped_channel_is_removed(path):
    log = await open_event_log(path)
    await log.open("a")
    await publish(log, "a", 20)
    await log.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE channels SET name=NULL")
    await (await open_event_log(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM channels").fetchone() == (0,)


async def test_more_channels_than_are_remembered(path, monkeypatch):
    monkeypatch.setattr(channels, "_CHANNELS_KNOWN", 10)
    log = await open_event_log(path)
    names = [f"channel/{number}" for number in range(50)]
    for round_ in range(1, 4):
        for name in names:
            await log.open(name)
        results = await asyncio.gather(*(log.append(name, event(), ALL) for name in names))
        assert results == [round_] * 50
    await log.close()


# Cursors and dead letters.


async def test_cursors(path):
    log = await open_event_log(path)
    await log.open("a")
    assert await log.cursor("a", "one") is None
    await log.save_cursor("a", "one", 5)
    await log.save_cursor("a", "one", 9)
    await log.save_cursor("a", "two", 2)
    await log.save_cursor("no channel", "one", 1)
    await log.close()
    log = await open_event_log(path)
    assert await log.cursor("a", "one") == 9
    assert await log.cursor("a", "two") == 2
    assert await log.cursor("no channel", "one") is None
    await log.delete_cursor("a", "one")
    assert await log.cursor("a", "one") is None
    await log.close()


async def test_dead_letters_can_be_listed_and_deleted(path):
    log = await open_event_log(path)
    ids = [await log.bury(letter(number)) for number in range(5)]
    assert ids == [1, 2, 3, 4, 5]
    assert await log.delete_letter(2)
    assert not await log.delete_letter(2)
    assert await log.delete_letter(5)
    await log.close()
    log = await open_event_log(path)
    assert [one.id for one in await log.letters(0, 10)] == [1, 3, 4]
    assert [one.id for one in await log.letters(1, 1)] == [3]
    assert await log.letters(4, 10) == []
    found = await log.letter(3)
    assert found == DeadLetter(
        3, "binding 2", "a/b", "ab12-2", 2, 8, "refused", "text/plain", b"payload"
    )
    assert await log.letter(2) is None
    assert await log.bury(letter(9)) == 6  # an id is never given twice
    await log.close()


async def test_the_oldest_dead_letters_give_way(path):
    log = await open_event_log(path, letters=LetterLimits(count=10, bytes=1_000))
    await asyncio.gather(*(log.bury(letter(number)) for number in range(25)))
    assert [one.id for one in await log.letters(0, 100)] == list(range(16, 26))
    assert await log.letters_dropped() == 15
    await log.close()

    log = await open_event_log(path, letters=LetterLimits(count=10, bytes=1_000))
    await log.delete_letter(20)
    await log.bury(letter(99))
    assert [one.id for one in await log.letters(0, 100)] == [16, 17, 18, 19, *range(21, 27)]
    assert await log.letters_dropped() == 15
    await log.bury(letter(100, bytes(970)))
    assert [one.id for one in await log.letters(0, 100)] == [23, 24, 25, 26, 27]
    await log.bury(letter(101, bytes(5_000)))  # larger than all: kept alone
    assert [one.id for one in await log.letters(0, 100)] == [28]
    assert await log.letters_dropped() == 15 + 6 + 5
    await log.close()


# The file.


async def test_too_much_in_flight_is_busy_at_once(path):
    log = await open_event_log(path, limits=Limits(jobs=3))
    await log.open("a")
    results = await asyncio.gather(
        *(log.append("a", event(), ALL) for _ in range(5)), return_exceptions=True
    )
    assert results[:3] == [1, 2, 3]
    assert [type(result) for result in results[3:]] == [StoreBusy] * 2
    await log.close()


async def test_a_full_disk_fails_appends_and_loses_nothing(log):
    await log.open("a")
    await publish(log, "a", 3)
    log._database.writer.execute("PRAGMA max_page_count=20")
    last, error = 3, None
    while error is None and last < 100:
        try:
            last = await log.append("a", event(0, bytes(5_000)), ALL)
        except StoreError as refused:
            error = refused
    assert "nothing was written: the disk is full" in str(error)
    assert await seqs(log, "a") == list(range(1, last + 1))
    log._database.writer.execute(f"PRAGMA max_page_count={1 << 30}")
    assert await log.append("a", event(), ALL) == last + 1


async def test_files_are_not_mixed_up_or_shared(path):
    log = await open_event_log(path)
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        await open_event_log(path)
    await log.close()
    await log.close()
    with pytest.raises(StoreError, match="closed"):
        await log.append("a", event(), ALL)
    with pytest.raises(StoreError, match="closed"):
        await log.read("a", 0, 1)
    with pytest.raises(StoreError, match="is not a change log of Hilum"):
        await open_store(path)


async def test_a_damaged_event_is_left_out_and_reported(log, caplog):
    await log.open("a")
    await publish(log, "a", 10)
    damage = log._database.writer.execute
    damage("UPDATE events SET payload=x'00' WHERE seq=3")
    damage("UPDATE events SET type=CAST(x'ff' AS TEXT) WHERE seq=4")
    damage("UPDATE events SET time=time+1 WHERE seq=10")
    damage("UPDATE events SET qos=2 WHERE seq=5")
    damage("UPDATE events SET extras=x'00' WHERE seq=6")
    for _ in range(2):
        assert await seqs(log, "a") == [1, 2, 7, 8, 9]
    assert log.findings == tuple(
        f"event {seq} of channel a is damaged and was left out" for seq in (3, 4, 5, 6, 10)
    )
    assert len(caplog.records) == 5


async def test_a_damaged_channel_is_reported_at_open(path):
    log = await open_event_log(path)
    for name in "abc":
        await log.open(name)
    await log.drop("b")
    await log.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE channels SET name='x' WHERE name='c'")
    log = await open_event_log(path)
    assert log.findings == ("the record of channel x is damaged: its events may be another's",)
    await log.close()


def spoil_bytes(path, seed):
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 3, 20])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(bytes(data))


@given(seed=st.integers(0, 1 << 32))
def test_random_damage_is_never_silent(seed):
    async def run(path):
        log = await open_event_log(path)
        await log.open("a")
        await publish(log, "a", 60, payload=b"%d" % (seed % 7) * 300)
        await log.close()
        spoil_bytes(path, seed)
        refused, found, findings = True, [], ()
        with contextlib.suppress(StoreError):
            log = await open_event_log(path)
            with contextlib.suppress(StoreError):
                found = await seqs(log, "a")
                findings = log.findings
                refused = False
            await log.close()
        assert refused or findings or found == list(range(1, 61))

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "events.db"))
