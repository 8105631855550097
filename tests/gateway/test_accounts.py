"""Accounts: what is counted, how the CPU is shared, and what is kept."""

import asyncio

import pytest

from adapters.store.accounts import AccountFile
from gateway.accounts import KEPT, OTHERS, Accounts, Row, Used
from gateway.ports import StoreError
from policy.model import Action
from tests.gateway.play import ANN, BOB, Stage, answer


class Clock:
    def __init__(self):
        self.cpu = 0.0
        self.unix = 1_700_000_000.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def accounts(clock):
    return Accounts(lambda: clock.unix, lambda: clock.cpu)


async def test_calls_and_events_are_counted_for_who_made_them_and_where_they_went(accounts):
    stage = Stage()
    stage.allow("bob", BOB.id, *Action)
    stage.plane.ended = accounts.ended
    stage.register("a", "b")
    for who, code in ((ANN, 200), (ANN, 200), (BOB, 503)):
        stage.begin(principal=who, body=b"1234")
        stage.http.answers[-1].reply(answer(code), b"12", end=True)
    stage.begin(action=Action.DESCRIBE)
    stage.begin(action=Action.PUBLISH, body=b"1")
    stage.local.answers[-1].reply(answer(), b"", end=True)
    rows = {r.key: r.used for r in accounts.page("principal", "", 10)}
    assert rows[ANN.id] == Used(calls=2, events=1, received=9, sent=4)
    assert rows[BOB.id][:2] == (1, 0)
    bindings = accounts.page("binding", "", 10)
    assert sum(row.used.calls for row in bindings) == 3
    assert any(row.key.endswith("Recommender/1/a at http://a.test/make") for row in bindings)


async def test_the_cpu_is_shared_by_work(accounts, clock):
    ann, bob = accounts.of("principal", "ann"), accounts.of("principal", "bob")
    ann.calls += 3
    bob.events += 1
    accounts.of("principal", "idle")
    clock.cpu = 2.0
    await accounts.attribute()
    assert (ann.cpu, bob.cpu) == (1.5, 0.5)
    ann.received += 4096 * 4
    clock.cpu = 3.0
    await accounts.attribute()
    assert (ann.cpu, bob.cpu) == (2.5, 0.5)


def test_their_number_is_bounded_and_strangers_share_one(accounts, monkeypatch):
    monkeypatch.setattr("gateway.accounts.KEPT", 2)
    first = accounts.of("principal", "a")
    accounts.of("principal", "b")
    late = accounts.of("principal", "c")
    assert accounts.of("principal", "d") is late
    assert accounts.of("principal", "a") is first
    assert [r.key for r in accounts.page("principal", "", 9)] == [OTHERS, "a", "b"]


def test_the_busiest_have_series_of_their_own(accounts):
    for number in range(5):
        accounts.of("principal", str(number)).calls += number
    assert [key for key, _ in accounts.top("principal", 9)] == ["4", "3", "2", "1", "0"]
    assert [(k, u.calls) for k, u in accounts.top("principal", 2)] == [
        ("4", 4),
        ("3", 3),
        (OTHERS, 3),
    ]


async def test_they_outlive_a_restart_and_a_kill_takes_what_was_not_written(
    accounts, clock, tmp_path
):
    file = AccountFile(tmp_path / "accounts.db")
    assert await file.load(KEPT) == []
    ann = accounts.of("principal", "ann")
    ann.calls += 5
    clock.cpu = 1.0
    await accounts.attribute()
    rows = accounts.unsaved()
    await file.save(rows)
    ann.calls += 1
    accounts.saved(rows)
    assert [row.key for row in accounts.unsaved()] == ["ann"]  # it went on meanwhile
    await file.close()

    again = Accounts(lambda: clock.unix, lambda: clock.cpu)
    reopened = AccountFile(tmp_path / "accounts.db")
    again.restore(await reopened.load(KEPT))
    assert again.of("principal", "ann").used() == Used(calls=5, cpu=1.0)
    await again.attribute()
    assert again.unsaved() == []
    await reopened.close()


async def test_a_damaged_file_is_put_aside(tmp_path):
    path = tmp_path / "accounts.db"
    path.write_bytes(b"no database" * 1000)
    file = AccountFile(path)
    assert await file.load(10) == []
    assert "damaged" in file.findings[0]
    await file.save([Row("binding", "x", Used(1), 7)])
    assert (await file.load(10))[0].key == "x"
    await file.close()


async def test_a_disk_that_fails_is_said_and_no_reason_not_to_start(tmp_path):
    file = AccountFile(tmp_path / "nowhere" / "accounts.db")
    assert await file.load(10) == []
    assert file.findings
    with pytest.raises(StoreError, match="cannot be written"):
        await file.save([Row("binding", "x", Used(1), 7)])
    await file.close()


async def test_old_rows_give_way(tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.store.accounts.ROWS", 3)
    file = AccountFile(tmp_path / "accounts.db")
    await file.save([Row("principal", str(n), Used(n), n) for n in range(9)])
    assert sorted(row.key for row in await file.load(10)) == ["6", "7", "8"]
    assert [row.key for row in await file.load(1)] == ["8"]
    await file.close()


async def test_many_accounts_do_not_hold_up_the_loop(accounts):
    for number in range(KEPT):
        accounts.of("binding", str(number)).calls += 1
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await accounts.attribute()
    counting.cancel()
    assert turns > 10
