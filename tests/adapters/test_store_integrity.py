"""Damage to the change log's file: reported, set aside or refused, never passed over."""

import asyncio
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.store import open_store
from adapters.store.chain import GENESIS, link, survey
from gateway.ports import StoreError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "changes.db"


def body(seq):
    return b"entry %d " % seq * 5


def state(seq):
    return [b"%d/%d" % (seq, number) for number in range(50)]


async def write_log(path, last, snapshots=(), keep_entries=10_000):
    store = await open_store(path, keep_entries=keep_entries)
    await store.append(0, [body(seq) for seq in range(1, last + 1)])
    for seq in snapshots:
        await store.save_snapshot(seq, state(seq))
    await store.close()


def damage(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def query(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def rebuilt(store):
    """Return (snapshot's entry, last entry) after checking that what is there is right."""
    found = await store.snapshot()
    start = seq = found.seq if found else 0
    assert not found or list(found.records) == state(found.seq)
    head = await store.head()
    if head > seq:
        async for batch in store.follow(seq):
            for entry in batch:
                seq += 1
                assert (entry.seq, entry.body) == (seq, body(seq))
            if seq == head:
                break
    return start, seq


LAST_THREE = "seq IN (98, 99, 100)"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE entries SET body=substr(body, 1, 3) WHERE {LAST_THREE}",
        f"UPDATE entries SET body=NULL WHERE {LAST_THREE}",
        f"UPDATE entries SET body='text' WHERE {LAST_THREE}",
        f"UPDATE entries SET sum=zeroblob(16) WHERE {LAST_THREE}",
        f"UPDATE entries SET sum=7 WHERE {LAST_THREE}",
        "UPDATE entries SET seq=seq+1000 WHERE seq IN (98, 99, 100)",
    ],
)
async def test_a_damaged_tail_goes_to_the_quarantine(path, statement):
    await write_log(path, 100)
    damage(path, statement)
    store = await open_store(path)
    assert await rebuilt(store) == (0, 97)
    tail, lost = store.findings
    assert "moved to the table quarantine; the log goes on after entry 97" in tail
    assert "3 acknowledged entries are missing: the log ends at 97, but reached 100" in lost
    assert await store.append(97, [body(98)]) == 98
    await store.close()
    assert query(path, "SELECT count(*) FROM quarantine") == [(3,)]
    store = await open_store(path)
    assert store.findings == ()  # said once, to the operator who saw it
    assert await rebuilt(store) == (0, 98)
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body=x'00' WHERE seq=60",
        "UPDATE entries SET sum=zeroblob(16) WHERE seq=60",
        "UPDATE entries SET body=NULL WHERE seq=60",
        "DELETE FROM entries WHERE seq=60",
        "UPDATE entries SET body=x'00' WHERE seq IN (98, 60)",
    ],
)
@pytest.mark.parametrize("snapshots", [(), (30, 50)])
async def test_damage_in_the_middle_is_refused(path, statement, snapshots):
    await write_log(path, 100, snapshots)
    damage(path, statement)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"changes.db is damaged: .* entries after that are sound"):
        await open_store(path)
    with pytest.raises(StoreError, match=r"Restore it .* or move it and its \.lock file aside"):
        await open_store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body=x'00' WHERE seq=60",
        "UPDATE entries SET sum=zeroblob(16) WHERE seq=80",
        "DELETE FROM entries WHERE seq=80",
        "DELETE FROM entries WHERE seq<=80",
        "DELETE FROM entries WHERE seq BETWEEN 20 AND 30",
    ],
)
async def test_damage_before_a_snapshot_costs_only_history(path, statement):
    await write_log(path, 100, (40, 80))
    damage(path, statement)
    store = await open_store(path)
    assert await rebuilt(store) == (80, 100)
    (finding,) = store.findings
    assert "entries up to 80 were damaged or missing" in finding
    assert await store.append(100, [body(101)]) == 101
    await store.close()
    store = await open_store(path)
    assert store.findings == ()
    assert await rebuilt(store) == (80, 101)
    await store.close()


async def test_a_log_damaged_up_to_its_snapshot_goes_on_after_it(path):
    """Numbers that were given out are never given out again."""
    await write_log(path, 100, (40, 100))
    damage(path, "DELETE FROM entries WHERE seq>50")
    store = await open_store(path)
    assert await rebuilt(store) == (100, 100)
    assert await store.append(100, [body(101)]) == 101
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshot_parts SET data=x'00' WHERE snapshot=2",
        "UPDATE snapshot_parts SET sum=zeroblob(16) WHERE snapshot=2",
        "DELETE FROM snapshot_parts WHERE snapshot=2",
        "UPDATE snapshots SET seq=81 WHERE id=2",
        "UPDATE snapshots SET records=49 WHERE id=2",
        "UPDATE snapshots SET sum=x'' WHERE id=2",
    ],
)
async def test_a_damaged_snapshot_is_skipped(path, statement):
    await write_log(path, 100, (40, 80), keep_entries=10)
    damage(path, statement)
    store = await open_store(path)
    assert await rebuilt(store) == (40, 100)
    assert ["damaged and was not used" in finding for finding in store.findings] == [True]
    await store.close()


