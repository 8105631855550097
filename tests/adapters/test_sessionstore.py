"""Durable sessions: order, atomicity, marks with events, a full disk, too much at once, damage."""

import asyncio
import contextlib
import random
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store import open_event_log, sessions
from adapters.store.sessions import SessionLimits
from gateway.message import Mark
from gateway.ports import Keep, StoreBusy, StoredEvent, StoreError
from gateway.session_port import StoredMessage, StoredSession


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
async def log(path):
    log = await open_event_log(path)
    yield log
    await log.close()


@pytest.fixture
def store(log):
    return log.sessions


def message(packet_id, body, qos=1):
    return StoredMessage(packet_id, qos, body, False)


def released(packet_id):
    return StoredMessage(packet_id, 2, b"", True)


def event(payload=b"payload", qos=2, extras=b"extras"):
    return StoredEvent(0, 5, "text/plain", "device/1", payload, qos, extras)


def count(log, table):
    ((found,),) = log._database.reader.execute(f"SELECT count(*) FROM {table}").fetchall()
    return found


def traced(log):
    """Return the statements of the writer from now on."""
    statements = []
    log._database.writer.set_trace_callback(statements.append)
    return statements


async def eventually(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (any condition, not only an event)
            await asyncio.sleep(0.005)


def is_synced(store):
    synced = store.synced()
    return synced.done() and synced.exception() is None


async def pragma(log, text):
    """Run it in the writer's own thread, because errors are the connection's."""
    while True:
        with contextlib.suppress(StoreError):  # of the group that it is in
            return await log._writer.keep_house(lambda tx: tx.query(f"PRAGMA {text}"))


async def fill_disk(log):
    """Let no page be added."""
    ((pages,),) = await pragma(log, "page_count")
    await pragma(log, f"max_page_count={pages}")


async def free_disk(log):
    await pragma(log, f"max_page_count={1 << 30}")


async def test_a_session_comes_back_as_it_was_left(path):
    log = await open_event_log(path)
    store = log.sessions
    store.put("user:1/☃", b"first")
    store.put("b", bytes(100_000))
    first, second = store.keep(b"one"), store.keep(b"")
    store.enqueue("user:1/☃", 9, 1, first)
    store.enqueue("user:1/☃", 3, 2, second)
    store.enqueue("b", 9, 2, first)
    store.mark(Mark("b", 65_535))
    store.mark(Mark("b", 1))
    store.position("b", "a/b", "ab12-7")
    store.position("b", "a/ü", "ab12-8")
    store.put("user:1/☃", b"second")
    await log.close()
    log = await open_event_log(path)
    assert await log.sessions.load() == [
        StoredSession("user:1/☃", b"second", [message(9, b"one"), message(3, b"", 2)], [], []),
        StoredSession(
            "b", bytes(100_000), [message(9, b"one", 2)], [1, 65_535],
            [("a/b", "ab12-7"), ("a/ü", "ab12-8")],
        ),
    ]  # fmt: skip
    assert log.findings == ()
    await log.close()


async def test_a_qos_2_message_goes_its_way(store):
    store.put("a", b"")
    for packet_id in (1, 2, 3):
        store.enqueue("a", packet_id, 2, store.keep(b"%d" % packet_id))
    await store.synced()
    store.release("a", 2)
    store.release("a", 1)
    await store.synced()
    ((_, _, messages, _, _),) = await store.load()
    assert messages == [message(3, b"3", 2), released(2), released(1)]
    store.acknowledge("a", 2)
    store.enqueue("a", 2, 1, store.keep(b"again"))
    await store.synced()
    ((_, _, messages, _, _),) = await store.load()
    assert messages == [message(3, b"3", 2), released(1), message(2, b"again")]


async def test_a_dropped_session_leaves_nothing(log, store):
    store.put("a", b"old")
    store.put("b", b"")
    body = store.keep(b"shared")
    for key in "ab":
        for packet_id in (1, 65_535):
            store.enqueue(key, packet_id, 1, body)
        store.mark(Mark(key, 65_535))
        store.position(key, "c", "x-1")
    store.drop("a")
    store.drop("never there")
    await store.synced()
    (left,) = await store.load()
    assert (left.key, len(left.messages), left.marks) == ("b", 2, [65_535])
    store.enqueue("a", 1, 1, store.keep(b"too late"))
    store.mark(Mark("a", 1))
    store.position("a", "c", "x-2")
    await store.synced()
    assert await store.load() == [left]
    store.put("a", b"new")
    await store.synced()
    assert (await store.load())[1] == StoredSession("a", b"new", [], [], [])
    store.drop("b")
    await store.synced()
    tables = ("queued", "bodies", "marks", "positions")
    assert [count(log, table) for table in tables] == [0, 0, 0, 0]


async def test_a_body_is_stored_once_and_as_long_as_it_is_queued(log, store):
    for key in "abc":
        store.put(key, b"")
    body = b"for all" * 1_000
    for key in "abc":
        store.enqueue(key, 1, 2, store.keep(body))
    store.enqueue("a", 2, 1, store.keep(b"for one"))
    await store.synced()
    assert (count(log, "bodies"), count(log, "queued")) == (1, 4)
    store.acknowledge("a", 1)
    store.release("b", 1)
    await store.synced()
    assert count(log, "bodies") == 1
    assert [one.messages for one in await store.load()] == [
        [message(2, b"for one")], [released(1)], [message(1, b"for all" * 1_000, 2)],
    ]  # fmt: skip
    store.enqueue("c", 1, 1, store.keep(b"instead"))  # takes the place of what was there
    await store.synced()
    assert count(log, "bodies") == 0


async def test_the_number_of_a_body_ends_with_its_callback(store):
    store.put("a", b"")
    body = store.keep(b"body")
    await asyncio.sleep(0)
    with pytest.raises(KeyError):
        store.enqueue("a", 1, 1, body)


async def test_what_came_and_went_costs_no_statement(log, store):
    store.put("a", b"")
    await store.synced()
    statements = traced(log)
    body = store.keep(b"body")
    store.enqueue("a", 1, 1, body)
    store.acknowledge("a", 1)
    await store.synced()
    assert statements == []
    body = store.keep(b"body")
    for packet_id in range(1, 100):
        store.enqueue("a", packet_id, 1, body)
        store.position("a", "c", f"x-{packet_id}")
    for packet_id in range(1, 99):
        store.acknowledge("a", packet_id)
    await store.synced()
    log._database.writer.set_trace_callback(None)
    assert len(statements) == 4, statements  # begin, message, position, commit


async def test_many_callbacks_share_a_commit_and_a_future(log, store):
    for key in "ab":
        store.put(key, b"")
    assert store.writes == 2
    await store.synced()
    statements = traced(log)
    futures = []

    def publish(packet_id):
        body = store.keep(b"%d" % packet_id)
        for key in "ab":
            store.enqueue(key, packet_id, 1, body)
        futures.append(store.synced())
        assert store.synced() is futures[-1]

    for packet_id in range(1, 501):
        asyncio.get_running_loop().call_soon(publish, packet_id)
    await asyncio.sleep(0)
    await asyncio.gather(*futures)
    log._database.writer.set_trace_callback(None)
    assert store.writes == 1_002
    assert sum(sql == "COMMIT" for sql in statements) < 50
    assert [len(one.messages) for one in await store.load()] == [500, 500]
    assert count(log, "bodies") == 500


async def test_synced_without_writes_is_done_at_once(store):
    assert store.synced().done()
    store.put("a", b"")
    waiting = store.synced()
    await asyncio.sleep(0)
    assert store.synced() is not waiting or not waiting.done()
    await store.synced()
    assert waiting.done()
    assert store.synced().done()


async def test_an_event_and_its_mark_are_one_transaction(log, store):
    await log.open("c")
    statements = traced(log)
    store.put("a", b"")
    store.mark(Mark("a", 1))
    results = await asyncio.gather(
        log.append("c", event(), Keep(), Mark("a", 2)),
        log.append("c", event(qos=1, extras=b""), Keep()),
        log.append("c", event(), Keep(), Mark("a", 3)),
        log.append("no channel", event(), Keep(), Mark("a", 4)),
        log.append("c", event(), Keep(), Mark("no session", 5)),
        return_exceptions=True,
    )
    log._database.writer.set_trace_callback(None)
    assert results[:3] == [1, 2, 3]
    assert "channel no channel has no log" in str(results[3])
    assert "session no session is not stored" in str(results[4])
    assert sum(sql == "COMMIT" for sql in statements) <= 2
    (session,) = await store.load()
    assert session.marks == [1, 2, 3]
    assert [(one.qos, one.extras) for one in await log.read("c", 0, 9)] == [
        (2, b"extras"), (1, b""), (2, b"extras"),
    ]  # fmt: skip


async def test_marks_and_events_keep_the_order_of_the_calls(log, store):
    await log.open("c")
    store.put("a", b"")
    for _ in range(50):
        body = store.keep(b"kept before and used after the append")
        store.unmark(Mark("a", 1))
        appended = asyncio.ensure_future(log.append("c", event(), Keep(), Mark("a", 1)))
        await asyncio.sleep(0)
        store.enqueue("a", 7, 1, store.keep(b"x"))
        store.acknowledge("a", 7)
        assert body
        await appended
        (session,) = await store.load()
        assert session.marks == [1]
    store.mark(Mark("a", 2))
    store.drop("a")
    store.put("a", b"")
    await log.append("c", event(), Keep(), Mark("a", 3))
    (session,) = await store.load()
    assert session.marks == [3]


async def test_a_mark_handed_over_in_the_middle_of_a_callback_splits_no_body(log, store):
    await log.open("c")
    store.put("a", b"")
    body = store.keep(b"body")
    store.enqueue("a", 1, 1, body)
    append = log.append("c", event(), Keep(), Mark("a", 9))
    with contextlib.closing(append):
        waiting = append.send(None)  # its first step, without a task
        store.enqueue("a", 2, 1, body)
        await store.synced()
        await eventually(waiting.done)
        with pytest.raises(StopIteration):
            append.send(None)
    (session,) = await store.load()
    assert session.messages == [message(1, b"body"), message(2, b"body")]
    assert session.marks == [9]


# A disk that fails.


async def test_a_full_disk_leaves_no_half_and_is_made_up_for(log, store, monkeypatch):
    monkeypatch.setattr(sessions, "_RETRY_SECONDS", 0.02)
    await log.open("c")
    store.put("a", b"")
    store.enqueue("a", 1, 1, store.keep(b"before"))
    await store.synced()
    before = await store.load()
    await fill_disk(log)
    for number in range(2, 40):
        store.enqueue("a", number, 1, store.keep(bytes(1_000)))
    store.acknowledge("a", 1)
    failing = store.synced()
    with pytest.raises(StoreError, match="nothing was written: the disk is full"):
        await failing
    with pytest.raises(StoreError, match="the disk is full"):
        await store.synced()
    assert await store.load() == before
    store.put("b", b"")  # alone it would have room
    with pytest.raises(StoreError, match="the disk is full"):
        await store.synced()
    with pytest.raises(StoreError, match="the disk is full"):
        await log.append("c", event(), Keep(), Mark("a", 1))
    assert await store.load() == before
    await free_disk(log)
    await eventually(lambda: is_synced(store))
    first, second = await store.load()
    assert [one.packet_id for one in first.messages] == list(range(2, 40))
    assert second == StoredSession("b", b"", [], [], [])
    assert await log.read("c", 0, 1) == []


async def test_a_later_write_brings_up_what_failed(log, store):
    store.put("a", b"")
    await store.synced()
    await fill_disk(log)
    store.put("a", bytes(200_000))
    store.position("a", "c", "x-1")
    with pytest.raises(StoreError):
        await store.synced()
    await free_disk(log)
    store.position("a", "c", "x-2")
    await store.synced()
    (session,) = await store.load()
    assert session == StoredSession("a", bytes(200_000), [], [], [("c", "x-2")])


async def test_a_marked_event_brings_up_what_failed(log, store):
    await log.open("c")
    store.put("a", b"")
    await store.synced()
    await fill_disk(log)
    store.put("b", bytes(200_000))
    with pytest.raises(StoreError):
        await store.synced()
    await free_disk(log)
    assert await log.append("c", event(), Keep(), Mark("b", 1)) == 1
    assert [(one.key, one.marks) for one in await store.load()] == [("a", []), ("b", [1])]


async def test_too_much_that_waits_is_busy_and_then_given_up(path, monkeypatch):
    monkeypatch.setattr(sessions, "_RETRY_SECONDS", 0.02)
    limits = SessionLimits(writes=10, bytes=1 << 30)
    log = await open_event_log(path, session_limits=limits)
    store = log.sessions
    for key in "abc":
        store.put(key, b"")
    await store.synced()
    await fill_disk(log)
    packet_ids = iter(range(1, 100))

    async def publish():
        store.enqueue("a", next(packet_ids), 1, store.keep(bytes(5_000)))
        await asyncio.sleep(0)
        return store.synced()

    errors = [await publish() for _ in range(11)][-1].exception()
    assert isinstance(errors, StoreBusy)
    assert "busy, 11 session writes wait for the disk" in str(errors)
    assert log.findings == ()
    for _ in range(40):
        await publish()
    assert len(store._units) <= 80
    assert "41 session writes wait for the disk, which is too many" in log.findings[0]
    store.put("b", b"also lost")
    await asyncio.sleep(0)
    await free_disk(log)
    await eventually(lambda: is_synced(store))
    assert await store.load() == [StoredSession("c", b"", [], [], [])]
    store.acknowledge("a", 3)
    store.put("a", b"again")
    store.enqueue("a", 50, 1, store.keep(b"new"))
    await store.synced()
    assert (await store.load())[1] == StoredSession("a", b"again", [message(50, b"new")], [], [])
    assert len(log.findings) == 1
    await log.close()


async def test_bytes_are_limited_too(path):
    log = await open_event_log(path, session_limits=SessionLimits(writes=100, bytes=1_000))
    store = log.sessions
    store.put("a", bytes(900))
    store.enqueue("a", 1, 1, store.keep(bytes(101)))
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy):
        await store.synced()
    await eventually(lambda: is_synced(store))
    assert len(await store.load()) == 1
    await log.close()


