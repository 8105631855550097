"""The change pipeline: planned against the pending tail, appended, followed, acknowledged."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.ledger import DRAFT_LIMIT, SLICE, TRIES, Entered, Ledger
from gateway.message import Refusal, Status, Unwritten
from gateway.ports import StoreBusy, StoreError
from registry.catalog import Catalog
from registry.changes import (
    Batch,
    Change,
    Deregistered,
    ObjectCreated,
    TokenRevoked,
    encode,
)
from registry.model import VirtualObject
from registry.names import Name
from tests.gateway.sites import A, B, Moody, W, conflict, issued, opened, registered, until, watched


class Follower:
    """A ledger that runs, and what it put in force."""

    def __init__(self, store: Moody, **how: int) -> None:
        self.ledger = Ledger(store, lambda: 1, **how)
        self.applied: list[Change] = []
        self.gone: set[Name] = set()
        self.hold = asyncio.Event()
        self.hold.set()

    async def apply(self, entered: Sequence[Entered]) -> None:
        await self.hold.wait()
        self.applied += [one.change for one in entered]
        for one in entered:
            self.gone |= one.gone

    async def change(self, *changes: Change) -> Sequence[Change]:
        return await self.ledger.change("user:a", lambda _: changes)


@contextlib.asynccontextmanager
async def following(store: Moody, **how: int) -> AsyncIterator[Follower]:
    follower = Follower(store, **how)
    await follower.ledger.replay(await store.head())
    tasks = [
        asyncio.create_task(follower.ledger.run(follower.apply)),
        asyncio.create_task(follower.ledger.pay()),
    ]
    try:
        yield follower
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await follower.ledger.close()


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        yield store


@pytest.fixture
async def one(store):
    async with following(store) as follower:
        yield follower


def token_plan(token: str):
    """A plan that issues a token unless it is there."""
    return lambda catalog: [] if token in catalog.tokens else [issued(token)]


# --- acknowledging ---------------------------------------------------------------------------


async def test_a_change_is_answered_when_it_is_durable_and_in_force(store, one):
    one.hold.clear()
    waiting = asyncio.create_task(one.change(registered()))
    await until(lambda: one.ledger.seq == 1)
    assert await store.head() == 1
    assert not waiting.done()
    one.hold.set()
    assert await waiting == (registered(),)
    assert one.applied == [registered()]
    assert W in one.ledger.catalog.names


async def test_nothing_to_change_appends_nothing(store, one):
    assert await one.change() == ()
    assert store.appends == 0


async def test_a_plan_that_refuses_changes_nothing(store, one):
    def plan(catalog: Catalog) -> Sequence[Change]:
        raise Refusal(Status.CONFLICT, "taken")

    with pytest.raises(Refusal, match="taken"):
        await one.ledger.change("user:a", plan)
    assert store.appends == 0


async def test_changes_in_flight_see_each_other_before_they_are_committed(store, one):
    store.gate.clear()
    first = asyncio.create_task(one.ledger.change("user:a", token_plan("t")))
    await until(lambda: store.appends == 1)
    assert "t" in one.ledger.draft.tokens
    assert "t" not in one.ledger.catalog.tokens
    second = asyncio.create_task(one.change(TokenRevoked("t")))
    await until(lambda: store.appends == 2)
    assert "t" not in one.ledger.draft.tokens
    store.gate.set()
    await asyncio.gather(first, second)
    assert one.applied == [issued("t"), TokenRevoked("t")]
    assert await store.head() == 2


async def test_what_is_there_only_in_the_tail_is_not_acknowledged_before_it_is_written(store, one):
    """Applying the same twice: the second has nothing to do, but may not say so too early."""
    store.gate.clear()
    both = [asyncio.create_task(one.ledger.change("u:a", token_plan("t"))) for _ in "ab"]
    await until(lambda: store.appends == 1)
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in both)
    store.gate.set()
    first, second = await asyncio.gather(*both)
    assert (len(first), second) == (1, ())


async def test_what_was_there_only_in_a_tail_that_failed_is_planned_anew(store, one):
    def once() -> StoreError:
        store.recover()
        return StoreError("the disk was full")

    store.gate.clear()
    store.fault = once
    first = asyncio.create_task(one.ledger.change("u:a", token_plan("t")))
    await until(lambda: store.appends == 1)
    second = asyncio.create_task(one.ledger.change("u:b", token_plan("t")))
    await asyncio.sleep(0.01)
    store.gate.set()
    with pytest.raises(Unwritten):
        await first
    assert await second == (issued("t"),)


async def test_many_changes_at_once_are_committed_in_their_order(store, one):
    tokens = [f"t{n}" for n in range(300)]
    await asyncio.gather(*(one.change(issued(t)) for t in tokens))
    assert [c.token.id for c in one.applied] == tokens
    assert await store.head() == 300


async def test_a_long_tail_is_drafted_anew_with_what_is_not_yet_committed(store, one):
    """The draft may not apply twice what the catalog has already: the order of offers tells."""
    store.gate.clear()
    steps: list[Change] = [registered(A), registered(B), Deregistered(A), registered(A)]
    steps += [issued(f"t{n}") for n in range(DRAFT_LIMIT + 2)]
    first = asyncio.create_task(one.change(*steps[:4]))
    await until(lambda: store.appends == 1)
    store.gate.set()
    one.hold.clear()
    await until(lambda: one.ledger.seq == 1)
    store.gate.clear()
    rest = [asyncio.create_task(one.change(c)) for c in steps[4:]]
    await until(lambda: store.appends == len(steps) - 3)
    more = asyncio.create_task(one.change(registered(A, methods=("ask", "tell"))))
    await until(lambda: store.appends == len(steps) - 2)
    offers = one.ledger.draft.names[W].offers
    assert [offer.registration for offer in offers] == [B, A]
    store.gate.set()
    one.hold.set()
    await asyncio.gather(first, more, *rest)
    offers = one.ledger.catalog.names[W].offers
    assert [offer.registration for offer in offers] == [B, A]


async def test_names_that_did_not_outlive_their_change_are_told_even_if_they_came_back(one):
    await one.change(registered())
    await one.change(Deregistered(A), registered(generation=2))
    assert one.gone == {"s/w", "s/w/ask", "s/w/news"}


# --- somebody else appends, too --------------------------------------------------------------


async def test_a_conflict_is_planned_anew_on_the_newest_state(store, one):
    async with following(store) as other:
        store.gate.clear()
        mine = asyncio.create_task(one.ledger.change("user:a", token_plan("t")))
        theirs = asyncio.create_task(other.ledger.change("user:b", token_plan("t")))
        await until(lambda: store.appends == 2)
        store.gate.set()
        assert sorted(map(len, await asyncio.gather(mine, theirs))) == [0, 1]
        assert await store.head() == 1


async def test_two_sites_that_both_write_much_agree(store, one):
    """Who loses a race plans anew all that was in flight, not one by one."""
    async with following(store) as other:
        mine = [one.change(issued(f"a{n}")) for n in range(150)]
        theirs = [other.change(issued(f"b{n}")) for n in range(150)]
        await asyncio.gather(*mine, *theirs)
        await until(lambda: len(one.applied) == len(other.applied) == 300)
        assert one.applied == other.applied
        assert dict(one.ledger.catalog.tokens) == dict(other.ledger.catalog.tokens)


async def test_a_late_conflict_does_not_harm_what_was_planned_since(store, one):
    """Only a batch that is still in the tail takes what stands on it away."""
    store.gate.clear()
    lost = asyncio.create_task(one.change(issued("lost")))
    await until(lambda: store.appends == 1)
    await store._store.append(0, [encode(Batch(1, "user:b", (issued("theirs"),)))])
    await until(lambda: one.ledger.seq == 1)
    kept = asyncio.create_task(one.change(issued("kept")))
    await until(lambda: store.appends == 2)
    assert "lost" not in one.ledger.draft.tokens
    store.gate.set()
    await asyncio.gather(lost, kept)
    assert store.appends <= 4
    assert set(one.ledger.catalog.tokens) == {"theirs", "lost", "kept"}


async def test_a_change_that_loses_every_time_gives_up_and_says_so(store, one):
    store.fault = conflict
    with pytest.raises(Unwritten) as refused:
        await one.change(issued("t"))
    assert refused.value.status is Status.CONFLICT
    assert store.appends == TRIES


# --- the store fails -------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError("the disk is full"), StoreBusy("too much")])
async def test_a_failing_append_drops_the_tail_and_the_old_state_serves_on(store, one, error):
    await one.change(registered())
    store.fault = lambda: error
    with pytest.raises(Unwritten, match="nothing was changed: the site's store cannot write"):
        await one.change(issued("t"))
    assert "t" not in one.ledger.draft.tokens
    assert W in one.ledger.catalog.names
    assert await store.head() == 1
    store.recover()
    await one.change(issued("u"))
    assert set(one.ledger.catalog.tokens) == {"u"}


async def test_a_failing_append_takes_with_it_only_what_was_planned_on_it(store, one):
    store.gate.clear()
    tasks = [asyncio.create_task(one.change(issued(t))) for t in "abc"]
    await until(lambda: store.appends == 3)
    faults = iter([None, StoreError("full")])

    async def append(expected, bodies):
        fault = next(faults, None)
        if fault is not None:
            raise fault
        return await store._store.append(expected, bodies)

    store.append = append
    store.gate.set()
    # The three appends above are past the gate; they go to the store in their order.
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(isinstance(r, BaseException) for r in results)
    outcome = await asyncio.gather(*(one.change(issued(t)) for t in "def"), return_exceptions=True)
    assert [isinstance(r, Unwritten) for r in outcome] == [False, True, False]
    assert set(one.ledger.catalog.tokens) == set("abcdf")


async def test_an_append_that_was_written_although_it_failed_is_followed(store, one):
    """After an error of the disk nobody knows: the log does."""
    written = store._store.append

    async def append(expected, bodies):
        await written(expected, bodies)
        raise StoreError("the disk does not say")

    store.append = append
    with pytest.raises(Unwritten):
        await one.change(issued("t"))
    del store.append
    await until(lambda: "t" in one.ledger.catalog.tokens)
    await one.change(issued("u"))
    assert set(one.ledger.catalog.tokens) == {"t", "u"}


# --- withdrawals -----------------------------------------------------------------------------


async def test_a_withdrawal_is_durable_when_the_store_writes(store, one):
    await one.change(issued("t"))
    assert await one.ledger.withdraw("t", "user:a", lambda _: [TokenRevoked("t")])
    assert one.ledger.owed == 0
    assert not one.ledger.catalog.tokens


@pytest.mark.parametrize("fault", [lambda: StoreError("full"), conflict])
async def test_a_withdrawal_is_owed_until_it_is_written(store, one, monkeypatch, fault):
    monkeypatch.setattr("gateway.ledger.RETRY_SECONDS", 0.01)
    await one.change(issued("t"))
    store.fault = fault
    assert not await one.ledger.withdraw("t", "user:a", lambda _: [TokenRevoked("t")])
    assert not await one.ledger.withdraw("t", "user:a", lambda _: [TokenRevoked("t")])
    assert one.ledger.owed == 1
    before = store.appends
    await until(lambda: store.appends > before + 2)
    assert one.ledger.owed == 1
    store.recover()
    await until(lambda: one.ledger.owed == 0)
    assert not one.ledger.catalog.tokens
    assert await store.head() == 2


async def test_a_withdrawal_that_the_plan_refuses_is_not_owed(one):
    def plan(catalog: Catalog) -> Sequence[Change]:
        raise Refusal(Status.NOT_FOUND, "no such token")

    with pytest.raises(Refusal, match="no such token"):
        await one.ledger.withdraw("t", "user:a", plan)
    assert one.ledger.owed == 0


async def test_what_is_owed_is_written_at_once_when_the_store_works(one):
    done = []
    one.ledger.owe("k", "user:a", lambda _: [issued("t")], lambda: done.append(1))
    await until(lambda: done)
    assert "t" in one.ledger.catalog.tokens
    assert one.ledger.owed == 0


async def test_the_same_debt_again_replaces_the_old_one(store, one):
    store.break_down()
    done = []
    one.ledger.owe("k", "user:a", lambda _: [issued("old")], lambda: done.append("old"))
    one.ledger.owe("k", "user:a", lambda _: [issued("new")], lambda: done.append("new"))
    assert done == ["old"]
    store.recover()
    await until(lambda: done == ["old", "new"])
    assert set(one.ledger.catalog.tokens) == {"new"}


async def test_a_debt_replaced_while_it_is_paid_stays(store, one):
    store.gate.clear()
    done = []
    one.ledger.owe("k", "user:a", lambda _: [issued("old")], lambda: done.append("old"))
    await until(lambda: store.appends == 1)
    one.ledger.owe("k", "user:a", lambda _: [issued("new")], lambda: done.append("new"))
    store.gate.set()
    await until(lambda: one.ledger.owed == 0)
    assert done == ["old", "new"]
    assert set(one.ledger.catalog.tokens) == {"old", "new"}


async def test_what_is_still_owed_at_the_end_is_told(store, caplog):
    store.break_down()
    async with following(store) as one:
        one.ledger.owe(("token", "t"), "user:a", lambda _: [TokenRevoked("t")])
    assert "by user:a was never written and ends here: ('token', 't')" in caplog.text


@pytest.mark.parametrize("error", [Refusal(Status.NOT_FOUND, "gone"), ZeroDivisionError()])
async def test_a_debt_that_cannot_be_paid_does_not_hold_up_the_others(one, error):
    def plan(catalog: Catalog) -> Sequence[Change]:
        raise error

    done = []
    one.ledger.owe("bad", "user:a", plan, lambda: done.append("bad"))
    one.ledger.owe("good", "user:a", lambda _: [issued("t")], lambda: done.append("good"))
    await until(lambda: len(done) == 2)
    assert done == ["bad", "good"]


# --- replay, snapshots, the end --------------------------------------------------------------


async def test_a_snapshot_and_the_log_behind_it_equal_the_log(tmp_path):
    async with opened(tmp_path, keep_entries=5) as store:
        async with following(store, snapshot_every=10) as one:
            for number in range(35):
                await one.change(issued(f"t{number}"), TokenRevoked(f"t{number - 3}"))
            await until(lambda: one.ledger._snapshotting.done())
            tables = dict(one.ledger.catalog.tokens)
        # One that is due while another is on its way waits for the next change after that.
        assert 10 <= (await store.snapshot()).seq <= 35
        async with following(store) as again:
            assert again.ledger.seq == 35
            assert dict(again.ledger.catalog.tokens) == tables
            await again.change(issued("next"))
            assert await store.head() == 36


async def test_a_snapshot_that_fails_is_told_and_tried_again_later(tmp_path, caplog):
    async with opened(tmp_path) as store, following(store, snapshot_every=2) as one:

        async def fails(seq, records):
            raise StoreError("the disk is full")

        store.save_snapshot = fails
        for number in range(3):
            await one.change(issued(f"t{number}"))
        await until(lambda: "the snapshot failed" in caplog.text)
        del store.save_snapshot
        for number in range(3):
            await one.change(issued(f"u{number}"))
        await until(lambda: one.ledger._snapshotting.done())
        assert await store.snapshot() is not None


async def test_a_snapshot_under_way_is_not_begun_twice_and_given_up_at_the_end(tmp_path):
    begun = []
    async with opened(tmp_path) as store:
        async with following(store, snapshot_every=1) as one:

            async def hangs(seq, records):
                begun.append(seq)
                await asyncio.sleep(3600)

            store.save_snapshot = hangs
            for number in range(5):
                await one.change(issued(f"t{number}"))
        assert begun == [1]
        assert one.ledger._snapshotting.cancelled()


async def test_a_snapshot_of_another_version_is_refused_in_words(store):
    await store.append(0, [encode(Batch(1, "a", (issued("t"),)))])
    await store.save_snapshot(1, [b'{"type":"later"}'])
    with pytest.raises(StoreError, match="cannot read the snapshot of entry 1"):
        await Ledger(store, lambda: 1).replay(1)


async def test_an_entry_of_another_version_is_refused_in_words(store):
    await store.append(0, [b'{"at":1,"actor":"a","changes":[{"type":"later"}]}'])
    with pytest.raises(StoreError, match="cannot read entry 1 of the log"):
        await Ledger(store, lambda: 1).replay(1)


async def test_nobody_waits_for_a_log_that_is_not_followed_any_more(store, one):
    one.hold.clear()
    waiting = asyncio.create_task(one.change(registered()))
    await until(lambda: one.ledger.seq == 1)
    store.gate.clear()
    relying = asyncio.create_task(one.ledger.change("u:a", token_plan("t")))
    await until(lambda: store.appends == 2)
    idle = asyncio.create_task(one.ledger.change("u:a", token_plan("t")))
    await asyncio.sleep(0)
    await store._store.append(1, [b"garbage"])
    one.hold.set()
    await until(lambda: one.ledger._ended)
    store.gate.set()
    for task in (relying, idle):
        with pytest.raises(Unwritten, match="follows its log no more"):
            await task
    assert await waiting == (registered(),)


async def test_a_long_replay_lets_others_run(store, one):
    """Also a follower that fell behind, while its site serves."""
    await one.change(registered())
    created = [ObjectCreated(A, VirtualObject(f"s/o{n}")) for n in range(2000)]
    await store.append(1, [encode(Batch(1, "a", (c,))) for c in created[:-1]])
    async with watched() as passes:
        await until(lambda: one.ledger.seq == 2000)
    assert max(passes) < 0.05
    assert len(passes) > 2000 / SLICE / 2  # some may have been before we watched
    assert len(one.applied) == 2000