async def test_without_a_sound_snapshot_everything_is_replayed(path):
    await write_log(path, 100, (40, 80))
    damage(path, "UPDATE snapshot_parts SET data=x'00'")
    store = await open_store(path)
    assert await rebuilt(store) == (0, 100)
    assert len(store.findings) == 2
    await store.close()


async def test_without_a_sound_snapshot_a_pruned_log_is_refused(path):
    await write_log(path, 100, (40, 80), keep_entries=10)
    damage(path, "UPDATE snapshot_parts SET data=x'00'")
    with pytest.raises(StoreError, match="no snapshot is sound, and entries up to 40 are pruned"):
        await open_store(path)


async def test_a_snapshot_that_is_damaged_later_is_found_when_it_is_read(path):
    await write_log(path, 100, (40, 80))
    store = await open_store(path)
    store._database.writer.execute("UPDATE snapshot_parts SET data=x'00' WHERE snapshot=2")
    for _ in range(2):
        assert (await store.snapshot()).seq == 40
    assert len(store.findings) == 1
    store._database.writer.execute("UPDATE snapshot_parts SET data=x'00'")
    assert await store.snapshot() is None
    store._database.writer.execute("UPDATE entries SET body=NULL WHERE seq=1")
    with pytest.raises(StoreError, match="no snapshot is sound any more"):
        await store.snapshot()
    await store.close()


async def test_a_lost_write_ahead_log_is_noticed(path, tmp_path):
    await write_log(path, 100)
    store = await open_store(path)
    await store.append(100, [body(101), body(102)])
    image = crash_image(path, tmp_path / "image")
    await store.close()
    image.with_name("changes.db-wal").unlink()
    store = await open_store(image)
    (finding,) = store.findings
    assert "2 acknowledged entries are missing: the log ends at 100, but reached 102" in finding
    await store.close()


async def test_a_changed_schema_is_refused(path):
    await write_log(path, 10)
    damage_schema = "UPDATE sqlite_schema SET sql=replace(sql, 'body', 'bodi') WHERE name='entries'"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(damage_schema)
    with pytest.raises(StoreError, match="is damaged: its schema changed"):
        await open_store(path)


# Random damage.


def crash_image(path, folder):
    """Copy an open store's files as a killed process would have left them."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal", ".lock"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, folder)
    return folder / path.name


def spoil(path, seed):
    """Overwrite, zero or cut some of a file, as bad disks do."""
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    kind = chance.choice(["bytes", "bytes", "sector", "swap", "cut"])
    place = chance.randrange(len(data))
    if kind == "bytes":
        for _ in range(chance.choice([1, 3, 20])):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == "sector":
        start = place // 512 * 512
        data[start : start + 512] = bytes(512)
    elif kind == "swap":
        first, second = (chance.randrange(len(data) // 512) * 512 for _ in range(2))
        data[first : first + 512], data[second : second + 512] = (
            data[second : second + 512], data[first : first + 512],
        )  # fmt: skip
    else:
        del data[place:]
    path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return two crash images of a log of 120: one all in its database, one mostly in its WAL."""

    async def make():
        folder = tmp_path_factory.mktemp("images")
        path = folder / "live" / "changes.db"
        await write_log(path, 90, (20, 60), keep_entries=30)
        store = await open_store(path)
        for seq in range(91, 121):
            await store.append(seq - 1, [body(seq)])
        in_wal = crash_image(path, folder / "wal")
        await store.close()
        return crash_image(path, folder / "database"), in_wal

    return asyncio.run(make())


async def open_damaged(image, spoiled, seed, folder):
    """Open works with everything acknowledged, or has findings, or refuses with a clear text."""
    path = crash_image(image, Path(folder))
    spoil(path.with_name(path.name + spoiled), seed)
    refusal, last, findings = "", 0, ()
    try:
        store = await open_store(path)
    except StoreError as refused:
        refusal = str(refused)
    else:
        try:
            _, last = await rebuilt(store)
        except StoreError as refused:
            refusal = str(refused)
        findings = store.findings
        await store.close()
    assert last == 120 or findings or "change log" in refusal, (last, refusal)


def damage_at_random(images, seed):
    database, in_wal = images
    for image, spoiled in ((database, ""), (in_wal, ""), (in_wal, "-wal")):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(open_damaged(image, spoiled, seed, folder))


SEEDS = st.integers(0, 1 << 32)


@given(seed=SEEDS)
def test_random_damage_is_never_silent(images, seed):
    damage_at_random(images, seed)


@pytest.mark.full
@given(seed=SEEDS)
@settings(max_examples=2_000)
def test_random_damage_is_never_silent_in_many_rounds(images, seed):
    damage_at_random(images, seed)


@given(st.lists(st.binary(max_size=5), max_size=20), st.data())
def test_the_survey_finds_exactly_what_was_changed(bodies, data):
    rows, chain = [], GENESIS
    for seq, content in enumerate(bodies, 1):
        chain = link(chain, seq, content)
        rows.append((seq, content, chain))
    changed = data.draw(st.sets(st.integers(1, max(1, len(rows)))))
    spoiled = [
        (seq, content + b"!" if seq in changed else content, total) for seq, content, total in rows
    ]
    found = survey(spoiled, 0, GENESIS)
    sound = [seq for seq, _, _ in rows if seq not in changed]
    assert found.head == max(sound, default=0)
    assert found.inside + found.tail == sorted(seq for seq in changed if seq <= len(rows))
    assert all(seq < found.head for seq in found.inside)