async def test_nothing_is_written_after_the_end(log, store):
    store.put("a", b"")
    last = store.synced()
    await log.close()
    await last
    store.put("b", b"")
    with pytest.raises(StoreError, match="closed"):
        await store.synced()
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="closed"):
        await store.synced()


# Damage.


async def filled(path):
    log = await open_event_log(path)
    store = log.sessions
    for key in "abc":
        store.put(key, b"record of " + key.encode() * 20)
        store.mark(Mark(key, 1))
        store.mark(Mark(key, 2))
        store.position(key, "c/d", "ab12-1")
        for packet_id in (1, 2, 3):
            store.enqueue(key, packet_id, 1, store.keep(b"%d" % packet_id * 40))
    for packet_id in (4, 5):
        body = store.keep(b"%d" % packet_id * 200)
        for key in "abc":
            store.enqueue(key, packet_id, 1, body)
    await store.synced()
    sound = await store.load()
    await log.close()
    return sound


SECOND = 2 << 16


@pytest.mark.parametrize(
    ("statement", "findings", "changed"),
    [
        ("UPDATE sessions SET record=x'' WHERE id=2", ["session b"], None),
        ("UPDATE sessions SET key=CAST(x'ff' AS TEXT) WHERE id=2", ["session �"], None),
        ("UPDATE sessions SET record='7' WHERE id=2", ["session b"], None),
        ("DELETE FROM sessions WHERE id=2", ["session number 2"], None),
        (f"UPDATE queued SET body=x'00' WHERE id={SECOND + 3}", ["message 3 of session b"], "m3"),
        (f"UPDATE queued SET qos=300 WHERE id={SECOND + 1}", ["message 1 of session b"], "m1"),
        (f"UPDATE queued SET place='x' WHERE id={SECOND + 5}", ["message 5 of session b"], "m5"),
        (f"UPDATE queued SET shared=77 WHERE id={SECOND + 5}", ["message 5 of session b"], "m5"),
        (f"UPDATE queued SET id={SECOND + 9} WHERE id={SECOND + 4}",
         ["message 9 of session b"], "m4"),
        (f"UPDATE marks SET id={SECOND + 9} WHERE id={SECOND + 2}",
         ["QoS 2 mark 9 of session b"], "k2"),
        ("UPDATE positions SET event=CAST('ab12-2' AS BLOB) WHERE session=2",
         ["a position of session b"], "p"),
        ("UPDATE positions SET channel=x'ff' WHERE session=2", ["a position of session b"], "p"),
    ],
)  # fmt: skip
async def test_what_is_damaged_is_left_out_and_reported(path, statement, findings, changed):
    first, second, third = await filled(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount == 1
    log = await open_event_log(path)
    store = log.sessions
    found = await store.load()
    kind, number = (changed[0], int(changed[1:] or 0)) if changed else ("s", 0)
    left = {
        "s": [],
        "m": [second._replace(messages=[m for m in second.messages if m.packet_id != number])],
        "k": [second._replace(marks=[1])],
        "p": [second._replace(positions=[])],
    }
    assert found == [first, *left[kind], third]
    assert log.findings == tuple(f"{one} is damaged and was left out" for one in findings)
    await store.synced()
    assert await store.load() == found
    store.put("b", b"goes on")
    store.enqueue("b", 9, 1, store.keep(b"new"))
    await store.synced()
    assert (await store.load())[1 if changed else 2].messages[-1] == message(9, b"new")
    await log.close()


async def test_a_damaged_shared_body_takes_its_messages_with_it(path):
    await filled(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE bodies SET body=x'00' WHERE id=1")
    log = await open_event_log(path)
    assert [[m.packet_id for m in one.messages] for one in await log.sessions.load()] == [
        [1, 2, 3, 5]
    ] * 3
    assert len(log.findings) == 3
    await log.sessions.synced()
    assert count(log, "bodies") == 1
    await log.close()


@given(seed=st.integers(0, 1 << 32))
def test_random_damage_is_never_silent(seed):
    async def run(path):
        sound = await filled(path)
        chance = random.Random(seed)
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 3, 20])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data))
        refused, found, findings = True, [], ()
        with contextlib.suppress(StoreError):
            log = await open_event_log(path)
            with contextlib.suppress(StoreError):
                found = await log.sessions.load()
                findings = log.findings
                refused = False
            await log.close()
        assert refused or findings or found == sound

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "events.db"))
